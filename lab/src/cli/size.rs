//! Sizes and places as options take them: `4G`, `512M@0x80000000`.

use pagewright_addr::{PhysAddr, PhysRange};
use std::str::FromStr;

/// A number of bytes, perhaps with an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// Bytes.
    pub(crate) len: u64,
    /// The first byte.
    pub(crate) at: Option<PhysAddr>,
}

impl Place {
    /// The range, with `default` as the address if none was given. `None` if it ends above 2^64.
    pub(crate) fn range(&self, default: PhysAddr) -> Option<PhysRange> {
        let start = self.at.unwrap_or(default);
        start.checked_add(self.len).map(|end| PhysRange::new(start, end))
    }
}

/// What a size looks like, for messages.
pub(crate) const SIZE: &str = "SIZE[@ADDRESS], such as 4G or 512M@2G";

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected {SIZE}");
        let (size, at) = match text.split_once('@') {
            Some((size, at)) => (size, Some(bytes(at).ok_or_else(wrong)?)),
            None => (text, None),
        };
        let len = bytes(size).ok_or_else(wrong)?;
        if len == 0 {
            return Err(format!("no bytes; {}", wrong()));
        }
        if at.unwrap_or(0).checked_add(len).is_none() {
            return Err(format!("ends above 2^64; {}", wrong()));
        }
        Ok(Self { len, at: at.map(PhysAddr::new) })
    }
}

/// `4G`, `0x1000`, `1536K`: the suffixes are powers of 1024, up to E as on the kernel's command line.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let shift = match text.as_bytes().last()?.to_ascii_uppercase() {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        b'T' => 40,
        b'P' => 50,
        // In a hexadecimal number the last digit may be an `e`.
        b'E' if number(text).is_none() => 60,
        _ => return number(text),
    };
    number(&text[..text.len() - 1])?.checked_mul(1 << shift)
}

/// A decimal number, or a hexadecimal one after `0x`.
pub(crate) fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_suffixes_and_addresses() {
        for (text, len, at) in [
            ("4G", 4 << 30, None),
            ("512M@0x80000000", 512 << 20, Some(0x8000_0000)),
            ("0x1000", 4096, None),
            ("1536k@1073741824", 1536 << 10, Some(1 << 30)),
            ("1T", 1 << 40, None),
            ("1G@2G", 1 << 30, Some(2 << 30)),
            ("64k@0x40M", 64 << 10, Some(0x40 << 20)),
            ("2P", 2 << 50, None),
            ("1E", 1 << 60, None),
            ("0x1e", 0x1e, None),
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!((place.len, place.at.map(PhysAddr::get)), (len, at), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "lots",
            "",
            "4GG",
            "G",
            "1.5G",
            "4G@",
            "@1G",
            "0",
            "-1",
            "1G@0xfffffffffffffff0",
            "1G@2GG",
            "1G@G",
            "1G@2G@3G",
            "1G@16E",
            "99999999T",
            "4é",
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
