//! The last look at a watched slab, before its pages go: what was damaged while nobody used it is found and named then.

use super::watched::{damages, flip};
use super::*;
use pagewright_page::FrameIdx;
use pagewright_slab::memory::SlabMemory;
use pagewright_slab::slabs::Damage;
use pagewright_zone::Gfp;
use std::ptr::NonNull;

const K: Gfp = Gfp::GFP_KERNEL;
/// Every so many bytes under Miri.
const STEP: usize = if cfg!(miri) { 29 } else { 1 };

/// Two objects come and go, something happens to their slab, and a shrink gives it back: the object freed last, its slab's first byte and its head.
fn damaged(
    m: &Machine<'_, '_, '_, '_, '_, '_>,
    cache: CacheId,
    damage: impl FnOnce(NonNull<u8>, NonNull<u8>, FrameIdx),
) {
    m.on_cpu(0, |cx| {
        let objects = [(); 2].map(|()| m.slabs.alloc(cx, cache, K).unwrap());
        // SAFETY: each is freed once.
        objects.into_iter().for_each(|object| unsafe { m.slabs.free(cx, cache, object) });
        let memory = m.slabs.memory();
        let frame = FrameIdx::from_usize(memory.frame_of(objects[1].addr().get())).unwrap();
        let (head, _) = m.pages.base.map().slab_head(frame).unwrap();
        let slab = NonNull::new(memory.pointer(memory.address(head).unwrap())).unwrap();
        damage(objects[1], slab, head);
        assert!(!m.slabs.shrink(cx, cache), "the slab goes, whatever is found");
    });
}

#[test]
fn each_byte_that_is_flipped_is_found_when_the_slab_goes() {
    let kept = Kept::default();
    on(&small(1), &kept, |m| {
        for size in [8, 100] {
            let cache = m.slabs.create(&CacheSpec::new("last", size, 0, CacheFlags::DEBUG)).unwrap();
            let watched = watched::Watched { cache, object: NonNull::dangling(), size: size as usize };
            for at in watched.places(m).step_by(STEP) {
                let expected = watched.part(m, true, at).expect("nothing is the user's");
                damaged(m, cache, |object, _, _| flip(m, object, at));
                let found = damages(&kept);
                let miscounted = found == [Damage::SlabWord] && expected == Damage::FreePointer;
                assert!(miscounted || found == [expected], "{size} bytes, flipped at {at}: {found:?}");
            }
            let g = m.slabs.figures(cache).unwrap().geometry;
            let rest = u64::from(g.objects) * g.size..4096 << g.order.get();
            for at in rest.step_by(STEP) {
                damaged(m, cache, |_, slab, _| flip(m, slab, at as isize));
                assert_eq!(damages(&kept), [Damage::SlabPadding], "{size} bytes, at {at} of the slab");
            }
            damaged(m, cache, |_, _, _| ());
            assert_eq!(damages(&kept), []);
        }
    });
}

#[test]
fn what_the_frames_say_of_a_slab_is_looked_at_when_it_goes() {
    let kept = Kept::default();
    on(&small(1), &kept, |m| {
        let cache = m.slabs.create(&CacheSpec::new("last", 100, 0, CacheFlags::DEBUG)).unwrap();
        // First free object, node, and what has no meaning. Whether the slab is empty and where it is listed decide whether it goes.
        for bit in (0..22).chain(38..55).chain(57..64).step_by(if cfg!(miri) { 7 } else { 1 }) {
            let map = m.pages.base.map();
            damaged(m, cache, |_, _, head| map.set_data(head, map.data(head) ^ 1 << bit));
            let found = damages(&kept);
            assert!(matches!(found[..], [Damage::SlabWord | Damage::FreePointer]), "bit {bit}: {found:?}");
        }
    });
}
