//! A 32-bit machine with high memory: its layout, its tables in simulated RAM, its CPUs.

use pagewright_addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_kspace::dcache::Dcache;
use pagewright_kspace::highmem::{Kmap, KmapLocal, Linear, PkmapEntry};
use pagewright_kspace::layout::{CacheWindows, Ram};
use pagewright_kspace::{Facts, Kind, Layout};
use pagewright_pagetable::format::FormatKind;
use pagewright_pagetable::format::x86::i386::I386;
use pagewright_pagetable::{
    Attr, AttrFlags, FlushScope, Format, MapOptions, NotLive, Slots, TableSource, Tables, TlbFlush, Word,
};
use pagewright_sim::mmu::{ArmRegisters, CpuSet, Mmu, Registers, Strictness, X86Registers};
use pagewright_sim::{EntryWidth, PhysMemory};

/// Where RAM begins; low memory, and high memory above it.
pub(crate) const BASE: u64 = 0x4000_0000;
pub(crate) const LOW: u64 = 16 << 20;
pub(crate) const HIGH: u64 = 16 << 20;
pub(crate) const PAGE: u64 = 4096;

/// Kernel data; without PAE i386 can execute whatever it can read.
pub(crate) fn data<F: Format>() -> Attr {
    let flags = AttrFlags::WRITE | AttrFlags::GLOBAL | AttrFlags::ACCESSED | AttrFlags::DIRTY;
    Attr::normal(if F::NAME == I386::NAME { flags | AttrFlags::EXEC } else { flags })
}

/// The n-th page of high memory.
pub(crate) fn high(n: u64) -> PhysAddr {
    PhysAddr::new(BASE + LOW + n * PAGE)
}

/// Pages for tables.
#[derive(Debug)]
pub(crate) struct Pages {
    next: u64,
    end: u64,
    pub(crate) free: Vec<PhysAddr>,
}

impl TableSource for Pages {
    fn alloc_table(&mut self) -> Option<PhysAddr> {
        self.free.pop().or_else(|| {
            let page = (self.next < self.end).then_some(PhysAddr::new(self.next))?;
            self.next += PAGE;
            Some(page)
        })
    }

    fn free_table(&mut self, page: PhysAddr) {
        self.free.push(page);
    }
}

/// Counts flushes, and hands them to some CPUs.
pub(crate) struct Counted<'a, 'm> {
    pub(crate) cpus: CpuSet<'a, 'm>,
    pub(crate) flushes: u32,
    /// How often new entries were made visible to walkers.
    pub(crate) published: u32,
}

impl<'a, 'm> Counted<'a, 'm> {
    pub(crate) fn all(mmu: &'a Mmu<'m>) -> Self {
        Self { cpus: mmu.all_cpus(), flushes: 0, published: 0 }
    }

    pub(crate) fn only(mmu: &'a Mmu<'m>, cpu: usize) -> Self {
        Self { cpus: mmu.only(cpu), flushes: 0, published: 0 }
    }
}

impl TlbFlush for Counted<'_, '_> {
    fn flush(&mut self, scope: &FlushScope) {
        self.flushes += 1;
        self.cpus.flush(scope);
    }

    fn publish(&mut self) {
        self.published += 1;
    }
}

fn config(kind: FormatKind) -> KernelConfig {
    KernelConfig::debian(match kind {
        FormatKind::ArmLpae => Flavour::ArmmpLpae,
        FormatKind::I386 => Flavour::I686,
        FormatKind::I386Pae => Flavour::I686Pae,
        _ => Flavour::Armmp,
    })
}

/// A kernel's layout on such a machine.
pub(crate) fn layout(kind: FormatKind, more: &str, cache: CacheWindows) -> Layout {
    let mut config = config(kind);
    config.apply("CONFIG_HIGHMEM=y").unwrap();
    config.apply(more).unwrap();
    let at = PhysAddr::new;
    let ram = Ram { map_start: at(BASE), start: at(BASE), high_memory: at(BASE + LOW) };
    let mut facts = Facts::new(config).with_ram(ram);
    facts.arm.cache = cache;
    Layout::of(&facts).unwrap()
}

fn registers(kind: FormatKind, root: u64) -> Registers {
    match kind {
        FormatKind::ArmShort => {
            Registers::Arm(ArmRegisters { dacr: 0x5555_5555, ..ArmRegisters::short(root) })
        }
        FormatKind::ArmLpae => Registers::Arm(ArmRegisters::long(root, 0, 0, 0xff00_0004_eeaa_4400)),
        FormatKind::I386 => Registers::X86(X86Registers::two_level(root)),
        _ => Registers::X86(X86Registers::pae(root)),
    }
}

/// Tables and RAM, before anybody uses them.
pub(crate) struct World<F: Format> {
    kind: FormatKind,
    format: F,
    pub(crate) layout: Layout,
    pub(crate) memory: PhysMemory,
}

/// What runs on it.
pub(crate) struct Machine<'w, F: Format> {
    pub(crate) layout: &'w Layout,
    pub(crate) linear: Linear,
    pub(crate) mmu: Mmu<'w>,
    pub(crate) tables: &'w Tables<F, &'w PhysMemory>,
}

impl<F: Format> World<F> {
    pub(crate) fn new(kind: FormatKind, format: F, more: &str) -> Self {
        Self::with_cache(kind, format, more, CacheWindows::None)
    }

    pub(crate) fn with_cache(kind: FormatKind, format: F, more: &str, cache: CacheWindows) -> Self {
        let width = if F::Word::BYTES == 4 { EntryWidth::Bits32 } else { EntryWidth::Bits64 };
        let ram = PhysRange::from_len(PhysAddr::new(BASE), LOW + HIGH);
        Self { kind, format, layout: layout(kind, more, cache), memory: PhysMemory::new([ram], width) }
    }

    /// Maps low memory, makes the tables of the windows, and starts `cpus` CPUs.
    pub(crate) fn run(&self, cpus: usize, then: impl FnOnce(Machine<'_, F>, &mut Pages)) {
        let root = BASE + (1 << 20);
        let mut pages = Pages { next: BASE + (2 << 20), end: BASE + (3 << 20), free: Vec::new() };
        let mut tables = Tables::new(self.format, &self.memory, PhysAddr::new(root));
        let linear = Linear::of(&self.layout).unwrap();
        let low = VirtRange::from_len(linear.base, LOW);
        tables
            .cursor()
            .map(low, PhysAddr::new(BASE), data::<F>(), &MapOptions::default(), &mut pages)
            .unwrap();
        let windows = [
            self.layout.get(Kind::Pkmap),
            KmapLocal::<F, &PhysMemory>::range(self.layout.fixmap()),
            Dcache::<F, &PhysMemory>::windows(&self.layout),
        ];
        for window in windows.into_iter().flatten() {
            // Mapped and unmapped again: its tables stay.
            let start = window.start;
            for at in (0..window.len).step_by(PAGE as usize) {
                let page = VirtRange::from_len(VirtAddr::new(start.get() + at), PAGE);
                let mut cursor = tables.cursor();
                cursor.map(page, PhysAddr::new(BASE), data::<F>(), &MapOptions::PAGES, &mut pages).unwrap();
                let pending = cursor.part(page).unwrap().unmap(page, &mut |_| ()).unwrap();
                let _ = pending.finish(&&self.memory, &mut NotLive, &mut pages);
            }
        }
        let registers = registers(self.kind, root);
        let mmu = Mmu::new(&self.memory, cpus, registers, Strictness::STRICT).unwrap();
        then(Machine { layout: &self.layout, linear, mmu, tables: &tables }, &mut pages);
    }
}

impl<'w, F: Format> Machine<'w, F> {
    pub(crate) fn slots(&self, range: VirtRange) -> Slots<'w, F, &'w PhysMemory> {
        let limit = PhysAddr::new(BASE + LOW + HIGH);
        self.tables.lock(range).unwrap().into_slots(range, data::<F>(), limit).unwrap()
    }

    /// The pkmap window, of so many slots only if that is given.
    pub(crate) fn kmap(&self, entries: &'w mut [PkmapEntry]) -> Kmap<'w, F, &'w PhysMemory> {
        let window = self.layout.get(Kind::Pkmap).unwrap();
        let range = VirtRange::from_len(window.start, window.len.min(entries.len() as u64 * PAGE));
        Kmap::new(self.linear, self.slots(range), entries).unwrap()
    }

    pub(crate) fn local(&self, guards: bool) -> KmapLocal<'w, F, &'w PhysMemory> {
        let range = KmapLocal::<F, &PhysMemory>::range(self.layout.fixmap()).unwrap();
        KmapLocal::new(self.linear, self.slots(range), guards).unwrap()
    }

    pub(crate) fn store(&self, cpu: usize, at: VirtAddr, value: u32) {
        self.mmu.store(cpu, at, false, &value.to_le_bytes()).unwrap_or_else(|e| panic!("{e}"));
    }

    pub(crate) fn load(&self, cpu: usize, at: VirtAddr) -> u32 {
        let mut bytes = [0; 4];
        self.mmu.load(cpu, at, false, &mut bytes).unwrap_or_else(|e| panic!("{e}"));
        u32::from_le_bytes(bytes)
    }

    /// What is in RAM, past every MMU.
    pub(crate) fn ram(&self, at: PhysAddr) -> u32 {
        let mut bytes = [0; 4];
        self.mmu.memory().read(at, &mut bytes).unwrap();
        u32::from_le_bytes(bytes)
    }
}

/// Runs a test on every 32-bit format.
macro_rules! on_every_format {
    ($more:expr, $cpus:expr, $test:expr) => {{
        use pagewright_pagetable::format::FormatKind;
        use pagewright_pagetable::format::arm::lpae::ArmLpae;
        use pagewright_pagetable::format::arm::short::ArmShort;
        use pagewright_pagetable::format::x86::i386::{I386, I386Pae};
        use $crate::world::World;
        World::new(FormatKind::ArmShort, ArmShort::default(), $more).run($cpus, $test);
        World::new(FormatKind::ArmLpae, ArmLpae::default(), $more).run($cpus, $test);
        World::new(FormatKind::I386, I386::default(), $more).run($cpus, $test);
        World::new(FormatKind::I386Pae, I386Pae::default(), $more).run($cpus, $test);
    }};
}
pub(crate) use on_every_format;
