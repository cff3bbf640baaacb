//! Memory that grows old, and whether each fallback took the right block.

use super::*;
use pagewright_sim::ageing::check::{Rules, Violation, passed_over_smaller, replay};
use pagewright_sim::ageing::{Life, POLICIES, Policy, age};
use pagewright_zone::buddy::Fallback;

/// A small machine with pageblocks of 64 KiB and two zones, and a short life.
fn life() -> Life {
    let (frames, ticks) = if cfg!(miri) { (512, 150) } else { (8192, 40_000) };
    let machine = PlainMachine {
        pageblock: order(4),
        dma32_end: 0x4_0000 + frames / 4,
        ..PlainMachine::new(frames, 1)
    };
    Life { machine, ticks, samples: 4, seed: 5 }
}

#[test]
fn no_unmovable_page_enters_a_movable_block_while_another_would_have_served() {
    let policies: &[Policy] = if cfg!(miri) { &POLICIES[..1] } else { &POLICIES };
    let mut polluting = 0;
    for &policy in policies {
        let report = age(&life(), policy);
        polluting += report.polluting;
        if policy.spares_movable {
            assert_eq!(report.passed_over, 0, "{}", policy.name);
        }
        assert_eq!(report.violations, [], "{}", policy.name);
        assert_eq!(report.samples.len(), 4);
        // Without grouping all types share their lists, and only the first blocks of all are taken over.
        if !cfg!(miri) && policy.grouping {
            assert!(report.fallbacks > 20, "{}: {} fallbacks", policy.name, report.fallbacks);
        }
        if !cfg!(miri) && policy.compaction {
            assert!(report.moved > 50, "{}: {} moved", policy.name, report.moved);
        }
    }
    assert!(cfg!(miri) || polluting > 0, "sometimes nothing else serves");
}

#[test]
fn a_life_is_the_same_each_time() {
    let (once, again) = (age(&life(), POLICIES[0]), age(&life(), POLICIES[0]));
    assert_eq!((once.samples, once.huge, once.moved), (again.samples, again.huge, again.moved));
    let other = age(&Life { seed: 6, ..life() }, POLICIES[0]);
    assert!(cfg!(miri) || once.fallbacks != other.fallbacks, "so short a life may be like another");
}

/// The same event as told by an allocator that chooses wrongly.
fn wrongly(event: &Fallback, choose: fn(&Fallback) -> Option<(u8, MigrateType)>) -> Option<Fallback> {
    let (chosen, list) = choose(event)?;
    let same = (chosen, list) == (event.order.get(), event.list);
    let mut event = *event;
    (event.order, event.list, event.before, event.after) = (order(chosen), list, list, list);
    (!same).then_some(event)
}

/// The smallest Movable block that is large enough.
fn smallest_movable(event: &Fallback) -> Option<(u8, MigrateType)> {
    let from = event.occupied[MigrateType::Movable.index()] >> event.request.order.get();
    (from != 0)
        .then(|| (event.request.order.get() + from.trailing_zeros() as u8, MigrateType::Movable))
        .filter(|_| event.request.migrate != MigrateType::Movable)
}

/// The last type of the table first.
fn table_backwards(event: &Fallback) -> Option<(u8, MigrateType)> {
    let other = *event.request.migrate.fallbacks().last()?;
    (event.occupied[other.index()] >> event.order.get() & 1 != 0).then(|| (event.order.get(), other))
}

#[test]
fn a_wrong_choice_is_found_out() {
    if cfg!(miri) {
        return;
    }
    let mut wrong = [0; 2];
    let mut polluted = 0;
    for policy in POLICIES.into_iter().filter(|policy| policy.grouping) {
        let rules = Rules { grouping: true, spares_movable: policy.spares_movable };
        for event in age(&life(), policy).events {
            for (choose, count) in [smallest_movable, table_backwards].into_iter().zip(&mut wrong) {
                let Some(event) = wrongly(&event, choose) else { continue };
                *count += 1;
                let found = replay(&event, rules);
                assert!(found.is_err(), "{event:?}");
                polluted += u64::from(matches!(found, Err(Violation::Polluted { .. })));
            }
            // And what was told of something else than happened.
            let mut event = event;
            event.occupied = [0; MigrateType::COUNT];
            assert!(replay(&event, rules).is_err());
        }
    }
    assert!(wrong.iter().all(|&count| count > 0) && polluted > 0, "{wrong:?}, {polluted} polluted");
}

#[test]
fn linux_passes_smaller_blocks_over_and_who_spares_movable_blocks_does_not() {
    if cfg!(miri) {
        return;
    }
    let alone = |spares_movable| Policy {
        name: "alone",
        grouping: true,
        spares_movable,
        boost: false,
        compaction: false,
    };
    let (mut passed_over, mut objected) = (0, 0);
    for seed in 1..=8 {
        let life = Life { seed, ..life() };
        let (linux, sparing) = (age(&life, alone(false)), age(&life, alone(true)));
        assert_eq!((linux.violations, sparing.violations, sparing.passed_over), (vec![], vec![], 0));
        passed_over += linux.passed_over;
        // Held to the stricter rules, each such choice of Linux's is a wrong one.
        let strict = Rules { grouping: true, spares_movable: true };
        for event in linux.events.iter().filter(|event| passed_over_smaller(event)) {
            assert!(matches!(replay(event, strict), Err(Violation::Polluted { .. })), "{event:?}");
            objected += 1;
        }
    }
    assert!(passed_over > 0 && objected == passed_over, "{objected} of {passed_over}");
}
