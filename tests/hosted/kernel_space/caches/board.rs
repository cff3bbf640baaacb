//! An arm board whose data cache has to be told.

use crate::world::{BASE, Machine, PAGE, World, data};
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_kspace::dcache::{Behaviour, CacheShape, Dcache};
use pagewright_kspace::layout::CacheWindows;
use pagewright_pagetable::format::FormatKind;
use pagewright_pagetable::format::arm::short::ArmShort;
use pagewright_pagetable::{AttrFlags, MapOptions, MemoryType, Tables};
use pagewright_platform::{DataCache, MappedMemory};
use pagewright_sim::PhysMemory;
use pagewright_sim::cache::CachedCpu;
use pagewright_sim::mmu::AccessError;
use std::cell::Cell;

pub(crate) type Rules<'w> = Dcache<'w, ArmShort, &'w PhysMemory>;

/// Where user code has its mappings: page by page, so that every colour is there.
pub(crate) const USER: u64 = 0x10_0000;

/// A page of low memory whose address in the linear map has the first colour.
pub(crate) fn page(n: u64) -> PhysAddr {
    PhysAddr::new(BASE + (8 << 20) + n * 4 * PAGE)
}

pub(crate) fn user(n: u64) -> VirtAddr {
    VirtAddr::new(USER + n * PAGE)
}

pub(crate) struct Board<'a, 'w> {
    pub(crate) m: &'a Machine<'w, ArmShort>,
    pub(crate) cpu: &'a CachedCpu<'a, 'w>,
    pub(crate) rules: &'a Rules<'w>,
}

impl Board<'_, '_> {
    /// The kernel's address of a page.
    pub(crate) fn kernel(&self, page: PhysAddr) -> VirtAddr {
        self.m.linear.address(page).unwrap()
    }

    pub(crate) fn write(&self, at: VirtAddr, byte: u8) {
        self.cpu.store(at, false, &[byte; PAGE as usize]).unwrap();
    }

    /// Whether a whole page reads as this byte.
    pub(crate) fn reads(&self, at: VirtAddr, byte: u8) -> bool {
        let mut bytes = [0; PAGE as usize];
        self.cpu.load(at, false, &mut bytes).unwrap();
        bytes.iter().all(|b| *b == byte)
    }
}

/// Runs `then` on a board with this cache. User pages are mapped as `(user page, page, memory type)` says.
pub(crate) fn board(
    shape: &str,
    mini: Option<&str>,
    user_pages: &[(u64, PhysAddr, MemoryType)],
    then: impl FnOnce(Board<'_, '_>),
) {
    board_of("CONFIG_HIGHMEM=n", shape, mini, user_pages, then);
}

/// The same with another kernel.
pub(crate) fn board_of(
    config: &str,
    shape: &str,
    mini: Option<&str>,
    user_pages: &[(u64, PhysAddr, MemoryType)],
    then: impl FnOnce(Board<'_, '_>),
) {
    let shape: CacheShape = shape.parse().unwrap();
    let behaviour = Behaviour::of(&shape, PAGE);
    let windows = match (behaviour, mini) {
        (Behaviour::ViptAliasing, _) => CacheWindows::Aliasing,
        (_, Some(_)) => CacheWindows::Minicache,
        _ => CacheWindows::None,
    };
    let world = World::with_cache(FormatKind::ArmShort, ArmShort::default(), config, windows);
    world.run(1, |m, pages| {
        // Another view of the same tree; nobody else changes these addresses.
        let tables = Tables::new(ArmShort::default(), m.tables.memory(), m.tables.root());
        for &(n, phys, memory) in user_pages {
            let range = VirtRange::from_len(user(n), PAGE);
            let attr = data::<ArmShort>().changed(AttrFlags::empty(), AttrFlags::GLOBAL).with_memory(memory);
            let mut cursor = tables.lock(range).unwrap();
            cursor.map(range, phys, attr, &MapOptions::PAGES, pages).unwrap();
        }
        let windows = Rules::windows(m.layout);
        let mut cpu = CachedCpu::new(&m.mmu, 0, shape);
        if let (Some(mini), Some(window)) = (mini, windows) {
            cpu = cpu.with_mini(window, mini.parse().unwrap());
        }
        let rules = Rules::new(behaviour, m.linear, windows.map(|w| m.slots(w))).unwrap();
        then(Board { m: &m, cpu: &cpu, rules: &rules });
    });
}

/// A cache of which one operation is left out.
pub(crate) struct Without<'a, 'b, 'm> {
    pub(crate) cpu: &'a CachedCpu<'b, 'm>,
    /// Which one.
    pub(crate) skip: Option<u32>,
    /// How many there were.
    pub(crate) seen: Cell<u32>,
}

impl Without<'_, '_, '_> {
    fn next(&self, work: impl FnOnce()) {
        let number = self.seen.get();
        self.seen.set(number + 1);
        if self.skip != Some(number) {
            work();
        }
    }
}

impl DataCache for Without<'_, '_, '_> {
    fn clean_invalidate(&self, at: VirtAddr, bytes: u64) {
        self.next(|| self.cpu.clean_invalidate(at, bytes));
    }

    fn clean(&self, at: VirtAddr, bytes: u64) {
        self.next(|| self.cpu.clean(at, bytes));
    }

    fn invalidate(&self, at: VirtAddr, bytes: u64) {
        self.next(|| self.cpu.invalidate(at, bytes));
    }

    fn clean_invalidate_all(&self) {
        self.next(|| self.cpu.clean_invalidate_all());
    }
}

impl MappedMemory for Without<'_, '_, '_> {
    type Error = AccessError;

    fn zero(&self, at: VirtAddr, bytes: u64) -> Result<(), AccessError> {
        self.cpu.zero(at, bytes)
    }

    fn copy(&self, to: VirtAddr, from: VirtAddr, bytes: u64) -> Result<(), AccessError> {
        self.cpu.copy(to, from, bytes)
    }

    fn read(&self, at: VirtAddr, into: &mut [u8]) -> Result<(), AccessError> {
        self.cpu.read(at, into)
    }

    fn write(&self, at: VirtAddr, bytes: &[u8]) -> Result<(), AccessError> {
        self.cpu.write(at, bytes)
    }
}
