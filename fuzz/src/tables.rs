//! Binary tables: ACPI and ATAGs.

use crate::{said, shown};
use pagewright_firmware::acpi::{self, Slit};
use pagewright_firmware::atags::Atags;

/// Reads the bytes as each ACPI table that matters for memory.
pub fn acpi(data: &[u8]) {
    match acpi::Table::parse(data) {
        Ok(table) => shown(table.checksum_ok()),
        Err(error) => said(error),
    }
    if let Err(error) = acpi::parse_srat(data, &mut |entry| shown(entry)) {
        said(error);
    }
    match acpi::parse_madt(data, &mut |entry| shown(entry)) {
        Ok(madt) => shown(madt.possible()),
        Err(error) => said(error),
    }
    match Slit::parse(data) {
        Ok(slit) => {
            let count = slit.localities();
            assert!(u64::from(count) * u64::from(count) <= data.len() as u64, "more distances than bytes");
            assert!(slit.distance(count, 0).is_none(), "a distance from a locality that is not there");
            for to in 0..count {
                assert!(slit.distance(0, to).is_some(), "a distance is missing");
            }
            shown(slit.is_valid());
        }
        Err(error) => said(error),
    }
}

/// Reads a list of ATAGs and writes it again: what was read must come out the same.
pub fn atags(data: &[u8]) {
    let atags = match Atags::parse(data) {
        Ok(atags) => atags,
        Err(error) => return said(error),
    };
    shown(&atags);
    let mut written = vec![0; data.len() + 4096];
    if let Ok(len) = atags.write(&mut written) {
        let again = Atags::parse(&written[..len]).expect("what was written can be read");
        // Tags of other kinds are counted, not kept.
        assert_eq!(again, Atags { others: 0, ..atags });
    }
}
