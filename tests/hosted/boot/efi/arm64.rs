//! arm64: EFI's map replaces the tree's memory, and ACPI the rest of the tree where that says nothing.

use crate::support::efi::descriptor;
use crate::support::spec::{AcpiSpec, Fw, RAM, affinity, arm64, range};
use crate::support::tree::{node, root};
use crate::support::{Facts, MIB, Spec};
use EfiKind::{AcpiReclaim, BootServicesData, Conventional, LoaderData, Mmio, RuntimeServicesData};
use pagewright_firmware::ArmCpu;
use pagewright_firmware::acpi::{SratCpu, SratCpuKind};
use pagewright_firmware::efi::{EfiEntry, EfiKind, attribute};
use pagewright_memblock::{Event, Flags};

const PAGE: u64 = 4096;

fn at(mib: u64) -> u64 {
    RAM + mib * MIB
}

/// A machine of which the tree says `tree_mib` MiB and EFI this.
fn with_map(tree_mib: u64, entries: Vec<EfiEntry>) -> Spec {
    let mut spec = arm64(tree_mib);
    let Fw::Tree { efi, .. } = &mut spec.fw else { panic!("a tree") };
    efi.map = entries;
    spec
}

/// A machine whose tree is a stub: 256 MiB by EFI's map, two processors by ACPI.
fn by_acpi() -> Spec {
    let mut spec = with_map(256, vec![descriptor(Conventional, RAM, 256 * MIB)]).cpus(2);
    let Fw::Tree { root: tree, acpi, .. } = &mut spec.fw else { panic!("a tree") };
    *tree = root().with(node("chosen"));
    let cpus = vec![ArmCpu { uid: 0, mpidr: 0 }, ArmCpu { uid: 1, mpidr: 1 }];
    *acpi = Some(AcpiSpec { cpus, ..AcpiSpec::default() });
    spec
}

fn acpi_mut(spec: &mut Spec) -> &mut AcpiSpec {
    match &mut spec.fw {
        Fw::Tree { acpi: Some(acpi), .. } => acpi,
        _ => panic!("no ACPI"),
    }
}

fn gicc(pxm: u32, uid: u32) -> SratCpu {
    SratCpu { pxm, apic_id: uid, enabled: true, kind: SratCpuKind::Gicc }
}

fn nomap(facts: &Facts) -> Vec<(u64, u64)> {
    let hidden = facts.memory.iter().filter(|b| b.flags.contains(Flags::NOMAP));
    hidden.map(|b| (b.range.start.get(), b.range.len())).collect()
}

/// Whether the tree was copied into nodes.
fn unflattened(facts: &Facts) -> bool {
    let call = |e: &Event| matches!(e, Event::AllocTryNid { caller: "early_init_dt_alloc_memory_arch", .. });
    facts.events.iter().any(call)
}

#[test]
fn the_map_replaces_the_trees_memory() {
    let facts = with_map(64, vec![descriptor(Conventional, RAM, 256 * MIB)]).boot();
    assert_eq!(facts.ram_mib(), [(1024, 1280)]);
    // The tree's memory was there before.
    let removed = |e: &Event| matches!(e, Event::Remove { caller: "reserve_regions", .. });
    assert!(facts.events.iter().any(removed));
}

#[test]
fn what_the_firmware_needs_is_memory_without_a_mapping() {
    let mut map = vec![
        descriptor(LoaderData, RAM, 64 * MIB),
        descriptor(RuntimeServicesData, at(64), MIB),
        descriptor(BootServicesData, at(65), 191 * MIB),
        // Cacheable in no way, but write-combining: memory all the same.
        descriptor(Mmio, at(512), MIB),
        descriptor(Mmio, at(520), MIB),
    ];
    map[3].attributes = attribute::WC | attribute::RUNTIME;
    map[4].attributes = attribute::UC;
    let facts = with_map(256, map).boot();
    assert_eq!(nomap(&facts), [(at(64), MIB), (at(512), MIB)]);
    assert_eq!(facts.ram_mib(), [(1024, 1088), (1088, 1089), (1089, 1280), (1536, 1537)]);
}

#[test]
fn memory_that_cannot_be_written_back_is_not_the_kernels() {
    let mut map = vec![descriptor(Conventional, RAM, 256 * MIB), descriptor(Conventional, at(256), MIB)];
    map[1].attributes = attribute::WT;
    assert_eq!(nomap(&with_map(256, map).boot()), [(at(256), MIB)]);
}

#[test]
fn acpi_tables_and_efis_own_are_reserved() {
    let map = vec![
        descriptor(Conventional, RAM, 128 * MIB),
        descriptor(AcpiReclaim, at(128), MIB),
        descriptor(Conventional, at(129), 127 * MIB),
    ];
    let mut spec = with_map(256, map);
    let (attributes, listed) = (range(at(140) + 0x18, 0x400), range(at(141) + 0x98, 16));
    if let Fw::Tree { efi, .. } = &mut spec.fw {
        efi.memory_attributes = Some(attributes);
        efi.mem_reserve = vec![listed];
    }
    let facts = spec.boot();
    for kept in [range(at(128), MIB), attributes, listed] {
        assert!(facts.is_reserved(kept), "{kept:?}");
    }
}

#[test]
fn chosen_tells_where_the_map_lies_and_whole_pages_are_kept() {
    let cells = |n: u64| [(n >> 32) as u32, n as u32];
    let chosen = node("chosen")
        .cells("linux,uefi-system-table", &cells(at(200)))
        .cells("linux,uefi-mmap-start", &cells(at(150) + 0x9c0))
        .cells("linux,uefi-mmap-size", &[0x690])
        .cells("linux,uefi-mmap-desc-size", &[48])
        .cells("linux,uefi-mmap-desc-ver", &[1]);
    let facts = with_map(256, vec![descriptor(Conventional, RAM, 256 * MIB)]).with(chosen).boot();
    // 0x9c0 and 0x690 are more than a page.
    assert!(facts.is_reserved(range(at(150), 2 * PAGE)) && facts.is_free(range(at(150) + 2 * PAGE, PAGE)));
    // Without the rest the system table is worth nothing.
    let broken = node("chosen").cells("linux,uefi-system-table", &cells(at(200)));
    let facts = arm64(256).with(broken).boot();
    facts.expect("efi: Can't find property 'linux,uefi-mmap-start' in DT!");
    facts.expect("efi: UEFI not found.");
}

#[test]
fn memory_for_a_specific_purpose_is_left_out() {
    let mut map = vec![descriptor(Conventional, RAM, 256 * MIB), descriptor(Conventional, at(256), 64 * MIB)];
    map[1].attributes |= attribute::SP;
    assert_eq!(with_map(256, map.clone()).boot().ram_mib(), [(1024, 1280)]);
    let taken = with_map(256, map).cmdline("efi=nosoftreserve").boot();
    assert_eq!(taken.ram_mib(), [(1024, 1344)]);
}

#[test]
fn a_crash_kernel_is_limited_after_the_map_was_read() {
    let usable = node("chosen").wide("linux,usable-memory-range", &[RAM, 128 * MIB]);
    let facts = with_map(256, vec![descriptor(Conventional, RAM, 256 * MIB)]).with(usable).boot();
    assert_eq!(facts.ram_mib(), [(1024, 1152)]);
}

#[test]
fn a_stub_of_a_tree_leaves_the_machine_to_acpi() {
    let facts = by_acpi().boot();
    facts.expect("NUMA: Failed to initialise from firmware");
    facts.expect("NUMA: Faking a node");
    assert!(!unflattened(&facts));
    let off = by_acpi().cmdline("acpi=off").boot();
    assert!(unflattened(&off) && !off.said("Failed to initialise from firmware"));
}

#[test]
fn a_real_tree_wins_unless_acpi_is_forced() {
    let with_tree = || {
        let mut spec = by_acpi();
        if let Fw::Tree { root, .. } = &mut spec.fw {
            *root = root.clone().with(node("soc"));
        }
        spec
    };
    assert!(unflattened(&with_tree().boot()));
    assert!(!unflattened(&with_tree().cmdline("acpi=force").boot()));
    assert!(!unflattened(&with_tree().cmdline("acpi=on").boot()));
}

#[test]
fn srat_and_slit_make_the_nodes() {
    let mut spec = by_acpi();
    *acpi_mut(&mut spec) = AcpiSpec {
        srat: vec![affinity(7, RAM, 128 * MIB), affinity(3, at(128), 128 * MIB)],
        srat_cpus: vec![gicc(3, 0), gicc(7, 1)],
        slit: Some((8, (0..64).map(|i| if i % 9 == 0 { 10 } else { 30 }).collect())),
        ..acpi_mut(&mut spec).clone()
    };
    let facts = spec.boot();
    assert_eq!(facts.online, [0, 1]);
    // Processors come first, so domain 3 is node 0.
    facts.expect("ACPI: SRAT: Node 1 PXM 7 [mem 0x40000000-0x47ffffff]");
    facts.expect("ACPI: SRAT: Node 0 PXM 3 [mem 0x48000000-0x4fffffff]");
    let nodes: Vec<_> = facts.memory.iter().map(|b| (b.range.start.get(), b.nid)).collect();
    assert_eq!(nodes, [(RAM, Some(1)), (at(128), Some(0))]);
    let id = |n: u16| pagewright_addr::NodeId::new(n).expect("a node");
    assert_eq!((facts.distances.get(id(0), id(1)), facts.distances.get(id(1), id(1))), (30, 10));
    facts.expect("ACPI: NUMA: SRAT: PXM 3 -> MPIDR 0x0 -> Node 0");
    facts.expect("ACPI: NUMA: SRAT: PXM 7 -> MPIDR 0x1 -> Node 1");
    facts.expect("pcpu-alloc: [0] 0 [1] 1");
}

#[test]
fn memory_that_the_srat_leaves_out_makes_it_void() {
    let mut spec = by_acpi();
    let acpi = acpi_mut(&mut spec);
    acpi.srat = vec![affinity(0, RAM, 128 * MIB)];
    acpi.srat_cpus = vec![gicc(0, 0), gicc(1, 1)];
    let facts = spec.boot();
    facts.expect("NUMA: Warning: invalid memblk node 16 [mem 0x0000000048000000-0x000000004fffffff]");
    facts.expect("NUMA: Faking a node");
    facts.expect("ACPI: NUMA: SRAT: PXM 1 -> MPIDR 0x1 -> Node -1");
    assert_eq!(facts.online, [0]);
}

#[test]
fn the_boot_logo_is_kept_where_acpi_tells_of_it() {
    let logo = range(at(192) + 0x18, 0x839e);
    let mut spec = by_acpi();
    if let Fw::Tree { efi, .. } = &mut spec.fw {
        efi.map =
            vec![descriptor(Conventional, RAM, 192 * MIB), descriptor(BootServicesData, at(192), 64 * MIB)];
        efi.boot_logo = Some(logo);
    }
    let facts = spec.boot();
    let kept = |facts: &Facts| {
        let call = Event::Reserve { range: logo, caller: "efi_mem_reserve" };
        facts.events.contains(&call)
    };
    assert!(facts.is_reserved(logo) && kept(&facts));
    // Nobody knows of it without ACPI, and boot services' memory is anyone's.
    assert!(!kept(&spec.cmdline("acpi=off").boot()));
}
