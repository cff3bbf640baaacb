use super::*;
use crate::slub::Slub;

fn info(size: u64) -> Info {
    let spec = CacheSpec::new("test", size, 0, CacheFlags::empty());
    let geometry = Slub::new(4).geometry(&spec.object).unwrap();
    Info::new(&spec, CacheName::new("test").unwrap(), geometry, 0x5eed_cafe)
}

#[test]
fn exactly_the_starts_of_objects_are_known() {
    for size in [8, 24, 40, 96, 192, 1000, 4096, 5000, 32_768, 1 << 20, (4 << 20) - 8] {
        let info = info(size);
        let (size, bytes) = (info.geometry.size as usize, 4096_usize << info.geometry.order.get());
        let starts = (0..info.geometry.objects as usize).map(|n| n * size);
        assert!(starts.clone().all(|at| info.places.is_object(at)), "{size} bytes");
        let step = if cfg!(miri) { bytes / 16 } else { (bytes / 4096).max(1) };
        for at in (0..bytes).step_by(step) {
            assert_eq!(info.places.is_object(at), at.is_multiple_of(size), "at {at} of {size} bytes");
        }
    }
}

#[test]
fn a_changed_free_pointer_leads_nowhere() {
    let info = info(64);
    let at = 0x7f00_1234_5020;
    let stored = info.places.encode(at, 129);
    assert_eq!(info.places.decode(at, stored, 4096), Ok(Some(128)));
    assert_eq!(info.places.decode(at, info.places.encode(at, 0), 4096), Ok(None));
    // Flipping a byte may hit another object or "none", if it is the offset's own low byte and the bits are chosen well.
    let wrong = (0..usize::BITS / 8)
        .filter(|byte| info.places.decode(at, stored ^ (0xff << (8 * byte)), 4096).is_err())
        .count();
    assert_eq!(wrong, size_of::<usize>());
    assert_eq!(info.places.decode(at + 64, stored, 4096), Err(()), "it belongs where it lies");
}

#[test]
fn a_number_beyond_all_tables_is_no_handle() {
    let handle = |index| OwnerHandle::new(index, 1).unwrap();
    let last = CacheId(handle(CacheId::PLACES - 1));
    assert_eq!(CacheId::from_raw(last.to_raw()), Some(last));
    // Its place in a table would be 0, whose cache has that generation.
    assert_eq!(CacheId::from_raw(CacheId(handle(CacheId::PLACES)).to_raw()), None);
    assert_eq!(CacheId::from_raw(0), None);
}

#[test]
fn names_are_limited() {
    assert_eq!(CacheName::new("kmalloc-64").unwrap().as_str(), "kmalloc-64");
    assert!(CacheName::new("").is_none() && CacheName::new(&"x".repeat(33)).is_none());
    assert!(CacheName::new(&"x".repeat(32)).is_some());
}
