//! A PC's firmware data, written here as the specifications have it.

use super::acpi::{Acpi, AcpiFault};
use super::legacy;
use super::pvh::{self, PvhError};
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::acpi::AcpiError;
use std::string::ToString;
use std::vec::Vec;

/// 4 MiB of physical memory.
struct Memory(Vec<u8>);

impl Memory {
    fn new() -> Self {
        Self(std::vec![0; 4 << 20])
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn number(&mut self, at: usize, len: usize, value: u64) {
        self.put(at, &value.to_le_bytes()[..len]);
    }

    /// Makes the bytes from `at` on add up to zero by the one at `sum`.
    fn sum(&mut self, at: usize, len: usize, sum: usize) {
        self.0[at + sum] = 0;
        let all = self.0[at..at + len].iter().fold(0_u8, |n, b| n.wrapping_add(*b));
        self.0[at + sum] = all.wrapping_neg();
    }

    fn table(&mut self, at: usize, signature: &[u8; 4], body: &[u8]) {
        self.put(at, signature);
        self.number(at + 4, 4, 36 + body.len() as u64);
        self.put(at + 36, body);
        self.sum(at, 36 + body.len(), 9);
    }

    fn read(&self, at: PhysAddr, len: u64) -> Option<&[u8]> {
        let start = usize::try_from(at.get()).ok()?;
        self.0.get(start..start.checked_add(usize::try_from(len).ok()?)?)
    }
}

const INFO: usize = 0x2000;
const MAP: usize = 0x3000;

/// A hand-over with a map of two entries, a command line and a RAM disk.
fn handed_over() -> Memory {
    let mut m = Memory::new();
    for (at, len, value) in [
        (0, 4, 0x336e_c578),
        (4, 4, 1),
        (12, 4, 1),
        (16, 8, 0x2800),
        (24, 8, 0x2900),
        (32, 8, 0xf_0000),
        (40, 8, MAP as u64),
        (48, 4, 2),
    ] {
        m.number(INFO + at, len, value);
    }
    m.number(0x2800, 8, 0x30_0000);
    m.number(0x2808, 8, 0x1234);
    m.put(0x2900, b"show=zoneinfo quiet\0rest");
    m.number(MAP + 8, 8, 0x9_fc00);
    m.number(MAP + 16, 4, 1);
    m.number(MAP + 24, 8, 0xf_0000);
    m.number(MAP + 32, 8, 0x1_0000);
    m.number(MAP + 40, 4, 2);
    m
}

fn parsed(m: &Memory) -> Result<(usize, std::string::String, Option<PhysRange>), PvhError> {
    let read = |at, len| m.read(at, len);
    let h = pvh::parse(&read, PhysAddr::new(INFO as u64))?;
    assert_eq!(h.rsdp, Some(PhysAddr::new(0xf_0000)));
    Ok((h.map.len(), h.cmdline.to_string(), h.initrd))
}

#[test]
fn a_hand_over_is_read_as_xen_describes_it() {
    let (entries, cmdline, initrd) = parsed(&handed_over()).unwrap();
    assert_eq!((entries, cmdline.as_str()), (2, "show=zoneinfo quiet"));
    assert_eq!(initrd, Some(PhysRange::from_len(PhysAddr::new(0x30_0000), 0x1234)));
}

#[test]
fn a_hand_over_that_cannot_be_is_refused_with_what_stood_there() {
    let mut wrong = handed_over();
    wrong.number(INFO, 4, 7);
    assert_eq!(parsed(&wrong).unwrap_err(), PvhError::Magic(7));
    let mut old = handed_over();
    old.number(INFO + 4, 4, 0);
    assert_eq!(parsed(&old).unwrap_err(), PvhError::Version(0));
    for count in [0, 129, u64::from(u32::MAX)] {
        let mut many = handed_over();
        many.number(INFO + 48, 4, count);
        assert_eq!(parsed(&many).unwrap_err(), PvhError::Entries(count));
    }
    let mut far = handed_over();
    far.number(INFO + 40, 8, u64::MAX - 3);
    assert!(matches!(parsed(&far).unwrap_err(), PvhError::Unreachable("memory map", _)));
}

/// Root pointer at 0xf0000, root table at 0x10000, FACP, APIC, SRAT and SLIT behind it.
fn with_acpi() -> Memory {
    let mut m = Memory::new();
    m.put(0xf_0000, b"RSD PTR ");
    m.number(0xf_0010, 4, 0x1_0000);
    m.sum(0xf_0000, 20, 8);
    let list: Vec<u8> =
        [0x1_1000_u32, 0x1_2000, 0, 0x1_3000, 0x1_4000].iter().flat_map(|a| a.to_le_bytes()).collect();
    m.table(0x1_0000, b"RSDT", &list);
    let mut fadt = [0_u8; 80];
    fadt[..8].copy_from_slice(&[0, 0x60, 1, 0, 0, 0x50, 1, 0]);
    m.table(0x1_1000, b"FACP", &fadt);
    m.table(0x1_5000, b"DSDT", &[1, 2, 3]);
    m.put(0x1_6000, b"FACS");
    m.number(0x1_6004, 4, 64);
    let madt = [
        &[0, 0, 0xe0, 0xfe, 1, 0, 0, 0][..],
        &[0, 8, 0, 0, 1, 0, 0, 0],
        &[0, 8, 1, 5, 1, 0, 0, 0],
        &[0, 8, 2, 6, 0, 0, 0, 0],
        &[1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0],
    ];
    m.table(0x1_2000, b"APIC", &madt.concat());
    let mut srat = std::vec![0_u8; 12];
    srat[0] = 1;
    srat.extend([0, 16, 1, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    m.table(0x1_3000, b"SRAT", &srat);
    m.table(0x1_4000, b"SLIT", &[2, 0, 0, 0, 0, 0, 0, 0, 10, 20, 20, 10]);
    m
}

fn acpi(m: &Memory) -> (Acpi, Result<(), AcpiFault>) {
    let mut acpi = Acpi::new();
    let read = |at, len| m.read(at, len);
    let done = acpi.read(&read, PhysAddr::new(0xf_0000));
    (acpi, done)
}

#[test]
fn tables_are_found_in_the_order_in_which_the_kernel_reserves_them() {
    let (acpi, done) = acpi(&with_acpi());
    done.unwrap();
    let starts: Vec<u64> = acpi.ranges.iter().map(|r| r.start.get()).collect();
    assert_eq!(starts, [0x1_1000, 0x1_5000, 0x1_6000, 0x1_2000, 0x1_3000, 0x1_4000]);
    assert_eq!(acpi.ranges[2].len(), 64);
    assert_eq!((&acpi.apic_ids[..], acpi.madt.enabled, acpi.madt.hotplug), (&[0, 5][..], 2, 1));
    assert_eq!(&acpi.io_apics[..], [PhysAddr::new(0xfec0_0000)]);
    let numa = acpi.numa();
    assert_eq!((numa.cpus.len(), numa.cpus[0].pxm, numa.cpus[0].apic_id), (1, 1, 5));
    assert_eq!(numa.distances.and_then(|d| d.distance(0, 1)), Some(20));
    assert!(!acpi.hpet);
}

#[test]
fn the_log_tells_where_tables_are_as_the_kernel_does() {
    let mut m = with_acpi();
    m.put(0xf_0009, b"BOCHS ");
    m.sum(0xf_0000, 20, 8);
    m.put(0x1_3008, &[1, 0]);
    m.put(0x1_300a, b"BOCHS BXPC    ");
    m.number(0x1_3018, 4, 1);
    m.put(0x1_301c, b"BXPC");
    m.number(0x1_3020, 4, 1);
    let (acpi, done) = acpi(&m);
    done.unwrap();
    let mut lines = Vec::new();
    acpi.log(&mut |text| lines.push(text.to_string()), &|_| Some(0x17_0020));
    let has = |line: &str| assert!(lines.iter().any(|l| l == line), "{line}: {lines:#?}");
    has("ACPI: RSDP 0x00000000000F0000 000014 (v00 BOCHS )");
    has("ACPI: SRAT 0x0000000000013000 000040 (v01 BOCHS  BXPC     00000001 BXPC 00000001)");
    has("ACPI: FACS 0x0000000000016000 000040");
    has("ACPI: Reserving SRAT table memory at [mem 0x00013000-0x0001303f]");
    has("IOAPIC[0]: apic_id 0, version 32, address 0xfec00000, GSI 0-23");
}

#[test]
fn damaged_tables_are_refused_by_their_address() {
    let mut m = with_acpi();
    m.0[0xf_0008] ^= 1;
    assert_eq!(acpi(&m).1, Err(AcpiFault::NoRoot(PhysAddr::new(0xf_0000))));
    let mut m = with_acpi();
    m.0[0x1_0024] ^= 1;
    assert_eq!(acpi(&m).1, Err(AcpiFault::Checksum(PhysAddr::new(0x1_0000))));
    let mut m = with_acpi();
    m.number(0x1_3004, 4, u32::MAX.into());
    assert_eq!(acpi(&m).1, Err(AcpiFault::Unreachable(PhysAddr::new(0x1_3000))));
    let mut m = with_acpi();
    m.0[0x1_2000 + 45] = 1;
    let wrong = acpi(&m).1.unwrap_err();
    assert!(
        matches!(wrong, AcpiFault::Table(at, AcpiError::Entry { .. }) if at.get() == 0x1_2000),
        "{wrong}"
    );
}

#[test]
fn any_byte_of_the_tables_may_be_wrong() {
    let right = with_acpi();
    let places = (0xf_0000..0xf_0014).chain(0x1_0000..0x1_0040).chain(0x1_1000..0x1_1074);
    for at in places.chain(0x1_2000..0x1_2050).chain(0x1_3000..0x1_3040).chain(0x1_4000..0x1_4030) {
        for value in [0, 0x7f, 0xff] {
            let mut m = Memory(right.0[..0x11_0000].to_vec());
            m.0[at] = value;
            // Whatever comes of it, it comes back.
            let _ = acpi(&m);
        }
    }
}

#[test]
fn the_bios_tells_its_data_and_its_processors() {
    let mut m = Memory::new();
    m.number(0x40e, 2, 0x9fc0);
    let find = |m: &Memory| {
        let read = |at, len| m.read(at, len);
        (legacy::ebda(&read), legacy::mp_table(&read))
    };
    assert_eq!(find(&m), (Some(PhysAddr::new(0x9_fc00)), None));
    m.put(0xf_5b20, b"_MP_");
    m.number(0xf_5b24, 4, 0xf_5b40);
    m.put(0xf_5b28, &[1, 4]);
    m.sum(0xf_5b20, 16, 10);
    m.put(0xf_5b40, b"PCMP");
    m.number(0xf_5b44, 2, 0x100);
    let table = find(&m).1.unwrap();
    assert_eq!((table.floating_pointer.start.get(), table.floating_pointer.len()), (0xf_5b20, 16));
    assert_eq!(table.table, Some(PhysRange::from_len(PhysAddr::new(0xf_5b40), 0x100)));
    m.0[0xf_5b2b] = 1;
    assert_eq!(find(&m).1, None, "the sum is wrong");
}
