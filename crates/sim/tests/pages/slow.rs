//! The slow path: which branches an allocation takes when there is no memory to spare.

use super::*;
use pagewright_page::Frames;
use pagewright_sim::pages::with_plain_machine;
use pagewright_zone::alloc::{CompactPriority, CompactResult, Progress, Step, TaskFlags};
use pagewright_zone::{Gfp, ZoneKind};
use std::cell::{Cell, RefCell};

/// Plays the part of reclaim, compaction and the killer by a script.
#[derive(Default)]
struct Script {
    /// What reclaim frees each time; the last value stays.
    reclaim: RefCell<Vec<Progress>>,
    compact: Cell<Option<CompactResult>>,
    kills: Cell<u32>,
    woken: RefCell<Vec<(Order, ZoneKind)>>,
    steps: RefCell<Vec<String>>,
    reports: RefCell<Vec<(Gfp, Order)>>,
    zeroed: Cell<u64>,
}

impl Hooks for &Script {
    fn zero(&self, frames: &Frames<'_>) {
        self.zeroed.set(self.zeroed.get() + frames.len());
    }
    fn wake_kswapd(&self, _: NodeId, order: Order, highest: ZoneKind) {
        self.woken.borrow_mut().push((order, highest));
    }
    fn compact(&self, _: NodeId, _: Order, _: Gfp, _: CompactPriority) -> CompactResult {
        self.compact.get().unwrap_or(CompactResult::Skipped)
    }
    fn reclaim(&self, _: NodeId, _: Order, _: Gfp) -> Progress {
        let mut script = self.reclaim.borrow_mut();
        if script.len() > 1 { script.remove(0) } else { script.first().copied().unwrap_or_default() }
    }
    fn out_of_memory(&self, _: Order, _: Gfp) -> bool {
        let left = self.kills.get();
        self.kills.set(left.saturating_sub(1));
        left > 0
    }
    fn step(&self, step: Step) {
        let word = match step {
            Step::WakeKswapd => "wake".to_owned(),
            Step::Attempt(_) => "try".to_owned(),
            Step::Compact(priority, _) => format!("compact {priority:?}"),
            Step::Reclaim(_) => "reclaim".to_owned(),
            Step::DrainReserves => "drain".to_owned(),
            Step::Oom(progress) => format!("oom {progress}"),
            Step::Retry => "again".to_owned(),
            Step::Fail => "fail".to_owned(),
        };
        self.steps.borrow_mut().push(word);
    }
    fn report(&self, gfp: Gfp, order: Order) {
        self.reports.borrow_mut().push((gfp, order));
    }
}

/// Uses up a machine of 16 MiB, and returns the steps of one more allocation.
fn steps(script: &Script, gfp: Gfp, wanted: Order, task: TaskFlags) -> (Vec<String>, bool) {
    with_plain_machine(&machine(16, 1), script, |m| {
        m.on_cpu(0, |cx| {
            let all = cx.with_task(TaskFlags::MEMALLOC);
            let mut held = vec![];
            while let Ok(frames) = m.allocator.alloc_pages(&all, Gfp::GFP_KERNEL | Gfp::NOWARN, Order::ZERO) {
                held.push(frames);
            }
            script.steps.borrow_mut().clear();
            script.woken.borrow_mut().clear();
            script.reports.borrow_mut().clear();
            let cx = cx.with_task(task);
            let ok = m.allocator.alloc_pages(&cx, gfp, wanted).is_ok();
            (script.steps.take(), ok)
        })
    })
}

#[test]
fn each_mask_takes_its_branches() {
    let nothing = TaskFlags::empty();
    let table: [(&str, Gfp, u8, TaskFlags, &[&str]); 9] = [
        ("cannot wait", Gfp::GFP_NOWAIT, 0, nothing, &["wake", "try", "wake", "try", "fail"]),
        ("not even kswapd", Gfp::empty(), 0, nothing, &["try", "try", "fail"]),
        ("atomic", Gfp::GFP_ATOMIC, 0, nothing, &["wake", "try", "wake", "try", "fail"]),
        (
            "one round only",
            Gfp::GFP_KERNEL.union(Gfp::NORETRY),
            0,
            nothing,
            &["wake", "try", "wake", "try", "reclaim", "fail"],
        ),
        (
            "the killer finds nobody",
            Gfp::GFP_KERNEL,
            0,
            nothing,
            &["wake", "try", "wake", "try", "reclaim", "try", "oom false", "fail"],
        ),
        (
            "no killer without FS",
            Gfp::GFP_NOFS,
            0,
            nothing,
            &["wake", "try", "wake", "try", "reclaim", "try", "fail"],
        ),
        (
            "compaction before reclaim for a block",
            Gfp::GFP_KERNEL,
            2,
            nothing,
            &[
                "wake",
                "try",
                "compact Async",
                "wake",
                "try",
                "reclaim",
                "compact SyncLight",
                "try",
                "oom false",
                "fail",
            ],
        ),
        (
            "a costly order gives up after one round",
            Gfp::GFP_KERNEL,
            5,
            nothing,
            &["wake", "try", "compact Async", "wake", "try", "reclaim", "compact SyncLight", "fail"],
        ),
        (
            "reclaim must not reclaim",
            Gfp::GFP_KERNEL,
            0,
            TaskFlags::MEMALLOC,
            &["wake", "try", "wake", "try", "fail"],
        ),
    ];
    for (what, gfp, n, task, expected) in table {
        let script = Script::default();
        let (steps, ok) = steps(&script, gfp, order(n), task);
        assert_eq!(steps, expected, "{what}");
        assert!(!ok);
        assert_eq!(script.reports.take(), [(gfp, order(n))], "{what}: a failure is reported");
    }
}

#[test]
fn huge_pages_are_not_worth_more_than_a_light_attempt() {
    let script = Script::default();
    let gfp = Gfp::GFP_TRANSHUGE | Gfp::NORETRY;
    let (steps, ok) = steps(&script, gfp, order(9), TaskFlags::empty());
    assert_eq!(steps, ["try", "compact Async", "fail"]);
    assert!(!ok && script.reports.take().is_empty(), "and its mask wants no report");
}

#[test]
fn reclaim_goes_on_as_long_as_it_helps_and_sixteen_rounds_when_it_does_not() {
    let script = Script::default();
    // Much could be freed, nothing is: sixteen fruitless rounds, then the killer, once.
    script.reclaim.replace(vec![Progress { freed: 0, reclaimable: 1 << 20 }]);
    script.kills.set(1);
    let (steps, ok) = steps(&script, Gfp::GFP_KERNEL, Order::ZERO, TaskFlags::empty());
    assert!(!ok);
    let count = |word: &str| steps.iter().filter(|s| *s == word).count();
    assert_eq!((count("oom true"), count("oom false")), (1, 1));
    assert_eq!(count("reclaim"), 2 * 17);
}

#[test]
fn who_may_fail_kills_nobody() {
    let script = Script::default();
    script.kills.set(3);
    let gfp = Gfp::GFP_KERNEL | Gfp::RETRY_MAYFAIL;
    let (words, ok) = steps(&script, gfp, Order::ZERO, TaskFlags::empty());
    assert!(!ok && !words.contains(&"oom true".to_owned()), "{words:?}");
}

#[test]
fn masks_that_want_zeroes_get_them_on_every_path() {
    let script = Script::default();
    with_plain_machine(&machine(16, 1), &script, |m| {
        m.on_cpu(0, |cx| {
            for n in [0, 0, 3, 9] {
                let frames = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL | Gfp::ZERO, order(n)).unwrap();
                m.allocator.free_pages(cx, frames);
            }
            assert_eq!(script.zeroed.get(), 1 + 1 + 8 + 512);
        });
    });
}

#[test]
fn kswapd_is_told_what_is_wanted() {
    let script = Script::default();
    let _ = steps(&script, Gfp::GFP_NOWAIT, order(2), TaskFlags::empty());
    assert_eq!(script.woken.take(), [(order(2), ZoneKind::Normal); 2]);
}
