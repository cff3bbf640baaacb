//! The kernel image's sections inside the region that maps them.

use super::Kind;
use super::build::Builder;
use pagewright_addr::PhysAddr;
use pagewright_firmware::KernelImage;

/// Adds the sections; `virt` says where a byte of the image is mapped.
pub(super) fn sections(b: &mut Builder, image: &KernelImage, virt: impl Fn(PhysAddr) -> u64) {
    let i = image;
    for (kind, start, end) in [
        (Kind::Text, i.load_start(), i.text_end),
        (Kind::Rodata, i.rodata_start, i.rodata_end),
        (Kind::Init, i.init_begin, i.init_end),
        (Kind::Data, i.data_start, i.data_end),
        (Kind::Bss, i.bss_start, i.bss_end),
    ] {
        b.inside(kind, virt(start), end.get().saturating_sub(start.get()));
    }
}
