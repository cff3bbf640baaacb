//! The image's log: lines with the kernel's time stamps on a serial port.

use core::fmt::{self, Write};
use pagewright::pgtable::TableEvent;
use pagewright::{EventSink, Level};
use pagewright_memblock as memblock;

/// A serial port, or what stands for one.
pub trait Console: Sync {
    /// Writes bytes, in order. Lines end with a line feed; a port that wants more adds it.
    fn write(&self, bytes: &[u8]);

    /// Microseconds since the processor's counter started.
    fn micros(&self) -> u64;
}

/// A console as something to format into.
#[derive(Clone, Copy)]
pub struct Out<'c>(pub &'c dyn Console);

impl Write for Out<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

impl fmt::Debug for Out<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Out")
    }
}

/// One line of the log.
pub fn line(console: &dyn Console, text: fmt::Arguments<'_>) {
    let now = console.micros();
    // A console takes everything.
    let _ = writeln!(Out(console), "[{:5}.{:06}] {text}", now / 1_000_000, now % 1_000_000);
}

/// What a boot says, on a console; and what only hardware sees, to a hook.
#[derive(Clone, Copy)]
pub struct Log<'c> {
    console: &'c dyn Console,
    tables: &'c dyn Fn(TableEvent),
    debug: bool,
}

impl<'c> Log<'c> {
    /// A log that also tells memblock's calls if `debug` (`memblock=debug`). `tables` writes the registers that page tables
    /// are told to the processor by.
    pub fn new(console: &'c dyn Console, debug: bool, tables: &'c dyn Fn(TableEvent)) -> Self {
        Self { console, tables, debug }
    }
}

impl fmt::Debug for Log<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("debug", &self.debug).finish_non_exhaustive()
    }
}

impl memblock::Sink for Log<'_> {
    fn event(&self, event: &memblock::Event) {
        if self.debug && event.is_logged() {
            line(self.console, format_args!("{}", event.line(memblock::AddrWidth::Bits64)));
        }
    }
}

impl EventSink for Log<'_> {
    fn line(&self, level: Level, text: fmt::Arguments<'_>) {
        if self.debug || level != Level::Debug {
            line(self.console, text);
        }
    }

    fn page_tables(&self, event: TableEvent) {
        (self.tables)(event);
    }
}
