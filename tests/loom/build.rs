//! Makes copies of the library's own sources in which atomics are loom's, so that what is explored is what is shipped.
//!
//! Loom's atomics are made at run time, so that `const` goes from what makes them; and loom must be told where a thread waits. Each
//! replacement must find its text: a source that has changed fails the build, and is looked at again.

use std::path::Path;
use std::{env, fs};

/// A source: its place, the copy's name, what is replaced by what.
struct Source {
    path: &'static str,
    name: &'static str,
    replace: &'static [(&'static str, &'static str)],
}

const ATOMIC: (&str, &str) = ("core::sync::atomic", "loom::sync::atomic");

const SOURCES: [Source; 12] = [
    Source {
        path: "../../crates/platform/src/spin.rs",
        name: "spin.rs",
        replace: &[
            ATOMIC,
            ("core::hint::spin_loop()", "loom::thread::yield_now()"),
            // Who waits gives way once before it tries again: loom would explore for ever how long an old value may be seen.
            ("while self.held.load(Relaxed)", ""),
            // `lock_api` wants a constant: the methods stand by themselves.
            ("unsafe impl RawMutex for Spin {", "impl Spin {"),
            (
                "const INIT: Self = Self { held: AtomicBool::new(false) };",
                "pub(crate) fn new() -> Self { Self { held: AtomicBool::new(false) } }",
            ),
            // A swap that fails writes what was there already; loom takes that for a write whose place among others is open.
            (
                "!self.held.swap(true, Acquire)",
                "self.held.compare_exchange(false, true, Acquire, Relaxed).is_ok()",
            ),
            ("    type GuardMarker = GuardNoSend;\n", ""),
            ("use lock_api::{GuardNoSend, RawMutex};\n", ""),
            ("/// A value behind a [`Spin`] lock.\npub type Mutex<T> = lock_api::Mutex<Spin, T>;\n", ""),
            (
                "/// The right to that value.\npub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, Spin, T>;\n",
                "",
            ),
            ("    fn lock(", "    pub(crate) fn lock("),
            ("    fn try_lock(", "    pub(crate) fn try_lock("),
            ("    unsafe fn unlock(", "    pub(crate) unsafe fn unlock("),
            ("    fn is_locked(", "    pub(crate) fn is_locked("),
        ],
    },
    Source {
        path: "../../crates/zone/src/alloc/attention.rs",
        name: "attention.rs",
        replace: &[
            ATOMIC,
            ("pub const fn new()", "pub fn new()"),
            ("static NEVER_QUIET: Attention = Attention { word: AtomicU32::new(1 << 30) };", ""),
            ("pub(super) const NEVER_QUIET: &'static Self = &NEVER_QUIET;", ""),
        ],
    },
    Source { path: "../../crates/zone/src/buddy/migrate.rs", name: "migrate.rs", replace: &[] },
    Source {
        path: "../../crates/zone/src/alloc/occupied.rs",
        name: "occupied.rs",
        replace: &[
            ATOMIC,
            ("use crate::buddy::MigrateType", "use crate::migrate::MigrateType"),
            ("pub(super) const fn new()", "pub(super) fn new()"),
            ("[const { AtomicUsize::new(0) }; WORDS]", "core::array::from_fn(|_| AtomicUsize::new(0))"),
        ],
    },
    Source {
        path: "../../crates/platform/src/grace.rs",
        name: "grace.rs",
        replace: &[
            ATOMIC,
            // Interrupt handlers are not modelled, so nothing of a thread's own needs to be kept in order for it.
            (
                "use loom::sync::atomic::{AtomicU32, AtomicU64, compiler_fence, fence};",
                "use loom::sync::atomic::{AtomicU32, AtomicU64, fence};\nconst fn compiler_fence(_: core::sync::atomic::Ordering) {}",
            ),
            ("pub const fn new() -> Self {", "pub fn new() -> Self {"),
            (
                "pub const fn new(readers: &'r [Reader]) -> Self {",
                "pub fn new(readers: &'r [Reader]) -> Self {",
            ),
            ("#[cfg(test)]\nmod tests;\n", ""),
        ],
    },
    Source { path: "../../crates/page/src/counts/wide.rs", name: "counts_wide.rs", replace: &[ATOMIC] },
    Source { path: "../../crates/page/src/counts/halves.rs", name: "counts_halves.rs", replace: &[ATOMIC] },
    Source { path: "../../crates/slab/src/slabs/word.rs", name: "word.rs", replace: &[] },
    Source {
        path: "../../crates/slab/src/slabs/tenancy.rs",
        name: "tenancy.rs",
        replace: &[ATOMIC, ("pub(crate) const fn new(", "pub(crate) fn new(")],
    },
    Source {
        path: "../../crates/slab/src/slabs/cpu_slab/tid.rs",
        name: "tid.rs",
        replace: &[ATOMIC, ("pub(crate) const fn new(", "pub(crate) fn new(")],
    },
    Source {
        path: "../../crates/slab/src/slabs/cpu_slab/frozen.rs",
        name: "frozen.rs",
        replace: &[ATOMIC, ("super::super::word", "crate::word")],
    },
    Source {
        path: "../../crates/slab/src/slabs/requests.rs",
        name: "requests.rs",
        replace: &[
            ATOMIC,
            // As above: what the fences order is a handler's business.
            (
                "use loom::sync::atomic::{AtomicU32, compiler_fence};",
                "use loom::sync::atomic::AtomicU32;\nconst fn compiler_fence(_: core::sync::atomic::Ordering) {}",
            ),
            ("pub(super) const fn new(", "pub(super) fn new("),
            // Nothing comes between what an exchange reads and what it writes; loom leaves open whether a plain store does. As an exchange it has a place.
            ("self.gate.store(", "self.gate.swap("),
        ],
    },
];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(loom)");
    let out = env::var("OUT_DIR").expect("cargo sets it");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", source.path);
        let mut text = fs::read_to_string(source.path).expect("the library's source");
        for (from, to) in source.replace {
            assert!(text.contains(from), "{} no longer has `{from}`", source.path);
            text = text.replace(from, to);
        }
        // All of it is for the models, which need not use everything.
        text = text.replace("pub(crate) ", "pub ").replace("pub(super) ", "pub ");
        // Module documentation cannot stand in an included file.
        let text: String = text.lines().map(|l| format!("{}\n", l.replacen("//!", "//", 1))).collect();
        fs::write(Path::new(&out).join(source.name), text).expect("room for the copy");
    }
}
