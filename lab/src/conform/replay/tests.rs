use super::*;
use crate::conform::compare::Difference;
use pagewright_addr::{NodeId, PhysAddr, PhysRange};
use pagewright_memblock::{Config, Flags, Memblock, Quiet, Region, Set, Sink};
use std::cell::RefCell;

/// A boot on our side: records its stream and renders its log.
#[derive(Default)]
struct Recorder {
    ours: RefCell<Vec<Ours>>,
    log: RefCell<String>,
}

impl Sink for Recorder {
    fn event(&self, event: &Event) {
        self.ours.borrow_mut().push(Ours::Event(*event));
        if event.is_logged() {
            *self.log.borrow_mut() += &format!("{}\n", event.line(Config::default().width));
        }
    }
}

fn range(start: u64, len: u64) -> PhysRange {
    PhysRange::from_len(PhysAddr::new(start), len)
}

fn ram() -> Start {
    let mut start = Start::empty(Config::default());
    start.memory.push(Region::from_raw(PhysAddr::new(0x4000_0000), 0x4000_0000, Flags::NONE, 1024));
    start
}

/// A small boot with logged, silent and bare calls.
fn boot(memblock: &mut Memblock<'_>, recorder: &Recorder) {
    memblock.reserve(range(0x4020_0000, 0x10_0000)).unwrap();
    memblock.set_current_limit(PhysAddr::new(0x6000_0000));
    memblock.alloc(4096, 4096).unwrap();
    memblock.alloc_range_nid(0x100_0000, 0x40_0000, PhysAddr::ZERO, PhysAddr::ZERO, None, true).unwrap();
    memblock.set_node(range(0, 1 << 40), Set::Memory, NodeId::new(0)).unwrap();
    recorder.ours.borrow_mut().push(Ours::Dump);
    *recorder.log.borrow_mut() += &format!("{}\n", memblock.dump());
    memblock.phys_free(range(0x4020_0000, 0x1000)).unwrap();
    memblock.phys_alloc_range(64, 64, PhysAddr::ZERO, PhysAddr::ZERO).unwrap();
}

fn recorded() -> (Vec<Ours>, String) {
    let recorder = Recorder::default();
    let mut arrays = ram().arrays();
    let start = ram();
    let mut memblock = start.memblock(&mut arrays, &recorder).unwrap();
    boot(&mut memblock, &recorder);
    (recorder.ours.into_inner(), recorder.log.into_inner())
}

fn run(log: &str) -> Outcome {
    let (ours, _) = recorded();
    replay(&ram(), &ours, &log::parse(log).unwrap(), Finals::default()).unwrap()
}

fn keys(outcome: &Outcome) -> Vec<&str> {
    outcome.tally.differences.iter().map(|d: &Difference| d.key.as_str()).collect()
}

#[test]
fn a_boot_replays_its_own_log_without_a_difference() {
    let (_, log) = recorded();
    let outcome = run(&log);
    assert_eq!(outcome.tally.differences, []);
    assert!(outcome.tally.facts >= 12, "{}", outcome.tally.facts);
    assert_eq!(outcome.diverging, [""; 0]);
}

#[test]
fn silent_changes_are_made_where_our_boot_makes_them_and_listed() {
    let outcome = run(&recorded().1);
    let text = outcome.silent.join("\n");
    assert!(text.contains("before line 2: memblock_set_current_limit: 0x0000000060000000"), "{text}");
    assert!(text.contains("memblock_set_node"), "{text}");
}

#[test]
fn an_allocation_elsewhere_is_one_difference_and_what_follows_is_judged_on_its_own() {
    let (_, log) = recorded();
    // Linux put the page somewhere else; the next calls stand on Linux's state.
    let moved =
        log.replace("[0x000000005ffff000-0x000000005fffffff]", "[0x000000005fffe000-0x000000005fffefff]");
    assert_ne!(log, moved);
    let outcome = run(&moved);
    assert!(outcome.diverging.iter().any(|d| d.starts_with("line 3: memblock_reserve: [0x000000005fffe000")));
    let first = outcome.tally.differences.first().unwrap();
    assert_eq!(first.captured.as_deref(), Some("memblock_reserve: [0x000000005fffe000-0x000000005fffefff]"));
    assert_eq!(first.ours.as_deref(), Some("memblock_reserve: [0x000000005ffff000-0x000000005fffffff]"));
    assert!(first.key.starts_with("line 2: memblock_alloc_try_nid: 4096 bytes"), "{}", first.key);
    // The small allocation at the end now finds the hole above the moved page, the dump shows the move.
    assert!(keys(&outcome)[1..].iter().all(|k| k.contains("MEMBLOCK") || k.contains("64 bytes")));
}

#[test]
fn a_wrong_region_in_a_dump_is_a_difference() {
    let (_, log) = recorded();
    let outcome = run(&log.replace("bytes on node 0 flags: 0x0", "bytes on node 0 flags: 0x4"));
    assert_eq!(keys(&outcome).len(), 1);
    assert!(keys(&outcome)[0].contains("MEMBLOCK configuration +3"), "{:?}", keys(&outcome));
}

#[test]
fn a_call_that_only_linux_makes_is_executed_and_shifts_nothing() {
    let (_, log) = recorded();
    let at = log.find("MEMBLOCK").unwrap();
    let extra = "memblock_phys_alloc_range: 32 bytes align=0x20 from=0x0000000000000000 \
                 max_addr=0x0000000000000000 somebody+0x1/0x2\n\
                 memblock_reserve: [0x000000005effffe0-0x000000005effffff] memblock_alloc_range_nid+0x1/0x2\n";
    let outcome = run(&format!("{}{extra}{}", &log[..at], &log[at..]));
    // The line itself is right or wrong by address; the node of the memory in the dump is still set in time.
    assert!(keys(&outcome).iter().all(|k| !k.ends_with("+3")), "{:?}", outcome.tally.differences);
}

#[test]
fn a_failed_allocation_prints_no_reservation_on_either_side() {
    let line = "memblock_phys_alloc_range: 1099511627776 bytes align=0x1000 from=0x0000000000000000 \
                max_addr=0x0000000000000000 crash+0x1/0x2\n";
    let outcome = replay(&ram(), &[], &log::parse(line).unwrap(), Finals::default()).unwrap();
    assert_eq!(outcome.tally.differences.len(), 0, "{:?}", outcome.tally.differences);
}

#[test]
fn files_after_boot_are_compared_line_by_line() {
    let memory = "   0: 0x0000000040000000..0x000000007fffffff\n";
    let finals = Finals {
        memory: Some(memory),
        reserved: Some("   0: 0x0000000040000000..0x0000000040000fff\n"),
        ..Finals::default()
    };
    let line = "memblock_reserve: [0x0000000040000000-0x0000000040001fff] x+0x1/0x2\n";
    let outcome = replay(&ram(), &[], &log::parse(line).unwrap(), finals).unwrap();
    assert_eq!(keys(&outcome), ["memblock/reserved after boot, line 1"]);
}

#[test]
fn arrays_grow_during_a_replay_as_they_did_in_the_boot() {
    let recorder = Recorder::default();
    let mut start = ram();
    start.slots = (8, 4);
    start.can_resize = true;
    let mut arrays = start.arrays();
    let mut extra = vec![Region::default(); 64];
    struct Once<'a>(&'a mut [Region]);
    impl<'a> pagewright_memblock::RegionMemory<'a> for Once<'a> {
        fn claim(&mut self, _: PhysRange, slots: usize) -> Option<&'a mut [Region]> {
            std::mem::take(&mut self.0).get_mut(..slots)
        }
    }
    let mut once = Once(&mut extra);
    let mut memblock = start.memblock(&mut arrays, &recorder).unwrap();
    memblock.set_region_memory(&mut once);
    for i in 0..6 {
        memblock.reserve(range(0x4100_0000 + i * 0x2000, 0x1000)).unwrap();
    }
    let log = recorder.log.take();
    assert!(log.contains("is doubled to"), "{log}");
    let outcome =
        replay(&start, &recorder.ours.take(), &log::parse(&log).unwrap(), Finals::default()).unwrap();
    assert_eq!(outcome.tally.differences, []);
}

#[test]
fn a_state_taken_from_a_memblock_is_that_state() {
    let start = ram();
    let mut arrays = start.arrays();
    let mut memblock = start.memblock(&mut arrays, &Quiet).unwrap();
    memblock.reserve(range(0x4000_0000, 0x1000)).unwrap();
    let taken = Start::of(&memblock);
    assert_eq!((taken.memory.len(), taken.reserved.len()), (1, 1));
    let mut again = taken.arrays();
    assert_eq!(taken.memblock(&mut again, &Quiet).unwrap().dump().to_string(), memblock.dump().to_string());
}

#[test]
fn the_start_state_has_what_our_boot_did_before_the_log_begins() {
    let (ours, log) = recorded();
    let cut = ours
        .iter()
        .position(|o| matches!(o, Ours::Event(Event::Reserve { caller, .. }) if *caller == log::ALLOC));
    let (early, late) = ours.split_at(cut.unwrap() + 1);
    let early = early.iter().filter_map(|o| match o {
        Ours::Event(event) => Some(event),
        _ => None,
    });
    let start = ram().after(early).unwrap();
    assert_eq!(start.current_limit, PhysAddr::new(0x6000_0000));
    // The first three lines are the early calls.
    let log: String = log.lines().skip(3).map(|l| format!("{l}\n")).collect();
    let outcome = replay(&start, late, &log::parse(&log).unwrap(), Finals::default()).unwrap();
    assert_eq!(outcome.tally.differences, []);
}

#[test]
fn where_the_log_has_lost_lines_our_boot_stands_in() {
    let recorder = Recorder::default();
    let start = ram();
    let mut arrays = start.arrays();
    let mut memblock = start.memblock(&mut arrays, &recorder).unwrap();
    memblock.reserve(range(0x4000_0000, 0x1000)).unwrap();
    recorder.ours.borrow_mut().push(Ours::CommandLine);
    memblock.alloc(0x1000, 0x1000).unwrap();
    memblock.phys_free(range(0x4000_0000, 0x1000)).unwrap();
    let log = recorder.log.take();
    let kept: Vec<_> = log.lines().filter(|l| !l.contains("alloc")).collect();
    assert_eq!(kept.len(), 2);
    let reserved = memblock.debugfs(Set::Reserved).to_string();
    let calls = log::parse(&kept.join("\n")).unwrap();
    let ours = recorder.ours.take();
    let run = |log_has_gap| {
        let finals = Finals { reserved: Some(&reserved), log_has_gap, ..Finals::default() };
        replay(&start, &ours, &calls, finals).unwrap()
    };
    assert_eq!(run(true).tally.differences, []);
    assert!(run(true).silent.iter().any(|s| s.contains("lost line memblock_reserve")));
    assert_eq!(run(false).tally.differences.len(), 1);
}

#[test]
fn taking_nodes_away_shows_in_a_dump_as_no_node() {
    let start = ram();
    let recorder = Recorder::default();
    let mut arrays = start.arrays();
    let mut memblock = start.memblock(&mut arrays, &recorder).unwrap();
    memblock.set_node(PhysRange::new(PhysAddr::ZERO, PhysAddr::MAX), Set::Reserved, None).unwrap();
    memblock.reserve(range(0x4000_0000, 0x1000)).unwrap();
    memblock.set_node(PhysRange::new(PhysAddr::ZERO, PhysAddr::MAX), Set::Reserved, None).unwrap();
    recorder.ours.borrow_mut().push(Ours::Dump);
    let log = format!("{}{}\n", recorder.log.take(), memblock.dump());
    let outcome =
        replay(&start, &recorder.ours.take(), &log::parse(&log).unwrap(), Finals::default()).unwrap();
    assert_eq!(outcome.tally.differences, []);
}

/// Our boot makes one allocation of which Linux logs the reservation only; Linux's log is `log`.
fn unlogged(log: &str) -> Outcome {
    let recorder = Recorder::default();
    let start = ram();
    let mut arrays = start.arrays();
    let mut memblock = start.memblock(&mut arrays, &recorder).unwrap();
    memblock.alloc_range_nid(0x10_0000, 0x100_0000, PhysAddr::ZERO, PhysAddr::ZERO, None, true).unwrap();
    assert!(memblock.overlaps_region(Set::Reserved, range(0x7f00_0000, 0x10_0000)));
    replay(&start, &recorder.ours.take(), &log::parse(log).unwrap(), Finals::default()).unwrap()
}

#[test]
fn an_allocation_without_a_line_is_made_with_our_arguments() {
    // Linux has something where ours went, so that the same arguments lead elsewhere.
    let taken = "memblock_reserve: [0x000000007f000000-0x000000007f000fff] somebody+0x1/0x2\n";
    let landed = |at: u64| {
        format!("{taken}memblock_reserve: [{at:#018x}-{:#018x}] {}+0x1/0x2\n", at + 0xf_ffff, log::ALLOC)
    };
    assert_eq!(unlogged(&landed(0x7e00_0000)).tally.differences, []);
    // An address that no such allocation would have is a difference.
    let outcome = unlogged(&landed(0x7ef0_0000));
    assert_eq!(outcome.tally.differences.len(), 1);
    let ours = outcome.tally.differences[0].ours.as_deref();
    assert_eq!(ours, Some("memblock_reserve: [0x000000007e000000-0x000000007e0fffff]"));
    assert_eq!(outcome.silent, [""; 0], "asking changes nothing");
}

#[test]
fn what_cannot_be_read_off_the_regions_belongs_to_a_state_too() {
    let mut start = ram();
    (start.can_resize, start.mirrored_kernelcore, start.movable_node) = (true, true, true);
    let mut arrays = start.arrays();
    let taken = Start::of(&start.memblock(&mut arrays, &Quiet).unwrap());
    assert!(taken.can_resize && taken.mirrored_kernelcore && taken.movable_node);
}
