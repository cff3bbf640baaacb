use super::write;
use pagewright_addr::PhysAddr;
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_kspace::layout::Ram;
use pagewright_kspace::{Facts, Layout, Version};
use std::string::String;

fn layout(flavour: Flavour, version: (u16, u16), start: u64, mapped: u64) -> Layout {
    let start = PhysAddr::new(start);
    let ram = Ram { map_start: start, start, high_memory: start.saturating_add(mapped) };
    let facts = Facts::new(KernelConfig::debian(flavour)).with_ram(ram);
    Layout::of(&facts.at_version(Version::new(version.0, version.1))).unwrap()
}

fn banner(layout: &Layout) -> String {
    let mut out = String::new();
    write(&mut out, layout).unwrap();
    out
}

/// Every line of `expected` is in the banner, in that order.
#[track_caller]
fn has(banner: &str, expected: &str) {
    let mut lines = banner.lines();
    for line in expected.lines() {
        assert!(lines.any(|l| l == line), "{line:?} is not (or not in order) in\n{banner}");
    }
}

#[test]
fn arm_prints_the_banner_of_4_14() {
    let layout = layout(Flavour::Armmp, (4, 14), 0x4000_0000, 768 << 20);
    has(
        &banner(&layout),
        "Virtual kernel memory layout:\n    vector  : 0xffff0000 - 0xffff1000   (   4 kB)\n    fixmap  : \
         0xffc00000 - 0xfff00000   (3072 kB)\n    vmalloc : 0xf0800000 - 0xff800000   ( 240 MB)\n    lowmem  : \
         0xc0000000 - 0xf0000000   ( 768 MB)\n    pkmap   : 0xbfe00000 - 0xc0000000   (   2 MB)\n    modules : \
         0xbf000000 - 0xbfe00000   (  14 MB)",
    );
}

#[test]
fn arm64_prints_the_banner_of_4_14() {
    let layout = layout(Flavour::Arm64, (4, 14), 0x4000_0000, 2 << 30);
    has(
        &banner(&layout),
        "Virtual kernel memory layout:\n    modules : 0xffff000000000000 - 0xffff000008000000   (   128 MB)\n    \
         vmalloc : 0xffff000008000000 - 0xffff7dffbfff0000   (129022 GB)\n    PCI I/O : 0xffff7dfffee00000 - \
         0xffff7dffffe00000   (    16 MB)\n    vmemmap : 0xffff7e0000000000 - 0xffff800000000000   (  2048 GB \
         maximum)\n              0xffff7e0000000000 - 0xffff7e0002000000   (    32 MB actual)\n    memory  : \
         0xffff800000000000 - 0xffff800080000000   (  2048 MB)",
    );
}

#[test]
fn i386_prints_its_banner_from_the_top_down() {
    let layout = layout(Flavour::I686, (6, 1), 0, 875 << 20);
    has(
        &banner(&layout),
        "virtual kernel memory layout:\n    cpu_entry : 0xff400000 - 0xff961000   (5508 kB)\n    pkmap   : \
         0xfec00000 - 0xff000000   (4096 kB)\n    vmalloc : 0xf7300000 - 0xfebfe000   ( 120 MB)\n    lowmem  : \
         0xc0000000 - 0xf6b00000   ( 875 MB)",
    );
}

#[test]
fn sizes_stay_short() {
    for flavour in Flavour::ALL {
        let facts = Facts::new(KernelConfig::debian(flavour));
        let banner = banner(&Layout::of(&facts).unwrap());
        for line in banner.lines().skip(1) {
            let size = line.rsplit_once('(').unwrap().1.trim_start();
            assert!(size.split(' ').next().unwrap().len() <= 7, "{line}");
        }
    }
}

#[test]
fn a_layout_leaves_room_on_a_kernels_stack() {
    // Two are on it while one is made; kernels' stacks have 16 KiB.
    assert!(size_of::<Layout>() <= 4 << 10, "{}", size_of::<Layout>());
}
