//! What the command line asks of the image itself. Everything else in it is the kernel's, and the boot reads it.
//!
//! `show=zoneinfo,buddyinfo` prints views once the boot is over; `test=LIST` chooses in-kernel tests (`test=none` runs none,
//! without the word all of them run, or none where benchmarks are asked for); `bench=LIST` runs benchmarks
//! ([`crate::bench`]); `dump=device-tree` prints the device tree's bytes
//! for a program to read; `inject=fdt|acpi|map` damages firmware data before it is parsed;
//! `trigger=fault|overflow|panic|console` ends the image on purpose, to show what that looks like.

use core::fmt;

/// The image's own words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options<'a> {
    /// Views to print, separated by commas.
    pub show: Option<&'a str>,
    /// Benchmarks to run.
    pub bench: Option<&'a str>,
    /// Tests to run; `None` runs all.
    pub test: Option<&'a str>,
    /// The device tree, for a program to read (`dump=device-tree`).
    pub dump: bool,
    /// What to damage.
    pub inject: Option<Inject>,
    /// How to end on purpose.
    pub trigger: Option<Trigger>,
}

/// Firmware data to damage after the hand-over and before it is parsed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inject {
    /// The device tree.
    Fdt,
    /// ACPI's tables.
    Acpi,
    /// The memory map: RAM that is not there.
    Map,
}

/// Ways to end on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// Reads an address that nothing is mapped at.
    Fault,
    /// Runs off the end of the stack.
    Overflow,
    /// Panics.
    Panic,
    /// Reads behind an area of vmalloc's.
    Overrun,
    /// Reads an address that nothing is mapped at while it prints, and so has the console.
    Console,
}

/// A word of the image's own with a value that there is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OptionError<'a> {
    /// The word, without its `=`.
    pub word: &'static str,
    /// The value.
    pub value: &'a str,
    /// What there is.
    pub expected: &'static str,
}

impl fmt::Display for OptionError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}: expected one of {}", self.word, self.value, self.expected)
    }
}

impl core::error::Error for OptionError<'_> {}

impl<'a> Options<'a> {
    /// The words of a command line. The last of equal words counts.
    ///
    /// # Errors
    /// [`OptionError`] for the first value that there is not.
    pub fn parse(cmdline: &'a str) -> Result<Self, OptionError<'a>> {
        let mut options = Self::default();
        for (word, value) in cmdline.split_ascii_whitespace().filter_map(|w| w.split_once('=')) {
            let refuse = |word, expected| Err(OptionError { word, value, expected });
            match word {
                "show" => options.show = Some(value),
                "bench" => options.bench = Some(value),
                "test" => options.test = Some(value),
                "dump" => match value {
                    "device-tree" => options.dump = true,
                    _ => return refuse("dump", "device-tree"),
                },
                "inject" => {
                    options.inject = Some(match value {
                        "fdt" => Inject::Fdt,
                        "acpi" => Inject::Acpi,
                        "map" => Inject::Map,
                        _ => return refuse("inject", "fdt, acpi, map"),
                    });
                }
                "trigger" => {
                    options.trigger = Some(match value {
                        "fault" => Trigger::Fault,
                        "overflow" => Trigger::Overflow,
                        "panic" => Trigger::Panic,
                        "overrun" => Trigger::Overrun,
                        "console" => Trigger::Console,
                        _ => return refuse("trigger", "fault, overflow, panic, overrun, console"),
                    });
                }
                _ => {}
            }
        }
        Ok(options)
    }

    /// The views to print.
    pub fn shows(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        list(self.show)
    }

    /// The tests that are asked for by name.
    pub fn tests(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        list(self.test)
    }

    /// The benchmarks that are asked for.
    pub fn benches(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        list(self.bench)
    }

    /// Whether tests are to run that nobody names.
    pub fn all_tests(&self) -> bool {
        self.test.is_none() && self.bench.is_none()
    }

    /// Whether a test is to run.
    pub fn runs(&self, test: &str) -> bool {
        self.all_tests() || list(self.test).any(|name| name == test)
    }
}

fn list(value: Option<&str>) -> impl Iterator<Item = &str> + Clone + use<'_> {
    value.unwrap_or("").split(',').filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn words_of_the_kernel_are_left_to_it() {
        let options = Options::parse("console=ttyAMA0 mem=512M quiet").unwrap();
        assert_eq!(options, Options::default());
        assert!(options.runs("buddy"));
    }

    #[test]
    fn lists_are_split_at_commas() {
        let options = Options::parse("show=zoneinfo,,buddyinfo test=buddy").unwrap();
        assert_eq!(options.shows().collect::<Vec<_>>(), ["zoneinfo", "buddyinfo"]);
        assert!(options.runs("buddy") && !options.runs("wx"));
    }

    #[test]
    fn benchmarks_run_without_tests_unless_both_are_asked_for() {
        let options = Options::parse("bench=page,boot").unwrap();
        assert_eq!(options.benches().collect::<Vec<_>>(), ["page", "boot"]);
        assert!(!options.runs("buddy") && !options.all_tests());
        assert!(Options::parse("bench=page test=buddy").unwrap().runs("buddy"));
    }

    #[test]
    fn a_value_that_there_is_not_is_refused_with_what_there_is() {
        let refused = Options::parse("inject=disk").unwrap_err();
        assert_eq!(refused.to_string(), "inject=disk: expected one of fdt, acpi, map");
        assert_eq!(Options::parse("inject=map inject=fdt").unwrap().inject, Some(Inject::Fdt));
    }
}
