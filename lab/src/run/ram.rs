//! RAM for the page tables of a hosted machine.

use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::{Arch, Firmware, Machine};
use pagewright_sim::{EntryWidth, PhysMemory};

/// RAM above which page tables are only counted: by pages of 4 KiB, a linear map of 64 GiB takes 128 MiB of tables.
const BUILT_UP_TO: u64 = 64 << 30;

/// What the firmware calls RAM, whatever the kernel makes of it.
fn firmware_ram(machine: &Machine<'_>) -> Vec<PhysRange> {
    let efi = |map: &[pagewright_firmware::efi::EfiEntry]| map.iter().map(|e| e.range).collect::<Vec<_>>();
    match &machine.firmware {
        Firmware::Pc(pc) => {
            let mut ram = efi(pc.efi.map);
            ram.extend(pc.e820.iter().map(|e| PhysRange::from_len(e.start, e.size)));
            ram
        }
        Firmware::DeviceTree { tree, memory, efi: left, .. } => {
            let mut ram = efi(left.map);
            ram.extend(memory.iter().copied());
            ram.extend(tree.memory_banks().map(|b| b.range));
            ram
        }
        Firmware::Atags(tags) => tags.memory.to_vec(),
    }
}

/// How wide the entries of the machine's page tables are.
fn width(machine: &Machine<'_>) -> EntryWidth {
    match machine.arch {
        Arch::Arm | Arch::I386 if !machine.config.lpae => EntryWidth::Bits32,
        _ => EntryWidth::Bits64,
    }
}

/// One past the last physical address that an entry can hold.
fn reach(machine: &Machine<'_>) -> PhysAddr {
    let bits = match machine.arch {
        Arch::X86_64 => 52,
        Arch::Arm64 => u32::from(machine.config.pa_bits).min(52),
        Arch::I386 if machine.config.lpae => 52,
        Arch::Arm if machine.config.lpae => 40,
        Arch::I386 | Arch::Arm => 32,
    };
    PhysAddr::new(1 << bits)
}

/// The machine's RAM, empty; `None` where it is so large that page tables are better counted than built, where the firmware
/// tells of none, and where the kernel lies beyond what an entry can hold.
///
/// It is widened to whole gigabytes: what a command line adds to the firmware's memory is mostly next to it, and
/// what is never written takes no memory of the host's.
pub(super) fn table_memory(machine: &Machine<'_>) -> Option<PhysMemory> {
    const GIB: u64 = 1 << 30;
    let reach = reach(machine);
    let mut ram = firmware_ram(machine);
    ram.retain(|r| !r.is_empty() && r.start < reach);
    let image = PhysRange::new(machine.image.load_start(), machine.image.end);
    if ram.is_empty() || image.end > reach {
        return None;
    }
    ram.push(image);
    let wide = ram.iter().map(|r| PhysRange::new(r.start.align_down(GIB), r.end.min(reach).align_up(GIB)));
    let bytes: u64 = ram.iter().map(PhysRange::len).fold(0, u64::saturating_add);
    (bytes <= BUILT_UP_TO).then(|| PhysMemory::new(wide, width(machine)))
}
