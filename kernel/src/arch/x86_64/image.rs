//! Where the image's parts are, as the linker placed them.

use pagewright::pgtable::KernelFormat;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_firmware::{KernelImage, X86Image};
use pagewright_pagetable::format::x86::{X86_64, X86Config};
use x86_64::registers::control::{Cr4, Cr4Flags};

/// Where the image's mapping begins (`__START_KERNEL_map`): `image.ld` says the same.
pub(super) const START_KERNEL_MAP: u64 = pagewright::pgtable::x86::START_KERNEL_MAP;
/// Where the direct map begins with 4 levels, and with 5. The index in the top table is the same.
pub(super) const PAGE_OFFSETS: [u64; 2] = [0xffff_8880_0000_0000, 0xff11_0000_0000_0000];
const _: () = assert!((PAGE_OFFSETS[0] >> 39) & 511 == (PAGE_OFFSETS[1] >> 48) & 511);

/// Where the direct map begins.
pub(super) fn page_offset() -> u64 {
    PAGE_OFFSETS[usize::from(five_levels())]
}

/// Whether page tables have five levels, as `entry.s` has decided.
pub(super) fn five_levels() -> bool {
    Cr4::read().contains(Cr4Flags::L5_PAGING)
}

/// The format of the image's tables.
pub(super) fn format(config: X86Config) -> KernelFormat {
    if five_levels() {
        KernelFormat::X86Level5(X86_64 { config })
    } else {
        KernelFormat::X86Level4(X86_64 { config })
    }
}

/// The top one of the tables that `entry.s` has filled.
pub(super) fn head_root() -> PhysAddr {
    const FIFTH: u64 = 0x7000;
    head_tables().saturating_add(if five_levels() { FIFTH } else { 0 })
}

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
