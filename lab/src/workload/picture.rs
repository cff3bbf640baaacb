//! The pageblocks of a machine as a picture: one mark for a pageblock, or for several side by side.
//!
//! A mark's letter is the pageblocks' type, capital where more than half of their pages are in use; a movable pageblock with unmovable pages in
//! it has a letter of its own, because it will not become a free block as long as they stay.

use owo_colors::{AnsiColors, OwoColorize};
use pagewright::Boot;
use pagewright_addr::Order;
use pagewright_page::{FrameIdx, State};
use pagewright_zone::buddy::{Base, MigrateType};
use pagewright_zone::figures::ZoneSource;
use std::fmt;

/// Marks in a line.
const WIDTH: usize = 64;
/// Marks in the whole picture, about.
const MARKS: u64 = 1024;

/// One mark: pageblocks of one zone side by side.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mark {
    /// Pageblocks of each type.
    pub types: [u32; MigrateType::COUNT],
    /// Movable pageblocks with unmovable pages in them.
    pub mixed: u32,
    /// Pages, and those of them that are in use.
    pub pages: u64,
    /// See `pages`.
    pub used: u64,
}

impl Mark {
    fn plus(self, other: &Self) -> Self {
        let mut types = self.types;
        types.iter_mut().zip(other.types).for_each(|(to, from)| *to += from);
        let (mixed, pages) = (self.mixed + other.mixed, self.pages + other.pages);
        Self { types, mixed, pages, used: self.used + other.used }
    }

    /// The type that most of its pageblocks have.
    pub fn migrate(&self) -> MigrateType {
        let most = self.types.iter().zip(MigrateType::ALL).max_by_key(|(count, _)| **count);
        most.map_or(MigrateType::Movable, |(_, migrate)| migrate)
    }

    /// Its letter and colour.
    fn look(&self) -> (char, AnsiColors) {
        if self.used == 0 {
            return ('.', AnsiColors::Green);
        }
        let (letter, colour) = match self.migrate() {
            MigrateType::Movable if 2 * self.mixed >= self.types[MigrateType::Movable.index()] => {
                ('x', AnsiColors::BrightRed)
            }
            MigrateType::Movable => ('m', AnsiColors::Green),
            MigrateType::Unmovable => ('u', AnsiColors::Red),
            MigrateType::Reclaimable => ('r', AnsiColors::Yellow),
            MigrateType::HighAtomic => ('h', AnsiColors::Magenta),
            MigrateType::Cma => ('c', AnsiColors::Cyan),
            MigrateType::Isolate => ('i', AnsiColors::Blue),
        };
        (if 2 * self.used > self.pages { letter.to_ascii_uppercase() } else { letter }, colour)
    }
}

/// The picture; `Display` draws it, with colours that a stream without colour has to strip.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockPicture {
    /// Pageblocks of one mark.
    pub group: u64,
    /// Bytes of a pageblock.
    pub pageblock_bytes: u64,
    /// Zones: node, name, marks.
    pub zones: Vec<(u32, &'static str, Vec<Mark>)>,
}

impl BlockPicture {
    /// Looks at every pageblock, while nobody uses the allocator.
    pub(super) fn of(boot: &Boot<'_>, base: &Base<'_>, zones: &dyn ZoneSource) -> Self {
        let order = base.pageblocks().order();
        let all = base.map().len() >> order.get();
        let group = all.div_ceil(MARKS).max(1).next_power_of_two();
        let zone = |zone: pagewright_zone::figures::ZoneCounts| {
            let pieces = base.pageblocks().pieces().iter().filter(|piece| piece.zone() == zone.zone);
            let blocks: Vec<Mark> = pieces.flat_map(|piece| blocks(base, order, piece.range())).collect();
            let marks = blocks.chunks(group as usize);
            let sum = |blocks: &[Mark]| blocks.iter().fold(Mark::default(), |all, block| all.plus(block));
            (zone.nid.get().into(), zone.kind.name(), marks.map(sum).collect())
        };
        let zones = zones.zones().map(zone).collect();
        Self { group, pageblock_bytes: boot.page_bytes() << order.get(), zones }
    }
}

/// The pageblocks of one piece of a zone.
fn blocks(base: &Base<'_>, order: Order, piece: std::ops::Range<u64>) -> impl Iterator<Item = Mark> {
    let first = piece.start & !(order.pages() - 1);
    (first..piece.end).step_by(order.pages() as usize).map(move |at| {
        let (start, end) = (at.max(piece.start), (at + order.pages()).min(piece.end));
        block(base, start, end)
    })
}

fn block(base: &Base<'_>, start: u64, end: u64) -> Mark {
    let map = base.map();
    let migrate = base.pageblocks().migrate_type(FrameIdx::new(start as u32));
    // A larger block that began before tells what this part of it is.
    let larger = (0..=base.largest_order().get()).filter_map(Order::new);
    let head = larger
        .map(|order| FrameIdx::new(start as u32).align_down(order))
        .find(|head| !matches!(map.state(*head), State::Inner | State::Tail));
    let (mut at, mut free, mut unmovable) = (head.map_or(start, |head| u64::from(head.get())), 0, false);
    while at < end {
        let word = map.word(FrameIdx::new(at as u32));
        let len = match word.state() {
            State::Pristine | State::Inner | State::Tail | State::Owned => 1,
            _ => word.order().pages(),
        };
        let inside = (at + len).min(end).saturating_sub(at.max(start));
        match word.state() {
            State::Free | State::Pristine => free += inside,
            State::Kernel => unmovable |= inside > 0,
            _ => {}
        }
        at += len;
    }
    let mut types = [0; MigrateType::COUNT];
    types[migrate.index()] = 1;
    let mixed = u32::from(unmovable && migrate == MigrateType::Movable);
    Mark { types, mixed, pages: end - start, used: end - start - free }
}

impl fmt::Display for BlockPicture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = crate::summary::human(self.group * self.pageblock_bytes);
        let s = if self.group == 1 { "" } else { "s" };
        writeln!(f, "Pageblocks, {} pageblock{s} ({bytes}) a mark:", self.group)?;
        for (node, name, marks) in &self.zones {
            writeln!(f, "node {node} {name}")?;
            for line in marks.chunks(WIDTH) {
                write!(f, "  ")?;
                for mark in line {
                    let (letter, colour) = mark.look();
                    write!(f, "{}", letter.color(colour))?;
                }
                writeln!(f)?;
            }
        }
        writeln!(
            f,
            "  . free  m movable  x movable, with unmovable pages in it  u unmovable  r reclaimable  h urgent  c CMA; capital: more than half in use"
        )
    }
}
