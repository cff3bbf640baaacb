//! Firmware data damaged on purpose (`inject=`), between the hand-over and the first look at it.
//!
//! What a damaged machine has to do is to say so and end: these are the damages that its boot is tried with.

use pagewright_firmware::devicetree::DeviceTree;

/// Overwrites the first tokens of a device tree's structure. Header and command line stay as they are.
pub fn damage_fdt(blob: &mut [u8]) {
    // off_dt_struct, the third cell of the header.
    let cell = blob.get(8..12).and_then(|c| c.try_into().ok()).map_or(0, u32::from_be_bytes);
    if let Some(tokens) = usize::try_from(cell).ok().and_then(|at| blob.get_mut(at..at.checked_add(64)?)) {
        tokens.fill(0xa5);
    }
}

/// Where the address of the first memory node's first bank stands in a device tree's bytes: its most significant byte.
fn bank_address(blob: &[u8]) -> Option<(usize, usize)> {
    let tree = DeviceTree::parse(blob).ok()?;
    let value = tree.memory_nodes().next()?.property("reg")?.value;
    // The value is a part of the blob.
    let at = (value.as_ptr() as usize).checked_sub(blob.as_ptr() as usize)?;
    Some((at, tree.root_cells().address as usize * 4))
}

/// Has the device tree say that its first bank of RAM is 1 GiB above where it is.
pub fn damage_memory(blob: &mut [u8]) {
    let Some((at, len)) = bank_address(blob) else { return };
    let Some(address) = blob.get_mut(at..at + len) else { return };
    let number = address.iter().fold(0_u64, |n, b| n << 8 | u64::from(*b)).wrapping_add(1 << 30);
    for (n, byte) in address.iter_mut().rev().take(8).enumerate() {
        *byte = (number >> (8 * n)) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIRT: &[u8] = include_bytes!("../../crates/firmware/tests/data/virt-arm64.dtb");

    #[test]
    fn a_damaged_tree_is_refused() {
        let mut blob = VIRT.to_vec();
        damage_fdt(&mut blob);
        assert!(DeviceTree::parse(&blob).is_err());
        // Nothing to damage is no fault.
        damage_fdt(&mut []);
        damage_memory(&mut [0; 40]);
    }

    #[test]
    fn damaged_memory_is_elsewhere_and_all_else_as_before() {
        let mut blob = VIRT.to_vec();
        damage_memory(&mut blob);
        let (before, after) = (DeviceTree::parse(VIRT).unwrap(), DeviceTree::parse(&blob).unwrap());
        let bank = |tree: &DeviceTree<'_>| tree.memory_banks().next().unwrap();
        assert_eq!(bank(&after).range.start.get(), bank(&before).range.start.get() + (1 << 30));
        assert_eq!(bank(&after).size, bank(&before).size);
        assert_eq!(blob.iter().zip(VIRT).filter(|(a, b)| a != b).count(), 1);
    }
}
