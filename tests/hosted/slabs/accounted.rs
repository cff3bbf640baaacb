//! Pages that objects take, as vmstat and meminfo count them: by node, and by whether reclaim can ask for them.

use super::*;
use pagewright_slab::SlabPages;
use pagewright_slab::objects::Design;
use pagewright_zone::Gfp;

const K: Gfp = Gfp::GFP_KERNEL;

#[test]
fn pages_count_for_their_node_and_kind_until_they_go_back() {
    for design in Design::ALL {
        let machine = PlainMachine { cpus: vec![node(0), node(1)], ..model::two_nodes() };
        on_design(design, &machine, &Silent, |m| {
            let o = m.allocator();
            let pages = |n| o.slab_pages(node(n));
            let before = [pages(0), pages(1)];
            let spec = CacheSpec::new("inodes", 1000, 0, CacheFlags::RECLAIM_ACCOUNT).with_usercopy(0, 1000);
            let cache = o.create(&spec).unwrap();
            let held: Vec<_> =
                m.on_cpu(0, |cx| (0..64).map(|_| o.alloc_node(cx, cache, K, node(1)).unwrap()).collect());
            // Four of them fill a page. SLOB does not tell caches from each other.
            let grown = [pages(0), pages(1)];
            let of_kind = |pages: SlabPages| match design {
                Design::Slob => pages.unreclaimable,
                _ => pages.reclaimable,
            };
            let more = of_kind(grown[1]) - of_kind(before[1]);
            assert!((16..=24).contains(&more), "{design}: {grown:?}");
            assert_eq!(grown[0].reclaimable, 0, "{design}");
            m.on_cpu(0, |cx| {
                let was = pages(0);
                let large = o.kmalloc(cx, 20_000, K, Some(node(0))).unwrap();
                assert_eq!(pages(0).unreclaimable, was.unreclaimable + 8, "{design}: a block of its own");
                // SAFETY: each is freed once.
                unsafe {
                    o.kfree(cx, large);
                    held.into_iter().for_each(|object| o.free(cx, cache, object));
                }
                assert_eq!(pages(0).reclaimable, 0, "{design}");
            });
            assert_eq!(end(m, cache), Ok(Destroyed::Gone));
            assert_eq!([pages(0).reclaimable, pages(1).reclaimable], [0, 0], "{design}");
        });
    }
}
