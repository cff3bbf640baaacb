//! Numbers that no machine has, as a caller may bring them: each is refused by name, and nothing is added to them on the way.

use super::bulk::empty;
use super::contig::small;
use super::*;
use crate::whole::with_plain_machine;
use pagewright_addr::{PageShift, Pfn, PfnRange};
use pagewright_sim::pages::{Pluggable, with_pluggable_machine};
use pagewright_sim::tenants::Tenants;
use pagewright_zone::Gfp;
use pagewright_zone::alloc::cma::DmaAreas;
use pagewright_zone::alloc::hotplug::{HotplugError, MemoryBlock, MemoryBlocks, NoNotifier, Plug};
use pagewright_zone::alloc::{AllocFailure, ContigError, IsolateFor, NoHooks};
use pagewright_zone::debug::{BadFree, MappedAs, TableCheck, TableCheckError};
use std::sync::atomic::AtomicU64;

const HUGE: [u64; 8] =
    [u64::MAX, u64::MAX - 1, u64::MAX - 4096, 1 << 63, (1 << 63) + 1, 1 << 52, (1 << 32) + 1, 1 << 32];

#[test]
fn more_pages_than_there_can_be_are_refused_by_every_form() {
    with_plain_machine(&small(4096, 1), NoHooks, |m| {
        let (before, all) = (buddyinfo(m), &m.allocator);
        let tenants = Tenants::new(*m.base.map());
        m.on_cpu(0, |cx| {
            let page = all.get_free_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            for pages in HUGE {
                let gfp = Gfp::GFP_KERNEL;
                assert_eq!(all.alloc_pages_runs(cx, node(0), gfp, pages, &mut empty(3)), 0);
                let none = all.alloc_contig_pages(cx, &tenants, node(0), gfp, pages).unwrap_err();
                assert!(matches!(none, ContigError::NoMemory { .. }), "{none}");
                let exact = all.alloc_pages_exact(cx, gfp, pages).unwrap_err();
                assert!(matches!(exact, AllocFailure::TooLarge { .. }), "{exact}");
                assert!(all.get_free_pages_exact(cx, gfp, pages).is_err());
                let areas = DmaAreas { device: None, per_node: &[], default: None };
                assert!(all.dma_alloc_pages(cx, &tenants, &areas, Some(node(0)), (pages, gfp)).is_err());
                // Ranges that begin in memory, and far from it.
                for start in [page, Pfn::new(pages), Pfn::ZERO] {
                    let pfns = PfnRange::from_len(start, pages);
                    let range =
                        all.alloc_contig_range(cx, &tenants, pfns, MigrateType::Movable, gfp).unwrap_err();
                    assert!(matches!(range, ContigError::Range { .. }), "{range}");
                    let isolate = IsolateFor::Contig(MigrateType::Movable);
                    assert!(all.start_isolate_page_range(pfns, isolate).is_err());
                }
                let freed = all.free_pages_exact_at(cx, page, pages).unwrap_err();
                assert!(!matches!(freed, BadFree::NoFrame(at) if at == page), "{freed}");
                let nowhere = Pfn::new(pages);
                assert_eq!(all.free_pages_at(cx, nowhere, Order::ZERO), Err(BadFree::NoFrame(nowhere)));
            }
            all.free_pages_at(cx, page, Order::ZERO).unwrap();
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn mappings_of_frames_that_no_machine_has_are_refused() {
    with_plain_machine(&small(4096, 1), NoHooks, |m| {
        let counts: Vec<_> = (0..4096).map(|_| AtomicU64::new(0)).collect();
        let check = TableCheck::new(&counts);
        for start in HUGE.map(Pfn::new) {
            for pages in HUGE {
                let refused = Err(TableCheckError::NoFrame(start));
                assert_eq!(check.set(m.base.map(), start, pages, MappedAs::File), refused);
                assert_eq!(check.clear(m.base.map(), start, pages, MappedAs::File), refused);
            }
        }
    });
}

#[test]
fn blocks_of_memory_that_no_machine_has_are_refused() {
    let machine =
        PlainMachine { plug: Pluggable { frames: 2048, nodes: vec![] }, ..PlainMachine::new(4096, 1) };
    with_pluggable_machine(&machine, NoHooks, None, |m, marks| {
        let before = buddyinfo(m);
        let mut room: Vec<_> = (0..8).map(|_| MemoryBlock::EMPTY).collect();
        let mut blocks = MemoryBlocks::new(&mut room, &m.allocator, 1024, PageShift::SHIFT_4K).unwrap();
        let possible = [node(0)].into_iter().collect();
        let mut plug = Plug { possible, ..super::hotplug::plug(marks, &NoNotifier) };
        for number in HUGE {
            assert!(blocks.pfns(number).is_empty() || blocks.pfns(number).start >= Pfn::new(1 << 32));
            assert_eq!(m.allocator.valid_zones(&blocks, number).count(), 0);
            let pfns = PfnRange::new(Pfn::new(0x10_0000), Pfn::new(number & !1023));
            let refused = m.allocator.add_memory(&mut blocks, node(0), pfns, &mut plug);
            assert_eq!(refused, Err(HotplugError::Blocks { capacity: 8 }));
        }
        assert_eq!(buddyinfo(m), before);
    });
}
