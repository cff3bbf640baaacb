//! Headings of a page-table dump, as `ptdump` prints them between `---[` and `]---`.

use super::{Kind, Layout, arm, x86_64};
use arrayvec::ArrayVec;
use pagewright_addr::VirtAddr;
use pagewright_firmware::Arch;

/// A heading, and the first address below it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Marker {
    /// Ranges from here on come after it.
    pub at: VirtAddr,
    /// Its text.
    pub name: &'static str,
}

/// The headings of one architecture, at most.
type Markers = ArrayVec<Marker, 16>;

struct List<'l> {
    layout: &'l Layout,
    markers: Markers,
}

impl List<'_> {
    fn at(&mut self, at: u64, name: &'static str) {
        let at = VirtAddr::new(at);
        // Headings at one address stay in the order in which they come.
        let before = self.markers.partition_point(|m| m.at <= at);
        // Each architecture's list is shorter than the room.
        let _ = self.markers.try_insert(before, Marker { at, name });
    }

    fn start(&mut self, kind: Kind, name: &'static str) {
        if let Some(range) = self.layout.get(kind) {
            self.at(range.start.get(), name);
        }
    }

    fn end(&mut self, kind: Kind, name: &'static str) {
        // What ends with the last address has no end to head.
        if let Some(end) = self.layout.get(kind).and_then(|r| r.last().checked_add(1)) {
            self.at(end.get(), name);
        }
    }
}

pub(super) fn of(layout: &Layout) -> Markers {
    let mut list = List { layout, markers: Markers::new() };
    match layout.facts().config.arch {
        Arch::Arm => arm(&mut list),
        Arch::Arm64 => arm64(&mut list),
        Arch::I386 => i386(&mut list),
        Arch::X86_64 => x86_64(&mut list),
    }
    list.markers
}

fn arm(l: &mut List<'_>) {
    l.start(Kind::Modules, "Modules");
    l.start(Kind::LinearMap, "Kernel Mapping");
    l.start(Kind::Vmalloc, "vmalloc() Area");
    l.end(Kind::Vmalloc, "vmalloc() End");
    l.start(Kind::Fixmap, "Fixmap Area");
    l.at(arm::VECTORS, "Vectors");
    l.at(arm::VECTORS + 2 * 4096, "Vectors End");
}

fn arm64(l: &mut List<'_>) {
    let upper = !l.layout.facts().version.since(5, 4);
    if !upper {
        l.start(Kind::LinearMap, "Linear Mapping start");
        l.end(Kind::LinearMap, "Linear Mapping end");
    }
    l.start(Kind::Modules, "Modules start");
    l.end(Kind::Modules, "Modules end");
    l.start(Kind::Vmalloc, "vmalloc() area");
    l.end(Kind::Vmalloc, "vmalloc() end");
    l.start(Kind::Fixmap, "Fixmap start");
    l.end(Kind::Fixmap, "Fixmap end");
    l.start(Kind::PciIo, "PCI I/O start");
    l.end(Kind::PciIo, "PCI I/O end");
    l.start(Kind::Vmemmap, "vmemmap start");
    l.end(Kind::Vmemmap, "vmemmap end");
    if upper {
        l.start(Kind::LinearMap, "Linear Mapping");
    }
}

fn i386(l: &mut List<'_>) {
    l.at(0, "User Space");
    l.start(Kind::LinearMap, "Kernel Mapping");
    l.start(Kind::Vmalloc, "vmalloc() Area");
    l.end(Kind::Vmalloc, "vmalloc() End");
    l.start(Kind::Pkmap, "Persistent kmap() Area");
    l.start(Kind::LdtRemap, "LDT remap");
    l.start(Kind::CpuEntryArea, "CPU entry area");
    l.start(Kind::Fixmap, "Fixmap area");
}

fn x86_64(l: &mut List<'_>) {
    l.at(0, "User Space");
    l.at(1 << 63, "Kernel Space");
    l.start(Kind::LdtRemap, "LDT remap");
    l.start(Kind::LinearMap, "Low Kernel Mapping");
    l.start(Kind::Vmalloc, "vmalloc() Area");
    l.start(Kind::Vmemmap, "Vmemmap");
    l.start(Kind::CpuEntryArea, "CPU entry Area");
    l.start(Kind::EspFix, "ESPfix Area");
    l.start(Kind::Efi, "EFI Runtime Services");
    l.at(x86_64::START_KERNEL_MAP, "High Kernel Mapping");
    l.start(Kind::Modules, "Modules");
    l.end(Kind::Modules, "End Modules");
    l.start(Kind::Fixmap, "Fixmap Area");
}
