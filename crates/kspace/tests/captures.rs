//! Layouts against what captured kernels show of themselves: `VmallocTotal`, the ranges of their own page tables, and where
//! their symbols lie.
//!
//! Captures are directories named by `PAGEWRIGHT_CAPTURES` (a list as in PATH), or those of `shared/reference` beside the work
//! tree. What holds for every kernel is checked here; single facts of captures stand in the unit tests, which need no files.

use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_firmware::Arch;
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_kspace::layout::Ram;
use pagewright_kspace::{Facts, Kind, Layout};
use std::fs;
use std::path::{Path, PathBuf};

fn captures() -> Vec<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference");
    let named = std::env::var_os("PAGEWRIGHT_CAPTURES");
    let folders = match &named {
        Some(list) => std::env::split_paths(list).collect(),
        None => vec![beside],
    };
    let is_capture = |p: &Path| p.join("dmesg.txt").is_file();
    let mut found = Vec::new();
    for folder in folders {
        if is_capture(&folder) {
            found.push(folder);
            continue;
        }
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten().map(|e| e.path());
        found.extend(entries.filter(|p| is_capture(p)));
    }
    assert!(named.is_none() || !found.is_empty(), "no capture in {named:?}");
    found.sort();
    found
}

fn read(dir: &Path, name: &str) -> Option<String> {
    fs::read(dir.join(name)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_else(|_| panic!("{text}"))
}

/// First and last address of the zones that the kernel maps permanently, as its log says.
fn low_memory(dmesg: &str) -> (u64, u64) {
    let zones = dmesg.lines().skip_while(|l| !l.ends_with("Zone ranges:")).skip(1);
    let zones = zones.take_while(|l| !l.contains("Movable zone")).filter(|l| !l.contains("HighMem"));
    let ranges = zones.filter_map(|l| {
        let (first, last) = l.split_once("[mem ")?.1.trim_end_matches(']').split_once('-')?;
        Some((hex(first), hex(last)))
    });
    ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).expect("zones in the log")
}

fn facts(dir: &Path, dmesg: &str) -> Option<Facts> {
    let release = dmesg.split("Linux version ").nth(1)?.split(' ').next()?;
    let (_, flavour) = release.strip_prefix("6.1.0-")?.split_once('-')?;
    let mut facts = Facts::new(KernelConfig::debian(Flavour::from_name(flavour)?));
    facts.wide = read(dir, "command").is_some_and(|c| c.contains("la57=on"));
    let (first, last) = low_memory(dmesg);
    let x86 = facts.config.is_x86();
    // arm64 aligns the start of the linear map to 1 GiB, arm's RAM starts at a multiple of 2 MiB.
    let align = if facts.config.arch == Arch::Arm64 { 1 << 30 } else { 1 << 21 };
    let map_start = if x86 { 0 } else { first & !(align - 1) };
    Some(facts.with_ram(Ram {
        map_start: PhysAddr::new(map_start),
        start: PhysAddr::new(if x86 { 0 } else { first }),
        high_memory: PhysAddr::new(last + 1),
    }))
}

/// Which kinds of regions a kernel may have mappings in.
fn may_be_mapped(kind: Kind) -> bool {
    !kind.is_empty_space() && kind != Kind::User
}

#[test]
fn every_range_of_a_captured_kernels_tables_lies_in_a_region_for_mappings() {
    let mut ranges = 0;
    for dir in captures() {
        let Some(tables) = read(&dir, "kernel_page_tables.txt") else { continue };
        let Some(facts) = read(&dir, "dmesg.txt").and_then(|d| facts(&dir, &d)) else { continue };
        let layout = Layout::of(&facts).unwrap();
        for line in tables.lines().filter(|l| !l.starts_with('#')) {
            let (first, last) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let (first, last) = (VirtAddr::new(hex(first)), VirtAddr::new(hex(last)));
            let whole = |va| layout.regions().iter().find(|r| r.depth == 0 && r.range.contains(va)).unwrap();
            let region = whole(first);
            assert!(may_be_mapped(region.kind), "{}: {line} is in {region:?}", dir.display());
            assert_eq!(region, whole(last), "{}: {line}", dir.display());
            ranges += 1;
        }
        // The linear map of the tables ends where RAM does, and is told as used.
        let used = layout.get(Kind::LinearUsed).or(layout.get(Kind::LinearMap)).unwrap();
        let linear = |l: &&str| used.contains(VirtAddr::new(hex(l.split('-').next().unwrap())));
        assert!(tables.lines().filter(|l| !l.starts_with('#')).any(|l| linear(&l)), "{}", dir.display());
    }
    println!("{ranges} ranges");
}

#[test]
fn vmalloc_space_is_as_large_as_meminfo_says() {
    for dir in captures() {
        let Some(meminfo) = read(&dir, "meminfo.txt") else { continue };
        let Some(facts) = read(&dir, "dmesg.txt").and_then(|d| facts(&dir, &d)) else { continue };
        let Some(line) = meminfo.lines().find(|l| l.starts_with("VmallocTotal:")) else { continue };
        let total: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        let len = Layout::of(&facts).unwrap().get(Kind::Vmalloc).unwrap().len;
        // VMALLOC_END is the last byte on x86_64.
        let last = u64::from(facts.config.arch == Arch::X86_64);
        assert_eq!((len - last) >> 10, total, "{}", dir.display());
    }
}

#[test]
fn captured_symbols_lie_where_the_image_is_mapped() {
    for dir in captures() {
        let Some(symbols) = read(&dir, "kernel_symbols.txt") else { continue };
        let Some(facts) = read(&dir, "dmesg.txt").and_then(|d| facts(&dir, &d)) else { continue };
        let layout = Layout::of(&facts).unwrap();
        let home = match facts.config.arch {
            Arch::Arm64 => Kind::Vmalloc,
            Arch::X86_64 => Kind::KernelText,
            Arch::Arm | Arch::I386 => Kind::LinearMap,
        };
        let home = layout.get(home).unwrap();
        for line in symbols.lines().filter(|l| !l.contains("__per_cpu")) {
            let at = VirtAddr::new(hex(line.split(' ').next().unwrap()));
            assert!(home.contains(at), "{}: {line}", dir.display());
        }
    }
}
