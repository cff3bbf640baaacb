//! `debug_pagealloc` over page tables that a processor walks: who touches a free page faults.

use super::contig::small;
use super::debug::{Arrays, Watch};
use super::*;
use crate::whole::with_debugged_machine;
use pagewright_addr::{Pfn, PhysAddr, PhysRange, VirtAddr, VirtRange};
use pagewright_page::{FrameIdx, Frames, PageMap};
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_pagetable::{Attr, AttrFlags, MapOptions, TableSource, Tables};
use pagewright_sim::mmu::{Access, AccessError, Fault, FaultKind, Mmu, Registers, Strictness, X86Registers};
use pagewright_sim::{EntryWidth, PhysMemory};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::NoHooks;
use pagewright_zone::debug::{Damage, DebugMemory, Debugging, PAGE_POISON, Switches};
use std::sync::Mutex;

/// Where the kernel has all memory (PAGE_OFFSET).
const LINEAR: u64 = 0xffff_8880_0000_0000;
const RAM: u64 = 1 << 30;
const FRAMES: u64 = 1024;
const ROOT: u64 = 1 << 20;

struct TablePages {
    next: u64,
    free: Vec<PhysAddr>,
}

impl TableSource for TablePages {
    fn alloc_table(&mut self) -> Option<PhysAddr> {
        self.free.pop().or_else(|| {
            self.next += 4096;
            Some(PhysAddr::new(self.next))
        })
    }

    fn free_table(&mut self, page: PhysAddr) {
        self.free.push(page);
    }
}

/// The kernel's linear map, single pages as `debug_pagealloc` has it, and two processors.
struct Linear<'p> {
    phys: &'p PhysMemory,
    mmu: Mmu<'p>,
    tables: Mutex<(Tables<X86Level4, &'p PhysMemory>, TablePages)>,
}

impl<'p> Linear<'p> {
    fn new(phys: &'p PhysMemory) -> Self {
        let mut registers = X86Registers::long(ROOT, false);
        registers.phys_bits = 52;
        let linear = Self {
            phys,
            mmu: Mmu::new(phys, 2, Registers::X86(registers), Strictness::STRICT).unwrap(),
            tables: Mutex::new((
                Tables::new(X86Level4::default(), phys, PhysAddr::new(ROOT)),
                TablePages { next: ROOT, free: vec![] },
            )),
        };
        linear.map(Pfn::new(RAM >> 12), FRAMES, true);
        linear
    }

    fn va(pfn: Pfn) -> VirtAddr {
        VirtAddr::new(LINEAR + (pfn.get() << 12))
    }

    /// Whether a processor reads and writes a page, rather than to fault.
    fn reaches(&self, cpu: usize, pfn: Pfn) -> bool {
        match self.mmu.access(cpu, VirtAddr::new(Self::va(pfn).get() + 8), Access::WRITE) {
            Ok(hit) => {
                assert_eq!(hit.phys, PhysAddr::new((pfn.get() << 12) + 8));
                true
            }
            Err(AccessError::Fault(Fault { kind: FaultKind::Translation, .. })) => false,
            Err(other) => panic!("CPU {cpu}, {pfn:?}: {other}"),
        }
    }

    fn block(&self, map: &PageMap<'_>, frames: &Frames<'_>) -> VirtAddr {
        Self::va(map.pfn(frames.start()))
    }
}

impl DebugMemory for Linear<'_> {
    fn fill(&self, frames: &mut Frames<'_>, byte: u8) {
        // Indices and frames of the one run of RAM differ by where it begins.
        for at in 0..frames.len() {
            let pfn = Pfn::new((RAM >> 12) + u64::from(frames.start().get()) + at);
            self.mmu.store(0, Self::va(pfn), false, &[byte; 4096]).expect("mapped while it is filled");
        }
    }

    fn differs(&self, frames: &Frames<'_>, first: u64, len: u64, byte: u8) -> Option<Damage> {
        let mut bytes = vec![0; (len as usize) << 12];
        let pfn = Pfn::new((RAM >> 12) + u64::from(frames.start().get()) + first);
        self.mmu.load(0, Self::va(pfn), false, &mut bytes).expect("mapped again before it is looked at");
        Damage::of(&bytes, byte)
    }

    fn map(&self, start: Pfn, pages: u64, mapped: bool) {
        let range = VirtRange::from_len(Self::va(start), pages << 12);
        let (tables, source) = &mut *self.tables.lock().unwrap();
        if mapped {
            let flags = AttrFlags::WRITE | AttrFlags::GLOBAL | AttrFlags::ACCESSED | AttrFlags::DIRTY;
            let phys = PhysAddr::new(start.get() << 12);
            tables.cursor().map(range, phys, Attr::normal(flags), &MapOptions::PAGES, source).unwrap();
        } else {
            let pending = tables.cursor().unmap(range, &mut |_| ()).unwrap();
            pending.finish(&self.phys, &mut self.mmu.all_cpus(), source);
        }
    }
}

#[test]
fn a_touch_of_a_free_page_faults_on_every_processor() {
    let ranges = [
        PhysRange::from_len(PhysAddr::ZERO, 16 << 20),
        PhysRange::from_len(PhysAddr::new(RAM), FRAMES << 12),
    ];
    let phys = PhysMemory::new(ranges, EntryWidth::Bits64);
    let (linear, watch, arrays) = (Linear::new(&phys), Watch::default(), Arrays::new());
    let debugging = Debugging::new(&watch, &arrays.failed).with_contents(
        Switches::PAGEALLOC | Switches::POISON,
        &linear,
        &arrays.marks,
    );
    with_debugged_machine(&small(FRAMES, 2), NoHooks, Some(&debugging), |m| {
        let (before, map) = (buddyinfo(m), m.base.map());
        m.on_cpu(0, |cx| {
            let alloc = |n| m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(n)).unwrap();
            let (block, neighbour) = (alloc(2), alloc(0));
            let (pfn, other) = (map.pfn(block.start()), map.pfn(neighbour.start()));
            let at = linear.block(map, &block);
            linear.mmu.store(0, at, false, b"secret").unwrap();
            for cpu in 0..2 {
                assert!((0..4).all(|n| linear.reaches(cpu, pfn.saturating_add(n))), "in use, so mapped");
            }
            m.allocator.free_pages(cx, block);
            for cpu in 0..2 {
                assert!(
                    !(0..4).any(|n| linear.reaches(cpu, pfn.saturating_add(n))),
                    "free: CPU {cpu} faults"
                );
                assert!(linear.reaches(cpu, other), "what is in use beside it is not disturbed");
            }
            let mut read = [0; 6];
            assert!(linear.mmu.load(1, at, false, &mut read).is_err());
            // Whoever gets it finds it mapped, and the pattern where the secret was.
            let again = alloc(2);
            assert_eq!(map.pfn(again.start()), pfn);
            linear.mmu.load(1, at, false, &mut read).unwrap();
            assert_eq!(read, [PAGE_POISON; 6]);
            assert!(watch.troubles().is_empty());
            m.allocator.free_pages(cx, again);
            m.allocator.free_pages(cx, neighbour);
            m.allocator.drain_local_pages(cx);
            assert!(!linear.reaches(0, pfn) && !linear.reaches(0, other));
            // Switched off, all is mapped again.
            m.allocator.set_debugging(false);
            assert!((0..FRAMES).all(|n| linear.reaches(1, map.pfn(FrameIdx::new(n as u32)))));
        });
        linear.mmu.check().expect("no processor remembers what is gone");
        expect_all_back(m, &before);
    });
}
