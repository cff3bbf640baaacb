//! Processors that are threads: objects allocated on one are freed on others.

use super::*;
use pagewright_zone::Gfp;
use std::ptr::NonNull;
use std::sync::mpsc;

/// An object on its way to another thread.
struct Sent(NonNull<u8>, u64);

// SAFETY: whoever has it has the object alone.
unsafe impl Send for Sent {}

#[test]
fn objects_are_freed_where_they_were_not_allocated() {
    let rounds = if cfg!(miri) { 60 } else { 40_000 };
    silently(2, |m| {
        let caches: Vec<_> =
            [24, 64, 700].map(|size| m.slabs.create_unmerged(&spec("threads", size)).unwrap()).into();
        std::thread::scope(|scope| {
            let (to_first, first) = mpsc::sync_channel::<Sent>(200);
            let (to_second, second) = mpsc::sync_channel::<Sent>(200);
            for (cpu, to, from) in [(0, to_second, first), (1, to_first, second)] {
                let caches = &caches;
                scope.spawn(move || {
                    m.on_cpu(cpu, |cx| {
                        let check = |sent: Sent| {
                            // SAFETY: an object of at least 8 bytes that is ours.
                            assert_eq!(unsafe { sent.0.cast::<u64>().read() }, sent.1);
                            // SAFETY: freed once.
                            unsafe { m.slabs.free_any(cx, sent.0) };
                        };
                        for n in 0..rounds {
                            let cache = caches[n % caches.len()];
                            let object = m.slabs.alloc(cx, cache, Gfp::GFP_KERNEL).unwrap();
                            let name = (n * 2 + cpu) as u64;
                            // SAFETY: as above.
                            unsafe { object.cast::<u64>().write(name) };
                            if let Err(
                                mpsc::TrySendError::Full(sent) | mpsc::TrySendError::Disconnected(sent),
                            ) = to.try_send(Sent(object, name))
                            {
                                check(sent);
                            }
                            from.try_iter().take(3).for_each(check);
                            if n % 997 == 0 {
                                m.slabs.shrink(cx, cache);
                            }
                        }
                        drop(to);
                        from.iter().for_each(check);
                    });
                });
            }
        });
        for cpu in 0..2 {
            m.on_cpu(cpu, |cx| m.slabs.poll(cx));
        }
        assert_eq!(m.slabs.findings(), 0);
        for cache in caches {
            m.slabs.validate(cache).unwrap();
        }
    });
}
