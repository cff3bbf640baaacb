//! The image's log: lines with the kernel's time stamps on a serial port.

use crate::bench::steps::Steps;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};
use pagewright::pgtable::TableEvent;
use pagewright::{EventSink, Level, Phase};
use pagewright_memblock as memblock;
use pagewright_platform::Mutex;
use pagewright_view::log::{LogOptions, LogSink};

/// A serial port, or what stands for one.
pub trait Console: Sync {
    /// Writes bytes, in order. Lines end with a line feed; a port that wants more adds it.
    fn write(&self, bytes: &[u8]);

    /// Does something as a part of the output: nobody else writes meanwhile, and what is done must not either.
    fn hold(&self, work: &mut dyn FnMut());

    /// Microseconds since the processor's counter started.
    fn micros(&self) -> u64;
}

/// A device that one processor at a time uses, and that a processor which has failed takes back from the code that it has left.
///
/// # Invariants
/// `holder` is the number of the processor that has the lock, plus one, while it is inside [`Self::with`].
#[derive(Debug)]
pub struct Device<T> {
    value: Mutex<T>,
    holder: AtomicU64,
}

impl<T> Device<T> {
    /// A device that nobody uses.
    pub const fn new(value: T) -> Self {
        Self { value: Mutex::new(value), holder: AtomicU64::new(0) }
    }

    /// Uses it as processor `me`, once nobody else does.
    pub fn with<R>(&self, me: u64, work: impl FnOnce(&mut T) -> R) -> R {
        let mut value = self.value.lock();
        self.holder.store(me + 1, Ordering::Relaxed);
        let done = work(&mut value);
        self.holder.store(0, Ordering::Relaxed);
        done
    }

    /// Takes it away from this processor, number `me`, if this is who has it. Other processors are waited for as ever: they come to the
    /// end of what they write. Returns whether it was taken.
    ///
    /// # Safety
    /// `me` is this processor, and what it did before (an exception or a panic interrupted it) never goes on.
    pub unsafe fn take_back(&self, me: u64) -> bool {
        let mine = self.holder.load(Ordering::Relaxed) == me + 1;
        if mine {
            self.holder.store(0, Ordering::Relaxed);
            // SAFETY: only the holder writes its number, which it is only while it has the lock; it is this processor, and its guard
            // is never used again.
            unsafe { self.value.force_unlock() };
        }
        mine
    }
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

/// A console whose lines get the kernel's time stamps.
#[derive(Clone, Copy)]
pub struct Stamped<'c> {
    console: &'c dyn Console,
    at_start: bool,
}

impl<'c> Stamped<'c> {
    /// At the start of a line.
    pub const fn new(console: &'c dyn Console) -> Self {
        Self { console, at_start: true }
    }
}

impl fmt::Debug for Stamped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stamped").field("at_start", &self.at_start).finish_non_exhaustive()
    }
}

impl Write for Stamped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive('\n') {
            if self.at_start {
                let now = self.console.micros();
                write!(Out(self.console), "[{:5}.{:06}] ", now / 1_000_000, now % 1_000_000)?;
            }
            self.console.write(part.as_bytes());
            self.at_start = part.ends_with('\n');
        }
        Ok(())
    }
}

/// What a boot says, on a console in Linux's wording; and what only hardware sees, to a hook.
pub struct Log<'c> {
    lines: LogSink<Stamped<'c>>,
    steps: &'c Steps,
    tables: &'c dyn Fn(TableEvent),
}

impl<'c> Log<'c> {
    /// A log of what shows by these options. `steps` is told of phases; `tables` writes the registers that page tables are told to the
    /// processor by.
    pub fn new(
        console: &'c dyn Console,
        options: LogOptions,
        steps: &'c Steps,
        tables: &'c dyn Fn(TableEvent),
    ) -> Self {
        Self { lines: LogSink::new(Stamped::new(console), options), steps, tables }
    }
}

impl fmt::Debug for Log<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("lines", &self.lines).finish_non_exhaustive()
    }
}

impl memblock::Sink for Log<'_> {
    fn event(&self, event: &memblock::Event) {
        memblock::Sink::event(&self.lines, event);
    }
}

impl EventSink for Log<'_> {
    fn line(&self, level: Level, text: fmt::Arguments<'_>) {
        self.lines.line(level, text);
    }

    fn phase(&self, phase: Phase, memblock: &memblock::Memblock<'_>) {
        self.steps.phase(phase);
        self.lines.phase(phase, memblock);
    }

    fn page_tables(&self, event: TableEvent) {
        (self.tables)(event);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Console, Device, Stamped};
    use std::fmt::Write;
    use std::string::String;
    use std::sync::Mutex;
    use std::thread;

    /// A console that keeps what it is told.
    #[derive(Default)]
    pub(crate) struct Kept(pub(crate) Mutex<String>);

    impl Console for Kept {
        fn write(&self, bytes: &[u8]) {
            self.0.lock().unwrap().push_str(core::str::from_utf8(bytes).unwrap());
        }

        fn hold(&self, work: &mut dyn FnMut()) {
            let _held = self.0.lock().unwrap();
            work();
        }

        fn micros(&self) -> u64 {
            1_000_042
        }
    }

    #[test]
    fn each_line_has_one_stamp_however_it_is_written() {
        let kept = Kept::default();
        let mut out = Stamped::new(&kept);
        let what = "ranges";
        write!(out, "Zone {what}:\n  DMA").unwrap();
        out.write_str(" empty\n").unwrap();
        assert_eq!(*kept.0.lock().unwrap(), "[    1.000042] Zone ranges:\n[    1.000042]   DMA empty\n");
    }

    #[test]
    fn one_processor_at_a_time_uses_a_device() {
        let device = Device::new(0_u32);
        thread::scope(|scope| {
            for me in 0..4 {
                let device = &device;
                scope.spawn(move || (0..200).for_each(|_| device.with(me, |n| *n += 1)));
            }
        });
        assert_eq!(device.with(0, |n| *n), 800);
    }

    #[test]
    fn a_device_is_taken_back_by_the_processor_that_has_it_and_by_no_other() {
        let device = Device::new(7);
        let taken = |me| {
            // SAFETY: the code that has the device goes on here, but it does not use it any more.
            unsafe { device.take_back(me) }
        };
        assert!(!taken(1), "nobody has it");
        device.with(1, |_| {
            assert!(!taken(2), "somebody else has it");
            assert!(taken(1));
            assert_eq!(device.with(1, |n| *n), 7, "what failed inside can use it again");
        });
    }
}
