//! Memblock's lines as C strings.

use crate::layout::Options;
use core::cell::RefCell;
use core::ffi::c_char;
use core::fmt::{self, Write};
use pagewright_memblock::{AddrWidth, Event, Printed, Sink};

/// Long enough for every log line; a longer text comes in pieces.
const ROOM: usize = 256;

/// Prints the events that Linux would print now.
pub(crate) struct Printer {
    debug: bool,
    out: RefCell<Text>,
}

impl Printer {
    pub(crate) fn new(options: &Options) -> Self {
        Self { debug: options.debug, out: RefCell::new(Text::new(options)) }
    }
}

impl Sink for Printer {
    fn event(&self, event: &Event) {
        let printed = match event.printed() {
            Printed::Always => true,
            Printed::Debug => self.debug,
            Printed::Silent => false,
        };
        if printed {
            self.out.borrow_mut().line(format_args!("{}", event.line(AddrWidth::Bits64)));
        }
    }
}

/// Collects a line and hands it to C.
pub(crate) struct Text {
    print: Option<unsafe extern "C" fn(*const c_char)>,
    buf: [u8; ROOM],
    len: usize,
}

impl Text {
    pub(crate) fn new(options: &Options) -> Self {
        Self { print: options.print, buf: [0; ROOM], len: 0 }
    }

    /// Prints one line, or several.
    pub(crate) fn line(&mut self, text: fmt::Arguments<'_>) {
        // Writing to this never fails.
        let _ = self.write_fmt(text).and_then(|()| self.write_str("\n"));
        self.flush();
    }

    /// Prints what was written and not printed yet.
    pub(crate) fn end(&mut self) {
        if self.len > 0 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        // `write_str` keeps one byte free for this.
        self.buf[self.len] = 0;
        self.len = 0;
        let text = self.buf.as_ptr().cast::<c_char>();
        match self.print {
            // SAFETY: a NUL-terminated string that lives through the call; the hook's contract is the header's.
            Some(print) => unsafe { print(text) },
            None => default_print(text),
        }
    }
}

impl Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for &byte in s.as_bytes() {
            if self.len + 1 == ROOM {
                self.flush();
            }
            self.buf[self.len] = byte;
            self.len += 1;
        }
        Ok(())
    }
}

/// Without a hook a hosted program's lines go where its `printf` goes, in order with its own.
#[cfg(feature = "std")]
fn default_print(text: *const c_char) {
    unsafe extern "C" {
        fn printf(format: *const c_char, ...) -> core::ffi::c_int;
    }
    // SAFETY: the format takes one string, and `text` is a NUL-terminated one.
    unsafe { printf(c"%s".as_ptr(), text) };
}

#[cfg(not(feature = "std"))]
fn default_print(_: *const c_char) {}
