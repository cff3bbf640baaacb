//! The text of a workload: `key = value` lines, and `[name]` where the next part begins.
//!
//! Parts take over what the part before said. A line may also end with `;`, so that a whole workload fits into one argument of a shell.
//! Every error is one line with the place where the reader stopped.

use super::{Lifetime, ObjectKind, Phase, Weighted, Workload};
use pagewright_addr::Order;
use pagewright_zone::{Gfp, ZoneSet};
use std::fmt;

/// Operations of one part, at most.
pub const MAX_OPERATIONS: u64 = 1_000_000_000;
/// Processors, at most.
pub const MAX_CPUS: usize = 512;
/// Bytes of a text, at most.
const MAX_TEXT: usize = 1 << 16;
/// Parts, at most.
const MAX_PHASES: usize = 32;
/// Values of one list, at most, and each one's weight.
const MAX_VALUES: usize = 32;
const MAX_WEIGHT: u64 = 1_000_000;

/// Why a text is no workload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkloadError {
    /// The line, from 1 on.
    pub line: usize,
    /// The character in it, from 1 on.
    pub column: usize,
    /// What stands there.
    pub what: String,
    /// What should.
    pub expected: String,
}

impl fmt::Display for WorkloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}; expected {}", self.line, self.column, self.what, self.expected)
    }
}

impl std::error::Error for WorkloadError {}

impl From<WorkloadError> for crate::fault::Fault {
    fn from(e: WorkloadError) -> Self {
        Self::new(e.what, format!("line {}, column {}", e.line, e.column), e.expected)
    }
}

/// A piece of a line and where it begins, in bytes.
#[derive(Clone, Copy)]
struct Piece<'t> {
    line: usize,
    whole: &'t str,
    at: usize,
    text: &'t str,
}

impl<'t> Piece<'t> {
    /// Without the blanks around it.
    fn trim(self) -> Self {
        let start = self.text.len() - self.text.trim_start().len();
        Self { at: self.at + start, text: self.text.trim(), ..self }
    }

    /// The parts of it, each with the separator behind it.
    fn split(self, at: impl Fn(char) -> bool) -> impl Iterator<Item = Self> {
        let mut begin = 0;
        self.text.split_inclusive(at).map(move |part| {
            let offset = begin;
            begin += part.len();
            Self { at: self.at + offset, text: part, ..self }
        })
    }

    fn split_once(self, at: char) -> Option<(Self, Self)> {
        let (a, b) = self.text.split_once(at)?;
        let second = self.at + a.len() + at.len_utf8();
        Some((Self { text: a, ..self }, Self { at: second, text: b, ..self }))
    }

    fn refuse(self, expected: impl Into<String>) -> WorkloadError {
        let shown: String = self.text.chars().take(40).collect();
        let what = if shown.is_empty() { "nothing".to_owned() } else { format!("`{shown}`") };
        let column = self.whole.get(..self.at).map_or(0, |before| before.chars().count()) + 1;
        WorkloadError { line: self.line, column, what, expected: expected.into() }
    }

    fn number(self, from: u64, to: u64) -> Result<u64, WorkloadError> {
        let number = self.text.parse().ok().filter(|n| (from..=to).contains(n));
        number.ok_or_else(|| self.refuse(format!("a number from {from} to {to}")))
    }

    fn percent(self) -> Result<u64, WorkloadError> {
        let digits = self.text.strip_suffix('%').unwrap_or(self.text).trim_end();
        let number = digits.parse().ok().filter(|n| *n <= 100);
        number.ok_or_else(|| self.refuse("a percentage from 0% to 100%"))
    }

    /// Values with weights, blanks between them: `0:90 9:10`, or one value alone.
    fn weighted<T>(
        self,
        mut value: impl FnMut(Self) -> Result<T, WorkloadError>,
    ) -> Result<Weighted<T>, WorkloadError> {
        let mut list = Vec::new();
        let separates = |c: char| c == ' ' || c == '\t' || c == ',';
        for item in self.split(separates) {
            let item = Self { text: item.text.trim_end_matches(separates), ..item };
            if item.text.is_empty() {
                continue;
            }
            if list.len() == MAX_VALUES {
                return Err(item.refuse(format!("at most {MAX_VALUES} values")));
            }
            let (what, weight) = match item.split_once(':') {
                Some((what, weight)) => (what, weight.number(0, MAX_WEIGHT)?),
                None => (item, 1),
            };
            list.push((value(what)?, weight));
        }
        if list.iter().all(|(_, weight)| *weight == 0) {
            return Err(self.refuse("values with weights, such as `0:90 9:10`"));
        }
        Ok(Weighted(list))
    }
}

fn order(piece: Piece<'_>) -> Result<Order, WorkloadError> {
    let order = piece.text.parse().ok().and_then(Order::new).filter(|order| order.get() <= 10);
    order.ok_or_else(|| piece.refuse("an order from 0 to 10"))
}

/// The order whose blocks, of 4 KiB pages, hold so many bytes.
fn size(piece: Piece<'_>) -> Result<Order, WorkloadError> {
    const LARGEST: u64 = 4096 << 10;
    let bytes = crate::cli::bytes(piece.text).filter(|bytes| (1..=LARGEST).contains(bytes));
    let pages = bytes.map(|bytes| bytes.div_ceil(4096).next_power_of_two());
    let order = pages.and_then(|pages| Order::new(pages.trailing_zeros() as u8));
    order.ok_or_else(|| piece.refuse("a size from 1 to 4M, such as 4K or 64K"))
}

/// Bytes of an area.
fn area(piece: Piece<'_>) -> Result<u64, WorkloadError> {
    let bytes = crate::cli::bytes(piece.text).filter(|bytes| (1..=1 << 30).contains(bytes));
    bytes.ok_or_else(|| piece.refuse("bytes from 1 to 1G, such as 4K or 300K"))
}

fn mobility(piece: Piece<'_>) -> Result<Gfp, WorkloadError> {
    match piece.text {
        "movable" => Ok(Gfp::GFP_HIGHUSER_MOVABLE),
        "unmovable" => Ok(Gfp::GFP_KERNEL),
        "reclaimable" => Ok(Gfp::GFP_KERNEL | Gfp::RECLAIMABLE),
        _ => Err(piece.refuse("`movable`, `unmovable` or `reclaimable`")),
    }
}

fn mask(piece: Piece<'_>) -> Result<Gfp, WorkloadError> {
    let expected = "GFP flags with `|` between them, such as GFP_KERNEL|__GFP_ZERO";
    let mask: Gfp = piece.text.parse().map_err(|e: pagewright_zone::GfpParseError| {
        let text = piece.text.get(e.at..e.at + e.len).unwrap_or(piece.text);
        Piece { at: piece.at + e.at, text, ..piece }.trim().refuse(expected)
    })?;
    if mask.contains(Gfp::NOFAIL) {
        return Err(piece.refuse("a mask that may fail: nothing frees memory for __GFP_NOFAIL"));
    }
    if mask.migrate_type(true).is_err() {
        return Err(piece.refuse("__GFP_MOVABLE or __GFP_RECLAIMABLE, not both"));
    }
    // Whatever zones there are, these contradict each other.
    match mask.zone(ZoneSet::BASE) {
        Ok(_) => Ok(mask),
        Err(_) => {
            Err(piece.refuse("zone modifiers that go together: GFP_DMA, __GFP_DMA32, __GFP_HIGHMEM or none"))
        }
    }
}

/// Kinds of objects, at most.
const MAX_KINDS: usize = 64;

/// `96`, memory of so many bytes, or `dentry/192`, objects of a cache: its number among all kinds.
fn object(piece: Piece<'_>, kinds: &mut Vec<ObjectKind>) -> Result<usize, WorkloadError> {
    let (name, size) = match piece.split_once('/') {
        Some((name, size)) => (Some(name), size),
        None => (None, piece),
    };
    let bytes = crate::cli::bytes(size.text).filter(|bytes| (1..=4 << 20).contains(bytes));
    let bytes = bytes.ok_or_else(|| size.refuse("bytes from 1 to 4M, such as 96 or 1K"))? as usize;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let kind = match name {
        None => ObjectKind::Kmalloc { bytes },
        Some(name) if (1..=32).contains(&name.text.len()) && name.text.chars().all(plain) => {
            ObjectKind::Cache { name: name.text.to_owned(), bytes }
        }
        Some(name) => return Err(name.refuse("a cache's name, of at most 32 letters and digits")),
    };
    if let Some(at) = kinds.iter().position(|known| *known == kind) {
        return Ok(at);
    }
    let same = |known: &ObjectKind| known.cache().is_some_and(|(of, _)| Some(of) == name.map(|n| n.text));
    if kinds.iter().any(same) {
        return Err(piece.refuse("objects of one size in a cache"));
    }
    if kinds.len() == MAX_KINDS {
        return Err(piece.refuse(format!("at most {MAX_KINDS} kinds of objects")));
    }
    kinds.push(kind);
    Ok(kinds.len() - 1)
}

const KEYS: &str = "one of operations, fill, swing, period, orders, sizes, mobility, gfp, lifetime, stay, pinned, objects, object-share, object-fill, areas, area-share, area-fill, seed, cpus, threads";

impl Workload {
    /// Reads a workload.
    ///
    /// # Errors
    /// [`WorkloadError`] for the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, WorkloadError> {
        let mut out =
            Self { seed: 1, cpus: None, threads: false, phases: vec![Phase::default()], objects: vec![] };
        let mut said = false;
        if text.len() > MAX_TEXT {
            let (what, expected) = (format!("a text of {} bytes", text.len()), format!("at most {MAX_TEXT}"));
            return Err(WorkloadError { line: 1, column: 1, what, expected });
        }
        for (n, whole) in text.lines().enumerate() {
            let code = whole.split('#').next().unwrap_or(whole);
            let line = Piece { line: n + 1, whole, at: 0, text: code };
            for piece in line.split(|c| c == ';') {
                let piece = Piece { text: piece.text.trim_end_matches(';'), ..piece }.trim();
                if !piece.text.is_empty() {
                    out.read(piece, &mut said)?;
                }
            }
        }
        Ok(out)
    }

    /// Reads one line. `said` is whether the part that is being read has said anything.
    fn read(&mut self, piece: Piece<'_>, said: &mut bool) -> Result<(), WorkloadError> {
        if piece.text.starts_with('[') {
            return self.begin(piece, std::mem::replace(said, true));
        }
        let Some((key, value)) = piece.split_once('=') else {
            return Err(piece.refuse("`key = value` or `[name]`"));
        };
        let (key, value) = (key.trim(), value.trim());
        let first = self.phases.len() == 1;
        let Some(phase) = self.phases.last_mut() else { return Ok(()) };
        // What holds for all parts is no part.
        *said |= !matches!(key.text, "seed" | "cpus" | "threads");
        match key.text {
            "seed" | "cpus" | "threads" if !first => {
                return Err(key.refuse("it before the second part: it holds for all of them"));
            }
            "seed" => self.seed = value.number(0, u64::MAX)?,
            "cpus" => self.cpus = Some(value.number(1, MAX_CPUS as u64)? as usize),
            "threads" => {
                self.threads = match value.text {
                    "yes" => true,
                    "no" => false,
                    _ => return Err(value.refuse("`yes` or `no`")),
                }
            }
            "operations" | "ops" => phase.operations = value.number(1, MAX_OPERATIONS)?,
            "fill" => phase.fill = value.percent()?,
            "swing" => phase.swing = value.percent()?,
            "period" => phase.period = value.number(2, MAX_OPERATIONS)?,
            "orders" => phase.orders = value.weighted(order)?,
            "sizes" => phase.orders = value.weighted(size)?,
            "mobility" => phase.masks = value.weighted(mobility)?,
            "gfp" => phase.masks = value.weighted(mask)?,
            "stay" => phase.stay = value.percent()?,
            "pinned" => phase.pinned = value.percent()?,
            "objects" => {
                let kinds = &mut self.objects;
                phase.objects = value.weighted(|piece| object(piece, kinds))?;
            }
            "object-share" => phase.object_share = value.percent()?,
            "object-fill" => phase.object_fill = value.percent()?,
            "areas" => phase.areas = value.weighted(area)?,
            "area-share" => phase.area_share = value.percent()?,
            "area-fill" => phase.area_fill = value.percent()?,
            "lifetime" => {
                let named = Lifetime::ALL.into_iter().find(|(_, name)| *name == value.text);
                phase.lifetime = named.ok_or_else(|| value.refuse("`random`, `oldest` or `newest`"))?.0;
            }
            _ => return Err(key.refuse(KEYS)),
        }
        Ok(())
    }

    /// Begins a part; the first keeps what was said before its name.
    fn begin(&mut self, piece: Piece<'_>, said: bool) -> Result<(), WorkloadError> {
        let name = piece.text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::trim);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == ' ';
        let name = name.filter(|name| !name.is_empty() && name.len() <= 32 && name.chars().all(plain));
        let name = name.ok_or_else(|| piece.refuse("`[name]`, of at most 32 letters and digits"))?;
        if self.phases.len() == MAX_PHASES {
            return Err(piece.refuse(format!("at most {MAX_PHASES} parts")));
        }
        if said && let Some(last) = self.phases.last().cloned() {
            self.phases.push(last);
        }
        if let Some(phase) = self.phases.last_mut() {
            phase.name = name.to_owned();
        }
        Ok(())
    }
}
