//! Nodes and processors.

use super::{Outcome, Reader};
use crate::cmdline::diagnostics::DiagnosticKind;
use crate::cmdline::token::Param;
use crate::cmdline::{NumaFake, PercpuAlloc, memparse, parse_integer, strtoull};

impl<'a> Reader<'a, '_> {
    pub(super) fn read_numa(&mut self, name: &str, param: &Param<'a>) -> Outcome {
        let integer = param.value.and_then(parse_integer).map(|i| i.value);
        let positive = integer.and_then(|n| u32::try_from(n).ok());
        match name {
            "numa" => return self.read_numa_words(param),
            "numa_balancing" => {
                self.params.numa_balancing = match param.value {
                    Some("enable") => Some(true),
                    Some("disable") => Some(false),
                    _ => return Outcome::Refused,
                };
            }
            "nr_cpus" => self.params.nr_cpus = positive.filter(|n| *n > 0).or(self.params.nr_cpus),
            "maxcpus" => self.params.maxcpus = positive.or(self.params.maxcpus),
            "possible_cpus" => self.params.possible_cpus = integer.or(self.params.possible_cpus),
            "nosmp" => {
                self.params.nosmp = true;
                return Outcome::Taken;
            }
            "percpu_alloc" => {
                let Some(value) = param.value else { return Outcome::Malformed };
                match value {
                    "embed" if self.config.percpu_choice() => {
                        self.params.percpu_alloc = Some(PercpuAlloc::Embed);
                    }
                    "page" if self.config.percpu_choice() => {
                        self.params.percpu_alloc = Some(PercpuAlloc::Page);
                    }
                    _ => self.report(param, DiagnosticKind::PercpuAlloc),
                }
                return Outcome::Taken;
            }
            "hashdist" => {
                let Some(value) = param.value else { return Outcome::Refused };
                self.params.hashdist = Some(strtoull(value).0 != 0);
                return Outcome::Taken;
            }
            _ => return Outcome::NotRead,
        }
        if integer.is_none() && name != "numa_balancing" {
            self.report(param, DiagnosticKind::Ignored);
        }
        Outcome::Taken
    }

    /// Only what the value starts with is looked at, so `off` and `official` are the same.
    fn read_numa_words(&mut self, param: &Param<'a>) -> Outcome {
        let Some(value) = param.value else { return Outcome::Malformed };
        let x86 = self.is_x86();
        let numa = &mut self.params.numa;
        if value.starts_with("off") {
            numa.off = true;
        } else if let (true, Some(fake)) = (x86, value.strip_prefix("fake=")) {
            match numa_fake(fake).filter(|_| self.config.numa_emu) {
                Some(fake) => numa.fake = Some(fake),
                None => self.report(param, DiagnosticKind::NumaFake),
            }
        } else if x86 && value.starts_with("noacpi") {
            numa.noacpi = true;
        } else if x86 && value.starts_with("nohmat") {
            numa.nohmat = true;
        } else {
            self.report(param, DiagnosticKind::Ignored);
        }
        Outcome::Taken
    }
}

/// The letter anywhere in the value decides what the number in front counts.
fn numa_fake(text: &str) -> Option<NumaFake<'_>> {
    let number_text = text.split(':').next().unwrap_or(text);
    let list = text.get(number_text.len() + 1..).unwrap_or_default();
    if text.contains('U') {
        let (count, _) = strtoull(number_text);
        return (count > 0).then_some(NumaFake::Uniform { count, distances: list });
    }
    if text.contains(['M', 'G']) {
        let (bytes, _) = memparse(number_text);
        return (bytes > 0).then_some(NumaFake::Size { bytes, distances: list });
    }
    let (count, _) = strtoull(number_text);
    (count > 0).then_some(NumaFake::Nodes { count, distances: list })
}
