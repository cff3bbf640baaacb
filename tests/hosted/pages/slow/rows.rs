//! The table's rows: what each mask, order and state leads to.

use super::table::{Row, row, two_nodes};
use super::*;
use pagewright_zone::NodeMask;
use pagewright_zone::alloc::NodeReclaim;

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
            "who gives memory back by himself is asked before anybody is killed",
            kernel,
            0,
            "wake 0, try, wake 0, try, reclaim 0, try high, given, again, \
             wake 0, try, reclaim 0, try high, oom false, fail",
        )
        .script(Script { gives: 1.into(), ..Script::default() }),
        row(
            "also without FS",
            Gfp::GFP_NOFS,
            0,
            "wake 0, try, wake 0, try, reclaim 0, try high, given, again, wake 0, try",
        )
        .script(Script { gives: 1.into(), free_at: Some(|s| s == Step::OomNotify), ..Script::default() })
        .ok(),
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
        row("an order that no block has", kernel, 11, "warn TooLarge"),
        row("of which who can do without is told nothing", kernel | Gfp::NOWARN, 11, ""),
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
            "a costly block that may not fail is not given up with the rest",
            nofail | Gfp::NORETRY,
            5,
            "warn NofailLarge, wake 0, try, compact Async Skipped, warn NofailCostly, try harder, try harder, \
             again, wake 0, try",
        )
        .script(Script { free_at: Some(|s| s == Step::Retry), ..Script::default() })
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

/// A little is free, below what anybody may have who is not let near reserves.
fn a_little_left() -> Vec<Row> {
    let all_but = |gfp: Gfp, what, steps| row(what, gfp | Gfp::NOFAIL, 0, steps).used(|u| u.left = 48).ok();
    vec![
        all_but(
            Gfp::GFP_KERNEL,
            "who may not fail gets what is left when there is nobody to kill",
            "wake 0, try, wake 0, try, reclaim 0, try high, oom false, warn NofailNoVictim, try all",
        ),
        all_but(
            Gfp::GFP_NOFS,
            "also without FS, when nobody is killed",
            "wake 0, try, wake 0, try, reclaim 0, try high, no fs, try all",
        ),
        all_but(
            Gfp::GFP_NOIO,
            "and without I/O",
            "wake 0, try, wake 0, try, reclaim 0, try high, no fs, try all",
        ),
        all_but(
            Gfp::GFP_KERNEL,
            "and in a task that may not",
            "wake 0, try, wake 0, try, reclaim 0, try high, no fs, try all",
        )
        .task(TaskFlags::NOFS),
    ]
}

fn nowhere() -> Vec<Row> {
    let kernel = Gfp::GFP_KERNEL;
    vec![
        row("a policy without memory", kernel, 0, "no zone, fail").used(|u| u.nodes = Some(mask(5))),
        row("which who cannot wait is told as well", Gfp::GFP_ATOMIC, 0, "no zone, fail")
            .used(|u| u.nodes = Some(mask(5))),
        row("this node and another's policy", kernel | Gfp::THISNODE, 0, "no zone, fail")
            .on(two_nodes())
            .used(|u| u.nodes = Some(mask(1))),
        row(
            "who may not fail is not held to it with reserves",
            kernel | Gfp::NOFAIL,
            0,
            "no zone, warn NofailMemalloc, try harder, try harder, again, any node, try all",
        )
        .task(TaskFlags::MEMALLOC)
        .used(|u| u.nodes = Some(mask(5)))
        .used(|u| u.left = 48)
        .ok(),
    ]
}

/// Memory for devices that reach little of it.
fn low() -> Vec<Row> {
    let (none, dma) = (Gfp::GFP_NOWAIT, Gfp::GFP_NOWAIT | Gfp::DMA);
    let all = PlainMachine { dma_end: 0x4_0000 + (16 << 8), ..machine(16, 1) };
    let reserved = PlainMachine { dma_end: 0x4_0000 + (4 << 8), reserved: 4 << 8, ..machine(16, 1) };
    let fails = "wake 0, try, wake 0, try, fail";
    vec![
        row("low memory is used up", dma, 0, fails).on(all).used(|u| u.fill = Gfp::GFP_KERNEL | Gfp::DMA),
        row("a kernel without such a zone is silent", dma, 0, fails).silent(),
        row("so is one that has nothing in it", dma, 0, fails).on(reserved.clone()).silent(),
        row("about low memory only", none, 0, fails).on(reserved),
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

pub(super) fn rows() -> Vec<Row> {
    [waiting(), killing(), blocks(), not_failing(), a_little_left(), nowhere(), low(), nodes()]
        .into_iter()
        .flatten()
        .collect()
}
