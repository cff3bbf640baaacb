//! A record as the kernel log that Linux would have kept.

use super::record::{Entry, Recorder};
use pagewright::Level;
use pagewright_firmware::cmdline::Params;

/// Which lines are printed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, clap::ValueEnum)]
pub enum Verbosity {
    /// Errors and warnings.
    Warning,
    /// What Linux keeps with this command line.
    #[default]
    Info,
    /// Also what `memblock=debug mminit_loglevel=4` would show.
    Debug,
}

/// What decides which lines a log has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogOptions {
    /// The wish of whoever reads it.
    pub verbosity: Verbosity,
    /// `memblock=debug` is on the command line.
    pub memblock_debug: bool,
    /// `mminit_loglevel=` is on the command line.
    pub mminit: bool,
}

impl LogOptions {
    /// What the command line asks for.
    pub fn of(params: &Params<'_>) -> Self {
        Self {
            verbosity: Verbosity::Info,
            memblock_debug: params.memblock_debug,
            mminit: params.mminit_loglevel.is_some_and(|level| level > 0),
        }
    }

    fn shows(&self, level: Level, text: &str) -> bool {
        let debug = self.verbosity == Verbosity::Debug;
        match (level, self.verbosity) {
            (Level::Warning, _) => true,
            (_, Verbosity::Warning) => false,
            _ if text.starts_with("mminit::") => debug || self.mminit,
            _ if text.starts_with("MEMBLOCK configuration:") => debug || self.memblock_debug,
            // Kept by the log at its lowest level, whatever is on the command line.
            _ if text.starts_with("pcpu-alloc:") => true,
            (Level::Info, _) => true,
            (Level::Debug, _) => debug,
        }
    }
}

impl Recorder {
    /// The log, line by line, without timestamps.
    pub fn log(&self, options: &LogOptions) -> String {
        let from = self.logging_from();
        let memblock = options.verbosity != Verbosity::Warning
            && (options.memblock_debug || options.verbosity == Verbosity::Debug);
        let mut out = String::new();
        for (i, entry) in self.entries().iter().enumerate() {
            match entry {
                Entry::Line(level, text) if options.shows(*level, text) => {
                    out.push_str(text);
                    out.push('\n');
                }
                Entry::Memblock(event) if memblock && i >= from && event.is_logged() => {
                    out.push_str(&event.line(self.width()).to_string());
                    out.push('\n');
                }
                _ => {}
            }
        }
        out
    }
}
