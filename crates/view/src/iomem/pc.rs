//! A PC's resources: the memory map's entries, and what every PC has without a driver.
//!
//! Linux enters them one after the other (`probe_roms`, `e820__reserve_resources`, `i386_reserve_resources`, `e820__reserve_resources_late`,
//! `ioapic_insert_resources`, `lapic_insert_resource`). A later one that holds all of one before it becomes its parent, one that lies inside goes below it, and one that
//! overlaps a part of it is left out. What the ROMs of adapters say is in memory that only the machine itself can read: they are not listed.

use super::{Child, SYSTEM_RAM, See, root};
use arrayvec::ArrayVec;
use core::fmt;
use pagewright::Boot;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::e820::E820Kind;
use pagewright_firmware::{Arch, Firmware, Pc};

/// How many resources there can be besides the map's.
pub(super) const MOST: usize = 3 + IO_APICS.len();

/// Bytes of an IO APIC's registers (`IO_APIC_SLOT_SIZE`), and of the local one's.
const IO_APIC_BYTES: u64 = 1 << 10;
const LOCAL_APIC_BYTES: u64 = 4 << 10;

const SYSTEM_ROM: PhysRange = PhysRange::new(PhysAddr::new(0xf_0000), PhysAddr::new(0x10_0000));
const VIDEO_RAM: PhysRange = PhysRange::new(PhysAddr::new(0xa_0000), PhysAddr::new(0xc_0000));

macro_rules! numbered {
    ($name:literal: $($n:literal)*) => { [$(concat!($name, " ", $n)),*] };
}

/// Names of IO APICs, as many as Linux knows (MAX_IO_APICS; 64 on i386).
const IO_APICS: [&str; 128] = numbered!("IOAPIC":
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39
    40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76
    77 78 79 80 81 82 83 84 85 86 87 88 89 90 91 92 93 94 95 96 97 98 99 100 101 102 103 104 105 106 107 108 109
    110 111 112 113 114 115 116 117 118 119 120 121 122 123 124 125 126 127);

/// When a resource is entered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Before the map's entries.
    First,
    /// After them, and only where nothing is.
    IfFree,
    /// After all of them.
    Last,
}

fn overlaps_partly(a: PhysRange, b: PhysRange) -> bool {
    a.overlaps(&b) && !a.contains_range(&b) && !b.contains_range(&a)
}

/// What there is besides the map's entries, in the order of addresses.
fn others(boot: &Boot<'_>, entries: impl Iterator<Item = PhysRange> + Clone) -> ArrayVec<Child, MOST> {
    let mut all = ArrayVec::<(When, Child), MOST>::new();
    all.push((When::First, (SYSTEM_ROM, "System ROM")));
    let limit = match boot.machine.arch {
        Arch::I386 => {
            all.push((When::IfFree, (VIDEO_RAM, "Video RAM area")));
            IO_APICS.len() / 2
        }
        _ => IO_APICS.len(),
    };
    if let Firmware::Pc(pc) = &boot.machine.firmware {
        for (at, name) in pc.io_apics.iter().zip(IO_APICS).take(limit) {
            // A log may count them without saying where they are.
            if *at != PhysAddr::ZERO {
                all.push((When::Last, (PhysRange::from_len(*at, IO_APIC_BYTES), name)));
            }
        }
    }
    if !boot.machine.cpus.x2apic && !boot.params.no_local_apic {
        all.push((When::Last, (PhysRange::from_len(Pc::LOCAL_APIC, LOCAL_APIC_BYTES), "Local APIC")));
    }
    let fits = |&(when, (range, _)): &(When, Child)| match when {
        When::First => true,
        When::IfFree => !entries.clone().any(|entry| entry.overlaps(&range)),
        When::Last => !entries.clone().any(|entry| overlaps_partly(entry, range)),
    };
    let mut fitting: ArrayVec<Child, MOST> = all.into_iter().filter(fits).map(|(_, child)| child).collect();
    fitting.sort_unstable_by_key(|(range, _)| range.start);
    fitting
}

/// One root for each entry of the memory map or what holds all of it, and a buffer after RAM that ends in the middle of something.
pub(super) fn roots(see: &mut See<'_>, boot: &Boot<'_>) -> fmt::Result {
    let Some(map) = boot.e820.as_ref() else { return Ok(()) };
    // A resource is as wide as a physical address: without PAE what ends above 4 GiB is not entered.
    let most = if boot.phys_addr_is_64bit() { u64::MAX } else { u64::from(u32::MAX) };
    let fits =
        |range: &PhysRange| range.end.get().saturating_sub(1) <= most && !overlaps_partly(SYSTEM_ROM, *range);
    let shown = || map.entries().iter().map(|e| (e.range(), e.kind)).filter(|(r, _)| fits(r));
    let others = others(boot, shown().map(|(range, _)| range));
    // The system's ROM is there before an entry of its size, the others come after.
    let above = |&(range, _): &Child, entry: PhysRange| {
        range.contains_range(&entry) && (range != entry || range != SYSTEM_ROM)
    };
    let is_root =
        |&other: &Child| !shown().any(|(entry, _)| entry.contains_range(&other.0) && !above(&other, entry));
    let mut alone = others.iter().copied().filter(is_root).peekable();
    let mut parent: Option<Child> = None;
    for (range, kind) in shown() {
        let name = e820_name(kind);
        while let Some(other) = alone.next_if(|other| other.0.start < range.start || above(other, range)) {
            see(0, other.0, other.1)?;
            parent = Some(other);
        }
        if parent.is_some_and(|parent| above(&parent, range)) {
            see(1, range, name)?;
            continue;
        }
        root(see, boot, (range, name), others.iter().copied())?;
        if name == SYSTEM_RAM {
            // Only up to what comes next.
            let next = shown().map(|(r, _)| r.start).filter(|s| *s >= range.end).min();
            let end = range.end.align_up(buffer_align(range.end)).min(next.unwrap_or(PhysAddr::MAX));
            if range.end < end {
                root(see, boot, (PhysRange::new(range.end, end), "RAM buffer"), others.iter().copied())?;
            }
        }
    }
    alone.try_for_each(|(range, name)| see(0, range, name))
}

fn e820_name(kind: E820Kind) -> &'static str {
    match kind {
        E820Kind::Ram => SYSTEM_RAM,
        E820Kind::Acpi => "ACPI Tables",
        E820Kind::Nvs => "ACPI Non-volatile Storage",
        E820Kind::Unusable => "Unusable memory",
        E820Kind::Pmem => "Persistent Memory",
        E820Kind::Pram => "Persistent Memory (legacy)",
        E820Kind::SoftReserved => "Soft Reserved",
        E820Kind::ReservedKern => SYSTEM_RAM,
        E820Kind::Reserved => "Reserved",
        E820Kind::Other(_) => "Unknown E820 type",
    }
}

/// Devices are kept away from what follows RAM, up to this alignment (`ram_alignment`).
fn buffer_align(end: PhysAddr) -> u64 {
    match end.get() >> 20 {
        0 => 64 << 10,
        1..16 => 1 << 20,
        _ => 64 << 20,
    }
}
