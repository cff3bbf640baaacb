//! Rights: `rodata=`, the crash kernel, isolation from user space, the early console.

use super::*;
use pagewright::pgtable::KernelFormat;
use pagewright::pgtable::arm64::{Places, format};

fn with(line: &str) -> Built {
    newest(arm64(512).cmdline(line))
}

#[test]
fn rodata_full_maps_memory_by_pages_and_on_and_off_by_blocks_and_groups() {
    assert_eq!(with("rodata=full").linear_leaves(), (Level::PTE, false));
    assert_eq!(with("rodata=on").linear_leaves(), (Level::PMD, true));
    assert_eq!(with("rodata=off").linear_leaves(), (Level::PMD, true));
    // Without a word the configuration decides.
    let built = |full: bool| newest(arm64(512).config(|c| c.rodata_full = full)).linear_leaves();
    assert_eq!((built(true), built(false)), ((Level::PTE, false), (Level::PMD, true)));
}

#[test]
fn rodata_off_leaves_code_and_constants_to_be_written() {
    let image = arm64(512).image;
    for (line, text, rodata) in
        [("rodata=full", "r-x", "r--"), ("rodata=on", "r-x", "r--"), ("rodata=off", "rwx", "rw-")]
    {
        for version in versions() {
            let built = build(arm64(512).cmdline(line), version);
            let (start, constants) = (image.text_start.get(), image.text_end.get());
            assert_eq!(built.image(start), text, "{version} {line}");
            assert_eq!(built.image(constants), rodata, "{version} {line}");
            // The alias of both in the linear map is read-only all the same.
            assert_eq!((built.linear(start), built.linear(constants)), ("r--".into(), "r--".into()));
            assert_eq!(built.image(image.init_begin.get()), "---");
            assert_eq!(built.image(image.data_start.get()), "rw-");
        }
    }
}

#[test]
fn constants_have_no_groups_whose_rights_could_not_change() {
    let image = arm64(512).image;
    for version in versions() {
        let built = build(arm64(512).cmdline("rodata=on"), version);
        let at = |phys: PhysAddr| built.leaf(phys.get().wrapping_add(built.switched.kimage_voffset));
        assert!(!at(image.text_end).contiguous, "{version}");
        // Text from 64 KiB to 2 MiB is in groups of pages, what follows in blocks.
        assert!(at(image.text_start).contiguous, "{version}");
        assert_eq!(at(image.text_start.saturating_add(2 * MIB)).level, Level::PMD, "{version}");
    }
}

#[test]
fn a_crash_kernel_that_is_reserved_late_keeps_all_memory_in_pages() {
    let line = "rodata=on crashkernel=64M";
    assert_eq!(with(line).linear_leaves(), (Level::PTE, false));
    // Not without kexec, nor without the parameter.
    let without = newest(arm64(512).cmdline(line).config(|c| c.kexec_core = false));
    assert_eq!(without.linear_leaves(), (Level::PMD, true));
    // It is the parameter that counts: there need be no memory for what it asks.
    let refused = with("rodata=on crashkernel=64G");
    assert_eq!((refused.facts.crash.main, refused.linear_leaves()), (None, (Level::PTE, false)));
}

/// The crash kernel alone is mapped by pages, and is where it was reserved before there were tables.
#[track_caller]
fn crash_alone(spec: Spec, version: Version) {
    let built = build(spec, version);
    let crash = built.facts.crash.main.expect("a crash kernel");
    let first = built.leaf(built.linear + (crash.start.get() - RAM));
    let last = built.leaf(built.linear + (crash.end.get() - 1 - RAM));
    assert_eq!((first.level, last.level), (Level::PTE, Level::PTE), "{version}");
    assert!(!first.contiguous && first.memory == MemoryType::Normal, "{version}");
    assert_eq!(built.linear(crash.start.get()), "rw-");
    assert_eq!(built.linear_leaves(), (Level::PMD, true), "{version}");
    // Around it there are larger leaves again.
    let around = built.linear + (crash.start.get() - 2 * MIB - RAM);
    assert!(built.leaf(around).level == Level::PMD || built.leaf(around).contiguous, "{version}");
}

#[test]
fn a_crash_kernel_that_is_reserved_early_is_the_only_memory_in_pages() {
    let spec = || arm64(512).cmdline("rodata=on crashkernel=64M");
    let no_zones = || spec().config(|c| (c.zone_dma, c.zone_dma32) = (false, false));
    // Up to 5.10 always, from 5.18 on in kernels without zones for DMA.
    for version in [Version::new(5, 0), Version::new(5, 10)] {
        crash_alone(spec(), version);
        crash_alone(no_zones(), version);
    }
    for version in [Version::new(5, 18), Version::V6_1] {
        crash_alone(no_zones(), version);
        assert_eq!(build(spec(), version).linear_leaves(), (Level::PTE, false));
    }
    for version in [Version::new(5, 11), Version::new(5, 17)] {
        assert_eq!(build(no_zones(), version).linear_leaves(), (Level::PTE, false));
    }
}

/// An image with code for entering the kernel from isolated user space.
fn isolated(line: &str) -> Spec {
    let mut spec = arm64(512).cmdline(line).config(|c| c.page_table_isolation = true);
    let at = spec.image.text_end.saturating_sub(64 << 10);
    spec.image.arm64.entry_tramp_text = PhysRange::from_len(at, 4096);
    spec
}

#[test]
fn with_isolation_nothing_is_global_but_the_code_through_which_the_kernel_is_entered() {
    for version in versions() {
        let global = |line: &str| -> Vec<Leaves> {
            let built = build(isolated(line), version);
            built.leaves.into_iter().filter(|l| l.flags.contains(AttrFlags::GLOBAL)).collect()
        };
        let [code] = global("kpti=on")[..] else { panic!("{version}: {:x?}", global("kpti=on")) };
        assert_eq!(
            (code.phys, code.range.len),
            (isolated("").image.arm64.entry_tramp_text.start.get(), 4096)
        );
        assert!(code.flags.contains(AttrFlags::EXEC) && !code.flags.contains(AttrFlags::WRITE));
        assert!(global("kpti=off").len() > 10 && global("").len() > 10, "{version}");
    }
}

#[test]
fn the_tables_of_isolated_user_space_hold_the_entry_code_and_nothing_else() {
    for version in versions() {
        let built = build(isolated(""), version);
        let (root, kind) = built
            .spec
            .lend(|machine| (Places::of(machine).tramp, format(machine, version).expect("a format")))
            .unwrap();
        let tramp = KernelTables { memory: built.ram, root, format: KernelFormat::Arm64(kind) };
        let [only] = leaves(&tramp)[..] else { panic!("{version}") };
        let text = built.spec.image.arm64.entry_tramp_text;
        assert_eq!((only.phys, only.range.len), (text.start.get(), 4096), "{version}");
        // At the same address as in the kernel's own tables.
        assert_eq!(built.rights(only.range.start.get(), text.start.get()), "r-x", "{version}");
        // A page with what the code needs to know lies after it, for the kernel alone.
        let data = text.end.get();
        assert_eq!(built.rights(only.range.start.get() + 4096, data), "r--", "{version}");
    }
}

#[test]
fn an_early_console_keeps_the_page_of_its_registers() {
    for version in versions() {
        let built = build(arm64(256).cmdline("earlycon=uart8250,mmio32,0xfe201004"), version);
        let devices: Vec<_> = built.leaves.iter().filter(|l| l.memory == MemoryType::Device).collect();
        let [page] = devices[..] else { panic!("{version}: {devices:x?}") };
        assert_eq!((page.phys, page.range.len), (0xfe20_1000, 4096), "{version}");
        assert_eq!(built.rights(page.range.start.get() + 4, 0xfe20_1004), "rw-", "{version}");
    }
    let none = newest(arm64(256).cmdline("earlycon"));
    assert!(none.leaves.iter().all(|l| l.memory != MemoryType::Device));
}

#[test]
fn the_device_tree_stays_readable_in_blocks_at_a_fixed_address() {
    for version in versions() {
        let built = build(arm64(256), version);
        let tree = built.spec.tree_at().get();
        let linear = built.linear + (tree - RAM);
        let found: Vec<_> =
            built.leaves.iter().filter(|l| l.phys == tree && l.range.start.get() != linear).collect();
        let [fdt] = found[..] else { panic!("{version}: {found:x?}") };
        assert_eq!((fdt.level, fdt.flags.contains(AttrFlags::WRITE)), (Level::PMD, false), "{version}");
    }
}
