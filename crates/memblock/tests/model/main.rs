//! A naive model: one cell for every 256 bytes of a small machine, and every operation written over cells.
//!
//! proptest drives the model and the real thing with the same operations and compares after each: what every
//! cell holds, that the regions are exactly the runs of equal cells, sizes, searches, walks from both ends.

mod cells;
#[path = "../common/mod.rs"]
mod common;
use cells::*;
use common::*;
use pagewright_addr::{NodeId, PhysAddr};
use pagewright_memblock::{Config, Error, Flags, Memblock, Quiet, Region, Set};
use proptest::prelude::*;

/// Operations in one case, at most.
const STEPS: usize = if cfg!(miri) { 8 } else { 40 };

#[derive(Clone, Debug)]
enum Op {
    Add(usize, usize),
    AddNode(usize, usize, Option<NodeId>, Flags),
    Remove(usize, usize),
    Reserve(usize, usize),
    Free(usize, usize),
    SetFlag(usize, usize, Flags, bool),
    SetNode(usize, usize, Set, Option<NodeId>),
    Limit(usize),
    BottomUp(bool),
    Mirror(bool),
    Movable(bool),
    /// `memblock_phys_alloc_range` and `memblock_alloc_range_nid`: no second try.
    Phys(Ask),
    /// `memblock_alloc_try_nid` and `memblock_alloc_exact_nid_raw`.
    Alloc(Ask),
    Trim,
    Enforce(usize),
    Cap(usize, usize),
    RemoveMap(usize),
}

fn bytes(base: usize, len: usize) -> pagewright_addr::PhysRange {
    let r = cells(base, len);
    span(r.start as u64 * CELL, r.len() as u64 * CELL)
}

fn step(model: &mut Model, m: &mut Memblock<'_>, op: &Op) -> Result<(), TestCaseError> {
    let fill = |set: &mut Vec<Cell>, b, l, what| {
        set[cells(b, l)].iter_mut().for_each(|c| *c = c.or(Some(what)));
    };
    let compare = |model: &mut Model, real: Result<PhysAddr, Error>, naive: Option<u64>, size| {
        prop_assert_eq!(real.ok().map(PhysAddr::get), naive, "{:?}", real);
        model.take(naive, size);
        Ok(())
    };
    match *op {
        Op::Add(b, l) => {
            m.add(bytes(b, l)).unwrap();
            model.memory_total += cells(b, l).len() as u64 * CELL - model.count(cells(b, l));
            fill(&mut model.memory, b, l, (Flags::NONE, None));
        }
        Op::AddNode(b, l, nid, flags) => {
            m.add_node(bytes(b, l), nid, flags).unwrap();
            model.memory_total += cells(b, l).len() as u64 * CELL - model.count(cells(b, l));
            fill(&mut model.memory, b, l, (flags, nid));
        }
        Op::Remove(b, l) => {
            m.remove(bytes(b, l)).unwrap();
            model.memory_total -= model.count(cells(b, l));
            model.memory[cells(b, l)].fill(None);
        }
        Op::Reserve(b, l) => {
            m.reserve(bytes(b, l)).unwrap();
            fill(&mut model.reserved, b, l, (Flags::NONE, None));
        }
        Op::Free(b, l) => {
            m.phys_free(bytes(b, l)).unwrap();
            model.reserved[cells(b, l)].fill(None);
        }
        Op::SetFlag(b, l, flag, set) => {
            let r = bytes(b, l);
            m.set_flag(r.start, r.len(), flag, set).unwrap();
            model.memory[cells(b, l)].iter_mut().flatten().for_each(|(f, _)| f.set(flag, set));
        }
        Op::SetNode(b, l, which, nid) => {
            m.set_node(bytes(b, l), which, nid).unwrap();
            let set = if which == Set::Memory { &mut model.memory } else { &mut model.reserved };
            set[cells(b, l)].iter_mut().flatten().for_each(|(_, n)| *n = nid);
        }
        Op::Limit(c) => {
            model.limit = c as u64 * CELL;
            m.set_current_limit(at(model.limit));
        }
        Op::BottomUp(yes) => {
            model.bottom_up = yes;
            m.set_bottom_up(yes);
        }
        Op::Mirror(yes) => {
            model.mirror = yes;
            m.set_has_mirror(yes);
        }
        Op::Movable(yes) => {
            model.movable = yes;
            m.set_movable_node(yes);
        }
        Op::Phys(ask) => {
            let naive = model.range_nid(ask);
            let (min, max) = (at(ask.min), at(ask.max));
            let real = m.alloc_range_nid(ask.size, ask.align, min, max, ask.nid, ask.exact);
            compare(model, real, naive, ask.size)?;
        }
        Op::Alloc(ask) => {
            let naive = model.alloc(ask);
            let (min, max) = (at(ask.min), at(ask.max));
            let real = if ask.exact {
                m.alloc_exact_nid_raw(ask.size, ask.align, min, max, ask.nid)
            } else {
                m.alloc_try_nid(ask.size, ask.align, min, max, ask.nid)
            };
            compare(model, real, naive, ask.size)?;
        }
        Op::Trim => {
            m.trim_memory(PAGE).unwrap();
            model.trim();
        }
        Op::Enforce(c) => {
            m.enforce_memory_limit(c as u64 * CELL).unwrap();
            if let Some(end) = model.max_cell(c as u64 * CELL) {
                model.cut(0..end, Flags::NONE);
            }
        }
        Op::Cap(b, l) => {
            let done = m.cap_memory_range(bytes(b, l));
            prop_assert_eq!(done.is_ok(), model.memory_total != 0 || cells(b, l).is_empty());
            if model.memory_total != 0 && !cells(b, l).is_empty() {
                model.cut(cells(b, l), Flags::NOMAP);
                merge_all(m);
            }
        }
        Op::RemoveMap(c) => {
            m.mem_limit_remove_map(c as u64 * CELL).unwrap();
            if let Some(end) = model.max_cell(c as u64 * CELL) {
                model.cut(0..end, Flags::NOMAP);
                merge_all(m);
            }
        }
    }
    Ok(())
}

/// Capping may leave an unmapped region in two halves, which the next operation that merges joins; the model
/// knows whole runs only.
fn merge_all(m: &mut Memblock<'_>) {
    m.set_flag(at(0), u64::MAX, Flags::NONE, true).unwrap();
}

/// A set as cells, and its regions joined where they are alike and touch.
fn as_cells(regions: &[Region]) -> Vec<Cell> {
    let mut out = vec![None; CELLS];
    for r in regions {
        let over = (r.base().get() / CELL) as usize..(r.end().get()).div_ceil(CELL) as usize;
        out[over].fill(Some((r.flags(), r.nid())));
    }
    out
}

fn agree(model: &Model, m: &Memblock<'_>) -> Result<(), TestCaseError> {
    m.validate().map_err(|v| TestCaseError::fail(v.to_string()))?;
    let (memory, reserved) = (m.regions(Set::Memory), m.regions(Set::Reserved));
    prop_assert_eq!(&as_cells(memory), &model.memory);
    prop_assert_eq!(&as_cells(reserved), &model.reserved);
    prop_assert_eq!(m.phys_mem_size(), model.memory_total);
    let naive: Vec<_> =
        runs(&model.reserved).iter().map(|r| (r.0 as u64 * CELL, r.1 as u64 * CELL)).collect();
    let whole = |r: &(u64, u64)| (r.0 / CELL * CELL, (r.0 + r.1).div_ceil(CELL) * CELL);
    let real: Vec<_> = bases(m, Set::Reserved).iter().map(whole).collect();
    let naive: Vec<_> = naive.iter().map(whole).collect();
    prop_assert_eq!(real, naive, "reserved regions are the runs");

    for c in 0..CELLS {
        let addr = at(c as u64 * CELL);
        prop_assert_eq!(m.is_memory(addr), model.memory[c].is_some());
        prop_assert_eq!(m.is_reserved(addr), model.reserved[c].is_some());
        let nomap = model.memory[c].is_some_and(|(f, _)| f.contains(Flags::NOMAP));
        prop_assert_eq!(m.is_map_memory(addr), model.memory[c].is_some() && !nomap);
    }
    for nid in [None, node(0), node(1)] {
        for flags in [Flags::NONE, Flags::MIRROR] {
            let forward: Vec<_> = m.free_ranges(nid, flags).collect();
            let mut back: Vec<_> = m.free_ranges(nid, flags).rev().collect();
            back.reverse();
            prop_assert_eq!(&forward, &back);
            let mut free = vec![false; CELLS];
            for (r, _) in &forward {
                let over = (r.start.get() / CELL) as usize..r.end.get().div_ceil(CELL) as usize;
                free[over].fill(true);
            }
            for (c, &is_free) in free.iter().enumerate() {
                let naive = model.wanted(model.memory[c], nid, flags) && model.reserved[c].is_none();
                prop_assert_eq!(is_free, naive, "cell {} for {:?} {:?}", c, nid, flags);
            }
        }
    }
    Ok(())
}

fn any_node() -> impl Strategy<Value = Option<NodeId>> {
    prop_oneof![Just(None), Just(node(0)), Just(node(1))]
}

fn any_flag() -> impl Strategy<Value = Flags> {
    prop_oneof![
        Just(Flags::NONE),
        Just(Flags::HOTPLUG),
        Just(Flags::MIRROR),
        Just(Flags::NOMAP),
        Just(Flags::DRIVER_MANAGED)
    ]
}

fn any_ask() -> impl Strategy<Value = Ask> {
    let bound = || prop_oneof![Just(0), Just(1), (0..=CELLS as u64).prop_map(|c| c * CELL)];
    // Whole cells, so that the model's cells can tell free from reserved.
    (1u64..=40, 8u32..=13, bound(), bound(), any_node(), any::<bool>()).prop_map(
        |(size, align, min, max, nid, exact)| Ask {
            size: size * CELL,
            align: 1 << align,
            min,
            max,
            nid,
            exact,
        },
    )
}

fn any_op() -> impl Strategy<Value = Op> {
    let b = || 0..CELLS;
    let l = || prop_oneof![0usize..40, 0..CELLS];
    prop_oneof![
        4 => (b(), l()).prop_map(|(b, l)| Op::Add(b, l)),
        4 => (b(), l(), any_node(), any_flag()).prop_map(|(b, l, n, f)| Op::AddNode(b, l, n, f)),
        2 => (b(), 0..40usize).prop_map(|(b, l)| Op::Remove(b, l)),
        3 => (b(), 0..40usize).prop_map(|(b, l)| Op::Reserve(b, l)),
        3 => (b(), l()).prop_map(|(b, l)| Op::Free(b, l)),
        2 => (b(), l(), any_flag(), any::<bool>()).prop_map(|(b, l, f, s)| Op::SetFlag(b, l, f, s)),
        2 => (b(), l(), any::<bool>(), any_node()).prop_map(|(b, l, m, n)| {
            Op::SetNode(b, l, if m { Set::Memory } else { Set::Reserved }, n)
        }),
        1 => b().prop_map(Op::Limit),
        1 => any::<bool>().prop_map(Op::BottomUp),
        1 => any::<bool>().prop_map(Op::Mirror),
        1 => any::<bool>().prop_map(Op::Movable),
        5 => any_ask().prop_map(Op::Phys),
        5 => any_ask().prop_map(Op::Alloc),
        1 => Just(Op::Trim),
        1 => b().prop_map(Op::Enforce),
        1 => (b(), l()).prop_map(|(b, l)| Op::Cap(b, l)),
        1 => b().prop_map(Op::RemoveMap),
    ]
}

/// Few under Miri, as many as the environment asks for, or enough to find what is wrong.
fn cases() -> u32 {
    match std::env::var_os("PROPTEST_CASES") {
        _ if cfg!(miri) => 1,
        Some(_) => ProptestConfig::default().cases,
        None => 3000,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn memblock_does_what_the_naive_model_does(ops in prop::collection::vec(any_op(), 1..STEPS)) {
        let (mut a, mut b) = (vec![Region::default(); 512], vec![Region::default(); 512]);
        let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
        let mut model = Model::new();
        for op in &ops {
            step(&mut model, &mut m, op)?;
            agree(&model, &m)?;
        }
    }

    /// Arrays start tiny and grow a few times, then growing fails: the state is valid after every operation, and
    /// every refusal leaves everything as it was.
    #[test]
    fn arrays_that_grow_or_cannot_keep_the_state_whole(
        ops in prop::collection::vec(any_op(), 1..STEPS),
        grants in 0usize..6,
    ) {
        let (mut a, mut b) = ([Region::default(); 3], [Region::default(); 3]);
        let (places, mut rest) = (Places::new(), vec![Region::default(); 4096]);
        places.grants.set(grants);
        let mut store = Store::new(&mut rest, &places);
        let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
        m.set_region_memory(&mut store);
        m.allow_resize();
        for op in &ops {
            let before = see(&m);
            let done = apply(&mut m, op);
            m.validate().map_err(|v| TestCaseError::fail(v.to_string()))?;
            if done.is_err() {
                prop_assert_eq!(see(&m), before, "{:?} after {:?}", op, done);
            }
        }
    }
}

/// Runs an operation for its result only.
fn apply(m: &mut Memblock<'_>, op: &Op) -> Result<(), Error> {
    match *op {
        Op::Add(b, l) => m.add(bytes(b, l)),
        Op::AddNode(b, l, n, f) => m.add_node(bytes(b, l), n, f),
        Op::Remove(b, l) => m.remove(bytes(b, l)),
        Op::Reserve(b, l) => m.reserve(bytes(b, l)),
        Op::Free(b, l) => m.phys_free(bytes(b, l)),
        Op::SetFlag(b, l, f, s) => m.set_flag(bytes(b, l).start, bytes(b, l).len(), f, s),
        Op::SetNode(b, l, which, n) => m.set_node(bytes(b, l), which, n),
        Op::Phys(k) => m.alloc_range_nid(k.size, k.align, at(k.min), at(k.max), k.nid, k.exact).map(|_| ()),
        Op::Alloc(k) => m.alloc_try_nid(k.size, k.align, at(k.min), at(k.max), k.nid).map(|_| ()),
        Op::BottomUp(yes) => {
            m.set_bottom_up(yes);
            Ok(())
        }
        Op::Cap(b, l) => m.cap_memory_range(bytes(b, l)),
        Op::RemoveMap(c) => m.mem_limit_remove_map(c as u64 * CELL),
        Op::Limit(_) | Op::Mirror(_) | Op::Movable(_) | Op::Trim | Op::Enforce(_) => Ok(()),
    }
}
