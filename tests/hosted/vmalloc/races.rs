//! What is refused or left as it was where an area cannot be taken apart, and what holds while other CPUs free.

use super::*;
use pagewright_addr::PhysAddr;
use pagewright_kspace::vmalloc::{
    EarlyArea, EarlyAreas, PhysMapping, VfreeError, VmContext, VmFlags, VmRequest, VmallocError,
};
use pagewright_page::{FrameIdx, Frames, State};
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_pagetable::{FlushScope, Level, MapOptions, TableSource, TlbFlush, UnmapError};
use pagewright_sim::vmalloc::{kernel_data, with_vmalloc};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::AllocFailure;
use std::sync::mpsc;
use std::time::Duration;

/// Lowest first, and nothing is flushed unless asked for.
fn plain(mib: u64) -> VmallocMachine {
    let config = |config: &mut VmallocConfig| {
        lowest_first(config);
        config.lazy_pages = u64::MAX;
    };
    VmallocMachine { config, ..machine(FormatKind::X86Level4, mib, 2) }
}

#[test]
fn areas_without_pages_of_their_own_are_not_called_vmallocs() {
    with_vmalloc(&plain(16), X86Level4::default(), |m| {
        let attr = kernel_data(&X86Level4::default());
        m.on_cpu(0, |on| {
            let page = on.allocator.get_zeroed_page(on.context, Gfp::GFP_KERNEL).unwrap();
            for wrong in [VmFlags::ALLOC, VmFlags::MAP_PUT_PAGES] {
                let refused = VmallocError::Flags(wrong);
                assert_eq!(m.vmalloc.vmap(on, &[page], wrong, attr), Err(refused));
                assert_eq!(m.vmalloc.get_vm_area(on, PAGE, 1, None, wrong), Err(refused));
                let io =
                    PhysMapping { flags: wrong, ..PhysMapping::io(PhysAddr::new(0xfed0_0000), PAGE, attr) };
                assert_eq!(m.vmalloc.map_phys(on, &io), Err(refused));
            }
            let request = VmRequest::new(PAGE).with_flags(VmFlags::MAP_PUT_PAGES);
            assert_eq!(
                m.vmalloc.vmalloc_request(on, &request),
                Err(VmallocError::Flags(VmFlags::MAP_PUT_PAGES))
            );
            // An early area of vmalloc's kind goes without pages being counted off.
            let range = VirtRange { len: PAGE, ..m.vmalloc.range() };
            m.vmalloc.add_vm_area(on, range, PhysAddr::ZERO, VmFlags::ALLOC).unwrap();
            m.vmalloc.vfree(on, range.start).unwrap();
            assert_eq!(m.vmalloc.nr_pages(), 0);
            on.allocator.free_pages_at(on.context, page, Order::ZERO).unwrap();
        });
    });
}

#[test]
fn an_area_that_cannot_be_unmapped_stays_in_use() {
    with_vmalloc(&plain(16), X86Level4::default(), |m| {
        let attr = kernel_data(&X86Level4::default());
        let start = m.vmalloc.range().start;
        let block = VirtRange { start, len: 2 * MIB };
        m.on_cpu(0, |on| {
            // A neighbour has the upper tables made that the block needs.
            let within = Some(VirtRange { start: va(start.get() + 2 * MIB), len: 2 * MIB });
            m.vmalloc.vmalloc_request(on, &VmRequest { within, ..VmRequest::new(PAGE) }).unwrap();
            // As the boot may have mapped: by a block that reaches beyond what is called an area.
            let options = MapOptions { max_leaf: Level::PMD, ..MapOptions::PAGES };
            let mut tables = NoTables;
            let mut part = m.vmalloc.cursor().apart(block).unwrap();
            part.map(block, PhysAddr::new(2 * MIB), attr, &options, &mut tables).unwrap();
            drop(part);
            let area = VirtRange { start, len: 3 * PAGE };
            m.vmalloc.add_vm_area(on, area, PhysAddr::new(2 * MIB), VmFlags::IOREMAP).unwrap();
            let refused = m.vmalloc.vunmap(on, start);
            assert!(matches!(refused, Err(VfreeError::Tables(UnmapError::SplitsLeaf { .. }))), "{refused:?}");
            assert_eq!(m.vmalloc.find_vm_area(start).unwrap().range(), area);
            assert_eq!((m.vmalloc.validate(), m.vmalloc.lazy_pages()), (Ok(()), 0));
            assert_eq!(m.vmalloc.vunmap(on, start), refused, "and may be tried again");
        });
    });
}

/// Nothing but what is there.
struct NoTables;

impl TableSource for NoTables {
    fn alloc_table(&mut self) -> Option<PhysAddr> {
        None
    }

    fn free_table(&mut self, page: PhysAddr) {
        panic!("{page:?} is not to go");
    }
}

#[test]
fn early_areas_that_lie_partly_in_the_region_are_refused() {
    with_vmalloc(&plain(16), X86Level4::default(), |m| {
        let start = m.vmalloc.range().start.get();
        let area = |at, pages| EarlyArea {
            range: VirtRange::from_len(va(at), pages * PAGE),
            phys: PhysAddr::ZERO,
            flags: VmFlags::MAP,
            caller: "",
        };
        let mut early = EarlyAreas::new();
        early.add(area(start - PAGE, 2)).unwrap();
        early.add(area(start + 8 * PAGE, 2)).unwrap();
        m.on_cpu(0, |on| {
            let refused = UnmapError::OutsideCursor(area(start - PAGE, 2).range);
            assert_eq!(m.vmalloc.adopt(on, &early), Err(VmallocError::Tables(refused)));
            assert_eq!(m.vmalloc.find_vm_area(va(start + 8 * PAGE)), None, "none was taken");
        });
    });
}

/// A task that tells how it allocates, and does something else before it hears that there is no page, or before pages are free.
struct Told<'t, C> {
    on: &'t mut C,
    asked: Vec<Gfp>,
    at_failure: Option<Box<dyn FnOnce() + 't>>,
    before_free: Option<Box<dyn FnOnce() + 't>>,
}

impl<'t, C> Told<'t, C> {
    fn new(on: &'t mut C) -> Self {
        Self { on, asked: Vec::new(), at_failure: None, before_free: None }
    }

    fn failing<T>(&mut self, end: Result<T, AllocFailure>) -> Result<T, AllocFailure> {
        if end.is_err()
            && let Some(then) = self.at_failure.take()
        {
            then();
        }
        end
    }
}

impl<'a, C: VmContext<'a>> VmContext<'a> for Told<'_, C> {
    fn cpu(&self) -> usize {
        self.on.cpu()
    }

    fn alloc(&mut self, node: Option<NodeId>, gfp: Gfp, order: Order) -> Result<Frames<'a>, AllocFailure> {
        self.asked.push(gfp);
        let end = self.on.alloc(node, gfp, order);
        self.failing(end)
    }

    fn alloc_bulk(&mut self, node: Option<NodeId>, gfp: Gfp, slots: &mut [Option<Frames<'a>>]) -> usize {
        self.on.alloc_bulk(node, gfp, slots)
    }

    fn free(&mut self, frames: impl Iterator<Item = Frames<'a>>) {
        if let Some(first) = self.before_free.take() {
            first();
        }
        self.on.free(frames);
    }

    fn node_of(&self, idx: FrameIdx) -> NodeId {
        self.on.node_of(idx)
    }

    fn flush(&mut self, scope: &FlushScope) {
        self.on.flush(scope);
    }
}

#[test]
fn tables_are_allocated_as_the_request_says() {
    with_vmalloc(&plain(16), X86Level4::default(), |m| {
        m.on_cpu(0, |on| {
            let mut on = Told::new(on);
            let gfp = Gfp::GFP_NOFS | Gfp::NOWARN;
            let request = VmRequest::new(PAGE).with_gfp(gfp | Gfp::ZERO);
            m.vmalloc.vmalloc_request(&mut on, &request).unwrap();
            assert_eq!(on.asked[0], gfp | Gfp::ZERO | Gfp::HIGHMEM, "the page");
            assert_eq!(on.asked[1..], [gfp; 3], "a table of each level below the root");
        });
    });
}

#[test]
fn nothing_is_asked_for_in_another_way_for_the_sake_of_blocks() {
    with_vmalloc(&plain(16), X86Level4::default(), |m| {
        m.on_cpu(0, |on| {
            let mut on = Told::new(on);
            for pages in [2, 8, 16, 32] {
                m.vmalloc.vmalloc(&mut on, pages * PAGE).unwrap();
            }
            assert!(!on.asked.is_empty(), "tables at least");
            assert!(on.asked.iter().all(|gfp| gfp.contains(Gfp::RECLAIM)), "{:?}", on.asked);
        });
    });
}

#[test]
fn pages_that_another_cpu_gave_back_meanwhile_are_found() {
    with_vmalloc(&plain(16), X86Level4::default(), |m| {
        let most = 3500 * PAGE;
        let all = m.on_cpu(1, |on| m.vmalloc.vmalloc(on, most).unwrap());
        m.on_cpu(0, |on| {
            let free_all = || {
                m.on_cpu(1, |on| {
                    m.vmalloc.vfree(on, all).unwrap();
                    assert_eq!(m.vmalloc.purge_vmap_area_lazy(on), 1);
                });
            };
            let mut on = Told { at_failure: Some(Box::new(free_all)), ..Told::new(on) };
            let at = m.vmalloc.vmalloc(&mut on, most);
            assert!(on.at_failure.is_none(), "there was too little at first");
            assert!(at.is_ok(), "{at:?}");
        });
    });
}

#[test]
fn pages_that_their_cpu_is_taking_back_are_waited_for() {
    let config = |config: &mut VmallocConfig| (config.huge, config.lazy_pages) = (false, 2000);
    let machine = VmallocMachine { config, ..machine(FormatKind::X86Level4, 16, 2) };
    with_vmalloc(&machine, X86Level4::default(), |m| {
        m.on_cpu(1, |on| {
            let at = m.vmalloc.vmalloc(on, 2500 * PAGE).unwrap();
            m.vmalloc.vfree(on, at).unwrap();
        });
        assert_eq!(m.vmalloc.purges(), 1, "all of it is flushed");
        std::thread::scope(|threads| {
            let mut other = None;
            // CPU 1 has the area out of its list, and not freed its pages, when CPU 0 finds too few.
            let meanwhile = || {
                let (failed, wait) = mpsc::channel();
                other = Some(threads.spawn(move || {
                    m.on_cpu(0, |on| {
                        let then = move || failed.send(()).unwrap();
                        let mut on = Told { at_failure: Some(Box::new(then)), ..Told::new(on) };
                        m.vmalloc.vmalloc(&mut on, 3500 * PAGE)
                    })
                }));
                wait.recv_timeout(Duration::from_secs(60)).expect("there was too little at first");
            };
            m.on_cpu(1, |on| {
                let mut on = Told { before_free: Some(Box::new(meanwhile)), ..Told::new(on) };
                m.vmalloc.vmalloc(&mut on, PAGE).unwrap();
            });
            let found = other.expect("pages were freed").join().unwrap();
            assert!(found.is_ok(), "{found:?}");
        });
    });
}

#[test]
fn addresses_that_their_cpu_is_taking_back_are_waited_for() {
    let config = |config: &mut VmallocConfig| config.lazy_pages = 40;
    let mut machine = VmallocMachine { config, ..machine(FormatKind::X86Level4, 16, 2) };
    machine.range.len = 64 * PAGE;
    with_vmalloc(&machine, X86Level4::default(), |m| {
        m.on_cpu(1, |on| {
            let at = m.vmalloc.vmalloc(on, 40 * PAGE).unwrap();
            m.vmalloc.vfree(on, at).unwrap();
        });
        assert_eq!(m.vmalloc.purges(), 1);
        std::thread::scope(|threads| {
            let mut other = None;
            let meanwhile = || {
                other = Some(threads.spawn(|| m.on_cpu(0, |on| m.vmalloc.vmalloc(on, 50 * PAGE))));
                std::thread::sleep(Duration::from_millis(100));
            };
            m.on_cpu(1, |on| {
                let mut on = Told { before_free: Some(Box::new(meanwhile)), ..Told::new(on) };
                m.vmalloc.vmalloc(&mut on, PAGE).unwrap();
            });
            let found = other.expect("pages were freed").join().unwrap();
            assert!(found.is_ok(), "{found:?}");
        });
    });
}

/// Flushes once `then` has been.
struct After<'t, T> {
    tlb: T,
    then: Box<dyn FnMut() + 't>,
}

impl<T: TlbFlush> TlbFlush for After<'_, T> {
    fn flush(&mut self, scope: &FlushScope) {
        (self.then)();
        self.tlb.flush(scope);
    }
}

#[test]
fn addresses_that_another_cpu_is_giving_back_are_waited_for() {
    let mut machine = plain(16);
    machine.range.len = 2 * MIB;
    let most = machine.range.len - PAGE;
    with_vmalloc(&machine, X86Level4::default(), |m| {
        let all = m.on_cpu(1, |on| m.vmalloc.vmalloc(on, most).unwrap());
        m.on_cpu(1, |on| m.vmalloc.vfree(on, all).unwrap());
        std::thread::scope(|threads| {
            let mut other = None;
            // CPU 1 has taken what waits out of its list when CPU 0 looks for room.
            let then = || {
                other.get_or_insert_with(|| {
                    let other = threads.spawn(move || m.on_cpu(0, |on| m.vmalloc.vmalloc(on, most)));
                    std::thread::sleep(Duration::from_millis(100));
                    other
                });
            };
            let mut tlb = After { tlb: m.mmu.all_cpus(), then: Box::new(then) };
            m.on_cpu_flushing(1, &mut tlb, |on| assert_eq!(m.vmalloc.purge_vmap_area_lazy(on), 1));
            drop(tlb);
            let found = other.unwrap().join().unwrap();
            assert_eq!(found, Ok(all));
        });
    });
}

#[test]
fn an_area_is_not_freed_while_it_is_read() {
    with_vmalloc(&plain(16), X86Level4::default(), |m| {
        let map = *m.pages.base.map();
        let at = m.on_cpu(1, |on| m.vmalloc.vmalloc(on, 2 * PAGE).unwrap());
        let frame = map.idx(m.vmalloc.vmalloc_to_pfn(at).unwrap()).unwrap();
        std::thread::scope(|threads| {
            let (freed, wait) = mpsc::channel();
            let mut freed = Some(freed);
            let mut into = vec![0; 2 * PAGE as usize];
            let reached = m.vmalloc.vread(at, &mut into, &mut |_, _| {
                let Some(freed) = freed.take() else { return };
                threads.spawn(move || {
                    m.on_cpu(1, |on| {
                        m.vmalloc.vfree(on, at).unwrap();
                        // Others may have its pages from here on.
                        m.vmalloc.purge_vmap_area_lazy(on);
                    });
                    // Whoever read it may have gone.
                    let _ = freed.send(());
                });
                let soon = wait.recv_timeout(Duration::from_millis(100));
                assert!(soon.is_err(), "it was freed under the reader");
                assert_eq!(map.state(frame), State::Kernel);
            });
            assert_eq!(reached as u64, 2 * PAGE);
            wait.recv().unwrap();
            assert_ne!(map.state(frame), State::Kernel, "it was freed afterwards");
        });
    });
}

#[test]
fn pages_that_wait_are_never_counted_off_before_they_were_counted() {
    let machine = VmallocMachine { config: |c| c.lazy_pages = 0, ..machine(FormatKind::X86Level4, 16, 2) };
    let times = if cfg!(miri) { 4 } else { 20_000 };
    with_vmalloc(&machine, X86Level4::default(), |m| {
        std::thread::scope(|threads| {
            for cpu in 0..2 {
                threads.spawn(move || {
                    for _ in 0..times {
                        m.on_cpu(cpu, |on| {
                            let at = m.vmalloc.vmalloc(on, PAGE).unwrap();
                            m.vmalloc.vfree(on, at).unwrap();
                            let waiting = m.vmalloc.lazy_pages();
                            assert!(waiting < 1 << 32, "{waiting:#x} pages wait");
                        });
                    }
                });
            }
        });
        m.on_cpu(0, |on| m.vmalloc.purge_vmap_area_lazy(on));
        assert_eq!(m.vmalloc.lazy_pages(), 0);
    });
}
