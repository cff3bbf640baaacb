//! What goes wrong outside the machine: a bad argument, an unreadable file, text that is not what it should be.
//!
//! A [`Fault`] always says what was wrong, where, and what was expected, and prints as one line. The command exits
//! with code 2 on it.

use std::fmt;

/// Bad usage or bad input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What was found, or what failed.
    pub what: String,
    /// Where: a file with its line, an option, a machine's name.
    pub place: String,
    /// What would have been right.
    pub expected: String,
    /// Whether something is not there at all, rather than there and wrong.
    pub missing: bool,
}

impl Fault {
    /// A fault from its three parts.
    pub fn new(what: impl Into<String>, place: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { what: what.into(), place: place.into(), expected: expected.into(), missing: false }
    }

    /// A fault from an error, which may say itself what it expected.
    pub fn caused(error: impl fmt::Display, place: impl Into<String>, expected: impl Into<String>) -> Self {
        let what = error.to_string();
        let expected = if what.contains("expected") { String::new() } else { expected.into() };
        Self::new(what, place, expected)
    }

    /// A fault about something that is not there.
    pub fn missing(what: impl Into<String>, place: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { missing: true, ..Self::new(what, place, expected) }
    }

    /// A fault in line `number` (counted from 1) of a text, quoting it.
    pub fn line(number: usize, text: &str, expected: impl Into<String>) -> Self {
        let quoted: String = text.chars().take(80).collect();
        Self::new(format!("`{}`", quoted.trim_end()), format!("line {number}"), expected)
    }

    /// The same fault with `outer` (a file name, say) put before the place.
    #[must_use]
    pub fn within(mut self, outer: impl fmt::Display) -> Self {
        self.place =
            if self.place.is_empty() { outer.to_string() } else { format!("{outer}: {}", self.place) };
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        write!(f, "{}", self.what)?;
        if !self.expected.is_empty() {
            write!(f, "; expected {}", self.expected)?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::Fault;

    #[test]
    fn an_error_that_says_what_it_expected_is_not_told_twice() {
        let expected = |error: &str| Fault::caused(error, "x.dtb", "a device tree").to_string();
        assert_eq!(expected("magic 0, expected 1"), "x.dtb: magic 0, expected 1");
        assert_eq!(expected("no such file"), "x.dtb: no such file; expected a device tree");
    }
}
