//! What watched caches tell of their users: traces of those that keep records, lines of those that are traced, and failures of those that are marked.

use super::*;
use pagewright_sim::slabs::with_watched_slabs;
use pagewright_slab::SlabError;
use pagewright_slab::slabs::{AttributeError, DebugOptions, Trace, TraceSite, Traced};
use pagewright_zone::Gfp;

const K: Gfp = Gfp::GFP_KERNEL;

fn lines(m: &Machine<'_, '_, '_, '_, '_, '_>, cache: CacheId, which: Trace, room: usize) -> Vec<String> {
    let mut room = vec![TraceSite::EMPTY; room];
    let traces = m.slabs.traces(cache, which, &mut room).expect("it keeps records");
    traces.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn traces_count_the_objects_in_use_by_the_place_that_took_them_most_first() {
    let machine = PlainMachine { cpus: vec![node(0), node(1)], ..model::two_nodes() };
    on(&machine, &Silent, |m| {
        let flags = CacheFlags::STORE_USER;
        let cache = m.slabs.create(&CacheSpec::new("tracked", 100, 0, flags)).unwrap();
        assert_eq!(lines(m, cache, Trace::Alloc, 4), ["No data"]);
        let once = m.on_cpu(0, |cx| m.slabs.alloc(&cx.for_task(7), cache, K).unwrap());
        let once_line = line!() - 1;
        let mut held: Vec<_> = [0, 1]
            .iter()
            .flat_map(|&cpu| {
                let task = 20 + cpu as u32;
                m.on_cpu(cpu, |cx| [(); 3].map(|()| m.slabs.alloc(&cx.for_task(task), cache, K).unwrap()))
            })
            .collect();
        let often_line = line!() - 3;
        let told = lines(m, cache, Trace::Alloc, 4);
        let file = file!();
        // Seven records: the first is six old, the others five to none.
        assert_eq!(
            told,
            [
                format!("      6 {file}:{often_line} age=0/2/5 pid=20-21 cpus=0-1 nodes=0-1"),
                format!("      1 {file}:{once_line} age=6 pid=7 cpus=0 nodes=0"),
            ]
        );
        assert_eq!(
            lines(m, cache, Trace::Free, 4),
            ["      7 <not-available> age=7/7/7 pid=0 cpus=0 nodes=0-1"]
        );
        // What has no room is counted.
        let narrow = lines(m, cache, Trace::Alloc, 1);
        let counted =
            narrow.iter().map(|line| line.split_whitespace().next().unwrap().parse::<u64>().unwrap());
        assert_eq!((narrow.len(), counted.sum()), (2, 7), "{narrow:?}");
        assert!(narrow[1].ends_with(" <not-available>"), "{narrow:?}");
        // An object that was freed before tells from where.
        m.on_cpu(0, |cx| {
            // SAFETY: freed once before it is taken again.
            unsafe { m.slabs.free(cx, cache, once) };
            let freed_line = line!() - 1;
            held.push(m.slabs.alloc(cx, cache, K).unwrap());
            let freed = lines(m, cache, Trace::Free, 4);
            assert!(
                freed.iter().any(|line| line.starts_with(&format!("      1 {file}:{freed_line} age=1 ")))
            );
            // SAFETY: each is freed once.
            held.into_iter().for_each(|object| unsafe { m.slabs.free(cx, cache, object) });
        });
        assert_eq!(lines(m, cache, Trace::Alloc, 4), ["No data"], "of what is free nothing is told");
        let plain = m.slabs.create(&spec("plain", 100)).unwrap();
        assert!(m.slabs.traces(plain, Trace::Alloc, &mut []).is_none());
    });
}

#[test]
fn traces_of_kmalloc_tell_what_was_not_asked_for() {
    with_plain_machine(&small(1), NoHooks, |pages| {
        let watched = DebugOptions::parse("U,kmalloc-128").unwrap();
        with_watched_slabs(pages, &[node(0)], (80, watched), &Silent, |m| {
            let mut cache = None;
            // SAFETY: no cache is destroyed here.
            for id in unsafe { m.slabs.ids() } {
                if m.slabs.figures(id).unwrap().name.as_str() == "kmalloc-128" {
                    cache = Some(id);
                }
            }
            m.on_cpu(0, |cx| {
                let held = [100, 100, 128].map(|bytes| m.slabs.kmalloc(cx, bytes, K).unwrap());
                let told = lines(m, cache.unwrap(), Trace::Alloc, 4);
                assert!(told[0].starts_with("      2 ") && told[0].contains(" waste=56/28 "), "{told:?}");
                assert!(told[1].starts_with("      1 ") && !told[1].contains("waste"), "{told:?}");
                // SAFETY: freed once.
                held.into_iter().for_each(|memory| unsafe { m.slabs.kfree(cx, memory) });
            });
        });
    });
}

/// Keeps what is told.
#[derive(Default)]
struct Told(Mutex<Vec<Traced>>);

impl Reports for Told {
    fn report(&self, report: &Report) {
        panic!("{report}");
    }

    fn traced(&self, traced: &Traced) {
        self.0.lock().unwrap().push(*traced);
    }
}

#[test]
fn a_traced_cache_tells_of_every_operation_and_others_of_none() {
    let told = Told::default();
    on(&small(1), &told, |m| {
        let flags = CacheFlags::TRACE;
        let cache = m.slabs.create(&CacheSpec::new("traced", 64, 0, flags)).unwrap();
        let plain = m.slabs.create_unmerged(&spec("plain", 64)).unwrap();
        assert_eq!(m.slabs.attribute(cache, "trace").unwrap().to_string(), "1");
        m.on_cpu(0, |cx| {
            let [first, second, other] = [cache, cache, plain].map(|of| m.slabs.alloc(cx, of, K).unwrap());
            // SAFETY: each is freed once.
            unsafe {
                m.slabs.free(cx, cache, first);
                m.slabs.free(cx, plain, other);
                m.slabs.free(cx, cache, second);
            }
            let told = std::mem::take(&mut *told.0.lock().unwrap());
            let did: Vec<_> = told.iter().map(|one| (one.what, one.object, one.in_use)).collect();
            let [first, second] = [first, second].map(|object| object.addr().get());
            assert_eq!(
                did,
                [
                    (Trace::Alloc, first, 1),
                    (Trace::Alloc, second, 2),
                    (Trace::Free, first, 2),
                    (Trace::Free, second, 1)
                ]
            );
            assert_eq!(told[0].first_free, Some(second), "the next one is in front then");
            assert_eq!(told[0].to_string(), format!("TRACE traced alloc {first:#x} inuse=1 fp={second:#x}"));
            assert_eq!(told[3].first_free, Some(first));
            assert!(told.iter().all(|one| one.site.unwrap().file() == file!()));
        });
    });
}

#[test]
fn only_caches_that_are_marked_fail_where_only_they_are_to() {
    silently(1, |m| {
        // Nothing of them is for users, or they would be shared with none in any case.
        let make = |name, size, flags| {
            let spec = CacheSpec { usercopy: (0, 0), ..CacheSpec::new(name, size, 0, flags) };
            m.slabs.create(&spec).unwrap()
        };
        let marked = make("marked", 64, CacheFlags::FAILSLAB);
        let [plain, shared] = ["plain", "shared"].map(|name| make(name, 80, CacheFlags::empty()));
        assert_eq!(plain, shared, "they are one cache");
        assert_ne!(make("other", 64, CacheFlags::empty()), marked, "a marked cache is shared with none");
        let says = |cache| m.slabs.attribute(cache, "failslab").unwrap().to_string();
        assert_eq!((says(marked), says(plain)), ("1".into(), "0".into()));
        m.on_cpu(0, |cx| {
            let take = |cache| m.slabs.alloc(cx, cache, K);
            // SAFETY: just taken.
            let pair = |cache| take(cache).map(|object| unsafe { m.slabs.free(cx, cache, object) });
            m.slabs.fail_marked(true);
            m.slabs.fail_nth(1);
            assert_eq!(pair(plain), Ok(()));
            assert_eq!(pair(marked), Err(SlabError::Injected));
            let set = |cache, text| m.slabs.set_attribute(cx, cache, "failslab", text);
            assert_eq!(set(shared, "1"), Err(AttributeError::Value), "two share it");
            set(marked, "0\n").unwrap();
            m.slabs.fail_nth(1);
            assert_eq!((says(marked), pair(marked)), ("0".into(), Ok(())));
            m.slabs.fail_marked(false);
            m.slabs.fail_nth(1);
            assert_eq!(pair(plain), Err(SlabError::Injected), "without the filter any");
            m.slabs.fail_nth(0);
        });
    });
}
