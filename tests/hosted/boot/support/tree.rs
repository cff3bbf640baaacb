//! Short words to write a device tree with.

use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::{DeviceTree as Model, DeviceTreeNode, DeviceTreeProperty};

/// A node under construction.
#[derive(Clone, Debug)]
pub(crate) struct N(DeviceTreeNode);

/// A node of that name.
pub(crate) fn node(name: &str) -> N {
    N(DeviceTreeNode::new_unchecked(name))
}

/// A root with two address cells and two size cells.
pub(crate) fn root() -> N {
    node("").cells("#address-cells", &[2]).cells("#size-cells", &[2])
}

/// 64-bit numbers as pairs of cells.
fn wide(numbers: &[u64]) -> Vec<u32> {
    numbers.iter().flat_map(|n| [(n >> 32) as u32, *n as u32]).collect()
}

impl N {
    pub(crate) fn bytes(mut self, name: &str, value: &[u8]) -> Self {
        self.0.add_property(DeviceTreeProperty::new_unchecked(name, value));
        self
    }

    pub(crate) fn cells(self, name: &str, cells: &[u32]) -> Self {
        let bytes: Vec<u8> = cells.iter().flat_map(|c| c.to_be_bytes()).collect();
        self.bytes(name, &bytes)
    }

    /// Numbers of two cells each: addresses and sizes below [`root`].
    pub(crate) fn wide(self, name: &str, numbers: &[u64]) -> Self {
        self.cells(name, &wide(numbers))
    }

    pub(crate) fn reg(self, base: u64, size: u64) -> Self {
        self.wide("reg", &[base, size])
    }

    pub(crate) fn text(self, name: &str, text: &str) -> Self {
        self.bytes(name, format!("{text}\0").as_bytes())
    }

    pub(crate) fn flag(self, name: &str) -> Self {
        self.bytes(name, &[])
    }

    pub(crate) fn with(mut self, child: N) -> Self {
        self.0.add_child(child.0);
        self
    }

    /// The blob with this node as its root, and a memory reservation block.
    pub(crate) fn blob(self, reservations: &[(u64, u64)]) -> Vec<u8> {
        let mut model = Model::new();
        model.root = self.0;
        model.memory_reservations =
            reservations.iter().map(|(a, s)| MemoryReservation::new(*a, *s)).collect();
        model.to_dtb()
    }
}

/// A memory node with one bank.
pub(crate) fn memory(base: u64, size: u64) -> N {
    node(&format!("memory@{base:x}")).text("device_type", "memory").reg(base, size)
}

/// A /reserved-memory with the root's cell counts.
pub(crate) fn reserved_memory(children: impl IntoIterator<Item = N>) -> N {
    let parent =
        node("reserved-memory").cells("#address-cells", &[2]).cells("#size-cells", &[2]).flag("ranges");
    children.into_iter().fold(parent, N::with)
}

/// /cpus with this many processors.
pub(crate) fn cpus(count: u32) -> N {
    (0..count).fold(node("cpus").cells("#address-cells", &[1]).cells("#size-cells", &[0]), |parent, id| {
        parent.with(cpu(id))
    })
}

/// A processor that PSCI starts.
pub(crate) fn cpu(id: u32) -> N {
    node(&format!("cpu@{id:x}")).text("device_type", "cpu").cells("reg", &[id]).text("enable-method", "psci")
}
