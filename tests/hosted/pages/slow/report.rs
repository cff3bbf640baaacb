//! What is said when an allocation fails, in Linux's words.

use super::*;
use pagewright_page::Frames;
use pagewright_sim::pages::Pluggable;
use pagewright_zone::NodeMask;
use pagewright_zone::alloc::report::{Counts, NoCounts, NodeCounts, SwapCounts, ZoneCounts};
use pagewright_zone::alloc::{Failure, NoHooks, NotZeroed};
use pagewright_zone::buddy::ZoneId;
use std::sync::Mutex;

/// Owners of pages who know what they have.
struct Owners;

impl Counts for Owners {
    fn node(&self, nid: NodeId) -> NodeCounts {
        let n = u64::from(nid.get()) + 1;
        NodeCounts {
            active_anon: 10 * n,
            slab_reclaimable: 7,
            shmem_thp: 512,
            kernel_stack: 48,
            file_pages: 100,
            all_unreclaimable: n == 2,
            ..NodeCounts::default()
        }
    }
    fn zone(&self, _: ZoneId) -> ZoneCounts {
        ZoneCounts { present: Some(5000), bounce: 1, other_pcp: 2, ..ZoneCounts::default() }
    }
    fn swap(&self) -> SwapCounts {
        SwapCounts { in_cache: 3, free: 256, total: 1024 }
    }
    fn hwpoisoned(&self) -> Option<u64> {
        Some(0)
    }
    fn hugepages(&self, _: NodeId, each: &mut dyn FnMut(u64, u64, u64, u64)) {
        each(4, 3, 0, 2048);
    }
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Hooks for &Log {
    fn zero(&self, _: &Frames<'_>) -> Result<(), NotZeroed> {
        Err(NotZeroed)
    }
    fn report(&self, failure: &Failure<'_>) {
        let online = (0..2).map(node).collect();
        let mut text = failure.line("stress", "/", &online).to_string() + "\n";
        failure.show_mem(&Owners, &mut text).unwrap();
        self.0.lock().unwrap().push(text);
    }
}

#[test]
fn a_failure_is_reported_as_linux_reports_it() {
    let log = Log::default();
    let machine = PlainMachine { dma32_end: 0x4_0000 + (16 << 8), ..table::two_nodes() };
    with_plain_machine(&machine, &log, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let zones = m.allocator.zones();
            assert_eq!((zones[0].kind(), zones[1].kind()), (ZoneKind::Dma32, ZoneKind::Normal));
            let mut held = vec![];
            let fill = Gfp::GFP_NOWAIT | Gfp::NOWARN;
            while let Ok(page) = m.allocator.alloc_pages(cx, fill, Order::ZERO) {
                held.push(page);
            }
            let gfp = Gfp::GFP_KERNEL | Gfp::COMP | Gfp::ZERO | Gfp::NORETRY;
            assert!(m.allocator.alloc_pages(cx, gfp | Gfp::NOWARN, order(3)).is_err());
            assert!(log.0.lock().unwrap().is_empty(), "not wanted");
            assert!(m.allocator.alloc_pages(cx, gfp, order(3)).is_err());
            let text = log.0.lock().unwrap().pop().unwrap();
            let lines: Vec<_> = text.lines().collect();
            assert_eq!(
                lines[0],
                "stress: page allocation failure: order:3, \
                 mode:0x50dc0(GFP_KERNEL|__GFP_NORETRY|__GFP_COMP|__GFP_ZERO), nodemask=(null),cpuset=/,mems_allowed=0-1"
            );
            let free: u64 = zones.iter().map(|z| z.free_pages()).sum();
            let local: Vec<_> =
                zones.iter().map(|z| u64::from(cx.cpu.enter().unwrap().count(z.id()))).collect();
            let totals = [
                "Mem-Info:".to_owned(),
                "active_anon:30 inactive_anon:0 isolated_anon:0".to_owned(),
                " active_file:0 inactive_file:0 isolated_file:0".to_owned(),
                " unevictable:0 dirty:0 writeback:0".to_owned(),
                " slab_reclaimable:14 slab_unreclaimable:0".to_owned(),
                " mapped:0 shmem:0 pagetables:0".to_owned(),
                " sec_pagetables:0 bounce:2".to_owned(),
                " kernel_misc_reclaimable:0".to_owned(),
                format!(" free:{free} free_pcp:{} free_cma:0", local.iter().sum::<u64>() + 4),
            ];
            assert_eq!(lines[1..10], totals);
            assert_eq!(
                lines[10],
                "Node 0 active_anon:40kB inactive_anon:0kB active_file:0kB inactive_file:0kB unevictable:0kB \
                 isolated(anon):0kB isolated(file):0kB mapped:0kB dirty:0kB writeback:0kB shmem:0kB \
                 shmem_thp: 2048kB shmem_pmdmapped: 0kB anon_thp: 0kB writeback_tmp:0kB kernel_stack:48kB \
                 pagetables:0kB sec_pagetables:0kB all_unreclaimable? no"
            );
            assert!(lines[11].starts_with("Node 1 active_anon:80kB ") && lines[11].ends_with("? yes"));
            let z = &zones[0];
            let kib = |pages: u64| 4 * pages;
            assert_eq!(
                lines[12],
                format!(
                    "Node 0 DMA32 free:{}kB boost:0kB min:{}kB low:{}kB high:{}kB reserved_highatomic:0KB \
                     active_anon:0kB inactive_anon:0kB active_file:0kB inactive_file:0kB unevictable:0kB \
                     writepending:0kB present:20000kB managed:16384kB mlocked:0kB bounce:4kB free_pcp:{}kB \
                     local_pcp:{}kB free_cma:0kB",
                    kib(z.free_pages()),
                    kib(z.min_pages()),
                    kib(z.low_pages()),
                    kib(z.high_pages()),
                    kib(local[0] + 2),
                    kib(local[0])
                )
            );
            assert_eq!(
                lines[13],
                format!("lowmem_reserve[]: 0 {} 0", z.lowmem_reserve(ZoneKind::Normal)),
                "one for each kind of zone"
            );
            assert!(lines[14].starts_with("Node 1 Normal free:"));
            // Free blocks add up to the zone's free pages.
            for (line, zone) in lines[16..18].iter().zip(zones) {
                let (name, rest) = line.split_once(": ").unwrap();
                assert_eq!(name, format!("Node {} {}", zone.nid().get(), zone.kind()));
                let (blocks, total) = rest.split_once(" = ").unwrap();
                assert_eq!(total, format!("{}kB", kib(zone.free_pages())));
                let numbers: Vec<_> = blocks.split(' ').filter(|word| word.contains('*')).collect();
                assert_eq!(numbers.len(), 11);
                let sum: u64 = numbers
                    .iter()
                    .map(|n| n.trim_end_matches("kB").split_once('*').unwrap())
                    .map(|(n, size)| n.parse::<u64>().unwrap() * size.parse::<u64>().unwrap())
                    .sum();
                assert_eq!(sum, kib(zone.free_pages()), "{line}");
            }
            let rest = [
                "Node 0 hugepages_total=4 hugepages_free=3 hugepages_surp=0 hugepages_size=2048kB",
                "Node 1 hugepages_total=4 hugepages_free=3 hugepages_surp=0 hugepages_size=2048kB",
                "200 total pagecache pages",
                "3 pages in swap cache",
                "Free swap  = 1024kB",
                "Total swap = 4096kB",
                "10000 pages RAM",
                "0 pages HighMem/MovableOnly",
                "1808 pages reserved",
                "0 pages cma reserved",
                "0 pages hwpoisoned",
            ];
            assert_eq!(lines[18..], rest);
            held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn nodes_that_were_no_choice_are_left_out_of_the_report_unless_the_task_may_use_all() {
    for (task, all) in [(TaskFlags::empty(), false), (TaskFlags::EXITING, true)] {
        let log = Log::default();
        with_plain_machine(&table::two_nodes(), &log, |m| {
            m.on_cpu(0, |cx| {
                let only = NodeMask::only(node(1));
                let cx = cx.with_task(task);
                let gfp = Gfp::GFP_KERNEL | Gfp::NORETRY;
                let mut held = vec![];
                while let Ok(page) =
                    m.allocator.alloc_pages_nodemask(&cx, node(1), Some(&only), gfp, order(9))
                {
                    held.push(page);
                }
                let text = log.0.lock().unwrap().pop().unwrap();
                assert!(text.contains("order:9, mode:0x10cc0(GFP_KERNEL|__GFP_NORETRY), nodemask=1,cpuset"));
                assert_eq!(text.contains("Node 0 Normal free:"), all, "{text}");
                assert!(text.contains("Node 1 Normal free:"));
                held.into_iter().for_each(|frames| m.allocator.free_pages(&cx, frames));
            });
        });
    }
}

#[test]
fn free_blocks_are_shown_with_the_types_that_have_some() {
    with_plain_machine(&machine(16, 1), NoHooks, |m| {
        m.on_cpu(0, |cx| {
            let page = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            m.allocator.free_pages(cx, page);
            m.allocator.drain_local_pages(cx);
            let held = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(5)).unwrap();
            let mut text = String::new();
            m.allocator.show_mem(cx, &NoCounts, &mut text).unwrap();
            let line = text.lines().find(|line| line.contains("*4kB")).unwrap();
            let expected = "Node 0 Normal: 0*4kB 0*8kB 0*16kB 0*32kB 0*64kB 1*128kB (U) 1*256kB (U) 1*512kB (U) \
                            1*1024kB (U) 1*2048kB (U) 3*4096kB (M) = 16256kB";
            assert_eq!(line, expected);
            m.allocator.free_pages(cx, held);
        });
    });
}

#[test]
fn zones_and_nodes_without_memory_are_left_out_of_the_report() {
    let plug = Pluggable { frames: 4 << 10, nodes: vec![node(1)] };
    let machine = PlainMachine { plug, reserved: 1000, ..machine(16, 1) };
    with_plain_machine(&machine, NoHooks, |m| {
        m.on_cpu(0, |cx| {
            let cells = m.allocator.zones();
            assert_eq!(cells.len(), 4, "two zones of each node, for what may come");
            let mut text = String::new();
            m.allocator.show_mem(cx, &NoCounts, &mut text).unwrap();
            let of_zone = |words: &str| text.lines().filter(|line| line.contains(words)).count();
            assert_eq!(
                (of_zone("Node 0 Normal"), of_zone("Node 0 Movable"), of_zone("Node 1")),
                (2, 0, 0),
                "{text}"
            );
            // What nobody else knows of the zones' frames the allocator does.
            assert!(text.contains(" present:16384kB managed:12384kB "), "{text}");
            assert!(
                text.contains("\n4096 pages RAM\n0 pages HighMem/MovableOnly\n1000 pages reserved\n"),
                "{text}"
            );
        });
    });
}

#[test]
fn pages_on_lists_are_counted_where_zones_are_told_of() {
    let log = Log::default();
    with_plain_machine(&table::two_nodes(), &log, |m| {
        m.on_cpu(0, |cx| {
            // One page of node 0 lies on this CPU's list.
            let near = m.allocator.alloc_pages_node(cx, node(0), Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            let other = m.allocator.alloc_pages_node(cx, node(0), Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            m.allocator.free_pages(cx, other);
            let list = u64::from(cx.cpu.enter().unwrap().count(m.allocator.zones()[0].id()));
            assert!(list > 0);
            let only = NodeMask::only(node(1));
            let fails = Gfp::GFP_KERNEL | Gfp::NORETRY;
            let mut held = vec![near];
            while let Ok(page) = m.allocator.alloc_pages_nodemask(cx, node(1), Some(&only), fails, order(9)) {
                held.push(page);
            }
            let text = log.0.lock().unwrap().pop().unwrap();
            // Two on other CPUs' lists, as the owners say, in the one zone.
            assert!(text.contains(" free_pcp:2 free_cma:0\n"), "{text}");
            held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
        });
    });
}
