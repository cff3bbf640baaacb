//! What the tests share: short constructors, a sink that keeps the log, slots for grown arrays.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use pagewright_addr::{NodeId, PhysAddr, PhysRange};
use pagewright_memblock::{AddrWidth, Config, Event, Memblock, Printed, Region, RegionMemory, Set, Sink};
use std::cell::{Cell, RefCell};

pub const PAGE: u64 = 4096;
pub const MIB: u64 = 1 << 20;

pub fn at(addr: u64) -> PhysAddr {
    PhysAddr::new(addr)
}

pub fn span(base: u64, len: u64) -> PhysRange {
    PhysRange::from_len(at(base), len)
}

pub fn node(n: u16) -> Option<NodeId> {
    NodeId::new(n)
}

pub fn narrow() -> Config {
    Config { width: AddrWidth::Bits32, numa: false, ..Config::default() }
}

/// Keeps every event, and the text of those that Linux prints.
#[derive(Default)]
pub struct Log {
    pub events: RefCell<Vec<Event>>,
}

impl Sink for Log {
    fn event(&self, event: &Event) {
        self.events.borrow_mut().push(*event);
    }
}

impl Log {
    /// The lines that Linux would have printed since the last call.
    pub fn lines(&self, width: AddrWidth) -> Vec<String> {
        let events = std::mem::take(&mut *self.events.borrow_mut());
        events.iter().filter(|e| e.is_logged()).map(|e| e.line(width).to_string()).collect()
    }

    /// The lines of silent events since the last call.
    pub fn silent(&self) -> Vec<String> {
        let events = std::mem::take(&mut *self.events.borrow_mut());
        let silent = events.iter().filter(|e| e.printed() == Printed::Silent);
        silent.map(|e| e.line(AddrWidth::Bits64).to_string()).collect()
    }
}

/// Where grown arrays were said to lie, and how many more may come.
pub struct Places {
    pub claimed: RefCell<Vec<PhysRange>>,
    pub released: RefCell<Vec<PhysRange>>,
    pub grants: Cell<usize>,
}

impl Places {
    pub fn new() -> Self {
        Self { claimed: RefCell::default(), released: RefCell::default(), grants: Cell::new(usize::MAX) }
    }

    pub fn claimed(&self) -> Vec<PhysRange> {
        self.claimed.borrow().clone()
    }

    pub fn released(&self) -> Vec<PhysRange> {
        self.released.borrow().clone()
    }
}

/// Cuts the slots of grown arrays from one supply.
pub struct Store<'a> {
    rest: &'a mut [Region],
    places: &'a Places,
}

impl<'a> Store<'a> {
    pub fn new(rest: &'a mut [Region], places: &'a Places) -> Self {
        Self { rest, places }
    }
}

impl<'a> RegionMemory<'a> for Store<'a> {
    fn claim(&mut self, range: PhysRange, slots: usize) -> Option<&'a mut [Region]> {
        let grants = self.places.grants.get().checked_sub(1)?;
        if slots > self.rest.len() {
            return None;
        }
        self.places.grants.set(grants);
        self.places.claimed.borrow_mut().push(range);
        let (mine, rest) = std::mem::take(&mut self.rest).split_at_mut(slots);
        self.rest = rest;
        Some(mine)
    }

    fn release(&mut self, range: PhysRange, _: &'a mut [Region]) {
        self.places.released.borrow_mut().push(range);
    }
}

/// All that can be seen of a memblock's state.
pub type Seen = (Vec<Region>, Vec<Region>, u64, u64, u64, bool, bool);

pub fn see(m: &Memblock<'_>) -> Seen {
    (
        m.regions(Set::Memory).to_vec(),
        m.regions(Set::Reserved).to_vec(),
        m.phys_mem_size(),
        m.reserved_size(),
        m.current_limit().get(),
        m.bottom_up(),
        m.has_mirror(),
    )
}

/// The regions of a set as (base, size).
pub fn bases(m: &Memblock<'_>, set: Set) -> Vec<(u64, u64)> {
    m.regions(set).iter().map(|r| (r.base().get(), r.size())).collect()
}

pub fn slots<const N: usize>() -> [Region; N] {
    [Region::default(); N]
}
