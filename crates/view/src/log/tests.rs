use super::*;
use pagewright_addr::{PhysAddr, PhysRange};
use std::string::String;

fn shown(options: LogOptions, level: Level, text: &str) -> bool {
    let mut out = String::new();
    Log::new(options).line(&mut out, level, format_args!("{text}")).unwrap();
    assert!(out.is_empty() || out == std::format!("{text}\n"), "{out}");
    !out.is_empty()
}

#[test]
fn the_command_line_decides_which_lines_show() {
    let plain = LogOptions::default();
    let warning = LogOptions { verbosity: Verbosity::Warning, ..plain };
    let debug = LogOptions { verbosity: Verbosity::Debug, ..plain };
    let memblock = LogOptions { memblock_debug: true, ..plain };
    let mminit = LogOptions { mminit: true, ..plain };
    let configuration = "MEMBLOCK configuration:\n memory size = 0x1000";
    for (level, text, by) in [
        (Level::Warning, "mminit::zonelist wrong", [true, true, true, true, true]),
        (Level::Info, "Zone ranges:", [false, true, true, true, true]),
        (Level::Debug, "e820: update", [false, false, true, false, false]),
        (Level::Debug, "pcpu-alloc: s1 r2", [false, true, true, true, true]),
        (Level::Info, configuration, [false, false, true, true, false]),
        (Level::Debug, "mminit::pageflags", [false, false, true, false, true]),
        // Another line that merely begins like it.
        (Level::Info, "MEMBLOCK configured", [false, true, true, true, true]),
        (Level::Info, "", [false, true, true, true, true]),
    ] {
        let options = [warning, plain, debug, memblock, mminit];
        assert_eq!(options.map(|o| shown(o, level, text)), by, "{text}");
    }
}

#[test]
fn memblocks_events_show_from_the_command_line_on() {
    let options = LogOptions { memblock_debug: true, ..LogOptions::default() };
    let range = PhysRange::from_len(PhysAddr::new(0x4000_0000), 0x1000);
    let event = Event::Reserve { range, caller: "setup_arch" };
    let written = |log: &Log, event: &Event| {
        let mut out = String::new();
        log.event(&mut out, event).unwrap();
        out
    };
    let mut log = Log::new(options);
    log.phase(Phase::Firmware, AddrWidth::Bits32);
    assert_eq!(written(&log, &event), "");
    log.phase(Phase::EarlyParams, AddrWidth::Bits32);
    log.phase(Phase::Memblock, AddrWidth::Bits32);
    assert_eq!(written(&log, &event), "memblock_reserve: [0x40000000-0x40000fff] setup_arch\n");
    // Linux is silent about this one.
    assert_eq!(written(&log, &Event::AllowResize { caller: "setup_arch" }), "");
    let mut quiet = Log::new(LogOptions { verbosity: Verbosity::Warning, ..options });
    quiet.phase(Phase::EarlyParams, AddrWidth::Bits64);
    assert_eq!(written(&quiet, &event), "");
}

/// Takes so many letters and no more.
struct Narrow(String, usize);

impl Write for Narrow {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if self.0.len() + s.len() > self.1 {
            return Err(fmt::Error);
        }
        self.0.push_str(s);
        Ok(())
    }
}

#[test]
fn a_writer_that_refuses_stops_no_boot() {
    let sink = LogSink::new(Narrow(String::new(), 8), LogOptions::default());
    sink.line(Level::Info, format_args!("a line that is too long"));
    sink.line(Level::Info, format_args!("short"));
    assert_eq!(sink.into_inner().0, "short\n");
}
