//! vmalloc on hosted machines of every architecture: bytes through the software MMU, a model, and every way to fail.

mod facts;
mod formats;
mod growing;
mod huge;
mod kept;
mod kv;
mod linux;
mod model;
mod modules;
mod nth;
mod percpu;
mod poison;
mod races;
mod ram;
mod rows;
mod shown;

use pagewright_addr::{NodeId, Order, VirtAddr, VirtRange};
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_kspace::vmalloc::VmallocConfig;
use pagewright_kspace::{Facts, Kind, Layout};
use pagewright_pagetable::Format;
use pagewright_pagetable::format::FormatKind;
use pagewright_sim::mmu::Strictness;
use pagewright_sim::pages::{Pages, PlainMachine};
use pagewright_sim::vmalloc::{HostedVmalloc, VmallocMachine};
use pagewright_zone::alloc::Hooks;

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;

/// The vmalloc area of a kernel as Debian builds it, and the format of its tables.
fn region(kind: FormatKind) -> VirtRange {
    let flavour = match kind {
        FormatKind::X86Level4 | FormatKind::X86Level5 => Flavour::Amd64,
        FormatKind::Arm64Page4kVa48 => Flavour::Arm64,
        FormatKind::ArmShort => Flavour::Armmp,
        FormatKind::ArmLpae => Flavour::ArmmpLpae,
        FormatKind::I386 => Flavour::I686,
        FormatKind::I386Pae => Flavour::I686Pae,
        other => panic!("{other} is no kernel's here"),
    };
    let mut facts = Facts::new(KernelConfig::debian(flavour));
    facts.wide = kind == FormatKind::X86Level5;
    Layout::of(&facts).unwrap().get(Kind::Vmalloc).unwrap()
}

/// One node of `mib` MiB from 1 GiB on.
fn machine(kind: FormatKind, mib: u64, cpus: usize) -> VmallocMachine {
    VmallocMachine {
        plain: PlainMachine::new(mib << 8, cpus),
        kind,
        range: region(kind),
        config: |_| (),
        areas: 1 << 12,
        strictness: Strictness::STRICT,
    }
}

/// Each area as low as it can lie, as 6.1 has it.
fn lowest_first(config: &mut VmallocConfig) {
    config.pools = false;
}

fn va(at: u64) -> VirtAddr {
    VirtAddr::new(at)
}

fn node(n: u16) -> NodeId {
    NodeId::new(n).unwrap()
}

/// Free blocks by zone and order, all types together, with every CPU's lists emptied.
fn buddyinfo<H: Hooks>(m: &Pages<'_, '_, '_, '_, H>) -> Vec<u64> {
    for cpu in 0..m.cpus() {
        m.on_cpu(cpu, |cx| m.allocator.drain_local_pages(cx));
    }
    assert_eq!(m.allocator.validate(), Ok(()));
    m.allocator.zones().iter().flat_map(|zone| m.allocator.free_areas(zone.id()).by_order()).collect()
}

/// Free blocks once there are the tables that reach beyond the region's borders: those stay, as others may be in them.
fn buddyinfo_with_borders<F: Format>(m: &HostedVmalloc<'_, '_, '_, '_, '_, '_, F>) -> Vec<u64> {
    m.on_cpu(0, |on| {
        let at = m.vmalloc.vmalloc(on, PAGE).unwrap();
        m.vmalloc.vfree(on, at).unwrap();
        m.vmalloc.release_tables(on);
    });
    // PAE's processors read the uppermost table when they are told to only.
    (0..m.mmu.cpu_count()).for_each(|cpu| m.mmu.set_registers(cpu, m.mmu.registers(cpu)).unwrap());
    buddyinfo(m.pages)
}

/// Purges, takes the page tables away that are left, and expects all memory to be as it was.
fn expect_all_back<F: Format>(m: &HostedVmalloc<'_, '_, '_, '_, '_, '_, F>, before: &[u64]) {
    m.on_cpu(0, |on| {
        m.vmalloc.purge_vmap_area_lazy(on);
        m.vmalloc.release_tables(on);
    });
    assert_eq!(m.vmalloc.validate(), Ok(()));
    assert_eq!((m.vmalloc.nr_pages(), m.vmalloc.lazy_pages()), (0, 0));
    assert_eq!(m.vmalloc.gaps().largest, m.vmalloc.range().len, "all addresses are free");
    m.mmu.check().unwrap();
    assert_eq!(buddyinfo(m.pages), before, "every page is back, in blocks as large as before");
}
