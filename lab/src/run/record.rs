//! Everything a boot says, in order.

use crate::conform::replay::{Ours, Start};
use pagewright::{EventSink, Level, Phase};
use pagewright_memblock::{Event, Memblock, Sink};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::Instant;

/// One thing that the boot said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// A memblock event.
    Memblock(Event),
    /// A line of the log.
    Line(Level, String),
    /// The boot entered a phase.
    Phase(Phase),
}

/// Keeps what a boot says, when each phase began, and memblock's state when the command line had been read.
#[derive(Debug)]
pub struct Recorder {
    entries: RefCell<Vec<Entry>>,
    phases: RefCell<Vec<(Phase, Instant)>>,
    /// The entry from which on `memblock=debug` is in force, and the state there.
    logging_from: RefCell<Option<(usize, Start)>>,
    slots: (usize, usize),
    /// Whether `phys_addr_t` has 64 bits.
    wide: Cell<bool>,
}

impl Recorder {
    /// An empty record of a boot whose memblock starts with that many slots.
    pub fn new(slots: (usize, usize)) -> Self {
        Self {
            entries: RefCell::default(),
            phases: RefCell::default(),
            logging_from: RefCell::default(),
            slots,
            wide: Cell::new(true),
        }
    }

    /// All entries so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.borrow().clone()
    }

    /// When each phase began.
    pub fn phases(&self) -> Vec<(Phase, Instant)> {
        self.phases.borrow().clone()
    }

    /// The width of addresses in memblock's lines.
    pub fn width(&self) -> pagewright_memblock::AddrWidth {
        use pagewright_memblock::AddrWidth::{Bits32, Bits64};
        if self.wide.get() { Bits64 } else { Bits32 }
    }

    /// What a replay needs of our side: the state at the first logged call, and the stream from there on. `None` if
    /// the boot logged no call.
    pub fn replay_input(&self) -> Option<(Start, Vec<Ours>)> {
        let entries = self.entries.borrow();
        let (from, start) = self.logging_from.borrow().clone()?;
        let is_call = |e: &Entry| matches!(e, Entry::Memblock(event) if event.is_logged());
        let first = from + entries[from..].iter().position(is_call)?;
        let silent = entries[from..first].iter().filter_map(|e| match e {
            Entry::Memblock(event) => Some(event),
            _ => None,
        });
        let start = start.after(silent).ok()?;
        let ours = entries[first..].iter().filter_map(|e| match e {
            Entry::Memblock(event) => Some(Ours::Event(*event)),
            Entry::Line(_, text) if text.starts_with("MEMBLOCK configuration:") => Some(Ours::Dump),
            Entry::Line(_, text) if text.starts_with("Kernel command line:") => Some(Ours::CommandLine),
            _ => None,
        });
        Some((start, ours.collect()))
    }
}

impl Sink for Recorder {
    fn event(&self, event: &Event) {
        self.entries.borrow_mut().push(Entry::Memblock(*event));
    }
}

impl EventSink for Recorder {
    fn line(&self, level: Level, text: fmt::Arguments<'_>) {
        self.entries.borrow_mut().push(Entry::Line(level, text.to_string()));
    }

    fn phase(&self, phase: Phase, memblock: &Memblock<'_>) {
        self.phases.borrow_mut().push((phase, Instant::now()));
        self.wide.set(memblock.config().width == pagewright_memblock::AddrWidth::Bits64);
        if phase == Phase::EarlyParams {
            let mut start = Start::of(memblock);
            start.slots = self.slots;
            *self.logging_from.borrow_mut() = Some((self.entries.borrow().len(), start));
        }
        self.entries.borrow_mut().push(Entry::Phase(phase));
    }
}
