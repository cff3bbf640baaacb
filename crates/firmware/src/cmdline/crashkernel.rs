//! `crashkernel=`: how much memory to keep for a second kernel.
//!
//! The kernel does not treat it as an ordinary parameter: it searches the whole command line for the last
//! `crashkernel=` of each form at the moment when it knows how much RAM there is. So the value here is that search,
//! and [`Crashkernel::resolve`] its evaluation.

use super::number::memparse;
use core::fmt;

/// The `crashkernel=` parameters of a command line; at least one is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Crashkernel<'a> {
    text: &'a str,
}

/// The forms with a suffix, which only certain architectures look for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CrashkernelSuffix {
    /// `crashkernel=size,high`: preferably above 4 GiB.
    High,
    /// `crashkernel=size,low`: what `,high` leaves below 4 GiB.
    Low,
}

impl CrashkernelSuffix {
    const ALL: [Self; 2] = [Self::High, Self::Low];

    const fn text(self) -> &'static str {
        match self {
            Self::High => ",high",
            Self::Low => ",low",
        }
    }
}

/// What a `crashkernel=` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CrashSize {
    /// How many bytes. 0: none of the ranges fits this much RAM ("crashkernel size resulted in zero bytes"), or 0 was
    /// asked for.
    pub size: u64,
    /// Where, 0 for anywhere.
    pub base: u64,
}

/// Why a `crashkernel=` cannot be evaluated. Displayed in the kernel's words.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CrashkernelError {
    /// No parameter of the form asked for.
    NotGiven,
    /// No number where the size should be.
    MemoryValueExpected,
    /// No number where a range's bound or size should be.
    RangeValueExpected,
    /// This character instead of `@`, the suffix or the end.
    UnrecognizedChar(char),
    /// A range without its `-`.
    DashExpected,
    /// A range without its `:`.
    ColonExpected,
    /// A range that ends before it starts.
    EndBeforeStart,
    /// As much as there is RAM, or more.
    InvalidSize,
    /// No number after `@`.
    ValueExpectedAfterAt,
}

impl fmt::Display for CrashkernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGiven => f.write_str("crashkernel: not given"),
            Self::MemoryValueExpected => f.write_str("crashkernel: memory value expected"),
            Self::RangeValueExpected => f.write_str("crashkernel: Memory value expected"),
            Self::UnrecognizedChar(c) => write!(f, "crashkernel: unrecognized char: {c}"),
            Self::DashExpected => f.write_str("crashkernel: '-' expected"),
            Self::ColonExpected => f.write_str("crashkernel: ':' expected"),
            Self::EndBeforeStart => f.write_str("crashkernel: end <= start"),
            Self::InvalidSize => f.write_str("crashkernel: invalid size"),
            Self::ValueExpectedAfterAt => f.write_str("Memory value expected after '@'"),
        }
    }
}

impl core::error::Error for CrashkernelError {}

const NAME: &str = "crashkernel=";

/// RAM is rounded up to this before ranges are looked at: firmware keeps some for itself.
const RAM_ROUNDING: u64 = 128 << 20;

impl<'a> Crashkernel<'a> {
    /// Looks for the words in `text`.
    pub fn find(text: &'a str) -> Option<Self> {
        text.contains(NAME).then_some(Self { text })
    }

    /// The value of the last parameter with this suffix, or, for `None`, of the last one without any; up to the next
    /// space.
    pub fn last(&self, suffix: Option<CrashkernelSuffix>) -> Option<&'a str> {
        let values = self.text.match_indices(NAME).map(|(at, _)| {
            let value = &self.text[at + NAME.len()..];
            value.split(' ').next().unwrap_or(value)
        });
        let wanted = |value: &&str| match suffix {
            Some(suffix) => value.ends_with(suffix.text()),
            None => !CrashkernelSuffix::ALL.iter().any(|s| value.ends_with(s.text())),
        };
        values.filter(wanted).last()
    }

    /// Evaluates the form without a suffix on a machine with this much RAM, in bytes.
    ///
    /// `size[@base]`, or a list `start-[end]:size,...[@base]` of which the first range that RAM (rounded up to
    /// 128 MiB) falls into counts.
    ///
    /// # Errors
    /// [`CrashkernelError`]; nothing is kept then.
    pub fn resolve(&self, system_ram: u64) -> Result<CrashSize, CrashkernelError> {
        let value = self.last(None).ok_or(CrashkernelError::NotGiven)?;
        if value.contains(':') { ranges(value, system_ram) } else { simple(value) }
    }

    /// Evaluates the form with a suffix.
    ///
    /// # Errors
    /// [`CrashkernelError`].
    pub fn resolve_suffix(&self, suffix: CrashkernelSuffix) -> Result<CrashSize, CrashkernelError> {
        let value = self.last(Some(suffix)).ok_or(CrashkernelError::NotGiven)?;
        let (size, rest) = size(value).ok_or(CrashkernelError::MemoryValueExpected)?;
        let unread = rest.strip_prefix(suffix.text()).unwrap_or(rest);
        match unread.chars().next() {
            Some(c) => Err(CrashkernelError::UnrecognizedChar(c)),
            None => Ok(CrashSize { size, base: 0 }),
        }
    }
}

/// A size and what follows, or `None` if nothing was read.
fn size(text: &str) -> Option<(u64, &str)> {
    let (value, rest) = memparse(text);
    (rest.len() < text.len()).then_some((value, rest))
}

fn simple(value: &str) -> Result<CrashSize, CrashkernelError> {
    let (size, rest) = size(value).ok_or(CrashkernelError::MemoryValueExpected)?;
    match rest.strip_prefix('@') {
        // What follows the base is not looked at, and neither is whether there is one.
        Some(base) => Ok(CrashSize { size, base: memparse(base).0 }),
        None => match rest.chars().next() {
            Some(c) => Err(CrashkernelError::UnrecognizedChar(c)),
            None => Ok(CrashSize { size, base: 0 }),
        },
    }
}

fn ranges(value: &str, system_ram: u64) -> Result<CrashSize, CrashkernelError> {
    let system_ram = system_ram.div_ceil(RAM_ROUNDING).saturating_mul(RAM_ROUNDING);
    let mut rest = value;
    let mut chosen = 0;
    loop {
        let (range, after) = range(rest)?;
        if range.size >= system_ram {
            return Err(CrashkernelError::InvalidSize);
        }
        if range.start <= system_ram && system_ram < range.end {
            chosen = range.size;
            break;
        }
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => break,
        }
    }
    if chosen == 0 {
        return Ok(CrashSize { size: 0, base: 0 });
    }
    let base = match value.split_once('@') {
        Some((_, base)) => size(base).ok_or(CrashkernelError::ValueExpectedAfterAt)?.0,
        None => 0,
    };
    Ok(CrashSize { size: chosen, base })
}

/// One `start-[end]:size`.
struct Range {
    start: u64,
    end: u64,
    size: u64,
}

fn range(text: &str) -> Result<(Range, &str), CrashkernelError> {
    let (start, rest) = size(text).ok_or(CrashkernelError::RangeValueExpected)?;
    let rest = rest.strip_prefix('-').ok_or(CrashkernelError::DashExpected)?;
    let (end, rest) = if rest.starts_with(':') {
        (u64::MAX, rest)
    } else {
        size(rest).ok_or(CrashkernelError::RangeValueExpected)?
    };
    if end <= start {
        return Err(CrashkernelError::EndBeforeStart);
    }
    let rest = rest.strip_prefix(':').ok_or(CrashkernelError::ColonExpected)?;
    let (size, rest) = size(rest).ok_or(CrashkernelError::RangeValueExpected)?;
    Ok((Range { start, end, size }, rest))
}
