//! Which caches are one (SLUB), and what becomes of those.

use super::*;
use pagewright_slab::slabs::CreateError;
use pagewright_zone::Gfp;

const K: Gfp = Gfp::GFP_KERNEL;

#[test]
fn caches_alike_are_one_and_others_are_not() {
    silently(1, |m| {
        let plain = |name, size, flags| CacheSpec::new(name, size, 0, flags);
        let first = m.slabs.create(&plain("first", 100, CacheFlags::empty())).unwrap();
        let same = m.slabs.create(&plain("same", 97, CacheFlags::empty())).unwrap();
        assert_eq!(first, same);
        assert_eq!(m.slabs.figures(first).unwrap().users, 2);
        for (name, size, flags) in [
            ("smaller by a word", 96, CacheFlags::empty()),
            ("reclaimable", 100, CacheFlags::RECLAIM_ACCOUNT),
            ("dma", 100, CacheFlags::CACHE_DMA),
        ] {
            assert_ne!(m.slabs.create(&plain(name, size, flags)).unwrap(), first, "{name}");
        }
        let usercopy =
            m.slabs.create(&plain("for users", 100, CacheFlags::empty()).with_usercopy(0, 4)).unwrap();
        assert_ne!(usercopy, first, "what users may be given is nobody else's");
    });
}

#[test]
fn a_cache_whose_objects_lie_as_an_alignment_asks_for_does_as_well() {
    silently(1, |m| {
        let create =
            |name, size, align, flags| m.slabs.create(&CacheSpec::new(name, size, align, flags)).unwrap();
        let plain = create("plain", 64, 0, CacheFlags::empty());
        assert_eq!(
            create("lines", 64, 0, CacheFlags::HWCACHE_ALIGN),
            plain,
            "each lies in a line of its own"
        );
        assert_eq!(create("sixteen", 64, 16, CacheFlags::empty()), plain);
        assert_ne!(create("larger", 64, 128, CacheFlags::empty()), plain);
        let odd = create("odd", 72, 0, CacheFlags::empty());
        assert_ne!(create("in pairs", 72, 16, CacheFlags::empty()), odd, "every other one is not aligned");
        // Checks alone leave objects as they are.
        assert_eq!(create("checked", 64, 0, CacheFlags::CONSISTENCY_CHECKS), plain);
        assert_ne!(create("poisoned", 64, 0, CacheFlags::POISON), plain);
        m.on_cpu(0, |cx| {
            let objects: Vec<_> = (0..70).map(|_| m.slabs.alloc(cx, plain, K).unwrap()).collect();
            assert!(objects.iter().all(|object| object.addr().get().is_multiple_of(64)));
            // SAFETY: each is freed once.
            objects.into_iter().for_each(|object| unsafe { m.slabs.free(cx, plain, object) });
        });
    });
}

#[test]
fn a_name_that_no_cache_can_have_is_refused_also_where_another_would_do() {
    silently(1, |m| {
        let create = |name| m.slabs.create(&CacheSpec::new(name, 100, 0, CacheFlags::empty()));
        let first = create("first").unwrap();
        for name in ["", "a name that is one byte too long!"] {
            assert_eq!(create(name), Err(CreateError::Name), "{name}");
        }
        assert_eq!(m.slabs.figures(first).unwrap().users, 1);
    });
}

#[test]
fn caches_that_are_traced_fail_or_hide_from_leak_searches_are_nobody_elses() {
    silently(1, |m| {
        let create = |flags| m.slabs.create(&CacheSpec::new("some", 100, 0, flags)).unwrap();
        let plain = create(CacheFlags::empty());
        let alone = [CacheFlags::TRACE, CacheFlags::FAILSLAB, CacheFlags::NOLEAKTRACE];
        for flags in alone {
            let first = create(flags);
            assert!(
                first != plain && create(flags) != first && create(CacheFlags::empty()) == plain,
                "{flags:?}"
            );
        }
    });
}

#[test]
fn users_are_given_nothing_of_a_cache_that_does_not_say_what() {
    silently(1, |m| {
        let closed = m.slabs.create(&CacheSpec::new("closed", 64, 0, CacheFlags::empty())).unwrap();
        let open =
            m.slabs.create(&CacheSpec::new("open", 64, 0, CacheFlags::empty()).with_usercopy(8, 16)).unwrap();
        m.on_cpu(0, |cx| {
            for (cache, may) in [(closed, false), (open, true)] {
                let object = m.slabs.alloc(cx, cache, K).unwrap();
                let at = object.map_addr(|at| at.checked_add(8).unwrap());
                assert_eq!((m.slabs.may_copy(at, 16), m.slabs.may_copy(object, 1)), (may, false));
                // SAFETY: freed once.
                unsafe { m.slabs.free(cx, cache, object) };
            }
        });
    });
}

#[test]
fn no_cache_is_merged_with_one_that_is_about_to_go() {
    silently(2, |m| {
        let merges = |name| CacheSpec::new(name, 64, 0, CacheFlags::empty());
        let pair = |cpu, cache| {
            m.on_cpu(cpu, |cx| {
                let object = m.slabs.alloc(cx, cache, K).unwrap();
                // SAFETY: freed once.
                unsafe { m.slabs.free(cx, cache, object) };
            });
        };
        let old = m.slabs.create(&merges("old")).unwrap();
        pair(1, old);
        // SAFETY: nobody uses it.
        let end = || m.on_cpu(0, |cx| unsafe { m.slabs.destroy(cx, old) });
        assert_eq!(end(), Err(DestroyError::Retry { cpus: 1 }));
        let new = m.slabs.create(&merges("new")).unwrap();
        assert_ne!(new, old, "it would go with it");
        assert_eq!(m.slabs.create(&merges("newer")), Ok(new), "which stays");
        m.on_cpu(1, |cx| m.slabs.poll(cx));
        assert_eq!(end(), Ok(Destroyed::Gone));
        // Nothing of that is left in its place for who comes there.
        assert_eq!(destroy(m, new), Ok(Destroyed::Shared));
        let next = m.slabs.create_unmerged(&merges("next")).unwrap();
        for cache in [new, next] {
            pair(0, cache);
            let figures = m.slabs.figures(cache).unwrap();
            assert!(figures.active_objects > 0, "the free object is in a row");
        }
    });
}
