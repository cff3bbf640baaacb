//! Reserved memory that is freed or lent later in the boot, kept as tokens until then.

use super::Running;
use crate::boot::{Boot, warning};
use arrayvec::ArrayVec;
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
    ImageGaps,
    InitSections,
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
    if boot.machine.arch == Arch::X86_64 && c.strict_kernel_rwx {
        // Between text, read-only data and data lies what alignment to large pages left over.
        add(PhysRange::new(image.text_end, image.rodata_start), Kept::ImageGaps);
        add(PhysRange::new(image.rodata_end, image.data_start), Kept::ImageGaps);
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
