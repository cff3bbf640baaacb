//! Where the image's parts are, as the linker placed them.

use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_firmware::{Arm64Image, Cpus, Firmware, KernelImage, Machine};
use pagewright_kernel::boot::describe;
use pagewright_kspace::Version;

/// Where the image is linked, and runs: `image.ld` says the same.
pub(super) const KIMAGE_VADDR: u64 = 0xffff_8000_0800_0000;

/// The version of Linux whose mappings it makes.
pub(super) const VERSION: Version = Version::V6_1;

/// The kernel that this image is, in Linux's words.
pub(crate) const CONFIG: KernelConfig = KernelConfig::debian(Flavour::Arm64);

macro_rules! symbols {
    ($($name:ident)*) => {
        mod linker {
            unsafe extern "C" {
                $(pub(super) static $name: u8;)*
            }
        }

        /// Distances from the image's first byte.
        #[derive(Clone, Copy)]
        struct Offsets {
            $($name: u64,)*
        }

        impl Offsets {
            fn of_image() -> Self {
                let base = &raw const linker::_text as u64;
                Self { $($name: (&raw const linker::$name as u64).wrapping_sub(base),)* }
            }
        }
    };
}

symbols! {
    _text _stext _etext __end_rodata __init_begin __inittext_end __init_end _sdata _edata __bss_start __bss_stop _end
    __idmap_text_start __idmap_text_end idmap_pg_dir tramp_pg_dir reserved_pg_dir swapper_pg_dir
    init_idmap_pg_dir init_idmap_pg_end early_tables early_tables_end kept_tables kept_tables_end init_pg_dir init_pg_end bm_pte bm_pmd bm_pud
}

/// An image that was loaded somewhere.
#[derive(Clone, Copy)]
pub(super) struct Loaded {
    at: PhysAddr,
    offsets: Offsets,
}

impl Loaded {
    /// The image, whose first byte is at `at`.
    pub(super) fn new(at: PhysAddr) -> Self {
        Self { at, offsets: Offsets::of_image() }
    }

    fn phys(&self, offset: u64) -> PhysAddr {
        self.at.saturating_add(offset)
    }

    /// All of it, bss and first tables included.
    pub(super) fn range(&self) -> PhysRange {
        PhysRange::new(self.at, self.phys(self.offsets._end))
    }

    /// What its addresses are ahead of the physical ones.
    pub(super) fn virt_offset(&self) -> u64 {
        KIMAGE_VADDR.wrapping_sub(self.at.get())
    }

    /// Pages for the tables of addresses that are in use until the linear map exists.
    pub(super) fn early_tables(&self) -> PhysRange {
        PhysRange::new(self.phys(self.offsets.early_tables), self.phys(self.offsets.early_tables_end))
    }

    /// Pages for tables that stay.
    pub(super) fn kept_tables(&self) -> PhysRange {
        PhysRange::new(self.phys(self.offsets.kept_tables), self.phys(self.offsets.kept_tables_end))
    }

    /// An empty table.
    pub(super) fn reserved_pg_dir(&self) -> PhysAddr {
        self.phys(self.offsets.reserved_pg_dir)
    }

    /// What the boot sequence is told.
    pub(super) fn facts(&self) -> KernelImage {
        let o = &self.offsets;
        let at = |offset| self.phys(offset);
        KernelImage {
            text_start: at(o._stext),
            text_end: at(o._etext),
            rodata_start: at(o._etext),
            rodata_end: at(o.__end_rodata),
            init_begin: at(o.__init_begin),
            inittext_end: at(o.__inittext_end),
            init_end: at(o.__init_end),
            data_start: at(o._sdata),
            data_end: at(o._edata),
            bss_start: at(o.__bss_start),
            bss_end: at(o.__bss_stop),
            end: at(o._end),
            virt: KIMAGE_VADDR + o._stext,
            init_pg_dir: PhysRange::new(at(o.init_pg_dir), at(o.init_pg_end)),
            idmap_text: PhysRange::new(at(o.__idmap_text_start), at(o.__idmap_text_end)),
            head_len: o._stext,
            arm64: Arm64Image {
                idmap_pg_dir: at(o.idmap_pg_dir),
                tramp_pg_dir: at(o.tramp_pg_dir),
                swapper_pg_dir: at(o.swapper_pg_dir),
                init_idmap_pg_dir: PhysRange::new(at(o.init_idmap_pg_dir), at(o.init_idmap_pg_end)),
                bm_pte: at(o.bm_pte),
                bm_pmd: at(o.bm_pmd),
                bm_pud: at(o.bm_pud),
                ..Arm64Image::default()
            },
            ..KernelImage::default()
        }
    }

    /// The machine that this image runs on.
    pub(super) fn machine<'a>(&self, firmware: Firmware<'a>, cpus: Cpus) -> Machine<'a> {
        describe(CONFIG, self.facts(), firmware, cpus)
    }
}
