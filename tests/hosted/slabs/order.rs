//! In which order objects of new slabs are handed out: none to rely on.

use super::designs::{end, on_design};
use super::small;
use pagewright_slab::CacheFlags;
use pagewright_slab::objects::Design;
use pagewright_slab::slabs::{CacheSpec, Destroyed, Silent};
use pagewright_zone::Gfp;
use std::collections::{BTreeMap, BTreeSet};

/// How many of so many objects follow each other in both orders.
fn alike(one: &[usize], other: &[usize]) -> usize {
    let pairs: BTreeSet<_> = one.windows(2).collect();
    other.windows(2).filter(|pair| pairs.contains(pair)).count()
}

#[test]
fn objects_of_each_new_slab_come_in_an_order_of_its_own() {
    const SLABS: usize = if cfg!(miri) { 2 } else { 64 };
    for design in [Design::Slub, Design::SlubCpuSlabs, Design::Slab] {
        on_design(design, &small(1), &Silent, |m| {
            let o = m.allocator();
            let cache = o.create(&CacheSpec::new("shuffled", 128, 0, CacheFlags::empty())).unwrap();
            m.on_cpu(0, |cx| {
                let objects: Vec<_> =
                    (0..SLABS * 32).map(|_| o.alloc(cx, cache, Gfp::GFP_KERNEL).unwrap()).collect();
                let mut slabs: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
                for object in &objects {
                    let address = object.addr().get();
                    slabs.entry(address & !4095).or_default().push(address % 4096 / 128);
                }
                let orders: Vec<_> = slabs.into_values().filter(|order| order.len() > 28).collect();
                assert!(orders.len() >= SLABS - 1, "{design}: slabs are used up");
                for (order, next) in orders.iter().zip(orders.iter().skip(1)) {
                    assert!(alike(order, next) < 12, "{design}: {order:?} and {next:?}");
                    let steps: BTreeSet<_> =
                        order.windows(2).map(|pair| (32 + pair[1] - pair[0]) % 32).collect();
                    assert!(steps.len() > 8, "{design}: {order:?} goes by steps");
                }
                if !cfg!(miri) {
                    let firsts: BTreeSet<_> = orders.iter().map(|order| order[0]).collect();
                    assert!(firsts.len() > 16, "{design}: any object may be the first, not only {firsts:?}");
                }
                // SAFETY: each is freed once.
                objects.into_iter().for_each(|object| unsafe { o.free(cx, cache, object) });
            });
            o.validate(cache).unwrap();
            assert_eq!(end(m, cache), Ok(Destroyed::Gone));
        });
    }
}
