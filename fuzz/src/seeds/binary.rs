//! Seeds that are binary: device trees, ACPI tables, ATAGs.

/// A writer of flattened device trees (Devicetree specification 0.4, chapter 5), just enough for seeds.
struct Tree {
    reservations: Vec<u8>,
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Tree {
    fn new() -> Self {
        let mut tree = Self { reservations: Vec::new(), structure: Vec::new(), strings: Vec::new() };
        tree.open("");
        tree
    }

    fn token(&mut self, token: u32) {
        self.structure.extend_from_slice(&token.to_be_bytes());
    }

    fn pad(&mut self) {
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
    }

    fn reserve(&mut self, address: u64, size: u64) {
        self.reservations.extend_from_slice(&address.to_be_bytes());
        self.reservations.extend_from_slice(&size.to_be_bytes());
    }

    fn open(&mut self, name: &str) {
        self.token(1);
        self.structure.extend_from_slice(name.as_bytes());
        self.structure.push(0);
        self.pad();
    }

    fn close(&mut self) {
        self.token(2);
    }

    fn bytes(&mut self, name: &str, value: &[u8]) {
        let offset = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        self.token(3);
        self.token(value.len() as u32);
        self.token(offset);
        self.structure.extend_from_slice(value);
        self.pad();
    }

    fn text(&mut self, name: &str, value: &str) {
        self.bytes(name, format!("{value}\0").as_bytes());
    }

    fn cells(&mut self, name: &str, cells: &[u32]) {
        let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.bytes(name, &bytes);
    }

    fn flag(&mut self, name: &str) {
        self.bytes(name, &[]);
    }

    /// #address-cells and #size-cells of the node that is open.
    fn cell_counts(&mut self, address: u32, size: u32) {
        self.cells("#address-cells", &[address]);
        self.cells("#size-cells", &[size]);
    }

    fn memory(&mut self, name: &str, reg: &[u32]) {
        self.open(name);
        self.text("device_type", "memory");
        self.cells("reg", reg);
    }

    fn finish(mut self) -> Vec<u8> {
        self.close();
        self.token(9);
        self.reserve(0, 0);
        let reservations = 40;
        let structure = reservations + self.reservations.len() as u32;
        let strings = structure + self.structure.len() as u32;
        let total = strings + self.strings.len() as u32;
        let (structure_len, strings_len) = (self.structure.len() as u32, self.strings.len() as u32);
        let header =
            [0xd00d_feed, total, structure, strings, reservations, 17, 16, 0, strings_len, structure_len];
        let mut bytes: Vec<u8> = header.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
        bytes.extend(self.reservations);
        bytes.extend(self.structure);
        bytes.extend(self.strings);
        bytes
    }
}

fn plain() -> Vec<u8> {
    let mut tree = Tree::new();
    tree.reserve(0x4800_0000, 0x10_0000);
    tree.cell_counts(2, 2);
    tree.text("compatible", "linux,dummy-virt");
    tree.text("model", "a board");
    tree.memory("memory@40000000", &[0, 0x4000_0000, 0, 0x8000_0000]);
    tree.close();
    tree.open("chosen");
    tree.text("bootargs", "console=ttyAMA0 mem=1G cma=64M");
    tree.cells("linux,initrd-start", &[0, 0x4800_0000]);
    tree.cells("linux,initrd-end", &[0, 0x4810_0000]);
    tree.cells("linux,usable-memory-range", &[0, 0x4000_0000, 0, 0x4000_0000]);
    tree.cells("linux,elfcorehdr", &[0, 0x5000_0000, 0, 0x1000]);
    tree.cells("kaslr-seed", &[0x1234_5678, 0x9abc_def0]);
    tree.text("stdout-path", "serial0:115200n8");
    tree.close();
    tree.open("aliases");
    tree.text("serial0", "/soc/serial@9000000");
    tree.close();
    tree.finish()
}

fn reserved() -> Vec<u8> {
    let mut tree = Tree::new();
    tree.cell_counts(2, 1);
    tree.memory("memory@80000000", &[0, 0x8000_0000, 0x4000_0000]);
    tree.close();
    tree.open("reserved-memory");
    tree.cell_counts(2, 1);
    tree.flag("ranges");
    tree.open("static@90000000");
    tree.cells("reg", &[0, 0x9000_0000, 0x10_0000, 0, 0x9100_0000, 0x1000]);
    tree.flag("no-map");
    tree.close();
    tree.open("linux,cma");
    tree.text("compatible", "shared-dma-pool");
    tree.flag("reusable");
    tree.cells("size", &[0x400_0000]);
    tree.cells("alignment", &[0x40_0000]);
    tree.cells("alloc-ranges", &[0, 0x8000_0000, 0x2000_0000]);
    tree.flag("linux,cma-default");
    tree.close();
    tree.open("impossible");
    tree.cells("size", &[0xffff_ffff]);
    tree.text("status", "disabled");
    tree.close();
    tree.open("wraps@ffffffff");
    tree.cells("reg", &[0xffff_ffff, 0xffff_f000, 0xffff_ffff]);
    tree.close();
    tree.close();
    tree.finish()
}

fn numa() -> Vec<u8> {
    let mut tree = Tree::new();
    tree.cell_counts(1, 1);
    for (node, base) in [(0, 0x4000_0000), (1, 0x8000_0000)] {
        tree.memory(if node == 0 { "memory@40000000" } else { "memory@80000000" }, &[base, 0x4000_0000]);
        tree.cells("numa-node-id", &[node]);
        if node == 1 {
            tree.flag("hotpluggable");
            tree.cells("linux,usable-memory", &[base, 0x1000_0000]);
        }
        tree.close();
    }
    tree.open("cpus");
    tree.cell_counts(1, 0);
    for cpu in 0..2 {
        tree.open(if cpu == 0 { "cpu@0" } else { "cpu@1" });
        tree.text("device_type", "cpu");
        tree.cells("reg", &[cpu]);
        tree.cells("numa-node-id", &[cpu]);
        tree.text("enable-method", "psci");
        tree.close();
    }
    tree.close();
    tree.open("distance-map");
    tree.text("compatible", "numa-distance-map-v1");
    tree.cells("distance-matrix", &[0, 0, 10, 0, 1, 20, 1, 0, 20, 1, 1, 10]);
    tree.close();
    tree.finish()
}

/// An ACPI table: the common header around a body, with a right checksum (ACPI 6.5, 5.2.6).
fn acpi(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut table = signature.to_vec();
    table.extend_from_slice(&(36 + body.len() as u32).to_le_bytes());
    table.extend_from_slice(&[1, 0]);
    table.extend_from_slice(b"OEMID OEMTABLE\x01\x00\x00\x00CREA\x01\x00\x00\x00");
    table.extend_from_slice(body);
    table[9] = table.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
    table
}

fn srat() -> Vec<u8> {
    let mut body = vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for cpu in 0..2_u8 {
        // Processor affinity: type 0, length 16, domain, APIC id, enabled.
        body.extend_from_slice(&[0, 16, cpu, cpu, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    for node in 0..2_u8 {
        // Memory affinity: type 1, length 40, domain, base, length, flags (enabled; the second hot-pluggable).
        let mut entry = vec![1, 40, node, 0, 0, 0, 0, 0];
        entry.extend_from_slice(&(u64::from(node) << 31).to_le_bytes());
        entry.extend_from_slice(&(1_u64 << 31).to_le_bytes());
        entry.extend_from_slice(&[0, 0, 0, 0, 1 | node << 1, 0, 0, 0]);
        entry.resize(40, 0);
        body.extend(entry);
    }
    // x2APIC affinity: type 2, length 24, domain 1, id 0x100, enabled.
    body.extend_from_slice(&[2, 24, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // GICC affinity: type 3, length 18, domain 1, processor 1, enabled.
    body.extend_from_slice(&[3, 18, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    acpi(b"SRAT", &body)
}

fn slit() -> Vec<u8> {
    let mut body = 3_u64.to_le_bytes().to_vec();
    body.extend_from_slice(&[10, 20, 30, 20, 10, 25, 30, 25, 10]);
    acpi(b"SLIT", &body)
}

fn madt() -> Vec<u8> {
    let mut body = vec![0, 0, 0xe0, 0xfe, 1, 0, 0, 0];
    body.extend_from_slice(&[0, 8, 0, 0, 1, 0, 0, 0]);
    body.extend_from_slice(&[0, 8, 1, 1, 2, 0, 0, 0]);
    body.extend_from_slice(&[1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
    body.extend_from_slice(&[9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
    acpi(b"APIC", &body)
}

fn atags() -> Vec<u8> {
    let mut words: Vec<u32> = vec![5, 0x5441_0001, 1, 4096, 0];
    words.extend([4, 0x5441_0002, 0x1000_0000, 0x6000_0000]);
    words.extend([4, 0x5441_0002, 0x1000_0000, 0x8000_0000]);
    words.extend([4, 0x5442_0005, 0x6080_0000, 0x10_0000]);
    words.extend([3, 0x5441_0007, 0x10]);
    words.extend([4, 0x5441_0006, 1, 2]);
    let line = b"mem=256M rw\0";
    words.extend([2 + line.len() as u32 / 4, 0x5441_0009]);
    words.extend(line.chunks(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])));
    words.extend([0, 0]);
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub(super) fn all() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    vec![
        ("dtb", "plain", plain()),
        ("dtb", "reserved", reserved()),
        ("dtb", "numa", numa()),
        ("dtb", "empty", Vec::new()),
        ("acpi", "srat", srat()),
        ("acpi", "slit", slit()),
        ("acpi", "madt", madt()),
        ("atags", "full", atags()),
    ]
}
