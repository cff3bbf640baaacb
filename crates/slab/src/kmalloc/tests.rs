use super::*;
use std::string::ToString;
use std::vec::Vec;

const X86: Classes =
    Classes { page_shift: PageShift::SHIFT_4K, min_size: 8, min_align: 8, accounted: true, dma: true };

fn classes(min: u32) -> Classes {
    Classes { min_size: min, min_align: min, ..X86 }
}

#[test]
fn each_architecture_has_its_classes() {
    let sizes = |min| classes(min).sizes().collect::<Vec<_>>();
    assert_eq!(sizes(8), [8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192]);
    assert_eq!(sizes(64), [64, 128, 192, 256, 512, 1024, 2048, 4096, 8192]);
    assert_eq!(
        sizes(0),
        [1, 2, 4].into_iter().chain(sizes(8)).collect::<Vec<_>>(),
        "no size at all is none less"
    );
    assert_eq!(sizes(128), [128, 256, 512, 1024, 2048, 4096, 8192]);
}

#[test]
fn a_size_goes_to_the_least_class_that_holds_it() {
    for min in [8, 64, 128] {
        let classes = classes(min);
        let sizes: Vec<u32> = classes.sizes().collect();
        // Under Miri those around the classes, and some between.
        let near = |bytes: u64| sizes.iter().any(|&size| u64::from(size).abs_diff(bytes) <= 1);
        for bytes in (1..=8192).filter(|&bytes| !cfg!(miri) || bytes % 97 == 0 || near(bytes)) {
            let least = sizes.iter().copied().find(|&size| u64::from(size) >= bytes);
            assert_eq!(classes.class_of(bytes), least, "{bytes} bytes from {min} on");
        }
        assert_eq!((classes.class_of(0), classes.class_of(8193)), (None, None));
    }
}

#[test]
fn names_are_those_of_slabinfo() {
    let names = [
        (KmallocKind::Normal, 96, "kmalloc-96"),
        (KmallocKind::Accounted, 1024, "kmalloc-cg-1k"),
        (KmallocKind::Reclaimable, 8192, "kmalloc-rcl-8k"),
        (KmallocKind::Dma, 192, "dma-kmalloc-192"),
        (KmallocKind::Normal, 1 << 20, "kmalloc-1M"),
    ];
    for (kind, size, name) in names {
        assert_eq!(Name(kind, size).to_string(), name);
    }
}

#[test]
fn caches_are_made_kind_by_kind() {
    let few = Classes { min_size: 4096, accounted: false, ..X86 };
    let names: Vec<_> = few.caches().map(|(kind, size)| Name(kind, size).to_string()).collect();
    assert_eq!(
        names,
        ["kmalloc-4k", "kmalloc-8k", "kmalloc-rcl-4k", "kmalloc-rcl-8k", "dma-kmalloc-4k", "dma-kmalloc-8k"]
    );
}

#[test]
fn powers_of_two_are_aligned_to_themselves() {
    assert_eq!(X86.spec(512, KmallocKind::Normal).align, 512);
    assert_eq!(X86.spec(96, KmallocKind::Normal).align, 8);
    assert_eq!(classes(64).spec(192, KmallocKind::Reclaimable).align, 64);
    assert!(X86.spec(8, KmallocKind::Reclaimable).flags.contains(CacheFlags::RECLAIM_ACCOUNT));
}
