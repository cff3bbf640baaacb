//! How much memory there is and what is set aside of it.

use super::{Outcome, Reader};
use crate::cmdline::diagnostics::DiagnosticKind;
use crate::cmdline::token::Param;
use crate::cmdline::{Amount, CmaParam, ElfCoreHeader, MemParam, MemmapParam, memparse, strtoull};
use crate::e820::E820Kind;
use crate::machine::Arch;
use pagewright_addr::{PhysAddr, PhysRange};

impl<'a> Reader<'a, '_> {
    pub(super) fn read_memory(&mut self, name: &str, param: &Param<'a>) -> Outcome {
        let value = param.value;
        match name {
            "mem" => self.read_mem(param),
            "memmap" => self.read_memmap(param),
            "cma" => self.read_cma(param),
            "cma_pernuma" => {
                let Some(value) = value else { return Outcome::Malformed };
                self.params.cma_pernuma = Some(memparse(value).0);
                Outcome::Taken
            }
            "kernelcore" => {
                if value.is_some_and(|v| v.split(',').any(|word| word == "mirror")) {
                    self.params.kernelcore = Some(Amount::Mirror);
                    return Outcome::Taken;
                }
                read_amount(&mut self.params.kernelcore, value)
            }
            "movablecore" => read_amount(&mut self.params.movablecore, value),
            "vmalloc" => {
                let Some(value) = value else { return Outcome::Malformed };
                self.params.vmalloc = Some(memparse(value).0);
                Outcome::Taken
            }
            "reservetop" => {
                let Some(value) = value else { return Outcome::Malformed };
                self.params.reservetop = Some(memparse(value).0);
                Outcome::Taken
            }
            "highmem" => {
                let Some(value) = value else { return Outcome::Malformed };
                self.params.highmem = Some(memparse(value).0);
                Outcome::Taken
            }
            "initrd" | "initrdmem" => self.read_initrd(param),
            "elfcorehdr" => self.read_elfcorehdr(param),
            "log_buf_len" => self.read_log_buf_len(param),
            _ => Outcome::NotRead,
        }
    }

    fn read_mem(&mut self, param: &Param<'a>) -> Outcome {
        let Some(value) = param.value else { return Outcome::Malformed };
        if self.is_x86() && value == "nopentium" {
            if self.config.arch == Arch::I386 {
                self.params.mem_nopentium = true;
                return Outcome::Taken;
            }
            self.report(param, DiagnosticKind::NoPentium);
            return Outcome::Malformed;
        }
        let (size, rest) = memparse(value);
        // A value that says nothing must not remove all memory.
        if self.is_x86() && size == 0 {
            return Outcome::Malformed;
        }
        let start = match rest.strip_prefix('@') {
            Some(start) if self.config.arch == Arch::Arm => Some(memparse(start).0),
            _ => None,
        };
        if self.is_x86() && self.params.memmap.try_push(MemmapParam::Limit(size)).is_err() {
            self.report(param, DiagnosticKind::TooMany);
            return Outcome::Taken;
        }
        if self.params.mem.try_push(MemParam { size, start }).is_err() {
            self.report(param, DiagnosticKind::TooMany);
        }
        Outcome::Taken
    }

    /// Each item of the list edits the map at its turn; one that cannot be read is skipped, with those after it still
    /// taken.
    fn read_memmap(&mut self, param: &Param<'a>) -> Outcome {
        let Some(value) = param.value else { return Outcome::Taken };
        for item in value.split(',') {
            match memmap_item(item) {
                Some((edit, rest)) => {
                    if self.params.memmap.try_push(edit).is_err() {
                        self.report(param, DiagnosticKind::TooMany);
                    } else if !rest.is_empty() {
                        self.report(param, DiagnosticKind::TrailingText);
                    }
                }
                None => self.report(param, DiagnosticKind::Ignored),
            }
        }
        Outcome::Taken
    }

    fn read_cma(&mut self, param: &Param<'a>) -> Outcome {
        let Some(value) = param.value else {
            self.report(param, DiagnosticKind::CmaWithoutValue);
            return Outcome::Malformed;
        };
        let (size, rest) = memparse(value);
        let (base, limit, rest) = match rest.strip_prefix('@') {
            None => (0, 0, rest),
            Some(text) => {
                let (base, rest) = memparse(text);
                match rest.strip_prefix('-') {
                    None => (base, base.wrapping_add(size), rest),
                    Some(text) => {
                        let (limit, rest) = memparse(text);
                        (base, limit, rest)
                    }
                }
            }
        };
        if !rest.is_empty() {
            self.report(param, DiagnosticKind::TrailingText);
        }
        let fixed = base.wrapping_add(size) == limit;
        self.params.cma = Some(CmaParam { size, base, limit, fixed });
        Outcome::Taken
    }

    fn read_initrd(&mut self, param: &Param<'a>) -> Outcome {
        let Some(value) = param.value else { return Outcome::Malformed };
        let (start, rest) = memparse(value);
        match rest.strip_prefix(',') {
            Some(size) => {
                let size = memparse(size).0;
                self.params.initrd = Some(PhysRange::from_len(PhysAddr::new(start), size));
            }
            None => self.report(param, DiagnosticKind::Ignored),
        }
        Outcome::Taken
    }

    fn read_elfcorehdr(&mut self, param: &Param<'a>) -> Outcome {
        let Some(value) = param.value else { return Outcome::Malformed };
        let (first, rest) = memparse(value);
        let header = match rest.strip_prefix('@') {
            Some(address) => ElfCoreHeader { address: memparse(address).0, size: Some(first) },
            None => ElfCoreHeader { address: first, size: None },
        };
        self.params.elfcorehdr = Some(header);
        // No number at all is malformed to the kernel, which has stored the zero by then.
        if rest.len() == value.len() { Outcome::Malformed } else { Outcome::Taken }
    }

    fn read_log_buf_len(&mut self, param: &Param<'a>) -> Outcome {
        const LARGEST: u64 = 1 << 31;
        let Some(value) = param.value else { return Outcome::Malformed };
        let size = memparse(value).0;
        if size > LARGEST {
            self.report(param, DiagnosticKind::LogBufLen);
        }
        // One that is no larger than the built-in buffer leaves an earlier one in force.
        let size = size.min(LARGEST);
        if self.params.log_buf_len.is_none() || size > 1 << self.config.log_buf_shift {
            self.params.log_buf_len = Some(size);
        }
        Outcome::Taken
    }
}

/// `kernelcore=` and `movablecore=`. A mirror that was asked for stays; 0 % changes nothing.
fn read_amount(amount: &mut Option<Amount>, value: Option<&str>) -> Outcome {
    let Some(value) = value else { return Outcome::Malformed };
    let (number, rest) = strtoull(value);
    let new = if rest.starts_with('%') {
        if number == 0 && !matches!(amount, Some(Amount::Percent(_))) {
            return Outcome::Taken;
        }
        Amount::Percent(number)
    } else {
        Amount::Bytes(memparse(value).0)
    };
    if *amount != Some(Amount::Mirror) {
        *amount = Some(new);
    }
    Outcome::Taken
}

/// One item of a `memmap=` list and what follows it; `None` if it does not start with a size.
fn memmap_item(item: &str) -> Option<(MemmapParam, &str)> {
    if item.starts_with("exactmap") {
        return Some((MemmapParam::ExactMap, ""));
    }
    let (size, rest) = memparse(item);
    if rest.len() == item.len() {
        return None;
    }
    let mut chars = rest.chars();
    let kind = match chars.next() {
        Some('@') => E820Kind::Ram,
        Some('#') => E820Kind::Acpi,
        Some('$') => E820Kind::Reserved,
        Some('!') => E820Kind::Pram,
        Some('%') => return Some(memmap_retype(size, chars.as_str())),
        _ => return Some((MemmapParam::Limit(size), rest)),
    };
    let (start, rest) = memparse(chars.as_str());
    Some((MemmapParam::Add { start, size, kind }, rest))
}

/// What follows `nn%`: `ss[-oldtype][+newtype]`.
fn memmap_retype(size: u64, text: &str) -> (MemmapParam, &str) {
    let (start, mut rest) = memparse(text);
    let mut number_after = |sign| {
        let (number, after) = strtoull(rest.strip_prefix(sign)?);
        rest = after;
        // Type 0 is none.
        let number = number as u32;
        (number != 0).then_some(E820Kind::from_number(number))
    };
    let (old, new) = (number_after('-'), number_after('+'));
    (MemmapParam::Retype { start, size, old, new }, rest)
}
