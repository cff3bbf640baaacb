//! Contiguous memory areas: memory that is lent to movable allocations until somebody needs it in one piece.
//!
//! The boot reserves areas and lends them ([`Buddy::activate_cma`](crate::buddy::Buddy::activate_cma)); a [`CmaArea`] keeps, for each, which parts were given out. What
//! an allocation gets is a token like any other.
//!
//! # Locks
//! An area's bitmap has a lock of its own, inside of which nothing else is taken: a place is marked first, then its frames are fetched
//! ([`PageAllocator::alloc_contig_range`]), and the marks go again if that fails. Two allocations that share a pageblock at the same time
//! may find it isolated by the other; like one that meets a page that cannot be moved, they try the next place. Linux lets one
//! wait for the other.

mod bitmap;
mod dma;
#[cfg(test)]
mod tests;

pub use dma::{CONFIG_CMA_ALIGNMENT, DmaAreas};

use super::contig::ContigError;
use super::migrate::Migrate;
use super::{Context, Hooks, PageAllocator};
use crate::buddy::MigrateType;
use crate::gfp::Gfp;
use bitmap::Bitmap;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use pagewright_addr::{Order, Pfn, PfnRange};
use pagewright_page::Frames;
use pagewright_platform::{Interrupts, Mutex, WithoutInterrupts};

/// Why an area cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CmaAreaError {
    /// Its pages are no multiple of those that a bit stands for, or there are none.
    Size {
        /// The area.
        pfns: PfnRange,
        /// What a bit stands for.
        order_per_bit: Order,
    },
    /// Too few words for the bitmap: [`CmaArea::required_words`].
    Bitmap {
        /// How many there are.
        len: usize,
        /// How many are needed.
        required: usize,
    },
}

impl fmt::Display for CmaAreaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { pfns, order_per_bit } => {
                write!(f, "CMA area {pfns:?} is not made of blocks of order {}", order_per_bit.get())
            }
            Self::Bitmap { len, required } => write!(f, "{len} words of bitmap, {required} are needed"),
        }
    }
}

impl core::error::Error for CmaAreaError {}

/// One area (`struct cma`).
#[derive(Debug)]
pub struct CmaArea<'m> {
    name: &'m str,
    pfns: PfnRange,
    order_per_bit: Order,
    bitmap: Mutex<Bitmap<'m>>,
    pages_success: AtomicU64,
    pages_fail: AtomicU64,
}

/// What an area has and did: `/sys/kernel/debug/cma` and `/sys/kernel/mm/cma`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CmaFigures {
    /// Its pages ("count").
    pub count: u64,
    /// How many are given out ("used").
    pub used: u64,
    /// Pages of the largest run that is not ("maxchunk").
    pub max_chunk: u64,
    /// Pages that allocations got ("alloc_pages_success").
    pub alloc_pages_success: u64,
    /// Pages that allocations did not get ("alloc_pages_fail").
    pub alloc_pages_fail: u64,
}

impl<'m> CmaArea<'m> {
    /// Words of bitmap for an area.
    pub const fn required_words(pages: u64, order_per_bit: Order) -> usize {
        (pages >> order_per_bit.get()).div_ceil(64) as usize
    }

    /// An area that was lent to the page allocator already, nothing of it given out.
    ///
    /// # Errors
    /// [`CmaAreaError`].
    pub fn new(
        name: &'m str,
        pfns: PfnRange,
        order_per_bit: Order,
        words: &'m mut [u64],
    ) -> Result<Self, CmaAreaError> {
        if pfns.is_empty() || !pfns.len().is_multiple_of(order_per_bit.pages()) {
            return Err(CmaAreaError::Size { pfns, order_per_bit });
        }
        let (len, required) = (words.len(), Self::required_words(pfns.len(), order_per_bit));
        let bitmap = Bitmap::new(words, pfns.len() >> order_per_bit.get());
        let bitmap = bitmap.ok_or(CmaAreaError::Bitmap { len, required })?;
        Ok(Self {
            name,
            pfns,
            order_per_bit,
            bitmap: Mutex::new(bitmap),
            pages_success: AtomicU64::new(0),
            pages_fail: AtomicU64::new(0),
        })
    }

    /// Its name: "reserved" for the default area, the node's for one from a device tree.
    pub const fn name(&self) -> &'m str {
        self.name
    }

    /// Its frames.
    pub const fn pfns(&self) -> PfnRange {
        self.pfns
    }

    fn bits_of(&self, pages: u64) -> u64 {
        pages.div_ceil(self.order_per_bit.pages())
    }

    fn order_pages(&self) -> u64 {
        self.order_per_bit.pages()
    }

    /// Its bitmap, with handlers kept out as long as it is locked.
    fn with<R>(&self, interrupts: &impl Interrupts, f: impl FnOnce(&mut Bitmap<'m>) -> R) -> R {
        let _quiet = WithoutInterrupts::new(interrupts);
        f(&mut self.bitmap.lock())
    }

    fn mark(&self, interrupts: &impl Interrupts, start: Pfn, pages: u64, set: bool) {
        let bit = (start.get() - self.pfns.start.get()) / self.order_pages();
        self.with(interrupts, |bitmap| bitmap.put(bit, self.bits_of(pages), set));
    }
}

/// An area has no such range to give.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CmaFailure<'n> {
    /// The area.
    pub area: &'n str,
    /// How many pages were asked for.
    pub count: u64,
    /// What kept the last place that was tried from being had; none if the bitmap has no place.
    pub cause: Option<ContigError>,
}

impl CmaFailure<'_> {
    /// Linux's number for it.
    pub fn errno(&self) -> i32 {
        self.cause.map_or(-12, |cause| cause.errno())
    }
}

impl fmt::Display for CmaFailure<'_> {
    /// In the words of the kernel log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { area, count, .. } = self;
        write!(f, "cma: cma_alloc: {area}: alloc failed, req-size: {count} pages, ret: {}", self.errno())
    }
}

impl core::error::Error for CmaFailure<'_> {}

/// How often areas served and did not (cma_alloc_success, cma_alloc_fail in vmstat).
#[derive(Debug, Default)]
pub struct CmaEvents {
    success: AtomicU64,
    fail: AtomicU64,
}

impl CmaEvents {
    /// Allocations that got their pages.
    pub fn success(&self) -> u64 {
        self.success.load(Relaxed)
    }

    /// Allocations that did not.
    pub fn fail(&self) -> u64 {
        self.fail.load(Relaxed)
    }
}

impl<'m, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, '_, 'a, I, H> {
    /// Allocates `count` contiguous pages from an area, aligned to `align` (`cma_alloc`).
    ///
    /// With `no_warn` nothing that is needed on the way is reported when it fails.
    ///
    /// # Errors
    /// [`CmaFailure`]; the area is as it was.
    pub fn cma_alloc<'n>(
        &self,
        cx: &Context<'_, 'm, 'a>,
        mover: &dyn Migrate,
        area: &CmaArea<'n>,
        (count, align, no_warn): (u64, Order, bool),
    ) -> Result<Frames<'a>, CmaFailure<'n>> {
        let result = self.cma_try(cx, mover, area, (count, align, no_warn));
        let (event, pages) = match result {
            Ok(_) => (&self.cma.success, &area.pages_success),
            Err(_) => (&self.cma.fail, &area.pages_fail),
        };
        event.fetch_add(1, Relaxed);
        pages.fetch_add(count, Relaxed);
        result
    }

    fn cma_try<'n>(
        &self,
        cx: &Context<'_, 'm, 'a>,
        mover: &dyn Migrate,
        area: &CmaArea<'n>,
        (count, align, no_warn): (u64, Order, bool),
    ) -> Result<Frames<'a>, CmaFailure<'n>> {
        let mut failure = CmaFailure { area: area.name, count, cause: None };
        if count == 0 || count > area.pfns.len() {
            return Err(failure);
        }
        let per_bit = area.order_pages();
        let step = (align.pages() / per_bit).max(1);
        // Bits count from the area's first frame, which need not be as aligned as the request.
        let offset = (area.pfns.start.get() & (align.pages() - 1)) / per_bit;
        let mut gfp = Gfp::GFP_KERNEL;
        gfp.set(Gfp::NOWARN, no_warn);
        let mut from = 0;
        loop {
            let bits = area.bits_of(count);
            let place = area.with(&self.interrupts, |bitmap| {
                let bit = bitmap.find(from, bits, step, offset)?;
                bitmap.put(bit, bits, true);
                Some(bit)
            });
            let Some(bit) = place else { return Err(failure) };
            let start = Pfn::new(area.pfns.start.get() + bit * per_bit);
            let pfns = PfnRange::from_len(start, count);
            match self.alloc_contig_range(cx, mover, pfns, MigrateType::Cma, gfp) {
                Ok(frames) => return Ok(frames),
                Err(cause) => {
                    area.mark(&self.interrupts, start, count, false);
                    failure.cause = Some(cause);
                    if !matches!(cause, ContigError::Busy { .. }) {
                        return Err(failure);
                    }
                }
            }
            from = bit + step;
        }
    }

    /// Gives pages back to their area (`cma_release`), as many as came or fewer.
    ///
    /// # Errors
    /// The frames themselves if they are not the area's.
    pub fn cma_release(
        &self,
        cx: &Context<'_, 'm, 'a>,
        area: &CmaArea<'_>,
        frames: Frames<'a>,
    ) -> Result<(), Frames<'a>> {
        let (start, count) = (self.ground.map.pfn(frames.start()), frames.len());
        if !area.pfns.contains_range(&PfnRange::from_len(start, count)) {
            return Err(frames);
        }
        self.free_pages(cx, frames);
        area.mark(&self.interrupts, start, count, false);
        Ok(())
    }

    /// What an area has and did.
    pub fn cma_figures(&self, area: &CmaArea<'_>) -> CmaFigures {
        let per_bit = area.order_pages();
        let (used, max_chunk) = area.with(&self.interrupts, |bitmap| {
            let longest = bitmap.clear_runs(0).map(|(_, run)| run).max();
            (bitmap.count_set() * per_bit, longest.unwrap_or(0) * per_bit)
        });
        CmaFigures {
            count: area.pfns.len(),
            used,
            max_chunk,
            alloc_pages_success: area.pages_success.load(Relaxed),
            alloc_pages_fail: area.pages_fail.load(Relaxed),
        }
    }

    /// Writes what of an area is not given out, as kernels with CONFIG_CMA_DEBUG do after a failure: the length and place of each run.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_cma_available(&self, w: &mut dyn fmt::Write, area: &CmaArea<'_>) -> fmt::Result {
        let per_bit = area.order_pages();
        write!(w, "cma: number of available pages: ")?;
        let (mut from, mut total) = (0, 0);
        // Not under the lock: the writer may be slow.
        while let Some((bit, run)) = area.with(&self.interrupts, |bitmap| {
            if from < bitmap.bits() { bitmap.clear_runs(from).next() } else { None }
        }) {
            write!(w, "{}{}@{bit}", if total > 0 { "+" } else { "" }, run * per_bit)?;
            (from, total) = (bit + run, total + run * per_bit);
        }
        writeln!(w, "=> {total} free of {} total pages", area.pfns.len())
    }

    /// How often areas served and did not.
    pub fn cma_events(&self) -> &CmaEvents {
        &self.cma
    }

    /// Pages of all areas, and those that are free (CmaTotal and CmaFree of /proc/meminfo).
    pub fn cma_totals(&self) -> (u64, u64) {
        let sum = |(total, free), cell: &super::ZoneCell<'_, 'a>| {
            let _quiet = WithoutInterrupts::new(&self.interrupts);
            (total + cell.lists.lock().cma_pages(), free + cell.free_cma_pages())
        };
        self.zones.iter().fold((0, 0), sum)
    }
}
