use super::*;
use proptest::prelude::*;
use std::string::ToString;

fn of(slub: &Slub, size: u64) -> (u64, u32, u8) {
    let g = slub.geometry(&ObjectSpec::new(size)).unwrap();
    (g.size, g.objects, g.order.get())
}

/// From slabinfo of captured x86_64 machines with one, two and four processors: size, objects, pages.
#[test]
fn caches_of_real_kernels_have_their_objects_and_orders() {
    for (cpus, rows) in [
        (1, &[(256, 16, 0), (2048, 8, 2), (1024, 8, 1), (512, 8, 0), (4096, 8, 3), (8192, 4, 3)][..]),
        (
            2,
            &[
                (2176, 15, 3),
                (384, 21, 1),
                (1216, 13, 2),
                (272, 15, 0),
                (2496, 13, 3),
                (664, 12, 1),
                (320, 12, 0),
            ],
        ),
        (
            2,
            &[
                (8, 512, 0),
                (96, 42, 0),
                (192, 21, 0),
                (1360, 12, 2),
                (968, 16, 2),
                (2304, 14, 3),
                (4096, 8, 3),
            ],
        ),
    ] {
        for &(size, objects, order) in rows {
            assert_eq!(of(&Slub::new(cpus), size), (size, objects, order), "{size} bytes, {cpus} processors");
        }
    }
}

#[test]
fn what_is_kept_near_follows_the_size() {
    let kept = |size| {
        let g = Slub::new(1).geometry(&ObjectSpec::new(size)).unwrap();
        (g.cpu_partial, g.min_partial)
    };
    assert_eq!(
        [kept(8), kept(192), kept(256), kept(1024), kept(4096)],
        [(120, 5), (120, 5), (52, 5), (24, 5), (6, 6)]
    );
    let debugged = ObjectSpec { flags: CacheFlags::POISON, ..ObjectSpec::new(64) };
    assert_eq!(
        Slub::new(1).geometry(&debugged).unwrap().cpu_partial,
        0,
        "debugged slabs are looked at one by one"
    );
}

#[test]
fn objects_begin_at_parts_of_a_cache_line_that_hold_them() {
    let line = |size| {
        let spec = ObjectSpec { flags: CacheFlags::HWCACHE_ALIGN, ..ObjectSpec::new(size) };
        Slub::new(1).geometry(&spec).unwrap()
    };
    let both = |g: Geometry| (g.align, g.size);
    assert_eq!(
        [both(line(5)), both(line(12)), both(line(40)), both(line(65))],
        [(8, 8), (16, 16), (64, 64), (64, 128)]
    );
}

#[test]
fn the_free_pointer_lies_in_the_middle_unless_the_contents_are_somebodys() {
    let slub = Slub::new(1);
    assert_eq!(slub.geometry(&ObjectSpec::new(64)).unwrap().free_pointer, 32);
    for spec in [
        ObjectSpec { ctor: true, ..ObjectSpec::new(64) },
        ObjectSpec { flags: CacheFlags::TYPESAFE_BY_RCU, ..ObjectSpec::new(64) },
        ObjectSpec { flags: CacheFlags::POISON, ..ObjectSpec::new(64) },
    ] {
        let g = slub.geometry(&spec).unwrap();
        assert_eq!((g.free_pointer, g.size), (64, 72), "{spec:?}");
    }
}

#[test]
fn red_zones_lie_on_both_sides() {
    let spec = ObjectSpec { flags: CacheFlags::RED_ZONE, ..ObjectSpec::new(64) };
    let g = Slub::new(1).geometry(&spec).unwrap();
    assert_eq!((g.left_red_zone, g.inuse), (8, 72), "nothing was left of the last word");
    let odd = Slub::new(1).geometry(&ObjectSpec { size: 61, ..spec }).unwrap();
    assert_eq!(odd.inuse, 64, "three bytes were");
}

#[test]
fn objects_are_aligned_to_eight_bytes_with_words_of_four_too() {
    let slub = Slub { word: 4, ..Slub::new(1) };
    let both = |spec| {
        let g = slub.geometry(&spec).unwrap();
        (g.align, g.size)
    };
    assert_eq!([4, 12, 20].map(|size| both(ObjectSpec::new(size))), [(8, 8), (8, 16), (8, 24)]);
    // A free pointer behind 20 bytes makes 24; red zones of 8 and of 4 bytes lie around 20 and 4 of the user's own.
    assert_eq!(both(ObjectSpec { ctor: true, ..ObjectSpec::new(20) }), (8, 24));
    let red = ObjectSpec { flags: CacheFlags::RED_ZONE, ..ObjectSpec::new(20) };
    assert_eq!((slub.geometry(&red).unwrap().left_red_zone, both(red)), (8, (8, 40)));
}

#[test]
fn impossible_objects_are_errors() {
    let slub = Slub::new(1);
    assert_eq!(slub.geometry(&ObjectSpec::new(0)), Err(GeometryError::NoBytes));
    let limit = 4 << 20;
    assert_eq!(
        slub.geometry(&ObjectSpec::new(limit + 1)),
        Err(GeometryError::TooLarge { bytes: limit + 1, limit })
    );
    let odd = ObjectSpec { align: 24, ..ObjectSpec::new(64) };
    assert_eq!(slub.geometry(&odd), Err(GeometryError::Alignment(24)));
    let far = ObjectSpec { align: 2 * limit, ..ObjectSpec::new(64) };
    assert_eq!(
        slub.geometry(&far).unwrap_err().to_string(),
        "an alignment of 8388608 bytes is more than the 4194304 bytes that such objects can have"
    );
    assert_eq!(of(&slub, limit), (limit, 1, 10), "one object in the largest block");
}

#[test]
fn slabs_are_no_larger_than_their_free_lists_reach() {
    let order = |n| pagewright_addr::Order::new(n).unwrap();
    let of_order = |n| Slub {
        page_shift: PageShift::SHIFT_64K,
        min_order: order(n),
        max_order: order(n),
        ..Slub::new(1)
    };
    // 1024 bytes: 32,767 of them can be counted, the last of which begins below 32 MiB.
    assert_eq!(of(&of_order(8), 1024), (1024, 16_384, 8));
    assert_eq!(of(&of_order(9), 8192), (8192, 4096, 9), "32 MiB are reached");
    let refused = of_order(10).geometry(&ObjectSpec::new(8192));
    assert_eq!(refused, Err(GeometryError::SlabTooLarge { bytes: 64 << 20, limit: (32 << 20) - 8 }));
    let whole = of_order(10).geometry(&ObjectSpec::new(40 << 20)).unwrap();
    assert_eq!((whole.objects, whole.order.get()), (1, 10), "an object alone begins at its slab's start");
}

#[test]
fn the_log_line_reads_as_the_kernels() {
    let line = Slub::new(2).to_log(2, 4).to_string();
    assert_eq!(line, "SLUB: HWalign=64, Order=0-3, MinObjects=0, CPUs=2, Nodes=4");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 512 }) })]

    /// Whatever is asked for: objects lie in their slab without overlapping, aligned, and what describes them inside them.
    #[test]
    fn a_slab_holds_its_objects(
        size in 1_u64..(4 << 20),
        align in 0_u32..13,
        bits in 0_u32..1 << 13,
        cpus in 1_u32..512,
        word in prop_oneof![Just(4_u32), Just(8)],
        ctor: bool,
    ) {
        let slub = Slub { word, ..Slub::new(cpus) };
        let spec = ObjectSpec { size, align: 1 << align, flags: CacheFlags::from_bits_truncate(bits), ctor };
        let Ok(g) = slub.geometry(&spec) else {
            // Only what surrounds an object can make it too large, or its alignment.
            prop_assert!(size > (4 << 20) - 8192);
            return Ok(());
        };
        prop_assert!(g.objects >= 1 && u64::from(g.objects) * g.size <= 4096 << g.order.get());
        prop_assert!(g.least.1 >= 1 && g.least.0 <= g.order);
        prop_assert!(g.size % g.align == 0 && g.align >= 1 << align);
        prop_assert!(g.inuse >= g.object_size && g.free_pointer + u64::from(word) <= g.size);
        prop_assert!(g.left_red_zone + g.inuse <= g.size);
        prop_assert!(g.objects <= 32_767);
    }
}
