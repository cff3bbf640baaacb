//! What a data cache looks like, and what follows from it.

use core::fmt;
use core::str::FromStr;

/// Which addresses a cache's lines are found by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CacheKind {
    /// Virtually indexed, virtually tagged (ARMv5 and older).
    Vivt,
    /// Virtually indexed, physically tagged (ARMv6, some ARMv7).
    Vipt,
    /// Physically indexed, physically tagged, or as if it were.
    Pipt,
}

impl CacheKind {
    /// Linux's word in the boot log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vivt => "VIVT",
            Self::Vipt => "VIPT",
            Self::Pipt => "PIPT",
        }
    }
}

/// A set-associative data cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CacheShape {
    /// How lines are found.
    pub kind: CacheKind,
    /// Bytes in all.
    pub bytes: u64,
    /// Lines that one set has.
    pub ways: u32,
    /// Bytes of a line.
    pub line: u32,
}

/// Why a description is no cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CacheShapeError {
    /// Not `KIND,SIZE,WAYS,LINE`.
    Syntax,
    /// Lines are 4 to 256 bytes, a power of two.
    Line(u32),
    /// 1 to 64 ways.
    Ways(u32),
    /// Size is ways times line times a power of two, at most 16 MiB.
    Size(u64),
}

impl fmt::Display for CacheShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => {
                f.write_str("expected vivt, vipt or pipt, and size, ways and line, as in vipt,32K,4,32")
            }
            Self::Line(n) => write!(f, "a line of {n} bytes, expected a power of two from 4 to 256"),
            Self::Ways(n) => write!(f, "{n} ways, expected 1 to 64"),
            Self::Size(n) => {
                write!(f, "{n} bytes in all, expected ways times line times a power of two, at most 16 MiB")
            }
        }
    }
}

impl core::error::Error for CacheShapeError {}

impl CacheShape {
    /// A cache, if there can be one like that.
    ///
    /// # Errors
    /// [`CacheShapeError`].
    pub const fn new(kind: CacheKind, bytes: u64, ways: u32, line: u32) -> Result<Self, CacheShapeError> {
        if !line.is_power_of_two() || line < 4 || line > 256 {
            return Err(CacheShapeError::Line(line));
        }
        if ways == 0 || ways > 64 {
            return Err(CacheShapeError::Ways(ways));
        }
        let set = ways as u64 * line as u64;
        if bytes == 0 || bytes > 16 << 20 || !bytes.is_multiple_of(set) || !(bytes / set).is_power_of_two() {
            return Err(CacheShapeError::Size(bytes));
        }
        Ok(Self { kind, bytes, ways, line })
    }

    /// How many sets there are.
    pub const fn sets(&self) -> u64 {
        self.bytes / (self.ways as u64 * self.line as u64)
    }

    /// Bytes of one way: addresses that far apart have the same set.
    pub const fn way_bytes(&self) -> u64 {
        self.bytes / self.ways as u64
    }

    /// Whether one byte of RAM can be in the cache twice, by two addresses: always if lines are found by virtual addresses; if only sets are, where
    /// a way is larger than a page (`cache_is_vipt_aliasing`).
    pub const fn aliases(&self, page_bytes: u64) -> bool {
        match self.kind {
            CacheKind::Vivt => true,
            CacheKind::Vipt => self.way_bytes() > page_bytes,
            CacheKind::Pipt => false,
        }
    }

    /// Into how many colours pages fall: pages of one colour share all sets, so aliases of one colour share lines if tags are physical. 1 where
    /// colours do not matter; VIVT has none that would help, and is counted alike for placement.
    pub const fn colours(&self, page_bytes: u64) -> u64 {
        match self.kind {
            CacheKind::Pipt => 1,
            _ if self.way_bytes() > page_bytes => self.way_bytes() / page_bytes,
            _ => 1,
        }
    }
}

impl fmt::Display for CacheShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, bytes, ways, line } = *self;
        if bytes.is_multiple_of(1024) {
            write!(f, "{} {} KiB", kind.name(), bytes / 1024)?;
        } else {
            write!(f, "{} {bytes} bytes", kind.name())?;
        }
        write!(f, ", {ways} ways, lines of {line} bytes")
    }
}

impl FromStr for CacheShape {
    type Err = CacheShapeError;

    /// As `vipt,32K,4,32`: kind, size (with K or M), ways, bytes of a line.
    fn from_str(text: &str) -> Result<Self, CacheShapeError> {
        let mut words = text.split(',').map(str::trim);
        let mut word = || words.next().ok_or(CacheShapeError::Syntax);
        let kind = word()?;
        let kind = [CacheKind::Vivt, CacheKind::Vipt, CacheKind::Pipt]
            .into_iter()
            .find(|k| kind.eq_ignore_ascii_case(k.name()))
            .ok_or(CacheShapeError::Syntax)?;
        let size = word()?;
        let (digits, unit) = match size.as_bytes().last() {
            Some(b'K' | b'k') => (&size[..size.len() - 1], 1 << 10),
            Some(b'M' | b'm') => (&size[..size.len() - 1], 1 << 20),
            _ => (size, 1),
        };
        let number = |text: &str| text.parse::<u32>().map_err(|_| CacheShapeError::Syntax);
        let bytes = u64::from(number(digits)?) * unit;
        let (ways, line) = (number(word()?)?, number(word()?)?);
        if words.next().is_some() {
            return Err(CacheShapeError::Syntax);
        }
        Self::new(kind, bytes, ways, line)
    }
}

#[cfg(test)]
mod tests;
