//! (mask, order, state) and the branches that each must take.

use super::rows::rows;
use super::*;
use std::collections::BTreeSet;

pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) gfp: Gfp,
    pub(super) order: u8,
    pub(super) used: Used<'static>,
    pub(super) script: Script,
    pub(super) steps: &'static str,
    pub(super) ok: bool,
    pub(super) silent: bool,
}

/// Two nodes of 16 MiB, all CPUs on the first.
pub(super) fn two_nodes() -> PlainMachine {
    PlainMachine {
        ram: vec![(node(0), 0x4_0000, 16 << 8), (node(1), 0x8_0000, 16 << 8)],
        cpus: vec![node(0)],
        ..machine(0, 0)
    }
}

pub(super) fn row(what: &'static str, gfp: Gfp, order: u8, steps: &'static str) -> Row {
    let used = Used::of(&machine(16, 1));
    Row { what, gfp, order, used, script: Script::default(), steps, ok: false, silent: false }
}

impl Row {
    pub(super) fn task(mut self, task: TaskFlags) -> Self {
        self.used.task = task;
        self
    }

    pub(super) fn script(mut self, script: Script) -> Self {
        self.script = script;
        self
    }

    pub(super) fn on(mut self, machine: PlainMachine) -> Self {
        self.used = Used { task: self.used.task, ..Used::of(&machine) };
        self
    }

    pub(super) fn used(mut self, change: impl FnOnce(&mut Used<'static>)) -> Self {
        change(&mut self.used);
        self
    }

    pub(super) fn ok(mut self) -> Self {
        self.ok = true;
        self
    }

    pub(super) fn silent(mut self) -> Self {
        self.silent = true;
        self
    }
}

#[test]
fn each_mask_takes_its_branches() {
    for row in rows() {
        let (steps, ok) = row.used.alloc(&row.script, row.gfp, order(row.order));
        assert_eq!(words(&steps), row.steps, "{}", row.what);
        assert_eq!(ok, row.ok, "{}", row.what);
        let odd = row.gfp.contains(Gfp::ATOMIC | Gfp::DIRECT_RECLAIM);
        let gfp = if odd { row.gfp - Gfp::ATOMIC } else { row.gfp };
        let told = !ok && !gfp.contains(Gfp::NOWARN) && row.order <= 10 && !row.silent;
        let report = told.then_some((gfp, order(row.order)));
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
        Step::OomNotify => 21,
        Step::Fail => 22,
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
