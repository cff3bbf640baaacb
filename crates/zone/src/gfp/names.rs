//! Masks as text: what tracepoints, failure reports and page owners print, and the way back.

use super::Gfp;
use core::fmt;
use core::str::FromStr;

/// The names that are printed, combinations before the bits they are made of. `__GFP_RECLAIM` and `__GFP_KSWAPD_RECLAIM` are
/// never reached: GFP_NOIO and GFP_NOWAIT are the same numbers.
const NAMES: [(Gfp, &str); 34] = [
    (Gfp::GFP_TRANSHUGE, "GFP_TRANSHUGE"),
    (Gfp::GFP_TRANSHUGE_LIGHT, "GFP_TRANSHUGE_LIGHT"),
    (Gfp::GFP_HIGHUSER_MOVABLE, "GFP_HIGHUSER_MOVABLE"),
    (Gfp::GFP_HIGHUSER, "GFP_HIGHUSER"),
    (Gfp::GFP_USER, "GFP_USER"),
    (Gfp::GFP_KERNEL_ACCOUNT, "GFP_KERNEL_ACCOUNT"),
    (Gfp::GFP_KERNEL, "GFP_KERNEL"),
    (Gfp::GFP_NOFS, "GFP_NOFS"),
    (Gfp::GFP_ATOMIC, "GFP_ATOMIC"),
    (Gfp::GFP_NOIO, "GFP_NOIO"),
    (Gfp::GFP_NOWAIT, "GFP_NOWAIT"),
    (Gfp::DMA, "GFP_DMA"),
    (Gfp::HIGHMEM, "__GFP_HIGHMEM"),
    (Gfp::DMA32, "GFP_DMA32"),
    (Gfp::HIGH, "__GFP_HIGH"),
    (Gfp::ATOMIC, "__GFP_ATOMIC"),
    (Gfp::IO, "__GFP_IO"),
    (Gfp::FS, "__GFP_FS"),
    (Gfp::NOWARN, "__GFP_NOWARN"),
    (Gfp::RETRY_MAYFAIL, "__GFP_RETRY_MAYFAIL"),
    (Gfp::NOFAIL, "__GFP_NOFAIL"),
    (Gfp::NORETRY, "__GFP_NORETRY"),
    (Gfp::COMP, "__GFP_COMP"),
    (Gfp::ZERO, "__GFP_ZERO"),
    (Gfp::NOMEMALLOC, "__GFP_NOMEMALLOC"),
    (Gfp::MEMALLOC, "__GFP_MEMALLOC"),
    (Gfp::HARDWALL, "__GFP_HARDWALL"),
    (Gfp::THISNODE, "__GFP_THISNODE"),
    (Gfp::RECLAIMABLE, "__GFP_RECLAIMABLE"),
    (Gfp::MOVABLE, "__GFP_MOVABLE"),
    (Gfp::ACCOUNT, "__GFP_ACCOUNT"),
    (Gfp::WRITE, "__GFP_WRITE"),
    (Gfp::DIRECT_RECLAIM, "__GFP_DIRECT_RECLAIM"),
    (Gfp::ZEROTAGS, "__GFP_ZEROTAGS"),
];

/// Names that are understood but never printed.
const ALIASES: [(Gfp, &str); 4] = [
    (Gfp::DMA, "__GFP_DMA"),
    (Gfp::DMA32, "__GFP_DMA32"),
    (Gfp::RECLAIM, "__GFP_RECLAIM"),
    (Gfp::KSWAPD_RECLAIM, "__GFP_KSWAPD_RECLAIM"),
];

impl fmt::Display for Gfp {
    /// As `%pGg` prints it: names joined by `|`, what has none as a number, `none` for an empty mask.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = *self;
        let mut separator = "";
        for (mask, name) in NAMES {
            if rest.contains(mask) {
                write!(f, "{separator}{name}")?;
                rest -= mask;
                separator = "|";
            }
        }
        if rest.is_empty() {
            return f.write_str(if separator.is_empty() { "none" } else { "" });
        }
        write!(f, "{separator}{:#x}", rest.bits())
    }
}

/// A part of a mask's text is neither a name nor a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GfpParseError {
    /// Where the part begins, in bytes.
    pub at: usize,
    /// How long it is, in bytes.
    pub len: usize,
}

impl fmt::Display for GfpParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no GFP flag or number in {} bytes from byte {} on", self.len, self.at)
    }
}

impl core::error::Error for GfpParseError {}

impl FromStr for Gfp {
    type Err = GfpParseError;

    /// Reads what [`Display`](fmt::Display) writes, and also `__GFP_DMA`, `__GFP_DMA32`, `__GFP_RECLAIM` and `__GFP_KSWAPD_RECLAIM`, decimal
    /// numbers, and parts in any order.
    fn from_str(text: &str) -> Result<Self, GfpParseError> {
        let mut mask = Self::empty();
        let mut at = 0;
        for part in text.split('|') {
            let word = part.trim();
            mask |= match NAMES.iter().chain(&ALIASES).find(|(_, name)| *name == word) {
                Some(&(flag, _)) => flag,
                None if word == "none" => Self::empty(),
                None => number(word).ok_or(GfpParseError { at, len: part.len() })?,
            };
            at += part.len() + 1;
        }
        Ok(mask)
    }
}

fn number(word: &str) -> Option<Gfp> {
    let digits = |text: &str| text.starts_with(|c: char| c.is_ascii_hexdigit());
    let bits = match word.strip_prefix("0x") {
        Some(hex) if digits(hex) => u32::from_str_radix(hex, 16).ok(),
        None if digits(word) => word.parse().ok(),
        _ => None,
    };
    bits.map(Gfp::from_bits_retain)
}
