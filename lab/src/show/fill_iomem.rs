//! `/proc/iomem` of a booted machine: RAM, the kernel image, the crash kernel and reservations.

use super::iomem::{IoMem, Resource};
use crate::run::Booted;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::Arch;
use pagewright_firmware::e820::E820Kind;
use pagewright_memblock::{Flags, Region, Set};

/// A range with its children, in address order.
struct Node {
    range: PhysRange,
    name: String,
    children: Vec<Node>,
}

impl Node {
    fn new(range: PhysRange, name: &str) -> Self {
        Self { range, name: name.to_owned(), children: Vec::new() }
    }

    fn write(&self, depth: usize, out: &mut Vec<Resource>) {
        let (start, last) = (self.range.start.get(), self.range.end.get().saturating_sub(1));
        out.push(Resource { depth, start, last, name: self.name.clone() });
        self.children.iter().for_each(|c| c.write(depth + 1, out));
    }
}

/// Puts a range below the root that holds it (`request_resource`); without one nothing happens.
fn insert(roots: &mut [Node], range: PhysRange, name: &str) {
    if range.is_empty() {
        return;
    }
    if let Some(root) = roots.iter_mut().find(|r| r.range.contains_range(&range)) {
        let free = !root.children.iter().any(|c| c.range.overlaps(&range));
        if free {
            root.children.push(Node::new(range, name));
            root.children.sort_by_key(|c| c.range.start);
        }
    }
}

/// Puts what no child covers yet of a range below a root (`reserve_region_with_split`).
fn insert_split(root: &mut Node, range: PhysRange, name: &str) {
    let mut start = range.start;
    let mut gaps = Vec::new();
    for child in root.children.iter().filter(|c| c.range.overlaps(&range)) {
        if start < child.range.start {
            gaps.push(PhysRange::new(start, child.range.start));
        }
        start = start.max(child.range.end);
    }
    if start < range.end {
        gaps.push(PhysRange::new(start, range.end));
    }
    root.children.extend(gaps.into_iter().map(|gap| Node::new(gap, name)));
    root.children.sort_by_key(|c| c.range.start);
}

impl Booted<'_, '_, '_, '_, '_> {
    /// `/proc/iomem`, as far as memory is concerned.
    pub fn iomem(&self) -> IoMem {
        let mut roots = match self.boot.machine.arch {
            Arch::X86_64 | Arch::I386 => self.e820_roots(),
            Arch::Arm64 | Arch::Arm => self.memblock_roots(),
        };
        let image = &self.boot.machine.image;
        match self.boot.machine.arch {
            Arch::X86_64 | Arch::I386 => {
                insert(&mut roots, PhysRange::new(image.text_start, image.text_end), "Kernel code");
                insert(&mut roots, PhysRange::new(image.rodata_start, image.rodata_end), "Kernel rodata");
                insert(&mut roots, PhysRange::new(image.data_start, image.data_end), "Kernel data");
                insert(&mut roots, PhysRange::new(image.bss_start, image.bss_end), "Kernel bss");
            }
            // One range from the text to the init sections, one for the data.
            arch => {
                let start = if arch == Arch::Arm { image.load_start() } else { image.text_start };
                insert(&mut roots, PhysRange::new(start, image.init_begin), "Kernel code");
                insert(&mut roots, PhysRange::new(image.data_start, image.end), "Kernel data");
            }
        }
        for crash in [self.boot.crash.low, self.boot.crash.main].into_iter().flatten() {
            insert(&mut roots, crash, "Crash kernel");
        }
        if self.boot.machine.arch == Arch::Arm64 {
            self.reserved_children(&mut roots);
        }
        let mut resources = Vec::new();
        roots.iter().for_each(|r| r.write(0, &mut resources));
        IoMem { resources }
    }

    /// arm and arm64: one root for each memory region.
    fn memblock_roots(&self) -> Vec<Node> {
        let shift = self.boot.machine.config.page_shift;
        let arm = self.boot.machine.arch == Arch::Arm;
        let nomap = |r: &Region| r.flags().contains(Flags::NOMAP);
        // What must not be mapped is reserved on arm64 and does not show on arm.
        let shown = |r: &&Region| r.size() > 0 && !(arm && nomap(r));
        let regions = self.boot.mb.regions(Set::Memory).iter().filter(shown);
        let root = |r: &Region| {
            let nomap = nomap(r);
            let whole = r.range().frames_inside(shift).bytes(shift);
            Node::new(whole, if nomap { "reserved" } else { "System RAM" })
        };
        regions.map(root).collect()
    }

    /// arm64: whole pages of each reservation show below the RAM they lie in, as they are when the resources are
    /// requested. The RAM disk is freed after that, and stays listed.
    fn reserved_children(&self, roots: &mut [Node]) {
        let shift = self.boot.machine.config.page_shift;
        let reserved = self.boot.mb.regions(Set::Reserved).iter().map(Region::range);
        let mut ranges: Vec<PhysRange> = reserved.chain(self.boot.initrd).collect();
        ranges.sort_by_key(|r| r.start);
        if let Some(initrd) = self.boot.initrd {
            // Before it was freed it was one region with what it touches.
            ranges.dedup_by(|next, last| {
                let touch = next.start <= last.end && (*next == initrd || last.end == initrd.end);
                last.end = if touch { last.end.max(next.end) } else { last.end };
                touch
            });
        }
        for range in ranges {
            let pages = range.frames_touched(shift).bytes(shift);
            for root in roots.iter_mut() {
                let inside = pages.intersection(&root.range);
                if !inside.is_empty() {
                    insert_split(root, inside, "reserved");
                }
            }
        }
    }

    /// x86: one root for each entry of the memory map, and a buffer after RAM that ends in the middle of something.
    fn e820_roots(&self) -> Vec<Node> {
        let Some(map) = self.boot.e820.as_ref() else { return Vec::new() };
        let name = |kind: E820Kind| match kind {
            E820Kind::Ram => "System RAM",
            E820Kind::Acpi => "ACPI Tables",
            E820Kind::Nvs => "ACPI Non-volatile Storage",
            E820Kind::Unusable => "Unusable memory",
            E820Kind::Pmem => "Persistent Memory",
            E820Kind::Pram => "Persistent Memory (legacy)",
            E820Kind::SoftReserved => "Soft Reserved",
            E820Kind::ReservedKern => "System RAM",
            E820Kind::Reserved => "Reserved",
            E820Kind::Other(_) => "Unknown E820 type",
        };
        // A resource is as wide as a physical address: without PAE what ends above 4 GiB is not entered.
        let most = if self.boot.phys_addr_is_64bit() { u64::MAX } else { u64::from(u32::MAX) };
        let fits = |range: PhysRange| range.end.get().saturating_sub(1) <= most;
        let shown = map.entries().iter().filter(|e| fits(e.range()));
        let mut roots: Vec<Node> = shown.map(|e| Node::new(e.range(), name(e.kind))).collect();
        let buffers: Vec<PhysRange> = roots
            .iter()
            .filter(|r| r.name == "System RAM")
            .map(|r| PhysRange::new(r.range.end, r.range.end.align_up(buffer_align(r.range.end))))
            .filter(|b| !b.is_empty())
            .collect();
        for buffer in buffers {
            // Only up to what comes next.
            let next = roots.iter().map(|r| r.range.start).filter(|&s| s >= buffer.start).min();
            let buffer = PhysRange::new(buffer.start, buffer.end.min(next.unwrap_or(PhysAddr::MAX)));
            if !buffer.is_empty() {
                roots.push(Node::new(buffer, "RAM buffer"));
            }
        }
        roots.sort_by_key(|r| r.range.start);
        roots
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
