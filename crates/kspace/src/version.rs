//! Which version of Linux is modelled, where layouts changed between versions.

use core::fmt;
use core::str::FromStr;

/// A version of Linux: 6.1 unless something else is asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Version {
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
}

impl Version {
    /// The reference of this project.
    pub const V6_1: Self = Self::new(6, 1);

    /// A version.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// Whether this is `major.minor` or a later one.
    pub const fn since(self, major: u16, minor: u16) -> bool {
        self.major > major || (self.major == major && self.minor >= minor)
    }
}

impl Default for Version {
    fn default() -> Self {
        Self::V6_1
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A text that is no version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseVersionError;

impl fmt::Display for ParseVersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a version such as 5.3 or 6.1")
    }
}

impl core::error::Error for ParseVersionError {}

impl FromStr for Version {
    type Err = ParseVersionError;

    /// Reads `6.1`, and the beginning of `6.1.0-50-arm64`.
    fn from_str(text: &str) -> Result<Self, ParseVersionError> {
        let (major, rest) = text.split_once('.').ok_or(ParseVersionError)?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number = |digits: &str| digits.parse::<u16>().map_err(|_| ParseVersionError);
        match rest[end..].chars().next() {
            None | Some('.' | '-' | '+') => Ok(Self::new(number(major)?, number(&rest[..end])?)),
            Some(_) => Err(ParseVersionError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn a_version_is_read_from_a_release_and_compared_by_number() {
        assert_eq!("6.1.0-50-arm64".parse(), Ok(Version::V6_1));
        assert_eq!("5.10".parse(), Ok(Version::new(5, 10)));
        assert!(Version::new(5, 10) > Version::new(5, 4) && Version::new(5, 10).since(5, 10));
        assert!(!Version::new(4, 20).since(5, 0));
        for wrong in ["6", "6.", ".1", "six.one", "6.1x", ""] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }
}
