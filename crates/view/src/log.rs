//! What a boot says, as lines of the kernel log.
//!
//! A boot sends lines and events to an [`EventSink`]. [`Log`] decides which of them show, by the command line and by what
//! the reader wants, and words them as Linux does. A machine that keeps what was said replays it through [`Log`]; one that
//! prints while it boots hands a [`LogSink`] to its boot.

use core::cell::{Cell, RefCell};
use core::fmt::{self, Write};
use pagewright::{EventSink, Level, Phase};
use pagewright_firmware::cmdline::Params;
use pagewright_memblock::{AddrWidth, Event, Memblock, Sink};

/// Which lines are printed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
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

/// As many letters of a line as decide what kind it is.
const KIND: usize = "MEMBLOCK configuration:".len();

impl LogOptions {
    /// What the command line asks for.
    pub fn of(params: &Params<'_>) -> Self {
        Self {
            verbosity: Verbosity::Info,
            memblock_debug: params.memblock_debug,
            mminit: params.mminit_loglevel.is_some_and(|level| level > 0),
        }
    }

    /// Whether a line of that level that begins with `text` shows.
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

    /// Whether memblock's events show once `memblock=debug` is in force.
    fn shows_events(&self) -> bool {
        self.verbosity != Verbosity::Warning && (self.memblock_debug || self.verbosity == Verbosity::Debug)
    }
}

/// The beginning of a text.
struct Beginning(arrayvec::ArrayString<KIND>);

impl Write for Beginning {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for c in s.chars() {
            // Full: the rest of the text need not be worded.
            self.0.try_push(c).map_err(|_| fmt::Error)?;
        }
        Ok(())
    }
}

/// A log while it is written, line by line, without time stamps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Log {
    options: LogOptions,
    width: AddrWidth,
    /// `memblock=debug` has been read.
    in_force: bool,
}

impl Log {
    /// A log before its first line.
    pub const fn new(options: LogOptions) -> Self {
        Self { options, width: AddrWidth::Bits64, in_force: false }
    }

    /// Writes a line that the boot said, if it shows.
    ///
    /// # Errors
    /// The writer's.
    pub fn line(&self, w: &mut dyn Write, level: Level, text: fmt::Arguments<'_>) -> fmt::Result {
        let mut beginning = Beginning(arrayvec::ArrayString::new());
        // Its only error is that it has enough.
        let _ = beginning.write_fmt(text);
        if self.options.shows(level, &beginning.0) { writeln!(w, "{text}") } else { Ok(()) }
    }

    /// Writes what memblock did, if it shows.
    ///
    /// # Errors
    /// The writer's.
    pub fn event(&self, w: &mut dyn Write, event: &Event) -> fmt::Result {
        let shows = self.in_force && self.options.shows_events() && event.is_logged();
        if shows { writeln!(w, "{}", event.line(self.width)) } else { Ok(()) }
    }

    /// Takes notice of a phase and of the width that memblock's addresses have.
    pub fn phase(&mut self, phase: Phase, width: AddrWidth) {
        self.width = width;
        self.in_force |= phase == Phase::EarlyParams;
    }
}

/// Prints what a boot says while it boots.
///
/// A line that comes while another is being written (the writer itself says something) is dropped, and so is what the
/// writer refuses: a boot does not end because nobody hears it.
#[derive(Debug)]
pub struct LogSink<W> {
    out: RefCell<W>,
    log: Cell<Log>,
}

impl<W: Write> LogSink<W> {
    /// Prints to `out`.
    pub const fn new(out: W, options: LogOptions) -> Self {
        Self { out: RefCell::new(out), log: Cell::new(Log::new(options)) }
    }

    /// The writer.
    pub fn into_inner(self) -> W {
        self.out.into_inner()
    }

    fn with(&self, write: impl FnOnce(&mut W, Log) -> fmt::Result) {
        if let Ok(mut out) = self.out.try_borrow_mut() {
            let _ = write(&mut *out, self.log.get());
        }
    }
}

impl<W: Write> Sink for LogSink<W> {
    fn event(&self, event: &Event) {
        self.with(|out, log| log.event(out, event));
    }
}

impl<W: Write> EventSink for LogSink<W> {
    fn line(&self, level: Level, text: fmt::Arguments<'_>) {
        self.with(|out, log| log.line(out, level, text));
    }

    fn phase(&self, phase: Phase, memblock: &Memblock<'_>) {
        let mut log = self.log.get();
        log.phase(phase, memblock.config().width);
        self.log.set(log);
    }
}

#[cfg(test)]
mod tests;
