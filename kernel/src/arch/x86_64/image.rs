//! Where the image's parts are, as the linker placed them.

use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_firmware::{KernelImage, X86Image};

/// Where the image's mapping begins (`__START_KERNEL_map`): `image.ld` says the same.
pub(super) const START_KERNEL_MAP: u64 = pagewright::pgtable::x86::START_KERNEL_MAP;
/// Where the direct map begins with 4 levels.
pub(super) const PAGE_OFFSET: u64 = 0xffff_8880_0000_0000;

/// The kernel that this image is, in Linux's words.
pub(crate) const CONFIG: KernelConfig = KernelConfig::debian(Flavour::Amd64);

/// Bytes of the brk area that direct-map tables have (INIT_PGT_BUF_SIZE): all that this image uses of it.
const BRK_USED: u64 = 12 * 4096;

macro_rules! symbols {
    ($($name:ident)*) => {
        mod linker {
            unsafe extern "C" {
                $(pub(super) static $name: u8;)*
            }
        }

        $(
            #[doc = concat!("The physical address of `", stringify!($name), "`.")]
            #[allow(non_snake_case)]
            pub(super) fn $name() -> PhysAddr {
                PhysAddr::new((&raw const linker::$name as u64).wrapping_sub(START_KERNEL_MAP))
            }
        )*
    };
}

symbols! {
    _text _etext __start_rodata __end_rodata _sdata _edata __init_begin __inittext_end __init_end __bss_start __bss_stop
    _end __brk_limit idt_table init_top_pgt level3_kernel_pgt level2_kernel_pgt level2_fixmap_pgt level1_fixmap_pgt
    early_top_pgt early_dynamic_pgts head_tables early_tables early_tables_end fault_stack_top
}

/// All of the image with its brk area.
pub(super) fn range() -> PhysRange {
    PhysRange::new(_text(), __brk_limit())
}

/// What the boot sequence is told.
pub(super) fn facts() -> KernelImage {
    KernelImage {
        text_start: _text(),
        text_end: _etext(),
        rodata_start: __start_rodata(),
        rodata_end: __end_rodata(),
        init_begin: __init_begin(),
        inittext_end: __inittext_end(),
        init_end: __init_end(),
        data_start: _sdata(),
        data_end: _edata(),
        bss_start: __bss_start(),
        bss_end: __bss_stop(),
        end: _end(),
        brk_used: BRK_USED,
        x86: X86Image {
            early_top_pgt: early_top_pgt(),
            early_dynamic_pgts: early_dynamic_pgts(),
            init_top_pgt: init_top_pgt(),
            level3_kernel_pgt: level3_kernel_pgt(),
            level2_kernel_pgt: level2_kernel_pgt(),
            level2_fixmap_pgt: level2_fixmap_pgt(),
            level1_fixmap_pgt: level1_fixmap_pgt(),
            idt_table: idt_table(),
        },
        ..KernelImage::default()
    }
}
