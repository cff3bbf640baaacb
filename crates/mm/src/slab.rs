//! The slab allocator of the machine that boots: what it decides by, and how it comes into service (`pagewright-slab` is re-exported here).

mod cpus;
mod designs;
mod service;

pub use cpus::ServedCpus;
pub use designs::ObjectService;
pub use pagewright_slab::*;
pub use service::{SlabService, SlabSetup, StartSlabsError};

use crate::Boot;
use pagewright_addr::Order;
use pagewright_firmware::Arch;
use pagewright_slab::kmalloc::Classes;
use pagewright_slab::objects::Design;
use pagewright_slab::slabs::DebugOptions;
use pagewright_slab::slabs::attributes::BuiltIn;
use pagewright_slab::slub::Slub;

/// Bytes of a cache line on the processors that these architectures have (L1_CACHE_BYTES of Debian's kernels).
const CACHE_LINE: u32 = 64;

/// The least size of kmalloc's caches with SLAB (KMALLOC_SHIFT_LOW).
const SLAB_LEAST: u32 = 32;

impl Boot<'_> {
    /// By what this machine's SLUB lays caches out.
    ///
    /// As many processors count as are present when a cache is made. While the boot processor is the only one known to be,
    /// as on arm and arm64 until the others are prepared, all possible numbers count.
    pub fn slub(&self) -> Slub {
        let present = match self.machine.arch {
            Arch::X86_64 | Arch::I386 => self.present_cpus,
            Arch::Arm | Arch::Arm64 => 1,
        };
        let ids = self.possible_cpus.ids().max(1);
        let config = &self.machine.config;
        let standard = Slub::new(1);
        let largest = Order::new(config.max_order.saturating_sub(1)).unwrap_or(standard.largest);
        // A number that is no order of blocks asks for the largest.
        let order = |asked: Option<i32>, usual: Order| {
            let asked =
                asked.map(|n| u8::try_from(n).ok().and_then(Order::new).unwrap_or(largest).min(largest));
            asked.unwrap_or(usual)
        };
        let params = &self.params;
        Slub {
            page_shift: config.page_shift,
            word: if config.is_64bit() { 8 } else { 4 },
            cpus: if present > 1 { present } else { ids },
            cache_line: CACHE_LINE,
            min_order: order(params.slub_min_order, standard.min_order),
            max_order: order(params.slub_max_order, standard.max_order),
            min_objects: params.slub_min_objects.map_or(0, |n| n.try_into().unwrap_or(0)),
            largest,
            cpu_partial: config.slub_cpu_partial,
        }
    }

    /// Which caches this machine's SLUB watches (`slub_debug=`). Letters that mean nothing are skipped; the log's lines about them are [`Self::kmem_cache_init`]'s.
    pub fn slub_debug(&self) -> DebugOptions<'_> {
        self.params.slub_debug.map_or(DebugOptions::NONE, |text| DebugOptions::skipping(text, |_| ()))
    }

    /// The caches that this machine's kmalloc has: SLAB's begin at 32 bytes, SLOB has none.
    pub fn kmalloc_classes(&self) -> Classes {
        self.kmalloc_classes_of(self.slab_design())
    }

    /// Whether caches that do as well as others are others (CONFIG_SLAB_MERGE_DEFAULT, `slab_merge`, `slab_nomerge`).
    pub fn slab_merges(&self) -> bool {
        self.params.slab_nomerge.map_or(self.machine.config.slab_merge_default, |no| !no)
    }

    /// Which of its caches' attributes this machine's kernel has.
    pub const fn slab_attributes(&self) -> BuiltIn {
        let config = &self.machine.config;
        BuiltIn {
            debug: config.slub_debug,
            zone_dma: config.zone_dma,
            numa: config.numa,
            failslab: config.failslab,
        }
    }

    /// The caches that this machine's kmalloc would have with a design.
    pub fn kmalloc_classes_of(&self, design: Design) -> Classes {
        let config = &self.machine.config;
        // What devices may be given shares no cache line with anything else.
        let (min_size, min_align) = match self.machine.arch {
            Arch::X86_64 | Arch::I386 => (8, 8),
            Arch::Arm => (CACHE_LINE, CACHE_LINE),
            Arch::Arm64 => (2 * CACHE_LINE, 2 * CACHE_LINE),
        };
        let min_size = if design == Design::Slab { SLAB_LEAST.max(min_size) } else { min_size };
        Classes {
            page_shift: config.page_shift,
            min_size,
            min_align,
            accounted: config.memcg,
            dma: config.zone_dma,
        }
    }
}
