//! What a log says about EFI: the map that `efi=debug` prints, and the tables that the firmware and the boot loader left
//! in memory.
//!
//! Where a table lies and how long it is are facts of the machine, but the kernel prints the places only; the lengths
//! stand in the reservation that it makes for each (`memblock=debug`), one for one.

use super::super::Capture;
use super::pc::{read_slit, read_srat};
use crate::fault::Fault;
use crate::machine::{OwnedArmAcpi, OwnedEfi, OwnedPc};
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::acpi::{MadtEntry, parse_madt};
use pagewright_firmware::devicetree::DeviceTree;
use pagewright_firmware::dmesg::{Line, classify};
use pagewright_firmware::efi::{EfiEntry, EfiKind, EfiParams, attribute};
use pagewright_firmware::{ArmCpu, KernelImage};

/// What a log says about EFI, and what else the boot loader left in memory.
#[derive(Default)]
pub(super) struct EfiLog {
    pub(super) efi: OwnedEfi,
    /// x86: `struct setup_data`, in order.
    pub(super) setup_data: Vec<PhysRange>,
    /// arm, arm64: the RAM disk, as the kernel reserves it. EFI's stub names it in no device tree.
    initrd: Option<PhysRange>,
    /// Boot services' descriptors, as the kernel reserves them; for logs without `efi=debug`.
    boot_services: Vec<EfiEntry>,
    /// ACPI's tables have been found: what is kept now is the boot logo.
    acpi: bool,
    /// The map has just been copied, because some of it is kept.
    map_copied: bool,
}

impl EfiLog {
    pub(super) fn read(dmesg: &str, image: Option<&KernelImage>) -> Self {
        let mut out = Self::default();
        for line in dmesg.lines() {
            match classify(line) {
                Line::Efi(entry) => out.efi.map.push(entry),
                Line::MemblockReserve { range, caller } => out.reserved(range, caller, image),
                Line::AcpiTable { .. } => out.acpi = true,
                // Later maps are the kernel's own.
                Line::Memory(_) => break,
                Line::Other(text) => out.other(text),
                _ => {}
            }
        }
        out.initrd = out.initrd.map(|range| without_padding(range, dmesg));
        if out.efi.map.is_empty() {
            out.efi.map = out.boot_services;
            out.boot_services = Vec::new();
        }
        out
    }

    fn reserved(&mut self, range: PhysRange, caller: &str, image: Option<&KernelImage>) {
        let efi = &mut self.efi;
        match caller {
            "efi_memblock_x86_reserve_range" => efi.map_at = Some(range),
            "efi_memattr_init" => efi.memory_attributes = Some(range),
            "efi_tpm_eventlog_init" => efi.tpm_logs.push(range),
            "efi_config_parse_tables" => efi.mem_reserve.push(range),
            "efi_mem_reserve" => self.kept(range),
            "efi_reserve_boot_services" => self.boot_services.push(EfiEntry {
                kind: EfiKind::BootServicesData,
                attributes: attribute::WB,
                range,
            }),
            // The image is reserved by the same function.
            "arm64_memblock_init" if image.is_some_and(|i| i.text_start != range.start) => {
                self.initrd.get_or_insert(range);
            }
            "reserve_initrd_mem" => self.initrd = Some(range),
            _ => {}
        }
    }

    /// `efi_mem_reserve` is for the boot logo once ACPI's tables are known, before that for one of two tables.
    fn kept(&mut self, range: PhysRange) {
        if self.acpi {
            self.efi.boot_logo.get_or_insert(range);
        } else if !self.efi.esrt.is_some_and(|esrt| range.overlaps(&esrt)) {
            self.efi.mok_variables.get_or_insert(range);
        }
    }

    fn other(&mut self, text: &str) {
        if let Some((place, what)) = text.strip_prefix("e820: update [mem ").and_then(|t| t.split_once("] "))
        {
            let range = place.split_once('-').and_then(|(first, last)| closed(first, last));
            match (range, what) {
                // Once for the kernel's map, once for the one that kexec hands on.
                (Some(range), "usable ==> usable") if self.setup_data.last() != Some(&range) => {
                    self.setup_data.push(range);
                }
                (Some(range), "usable ==> reserved") if self.map_copied => self.kept(range),
                _ => {}
            }
            self.map_copied = false;
        } else if text.starts_with("memblock_phys_alloc_range: ") {
            self.map_copied = text.contains(" efi_memmap_alloc");
        } else if let Some(rest) = text.strip_prefix("esrt: Reserving ESRT space from ") {
            let ends = rest.trim_end_matches('.').split_once(" to ");
            let ends = ends.and_then(|(start, end)| hex(start).zip(hex(end)));
            self.efi.esrt = ends.map(|(start, end)| PhysRange::new(PhysAddr::new(start), PhysAddr::new(end)));
        }
    }
}

/// A RAM disk is reserved in whole pages, but only the pages that it fills are freed: where that is one less, it ends
/// somewhere in the last.
fn without_padding(range: PhysRange, dmesg: &str) -> PhysRange {
    let freed = dmesg.lines().find_map(|line| {
        let kib = crate::facts::body(line).strip_prefix("Freeing initrd memory: ")?.strip_suffix('K')?;
        kib.parse::<u64>().ok()?.checked_mul(1024)
    });
    match freed {
        Some(bytes) if bytes < range.len() => PhysRange::from_len(range.start, bytes + 1),
        _ => range,
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

fn closed(first: &str, last: &str) -> Option<PhysRange> {
    Some(PhysRange::new(PhysAddr::new(hex(first)?), PhysAddr::new(hex(last)?.checked_add(1)?)))
}

/// What EFI and ACPI add to a machine with a device tree.
pub(super) struct TreeExtras {
    pub(super) efi: OwnedEfi,
    pub(super) acpi: Option<OwnedArmAcpi>,
    pub(super) initrd: Option<PhysRange>,
}

impl Capture {
    /// EFI's map and tables, and ACPI's if the kernel used them: it shows their files only then.
    pub(super) fn tree_extras(
        &self,
        tree: &DeviceTree<'_>,
        image: &KernelImage,
    ) -> Result<TreeExtras, Fault> {
        let log = EfiLog::read(&self.dmesg, Some(image));
        if log.efi.map.is_empty() && matches!(EfiParams::read(tree), Ok(Some(_))) {
            let place = self.dir.join("dmesg.txt").display().to_string();
            let expected = "a log of a boot with `efi=debug`";
            return Err(Fault::missing("EFI's memory map is not in the log", place, expected));
        }
        let acpi = self.acpi.contains_key("APIC").then(|| self.arm_acpi()).transpose()?;
        Ok(TreeExtras { efi: log.efi, acpi, initrd: log.initrd })
    }

    fn arm_acpi(&self) -> Result<OwnedArmAcpi, Fault> {
        let mut out = OwnedArmAcpi::default();
        let within = |name: &str| {
            let path = self.dir.join(name).display().to_string();
            move |fault: Fault| fault.within(path)
        };
        if let Some(bytes) = self.acpi.get("APIC") {
            parse_madt(bytes, &mut |entry| {
                if let MadtEntry::Gicc { cpu, mpidr } = entry
                    && cpu.enabled
                {
                    out.cpus.push(ArmCpu { uid: cpu.uid, mpidr });
                }
            })
            .map_err(|e| within("APIC")(Fault::new(e.to_string(), "", "a MADT")))?;
        }
        // The processor that boots is number 0, wherever the table has it.
        let boots = self.dmesg.lines().find_map(|line| match classify(line) {
            Line::Other(text) => {
                hex(text.strip_prefix("Booting Linux on physical CPU ")?.split(' ').next()?)
            }
            _ => None,
        });
        if let Some(at) = out.cpus.iter().position(|c| Some(c.mpidr & 0xff_00ff_ffff) == boots) {
            out.cpus[..=at].rotate_right(1);
        }
        if let Some(bytes) = self.acpi.get("SRAT") {
            let mut pc = OwnedPc::default();
            read_srat(&mut pc, bytes).map_err(within("SRAT"))?;
            (out.srat_memory, out.srat_cpus) = (pc.srat_memory, pc.srat_cpus);
        }
        if let Some(bytes) = self.acpi.get("SLIT") {
            out.slit = Some(read_slit(bytes).map_err(within("SLIT"))?);
        }
        Ok(out)
    }

    /// A reservation of that length in the first list that the log shows.
    pub(super) fn logged_reserved_of_len(&self, len: u64) -> Option<PhysAddr> {
        let lines = self.dmesg.lines().map(crate::facts::body);
        let mut lines = lines.skip_while(|l| *l != "MEMBLOCK configuration:").skip(1);
        lines.by_ref().take_while(|l| l.starts_with(' ')).find_map(|line| {
            let (_, range) = line.trim().strip_prefix("reserved[")?.split_once('[')?;
            let (first, last) = range.split_once(']')?.0.split_once('-')?;
            closed(first, last).filter(|r| r.len() == len).map(|r| r.start)
        })
    }
}

#[cfg(test)]
mod tests;
