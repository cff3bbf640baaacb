//! (mask, order, state) and the branches that each must take.

use super::*;
use pagewright_zone::NodeMask;
use pagewright_zone::alloc::NodeReclaim;
use std::collections::BTreeSet;

struct Row {
    what: &'static str,
    gfp: Gfp,
    order: u8,
    used: Used<'static>,
    script: Script,
    steps: &'static str,
    ok: bool,
}

/// Two nodes of 16 MiB, all CPUs on the first.
pub(super) fn two_nodes() -> PlainMachine {
    PlainMachine {
        ram: vec![(node(0), 0x4_0000, 16 << 8), (node(1), 0x8_0000, 16 << 8)],
        cpus: vec![node(0)],
        ..machine(0, 0)
    }
}

fn row(what: &'static str, gfp: Gfp, order: u8, steps: &'static str) -> Row {
    let used = Used::of(&machine(16, 1));
    Row { what, gfp, order, used, script: Script::default(), steps, ok: false }
}

impl Row {
    fn task(mut self, task: TaskFlags) -> Self {
        self.used.task = task;
        self
    }

    fn script(mut self, script: Script) -> Self {
        self.script = script;
        self
    }

    fn on(mut self, machine: PlainMachine) -> Self {
        self.used = Used { task: self.used.task, ..Used::of(&machine) };
        self
    }

    fn used(mut self, change: impl FnOnce(&mut Used<'static>)) -> Self {
        change(&mut self.used);
        self
    }

    fn ok(mut self) -> Self {
        self.ok = true;
        self
    }
}

fn mask(n: u16) -> &'static NodeMask {
    Box::leak(Box::new(NodeMask::only(node(n))))
}

fn waiting() -> Vec<Row> {
    let kernel = Gfp::GFP_KERNEL;
    vec![
        row("cannot wait", Gfp::GFP_NOWAIT, 0, "wake 0, try, wake 0, try, fail"),
        row("not even kswapd", Gfp::empty(), 0, "try, try, fail"),
        row("atomic", Gfp::GFP_ATOMIC, 0, "wake 0, try harder, wake 0, try harder, fail"),
        row(
            "who may reclaim is not atomic",
            Gfp::GFP_ATOMIC | Gfp::DIRECT_RECLAIM | Gfp::NORETRY,
            0,
            "warn AtomicReclaims, wake 0, try, wake 0, try, reclaim 0, fail",
        ),
        row(
            "no failing, but no way to reclaim",
            Gfp::GFP_ATOMIC | Gfp::NOFAIL,
            0,
            "warn NofailCannotReclaim, wake 0, try harder, wake 0, try harder, fail",
        ),
        row("a real-time task", Gfp::GFP_NOWAIT, 0, "wake 0, try harder, wake 0, try harder, fail")
            .task(TaskFlags::REALTIME),
        row("one round only", kernel | Gfp::NORETRY, 0, "wake 0, try, wake 0, try, reclaim 0, fail"),
        row("reclaim must not reclaim", kernel, 0, "wake 0, try, wake 0, try all, fail")
            .task(TaskFlags::MEMALLOC),
        row("unless it must not use reserves", kernel | Gfp::NOMEMALLOC, 0, "wake 0, try, wake 0, try, fail")
            .task(TaskFlags::MEMALLOC),
        row("reclaim frees a page", kernel, 0, "wake 0, try, wake 0, try, reclaim 3")
            .script(Script {
                freed: vec![3].into(),
                free_at: Some(|s| matches!(s, Step::Reclaim(_))),
                ..Script::default()
            })
            .ok(),
        row(
            "pages that reclaim freed sit on lists",
            kernel | Gfp::NORETRY,
            0,
            "wake 0, try, wake 0, try, reclaim 3, drain",
        )
        .script(Script {
            freed: vec![3].into(),
            free_at: Some(|s| s == Step::DrainReserves),
            ..Script::default()
        })
        .ok(),
    ]
}

fn killing() -> Vec<Row> {
    let kernel = Gfp::GFP_KERNEL;
    let killer = || Script { kills: 9.into(), ..Script::default() };
    let low = PlainMachine { dma32_end: 0x4_0000 + (16 << 8), ..machine(16, 1) };
    vec![
        row(
            "the killer finds nobody",
            kernel,
            0,
            "wake 0, try, wake 0, try, reclaim 0, try high, oom false, fail",
        ),
        row(
            "the killer's victim leaves memory",
            kernel,
            0,
            "wake 0, try, wake 0, try, reclaim 0, try high, oom true, again, wake 0, try",
        )
        .script(Script { free_at: Some(|s| s == Step::Oom(true)), ..killer() })
        .ok(),
        row("another's victim has left plenty", kernel, 0, "wake 0, try, wake 0, try, reclaim 0, try high")
            .script(Script {
                free_at: Some(|s| matches!(s, Step::Attempt(f) if f.contains(AllocFlags::WMARK_HIGH))),
                ..killer()
            })
            .ok(),
        row(
            "another is killing",
            kernel,
            0,
            "wake 0, try, wake 0, try, reclaim 0, oom busy, wait true, again, \
             wake 0, try, reclaim 0, oom busy, wait false, fail",
        )
        .script(Script { busy: 2.into(), others: 1.into(), ..killer() }),
        row(
            "without FS others get the time to free memory",
            Gfp::GFP_NOFS,
            0,
            "wake 0, try, wake 0, try, reclaim 0, try high, no fs, wait true, again, \
             wake 0, try, reclaim 0, try high, no fs, wait false, fail",
        )
        .script(Script { others: 1.into(), ..killer() }),
        row(
            "who would rather fail kills nobody",
            kernel | Gfp::RETRY_MAYFAIL,
            0,
            "wake 0, try, wake 0, try, reclaim 0, try high, no oom Mask, fail",
        )
        .script(killer()),
        row(
            "nor who wants one node",
            kernel | Gfp::THISNODE,
            0,
            "wake 0, try, wake 0, try, reclaim 0, try high, no oom Mask, fail",
        )
        .script(killer()),
        row(
            "nor who writes a core dump",
            kernel,
            0,
            "wake 0, try, wake 0, try, reclaim 0, try high, no oom Dumping, fail",
        )
        .task(TaskFlags::DUMPING)
        .script(killer()),
        row(
            "nor who needs low memory",
            kernel | Gfp::DMA32,
            0,
            "wake 0, try, wake 0, try, reclaim 0, try high, no oom LowMemory, fail",
        )
        .on(low)
        .used(|u| u.fill = Gfp::GFP_KERNEL | Gfp::DMA32)
        .script(killer()),
        row(
            "a victim gets half of the reserve once",
            kernel,
            0,
            "wake 0, try, wake 0, try oom, reclaim 0, try high, oom true, victim, fail",
        )
        .task(TaskFlags::OOM_VICTIM)
        .script(killer()),
    ]
}

fn blocks() -> Vec<Row> {
    use CompactResult::{Complete, Deferred, Partial, Skipped};
    let kernel = Gfp::GFP_KERNEL;
    let compact = |results: &[CompactResult], freed: &[u64]| Script {
        compact: results.to_vec().into(),
        freed: freed.to_vec().into(),
        ..Script::default()
    };
    vec![
        row(
            "compaction before reclaim for a block",
            kernel,
            2,
            "wake 0, try, compact Async Skipped, wake 0, try, reclaim 0, compact SyncLight Skipped, \
             try high, oom false, fail",
        ),
        row(
            "but not for a movable one, which is not worth it",
            Gfp::GFP_HIGHUSER_MOVABLE | Gfp::NORETRY,
            2,
            "wake 0, try, wake 0, try, reclaim 0, compact SyncLight Skipped, fail",
        ),
        row(
            "a costly order gives up after one round",
            kernel,
            5,
            "wake 0, try, compact Async Skipped, wake 0, try, reclaim 0, compact SyncLight Skipped, fail",
        ),
        row(
            "unless it is asked to try again, and even then nobody dies for it",
            kernel | Gfp::RETRY_MAYFAIL,
            5,
            "wake 0, try, compact Async Complete, wake 0, try, reclaim 0, compact SyncLight Complete, \
             try high, no oom Costly, fail",
        )
        .script(compact(&[Complete], &[0])),
        row(
            "what failed is tried with more effort",
            kernel,
            2,
            "wake 0, try, compact Async Complete, wake 0, try, reclaim 1, drain, compact SyncLight Complete, \
             more compaction SyncFull, again, wake 0, try, reclaim 1, drain, compact SyncFull Complete, \
             try high, oom false, fail",
        )
        .script(compact(&[Complete], &[1])),
        row(
            "so is what was put off or looked at in part",
            kernel,
            2,
            "wake 0, try, compact Async Deferred, wake 0, try, reclaim 1, drain, compact SyncLight Partial, \
             more compaction SyncFull, again, wake 0, try, reclaim 1, drain, compact SyncFull Partial, \
             try high, oom false, fail",
        )
        .script(compact(&[Deferred, Partial], &[1])),
        row(
            "not by the dying",
            kernel,
            2,
            "wake 0, try, compact Async Complete, wake 0, try, reclaim 1, drain, compact SyncLight Complete, \
             try high, oom false, fail",
        )
        .task(TaskFlags::DYING)
        .script(compact(&[Complete], &[1])),
        row(
            "what lacked free pages waits for reclaim as long as that helps",
            kernel,
            2,
            "wake 0, try, compact Async Skipped, wake 0, try, reclaim 1, drain, compact SyncLight Skipped, \
             more compaction SyncLight, again, wake 0, try, reclaim 0, compact SyncLight Skipped, \
             try high, oom false, fail",
        )
        .script(Script { reclaimable: 1 << 16, ..compact(&[Skipped], &[1, 0]) }),
        row(
            "a huge page is worth no more than a light attempt",
            Gfp::GFP_TRANSHUGE | Gfp::NORETRY,
            9,
            "try, compact Async Skipped, fail",
        ),
        row(
            "nor where compaction was put off",
            Gfp::GFP_TRANSHUGE | Gfp::NORETRY,
            9,
            "try, compact Async Deferred, fail",
        )
        .script(compact(&[Deferred], &[0])),
        row(
            "and one more if compaction looked at all",
            Gfp::GFP_TRANSHUGE | Gfp::NORETRY,
            9,
            "try, compact Async Complete, try, reclaim 0, compact Async Complete, fail",
        )
        .script(compact(&[Complete], &[0])),
    ]
}

fn not_failing() -> Vec<Row> {
    let nofail = Gfp::GFP_KERNEL | Gfp::NOFAIL;
    vec![
        row(
            "who may not fail takes all when nobody is left to kill, and begins again",
            nofail,
            0,
            "wake 0, try, wake 0, try, reclaim 0, try high, oom false, warn NofailNoVictim, try all, try all, \
             again, wake 0, try",
        )
        .script(Script { free_at: Some(|s| s == Step::Retry), ..Script::default() })
        .ok(),
        row(
            "and some of the reserves where reclaim must not reclaim",
            nofail,
            0,
            "wake 0, try, wake 0, try all, warn NofailMemalloc, try harder",
        )
        .task(TaskFlags::MEMALLOC)
        .script(Script { free_at: Some(|s| matches!(s, Step::Warn(_))), ..Script::default() })
        .ok(),
        row(
            "a block that may not fail is odd",
            nofail,
            2,
            "warn NofailLarge, wake 0, try, compact Async Skipped, wake 0, try, reclaim 9",
        )
        .script(Script {
            freed: vec![9].into(),
            free_at: Some(|s| matches!(s, Step::Reclaim(_))),
            ..Script::default()
        })
        .ok(),
    ]
}

fn nodes() -> Vec<Row> {
    let kernel = Gfp::GFP_KERNEL;
    let here = |u: &mut Used<'static>| u.only = Some(node(0));
    vec![
        row(
            "the urgent need no policy",
            Gfp::GFP_ATOMIC,
            0,
            "wake 0, try harder, wake 0, any node, try harder",
        )
        .on(two_nodes())
        .used(here)
        .used(|u| u.nodes = Some(mask(0)))
        .ok(),
        row("others keep to theirs", kernel | Gfp::NORETRY, 0, "wake 0, try, wake 0, try, reclaim 0, fail")
            .on(two_nodes())
            .used(here)
            .used(|u| u.nodes = Some(mask(0))),
        row("the kernel's own memory leaves the cpuset that has no wall", kernel, 0, "wake 0, wake 1, try")
            .on(two_nodes())
            .used(here)
            .used(|u| u.cpuset = Some(mask(0)))
            .ok(),
        row(
            "what it allocates for users does not",
            Gfp::GFP_USER | Gfp::NORETRY,
            0,
            "wake 0, try, wake 0, try, reclaim 0, fail",
        )
        .on(two_nodes())
        .used(here)
        .used(|u| u.cpuset = Some(mask(0))),
        row("a cpuset without memory", Gfp::GFP_USER, 0, "no zone, fail")
            .on(two_nodes())
            .used(|u| u.cpuset = Some(mask(5))),
        row(
            "which does not matter to who may not fail",
            Gfp::GFP_USER | Gfp::NOFAIL,
            0,
            "no zone, try harder, try harder",
        )
        .on(two_nodes())
        .used(here)
        .used(|u| u.cpuset = Some(mask(5)))
        .ok(),
        row("near caches go before far pages", kernel, 0, "node 0 Some")
            .on(two_nodes())
            .used(here)
            .used(|u| u.node_reclaim_mode = 1)
            .script(Script { node_reclaim: Some(NodeReclaim::Some), ..Script::default() })
            .ok(),
        row("and serve if they were enough", kernel, 0, "node 0 Success")
            .on(two_nodes())
            .used(|u| u.node_reclaim_mode = 1)
            .script(Script {
                node_reclaim: Some(NodeReclaim::Success),
                free_at: Some(|s| matches!(s, Step::ReclaimNode(..))),
                ..Script::default()
            })
            .ok(),
        row("who cannot wait reclaims no node", Gfp::GFP_NOWAIT, 0, "")
            .on(two_nodes())
            .used(here)
            .used(|u| u.node_reclaim_mode = 1)
            .ok(),
        row("pages to be dirtied keep away from dirty nodes", kernel | Gfp::WRITE, 0, "dirty 0")
            .on(two_nodes())
            // There is no such node: nothing is used up.
            .used(|u| u.only = Some(node(7)))
            .script(Script { dirty: Some(node(0)), ..Script::default() })
            .ok(),
    ]
}

fn rows() -> Vec<Row> {
    [waiting(), killing(), blocks(), not_failing(), nodes()].into_iter().flatten().collect()
}

#[test]
fn each_mask_takes_its_branches() {
    for row in rows() {
        let (steps, ok) = row.used.alloc(&row.script, row.gfp, order(row.order));
        assert_eq!(words(&steps), row.steps, "{}", row.what);
        assert_eq!(ok, row.ok, "{}", row.what);
        let odd = row.gfp.contains(Gfp::ATOMIC | Gfp::DIRECT_RECLAIM);
        let gfp = if odd { row.gfp - Gfp::ATOMIC } else { row.gfp };
        let report = (!ok && !gfp.contains(Gfp::NOWARN)).then_some((gfp, order(row.order)));
        assert_eq!(row.script.reports(), report.into_iter().collect::<Vec<_>>(), "{}", row.what);
    }
}

/// A number for each kind of step, without a gap.
fn number(step: Step) -> usize {
    match step {
        Step::Warn(_) => 0,
        Step::NoZone => 1,
        Step::WakeKswapd(_) => 2,
        Step::Attempt(_) => 3,
        Step::AnyNode => 4,
        Step::ReclaimNode(..) => 5,
        Step::DirtyNode(_) => 6,
        Step::Boost(_) => 7,
        Step::Compact(..) => 8,
        Step::Reclaim(_) => 9,
        Step::DrainReserves => 10,
        Step::LastReserves(_) => 11,
        Step::RetryReclaim => 12,
        Step::RetryCompact(_) => 13,
        Step::OomBusy => 14,
        Step::OomExcluded(_) => 15,
        Step::OomNoFs => 16,
        Step::Oom(_) => 17,
        Step::VictimGivesUp => 18,
        Step::Wait(_) => 19,
        Step::Retry => 20,
        Step::Fail => 21,
    }
}

#[test]
fn the_tables_take_every_branch_there_is() {
    let mut seen = BTreeSet::new();
    for row in rows() {
        let (steps, _) = row.used.alloc(&row.script, row.gfp, order(row.order));
        seen.extend(steps.into_iter().map(number));
    }
    // Two more come in tests of their own: rounds that are too many to list, and types that mix.
    let script = Script { reclaimable: 1 << 20, ..Script::default() };
    let (steps, _) = Used::of(&machine(16, 1)).alloc(&script, Gfp::GFP_KERNEL, Order::ZERO);
    seen.extend(steps.into_iter().map(number));
    let script = Script { kswapd: true, ..Script::default() };
    with_plain_machine(&machine(64, 1), &script, |m| {
        m.on_cpu(0, |cx| {
            let held = half_used(m, cx);
            let page = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            held.into_iter().chain([page]).for_each(|frames| m.allocator.free_pages(cx, frames));
        });
    });
    seen.extend(script.steps().into_iter().map(number));
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), (0..=number(Step::Fail)).collect::<Vec<_>>());
}
