//! What CPUs keep in their lists, and what makes them give it back.

use super::contig::pfns;
use super::hotplug::on_node;
use super::*;
use crate::whole::with_plain_machine;
use pagewright_page::Frames;
use pagewright_sim::pages::with_pluggable_machine;
use pagewright_sim::tenants::Tenants;
use pagewright_zone::alloc::{AllocRequest, Context, NoHooks, NotZeroed, Progress, Reasons};
use pagewright_zone::watermark::Cpus;
use pagewright_zone::{Gfp, ZoneKind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard};

/// A node with ZONE_DMA32 and Normal, of 32 MiB each.
fn two_zones(cpus: usize) -> PlainMachine {
    PlainMachine { dma32_end: 0x4_0000 + (32 << 8), ..machine(64, cpus) }
}

/// The two zones.
fn zones<H: Hooks>(m: &Pages<'_, '_, '_, '_, H>) -> [ZoneId; 2] {
    zone_ids(m).try_into().unwrap()
}

/// What this CPU's lists of the two zones hold.
fn counts<'m, 'a, H: Hooks>(m: &Pages<'_, 'm, '_, 'a, H>, cx: &Context<'_, 'm, 'a>) -> [u32; 2] {
    let own = cx.cpu.enter().unwrap();
    zones(m).map(|zone| own.count(zone))
}

/// Leaves some of each zone in this CPU's lists.
fn fill_lists<'m, 'a, H: Hooks>(m: &Pages<'_, 'm, '_, 'a, H>, cx: &Context<'_, 'm, 'a>) {
    for gfp in [Gfp::GFP_KERNEL, Gfp::GFP_KERNEL | Gfp::DMA32] {
        let pages: Vec<_> = (0..5).map(|_| m.allocator.alloc_pages(cx, gfp, Order::ZERO).unwrap()).collect();
        pages.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
    }
    assert!(counts(m, cx).iter().all(|&count| count >= 5));
}

#[test]
fn one_zones_lists_are_emptied_and_others_keep_what_they_have() {
    with_plain_machine(&two_zones(2), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(1, |cx| fill_lists(m, cx));
        m.on_cpu(0, |cx| fill_lists(m, cx));
        m.allocator.post_drain_zone(zones(m)[1]);
        m.allocator.post_drain_zone(zones(m)[1]);
        m.on_cpu(1, |cx| {
            let had = counts(m, cx);
            let block = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(5)).unwrap();
            assert_eq!(counts(m, cx), [had[0], 0]);
            assert_eq!(m.attention(1).reasons(), Reasons::empty());
            m.allocator.free_pages(cx, block);
            // What was asked once is answered once.
            fill_lists(m, cx);
            m.allocator.post_drain_zone(zones(m)[0]);
            let block = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(5)).unwrap();
            assert!(counts(m, cx)[0] == 0 && counts(m, cx)[1] >= 5);
            m.allocator.free_pages(cx, block);
        });
        m.on_cpu(0, |cx| {
            let had = counts(m, cx);
            m.allocator.drain_local_zone(cx, zones(m)[0]);
            assert_eq!(counts(m, cx), [0, 0], "the other zone's is answered on the way");
            assert!(had[1] >= 5);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn a_contiguous_range_empties_the_lists_of_its_zone() {
    with_plain_machine(&two_zones(1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            fill_lists(m, cx);
            let had = counts(m, cx);
            let range = pfns(8192 + 512, 512);
            let got =
                m.allocator.alloc_contig_range(cx, &tenants, range, MigrateType::Movable, Gfp::GFP_KERNEL);
            assert_eq!(counts(m, cx), [had[0], 0]);
            m.allocator.free_pages(cx, got.unwrap());
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn what_a_handler_finds_in_use_is_answered_later() {
    with_plain_machine(&two_zones(1), NoHooks, |m| {
        m.on_cpu(0, |cx| {
            fill_lists(m, cx);
            m.allocator.post_drain();
            let interrupted = cx.cpu.enter().unwrap();
            m.allocator.drain_local_pages(cx);
            assert_eq!(m.attention(0).reasons(), Reasons::DRAIN, "not lost");
            drop(interrupted);
            m.allocator.drain_local_pages(cx);
            assert_eq!((m.attention(0).reasons(), counts(m, cx)), (Reasons::empty(), [0, 0]));
        });
    });
}

#[test]
fn while_kswapd_works_lists_hold_four_batches_at_most() {
    with_plain_machine(&machine(64, 2), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let zone = zone_ids(m)[0];
            let count = || u64::from(cx.cpu.enter().unwrap().count(zone));
            let figures = || m.allocator.list_figures(cx, zone).unwrap();
            let (high, batch) = (figures().high, figures().batch);
            assert!(high > 8 * batch, "{high} {batch}");
            let mut held: Vec<_> = (0..1000)
                .map(|_| m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap())
                .collect();
            let mut free = |n: usize, most: u64, from: usize| {
                for (at, page) in held.drain(..n).enumerate() {
                    m.allocator.free_pages(cx, page);
                    assert!(at < from || count() <= most, "{at}: {} of {most}", count());
                }
            };
            free(200, high, 0);
            assert!(count() > 4 * batch);
            m.allocator.set_reclaim_active(zone, true);
            // What they have beyond goes back with the next frees.
            free(200, 4 * batch, 100);
            assert_eq!(figures().high, high, "that is not what changes");
            m.allocator.set_reclaim_active(zone, false);
            free(200, high, 0);
            assert!(count() > 4 * batch);
            held.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
        });
        expect_all_back(m, &before);
    });
}

/// Waits until another CPU has given its lists back.
#[derive(Default)]
struct Waits {
    other: Mutex<Option<(SyncSender<()>, Receiver<()>)>>,
    pending: Mutex<Vec<[bool; 3]>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

impl Hooks for &Waits {
    fn zero(&self, _: &Frames<'_>) -> Result<(), NotZeroed> {
        Err(NotZeroed)
    }
    fn reclaim(&self, _: &AllocRequest<'_>) -> Progress {
        Progress { freed: 1 }
    }
    fn wait_for_drain(&self, pending: &dyn Fn(usize) -> bool) {
        let all = || [0, 1, 7].map(pending);
        lock(&self.pending).push(all());
        if let Some((ask, done)) = &*lock(&self.other) {
            ask.send(()).unwrap();
            done.recv().unwrap();
        }
        lock(&self.pending).push(all());
    }
}

/// Whether the last pages, in another CPU's lists, can be had if that one answers while they are waited for, or not.
fn last_pages(answers: bool) -> (bool, Vec<[bool; 3]>) {
    let waits = Waits::default();
    with_plain_machine(&machine(64, 2), &waits, |m| {
        let before = buddyinfo(m);
        let mut held: Vec<Frames<'_>> = vec![];
        m.on_cpu(0, |cx| {
            let all = cx.with_task(pagewright_zone::alloc::TaskFlags::MEMALLOC);
            while let Ok(page) = m.allocator.alloc_pages(&all, Gfp::GFP_KERNEL | Gfp::NOWARN, Order::ZERO) {
                held.push(page);
            }
        });
        m.on_cpu(1, |cx| held.drain(..150).for_each(|page| m.allocator.free_pages(cx, page)));
        assert_eq!(m.allocator.zones()[0].free_pages(), 0, "all in its lists");
        let got = std::thread::scope(|scope| {
            let (ask, asked) = sync_channel(0);
            let (answer, answered) = sync_channel(0);
            *lock(&waits.other) = Some((ask, answered));
            scope.spawn(move || {
                while asked.recv().is_ok() {
                    if answers {
                        m.on_cpu(1, |cx| m.allocator.drain_local_pages(cx));
                    }
                    answer.send(()).unwrap();
                }
            });
            let gfp = Gfp::GFP_KERNEL | Gfp::HIGH | Gfp::NORETRY;
            let got = m.on_cpu(0, |cx| m.allocator.alloc_pages(cx, gfp, Order::ZERO).ok());
            lock(&waits.other).take();
            got
        });
        let ok = got.is_some();
        m.on_cpu(0, |cx| held.into_iter().chain(got).for_each(|page| m.allocator.free_pages(cx, page)));
        expect_all_back(m, &before);
        (ok, std::mem::take(&mut *lock(&waits.pending)))
    })
}

#[test]
fn what_others_give_back_is_waited_for() {
    assert_eq!(last_pages(true), (true, vec![[false, true, false], [false; 3]]));
    assert_eq!(last_pages(false), (false, vec![[false, true, false]; 2]));
}

#[test]
fn marks_that_are_written_while_the_machine_runs_are_taken_over() {
    with_pluggable_machine(&machine(64, 1), NoHooks, None, |m, marks| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let (cell, cpus) = (&m.allocator.zones()[0], Cpus { online: 1, on_node: &on_node });
            let was = (cell.min_pages(), cell.low_pages(), cell.pageset());
            marks.set_min_free_kbytes(8 << 10, &cpus);
            assert_eq!((cell.min_pages(), cell.low_pages(), cell.pageset()), was, "not by itself");
            m.allocator.apply_marks(marks);
            let zone = *marks.zone(node(0), ZoneKind::Normal).unwrap();
            assert_eq!(cell.min_pages(), 2048);
            assert_eq!(
                (cell.low_pages(), cell.high_pages(), cell.pageset()),
                (zone.low, zone.high, zone.pageset)
            );
            // Nearly all memory is below the low mark, and every CPU knows.
            marks.set_min_free_kbytes(60 << 10, &cpus);
            m.allocator.apply_marks(marks);
            assert!(m.attention(0).reasons().contains(Reasons::PRESSURE));
            marks.set_min_free_kbytes(1 << 10, &cpus);
            m.allocator.apply_marks(marks);
            assert!(!m.attention(0).reasons().contains(Reasons::PRESSURE));
            marks.tunables.watermark_scale_factor = 1000;
            marks.tunables.percpu_pagelist_high_fraction = 1024;
            marks.setup_per_zone_wmarks(&cpus);
            m.allocator.apply_marks(marks);
            assert_eq!(cell.low_pages() - cell.min_pages(), cell.present_pages() / 10);
            let page = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            let lists = m.allocator.list_figures(cx, cell.id()).unwrap();
            assert_eq!(lists.high, cell.pageset().high, "with this CPU's next operation");
            assert!(lists.high < was.2.high, "{lists:?}");
            m.allocator.free_pages(cx, page);
        });
        expect_all_back(m, &before);
    });
}
