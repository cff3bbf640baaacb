use super::ModuleWindows;
use crate::layout::{Facts, Kind, Layout};
use crate::version::Version;
use pagewright_addr::{PhysAddr, VirtRange};
use pagewright_firmware::KernelImage;
use pagewright_firmware::config::{Flavour, KernelConfig};

const GIB: u64 = 1 << 30;

/// The windows' ends, as (first, behind the last), of a kernel whose text ends 13 MiB behind its start, and which ends 32 MiB behind.
fn windows(flavour: Flavour, major: u16, minor: u16) -> ((u64, u64), Option<(u64, u64)>) {
    let at = |mib: u64| PhysAddr::new(0x4020_0000 + (mib << 20));
    let image = KernelImage {
        text_start: PhysAddr::new(0x4021_0000),
        text_end: at(13),
        rodata_start: at(13),
        rodata_end: at(20),
        init_begin: at(20),
        inittext_end: at(21),
        init_end: at(24),
        data_start: at(24),
        data_end: at(30),
        bss_start: at(30),
        bss_end: at(31),
        end: at(32),
        head_len: 0x1_0000,
        ..KernelImage::default()
    };
    let mut facts = Facts::new(KernelConfig::debian(flavour)).at_version(Version::new(major, minor));
    if flavour == Flavour::Arm64 {
        facts.image = Some(image);
    }
    let layout = Layout::of(&facts).unwrap();
    let ends = |range: VirtRange| (range.start.get(), range.last().get().wrapping_add(1));
    let found = ModuleWindows::of(&layout).unwrap();
    (ends(found.first), found.spill.map(ends))
}

/// `_etext` less 128 MiB; without KASLR nothing moves it.
#[test]
fn arm64_s_modules_lie_near_its_text_and_then_within_2_gib() {
    let base = 0xffff_8000_00d0_0000;
    let text_end = 0xffff_8000_08d0_0000;
    assert_eq!(windows(Flavour::Arm64, 6, 1), ((base, text_end), Some((base, base + 2 * GIB))));
}

#[test]
fn arm64_s_second_window_has_changed_with_time() {
    let (near, spill) = windows(Flavour::Arm64, 5, 2);
    assert_eq!(spill, Some((near.0, near.0 + 2 * GIB)));
    let (near, spill) = windows(Flavour::Arm64, 4, 17);
    assert_eq!(spill, Some((near.0, near.0 + 4 * GIB)));
    let mut facts = Facts::new(KernelConfig::debian(Flavour::Arm64));
    facts.version = Version::new(4, 16);
    let vmalloc = Layout::of(&facts).unwrap().get(Kind::Vmalloc).unwrap();
    let (_, spill) = windows(Flavour::Arm64, 4, 16);
    assert_eq!(spill, Some((vmalloc.start.get(), vmalloc.last().get() + 1)));
}

/// The modules' region has 2 GiB then, and the kernel behind it.
#[test]
fn from_6_5_on_both_windows_end_with_the_kernel() {
    let end = 0xffff_8000_8000_0000 + (32 << 20);
    let near = (end - (128 << 20), end);
    assert_eq!(windows(Flavour::Arm64, 6, 5), (near, Some((end - 2 * GIB, end))));
}

#[test]
fn other_kernels_look_in_their_regions() {
    for (flavour, first, second) in [
        (Flavour::Amd64, Kind::Modules, None),
        (Flavour::I686, Kind::Vmalloc, None),
        (Flavour::Armmp, Kind::Modules, Some(Kind::Vmalloc)),
        (Flavour::ArmmpLpae, Kind::Modules, Some(Kind::Vmalloc)),
    ] {
        let layout = Layout::of(&Facts::new(KernelConfig::debian(flavour))).unwrap();
        let found = ModuleWindows::of(&layout).unwrap();
        assert_eq!(
            (Some(found.first), found.spill),
            (layout.get(first), second.and_then(|kind| layout.get(kind)))
        );
    }
}
