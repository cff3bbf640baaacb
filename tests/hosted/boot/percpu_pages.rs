//! The first per-CPU chunk made of single pages: asked for, or because nothing else is left.

use crate::failing_tables::ram;
use crate::numa::board;
use crate::support::facts::Depth;
use crate::support::spec::{RAM, Spec, affinity, arm64, cpu_affinity, image, larger_pages, pc, pc_of};
use crate::support::{GIB, MIB};
use pagewright::vmalloc::VmFlags;
use pagewright_addr::{NodeId, PageShift, PhysRange, VirtAddr};
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_firmware::e820::{E820Entry, E820Kind};
use pagewright_memblock::Set;
use pagewright_pagetable::Level;

const TIB: u64 = 1 << 40;

/// A PC with three processors and two nodes; each has half of 768 MiB.
pub(crate) fn two_nodes() -> Spec {
    pc(768).cpus(3).tables(|pc| {
        pc.srat = vec![affinity(0, 0, 384 * MIB), affinity(1, 384 * MIB, 384 * MIB)];
        pc.srat_cpus = vec![cpu_affinity(0, 0), cpu_affinity(1, 1), cpu_affinity(1, 2)];
    })
}

/// An arm64 machine like it, with pages of this size.
fn two_arm64_nodes(shift: PageShift, va_bits: u8) -> Spec {
    let spec = board(&[0, 1, 1], &[Some(0), Some(1)]);
    let mut spec = spec.config(|c| larger_pages(c, shift, va_bits));
    spec.image = image(spec.config.arch, RAM + 2 * MIB, va_bits);
    spec
}

/// The node of each processor of a machine of theirs; all on the first elsewhere.
fn node_of(boot: &pagewright::Boot<'_>, cpu: u32) -> NodeId {
    let second = boot.nodes_online.len() > 1 && cpu > 0;
    NodeId::new(second.into()).expect("a node")
}

#[test]
fn units_of_pages_follow_each_other_in_vmalloc_space_each_on_its_node() {
    for spec in [
        two_nodes(),
        two_arm64_nodes(PageShift::SHIFT_4K, 39),
        two_arm64_nodes(PageShift::SHIFT_16K, 47),
        two_arm64_nodes(PageShift::SHIFT_64K, 48),
        arm64(256).cpus(2),
        pc_of(Flavour::I686, 256).cpus(2),
        pc_of(Flavour::I686Pae, 256).cpus(2),
    ] {
        let spec = spec.cmdline("cma=0 percpu_alloc=page");
        let page = spec.config.page_shift.bytes();
        let memory = ram(&spec);
        let look = |boot: &pagewright::Boot<'_>| {
            let info = boot.percpu.as_ref().expect("a first chunk");
            let start = info.paged.expect("units of pages");
            let pages = info.unit_size / page * u64::from(info.units());
            assert_eq!(
                (info.groups.len(), info.unit_size),
                (1, info.size_sum()),
                "no larger than what is in them"
            );
            let least = 12 << 10;
            assert!((least..least + page).contains(&info.dyn_size), "the least, and what rounding adds");
            let area = boot.early_areas.at(start).expect("an early area");
            assert_eq!((area.range.len, area.flags, area.caller), (pages * page, VmFlags::ALLOC, ""));
            let tables = boot.pgtable.expect("tables");
            let mut seen: Vec<u64> = (0..pages)
                .map(|n| {
                    let at = VirtAddr::new(start.get() + n * page);
                    let (leaf, level, _) = tables.with(|tree| tree.leaf(at)).expect("mapped");
                    assert_eq!(level, Level::PTE);
                    assert!(boot.mb.is_region_reserved(PhysRange::from_len(leaf.phys, page)));
                    let cpu = (n / (info.unit_size / page)) as u32;
                    let mut banks = boot.mb.regions(Set::Memory).iter();
                    let bank = banks.find(|bank| bank.range().contains(leaf.phys)).expect("RAM");
                    let node = bank.nid().unwrap_or(NodeId::ZERO);
                    assert_eq!(node, node_of(boot, cpu), "CPU {cpu}: {:#x}", leaf.phys);
                    leaf.phys.get()
                })
                .collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len() as u64, pages, "no page is there twice");
            // One group, but each processor stays on its node.
            let online = boot.online_by_node();
            for cpu in boot.possible_cpus.iter() {
                let node = node_of(boot, cpu);
                let there = boot.possible_cpus.iter().filter(|c| node_of(boot, *c) == node).count();
                assert_eq!((boot.node_of_cpu(cpu), info.node_of(cpu)), (node, Some(node)), "CPU {cpu}");
                if boot.machine.config.numa {
                    assert_eq!(online.on_node(node), there as u32);
                }
            }
            assert_eq!(info.node_of(boot.possible_cpus.ids()), None);
        };
        let (built, log) = spec.boot_looking(Depth::Memblock, |boot| boot.set_table_memory(memory), look);
        let built = built.unwrap_or_else(|e| panic!("{e}: {:#?}", log.lines.borrow()));
        let info = built.percpu.as_ref().expect("a first chunk");
        built.expect(&format!(
            "percpu: {} {}K pages/cpu s{} r{} d{}",
            info.unit_size / page,
            page >> 10,
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

#[test]
fn arm64_has_none_without_nodes() {
    let off = |c: &mut KernelConfig| {
        (c.numa, c.numa_emu, c.numa_balancing, c.pernuma_cma) = (false, false, false, false);
    };
    let facts = arm64(256).cpus(2).config(off).cmdline("percpu_alloc=page").boot();
    assert_eq!(facts.percpu.as_ref().expect("a first chunk").paged, None);
    facts.expect("percpu: Embedded ");
}

#[test]
fn as_many_processors_as_can_be_may_change_nodes_with_each_number_where_memory_is_in_pieces() {
    const CPUS: u32 = 512;
    let mut spec = pc(1024).cpus(CPUS).cmdline("percpu_alloc=page");
    spec.build.percpu_static = 40 << 10;
    // A hole every MiB through much of both nodes: each unit is a run, and each hole ends one.
    let holes = (0..40).flat_map(|n| [(300 + n) * MIB, (900 + n) * MIB]);
    let spec = spec.tables(|pc| {
        for hole in holes {
            pc.e820.push(E820Entry::new(hole, 4096, E820Kind::Reserved));
        }
        pc.srat = vec![affinity(0, 0, 512 * MIB), affinity(1, 512 * MIB, 512 * MIB)];
        pc.srat_cpus = (0..CPUS).map(|cpu| cpu_affinity(cpu % 2, cpu)).collect();
    });
    let facts = spec.boot();
    let info = facts.percpu.as_ref().expect("a first chunk");
    assert!(info.paged.is_some() && info.units() == CPUS);
    assert_eq!(info.node_of(CPUS - 1), NodeId::new(1));
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
