//! Short words to write a tree with.

use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::{DeviceTree as Model, DeviceTreeNode, DeviceTreeProperty};

/// A node under construction.
#[derive(Clone)]
pub(crate) struct N(DeviceTreeNode);

/// A node of that name.
pub(crate) fn node(name: &str) -> N {
    N(DeviceTreeNode::new_unchecked(name))
}

/// A root with the given cell counts.
pub(crate) fn root(address_cells: u32, size_cells: u32) -> N {
    node("").cells("#address-cells", &[address_cells]).cells("#size-cells", &[size_cells])
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

    /// The blob with this node as its root.
    pub(crate) fn blob(self) -> Vec<u8> {
        self.blob_reserving(&[])
    }

    /// The same with a memory reservation block.
    pub(crate) fn blob_reserving(self, reservations: &[(u64, u64)]) -> Vec<u8> {
        let mut model = Model::new();
        model.root = self.0;
        model.memory_reservations =
            reservations.iter().map(|(a, s)| MemoryReservation::new(*a, *s)).collect();
        model.to_dtb()
    }
}

/// A memory node.
pub(crate) fn memory(unit: &str, reg: &[u32]) -> N {
    node(&format!("memory@{unit}")).text("device_type", "memory").cells("reg", reg)
}

/// A /reserved-memory with the root's cell counts.
pub(crate) fn reserved(address_cells: u32, size_cells: u32) -> N {
    node("reserved-memory")
        .cells("#address-cells", &[address_cells])
        .cells("#size-cells", &[size_cells])
        .flag("ranges")
}

/// /cpus with one address cell.
pub(crate) fn cpus() -> N {
    node("cpus").cells("#address-cells", &[1]).cells("#size-cells", &[0])
}

/// A processor that PSCI starts.
pub(crate) fn cpu(id: u32) -> N {
    node(&format!("cpu@{id:x}")).text("device_type", "cpu").cells("reg", &[id]).text("enable-method", "psci")
}
