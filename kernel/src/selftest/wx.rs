//! Text is executed and not written, data is written and not executed: tried, not read from tables.

use super::{Note, Subject, note};

/// The test.
pub(super) fn run(subject: &Subject<'_>) -> Result<Note, Note> {
    let probes = subject.metal.wx_probes(subject.pages.ram());
    for probe in probes {
        if subject.metal.probe(probe.at, probe.access) != probe.allowed {
            let word = if probe.allowed { "faults" } else { "does not fault" };
            return Err(note(format_args!("{}: {:?} at {:#x} {word}", probe.what, probe.access, probe.at)));
        }
    }
    if probes.is_empty() {
        return Err(note(format_args!("the image names nothing to try")));
    }
    Ok(note(format_args!("{} accesses tried", probes.len())))
}
