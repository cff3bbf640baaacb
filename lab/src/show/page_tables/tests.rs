//! Whole boots of every shipped machine: their page tables as they are shown, and a second opinion about each range.

use super::{agrees, translate};
use crate::machine::description::{SHIPPED, shipped};
use crate::machine::{OwnedMachine, arch_name};
use crate::run::{self, Booted};
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_firmware::config::Flavour;
use pagewright_kspace::Version;
use pagewright_pagetable::{AttrFlags, RunKind};
use pagewright_sim::mmu::Access;
use pagewright_view::View;

fn machine(name: &str) -> OwnedMachine {
    shipped(name).unwrap().machine().unwrap()
}

/// The PC with the kernel that has larger entries.
fn i386_pae() -> OwnedMachine {
    let mut described = shipped("i386-pc").unwrap();
    described.flavour = Flavour::I686Pae;
    OwnedMachine { name: "i386-pc with PAE".to_owned(), ..described.machine().unwrap() }
}

fn with<R>(machine: &OwnedMachine, look: impl FnOnce(&Booted<'_, '_, '_, '_, '_>) -> R) -> R {
    run::boot(machine, look, |_| ()).unwrap_or_else(|e| panic!("{}: {e}", machine.name))
}

fn dump(name: &str) -> String {
    with(&machine(name), |b| b.show(View::PageTables).unwrap())
}

fn translated(name: &str, va: u64, access: Access) -> String {
    with(&machine(name), |b| translate(b, VirtAddr::new(va), &[access]).unwrap())
}

/// Machines whose tables are built, some of them with older kernels besides.
fn built() -> impl Iterator<Item = OwnedMachine> {
    let shipped = SHIPPED.iter().map(|(name, _)| machine(name)).chain([i386_pae()]);
    let older =
        [("arm64-virt", (5, 3)), ("arm64-virt", (5, 10)), ("arm-virt", (4, 14)), ("arm-lpae-virt", (5, 13))];
    shipped.chain(older.into_iter().map(|(name, (major, minor))| OwnedMachine {
        name: format!("{name} {major}.{minor}"),
        linux: Version::new(major, minor),
        ..machine(name)
    }))
}

#[test]
fn as_many_tables_are_built_as_are_counted() {
    for machine in built() {
        with(&machine, |booted| {
            let counts = &booted.boot.table_counts;
            assert_eq!(counts.mismatch(), None, "{}", machine.name);
            assert!(counts.total() > 0 && booted.boot.table_error.is_none(), "{}", machine.name);
        });
    }
}

#[test]
fn the_software_mmu_finds_every_range_where_the_walker_does() {
    for machine in built() {
        with(&machine, |booted| agrees(booted).unwrap_or_else(|e| panic!("{}: {e}", machine.name)));
    }
}

#[test]
fn runs_are_shown_with_their_entries() {
    let text = with(&machine("x86_64-q35"), |b| b.show(View::PageTableRuns).unwrap());
    let line = "ffffffff81000000-ffffffff81dfffff 000001000000     2048K 00000000010001e1\n";
    assert!(text.contains(line), "{text}");
    assert!(text.lines().count() > 5);
}

#[test]
fn a_pcs_tables_are_shown_in_the_form_of_x86() {
    let text = dump("x86_64-q35");
    for line in [
        "---[ User Space ]---\n0x0000000000000000-0x0000800000000000         128T                               pgd\n",
        "---[ Low Kernel Mapping ]---\n0xffff888000000000-0xffff888000098000         608K     RW                 GLB NX pte\n",
        "0xffff888001000000-0xffff888001e00000          14M     ro         PSE     GLB NX pmd\n",
        "0xffff888100000000-0xffff888180000000           2G     RW         PSE     GLB NX pud\n",
        "---[ High Kernel Mapping ]---\n0xffffffff80000000-0xffffffff81000000          16M                               pmd\n",
        "0xffffffff81000000-0xffffffff81e00000          14M     ro         PSE     GLB x  pmd\n",
        "0xffffffffff800000-0x0000000000000000           8M                               pmd\n",
    ] {
        assert!(text.contains(line), "{line}in\n{text}");
    }
    assert!(text.lines().all(|l| l.starts_with("---[")
        || l.len()
            == "0xffff888000000000-0xffff888000098000         608K     RW                 GLB NX pte".len()));
}

#[test]
fn i386_tables_are_shown_with_eight_digits_and_the_markers_of_32_bits() {
    let text = dump("i386-pc");
    for line in [
        "---[ User Space ]---\n0x00000000-0xc0000000           3G                               pgd\n",
        "---[ Kernel Mapping ]---\n0xc0000000-",
        // Folded levels have the name of the lowest, as leaves.
        "0xc1000000-0xc1c00000          12M     ro         PSE     GLB x  pmd\n",
        "---[ vmalloc() Area ]---\n0xf73fe000-0xfebfe000         120M                               pgd\n---[ vmalloc() End ]---\n",
        "---[ Persistent kmap() Area ]---\n0xfec00000-0xff000000           4M                               pte\n",
        "---[ LDT remap ]---\n0xff000000-0xff400000           4M                               pgd\n",
        "---[ CPU entry area ]---\n0xff400000-",
        "---[ Fixmap area ]---\n0xffdb8000-",
        "0xffffb000-0xffffd000           8K     RW PWT PCD         GLB x  pte\n",
    ] {
        assert!(text.contains(line), "{line}in\n{text}");
    }
    assert!(!text.contains(" NX "), "{text}");
    let wide = with(&i386_pae(), |b| b.show(View::PageTables).unwrap());
    for line in [
        "0xc1000000-0xc1800000           8M     ro         PSE     GLB x  pmd\n",
        "0xc1a00000-0xc1c00000           2M     ro         PSE     GLB NX pmd\n",
        "0xffffb000-0xffffd000           8K     RW PWT PCD         GLB NX pte\n",
    ] {
        assert!(wide.contains(line), "{line}in\n{wide}");
    }
}

/// Debian's kernels say when they boot `Write protecting kernel text and read-only data: 12516k`, with PAE 12612k, and then
/// `NX-protecting the kernel data: 6960k`.
#[test]
fn i386_protects_as_much_of_its_image_as_captured_kernels_say() {
    const TEXT: u64 = 0xc100_0000;
    let bytes = |machine: &OwnedMachine, range: std::ops::Range<u64>, right: AttrFlags, set: bool| -> u64 {
        with(machine, |booted| {
            let mut bytes = 0;
            let range = VirtRange::new(VirtAddr::new(range.start), VirtAddr::new(range.end));
            let see = &mut |run: &pagewright_pagetable::Run| {
                if let RunKind::Leaf(leaf) = run.kind
                    && leaf.attr.flags.contains(right) == set
                {
                    let (first, last) =
                        (run.range.start.max(range.start), run.range.last().min(range.last()));
                    bytes += last.get() + 1 - first.get();
                }
            };
            booted.tables().unwrap().with(|tree| tree.walk(range, see)).unwrap();
            bytes >> 10
        })
    };
    let (two, pae) = (machine("i386-pc"), i386_pae());
    let all = TEXT..0xc200_0000;
    // The IDT, which is read-only too, lies behind.
    let before_bss = TEXT..0xc1d0_0000;
    assert_eq!(bytes(&two, before_bss.clone(), AttrFlags::WRITE, false), 12_516);
    assert_eq!(bytes(&pae, before_bss, AttrFlags::WRITE, false), 12_612);
    assert_eq!(bytes(&pae, all.clone(), AttrFlags::EXEC, false), 6_960);
    assert_eq!(bytes(&two, all, AttrFlags::EXEC, false), 0);
}

#[test]
fn i386_addresses_are_explained_in_both_forms() {
    let text = translated("i386-pc", 0xc100_0123, Access::WRITE);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "0xc1000123: .text (i386, 2 levels)");
    assert!(lines[1].starts_with("  PGD[772]") && lines[1].ends_with(", 4 MiB at 0x1000000"), "{text}");
    assert!(lines[3].contains("protection violation, PD: the page is read-only"), "{text}");
    let wide = |va, access| with(&i386_pae(), |b| translate(b, VirtAddr::new(va), &[access]).unwrap());
    let text = wide(0xffff_c000, Access::EXECUTE);
    assert!(text.starts_with("0xffffc000: fixmap (i386, PAE)\n  PGD[3] of the table at "), "{text}");
    assert!(text.contains("\n  PMD[511]") && text.contains("\n  PTE[508]"), "{text}");
    assert!(text.contains("P R/W PWT PCD A D G XD"), "{text}");
    assert!(text.contains("the page is not executable") && text.ends_with("error code 0x11\n"), "{text}");
    // User code's addresses have no table at all: that is what the processor kept when CR3 was written.
    let text = wide(0x1000, Access::USER_READ);
    assert!(text.contains("not present, PDPT") && text.ends_with("error code 0x4\n"), "{text}");
}

#[test]
fn tables_of_arm_machines_are_shown_in_their_forms_and_holes_on_arm64_only() {
    let text = dump("arm64-virt");
    for line in [
        "---[ Linear Mapping start ]---\n0xffff000000000000-0xffff000000210000        2112K PTE       RW NX SHD AF            UXN    MEM/NORMAL-TAGGED\n",
        "PMD       ro NX SHD AF        BLK UXN    MEM/NORMAL\n",
        "PTE       ro x  SHD AF    CON     UXN    MEM/NORMAL\n",
        "---[ vmemmap start ]---\n",
        // Nothing mapped: the size and the level of the entry, as the documentation of ptdump has it.
        "---[ Modules start ]---\n0xffff800000000000-0xffff800008000000         128M P",
        "---[ PCI I/O start ]---\n0xfffffbfffe800000-0xfffffbffff800000          16M PMD\n---[ PCI I/O end ]---\n",
    ] {
        assert!(text.contains(line), "{line}in\n{text}");
    }
    let short = dump("arm-virt");
    assert!(!short.contains("M \n") && !short.contains("K \n"), "{short}");
    assert!(
        short
            .contains("---[ Kernel Mapping ]---\n0xc0000000-0xc0300000           3M KERNEL      RW NX SHD\n"),
        "{short}"
    );
    assert!(
        short.contains("0xffff0000-0xffff1000           4K VECTORS USR ro x  SHD MEM/CACHED/WBWA\n"),
        "{short}"
    );
    let long = dump("arm-lpae-virt");
    assert!(
        long.contains("---[ Kernel Mapping ]---\n0xc0000000-0xc0400000           4M     RW NX SHD\n"),
        "{long}"
    );
    assert!(long.contains("4K USR ro x  SHD MEM/CACHED/WBWA\n"), "{long}");
}

#[test]
fn one_address_is_explained_level_by_level() {
    let text = translated("x86_64-q35", 0xffff_ffff_8100_0123, Access::WRITE);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "0xffffffff81000123: .text (x86_64, 4 levels)");
    for (n, start) in [(1, "  PGD[511] of the table at 0x2a10000,"), (3, "  PUD[510]"), (5, "  PMD[8]")] {
        assert!(lines[n].starts_with(start), "{text}");
    }
    assert_eq!(lines[6], "      P A D PS G");
    assert!(
        lines[7].starts_with(
            "kernel write at 0xffffffff81000123: protection violation, PD: the page is read-only"
        )
    );
    assert!(lines[7].ends_with("error code 0x3"), "{text}");
    let read = translated("x86_64-q35", 0xffff_ffff_8100_0123, Access::READ);
    assert!(read.ends_with("kernel read: 0x1000123, 2 MiB, WriteBack, kernel r-x, user ---\n"), "{read}");
}

#[test]
fn an_address_that_leads_nowhere_is_told_with_the_exact_fault() {
    let text = translated("x86_64-q35", 0x1000, Access::USER_EXECUTE);
    assert!(text.contains("PGD[0]") && text.contains("empty"), "{text}");
    assert!(text.contains("user execute at 0x1000: not present, PML4"), "{text}");
    assert!(text.ends_with("error code 0x14\n"), "{text}");
    let text = translated("x86_64-q35", 1 << 63, Access::READ);
    assert!(text.contains("address not canonical"), "{text}");
    let text = translated("arm64-virt", 0xffff_8000_0000_0000, Access::READ);
    assert!(text.contains("translation fault, level"), "{text}");
    let text = translated("arm64-virt", 0x1000, Access::READ);
    assert!(text.contains("translation fault, level 0"), "{text}");
    // Both words of a pair are shown.
    let text = translated("arm-virt", 0xffff_0000, Access::USER_READ);
    assert!(text.contains("hardware: page B C") && text.contains("Linux: PRESENT YOUNG MT=7"), "{text}");
}

#[test]
fn machines_whose_tables_are_only_counted_say_so() {
    let mut machine = machine("arm64-virt");
    if let crate::machine::OwnedFirmware::DeviceTree { memory, .. } = &mut machine.firmware {
        *memory = vec![pagewright_addr::PhysRange::from_len(PhysAddr::new(1 << 30), 1 << 40)];
    }
    let fault = with(&machine, |booted| booted.tables().map(|_| ()).unwrap_err().to_string());
    assert!(fault.starts_with(arch_name(machine.arch)) && fault.contains("only counted"), "{fault}");
}
