//! A naive model: one entry for each frame, and the only knowledge that a block is an aligned run.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cell {
    Absent,
    Reserved,
    Free,
    Taken,
}

struct Model {
    cells: Vec<Cell>,
    cma: Vec<bool>,
    zone: Vec<Option<ZoneId>>,
}

impl Model {
    fn new(machine: &Machine, buddy: &TestBuddy<'_>) -> Self {
        let end = machine.memory.iter().map(|m| m.2).max().unwrap_or(0);
        let inside = |list: &[(u64, u64)], p: u64| list.iter().any(|&(s, e)| s <= p && p < e);
        let node = |p: u64| machine.memory.iter().find(|m| m.1 <= p && p < m.2).map(|m| m.0);
        let mut model = Self { cells: Vec::new(), cma: Vec::new(), zone: Vec::new() };
        for p in 0..end {
            let cma = inside(&machine.cma, p);
            let kind = if p < machine.dma_end { ZoneKind::Dma } else { ZoneKind::Normal };
            model.zone.push(node(p).map(|n| buddy.find(NodeId::new(n).unwrap(), kind).unwrap()));
            model.cma.push(cma);
            model.cells.push(match node(p) {
                None => Cell::Absent,
                Some(_) if inside(&machine.reserved, p) && !cma => Cell::Reserved,
                Some(_) => Cell::Free,
            });
        }
        model
    }

    /// Whether some aligned run of free frames of one zone and of one side (CMA or not) could serve the request.
    fn can_serve(&self, zone: ZoneId, request: &Request) -> bool {
        let len = request.order.pages() as usize;
        (0..self.cells.len()).step_by(len).filter(|at| at + len <= self.cells.len()).any(|at| {
            let run = at..at + len;
            let cma = self.cma[at];
            (!cma || request.cma)
                && run
                    .into_iter()
                    .all(|i| self.cells[i] == Cell::Free && self.zone[i] == Some(zone) && self.cma[i] == cma)
        })
    }

    fn set(&mut self, start: u64, len: u64, from: Cell, to: Cell) {
        for cell in &mut self.cells[start as usize..(start + len) as usize] {
            assert_eq!(*cell, from, "frames {start}..{}", start + len);
            *cell = to;
        }
    }

    fn free_pages(&self, zone: ZoneId, cma_only: bool) -> u64 {
        let mine = |i: usize| self.zone[i] == Some(zone) && (!cma_only || self.cma[i]);
        (0..self.cells.len()).filter(|&i| mine(i) && self.cells[i] == Cell::Free).count() as u64
    }
}

#[derive(Clone, Debug)]
enum Step {
    Alloc {
        zone: u16,
        order: u8,
        kind: u8,
        no_fragment: bool,
    },
    /// Frees a held token (picked by number), after cutting a piece of it off.
    Free {
        pick: usize,
        cut: u64,
    },
    FailNext,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3u16, 0..=LARGEST, 0..4u8, prop::bool::weighted(0.1))
            .prop_map(|(zone, order, kind, no_fragment)| Step::Alloc { zone, order, kind, no_fragment }),
        5 => (any::<usize>(), 0..40u64).prop_map(|(pick, cut)| Step::Free { pick, cut }),
        1 => Just(Step::FailNext),
    ]
}

fn machine() -> impl Strategy<Value = Machine> {
    let memory = prop::collection::vec((0..2u16, 0..24u64, 1..90u64), 1..4);
    let reserved = prop::collection::vec((0..200u64, 1..20u64), 0..4);
    let cma = prop::option::of((0..20u64, 1..4u64));
    (memory, reserved, cma, 0..150u64, 0..4usize).prop_map(|(memory, reserved, cma, dma_end, extents)| {
        let mut at = 0;
        let memory: Vec<_> = memory
            .into_iter()
            .map(|(nid, gap, len)| {
                let start = at + gap;
                at = start + len;
                (nid, start, at)
            })
            .collect();
        // An area lies in one zone and in one range of memory, as cma_activate_area demands.
        let block = 1 << PAGEBLOCK;
        let whole = |&(s, e): &(u64, u64)| {
            memory.iter().any(|m| m.1 <= s && e <= m.2) && (e <= dma_end || dma_end <= s)
        };
        let cma = cma.map(|(b, n)| (b * block, (b + n) * block)).filter(whole).into_iter().collect();
        let reserved = reserved.into_iter().map(|(s, n)| (s, s + n)).collect();
        Machine { memory, reserved, cma, dma_end, extents, ..Machine::flat(0) }
    })
}

fn check(buddy: &TestBuddy<'_>, model: &Model) {
    buddy.validate().unwrap();
    for (i, z) in buddy.zones().iter().enumerate() {
        let zone = ZoneId(i as u16);
        assert_eq!(z.free_pages(), model.free_pages(zone, false));
        assert_eq!(z.free_cma_pages(), model.free_pages(zone, true));
        let by_order: u64 = (0..=LARGEST).map(|n| buddy.free_blocks(zone, order(n)) << n).sum();
        assert_eq!(by_order, z.free_pages());
    }
}

fn run(machine: &Machine, steps: &[Step]) {
    let mut store = Store::default();
    let mut buddy = store.boot(machine);
    let mut model = Model::new(machine, &buddy);
    check(&buddy, &model);
    let mut held: BTreeMap<u64, Frames<'_>> = BTreeMap::new();
    let mut fail_next = false;
    for step in steps {
        match *step {
            Step::Alloc { zone, order: n, kind, no_fragment } => {
                let zone = ZoneId(zone);
                let request = Request { no_fragment, ..request(kind, order(n)) };
                let result = buddy.alloc(zone, request);
                if core::mem::take(&mut fail_next) {
                    assert!(matches!(result, Err(AllocError::Injected { .. })));
                    check(&buddy, &model);
                    continue;
                }
                let possible = zone.index() < buddy.zones().len() && model.can_serve(zone, &request);
                match result {
                    Ok(frames) => {
                        let start = pfn_of(&buddy, &frames);
                        assert_eq!((frames.len(), start % frames.len()), (1 << n, 0));
                        assert!((start..start + frames.len()).all(|p| model.zone[p as usize] == Some(zone)));
                        assert!(request.cma || !model.cma[start as usize]);
                        model.set(start, frames.len(), Cell::Free, Cell::Taken);
                        held.insert(start, frames);
                    }
                    Err(_) => assert!(!possible || no_fragment, "{request:?} refused, but there is memory"),
                }
            }
            Step::Free { pick, cut } => {
                let Some(&start) = held.keys().nth(pick % held.len().max(1)) else { continue };
                let frames = held.remove(&start).unwrap();
                let freed = if cut > 0 && cut < frames.len() {
                    let (low, high) = buddy.map().split_at(frames, cut);
                    held.insert(start + cut, high);
                    low
                } else {
                    frames
                };
                model.set(start, freed.len(), Cell::Taken, Cell::Free);
                buddy.free(freed);
            }
            Step::FailNext => {
                buddy.fail_nth(1);
                fail_next = true;
            }
        }
        check(&buddy, &model);
    }
    for (start, frames) in held {
        model.set(start, frames.len(), Cell::Taken, Cell::Free);
        buddy.free(frames);
    }
    check(&buddy, &model);
}

fn request(kind: u8, order: Order) -> Request {
    match kind {
        0 => Request::unmovable(order),
        1 => Request::reclaimable(order),
        2 => Request { cma: false, ..Request::movable(order) },
        _ => Request::movable(order),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 400 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_buddy_agrees_with_a_frame_by_frame_model(
        machine in machine(),
        steps in prop::collection::vec(step(), 1..if cfg!(miri) { 12 } else { 120 }),
    ) {
        run(&machine, &steps);
    }
}
