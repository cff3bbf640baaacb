//! Areas of a workload: beside blocks of pages and objects, processors take and free areas of vmalloc's, of mixed sizes.

use super::account::{Asked, VmallocAccount};
use super::numbers::Numbers;
use super::{Lifetime, Phase};
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_firmware::Arch;
use pagewright_pagetable::{Format, NotLive};
use pagewright_sim::vmalloc::BootedVmalloc;
use pagewright_view::vmallocinfo::VmallocShown;
use pagewright_zone::alloc::Hooks;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};

/// vmalloc in service, whatever its tables are. One thread is all processors in turn: the tables' memory is not shared.
pub(super) trait VmAreas {
    /// So many operations as a processor.
    fn steps(&self, phase: &AreaPhase<'_>, cpu: usize, numbers: &mut Numbers, count: u64);

    /// What views show.
    fn shown(&self) -> &dyn VmallocShown;

    /// The area as it is now.
    fn account(&self) -> VmallocAccount;

    /// What was said of the last area that was refused.
    fn refused(&self) -> Option<String>;

    /// Frees all areas; nothing waits, and tables that are in nobody's way are given back.
    fn give_back(&self);
}

/// A part of the workload, as far as it is about areas.
pub(super) struct AreaPhase<'w> {
    phase: &'w Phase,
    /// Bytes of memory that was free at the start.
    memory: u64,
    asked: RefCell<BTreeMap<u64, Asked>>,
    freed: Cell<u64>,
}

impl<'w> AreaPhase<'w> {
    pub(super) fn new(phase: &'w Phase, memory: u64) -> Self {
        Self { phase, memory, asked: RefCell::default(), freed: Cell::new(0) }
    }

    /// How many of so many operations are about areas, the same for the same numbers.
    pub(super) fn share(&self, numbers: &mut Numbers, count: u64) -> u64 {
        if self.phase.areas.0.is_empty() {
            return 0;
        }
        (0..count).filter(|_| numbers.percent(self.phase.area_share)).count() as u64
    }

    /// What was asked for, by size, and how many were freed.
    pub(super) fn account(&self) -> (Vec<(u64, Asked)>, u64) {
        let asked = self.asked.borrow();
        (asked.iter().map(|(bytes, asked)| (*bytes, *asked)).collect(), self.freed.get())
    }
}

/// An area that is held.
#[derive(Clone, Copy)]
struct Held {
    at: VirtAddr,
    bytes: u64,
}

/// The vmalloc area of a booted machine, and what the workload has of it.
pub(super) struct Served<'o, 'p, 'v, 'x, 'm, 's, 'a, F: Format, H> {
    machine: &'o BootedVmalloc<'p, 'v, 'x, 'm, 's, 'a, F, H>,
    shown: &'o dyn VmallocShown,
    arch: Arch,
    /// Those that may be freed, in the order in which they came, and those that stay.
    live: RefCell<VecDeque<Held>>,
    stay: RefCell<Vec<Held>>,
    /// Bytes of both.
    bytes: Cell<u64>,
    refused: RefCell<Option<String>>,
}

impl<'o, 'p, 'v, 'x, 'm, 's, 'a, F: Format, H: Hooks> Served<'o, 'p, 'v, 'x, 'm, 's, 'a, F, H> {
    /// That area. Tables that stay once there are any are there when this returns.
    pub(super) fn new(
        machine: &'o BootedVmalloc<'p, 'v, 'x, 'm, 's, 'a, F, H>,
        shown: &'o dyn VmallocShown,
        arch: Arch,
    ) -> Self {
        machine.on_cpu(0, &mut NotLive, |on| {
            // A machine without memory for it has nothing to settle.
            if let Ok(at) = machine.vmalloc.vmalloc(on, 1) {
                let freed = machine.vmalloc.vfree(on, at);
                debug_assert!(freed.is_ok(), "an area that was just made");
            }
        });
        let served = Self {
            machine,
            shown,
            arch,
            live: RefCell::default(),
            stay: RefCell::default(),
            bytes: Cell::new(0),
            refused: RefCell::default(),
        };
        served.give_back();
        served
    }

    fn take(&self, lifetime: Lifetime, drawn: u64) -> Option<Held> {
        let mut live = self.live.borrow_mut();
        match lifetime {
            Lifetime::Random => {
                let at = drawn.checked_rem(live.len() as u64)? as usize;
                live.swap_remove_back(at)
            }
            Lifetime::Oldest => live.pop_front(),
            Lifetime::Newest => live.pop_back(),
        }
    }
}

impl<F: Format, H: Hooks> VmAreas for Served<'_, '_, '_, '_, '_, '_, '_, F, H> {
    fn steps(&self, work: &AreaPhase<'_>, cpu: usize, numbers: &mut Numbers, count: u64) {
        let Phase { areas, area_fill, lifetime, stay, .. } = work.phase;
        let (target, vmalloc) = (work.memory / 100 * area_fill, &self.machine.vmalloc);
        self.machine.on_cpu(cpu, &mut NotLive, |on| {
            for _ in 0..count {
                // Around the target both go on; far from it only one does.
                let held = self.bytes.get();
                let more = if held < target {
                    held < target / 20 * 19 || numbers.percent(75)
                } else {
                    numbers.percent(25)
                };
                let drawn = numbers.next();
                let grows = more && held <= target + target / 20;
                if !grows && let Some(area) = self.take(*lifetime, drawn) {
                    let freed = vmalloc.vfree(on, area.at);
                    debug_assert!(freed.is_ok(), "an area that is held");
                    self.bytes.set(held - area.bytes);
                    work.freed.set(work.freed.get() + 1);
                    continue;
                }
                // Where nothing can be freed there is only one way to go on.
                let Some(bytes) = areas.at(drawn).filter(|_| grows || held < target) else { continue };
                let mut asked = work.asked.borrow_mut();
                let asked = asked.entry(bytes).or_default();
                asked.asked += 1;
                let stays = numbers.percent(*stay);
                match vmalloc.vmalloc(on, bytes) {
                    Ok(at) => {
                        self.bytes.set(held + bytes);
                        let area = Held { at, bytes };
                        if stays {
                            self.stay.borrow_mut().push(area);
                        } else {
                            self.live.borrow_mut().push_back(area);
                        }
                    }
                    Err(why) => {
                        asked.failed += 1;
                        *self.refused.borrow_mut() = Some(why.to_string());
                    }
                }
            }
        });
    }

    fn shown(&self) -> &dyn VmallocShown {
        self.shown
    }

    fn account(&self) -> VmallocAccount {
        let gaps = self.machine.vmalloc.gaps();
        VmallocAccount {
            areas: (self.live.borrow().len() + self.stay.borrow().len()) as u64,
            pages: self.machine.vmalloc.nr_pages(),
            gaps: gaps.count,
            free: gaps.bytes,
            largest: gaps.largest,
            kept: gaps.kept,
        }
    }

    fn refused(&self) -> Option<String> {
        self.refused.borrow().clone()
    }

    fn give_back(&self) {
        let (vmalloc, pages) = (&self.machine.vmalloc, self.machine.pages);
        self.machine.on_cpu(0, &mut NotLive, |on| {
            for area in self.live.take().into_iter().chain(self.stay.take()) {
                let freed = vmalloc.vfree(on, area.at);
                debug_assert!(freed.is_ok(), "an area that is held");
            }
            self.bytes.set(0);
            vmalloc.give_all_back(on);
            let (range, entry) = (vmalloc.range(), F::TREE.level(F::TREE.top()).bytes());
            if self.arch != Arch::X86_64 || entry >= range.len {
                vmalloc.release_tables(on);
                return;
            }
            // x86_64's boot has made tables right below the root for good: of one's addresses the last page is left out.
            let (page, mut at) = (F::SHAPE.page_bytes(), range.start.get());
            while at < range.last().get() {
                let end = (at | (entry - 1)).min(range.last().get());
                let len = (end - at + 1).saturating_sub(page);
                vmalloc.release_tables_in(on, VirtRange::from_len(VirtAddr::new(at), len));
                let Some(next) = end.checked_add(1) else { return };
                at = next;
            }
        });
        (0..pages.cpus()).for_each(|cpu| pages.on_cpu(cpu, |cx| pages.allocator.drain_local_pages(cx)));
    }
}
