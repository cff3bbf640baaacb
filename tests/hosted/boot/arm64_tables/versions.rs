//! What differs between versions: where things lie, what entries say, what is refused.

use super::*;
use pagewright_firmware::config::{Flavour, KernelConfig, Refusal};
use pagewright_memblock::Event;

#[test]
fn the_linear_map_was_the_upper_half_and_is_the_lower_since_5_4() {
    for (shift, bits) in SHAPES {
        for version in versions() {
            let built = build(shaped(shift, bits, 256), version);
            let half = if version.since(5, 4) { bits } else { bits - 1 };
            // RAM begins at what the first address maps, or a multiple of 1 GiB behind it.
            let first = 0u64.wrapping_sub(1 << half) + (RAM - built.facts.memstart.get());
            assert_eq!(built.linear, first, "{version} {shift:?} {bits}");
            for phys in [RAM, RAM + 100 * MIB, RAM + 256 * MIB - 1] {
                assert_eq!(built.linear(phys), "rw-", "{version} {shift:?} {bits}: {phys:#x}");
            }
            assert_eq!(built.linear(RAM + 256 * MIB), "---");
            // In the other half nobody finds it.
            let other = built.linear ^ (1 << (bits - 1));
            assert_eq!(built.rights(other, 0), "---", "{version} {shift:?} {bits}");
        }
    }
}

#[test]
fn the_image_runs_above_the_modules_of_its_version() {
    let base = |version: (u16, u16)| {
        let built = build(arm64(256), Version::new(version.0, version.1));
        built.spec.image.load_start().get().wrapping_add(built.switched.kimage_voffset)
    };
    // 128 MiB for BPF programs, then 128 MiB of modules.
    assert_eq!(base((5, 0)), 0xffff_0000_1000_0000);
    assert_eq!(base((5, 3)), 0xffff_0000_1000_0000);
    // The same in the upper half.
    assert_eq!(base((5, 4)), 0xffff_8000_1000_0000);
    assert_eq!(base((5, 16)), 0xffff_8000_1000_0000);
    // Modules alone.
    assert_eq!(base((5, 17)), 0xffff_8000_0800_0000);
    assert_eq!(base((6, 1)), 0xffff_8000_0800_0000);
}

#[test]
fn the_memory_map_lies_where_its_version_has_it() {
    let page = |version: (u16, u16)| build(arm64(256), Version::new(version.0, version.1)).first_page;
    // 48-bit addresses, 64 bytes for each page of the linear map's 2^47: 2 TiB. Up to 5.3 right below the linear map.
    assert_eq!(page((5, 3)), 0xffff_7e00_0000_0000);
    // Then 2 MiB before the last address.
    assert_eq!(page((5, 4)), 0xffff_fdff_ffe0_0000);
    assert_eq!(page((5, 10)), 0xffff_fdff_ffe0_0000);
    // Then at a fixed distance from it.
    assert_eq!(page((5, 11)), 0xffff_fc00_0000_0000);
    assert_eq!(page((6, 1)), 0xffff_fc00_0000_0000);
    for version in versions() {
        let built = build(arm64(256), version);
        let leaf = built.leaf(built.first_page);
        assert_eq!((leaf.flags.contains(AttrFlags::WRITE), leaf.level), (true, Level::PMD), "{version}");
        assert!(built.facts.is_reserved(PhysRange::from_len(PhysAddr::new(leaf.phys), 2 * MIB)));
    }
}

#[test]
fn memory_types_have_the_indices_of_their_version() {
    let index = |built: &Built, va: u64| built.path(va).last().unwrap().word >> 2 & 7;
    let fixmap_device = |built: &Built| {
        let found = built.leaves.iter().find(|l| l.memory == MemoryType::Device).expect("registers");
        index(built, found.range.start.get())
    };
    for (version, [image, linear, device], mair) in [
        ((5, 0), [4, 4, 1], 0xbbff_440c_0400),
        ((5, 9), [4, 4, 1], 0xbbff_440c_0400),
        ((5, 10), [0, 1, 5], 0x0c_0400_bb44_f0ff),
        ((5, 13), [0, 1, 5], 0x0c_0400_bb44_f0ff),
        ((5, 14), [0, 1, 4], 0x04_0044_f0ff),
        ((6, 1), [0, 1, 4], 0x04_0044_f0ff),
    ] {
        let spec = arm64(256).cmdline("earlycon=pl011,0x9000000");
        let built = build(spec, Version::new(version.0, version.1));
        let text = built.spec.image.text_start.get();
        let found = [
            index(&built, text.wrapping_add(built.switched.kimage_voffset)),
            index(&built, built.linear + 64 * MIB),
            fixmap_device(&built),
        ];
        assert_eq!((found, built.head.mair), ([image, linear, device], mair), "{version:?}");
    }
}

#[test]
fn entries_that_lead_to_tables_take_execution_away_since_5_13() {
    for version in versions() {
        let built = build(arm64(256), version);
        let tables = |va: u64| {
            let mut path = built.path(va);
            path.pop();
            // UXNTable and PXNTable.
            path.iter().map(|e| (e.word >> 60 & 1, e.word >> 59 & 1)).collect::<Vec<_>>()
        };
        let text = built.spec.image.text_start.get().wrapping_add(built.switched.kimage_voffset);
        let [in_image, in_linear] = [tables(text), tables(built.linear + 64 * MIB)];
        assert!(in_image.len() >= 2 && in_linear.len() >= 2);
        let (image, linear) = if version.since(5, 13) { ((1, 0), (1, 1)) } else { ((0, 0), (0, 0)) };
        // The two share the top table, whose entries differ.
        assert!(in_image.iter().all(|t| *t == image), "{version}: {in_image:?}");
        assert!(in_linear.iter().all(|t| *t == linear), "{version}: {in_linear:?}");
    }
}

#[test]
fn the_identity_map_of_the_running_kernel_was_the_heads_until_6_0() {
    let steps = |version| {
        let built = build(arm64(256), version);
        built.counts.steps().iter().map(|s| s.step).collect::<Vec<_>>()
    };
    let (old, new) = (steps(Version::new(5, 19)), steps(Version::new(6, 0)));
    assert!(old.contains(&"__create_page_tables") && !old.contains(&"create_idmap"), "{old:?}");
    assert!(new.contains(&"create_kernel_mapping") && new.contains(&"create_idmap"), "{new:?}");
}

#[test]
fn the_heads_tables_are_freed_and_memblock_may_grow_only_when_the_kernels_own_are_in_use() {
    for version in versions() {
        let built = build(arm64(256), version);
        let (events, first) = (&built.facts.events, built.spec.image.init_pg_dir);
        let taken = |e: &Event| matches!(e, Event::PhysAllocRange { caller: "early_pgtable_alloc", .. });
        let freed = events.iter().position(|e| matches!(e, Event::Free { range, .. } if *range == first));
        let grows = events.iter().position(|e| matches!(e, Event::AllowResize { .. }));
        let (freed, grows) = (freed.expect("freed"), grows.expect("allowed"));
        assert_eq!(grows, freed + 1, "{version}");
        // What is taken afterwards is the running kernel's identity map, since 6.0.
        let after = events[grows..].iter().filter(|e| taken(e)).count();
        assert_eq!(after > 0, version.since(6, 0), "{version}: {after}");
        assert!(events[..freed].iter().any(taken));
    }
}

#[test]
fn tables_are_taken_at_the_same_calls_whether_they_are_built_or_counted() {
    for version in versions() {
        for (shift, bits) in SHAPES {
            let spec = shaped(shift, bits, 512).cmdline("crashkernel=64M");
            let (counted, _) = spec.boot_with(Depth::Allocator, |b| b.set_version(version));
            let counted = counted.unwrap_or_else(|e| panic!("{version}: {e}"));
            let built = build(spec, version);
            assert_eq!(counted.events, built.facts.events, "{version} {shift:?} {bits}");
            assert_eq!(counted.reserved, built.facts.reserved, "{version} {shift:?} {bits}");
        }
    }
}

#[test]
fn versions_that_are_not_known_are_refused() {
    let refused = |spec: Spec, version: (u16, u16)| {
        let version = Version::new(version.0, version.1);
        spec.boot_with(Depth::Memblock, |b| b.set_version(version)).0.err().map(|e| e.to_string())
    };
    let known = "page tables of Arm64 are known as in Linux 5.0 to 6.1, not ";
    assert_eq!(refused(arm64(256), (4, 20)), Some(format!("{known}4.20")));
    assert_eq!(refused(arm64(256), (6, 2)), Some(format!("{known}6.2")));
    assert_eq!(refused(arm64(256), (5, 0)), None);
    let arm = crate::support::spec::arm(Flavour::Armmp, 256);
    assert!(refused(arm.clone(), (4, 13)).is_some());
    assert_eq!(refused(arm, (4, 14)), None);
    let pc = refused(crate::support::spec::pc(256), (5, 10));
    assert_eq!(pc.as_deref(), Some("page tables of X86_64 are known as in Linux 6.1, not 5.10"));
}

#[test]
fn wide_addresses_of_the_kernel_came_with_5_4() {
    let spec = || shaped(PageShift::SHIFT_64K, 48, 256).config(|c| larger_pages(c, PageShift::SHIFT_64K, 52));
    let error = try_build(spec(), Version::new(5, 3)).err();
    let needs = Refusal::Needs { symbol: "ARM64_VA_BITS_52", needs: "Linux 5.4" };
    assert_eq!(error, Some(BootError::Config(needs)));
    for version in versions().filter(|v| v.since(5, 4)) {
        for wide in [false, true] {
            let mut spec = spec();
            spec.cpus.la57 = wide;
            let built = build(spec, version);
            // With processors of 48 bits the linear map begins where their addresses do.
            let bits = if wide { 52 } else { 48 };
            let lowest = 0u64.wrapping_sub(1 << bits);
            assert!(
                built.linear >= lowest && built.linear < lowest + 8 * GIB,
                "{version}: {:#x}",
                built.linear
            );
            assert_eq!(built.linear(RAM + 100 * MIB), "rw-", "{version}");
            assert_eq!(built.image(built.spec.image.text_start.get()), "r-x", "{version}");
        }
    }
}

#[test]
fn an_image_that_was_moved_stays_as_far_from_where_it_would_have_been() {
    let moved = 0x1234_0000u64 & !(2 * MIB - 1);
    for version in [(5, 3), (5, 19), (6, 1)] {
        let mut spec = arm64(256);
        spec.image.virt += moved;
        let plain = build(arm64(256), Version::new(version.0, version.1));
        let built = build(spec, Version::new(version.0, version.1));
        assert_eq!(built.image(built.spec.image.text_start.get()), "r-x", "{version:?}");
        if version != (5, 3) {
            assert!(built.switched.kimage_voffset > plain.switched.kimage_voffset, "{version:?}");
        }
        // Kept from user space, nothing of it is the same for everybody.
        let global = |b: &Built| b.leaves.iter().any(|l| l.flags.contains(AttrFlags::GLOBAL));
        let isolated = KernelConfig::for_arch(built.spec.config.arch).page_table_isolation;
        assert_eq!(global(&built), !isolated, "{version:?}");
        assert!(global(&plain));
    }
}
