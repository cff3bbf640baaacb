//! What the slab allocator decides by, on the machine that boots (`pagewright-slab` is re-exported here).

pub use pagewright_slab::*;

use crate::Boot;
use pagewright_firmware::Arch;
use pagewright_slab::kmalloc::Classes;
use pagewright_slab::slub::Slub;

/// Bytes of a cache line on the processors that these architectures have (L1_CACHE_BYTES of Debian's kernels).
const CACHE_LINE: u32 = 64;

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
        Slub {
            page_shift: config.page_shift,
            word: if config.is_64bit() { 8 } else { 4 },
            cpus: if present > 1 { present } else { ids },
            cache_line: CACHE_LINE,
            ..Slub::new(1)
        }
    }

    /// The caches that this machine's kmalloc has.
    pub fn kmalloc_classes(&self) -> Classes {
        let config = &self.machine.config;
        // What devices may be given shares no cache line with anything else.
        let (min_size, min_align) = match self.machine.arch {
            Arch::X86_64 | Arch::I386 => (8, 8),
            Arch::Arm => (CACHE_LINE, CACHE_LINE),
            Arch::Arm64 => (2 * CACHE_LINE, 2 * CACHE_LINE),
        };
        Classes {
            page_shift: config.page_shift,
            min_size,
            min_align,
            accounted: config.memcg,
            dma: config.zone_dma,
        }
    }
}
