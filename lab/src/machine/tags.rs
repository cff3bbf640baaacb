//! Machines from a list of ATAGs, the way boot loaders described arm boards before there were device trees.

use super::{OwnedFirmware, OwnedMachine};
use crate::fault::Fault;
use pagewright_addr::PhysRange;
use pagewright_firmware::atags::{Atags, MAX_BANKS};
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_firmware::{Arch, BuildFacts, Cpus};
use pagewright_kspace::Version;

const EXPECTED: &str = "a list of ATAGs, little-endian words from ATAG_CORE to ATAG_NONE";

/// A machine from a list: the image at the start of its RAM, RAM disk and command line as the list says.
///
/// # Errors
/// A [`Fault`] if the bytes are no list, or the kernel is not one for arm.
pub fn from_atags(name: &str, list: Vec<u8>, flavour: Flavour) -> Result<OwnedMachine, Fault> {
    if flavour.arch() != Arch::Arm {
        let what = format!("ATAGs for {}", super::arch_name(flavour.arch()));
        return Err(Fault::new(what, "", "arm or arm-lpae (--arch)"));
    }
    Atags::parse(&list).map_err(|e| Fault::caused(e, "", EXPECTED))?;
    let config = KernelConfig::debian(flavour);
    let mut machine = OwnedMachine {
        name: name.to_owned(),
        arch: flavour.arch(),
        config,
        image: Default::default(),
        build: BuildFacts::for_config(&config),
        firmware: OwnedFirmware::Atags(list),
        initrd: None,
        cmdline: None,
        cpus: Cpus { possible: 1, ..Cpus::default() },
        seed: None,
        linux: Version::V6_1,
        taken: Vec::new(),
    };
    machine.place();
    Ok(machine)
}

/// The first bank that has memory, in address order.
pub fn first_bank(list: &[u8]) -> Option<PhysRange> {
    let tags = Atags::parse(list).ok()?;
    tags.memory.iter().filter(|bank| !bank.is_empty()).min_by_key(|bank| bank.start).copied()
}

/// The list with other banks of memory.
///
/// # Errors
/// A [`Fault`] if they are too many, or do not fit the list's 32-bit words.
pub fn with_memory(list: &[u8], banks: &[PhysRange]) -> Result<Vec<u8>, Fault> {
    let fault = |e| Fault::caused(e, "", EXPECTED);
    let mut tags = Atags::parse(list).map_err(fault)?;
    tags.memory = banks.iter().copied().take(MAX_BANKS).collect();
    if banks.len() > MAX_BANKS {
        return Err(Fault::new(format!("{} banks", banks.len()), "", format!("at most {MAX_BANKS}")));
    }
    // Each bank takes 16 bytes, a command line is padded.
    let mut out = vec![0; list.len() + 16 * banks.len() + 64];
    let len = tags.write(&mut out).map_err(fault)?;
    out.truncate(len);
    Ok(out)
}

#[cfg(test)]
mod tests;
