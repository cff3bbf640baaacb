//! A record as the kernel log that Linux would have kept.

use super::record::{Entry, Recorder};
use pagewright_view::log::{Log, LogOptions};
use std::fmt;

impl Recorder {
    /// The log, line by line, without timestamps.
    pub fn log(&self, options: &LogOptions) -> String {
        let mut out = String::new();
        // A string takes everything.
        let _ = self.write_log(&mut out, options);
        out
    }

    fn write_log(&self, out: &mut String, options: &LogOptions) -> fmt::Result {
        let mut log = Log::new(*options);
        self.entries().iter().try_for_each(|entry| match entry {
            Entry::Line(level, text) => log.line(out, *level, format_args!("{text}")),
            Entry::Memblock(event) => log.event(out, event),
            Entry::Phase(phase) => {
                log.phase(*phase, self.width());
                Ok(())
            }
        })
    }
}
