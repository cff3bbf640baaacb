//! Which kernel a log is of, also where its release does not say: distributions put the architecture into the release,
//! people who build their own kernel do not.

use super::super::Symbols;
use crate::facts::body;
use crate::machine::flavour_of;
use pagewright_firmware::Arch;
use pagewright_firmware::config::Flavour;
use pagewright_firmware::devicetree::DeviceTree;
use pagewright_firmware::dmesg::{Banner, Line, classify};

/// The kernel of Debian's that a release names, or the one nearest to it.
pub fn by_banner(banner: &Banner<'_>) -> Option<Flavour> {
    let exact = banner.flavour().and_then(Flavour::from_name);
    exact.or_else(|| Some(nearest(banner.arch()?, banner.is_pae())))
}

/// Debian's kernel of an architecture, with physical addresses beyond 32 bits or not where there are both.
pub fn nearest(arch: Arch, wide: bool) -> Flavour {
    match (arch, wide) {
        (Arch::X86_64, _) => Flavour::Amd64,
        (Arch::Arm64, _) => Flavour::Arm64,
        (Arch::Arm, false) => Flavour::Armmp,
        (Arch::Arm, true) => Flavour::ArmmpLpae,
        (Arch::I386, false) => Flavour::I686,
        (Arch::I386, true) => Flavour::I686Pae,
    }
}

/// What lines tell that only one architecture prints. `None` if there is no such line.
pub fn by_content(log: &str) -> Option<Flavour> {
    let (mut arch, mut pc, mut wide) = (None, false, None);
    for line in log.lines() {
        match classify(line) {
            // The width of physical addresses on a PC: 32 bits, 36 with PAE, 46 or 52.
            Line::LastPfn { max_arch_pfn, .. } => {
                (arch, wide) = match max_arch_pfn {
                    ..=0x10_0000 => (Some(Arch::I386), Some(false)),
                    0x100_0000 => (Some(Arch::I386), Some(true)),
                    _ => (Some(Arch::X86_64), None),
                };
            }
            Line::E820(_) => pc = true,
            _ => {
                let text = body(line);
                wide = wide.or_else(|| is_wide(text));
                arch = arch.or_else(|| arch_of_line(text));
            }
        }
    }
    // A pasted memory map without anything else is a PC of today.
    arch.or(pc.then_some(Arch::X86_64)).map(|arch| nearest(arch, wide.unwrap_or(false)))
}

fn arch_of_line(text: &str) -> Option<Arch> {
    if text.starts_with("CPU: ARM") {
        return Some(Arch::Arm);
    }
    // arm64 prints the affinity in ten digits, and the processor's id after it.
    let boot_cpu = text.strip_prefix("Booting Linux on physical CPU 0x");
    if boot_cpu.is_some_and(|cpu| cpu.contains('[')) || text.starts_with("CPU features: detected: ") {
        return Some(Arch::Arm64);
    }
    text.ends_with("MB LOWMEM available.").then_some(Arch::I386)
}

/// Physical addresses are printed as wide as their type.
fn is_wide(text: &str) -> Option<bool> {
    let address = if text.starts_with("memblock_") {
        text.split_once("[0x")?.1
    } else {
        text.strip_prefix("cma: Reserved ")?.split_once(" at 0x")?.1
    };
    let digits = address.bytes().take_while(u8::is_ascii_hexdigit).count();
    matches!(digits, 8 | 16).then_some(digits == 16)
}

/// What a device tree's processors and the width of addresses in the log tell.
pub(super) fn by_tree(dtb: &[u8], log: &str) -> Option<Flavour> {
    let arch = flavour_of(&DeviceTree::parse(dtb).ok()?).arch();
    Some(nearest(arch, width(log)))
}

/// What the virtual addresses of the kernel's image tell, and symbols that only one architecture has.
pub(super) fn by_symbols(symbols: &Symbols, log: &str) -> Option<Flavour> {
    let arch = match symbols.any(&["_stext", "_text"])? {
        0xffff_ffff_8000_0000.. => Arch::X86_64,
        0xff00_0000_0000_0000.. => Arch::Arm64,
        0x1_0000_0000.. => return None,
        _ if symbols.any(&["__idmap_text_start", "__vectors_start", "__proc_info_begin"]).is_some() => {
            Arch::Arm
        }
        _ if symbols.any(&["__end_of_kernel_reserve", "__brk_base", "startup_32"]).is_some() => Arch::I386,
        _ => return None,
    };
    Some(nearest(arch, width(log)))
}

fn width(log: &str) -> bool {
    log.lines().find_map(|line| is_wide(body(line))).unwrap_or(false)
}

#[cfg(test)]
mod tests;
