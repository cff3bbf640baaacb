//! vmalloc on a hosted machine: pages of a page allocator, tables in simulated RAM, and CPUs that reach both through software MMUs.

mod booted;
mod checked;
mod kv;

pub use booted::{BootedVmalloc, BootedVmallocError, WithVmalloc, with_booted_vmalloc};
pub use checked::{CheckedCpu, CheckedError};
pub use kv::CpuMemory;

use crate::mmu::{Mmu, Strictness, kernel_registers};
use crate::pages::{Pages, PlainMachine, with_plain_machine};
use crate::{EntryWidth, PhysMemory};
use pagewright_addr::{PageShift, PhysAddr, PhysRange, VirtRange};
use pagewright_kspace::vmalloc::{OnPages, Vmalloc, VmallocConfig};
use pagewright_page::Frames;
use pagewright_pagetable::format::FormatKind;
use pagewright_pagetable::{Attr, AttrFlags, Format, Leaf, Level, Tables, TlbFlush, Word};
use pagewright_platform::{Carve, NoInterrupts};
use pagewright_zone::alloc::{Hooks, NotZeroed};

/// Where the root table is, below the RAM of every plain machine.
const ROOT: u64 = 0x1000_0000;

/// A machine to try vmalloc on.
#[derive(Clone, Debug)]
pub struct VmallocMachine {
    /// Its RAM and CPUs; runs of RAM begin and end at multiples of 4 MiB.
    pub plain: PlainMachine,
    /// The format of its page tables.
    pub kind: FormatKind,
    /// The region.
    pub range: VirtRange,
    /// What differs from the usual configuration.
    pub config: fn(&mut VmallocConfig),
    /// Areas that there is memory for.
    pub areas: usize,
    /// How much the CPUs look at themselves.
    pub strictness: Strictness,
}

/// Zeroes pages of a plain machine.
pub struct ZeroingHooks<'m> {
    memory: &'m PhysMemory,
    ram: Vec<(u64, u64)>,
}

impl ZeroingHooks<'_> {
    /// The first byte of a frame, by its index.
    fn phys(&self, idx: u32) -> PhysAddr {
        let mut rest = u64::from(idx);
        for &(start, len) in &self.ram {
            if rest < len {
                return PhysAddr::new((start + rest) << 12);
            }
            rest -= len;
        }
        PhysAddr::ZERO
    }
}

impl Hooks for ZeroingHooks<'_> {
    fn zero(&self, frames: &Frames<'_>) -> Result<(), NotZeroed> {
        self.memory.zero(self.phys(frames.start().get()), frames.len() << 12).map_err(|_| NotZeroed)
    }
}

/// A machine with vmalloc in service.
pub struct HostedVmalloc<'p, 'v, 'x, 'm, 's, 'a, F: Format> {
    /// The region.
    pub vmalloc: Vmalloc<'v, 'a, F, &'v PhysMemory>,
    /// The modules' region, if one was asked for ([`with_modules`]).
    pub modules: Option<Vmalloc<'v, 'a, F, &'v PhysMemory>>,
    /// The page allocator below.
    pub pages: &'p Pages<'x, 'm, 's, 'a, ZeroingHooks<'v>>,
    /// The CPUs' MMUs.
    pub mmu: &'p Mmu<'v>,
    /// RAM.
    pub memory: &'v PhysMemory,
}

/// A task on a CPU of such a machine.
pub type OnHosted<'c, 'x, 'm, 's, 'a, 'v> = OnPages<'c, 'x, 'm, 's, 'a, NoInterrupts, ZeroingHooks<'v>>;

impl<'v, 'x, 'm, 's, 'a, F: Format> HostedVmalloc<'_, 'v, 'x, 'm, 's, 'a, F> {
    /// Runs `f` as CPU number `cpu`, which nobody else may be at the time; flushes reach all CPUs.
    ///
    /// # Panics
    /// If there is no such CPU, or somebody is it already.
    pub fn on_cpu<R>(&self, cpu: usize, f: impl FnOnce(&mut OnHosted<'_, 'x, 'm, 's, 'a, 'v>) -> R) -> R {
        self.on_cpu_flushing(cpu, &mut self.mmu.all_cpus(), f)
    }

    /// The same with a way to flush of the caller's.
    ///
    /// # Panics
    /// As for [`Self::on_cpu`].
    pub fn on_cpu_flushing<R>(
        &self,
        cpu: usize,
        tlb: &mut dyn TlbFlush,
        f: impl FnOnce(&mut OnHosted<'_, 'x, 'm, 's, 'a, 'v>) -> R,
    ) -> R {
        self.pages
            .on_cpu(cpu, |context| f(&mut OnPages { allocator: &self.pages.allocator, context, cpu, tlb }))
    }
}

/// How kernel data is mapped: `PAGE_KERNEL`, in words that the format has.
pub fn kernel_data<F: Format>(format: &F) -> Attr {
    let flags = AttrFlags::WRITE | AttrFlags::GLOBAL | AttrFlags::ACCESSED | AttrFlags::DIRTY;
    let attr = Attr::normal(flags);
    let leaf = Leaf { phys: PhysAddr::ZERO, attr, contiguous: false };
    match format.leaf_word(Level::PTE, &leaf) {
        Ok(_) => attr,
        Err(_) => Attr::normal(flags | AttrFlags::EXEC),
    }
}

/// Puts vmalloc in service on a machine, and hands it to `then`. The region's upper tables are there already, as a kernel makes them at boot.
///
/// # Panics
/// If the machine makes no sense.
pub fn with_vmalloc<F: Format, R>(
    machine: &VmallocMachine,
    format: F,
    then: impl FnOnce(&HostedVmalloc<'_, '_, '_, '_, '_, '_, F>) -> R,
) -> R {
    with_regions(machine, None, format, then)
}

/// The same with a region for modules, outside of the machine's own and in the same tables.
///
/// # Panics
/// As for [`with_vmalloc`].
pub fn with_modules<F: Format, R>(
    machine: &VmallocMachine,
    modules: VirtRange,
    format: F,
    then: impl FnOnce(&HostedVmalloc<'_, '_, '_, '_, '_, '_, F>) -> R,
) -> R {
    with_regions(machine, Some(modules), format, then)
}

fn with_regions<F: Format, R>(
    machine: &VmallocMachine,
    modules: Option<VirtRange>,
    format: F,
    then: impl FnOnce(&HostedVmalloc<'_, '_, '_, '_, '_, '_, F>) -> R,
) -> R {
    let width = if F::Word::BYTES == 4 { EntryWidth::Bits32 } else { EntryWidth::Bits64 };
    let ram: Vec<_> = machine.plain.ram.iter().map(|&(_, start, len)| (start, len)).collect();
    let ranges = ram.iter().map(|&(start, len)| PhysRange::from_len(PhysAddr::new(start << 12), len << 12));
    let root = PhysRange::from_len(PhysAddr::new(ROOT), 1 << 20);
    let memory = PhysMemory::new(ranges.chain([root]), width);
    let tables = Tables::new(format, &memory, PhysAddr::new(ROOT));
    let cpus = machine.plain.cpus.len();
    let bytes = Vmalloc::<'_, '_, F, &PhysMemory>::bytes(machine.areas, cpus);
    let words = || vec![0_u64; bytes.div_ceil(8) as usize];
    let (mut room, mut module_room) = (words(), words());
    let registers = kernel_registers(machine.kind, ROOT);
    let mmu = Mmu::new(&memory, cpus, registers, machine.strictness).expect("an empty root");
    let hooks = ZeroingHooks { memory: &memory, ram: ram.clone() };
    let frames = ram.iter().map(|&(_, len)| len).sum();
    let mut config = VmallocConfig::new(kernel_data(&format), cpus as u32, frames, PageShift::SHIFT_4K);
    (machine.config)(&mut config);
    let cursor = tables.lock(machine.range).expect("nobody else has it");
    let of_modules = modules.map(|range| (range, tables.lock(range).expect("another region")));
    let (mut room, mut module_room) = (Carve::of(&mut room), Carve::of(&mut module_room));
    let parts = (cursor, of_modules);
    with_plain_machine(&machine.plain, hooks, |pages| {
        let (cursor, of_modules) = parts;
        let map = *pages.base.map();
        let of_modules = of_modules.map(|(range, cursor)| {
            let config = VmallocConfig { name: "modules", pools: false, ..config };
            Vmalloc::carve(config, range, cursor, map, &mut module_room, (machine.areas, cpus))
                .expect("a region that makes sense")
        });
        let vmalloc = Vmalloc::carve(config, machine.range, cursor, map, &mut room, (machine.areas, cpus))
            .expect("a region that makes sense");
        then(&HostedVmalloc { vmalloc, modules: of_modules, pages, mmu: &mmu, memory: &memory })
    })
}
