//! Devices of a machine with a device tree, as far as an image drives them itself.

use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::devicetree::{DeviceTree, Node};

/// The `n`th (address, size) pair of a node below the root, or below a bus that changes no addresses. `None` for a device
/// further away than the processor sees, and where there is no such pair.
pub fn registers(tree: &DeviceTree<'_>, node: &Node<'_>, n: usize) -> Option<PhysRange> {
    let cells = tree.root_cells();
    let (address, size) = (cells.address as usize, cells.size as usize);
    let bytes = node.property("reg")?.value;
    let pair =
        bytes.chunks_exact(address.checked_add(size)?.checked_mul(4).filter(|len| *len > 0)?).nth(n)?;
    let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |n, b| n << 8 | u64::from(*b));
    let (address, size) = pair.split_at(address * 4);
    Some(PhysRange::from_len(PhysAddr::new(number(address)), number(size)))
}

/// The registers of the UART that /chosen's `stdout-path` names, if it is one of these `compatible` ones.
pub fn stdout(tree: &DeviceTree<'_>, compatible: &[&str]) -> Option<PhysRange> {
    let path = tree.chosen().stdout_path?;
    // What follows a colon are the line's settings.
    let path = path.split(':').next().unwrap_or(path);
    let node = if path.starts_with('/') {
        tree.find(path)?
    } else {
        tree.find(tree.find("/aliases")?.property(path)?.as_str()?)?
    };
    compatible.iter().any(|c| node.is_compatible(c)).then(|| registers(tree, &node, 0))?
}

/// The first node below the root that is one of these.
pub fn find<'a>(tree: &DeviceTree<'a>, compatible: &[&str]) -> Option<Node<'a>> {
    tree.root().children().find(|node| compatible.iter().any(|c| node.is_compatible(c)))
}

/// How the firmware's power functions (PSCI) are called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PsciMethod {
    /// `hvc`.
    Hvc,
    /// `smc`.
    Smc,
}

/// How PSCI is called, if the machine has it.
pub fn psci(tree: &DeviceTree<'_>) -> Option<PsciMethod> {
    let node = find(tree, &["arm,psci-1.0", "arm,psci-0.2"])?;
    let method = node.property("method")?;
    if method.is("hvc") { Some(PsciMethod::Hvc) } else { method.is("smc").then_some(PsciMethod::Smc) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn virt() -> DeviceTree<'static> {
        DeviceTree::parse(include_bytes!("../../crates/firmware/tests/data/virt-arm64.dtb")).unwrap()
    }

    #[test]
    fn qemus_virt_machine_tells_its_console_and_its_power_functions() {
        let tree = virt();
        let uart = stdout(&tree, &["arm,pl011"]).unwrap();
        assert_eq!((uart.start.get(), uart.len()), (0x900_0000, 0x1000));
        assert_eq!(stdout(&tree, &["ns16550a"]), None);
        assert_eq!(psci(&tree), Some(PsciMethod::Hvc));
    }

    #[test]
    fn registers_end_with_the_property() {
        let tree = virt();
        let gic = find(&tree, &["arm,cortex-a15-gic", "arm,gic-v3"]).unwrap();
        assert!(registers(&tree, &gic, 1).is_some());
        assert!(registers(&tree, &gic, 99).is_none());
    }
}
