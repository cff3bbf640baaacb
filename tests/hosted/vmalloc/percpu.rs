//! Areas of per-CPU chunks: as far from each other as the first chunk's units, from the top down; and Linux's test case `percpu`.

use super::*;
use pagewright::vmalloc::cases::{self, PerCpuGround};
use pagewright_addr::PhysAddr;
use pagewright_kspace::vmalloc::{EarlyAreas, PcpuPart, PhysMapping, VfreeError, VmFlags, VmallocError};
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_pagetable::{FlushScope, TlbFlush};
use pagewright_percpu::{ChunkLayout, ChunkSource, FirstChunk, Geometry, How, PerCpuAllocator, PerCpuBytes};
use pagewright_platform::{Carve, NoInterrupts};
use pagewright_sim::vmalloc::with_vmalloc;
use pagewright_view::vmallocinfo::{self, Looked, Widths};
use std::alloc::{Layout as HostLayout, alloc_zeroed, dealloc};
use std::cell::Cell;
use std::ptr::NonNull;

type Region<'p, 'v, 'x, 'm, 's, 'a> = HostedVmalloc<'p, 'v, 'x, 'm, 's, 'a, X86Level4>;

/// Two groups of two units, 1 MiB apart, each of 64 KiB; the second's memory is another node's.
const UNIT: u64 = 64 << 10;
const OFFSETS: [u64; 4] = [0, UNIT, MIB, MIB + UNIT];

fn parts() -> [PcpuPart; 2] {
    [
        PcpuPart { offset: 0, size: 2 * UNIT, node: Some(node(0)) },
        PcpuPart { offset: MIB, size: 2 * UNIT, node: Some(node(1)) },
    ]
}

fn world(test: impl FnOnce(&Region<'_, '_, '_, '_, '_, '_>)) {
    let mut machine = VmallocMachine { config: lowest_first, ..machine(FormatKind::X86Level4, 0, 2) };
    machine.plain.ram = vec![(node(0), 0x4_0000, 4096), (node(1), 0x5_0000, 4096)];
    machine.plain.cpus = vec![node(0), node(1)];
    machine.range.len = 32 * MIB;
    with_vmalloc(&machine, X86Level4::default(), |m| {
        let before = buddyinfo_with_borders(m);
        test(m);
        expect_all_back(m, &before);
    });
}

#[test]
fn chunks_lie_from_the_top_down_with_the_same_distances_and_fill_each_others_holes() {
    world(|m| {
        m.on_cpu(0, |on| {
            let parts = parts();
            let top = m.vmalloc.range().start.get() + m.vmalloc.range().len;
            let first = m.vmalloc.pcpu_get_vm_areas(on, &parts, PAGE).unwrap();
            assert_eq!(first.get(), top - MIB - 2 * UNIT, "its last byte is the region's");
            // The second fits between the first's parts, right below each.
            let second = m.vmalloc.pcpu_get_vm_areas(on, &parts, PAGE).unwrap();
            assert_eq!(second.get(), first.get() - 2 * UNIT);
            // What is in the way of one part pushes all of them.
            let above = va(second.get() + MIB - UNIT);
            m.vmalloc
                .add_vm_area(on, VirtRange::from_len(above, UNIT), Default::default(), VmFlags::MAP)
                .unwrap();
            let third = m.vmalloc.pcpu_get_vm_areas(on, &parts, PAGE).unwrap();
            assert_eq!(third.get(), above.get() - MIB - 2 * UNIT);
            // Whose memory it is counts it; Linux's file tells neither pages nor nodes of such an area.
            assert_eq!(m.vmalloc.nr_pages(), 0);
            let mut text = String::new();
            let widths = Widths { virt: 16, phys: 16, page: PAGE };
            let looked = Looked { region: &m.vmalloc, on: &*on };
            vmallocinfo::write(&mut text, &[&looked], &EarlyAreas::new(), true, widths).unwrap();
            let chunks: Vec<_> = text.lines().filter(|line| line.contains("pcpu_get_vm_areas")).collect();
            assert_eq!(chunks.len(), 6, "{text}");
            let named = format!("{} pcpu_get_vm_areas vmalloc", 2 * UNIT);
            assert!(chunks.iter().all(|line| line.ends_with(&named)), "{text}");
            for base in [first, second, third] {
                for (part, home) in parts.iter().zip([0, 1]) {
                    let at = va(base.get() + part.offset);
                    let area = m.vmalloc.find_vm_area(at).unwrap();
                    assert_eq!((area.range().start, area.size), (at, part.size), "no guard page");
                    let mut of_node = Vec::new();
                    m.vmalloc.pages_by_node(on, at, &mut |node, pages| of_node.push((node.index(), pages)));
                    assert!(of_node.iter().all(|(node, _)| *node == home), "{of_node:?}");
                    let pages: u64 = of_node.iter().map(|(_, pages)| pages).sum();
                    assert_eq!(pages, part.size / PAGE, "{of_node:?}");
                    m.mmu.store(1, va(at.get() + part.size - 1), false, &[9]).unwrap();
                }
            }
            // Aligned as one asks.
            let aligned = m.vmalloc.pcpu_get_vm_areas(on, &parts, 2 * MIB).unwrap();
            assert!(aligned.is_aligned(2 * MIB));
            for base in [first, second, third, aligned] {
                m.vmalloc.pcpu_free_vm_areas(on, base, &parts).unwrap();
            }
            assert!(matches!(
                m.vmalloc.pcpu_free_vm_areas(on, first, &parts),
                Err(VfreeError::Nonexistent(at)) if at == first
            ));
            m.vmalloc.remove(on, above, VmFlags::MAP).unwrap();
        });
    });
}

#[test]
fn parts_that_are_no_chunk_and_regions_that_are_full_are_refused() {
    world(|m| {
        m.on_cpu(0, |on| {
            let part = |offset, size| PcpuPart { offset, size, node: None };
            for parts in [
                &[][..],
                &[part(PAGE, PAGE)],
                &[part(0, 0)],
                &[part(0, 100)],
                &[part(0, 2 * PAGE), part(PAGE, PAGE)],
                &[part(0, PAGE), part(u64::MAX - PAGE + 1, PAGE)],
                &[part(0, PAGE); 65],
            ] {
                let refused = m.vmalloc.pcpu_get_vm_areas(on, parts, PAGE);
                assert!(matches!(refused, Err(VmallocError::Unaligned(_))), "{parts:?}: {refused:?}");
            }
            let far = [part(0, PAGE), part(31 * MIB, PAGE)];
            let held: Vec<_> =
                (0..256).map(|_| m.vmalloc.pcpu_get_vm_areas(on, &far, PAGE).unwrap()).collect();
            // As many as there are pages above the second part's lowest place.
            assert_eq!(held.last().unwrap().get(), m.vmalloc.range().start.get());
            let refused = m.vmalloc.pcpu_get_vm_areas(on, &far, PAGE);
            assert!(matches!(refused, Err(VmallocError::Space { .. })), "{refused:?}");
            held.into_iter().for_each(|base| m.vmalloc.pcpu_free_vm_areas(on, base, &far).unwrap());
            // Addresses that only wait for their flush are enough.
            let base = m.vmalloc.pcpu_get_vm_areas(on, &far, PAGE).unwrap();
            m.vmalloc.pcpu_free_vm_areas(on, base, &far).unwrap();
        });
    });
}

#[test]
fn a_chunk_whose_memory_or_tables_fail_leaves_nothing_behind() {
    world(|m| {
        m.on_cpu(0, |on| {
            // In two page tables: where the second fails, the first part is there already.
            let mut parts = parts();
            parts[1].offset = 8 * MIB;
            let (mut failures, mut retries, mut done) = (0, 0, false);
            for nth in 1..200 {
                let purges = m.vmalloc.purges();
                m.pages.allocator.fail_nth(nth);
                let end = m.vmalloc.pcpu_get_vm_areas(on, &parts, PAGE);
                m.pages.allocator.fail_nth(0);
                match end {
                    Ok(base) => {
                        // Where the second failed, the first's pages went back, which may have been enough.
                        let again = m.vmalloc.purges() > purges;
                        retries += u32::from(again);
                        done |= !again;
                        m.vmalloc.pcpu_free_vm_areas(on, base, &parts).unwrap();
                    }
                    Err(_) => failures += 1,
                }
                m.vmalloc.give_all_back(on);
                m.vmalloc.release_tables(on);
                assert_eq!((m.vmalloc.nr_pages(), m.vmalloc.gaps().count), (0, 1), "the {nth}th");
            }
            assert!(done && failures >= 1 && retries >= 1, "{failures} {retries}");
        });
    });
}

#[test]
fn chunks_larger_than_the_machine_are_refused_before_anything_is_taken() {
    world(|m| {
        m.on_cpu(0, |on| {
            let Err(VmallocError::Size { most, .. }) = m.vmalloc.vmalloc(on, u64::MAX) else {
                panic!("more than any machine has")
            };
            let part = |offset, size| PcpuPart { offset, size, node: None };
            let taken = m.vmalloc.pcpu_get_vm_areas(on, &[part(0, most), part(most, PAGE)], PAGE);
            assert_eq!(taken, Err(VmallocError::Size { size: most + PAGE, most }));
        });
    });
}

#[test]
fn pages_that_wait_for_their_flush_are_enough_for_a_chunk() {
    let config = |config: &mut VmallocConfig| {
        lowest_first(config);
        config.lazy_pages = 1 << 20;
    };
    // More addresses than memory: it is pages that run out.
    let mut machine = VmallocMachine { config, ..machine(FormatKind::X86Level4, 32, 1) };
    machine.range.len = 512 * MIB;
    with_vmalloc(&machine, X86Level4::default(), |m| {
        let before = buddyinfo_with_borders(m);
        m.on_cpu(0, |on| {
            let part = |offset, size| PcpuPart { offset, size, node: None };
            // All of it in the first part, or in the second, when the first is there already.
            for parts in
                [[part(0, 16 * MIB), part(16 * MIB, PAGE)], [part(0, 2 * MIB), part(2 * MIB, 14 * MIB)]]
            {
                let large = m.vmalloc.vmalloc(on, 24 * MIB).unwrap();
                m.vmalloc.vfree(on, large).unwrap();
                assert!(m.vmalloc.lazy_pages() >= 24 * MIB / PAGE, "they wait");
                let base = m.vmalloc.pcpu_get_vm_areas(on, &parts, PAGE).unwrap();
                m.vmalloc.pcpu_free_vm_areas(on, base, &parts).unwrap();
                m.vmalloc.purge_vmap_area_lazy(on);
            }
            // Where a flush is not enough either, what was mapped already waits for the next.
            let held = m.vmalloc.vmalloc(on, 24 * MIB).unwrap();
            let parts = [part(0, 2 * MIB), part(2 * MIB, 14 * MIB)];
            let refused = m.vmalloc.pcpu_get_vm_areas(on, &parts, PAGE);
            assert!(matches!(refused, Err(VmallocError::Pages { .. })), "{refused:?}");
            assert_eq!(m.vmalloc.lazy_pages(), 2 * MIB / PAGE);
            m.vmalloc.vfree(on, held).unwrap();
        });
        expect_all_back(m, &before);
    });
}

/// Chunks whose addresses and pages are areas of vmalloc's, and whose bytes the host can reach: these are the host's own.
struct Chunks<'r, 'p, 'v, 'x, 'm, 's, 'a>(&'r Region<'p, 'v, 'x, 'm, 's, 'a>);

fn host_layout(layout: &ChunkLayout<'_>) -> HostLayout {
    HostLayout::from_size_align(layout.bytes() as usize, PAGE as usize).unwrap()
}

// SAFETY: as many bytes as are asked for, zeroed, aligned to a page, of an allocation that nobody else has until it is given back.
unsafe impl ChunkSource for Chunks<'_, '_, '_, '_, '_, '_, '_> {
    type Memory = (VirtAddr, NonNull<u8>, HostLayout);

    fn create(&self, layout: &ChunkLayout<'_>) -> Option<(Self::Memory, NonNull<u8>)> {
        let base = self.0.on_cpu(0, |on| self.0.vmalloc.pcpu_get_vm_areas(on, &parts(), PAGE)).ok()?;
        let host = host_layout(layout);
        // SAFETY: of some bytes.
        let first = NonNull::new(unsafe { alloc_zeroed(host) })?;
        first.as_ptr().expose_provenance();
        Some(((base, first, host), first))
    }

    fn destroy(&self, (base, first, host): Self::Memory) {
        self.0.on_cpu(0, |on| self.0.vmalloc.pcpu_free_vm_areas(on, base, &parts())).unwrap();
        // SAFETY: allocated in `create` with this layout; the chunk is gone.
        unsafe { dealloc(first.as_ptr(), host) };
    }
}

type Copies<'g, 'r, 'p, 'v, 'x, 'm, 's, 'a> =
    PerCpuAllocator<'g, Chunks<'r, 'p, 'v, 'x, 'm, 's, 'a>, NoInterrupts>;

/// Per-CPU memory whose chunks are the region's.
struct Hosted<'c, 'g, 'r, 'p, 'v, 'x, 'm, 's, 'a>(&'c Copies<'g, 'r, 'p, 'v, 'x, 'm, 's, 'a>);

impl Hosted<'_, '_, '_, '_, '_, '_, '_, '_, '_> {
    /// Each CPU and its copy, which begins with a word.
    fn copies(&self, bytes: &PerCpuBytes) -> Vec<(u32, NonNull<u32>)> {
        let copy = |cpu| self.0.copy(bytes, cpu as usize).unwrap().cast();
        (0..OFFSETS.len() as u32).map(|cpu| (cpu, copy(cpu))).collect()
    }
}

impl PerCpuGround for Hosted<'_, '_, '_, '_, '_, '_, '_, '_, '_> {
    type Bytes = PerCpuBytes;

    fn page_bytes(&self) -> u64 {
        PAGE
    }

    fn alloc(&mut self, size: u64, align: u64) -> Option<PerCpuBytes> {
        Some(self.0.alloc(size, align, How::Grow).unwrap())
    }

    fn write(&mut self, bytes: &PerCpuBytes, align: u64, number: u32) -> bool {
        self.copies(bytes).into_iter().all(|(cpu, copy)| {
            // SAFETY: a copy of at least four bytes, this test's; multiples of 4 are aligned for it.
            unsafe { copy.write(number ^ cpu) };
            (copy.addr().get() as u64).is_multiple_of(align.max(4))
        })
    }

    fn has(&mut self, bytes: &PerCpuBytes, number: u32) -> bool {
        // SAFETY: as in `write`.
        self.copies(bytes).into_iter().all(|(cpu, copy)| unsafe { copy.read() } == number ^ cpu)
    }

    fn free(&mut self, bytes: PerCpuBytes) -> bool {
        self.0.free(bytes).is_ok()
    }
}

/// The case of Linux's vmalloc test module.
#[test]
fn percpu() {
    world(|m| {
        let geometry = Geometry::new(PAGE, UNIT, &OFFSETS).unwrap();
        let layout = HostLayout::from_size_align(geometry.span() as usize, PAGE as usize).unwrap();
        // SAFETY: of some bytes.
        let lowest = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap();
        let first = FirstChunk { lowest, static_size: 0, reserved_size: 0, dyn_size: UNIT };
        let bytes = Copies::bytes_for(&geometry, 64);
        let mut words = vec![0_u64; bytes.div_ceil(8) as usize];
        let mut room = Carve::of(&mut words);
        // SAFETY: the units lie in the allocation above, which nobody else uses and which outlives the allocator.
        let percpu =
            unsafe { PerCpuAllocator::new(geometry, &first, 64, &mut room, Chunks(m), NoInterrupts) }
                .unwrap();
        let mut held: Vec<_> = (0..if cfg!(miri) { 40 } else { 1500 }).map(|_| None).collect();
        assert_eq!(cases::percpu(&mut Hosted(&percpu), &mut held), Ok(held.len() as u32));
        // The allocations are back, and the chunks that were made for them not yet.
        if !cfg!(miri) {
            assert!(percpu.stats().nr_max_chunks >= 10, "{:?}", percpu.stats());
        }
        percpu.shrink();
        percpu.validate().unwrap();
        assert_eq!(m.vmalloc.nr_pages(), 0);
        // SAFETY: allocated above, and the allocator is gone.
        unsafe { dealloc(lowest.as_ptr(), layout) };
    });
}

/// Flushes, and counts how often new entries were made visible.
struct Counted<'f> {
    tlb: &'f mut dyn TlbFlush,
    published: &'f Cell<u32>,
}

impl TlbFlush for Counted<'_> {
    fn flush(&mut self, scope: &FlushScope) {
        self.tlb.flush(scope);
    }

    fn publish(&mut self) {
        self.published.set(self.published.get() + 1);
    }
}

#[test]
fn new_entries_are_made_visible_before_anybody_learns_the_address() {
    world(|m| {
        let published = &Cell::new(0);
        let mut all = m.mmu.all_cpus();
        let mut tlb = Counted { tlb: &mut all, published };
        m.on_cpu_flushing(0, &mut tlb, |on| {
            let once = |what: &str| assert!(published.take() >= 1, "{what}");
            let at = m.vmalloc.vmalloc(on, 3 * PAGE).unwrap();
            once("pages in a new table");
            let second = m.vmalloc.vmalloc(on, 3 * PAGE).unwrap();
            once("pages in a table that is there");
            let page = m.vmalloc.vmalloc_to_pfn(at).unwrap();
            let attr = m.vmalloc.config().attr;
            let mapped = m.vmalloc.vmap(on, &[page, page], VmFlags::MAP, attr).unwrap();
            once("vmap");
            let device = PhysMapping::io(PhysAddr::new(0xfed0_0000), PAGE, attr);
            let device = m.vmalloc.map_phys(on, &device).unwrap();
            once("by physical address");
            let piece = m.vmalloc.vm_map_ram(on, &[page]).unwrap();
            once("vm_map_ram");
            let base = m.vmalloc.pcpu_get_vm_areas(on, &parts(), PAGE).unwrap();
            once("per-CPU chunks");
            m.vmalloc.vm_unmap_ram(on, piece, 1).unwrap();
            m.vmalloc.vunmap(on, mapped).unwrap();
            m.vmalloc.vunmap(on, device).unwrap();
            m.vmalloc.pcpu_free_vm_areas(on, base, &parts()).unwrap();
            for at in [at, second] {
                m.vmalloc.vfree(on, at).unwrap();
            }
            m.vmalloc.vm_unmap_aliases(on);
            assert_eq!(published.get(), 0, "taking entries away needs a flush, not this");
        });
    });
}
