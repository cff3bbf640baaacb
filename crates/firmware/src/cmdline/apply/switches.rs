//! Switches and numbers without a group of their own.

use super::{Outcome, Reader};
use crate::cmdline::diagnostics::DiagnosticKind;
use crate::cmdline::token::Param;
use crate::cmdline::{Pti, Rodata, parse_bool, parse_integer, strtoull};
use crate::machine::Arch;
use pagewright_addr::PhysAddr;

impl<'a> Reader<'a, '_> {
    pub(super) fn read_switch(&mut self, name: &str, param: &Param<'a>) -> Outcome {
        let bare = param.value.is_none();
        let params = &mut self.params;
        match name {
            "movable_node" => params.movable_node = true,
            "memblock" => params.memblock_debug |= param.value.is_some_and(|v| v.contains("debug")),
            "memtest" => return self.read_memtest(param),
            "mminit_loglevel" => {
                params.mminit_loglevel = param.value.and_then(parse_integer).map(|i| i.value);
            }
            "init_on_alloc" => return early_bool(&mut params.init_on_alloc, param.value),
            "init_on_free" => return early_bool(&mut params.init_on_free, param.value),
            "page_poison" => return early_bool(&mut params.page_poison, param.value),
            "page_alloc.shuffle" => params.shuffle = parse_bool(param.value.unwrap_or("1")),
            "rodata" => self.read_rodata(param),
            "earlycon" => {
                params.earlycon = param.value.and_then(earlycon_registers).or(params.earlycon);
            }
            "kpti" => {
                let mut on = None;
                let outcome = early_bool(&mut on, param.value);
                params.pti = on.map(|on| if on { Pti::On } else { Pti::Off }).or(params.pti);
                return outcome;
            }
            "dhash_entries" => return late_number(&mut params.dhash_entries, param.value),
            "ihash_entries" => return late_number(&mut params.ihash_entries, param.value),
            "mhash_entries" => return late_number(&mut params.mhash_entries, param.value),
            "mphash_entries" => return late_number(&mut params.mphash_entries, param.value),
            "thash_entries" => return strict_number(&mut params.thash_entries, param.value),
            "uhash_entries" => return strict_number(&mut params.uhash_entries, param.value),
            "swiotlb" => self.read_swiotlb(param),
            "cgroup_disable" => {
                params.cgroup_disable_memory |=
                    param.value.is_some_and(|v| v.split(',').any(|controller| controller == "memory"));
            }
            "slub_min_objects" | "slub_min_order" | "slub_max_order" | "slab_max_order" => {
                let value = param.value.and_then(parse_integer).map(|i| i.value);
                *match name {
                    "slub_min_objects" => &mut params.slub_min_objects,
                    "slub_min_order" => &mut params.slub_min_order,
                    "slab_max_order" => &mut params.slab_max_order,
                    _ => &mut params.slub_max_order,
                } = value;
            }
            "slab_nomerge" | "slub_nomerge" => params.slab_nomerge = Some(true),
            "slab_merge" | "slub_merge" => params.slab_nomerge = Some(false),
            "slub_debug" => params.slub_debug = Some(param.value.unwrap_or_default()),
            "gbpages" => params.gbpages = Some(true),
            "nogbpages" => params.gbpages = Some(false),
            "acpi" => {
                params.acpi_off |= param.value == Some("off");
                params.acpi_on |= matches!(param.value, Some("on" | "force"));
            }
            "nolapic" | "disableapic" => params.no_local_apic = true,
            "add_efi_memmap" => params.add_efi_memmap = true,
            "efi" => {
                let has = |word: &str| param.value.is_some_and(|v| v.split(',').any(|w| w == word));
                params.efi_nosoftreserve |= has("nosoftreserve");
                params.efi_debug |= has("debug");
            }
            "noinitrd" if bare => params.noinitrd = true,
            "keepinitrd" | "retain_initrd" if bare => params.keep_initrd = true,
            "disable_mtrr_trim" => params.disable_mtrr_trim = true,
            _ => return Outcome::NotRead,
        }
        Outcome::Taken
    }

    /// Parameters that the kernel finds by searching the command line, whether or not it also registers their names.
    pub(super) fn read_searched(&mut self, name: &str, param: &Param<'a>) {
        let params = &mut self.params;
        let x86_64 = self.config.arch == Arch::X86_64;
        match (name, param.value) {
            ("nokaslr", None) => params.nokaslr = true,
            ("no5lvl", None) if x86_64 => params.no5lvl = true,
            ("nopti", None) if self.config.page_table_isolation && self.config.arch != Arch::Arm64 => {
                params.pti = Some(Pti::Off);
            }
            ("pti", Some(value)) if self.config.page_table_isolation && self.config.arch != Arch::Arm64 => {
                params.pti = match value {
                    "on" => Some(Pti::On),
                    "off" => Some(Pti::Off),
                    "auto" => Some(Pti::Auto),
                    _ => params.pti,
                };
            }
            _ => {}
        }
    }

    fn read_memtest(&mut self, param: &Param<'a>) -> Outcome {
        /// How many test patterns the kernel has.
        const PATTERNS: u32 = 17;
        let Some(value) = param.value else {
            self.params.memtest = Some(PATTERNS);
            return Outcome::Taken;
        };
        let (number, rest) = strtoull(value);
        match u32::try_from(number) {
            Ok(number) if rest.is_empty() && !value.is_empty() => {
                self.params.memtest = Some(number);
                Outcome::Taken
            }
            _ => Outcome::Malformed,
        }
    }

    fn read_rodata(&mut self, param: &Param<'a>) {
        self.params.rodata = match param.value {
            Some("on") => Some(Rodata::On),
            Some("off") => Some(Rodata::Off),
            Some("full") if self.config.arch == Arch::Arm64 => Some(Rodata::Full),
            _ => {
                self.report(param, DiagnosticKind::Rodata);
                self.params.rodata
            }
        };
    }

    /// `SLABS[,AREAS][,force|noforce]`, each part optional.
    fn read_swiotlb(&mut self, param: &Param<'a>) {
        let Some(mut rest) = param.value else { return };
        let swiotlb = &mut self.params.swiotlb;
        for part in [&mut swiotlb.slabs, &mut swiotlb.areas] {
            if rest.starts_with(|c: char| c.is_ascii_digit()) {
                let (number, after) = strtoull(rest);
                *part = Some(number);
                rest = after.strip_prefix(',').unwrap_or(after);
            }
        }
        match rest {
            "force" => swiotlb.force = Some(true),
            "noforce" => swiotlb.force = Some(false),
            "" => {}
            _ => self.report(param, DiagnosticKind::TrailingText),
        }
    }
}

/// `uart_parse_earlycon` after the driver's name: the address follows a kind of access to memory, or begins with `0x`.
fn earlycon_registers(value: &str) -> Option<PhysAddr> {
    let (_, place) = value.split_once(',')?;
    let (kind, rest) = place.split_once(',').unwrap_or((place, ""));
    let text = match kind {
        "mmio" | "mmio16" | "mmio32" | "mmio32be" | "mmio32native" => rest,
        _ if kind.starts_with("0x") => kind,
        _ => return None,
    };
    let (address, rest) = strtoull(text);
    (address != 0 && (rest.is_empty() || rest.starts_with(','))).then_some(PhysAddr::new(address))
}

/// An early switch.
fn early_bool(field: &mut Option<bool>, value: Option<&str>) -> Outcome {
    match value.and_then(parse_bool) {
        Some(on) => {
            *field = Some(on);
            Outcome::Taken
        }
        None => Outcome::Malformed,
    }
}

/// A late number of which the digits are taken and the rest ignored.
fn late_number(field: &mut Option<u64>, value: Option<&str>) -> Outcome {
    let Some(value) = value else { return Outcome::Refused };
    *field = Some(strtoull(value).0);
    Outcome::Taken
}

/// A late number that must be nothing but a number.
fn strict_number(field: &mut Option<u64>, value: Option<&str>) -> Outcome {
    match value.map(strtoull) {
        Some((number, "")) if value != Some("") => {
            *field = Some(number);
            Outcome::Taken
        }
        _ => Outcome::Refused,
    }
}
