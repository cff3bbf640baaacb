//! Where the image's parts are, as the linker placed them.

use pagewright_addr::PhysAddr;
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_firmware::{Cpus, Firmware, KernelImage, Machine};
use pagewright_kernel::boot::describe;

/// Whether tables have long descriptors.
pub(super) const LPAE: bool = cfg!(feature = "lpae");

/// The kernel that this image is, in Linux's words.
pub(crate) const CONFIG: KernelConfig =
    KernelConfig::debian(if LPAE { Flavour::ArmmpLpae } else { Flavour::Armmp });

/// Where the linear map begins: `image.ld` says the same.
pub(super) const PAGE_OFFSET: u32 = CONFIG.page_offset;
/// The most memory that the first tables have: up to the last addresses, which fixed mappings take. What the kernel maps
/// permanently is less, depending on `vmalloc=`.
pub(super) const LOWMEM: u64 = 1008 << 20;
/// What one entry maps without a table.
pub(super) const SECTION_BYTES: u64 = pagewright::pgtable::arm::section_bytes(LPAE);

macro_rules! symbols {
    ($($name:ident)*) => {
        mod linker {
            unsafe extern "C" {
                $(pub(super) static $name: u8;)*
            }
        }

        /// Linked addresses.
        struct Symbols {
            $($name: u64,)*
        }

        impl Symbols {
            fn of_image() -> Self {
                Self { $($name: (&raw const linker::$name) as usize as u64,)* }
            }
        }
    };
}

symbols! { _text _stext _etext __start_rodata __end_rodata _sdata _edata __bss_start __bss_stop _end early_pg_dir }

/// An image that was loaded somewhere.
#[derive(Clone, Copy)]
pub(super) struct Loaded {
    memstart: PhysAddr,
}

impl Loaded {
    /// The image above the start of the linear map's memory.
    pub(super) fn new(memstart: PhysAddr) -> Self {
        Self { memstart }
    }

    /// PHYS_OFFSET.
    pub(super) fn memstart(&self) -> PhysAddr {
        self.memstart
    }

    /// What linked addresses are ahead of physical ones.
    pub(super) fn virt_offset(&self) -> u64 {
        u64::from(PAGE_OFFSET).wrapping_sub(self.memstart.get())
    }

    fn phys(&self, linked: u64) -> PhysAddr {
        PhysAddr::new(linked.wrapping_sub(self.virt_offset()))
    }

    /// The image's first byte.
    pub(super) fn start(&self) -> PhysAddr {
        self.phys(Symbols::of_image()._text)
    }

    /// The first byte behind the image.
    pub(super) fn end(&self) -> PhysAddr {
        self.phys(Symbols::of_image()._end)
    }

    /// The top table of the first tables.
    pub(super) fn early_pg_dir(&self) -> PhysAddr {
        self.phys(Symbols::of_image().early_pg_dir)
    }

    fn facts(&self) -> KernelImage {
        let o = Symbols::of_image();
        let at = |linked| self.phys(linked);
        KernelImage {
            text_start: at(o._stext),
            text_end: at(o._etext),
            rodata_start: at(o.__start_rodata),
            rodata_end: at(o.__end_rodata),
            init_begin: at(o._sdata),
            inittext_end: at(o._sdata),
            init_end: at(o._sdata),
            data_start: at(o._sdata),
            data_end: at(o._edata),
            bss_start: at(o.__bss_start),
            bss_end: at(o.__bss_stop),
            end: at(o._end),
            virt: o._stext,
            head_len: o._stext - o._text,
            ..KernelImage::default()
        }
    }

    /// The machine that this image runs on.
    pub(super) fn machine<'a>(&self, firmware: Firmware<'a>, cpus: Cpus) -> Machine<'a> {
        describe(CONFIG, self.facts(), firmware, cpus)
    }
}
