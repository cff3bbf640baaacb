//! The kernel's page tables: what an access to one address meets, and attributes in the words of captured tables.

mod mmu;
mod translate;

pub use mmu::agrees;
pub use translate::translate;

use crate::run::Booted;
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_firmware::{Arch, Machine};
use pagewright_kspace::Kind;
use pagewright_pagetable::Level;
use pagewright_view::page_tables::{bit, field};

/// The ranges of a kernel's mappings that a boot alone decides, by name.
pub fn compared(booted: &Booted<'_, '_, '_, '_, '_>) -> Vec<(&'static str, VirtRange)> {
    let boot = booted.boot;
    let Ok(layout) = booted.state().layout(booted.boot.version) else { return Vec::new() };
    let mut out = Vec::new();
    let mut add = |name, range: Option<VirtRange>| out.extend(range.map(|r| (name, r)));
    add("linear map", layout.get(Kind::LinearMap));
    add(
        "kernel image",
        match boot.machine.arch {
            Arch::Arm64 => {
                let image = &boot.machine.image;
                let len = image.end.get().saturating_sub(image.text_start.get());
                let start = VirtAddr::new(image.virt);
                Some(VirtRange::from_len(start, len.next_multiple_of(boot.machine.config.page_shift.bytes())))
            }
            // arm and i386 have it in the linear map.
            _ => layout.get(Kind::KernelText),
        },
    );
    let (early, fixed) = (layout.get(Kind::FixmapEarly), layout.get(Kind::Fixmap));
    add(
        "fixmap",
        early.or(fixed).zip(fixed.or(early)).map(|(first, last)| VirtRange {
            start: first.start,
            len: (last.last().get() - first.start.get()) + 1,
        }),
    );
    add("vmemmap", layout.get(Kind::Vmemmap));
    // What arm has besides.
    for kind in [Kind::Pkmap, Kind::Fdt, Kind::Itcm, Kind::Dtcm, Kind::Vectors, Kind::VectorStubs] {
        add(kind.word(), layout.get(kind));
    }
    out
}

/// A leaf's attributes in the words of the captured tables, from its entry and the one that leads to its table.
pub fn attributes(machine: &Machine<'_>, level: Level, word: u64, above: u64) -> String {
    match machine.arch {
        Arch::X86_64 | Arch::I386 => x86(word),
        Arch::Arm64 => arm64(word),
        Arch::Arm if machine.config.lpae => arm_lpae(level, word),
        Arch::Arm => arm_short(level, word, above),
    }
}

/// `w`ritable, `u`ser, e`x`ecutable, `G`lobal, `C`ache disabled, `W`rite through.
fn x86(word: u64) -> String {
    let letters = [
        (bit(word, 1), 'w'),
        (bit(word, 2), 'u'),
        (!bit(word, 63), 'x'),
        (bit(word, 8), 'G'),
        (bit(word, 4), 'C'),
        (bit(word, 3), 'W'),
    ];
    letters.map(|(set, letter)| if set { letter } else { '-' }).iter().collect()
}

/// `r`ead-only or `w`ritable, `u`ser, e`x`ecutable for the kernel, `G`lobal or `n`ot, the memory type's index, shareability,
/// `c`ontiguous.
fn arm64(word: u64) -> String {
    let either = |n, set, clear| if bit(word, n) { set } else { clear };
    format!(
        "{}{}{}{}a{}s{}{}",
        either(7, 'r', 'w'),
        either(6, 'u', '-'),
        either(53, '-', 'x'),
        either(11, 'n', 'G'),
        field(word, 2, 4),
        field(word, 8, 9),
        either(52, 'c', '-'),
    )
}

/// Whether the leaf is a section or a page.
fn sort(level: Level) -> &'static str {
    if level == Level::PTE { "page" } else { "sect" }
}

/// The fields of a long descriptor.
fn arm_lpae(level: Level, word: u64) -> String {
    format!(
        "{} ap{} xn{} pxn{} attr{} sh{} ng{}",
        sort(level),
        field(word, 6, 7),
        field(word, 54, 54),
        field(word, 53, 53),
        field(word, 2, 4),
        field(word, 8, 9),
        field(word, 11, 11),
    )
}

/// The fields of a short descriptor, the hardware's word; a page has the domain of its table.
fn arm_short(level: Level, word: u64, above: u64) -> String {
    let section = level != Level::PTE;
    let fields = if section {
        [(15, 10), (4, 0), (12, 0), (16, 0), (17, 0)]
    } else {
        [(9, 4), (0, 0), (6, 0), (10, 0), (11, 0)]
    };
    let [(ap2, ap), (xn, _), (tex, _), (s, _), (ng, _)] = fields;
    let domain = field(if section { word } else { above }, 5, 8);
    format!(
        "{} ap{} xn{} tex{} c{} b{} s{} ng{} dom{domain}",
        sort(level),
        (field(word, ap2, ap2) << 2) | field(word, ap, ap + 1),
        field(word, xn, xn),
        field(word, tex, tex + 2),
        field(word, 3, 3),
        field(word, 2, 2),
        field(word, s, s),
        field(word, ng, ng),
    )
}

/// Whether attributes in these words allow the kernel to execute.
pub fn executes(attributes: &str) -> bool {
    // arm's are fields of the descriptor, the others letters by position.
    attributes.split(' ').any(|field| field == "xn0") || attributes.as_bytes().get(2) == Some(&b'x')
}

#[cfg(test)]
mod tests;
