//! Reserved memory that is freed or lent later in the boot, kept as tokens until then.

use super::Running;
use crate::boot::{Boot, info, warning};
use arrayvec::ArrayVec;
use core::fmt::Display;
use pagewright_addr::{PfnRange, PhysRange};
use pagewright_firmware::Arch;
use pagewright_page::{Pristine, Reserved};
use pagewright_zone::buddy::Buddy;

/// The most pieces that are kept: those of the areas that there can be, and of what else is freed.
pub(super) const MAX_KEPT: usize = 144;

/// Why a reserved range was kept apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kept {
    /// The CMA area of that number.
    Cma(usize),
    SmpLocks,
    Decrypted,
    InitSections,
    /// Between text and read-only data.
    TextGap,
    /// Between read-only data and data.
    RodataGap,
    Initrd,
    BootServices,
}

/// Reserved ranges that are freed or lent later.
pub(super) fn special_ranges(boot: &Boot<'_>) -> ArrayVec<(PfnRange, Kept), 136> {
    let c = &boot.machine.config;
    let shift = c.page_shift;
    let mut out: ArrayVec<(PfnRange, Kept), 136> = ArrayVec::new();
    let mut add = |range: PhysRange, why| {
        let frames = range.frames_inside(shift);
        if !frames.is_empty() {
            let _ = out.try_push((frames, why));
        }
    };
    for (at, area) in boot.cma.iter().enumerate() {
        add(area.range, Kept::Cma(at));
    }
    let image = &boot.machine.image;
    add(PhysRange::new(image.init_begin, image.init_end), Kept::InitSections);
    if boot.frees_smp_locks() {
        add(image.smp_locks, Kept::SmpLocks);
    }
    add(image.decrypted_unused, Kept::Decrypted);
    if boot.machine.arch == Arch::X86_64 && c.strict_kernel_rwx {
        // Between text, read-only data and data lies what alignment to large pages left over.
        add(PhysRange::new(image.text_end, image.rodata_start), Kept::TextGap);
        add(PhysRange::new(image.rodata_end, image.data_start), Kept::RodataGap);
    }
    if let Some(initrd) = boot.initrd.filter(|_| !boot.params.keep_initrd) {
        add(freed_initrd(boot, initrd), Kept::Initrd);
    }
    for range in &boot.boot_services {
        add(*range, Kept::BootServices);
    }
    out.sort_unstable_by_key(|(r, _)| r.start);
    out
}

/// What is freed of the initial RAM disk: only the pages that it fills on arm64, also its ends' elsewhere.
pub(super) fn freed_initrd(boot: &Boot<'_>, initrd: PhysRange) -> PhysRange {
    let shift = boot.machine.config.page_shift;
    let whole = boot.machine.arch != Arch::Arm64;
    if whole { initrd.frames_touched(shift) } else { initrd.frames_inside(shift) }.bytes(shift)
}

/// Marks memory as reserved; what is freed later stays at hand.
pub(super) fn keep_reserved<'a>(
    buddy: &Buddy<'_, '_, 'a>,
    mut part: Pristine<'a>,
    special: &[(PfnRange, Kept)],
    kept: &mut ArrayVec<(Kept, Reserved<'a>), MAX_KEPT>,
) {
    for (pfns, why) in special {
        let index = |pfn| buddy.map().idx(pfn).map(|i| u64::from(i.get()));
        let last = pfns.end.saturating_sub(1);
        let (Some(start), Some(end)) = (index(pfns.start), index(last)) else { continue };
        let (start, end) = (start.max(part.start()), (end + 1).min(part.end()));
        if start >= end || kept.is_full() {
            continue;
        }
        // Reserved for good: the token is dropped, the frames stay what they are.
        drop(part.take_front(start - part.start()).into_reserved());
        kept.push((*why, part.take_front(end - start).into_reserved()));
    }
    drop(part.into_reserved());
}

impl<'a> Running<'_, '_, 'a> {
    /// Takes out what was kept for one reason.
    fn take(&mut self, which: Kept) -> ArrayVec<Reserved<'a>, MAX_KEPT> {
        let (mut stay, mut taken) = (ArrayVec::new(), ArrayVec::new());
        for (why, reserved) in self.kept.drain(..) {
            if why == which { taken.push(reserved) } else { stay.push((why, reserved)) }
        }
        self.kept = stay;
        taken
    }

    /// Gives what was kept for one reason to the page allocator.
    pub(super) fn free_kept(&mut self, which: Kept) {
        for reserved in self.take(which) {
            self.buddy.free_reserved(reserved);
        }
    }

    /// Gives a part of the kernel's image to the page allocator, and says so.
    pub(super) fn free_image(&mut self, boot: &Boot<'_>, which: Kept, what: impl Display) {
        let parts = self.take(which);
        let pages: u64 = parts.iter().map(Reserved::len).sum();
        parts.into_iter().for_each(|part| self.buddy.free_reserved(part));
        if pages > 0 {
            info!(boot, "Freeing {what} memory: {}K", (pages * boot.page_bytes()) >> 10);
        }
    }

    /// `cma_init_reserved_areas`: each area becomes memory that is lent. One that lies in more than one zone cannot be,
    /// and is ordinary memory from here on.
    pub(super) fn activate_cma(&mut self, boot: &mut Boot<'_>) {
        for at in 0..boot.cma.len() {
            let mut pieces = self.take(Kept::Cma(at));
            if pieces.len() == 1
                && self.buddy.fits_cma(&pieces[0])
                && let Some(area) = pieces.pop()
            {
                self.buddy.activate_cma(area);
                continue;
            }
            pieces.into_iter().for_each(|piece| self.buddy.free_reserved(piece));
            let pages = boot.cma[at].range.len() >> boot.machine.config.page_shift.get();
            boot.total_cma_pages -= pages;
            boot.cma[at].given_back = true;
            warning!(boot, "cma: CMA area {} could not be activated", boot.cma[at].name);
        }
    }
}

impl Boot<'_> {
    /// Whether the table of lock prefixes goes (`alternative_instructions`): a kernel that runs on one processor while more
    /// may come has patched them out, and keeps the table to put them back.
    pub fn frees_smp_locks(&self) -> bool {
        let starts_one = self.params.nosmp || self.params.maxcpus.is_some_and(|cpus| cpus <= 1);
        self.num_possible_cpus() == 1 || !(starts_one || self.present_cpus <= 1)
    }
}
