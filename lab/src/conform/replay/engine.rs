//! Executes the captured calls and compares what each one prints.

use super::align::align;
use super::log::{ALLOC, Call, Item, Logged, Span, Variant};
use super::state::Start;
use super::{Ours, silent};
use crate::conform::compare::Tally;
use crate::facts::Group;
use crate::run::{SPARE_SLOTS, SpareSlots};
use pagewright_addr::{NodeId, PhysAddr, PhysRange};
use pagewright_memblock::{AddrWidth, Error, Event, Memblock, Region, Set, Sink};
use std::cell::RefCell;
use std::mem;

/// memblock's files after boot, on kernels that keep it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finals<'a> {
    /// `memblock/memory`.
    pub memory: Option<&'a str>,
    /// `memblock/reserved`.
    pub reserved: Option<&'a str>,
    /// Whether the log has lost lines below the command line; what our boot does there is done instead.
    pub log_has_gap: bool,
}

/// What came of a replay.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Every line compared, and the unequal ones.
    pub tally: Tally,
    /// The changes that were taken from our boot, as text, with the line of the log before which they were made.
    pub silent: Vec<String>,
    /// Calls that our boot, end to end, makes with other arguments or results, or not at all, or alone.
    pub diverging: Vec<String>,
}

/// Replays `captured` from `start`. `ours` is our boot's stream from the same moment on.
///
/// # Errors
/// Only if `start` is no possible state.
pub fn replay(
    start: &Start,
    ours: &[Ours],
    captured: &[Logged],
    finals: Finals<'_>,
) -> Result<Outcome, Error> {
    let sink = Collector::default();
    let mut arrays = start.arrays();
    let mut spare = vec![Region::default(); SPARE_SLOTS];
    let mut growth = SpareSlots::new(&mut spare);
    let mut memblock = start.memblock(&mut arrays, &sink)?;
    memblock.set_region_memory(&mut growth);
    let mut engine = Engine {
        memblock,
        sink: &sink,
        width: start.config.width,
        ours,
        partners: align(
            &our_keys(ours, start.config.width),
            &captured.iter().map(|l| key_of(&l.item)).collect::<Vec<_>>(),
        ),
        next_ours: 0,
        fill_gaps_from: match finals.log_has_gap {
            true => ours.iter().position(|o| *o == Ours::CommandLine).unwrap_or(ours.len()),
            false => ours.len(),
        },
        out: Outcome::default(),
    };
    engine.compare_streams(captured);
    let mut i = 0;
    while i < captured.len() {
        i = engine.step(captured, i);
    }
    engine.finish(finals);
    Ok(engine.out)
}

/// Keeps the events of the call in progress.
#[derive(Default)]
struct Collector {
    events: RefCell<Vec<Event>>,
}

impl Sink for Collector {
    fn event(&self, event: &Event) {
        self.events.borrow_mut().push(*event);
    }
}

struct Engine<'a, 'o> {
    memblock: Memblock<'a>,
    sink: &'a Collector,
    width: AddrWidth,
    ours: &'o [Ours],
    /// For each captured item the index of our entry that stands for it.
    partners: Vec<Option<usize>>,
    /// Our first entry whose silent changes have not been made yet.
    next_ours: usize,
    /// From this entry of ours on, calls without a partner stand in for lost lines.
    fill_gaps_from: usize,
    out: Outcome,
}

impl Engine<'_, '_> {
    /// Notes where the two streams of calls differ, without executing anything.
    fn compare_streams(&mut self, captured: &[Logged]) {
        let mut met = vec![false; self.ours.len()];
        for (logged, partner) in captured.iter().zip(&self.partners) {
            let Item::Call { text, caller, .. } = &logged.item else { continue };
            let ours = partner.and_then(|j| {
                met[j] = true;
                match &self.ours[j] {
                    Ours::Event(event) => Some(without_caller(event, self.width)),
                    _ => None,
                }
            });
            match ours {
                Some(ours) if ours == *text => {}
                Some(ours) => {
                    self.out.diverging.push(format!("line {}: {text} {caller}; we: {ours}", logged.line))
                }
                None => {
                    self.out.diverging.push(format!("line {}: {text} {caller}; we: nothing", logged.line))
                }
            }
        }
        for (j, entry) in self.ours.iter().enumerate().take(self.fill_gaps_from) {
            if let Ours::Event(event) = entry
                && event.is_logged()
                && !met[j]
            {
                self.out.diverging.push(format!("only we: {}", event.line(self.width)));
            }
        }
    }

    /// Executes item `i` with the lines that it causes; returns the next item.
    fn step(&mut self, captured: &[Logged], i: usize) -> usize {
        self.silent_changes(self.partners[i].unwrap_or(self.next_ours), captured[i].line);
        match &captured[i].item {
            Item::Dump(lines) => {
                let ours = self.memblock.dump().to_string();
                let key = format!("line {}: MEMBLOCK configuration", captured[i].line);
                for (n, line) in lines.iter().enumerate() {
                    self.check(&format!("{key} +{n}"), Some(line), ours.lines().nth(n));
                }
                if let Some(more) = ours.lines().nth(lines.len()) {
                    self.check(&format!("{key} +{}", lines.len()), None, Some(more));
                }
                i + 1
            }
            Item::Call { call, caller, text } => {
                let end = consequences(captured, i);
                let bare = matches!(call, Call::Reserve { .. }) && caller == ALLOC;
                let result = if bare { self.bare_allocation(call, i) } else { self.execute(call) };
                self.compare(
                    &captured[i..end],
                    &format!("line {}: {text} {caller}", captured[i].line),
                    result,
                );
                end
            }
        }
    }

    /// Makes our silent changes up to entry `until`.
    fn silent_changes(&mut self, until: usize, line: usize) {
        let from = self.next_ours.min(until);
        for (j, entry) in self.ours.iter().enumerate().take(until).skip(from) {
            let Ours::Event(event) = entry else { continue };
            let lost = event.is_logged() && j >= self.fill_gaps_from && !self.partners.contains(&Some(j));
            let (result, why) = if lost {
                (silent::apply_logged(&mut self.memblock, event), "lost line ")
            } else if silent::matters(event) {
                (silent::apply(&mut self.memblock, event), "")
            } else {
                continue;
            };
            let place =
                if line == usize::MAX { "at the end".to_owned() } else { format!("before line {line}") };
            let mut text = format!("{place}: {why}{}", event.line(self.width));
            if let Err(e) = result {
                text += &format!(" (failed: {e})");
            }
            self.out.silent.push(text);
        }
        self.next_ours = self.next_ours.max(until);
        self.sink.events.borrow_mut().clear();
    }

    fn execute(&mut self, call: &Call) -> Result<(), Error> {
        let pa = PhysAddr::new;
        let mb = &mut self.memblock;
        match *call {
            Call::Add { span } => mb.add_sized(pa(span.start), span.len),
            Call::AddNode { span, nid, flags } => {
                let flags = pagewright_memblock::Flags::from_bits_retain(flags);
                mb.add_node_sized(pa(span.start), span.len, nid, flags)
            }
            Call::Remove { span } => mb.remove_sized(pa(span.start), span.len),
            Call::Reserve { span } => mb.reserve_sized(pa(span.start), span.len),
            Call::Free { span } => mb.phys_free_sized(pa(span.start), span.len),
            Call::PhysAllocRange { size, align, min, max } => {
                mb.phys_alloc_range(size, align, pa(min), pa(max)).map(|_| ())
            }
            Call::AllocTryNid { variant, size, align, nid, min, max } => {
                let nid = u16::try_from(nid).ok().and_then(NodeId::new);
                let (min, max) = (pa(min), pa(max));
                match variant {
                    Variant::Plain => mb.alloc_try_nid(size, align, min, max, nid),
                    Variant::Raw => mb.alloc_try_nid_raw(size, align, min, max, nid),
                    Variant::ExactRaw => mb.alloc_exact_nid_raw(size, align, min, max, nid),
                }
                .map(|_| ())
            }
            // A doubling is a consequence of some call; on its own it is ours that is missing.
            Call::Doubled { .. } => Ok(()),
        }
    }

    /// An allocation of which Linux logs the reservation only.
    fn bare_allocation(&mut self, call: &Call, i: usize) -> Result<(), Error> {
        let Call::Reserve { span } = *call else { return Ok(()) };
        if let Some(Event::AllocRangeNid { align, start, end, nid, exact_nid, .. }) =
            self.partners[i].and_then(|j| self.asked(j))
        {
            // The boot path's arguments, but for the size, which the log tells.
            return self.memblock.alloc_range_nid(span.len, align, start, end, nid, exact_nid).map(|_| ());
        }
        let ours = self.partners[i].and_then(|j| match self.ours[j] {
            Ours::Event(Event::Reserve { range, .. }) => Some(range.start),
            _ => None,
        });
        match ours {
            // The boot path asked with its own arguments; it is asked again here whether that place is free.
            Some(at) if self.is_free(at, span.len) => self.memblock.reserve_sized(at, span.len),
            _ => self.guess(span),
        }
    }

    /// With which arguments our boot asked for the reservation at entry `j`, if Linux does not log them.
    fn asked(&self, j: usize) -> Option<Event> {
        let before = self.ours[..j].iter().rev().map_while(|entry| match entry {
            Ours::Event(event) => Some(*event),
            _ => None,
        });
        // Between asking and reserving, mirrored memory may run out and arrays may grow.
        let mut before = before.skip_while(|e| {
            matches!(e, Event::MirrorFallback { .. } | Event::Doubled { .. } | Event::DoubleFailed { .. })
        });
        before.next().filter(|e| matches!(e, Event::AllocRangeNid { .. }))
    }

    fn is_free(&self, at: PhysAddr, len: u64) -> bool {
        let range = PhysRange::from_len(at, len);
        self.memblock.is_region_memory(range) && !self.memblock.overlaps_region(Set::Reserved, range)
    }

    /// Without our boot's arguments: a plain allocation of that size, at the alignments that such callers use.
    fn guess(&mut self, span: Span) -> Result<(), Error> {
        let aligns = [64, 1 << 12, 1 << 21, 1 << 22];
        let find = |align| {
            self.memblock.find_in_range(
                span.len,
                align,
                PhysAddr::ZERO,
                pagewright_memblock::MEMBLOCK_ALLOC_ACCESSIBLE,
                None,
                pagewright_memblock::Flags::NONE,
            )
        };
        let found = aligns.into_iter().filter_map(find).collect::<Vec<_>>();
        let exact = found.iter().find(|at| at.get() == span.start).or(found.first());
        match exact {
            Some(&at) => self.memblock.reserve_sized(at, span.len),
            None => Ok(()),
        }
    }

    /// Compares the lines of one call, then puts the state right if they differ: what follows is judged on its own.
    fn compare(&mut self, captured: &[Logged], key: &str, result: Result<(), Error>) {
        let events: Vec<Event> = mem::take(&mut *self.sink.events.borrow_mut());
        let ours: Vec<&Event> = events.iter().filter(|e| e.is_logged()).collect();
        let mut same = true;
        for n in 0..captured.len().max(ours.len()) {
            let theirs = captured.get(n).and_then(|l| match &l.item {
                Item::Call { text, .. } => Some(text.as_str()),
                Item::Dump(_) => None,
            });
            let mine = match (ours.get(n), &result) {
                (Some(event), _) => Some(without_caller(event, self.width)),
                (None, Err(error)) => Some(error.to_string()),
                (None, Ok(())) => None,
            };
            same &= theirs == mine.as_deref();
            self.check(key, theirs, mine.as_deref());
        }
        if !same {
            self.put_right(captured, &ours);
        }
        self.sink.events.borrow_mut().clear();
    }

    fn put_right(&mut self, captured: &[Logged], ours: &[&Event]) {
        for event in ours {
            if let Event::Reserve { range, .. } = event {
                // Errors here show as differences of the calls that follow.
                let _ = self.memblock.phys_free(*range);
            }
        }
        for logged in captured {
            if let Item::Call { call: call @ Call::Reserve { .. }, .. } = &logged.item {
                let _ = self.execute(call);
            }
        }
    }

    fn check(&mut self, key: &str, captured: Option<&str>, ours: Option<&str>) {
        self.out.tally.check(Group::Replay, key, captured.map(str::to_owned), ours.map(str::to_owned));
    }

    fn finish(&mut self, finals: Finals<'_>) {
        self.silent_changes(self.ours.len(), usize::MAX);
        for (name, set, text) in
            [("memory", Set::Memory, finals.memory), ("reserved", Set::Reserved, finals.reserved)]
        {
            let Some(text) = text else { continue };
            let ours = self.memblock.debugfs(set).to_string();
            let count = text.lines().count().max(ours.lines().count());
            for n in 0..count {
                let key = format!("memblock/{name} after boot, line {}", n + 1);
                self.check(&key, text.lines().nth(n), ours.lines().nth(n));
            }
        }
    }
}

/// One past the last item that item `i` causes: an allocation's reservation, the growing of arrays.
fn consequences(captured: &[Logged], i: usize) -> usize {
    let Item::Call { call, caller, .. } = &captured[i].item else { return i + 1 };
    let wanted = match call {
        Call::PhysAllocRange { size, .. } | Call::AllocTryNid { size, .. } => Some(*size),
        _ => None,
    };
    let mut end = i + 1;
    if let (Some(size), Some(Logged { item: Item::Call { call: Call::Reserve { span }, caller, .. }, .. })) =
        (wanted, captured.get(end))
        && caller == ALLOC
        && span.len == size
    {
        end += 1;
    }
    while let Some(Logged { item: Item::Call { call, caller: by, .. }, .. }) = captured.get(end) {
        let grows = matches!(call, Call::Doubled { .. }) || by == "memblock_double_array";
        if !grows || caller == "memblock_double_array" {
            break;
        }
        end += 1;
    }
    end
}

fn without_caller(event: &Event, width: AddrWidth) -> String {
    let line = event.line(width).to_string();
    match event {
        Event::Doubled { .. } => line,
        _ => line.rsplit_once(' ').map_or(line.clone(), |(text, _)| text.to_owned()),
    }
}

/// What is compared to align the two sides: the function with the sizes it was given. Addresses may differ, and so
/// may callers, of which the compiler makes one where it inlines.
fn our_keys(ours: &[Ours], width: AddrWidth) -> Vec<String> {
    let mut silent = 0;
    let key = |entry: &Ours| match entry {
        Ours::Dump => "dump".to_owned(),
        Ours::CommandLine => "command line".to_owned(),
        Ours::Event(event) if event.is_logged() => {
            // Through the text, so that both sides are read alike.
            let line = event.line(width).to_string();
            super::log::parse(&line).ok().and_then(|l| l.first().map(|l| key_of(&l.item))).unwrap_or(line)
        }
        Ours::Event(_) => {
            // Silent changes correspond to nothing.
            silent += 1;
            format!("silent {silent}")
        }
    };
    ours.iter().map(key).collect()
}

fn key_of(item: &Item) -> String {
    let Item::Call { call, caller, text } = item else { return "dump".to_owned() };
    let name = text.split(':').next().unwrap_or_default();
    match call {
        Call::Doubled { new_max, .. } => format!("doubled {new_max}"),
        Call::PhysAllocRange { size, align, .. } | Call::AllocTryNid { size, align, .. } => {
            format!("{name} {size} {align}")
        }
        Call::Reserve { span } if caller == ALLOC => format!("{name} allocated {}", span.len),
        Call::Reserve { span }
        | Call::Free { span }
        | Call::Add { span }
        | Call::AddNode { span, .. }
        | Call::Remove { span } => format!("{name} {}", span.len),
    }
}
