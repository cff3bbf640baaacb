//! The first per-CPU chunk made of single pages: asked for, or because nothing else is left.

use crate::failing_tables::ram;
use crate::support::facts::Depth;
use crate::support::spec::{Spec, affinity, arm64, cpu_affinity, pc, pc_of};
use crate::support::{GIB, MIB};
use pagewright::vmalloc::VmFlags;
use pagewright_addr::{PhysRange, VirtAddr};
use pagewright_firmware::config::Flavour;
use pagewright_firmware::e820::{E820Entry, E820Kind};
use pagewright_pagetable::Level;

const PAGE: u64 = 4096;
const TIB: u64 = 1 << 40;

/// A PC with three processors and two nodes; each has half of 768 MiB.
fn two_nodes() -> Spec {
    pc(768).cpus(3).tables(|pc| {
        pc.srat = vec![affinity(0, 0, 384 * MIB), affinity(1, 384 * MIB, 384 * MIB)];
        pc.srat_cpus = vec![cpu_affinity(0, 0), cpu_affinity(1, 1), cpu_affinity(1, 2)];
    })
}

#[test]
fn units_of_pages_follow_each_other_in_vmalloc_space_each_on_its_node() {
    for spec in [
        two_nodes(),
        arm64(256).cpus(2),
        pc_of(Flavour::I686, 256).cpus(2),
        pc_of(Flavour::I686Pae, 256).cpus(2),
    ] {
        let spec = spec.cmdline("percpu_alloc=page");
        let memory = ram(&spec);
        let look = |boot: &pagewright::Boot<'_>| {
            let info = boot.percpu.as_ref().expect("a first chunk");
            let start = info.paged.expect("units of pages");
            let pages = info.unit_size / PAGE * u64::from(info.units());
            assert_eq!(
                (info.groups.len(), info.unit_size),
                (1, info.size_sum()),
                "no larger than what is in them"
            );
            assert!((12 << 10..16 << 10).contains(&info.dyn_size), "the least, and what rounding adds");
            let area = boot.early_areas.at(start).expect("an early area");
            assert_eq!((area.range.len, area.flags, area.caller), (pages * PAGE, VmFlags::ALLOC, ""));
            let tables = boot.pgtable.expect("tables");
            let mut seen: Vec<u64> = (0..pages)
                .map(|n| {
                    let at = VirtAddr::new(start.get() + n * PAGE);
                    let (leaf, level, _) = tables.with(|tree| tree.leaf(at)).expect("mapped");
                    assert_eq!(level, Level::PTE);
                    assert!(boot.mb.is_region_reserved(PhysRange::from_len(leaf.phys, PAGE)));
                    if boot.nodes_online.len() > 1 {
                        let cpu = n / (info.unit_size / PAGE);
                        assert_eq!(leaf.phys.get() >= 384 * MIB, cpu > 0, "CPU {cpu}: {:#x}", leaf.phys);
                    }
                    leaf.phys.get()
                })
                .collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len() as u64, pages, "no page is there twice");
        };
        let (built, log) = spec.boot_looking(Depth::Memblock, |boot| boot.set_table_memory(memory), look);
        let built = built.unwrap_or_else(|e| panic!("{e}: {:#?}", log.lines.borrow()));
        let info = built.percpu.as_ref().expect("a first chunk");
        built.expect(&format!(
            "percpu: {} 4K pages/cpu s{} r{} d{}",
            info.unit_size / PAGE,
            info.static_size,
            info.reserved_size,
            info.dyn_size
        ));
        // Counted or built, the same memory is taken.
        assert_eq!(spec.boot().percpu, built.percpu);
        let (counted, _) = spec.boot_with(Depth::Memblock, |_| ());
        assert_eq!(counted.expect("booted").reserved, built.reserved);
    }
}

#[test]
fn arm_has_no_such_choice() {
    let facts = crate::support::spec::arm(Flavour::Armmp, 256).cpus(2).cmdline("percpu_alloc=page").boot();
    assert_eq!(facts.percpu.as_ref().expect("a first chunk").paged, None);
    facts.expect("percpu: Embedded ");
}

/// The same with the second node so far away.
fn far_apart(distance: u64) -> Spec {
    pc(512).cpus(2).tables(|pc| {
        pc.e820.push(E820Entry::new(distance, GIB, E820Kind::Ram));
        pc.srat = vec![affinity(0, 0, 512 * MIB), affinity(1, distance, GIB)];
        pc.srat_cpus = vec![cpu_affinity(0, 0), cpu_affinity(1, 1)];
    })
}

#[test]
fn units_that_lie_too_far_apart_for_vmalloc_space_become_pages() {
    // Of 32 TiB, three quarters.
    let near = far_apart(23 * TIB).boot();
    assert_eq!(near.percpu.as_ref().expect("a first chunk").paged, None);
    assert_eq!(near.percpu.as_ref().expect("a first chunk").groups.len(), 2);
    let far = far_apart(24 * TIB).boot();
    let info = far.percpu.as_ref().expect("a first chunk");
    assert!(info.paged.is_some() && info.groups.len() == 1);
    let warned = far.lines("max_distance=");
    assert_eq!(warned.len(), 1);
    assert!(
        warned[0].starts_with("percpu: max_distance=0x18") && warned[0].ends_with("0x1fffffffffff"),
        "{warned:?}"
    );
    far.expect("setup_percpu: auto allocator failed (-22), falling back to page size");
    // What was placed first is given back: the pages lie where those lie that were asked for at once.
    let asked = far_apart(24 * TIB).cmdline("percpu_alloc=page").boot();
    assert_eq!(asked.percpu, far.percpu);
    assert!(asked.lines("allocator failed").is_empty());
    let embed = far_apart(24 * TIB).cmdline("percpu_alloc=embed").boot();
    embed.expect("setup_percpu: embed allocator failed (-22), falling back to page size");
}
