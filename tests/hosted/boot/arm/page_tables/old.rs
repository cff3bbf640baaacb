//! How older kernels mapped their image and the device tree, walked and seen by the software MMU.

use super::super::{banks, banks_of, with_ram};
use super::what::rights_of;
use super::*;
use crate::support::spec::image;
use crate::support::tables::rights_to;
use pagewright::pgtable::arm::{FDT_FIXED_BASE, FIXADDR_START};
use pagewright_firmware::config::Flavour;
use pagewright_kspace::Version;
use pagewright_sim::mmu::{ArmRegisters, Registers};

/// The oldest, those around what changed, and the newest.
const VERSIONS: [(u16, u16); 6] = [(4, 14), (5, 10), (5, 11), (5, 13), (5, 14), (6, 1)];

const FLAVOURS: [Flavour; 2] = [Flavour::Armmp, Flavour::ArmmpLpae];

fn versions() -> impl Iterator<Item = Version> {
    VERSIONS.into_iter().map(|(major, minor)| Version::new(major, minor))
}

#[track_caller]
fn build_as(spec: &Spec, version: Version) -> Built {
    try_build(spec, |boot| boot.set_version(version)).unwrap_or_else(|e| panic!("{version}: {e}"))
}

/// A processor on which Linux runs with these tables.
fn registers(tables: &KernelTables<'_>) -> Registers {
    let root = tables.root.get();
    Registers::Arm(match tables.format {
        KernelFormat::ArmLpae(_) => ArmRegisters::long(root, root, 0, 0xff00_0004_eeaa_4400),
        _ => ArmRegisters::short(root),
    })
}

/// The rights that the kernel has in the linear map at `mib` MiB of RAM, by the software MMU; they must lead there.
fn at(memory: &PhysMemory, tables: &KernelTables<'_>, mib: u64) -> String {
    rights_to(memory, &registers(tables), PAGE_OFFSET + mib * MIB, RAM + mib * MIB)
}

/// The same of several places, while the kernel boots and when it runs.
fn seen(spec: &Spec, version: Version, places: &[u64]) -> [Vec<String>; 2] {
    let memory = ram(spec);
    let look = |tables: &KernelTables<'_>| places.iter().map(|mib| at(memory, tables, *mib)).collect();
    let mut early = None;
    let (result, _) = spec.boot_looking(
        Depth::Allocator,
        |boot| {
            boot.set_version(version);
            boot.set_table_memory(memory);
        },
        |boot| {
            let tables = boot.pgtable.expect("there is memory for tables");
            early = Some((look(&tables), tables.root, tables.format));
        },
    );
    result.unwrap_or_else(|e| panic!("{version}: {e}"));
    let (early, root, format) = early.expect("the boot came to its end");
    [early, look(&KernelTables { memory, root, format })]
}

/// Three banks, the image in the second: 16 MiB of it before the image's text, and the rest after its data.
fn three_banks(flavour: Flavour) -> Spec {
    let mut spec = banks_of(flavour, &[(0, 2), (16, 64), (96, 32)]).cmdline("cma=0");
    // Text, read-only data, init sections and data begin at 20, 24, 26 and 28 MiB.
    spec.image = image(spec.config.arch, RAM + 20 * MIB, 32);
    spec
}

#[test]
fn until_5_13_the_image_was_mapped_with_its_bank() {
    for flavour in FLAVOURS {
        for version in versions() {
            let built = build_as(&three_banks(flavour), version);
            let expected: &[_] = if version.since(5, 14) {
                // From the start of RAM to the image's last section, whether there is memory or not.
                &[(0, 28, "rwx"), (28, 52, "rw-"), (96, 32, "rw-")]
            } else {
                // The bank below it as a whole; of its own bank its sections.
                &[(0, 2, "rwx"), (16, 4, "rw-"), (20, 8, "rwx"), (28, 52, "rw-"), (96, 32, "rw-")]
            };
            assert_eq!(rights_of(&built.early), expected, "{flavour:?} {version}");
            assert_eq!(built.linear_map(), Ok(()), "{flavour:?} {version}");
            assert_eq!(built.counts.mismatch(), None, "{flavour:?} {version}");
        }
    }
}

#[test]
fn a_processor_may_do_what_the_version_says_at_each_place() {
    // Below the image in another bank and in its own; text, read-only data, init sections, data; above it, in another bank.
    let places = [1, 17, 20, 24, 26, 28, 79, 100];
    for flavour in FLAVOURS {
        for version in versions() {
            let [early, late] = seen(&three_banks(flavour), version, &places);
            let own = if version.since(5, 14) { "rwx" } else { "rw-" };
            assert_eq!(
                early,
                ["rwx", own, "rwx", "rwx", "rwx", "rw-", "rw-", "rw-"],
                "{flavour:?} {version}"
            );
            // Once it runs they are the same.
            assert_eq!(
                late,
                ["rw-", "rw-", "r-x", "r--", "rw-", "rw-", "rw-", "rw-"],
                "{flavour:?} {version}"
            );
        }
    }
}

#[test]
fn without_strict_rights_what_was_executable_stays_so() {
    let places = [1, 17, 20, 24, 28];
    for (version, own) in [(Version::new(4, 14), "rw-"), (Version::V6_1, "rwx")] {
        let spec = three_banks(Flavour::Armmp).config(|c| c.strict_kernel_rwx = false);
        let [early, late] = seen(&spec, version, &places);
        assert_eq!(early, late);
        assert_eq!(late, ["rwx", own, "rwx", "rwx", "rw-"], "{version}");
    }
    for version in versions() {
        let [_, late] = seen(&three_banks(Flavour::Armmp).cmdline("cma=0 rodata=off"), version, &places);
        assert_eq!(late, ["rw-", "rw-", "rwx", "rw-", "rw-"], "{version}");
    }
}

#[test]
fn a_bank_below_the_image_that_ends_within_a_section_is_executable_by_pages() {
    // 2.5 MiB: two sections and half of a third.
    let mut spec = three_banks(Flavour::Armmp).cmdline("cma=0 mem=2560K@0x40000000 mem=64M@0x41000000");
    spec.image = image(spec.config.arch, RAM + 20 * MIB, 32);
    let old = build_as(&spec, Version::new(4, 14));
    assert_eq!(kib(&old.early[..2]), [(0, 2048, 0, 1024), (2048, 512, 2048, 4)]);
    assert!(old.early[..2].iter().all(|s| rights(s.attr) == "rwx"));
    // 6.1 has the image's sections over it, which need no table.
    let new = build_as(&spec, Version::V6_1);
    assert_eq!(old.counts.total(), new.counts.total() + 1);
    assert_eq!((old.counts.mismatch(), new.counts.mismatch()), (None, None));
}

#[test]
fn the_device_tree_has_addresses_of_its_own_since_5_11() {
    for flavour in FLAVOURS {
        for version in versions() {
            let spec = banks_of(flavour, &[(0, 64)]);
            let built = build_as(&spec, version);
            let fixed = inside(&built.late, FDT_FIXED_BASE, FIXADDR_START);
            assert_eq!(fixed.len(), usize::from(version.since(5, 11)), "{flavour:?} {version}");
            // The linear map shows it in every version: it is memory.
            let tree = spec.tree_at().get();
            let va = PAGE_OFFSET + (tree - RAM);
            assert!(built.late.iter().any(|s| s.start <= va && va - s.start < s.len), "{version}");
        }
    }
}

#[test]
fn older_tables_are_built_as_they_are_counted() {
    for version in versions() {
        for flavour in FLAVOURS {
            for split in [0xc000_0000, 0x8000_0000, 0x4000_0000] {
                let spec = banks_of(flavour, &[(0, 65), (128, 191)]).config(|c| c.page_offset = split);
                let built = build_as(&spec, version);
                let counted = spec.boot_with(Depth::Allocator, |boot| boot.set_version(version)).0;
                let counted = counted.unwrap_or_else(|e| panic!("{version}: {e}"));
                assert_eq!(built.facts.events, counted.events, "{version} {flavour:?} {split:#x}");
                assert_eq!(built.counts.mismatch(), None, "{version} {flavour:?} {split:#x}");
                assert_eq!(built.linear_map(), Ok(()), "{version} {flavour:?} {split:#x}");
            }
        }
    }
}

#[test]
fn where_the_image_begins_low_memory_all_versions_map_it_alike() {
    let spec = banks(&[(0, 64)]).cmdline("cma=0");
    let [old, new] = [Version::new(4, 14), Version::V6_1].map(|version| build_as(&spec, version));
    // Below its text 6.1 can execute what 4.14 cannot, until the kernel runs.
    assert_eq!(rights_of(&old.early), [(0, 3, "rw-"), (3, 8, "rwx"), (11, 53, "rw-")]);
    assert_eq!(rights_of(&new.early), [(0, 11, "rwx"), (11, 53, "rw-")]);
    assert_eq!(rights_of(&old.late), rights_of(&new.late));
    assert_eq!(with_ram(64).cmdline("cma=0").boot().events.len(), old.facts.events.len());
}
