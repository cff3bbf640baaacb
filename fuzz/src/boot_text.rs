//! Text: pasted boot logs, command lines, kernel configurations.

use crate::{said, shown};
use pagewright_addr::{PageShift, Pfn, PhysAddr};
use pagewright_firmware::cmdline::{CommandLine, memparse};
use pagewright_firmware::config::KernelConfig;
use pagewright_firmware::dmesg::{Line, classify};
use pagewright_firmware::e820::{self, E820Kind, E820Table};
use pagewright_firmware::{Arch, acpi, efi};

const ARCHES: [Arch; 4] = [Arch::X86_64, Arch::I386, Arch::Arm64, Arch::Arm];

/// Reads a pasted log line by line, and makes a map of the e820 lines in it.
pub fn dmesg(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut table = E820Table::new();
    for line in text.lines() {
        let class = classify(line);
        shown(class);
        if let Line::E820(line) = class {
            said(table.add(line.entry).map_or_else(|error| error.to_string(), |()| line.entry.to_string()));
        }
        shown(e820::parse_map_line(line));
        shown(efi::parse_dmesg_line(line));
        shown(acpi::parse_srat_line(line));
    }
    sanitized(table.clone());
    if let Ok(mut map) = E820Table::from_firmware(table.entries()) {
        let update = map.range_update(PhysAddr::new(0x1000), u64::MAX / 2, E820Kind::Ram, E820Kind::Reserved);
        shown(update);
        shown(map.range_remove(PhysAddr::new(0x9_f000), 1 << 40, Some(E820Kind::Reserved)));
        shown(map.end_of_ram_pfn(Pfn::new(u64::MAX >> PageShift::SHIFT_4K.get())));
        sanitized(map);
    }
}

/// What sanitising promises: sorted, no overlap, nothing empty.
fn sanitized(mut table: E820Table) {
    if table.entries().len() < 2 || table.sanitize().is_err() {
        return;
    }
    for entry in table.iter() {
        assert!(entry.size > 0, "an empty entry is left");
        said(entry);
    }
    for pair in table.entries().windows(2) {
        let end = pair[0].start.get().checked_add(pair[0].size).expect("an entry wraps");
        assert!(end <= pair[1].start.get(), "entries overlap or are out of order");
    }
    let once = table.clone();
    if table.entries().len() >= 2 && table.sanitize().is_ok() {
        assert_eq!(table, once, "sanitising twice is not sanitising once");
    }
}

/// Reads a kernel command line as each architecture would.
pub fn cmdline(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let line = CommandLine::new(&text);
    for param in line.params() {
        shown(param);
        if let Some(value) = param.value {
            let (size, rest) = memparse(value);
            assert!(value.ends_with(rest), "memparse left something that was not there");
            shown(size);
        }
    }
    for arch in ARCHES {
        let (params, diagnostics) = line.parse(arch);
        shown(params.mem_limit());
        params.unknown_params().for_each(shown);
        shown(params);
        diagnostics.iter().for_each(said);
    }
}

/// Reads a kernel's `.config` over the defaults of each architecture.
pub fn kernel_config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for arch in ARCHES {
        let mut config = KernelConfig::for_arch(arch);
        match config.apply(&text) {
            Ok(_) => {
                if let Err(error) = config.validate() {
                    said(error);
                }
            }
            Err(error) => said(error),
        }
        shown(config);
    }
}
