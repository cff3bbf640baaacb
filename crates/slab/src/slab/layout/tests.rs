//! Layouts against what the documented rules give, and against each other's limits.

use super::*;
use crate::kmalloc::Classes;
use std::vec::Vec;

const CLASSES: Classes =
    Classes { page_shift: PageShift::SHIFT_4K, min_size: 32, min_align: 8, accounted: true, dma: false };

fn class(bytes: u64) -> Option<u64> {
    CLASSES.class_of(bytes).map(u64::from)
}

fn layout(spec: ObjectSpec) -> Layout {
    SlabConfig::new(4).layout(&spec, class).unwrap()
}

fn made(size: u64) -> ObjectSpec {
    ObjectSpec { ctor: true, ..ObjectSpec::new(size) }
}

#[test]
fn kmallocs_slabs_are_those_of_slabinfo() {
    let found: Vec<_> = CLASSES
        .sizes()
        .map(|size| {
            let l = layout(SlabConfig::kmalloc(CLASSES.spec(size, crate::kmalloc::KmallocKind::Normal)));
            (l.size, l.objects, l.order.pages(), l.management)
        })
        .collect();
    // 32 bytes and an index are 33, of which a page holds 124; from 64 on an object has room for all indices. 96 bytes begin at a line.
    let on = |size, objects, pages| (size, objects, pages, Management::OnSlab);
    let within = |size, objects, pages| (size, objects, pages, Management::InObject);
    let expected = [
        on(32, 124, 1),
        within(64, 64, 1),
        within(128, 32, 1),
        within(128, 32, 1),
        within(192, 21, 1),
        within(256, 16, 1),
        within(512, 8, 1),
        within(1024, 4, 1),
        within(2048, 2, 1),
        within(4096, 1, 1),
        within(8192, 1, 2),
    ];
    assert_eq!(found, expected);
}

#[test]
fn arrays_hold_fewer_large_objects() {
    let tunables = |cpus, size| {
        let Tunables { limit, batch, shared } = SlabConfig::new(cpus).tunables(size);
        (limit, batch, shared)
    };
    assert_eq!([32, 256].map(|size| tunables(4, size)), [(120, 60, 8); 2]);
    assert_eq!([264, 1024].map(|size| tunables(4, size)), [(54, 27, 8); 2]);
    assert_eq!([1032, 4096].map(|size| tunables(4, size)), [(24, 12, 8); 2]);
    assert_eq!([4104, 131_072].map(|size| tunables(4, size)), [(8, 4, 0); 2]);
    assert_eq!(tunables(4, 131_080), (1, 1, 0));
    assert_eq!(tunables(1, 64), (120, 60, 0), "nobody to share with");
}

#[test]
fn a_free_list_is_where_it_costs_least() {
    // Free objects keep what their constructor wrote. 128 bytes: 32 objects fill the page, their indices fit half an object.
    let off = layout(made(128));
    assert_eq!((off.management, off.objects, off.freelist()), (Management::OffSlab, 32, 32));
    // 1000 bytes leave 96, of which four indices are four.
    let on = layout(made(1000));
    assert_eq!((on.management, on.objects), (Management::OnSlab, 4));
    // 64 objects of 64 bytes would need another 64: no gain. At the end there is room for 63.
    let small = layout(made(64));
    assert_eq!((small.management, small.objects), (Management::OnSlab, 63));
    // The same where no class is to be had: nothing is off the slab before kmalloc is there.
    let early = SlabConfig::new(4).layout(&made(128), |_| None).unwrap();
    assert_eq!((early.management, early.objects), (Management::OnSlab, 31));
}

#[test]
fn a_slab_leaves_an_eighth_at_most_or_is_as_large_as_it_may_be() {
    // 704 bytes with the padding: five leave 576 of 4096, more than an eighth; eleven leave 448 of 8192.
    let l = layout(ObjectSpec::new(700));
    assert_eq!((l.size, l.objects, l.order.get()), (704, 11, 1));
    let small = SlabConfig { max_order: SlabConfig::max_order_for(32 << 20), ..SlabConfig::new(4) };
    let l = small.layout(&ObjectSpec::new(700), class).unwrap();
    assert_eq!((l.objects, l.order.get()), (5, 0), "no more than a page on a machine with 32 MiB");
    let flags = CacheFlags::RECLAIM_ACCOUNT;
    let l = layout(ObjectSpec { flags, ..ObjectSpec::new(700) });
    assert_eq!((l.objects, l.order.get()), (5, 0), "a page is reclaimed more easily");
    // What is larger than the largest order that it may be gets what it needs.
    assert_eq!(layout(ObjectSpec::new(20_000)).order.get(), 3);
}

#[test]
fn no_slab_has_more_objects_than_an_index_counts() {
    let l = layout(ObjectSpec::new(1));
    assert_eq!((l.size, l.index), (16, 1), "4096 bytes, an index of one byte");
    assert_eq!(l.objects, 240, "of 17 bytes each");
    let large = SlabConfig { page_shift: PageShift::SHIFT_64K, cache_line: 128, ..SlabConfig::new(4) };
    let l = large.layout(&ObjectSpec::new(1), |_| None).unwrap();
    assert_eq!((l.size, l.index, l.objects), (8, 2, 6553));
}

#[test]
fn colours_fill_what_is_left() {
    // 21 objects of 192 bytes leave 64: one line.
    let l = layout(ObjectSpec { align: 64, ..ObjectSpec::new(192) });
    assert_eq!((l.objects, l.colours, l.colour_off), (21, 1, 64));
    // Six of 640 bytes leave 256: four.
    let l = layout(ObjectSpec::new(640));
    assert_eq!((l.objects, l.colours), (6, 4));
}

#[test]
fn whatever_is_asked_for_objects_colour_and_list_lie_in_the_slab() {
    for page_shift in [PageShift::SHIFT_4K, PageShift::SHIFT_16K, PageShift::SHIFT_64K] {
        let config = SlabConfig { page_shift, ..SlabConfig::new(2) };
        let step = if cfg!(miri) { 997 } else { 1 };
        for size in (1..9000).step_by(step).chain([20_000, 65_536, 100_000, 1 << 20]) {
            for (align, ctor, flags) in [
                (0, false, CacheFlags::empty()),
                (64, true, CacheFlags::empty()),
                (0, true, CacheFlags::HWCACHE_ALIGN),
                (256, false, CacheFlags::RECLAIM_ACCOUNT),
            ] {
                let spec = ObjectSpec { size, align, flags, ctor };
                let l = config.layout(&spec, class).unwrap();
                let slab = page_shift.bytes() << l.order.get();
                let list = if l.management == Management::OnSlab { l.freelist() } else { 0 };
                let last = u64::from(l.colours - 1) * l.colour_off;
                let all = last + u64::from(l.objects) * l.size + list;
                assert!(all <= slab && l.objects > 0, "{spec:?}: {l:?}");
                assert!(l.size >= size && l.size.is_multiple_of(l.align) && l.size.is_multiple_of(8));
                if l.management == Management::InObject {
                    assert!(!ctor && l.freelist() <= l.size);
                }
            }
        }
    }
}
