//! Devices in vmalloc space, on every architecture.

mod fixed;
mod kinds;
mod nth;

use crate::world::PAGE;
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use pagewright_firmware::Arch;
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_kspace::highmem::Linear;
use pagewright_kspace::ioremap::{IoFacts, Ioremap, MapDesc, StaticMaps};
use pagewright_kspace::resource::{Resource, ResourceFlags, ResourceNode, Resources};
use pagewright_kspace::{Facts, Kind, Layout};
use pagewright_pagetable::Format;
use pagewright_pagetable::format::FormatKind;
use pagewright_platform::Mutex;
use pagewright_sim::PhysMemory;
use pagewright_sim::mmu::Strictness;
use pagewright_sim::pages::PlainMachine;
use pagewright_sim::vmalloc::{HostedVmalloc, VmallocMachine, with_vmalloc};

/// RAM of the machine, all of it low.
const RAM: (u64, u64) = (0x4000_0000, 16 << 20);
/// A PC's first RAM, which ends inside a page.
const BELOW: (u64, u64) = (0x1000, 0x9_ec00);
/// More of it behind a hole, which the linear map spans.
const MORE: (u64, u64) = (0x4200_0000, 4 << 20);

fn flavour(kind: FormatKind) -> Flavour {
    match kind {
        FormatKind::X86Level4 => Flavour::Amd64,
        FormatKind::Arm64Page4kVa48 => Flavour::Arm64,
        FormatKind::ArmShort => Flavour::Armmp,
        FormatKind::ArmLpae => Flavour::ArmmpLpae,
        FormatKind::I386 => Flavour::I686,
        FormatKind::I386Pae => Flavour::I686Pae,
        other => panic!("{other} is no kernel's here"),
    }
}

fn layout(kind: FormatKind) -> Layout {
    let mut facts = Facts::new(KernelConfig::debian(flavour(kind)));
    facts.wide = false;
    Layout::of(&facts).unwrap()
}

fn phys(at: u64) -> PhysAddr {
    PhysAddr::new(at)
}

type Io<'i, 'v, 'a, F> = Ioremap<'i, 'v, 'a, F, &'v PhysMemory>;

/// A kernel with its devices' mappings, and room for four static ones.
fn kernel<F: Format>(
    kind: FormatKind,
    format: F,
    test: impl for<'v, 'a> FnOnce(&HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>, &Io<'_, 'v, 'a, F>, Arch, &Layout),
) {
    let layout = layout(kind);
    let machine = VmallocMachine {
        plain: PlainMachine::new(RAM.1 / PAGE, 2),
        kind,
        range: layout.get(Kind::Vmalloc).unwrap(),
        config: |_| (),
        areas: 1 << 8,
        strictness: Strictness::STRICT,
    };
    let arch = KernelConfig::debian(flavour(kind)).arch;
    let mut nodes = [ResourceNode::EMPTY; 4];
    let mut resources = Resources::new(PhysRange::new(phys(0), phys(1 << 40)), &mut nodes).unwrap();
    let flags = ResourceFlags::SYSTEM_RAM | ResourceFlags::BUSY;
    for (start, bytes) in [BELOW, RAM, MORE] {
        let range = PhysRange::from_len(phys(start), bytes);
        resources.insert_resource(Resource { range, name: "System RAM", flags }).unwrap();
    }
    let resources = Mutex::new(resources);
    let last_phys = match kind {
        FormatKind::ArmShort | FormatKind::I386 => phys(u32::MAX.into()),
        FormatKind::I386Pae => phys((1 << 36) - 1),
        _ => phys((1 << 40) - 1),
    };
    let base = layout.get(Kind::LinearMap).unwrap().start;
    let linear = Linear { start: phys(RAM.0), end: phys(MORE.0 + MORE.1), base };
    let facts = IoFacts { arch, last_phys, linear };
    with_vmalloc(&machine, format, |m| {
        let mut statics = [None; 4];
        let io = Ioremap::new(&m.vmalloc, facts, &resources, StaticMaps::new(&mut statics));
        m.on_cpu(0, |on| {
            let at = m.vmalloc.vmalloc(on, PAGE).unwrap();
            m.vmalloc.vfree(on, at).unwrap();
            m.vmalloc.give_all_back(on);
            // An empty table would keep a block away.
            m.vmalloc.release_tables(on);
        });
        // PAE's processors read the uppermost table when they are told to only.
        (0..2).for_each(|cpu| m.mmu.set_registers(cpu, m.mmu.registers(cpu)).unwrap());
        test(m, &io, arch, &layout);
        m.on_cpu(0, |on| m.vmalloc.purge_vmap_area_lazy(on));
        assert_eq!(m.vmalloc.validate(), Ok(()));
        m.mmu.check().unwrap();
    });
}

/// Runs a test on every architecture.
macro_rules! on_every_kernel {
    ($test:expr) => {{
        use pagewright_pagetable::format::FormatKind;
        use pagewright_pagetable::format::arm::lpae::ArmLpae;
        use pagewright_pagetable::format::arm::short::ArmShort;
        use pagewright_pagetable::format::arm64::Arm64Page4kVa48;
        use pagewright_pagetable::format::x86::X86Level4;
        use pagewright_pagetable::format::x86::i386::{I386, I386Pae};
        super::kernel(FormatKind::ArmShort, ArmShort::default(), $test);
        super::kernel(FormatKind::ArmLpae, ArmLpae::default(), $test);
        super::kernel(FormatKind::Arm64Page4kVa48, Arm64Page4kVa48::default(), $test);
        super::kernel(FormatKind::X86Level4, X86Level4::default(), $test);
        super::kernel(FormatKind::I386, I386::default(), $test);
        super::kernel(FormatKind::I386Pae, I386Pae::default(), $test);
    }};
}
use on_every_kernel;

/// A static map of so many bytes.
fn desc(virt: VirtAddr, len: u64, at: u64, kind: pagewright_kspace::ioremap::IoKind) -> MapDesc {
    MapDesc { virt: VirtRange { start: virt, len }, phys: phys(at), kind }
}
