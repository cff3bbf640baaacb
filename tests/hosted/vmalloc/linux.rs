//! The cases of Linux's vmalloc test module (`pagewright::vmalloc::cases`), with pools and without; all memory and all addresses come back.

use super::*;
use pagewright::vmalloc::cases::{self, CaseError, Ground, RamGround};
use pagewright_addr::Pfn;
use pagewright_kspace::vmalloc::{VfreeError, VmContext, VmRequest, Vmalloc, VmallocError};
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_sim::PhysMemory;
use pagewright_sim::mmu::Mmu;
use pagewright_sim::vmalloc::with_vmalloc;
use pagewright_zone::Gfp;

/// So many rounds; under Miri few.
const fn rounds(n: u64) -> u64 {
    if cfg!(miri) { 3 } else { n }
}

/// A machine's area as its second CPU sees it, through the software MMU.
struct Hosted<'r, 'v, 'a, 'm, C> {
    vmalloc: &'r Vmalloc<'v, 'a, X86Level4, &'v PhysMemory>,
    mmu: &'r Mmu<'m>,
    on: &'r mut C,
    pages: &'r [Pfn],
}

impl<'a, C: VmContext<'a>> Ground for Hosted<'_, '_, 'a, '_, C> {
    fn page_bytes(&self) -> u64 {
        PAGE
    }

    fn range(&self) -> VirtRange {
        self.vmalloc.range()
    }

    fn vmalloc(&mut self, request: &VmRequest) -> Result<VirtAddr, VmallocError> {
        self.vmalloc.vmalloc_request(self.on, request)
    }

    fn vfree(&mut self, at: VirtAddr) -> Result<(), VfreeError> {
        self.vmalloc.vfree(self.on, at)
    }

    fn purge(&mut self) {
        self.vmalloc.purge_vmap_area_lazy(self.on);
    }

    fn store(&mut self, at: VirtAddr, byte: u8) -> bool {
        self.mmu.store(1, at, false, &[byte]).is_ok()
    }

    fn load(&mut self, at: VirtAddr) -> Option<u8> {
        let mut byte = [0];
        self.mmu.load(1, at, false, &mut byte).ok().map(|_| byte[0])
    }
}

impl<'a, C: VmContext<'a>> RamGround for Hosted<'_, '_, 'a, '_, C> {
    fn pages(&self) -> usize {
        self.pages.len()
    }

    fn map_ram(&mut self, count: usize) -> Result<VirtAddr, VmallocError> {
        self.vmalloc.vm_map_ram(self.on, &self.pages[..count])
    }

    fn unmap_ram(&mut self, at: VirtAddr, count: usize) -> Result<(), VfreeError> {
        self.vmalloc.vm_unmap_ram(self.on, at, count as u64)
    }
}

/// Runs a case with pools and without, and expects all memory and all addresses back.
fn case(test: impl Fn(&mut dyn RamGround) -> Result<(), CaseError>) {
    for config in [lowest_first as fn(&mut VmallocConfig), |_| ()] {
        let machine = VmallocMachine { config, areas: 1 << 15, ..machine(FormatKind::X86Level4, 128, 2) };
        with_vmalloc(&machine, X86Level4::default(), |m| {
            let before = buddyinfo(m.pages);
            m.on_cpu(1, |on| {
                let pages: Vec<_> = (0..80)
                    .map(|_| on.allocator.get_free_pages(on.context, Gfp::GFP_KERNEL, Order::ZERO).unwrap())
                    .collect();
                let (allocator, context) = (on.allocator, on.context);
                assert_eq!(test(&mut Hosted { vmalloc: &m.vmalloc, mmu: m.mmu, on, pages: &pages }), Ok(()));
                for pfn in pages {
                    allocator.free_pages_at(context, pfn, Order::ZERO).unwrap();
                }
            });
            m.on_cpu(0, |on| m.vmalloc.give_all_back(on));
            expect_all_back(m, &before);
        });
    }
}

/// Places for so many areas.
fn room(areas: u64) -> Vec<VirtAddr> {
    vec![VirtAddr::ZERO; rounds(areas) as usize]
}

#[test]
fn fix_size() {
    case(|g| cases::fix_size(g, rounds(500)));
}

#[test]
fn full_fit() {
    case(|g| cases::full_fit(g, &mut room(3000), rounds(300)));
}

#[test]
fn long_busy_list() {
    case(|g| cases::long_busy_list(g, &mut room(15_000), rounds(200)));
}

#[test]
fn random_size() {
    case(|g| cases::random_size(g, rounds(400)));
}

#[test]
fn fix_align() {
    case(|g| cases::fix_align(g, rounds(300)));
}

#[test]
fn random_align() {
    case(|g| cases::random_align(g, rounds(300)));
}

#[test]
fn align_shift() {
    // In the region, which begins at 0xffffc90000000000, lie multiples of up to 2^45: 0xffffe00000000000.
    assert_eq!(
        region(FormatKind::X86Level4).start.get().checked_next_multiple_of(1 << 45),
        Some(0xffff_e000_0000_0000)
    );
    case(|g| cases::align_shift(g));
}

#[test]
fn vm_map_ram() {
    case(|g| cases::vm_map_ram(g, rounds(400)));
}

/// A ground where one thing is wrong, so that a case has something to find.
struct Spoiled<'r, G> {
    ground: &'r mut G,
    what: Wrong,
    areas: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    /// What is written is another byte.
    Byte,
    /// What is freed stays.
    Free,
    /// Alignment is ignored.
    Align,
}

impl<G: Ground> Ground for Spoiled<'_, G> {
    fn page_bytes(&self) -> u64 {
        self.ground.page_bytes()
    }

    fn range(&self) -> VirtRange {
        self.ground.range()
    }

    fn vmalloc(&mut self, request: &VmRequest) -> Result<VirtAddr, VmallocError> {
        self.areas += 1;
        let align = if self.what == Wrong::Align { 1 } else { request.align };
        self.ground.vmalloc(&VmRequest { align, ..*request })
    }

    fn vfree(&mut self, at: VirtAddr) -> Result<(), VfreeError> {
        if self.what == Wrong::Free { Ok(()) } else { self.ground.vfree(at) }
    }

    fn purge(&mut self) {
        self.ground.purge();
    }

    fn store(&mut self, at: VirtAddr, byte: u8) -> bool {
        let byte = if self.what == Wrong::Byte { byte ^ 1 } else { byte };
        self.ground.store(at, byte)
    }

    fn load(&mut self, at: VirtAddr) -> Option<u8> {
        self.ground.load(at)
    }
}

#[test]
fn cases_find_what_is_wrong() {
    for (what, found) in [
        (Wrong::Byte, (|e| matches!(e, CaseError::Lost(_))) as fn(CaseError) -> bool),
        (Wrong::Free, |e| matches!(e, CaseError::Reachable(_))),
        (Wrong::Align, |e| matches!(e, CaseError::Unaligned(_))),
    ] {
        let machine = machine(FormatKind::X86Level4, 32, 2);
        with_vmalloc(&machine, X86Level4::default(), |m| {
            m.on_cpu(1, |on| {
                let ground = &mut Hosted { vmalloc: &m.vmalloc, mmu: m.mmu, on, pages: &[] };
                let mut spoiled = Spoiled { ground, what, areas: 0 };
                let end = cases::fix_align(&mut spoiled, 3);
                assert!(end.is_err_and(found), "{end:?} after {} areas", spoiled.areas);
            });
        });
    }
}
