//! The `iomem` group: physical address ranges that are in use before any driver asks for one.
//!
//! What drivers request is no matter of the boot, nor are buses and the ROMs of adapters. Of the rest the file has names and addresses, and each lies below what it did
//! there, whatever of a driver's is in between.
//!
//! With EFI a driver may have memory reserved for the next kernel as well (arm64's interrupt controller does so with its tables), which has the same name as
//! the boot's reservations. The log has those calls by their function's name.

use super::compare::Tally;
use crate::facts::Group;
use crate::fault::Fault;
use crate::show::iomem::{IoMem, Resource};
use pagewright::Boot;
use pagewright_view::iomem::of;

/// Names of what a boot enters.
const NAMES: [&str; 18] = [
    "System RAM",
    "RAM buffer",
    "Reserved",
    "reserved",
    "Crash kernel",
    "ACPI Tables",
    "ACPI Non-volatile Storage",
    "Unusable memory",
    "Persistent Memory",
    "Persistent Memory (legacy)",
    "Soft Reserved",
    "Unknown E820 type",
    "System ROM",
    "Video RAM area",
    "Local APIC",
    "ITCM RAM",
    "DTCM RAM",
    "Kernel bss",
];

fn is_the_boots(resource: &Resource) -> bool {
    let numbered = ["Kernel ", "IOAPIC "];
    NAMES.contains(&resource.name.as_str()) || numbered.iter().any(|start| resource.name.starts_with(start))
}

/// Compares the file with what the boot has entered when it is over. `log` tells what drivers had reserved.
///
/// # Errors
/// A [`Fault`] if the lines that we would show are none.
pub fn iomem(captured: &IoMem, log: &str, boot: &Boot<'_>) -> Result<Tally, Fault> {
    let mut text = String::new();
    of(&mut text, boot).map_err(|e| Fault::caused(e, "iomem", ""))?;
    let drivers = reserved_by_drivers(log);
    let mut captured = captured.clone();
    captured.resources.retain(|r| r.name != "reserved" || !drivers.contains(&(r.start, r.last)));
    Ok(compare(&captured, &IoMem::parse(&text)?))
}

/// First and last address of what was reserved by `efi_mem_reserve_iomem`.
fn reserved_by_drivers(log: &str) -> Vec<(u64, u64)> {
    let calls = log.lines().filter(|line| line.contains("] efi_mem_reserve_iomem+"));
    let range = |line: &str| {
        let (_, rest) = line.split_once("memblock_reserve: [0x")?;
        let (start, last) = rest.split_once(']')?.0.split_once("-0x")?;
        Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(last, 16).ok()?))
    };
    calls.filter_map(range).collect()
}

/// Of each name its resources in order, each with what it lies below.
fn known(file: &IoMem) -> Vec<(&str, String)> {
    let mut above: Vec<&Resource> = Vec::new();
    let mut out = Vec::new();
    for resource in &file.resources {
        above.retain(|parent| parent.depth < resource.depth);
        if is_the_boots(resource) {
            let below = above.last().map(|parent| format!(" below {}", parent.name)).unwrap_or_default();
            out.push((
                resource.name.as_str(),
                format!("{:08x}-{:08x}{below}", resource.start, resource.last),
            ));
            above.push(resource);
        }
    }
    out
}

fn compare(captured: &IoMem, ours: &IoMem) -> Tally {
    let (captured, ours) = (known(captured), known(ours));
    let mut names: Vec<&str> = captured.iter().chain(&ours).map(|&(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    let mut tally = Tally::default();
    for name in names {
        let of = |file: &[(&str, String)]| -> Vec<String> {
            file.iter().filter(|(other, _)| *other == name).map(|(_, value)| value.clone()).collect()
        };
        let (captured, ours) = (of(&captured), of(&ours));
        for n in 0..captured.len().max(ours.len()) {
            tally.check(
                Group::Iomem,
                &format!("{name} {}", n + 1),
                captured.get(n).cloned(),
                ours.get(n).cloned(),
            );
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::{IoMem, compare, reserved_by_drivers};

    const LINUX: &str = "\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
000a0000-000bffff : PCI Bus 0000:00
  000a0000-000bffff : Video RAM area
000c0000-000c9bff : Video ROM
000f0000-000fffff : Reserved
  000f0000-000fffff : System ROM
b0000000-bfffffff : PCI MMCONFIG 0000 [bus 00-ff]
  b0000000-bfffffff : Reserved
    b0000000-bfffffff : pnp 00:05
";
    const OURS: &str = "\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
000a0000-000bffff : Video RAM area
000f0000-000fffff : Reserved
  000f0000-000fffff : System ROM
b0000000-bfffffff : Reserved
";

    fn unequal(theirs: &str, ours: &str) -> Vec<String> {
        let read = |text| IoMem::parse(text).unwrap();
        compare(&read(theirs), &read(ours)).differences.into_iter().map(|d| d.key).collect()
    }

    #[test]
    fn what_drivers_and_buses_add_is_left_out() {
        assert!(unequal(LINUX, OURS).is_empty());
        assert_eq!(compare(&IoMem::parse(LINUX).unwrap(), &IoMem::parse(OURS).unwrap()).facts, 6);
    }

    #[test]
    fn addresses_parents_and_names_count() {
        assert_eq!(unequal(LINUX, &OURS.replace("9fbff", "9ffff")), ["System RAM 1"]);
        assert_eq!(unequal(LINUX, &OURS.replace("  000f0000", "000f0000")), ["System ROM 1"]);
        assert_eq!(
            unequal(LINUX, &OURS.replace("Video RAM area", "RAM buffer")),
            ["RAM buffer 1", "Video RAM area 1"]
        );
        assert_eq!(
            unequal(LINUX, ""),
            ["Reserved 1", "Reserved 2", "Reserved 3", "System RAM 1", "System ROM 1", "Video RAM area 1"]
        );
        assert_eq!(unequal("", OURS).len(), 6);
    }

    #[test]
    fn what_drivers_keep_for_the_next_kernel_is_known_from_the_log() {
        let log = "\
[    0.000000] memblock_reserve: [0x000000004017c000-0x000000004017cfff] efi_mem_reserve_iomem+0x88/0xac
[    0.000000] memblock_reserve: [0x0000000041000000-0x0000000041ffffff] arm64_memblock_init+0x88/0xac
[    0.134912] memblock_reserve: [0x00000000401d0000-0x00000000401dffff] efi_mem_reserve_iomem+0x88/0xac
";
        let expected = [(0x4017_c000, 0x4017_cfff), (0x401d_0000, 0x401d_ffff)];
        assert_eq!(reserved_by_drivers(log), expected);
    }
}
