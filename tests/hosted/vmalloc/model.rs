//! vmalloc beside a list of intervals.

use super::*;
use pagewright_kspace::vmalloc::{Seen, VmFlags, VmRequest, VmallocError};
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_sim::random::Random;
use pagewright_sim::vmalloc::with_vmalloc;
use std::ops::ControlFlow;

/// An area of the model.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Area {
    start: u64,
    /// With its guard page.
    len: u64,
    guard: bool,
    lazy: bool,
    stamp: u8,
}

/// Intervals in order.
#[derive(Default)]
struct Model(Vec<Area>);

impl Model {
    /// The lowest place, looked for one gap after the other.
    fn lowest(&self, range: VirtRange, within: VirtRange, size: u64, align: u64) -> Option<u64> {
        let high = within.last().get().min(range.last().get());
        let mut at = range.start.get().max(within.start.get()).next_multiple_of(align);
        for area in &self.0 {
            if at + size <= area.start {
                break;
            }
            at = at.max((area.start + area.len).next_multiple_of(align));
        }
        (at + size - 1 <= high).then_some(at)
    }

    fn insert(&mut self, area: Area) {
        let at = self.0.partition_point(|other| other.start < area.start);
        self.0.insert(at, area);
    }
}

fn drive(seed: u64, pools: bool, steps: u64) {
    let mut machine = machine(FormatKind::X86Level4, 32, 2);
    machine.config = if pools { |c| c.lazy_pages = 300 } else { |c| (c.pools, c.lazy_pages) = (false, 300) };
    // Small enough to be full at times.
    machine.range = VirtRange::from_len(machine.range.start, 400 * PAGE);
    let mut random = Random::new(seed);
    with_vmalloc(&machine, X86Level4::default(), |m| {
        let before = buddyinfo_with_borders(m);
        let range = m.vmalloc.range();
        let mut model = Model::default();
        let mut purges = m.vmalloc.purges();
        for step in 0..steps {
            let cpu = random.below(2) as usize;
            let live: Vec<_> = (0..model.0.len()).filter(|&n| !model.0[n].lazy).collect();
            m.on_cpu(cpu, |on| {
                if random.below(100) < 52 || live.is_empty() {
                    let most = if random.below(8) == 0 { 60 } else { 6 };
                    let pages = 1 + random.below(most);
                    let shift = random.below(6);
                    let align = PAGE << if random.below(3) == 0 { shift } else { 0 };
                    let guard = random.below(6) > 0;
                    let within = (random.below(4) == 0).then(|| {
                        let start = range.start.get() + random.below(300) * PAGE;
                        VirtRange::from_len(va(start), (20 + random.below(100)) * PAGE)
                    });
                    let flags = if guard { VmFlags::empty() } else { VmFlags::NO_GUARD };
                    let request =
                        VmRequest { align, within, ..VmRequest::new(pages * PAGE).with_flags(flags) };
                    let size = (pages + u64::from(guard)) * PAGE;
                    let place = |model: &Model| model.lowest(range, within.unwrap_or(range), size, align);
                    let mut expected = place(&model);
                    if expected.is_none() {
                        // Then everything that waits is given back first.
                        model.0.retain(|area| !area.lazy);
                        expected = place(&model);
                    }
                    let found = m.vmalloc.vmalloc_request(on, &request);
                    if found.is_err() {
                        assert!(matches!(found, Err(VmallocError::Space { .. })), "{found:?}");
                    }
                    if pools {
                        // Flushed areas serve again wherever they lie, but nothing else is different: who finds a place, finds one.
                        assert_eq!(found.is_ok(), expected.is_some(), "step {step}");
                    } else {
                        assert_eq!(found.ok().map(|at| at.get()), expected, "step {step}: {request:?}");
                    }
                    if let Ok(at) = found {
                        let (start, len) = (at.get(), size);
                        assert!(start.is_multiple_of(align));
                        assert!(within.unwrap_or(range).contains_range(&VirtRange::from_len(at, len)));
                        model.0.retain(|area| {
                            let clear = area.start + area.len <= start || start + len <= area.start;
                            assert!(clear || area.lazy && pools, "{area:?} and {start:#x}");
                            clear
                        });
                        let stamp = random.below(256) as u8;
                        model.insert(Area { start, len, guard, lazy: false, stamp });
                        m.mmu.store(cpu, at, false, &vec![stamp; (pages * PAGE) as usize]).unwrap();
                    }
                } else {
                    let n = live[random.below(live.len() as u64) as usize];
                    let area = model.0[n];
                    // The other CPU still finds what was written.
                    let usable = area.len - if area.guard { PAGE } else { 0 };
                    let mut seen = vec![0; usable as usize];
                    m.mmu.load(1 - cpu, va(area.start), false, &mut seen).unwrap();
                    assert!(seen.iter().all(|&byte| byte == area.stamp), "step {step}: {area:?}");
                    m.vmalloc.vfree(on, va(area.start)).unwrap();
                    model.0[n].lazy = true;
                }
                if m.vmalloc.purges() > purges {
                    purges = m.vmalloc.purges();
                    if m.vmalloc.lazy_pages() == 0 {
                        model.0.retain(|area| !area.lazy);
                    }
                }
            });
            let mut areas = Vec::new();
            m.vmalloc.areas(&mut |seen| {
                if let Seen::Area(area) = seen {
                    areas.push((area.addr.get(), area.size));
                }
                ControlFlow::Continue(())
            });
            let expected: Vec<_> =
                model.0.iter().filter(|area| !area.lazy).map(|area| (area.start, area.len)).collect();
            assert_eq!(areas, expected, "step {step}");
            if step % 64 == 0 {
                m.vmalloc.validate().unwrap();
            }
        }
        assert!(cfg!(miri) || purges > 10);
        for area in model.0.iter().filter(|area| !area.lazy) {
            m.on_cpu(0, |on| m.vmalloc.vfree(on, va(area.start)).unwrap());
        }
        m.on_cpu(1, |on| m.vmalloc.give_ready_back(on));
        expect_all_back(m, &before);
    });
}

/// This seed, or in its place one that follows from the one that is asked for.
fn seed(usual: u64) -> u64 {
    let asked = std::env::var("PAGEWRIGHT_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    asked.map_or(usual, |seed| seed.wrapping_add(usual))
}

const STEPS: u64 = if cfg!(miri) { 40 } else { 3000 };

#[test]
fn each_area_lies_in_the_lowest_gap_with_room_as_in_a_list_of_intervals() {
    drive(seed(1), false, STEPS);
    drive(seed(7), false, STEPS);
}

#[test]
fn with_pools_areas_never_meet_and_nothing_is_refused_that_has_room() {
    drive(seed(3), true, STEPS);
    drive(seed(11), true, STEPS);
}
