//! What a machine promises to the memory manager, and the shared kinds that rest on the promises.
//!
//! - [`PerCpu`]: data that one CPU alone changes, without a locked instruction, beside words that any CPU may write.
//! - [`Mutex`] over [`Spin`]: a lock that waits by spinning, for lists that all CPUs share.
//! - [`Interrupts`]: whether an interrupt handler may run on this CPU now. Handlers allocate memory too, so a lock
//!   that they take must never be held by what they interrupted.
//! - [`GracePeriods`]: when nobody can still read what was taken out of sight; [`Readers`] for threads and for processors.
//! - [`DirectMap`]: RAM by physical address, where the CPU sees it; [`Carve`]: slices of any type out of a piece of it; [`Take`]: a
//!   `static` that belongs to whoever takes it first. With these three an embedder brings the memory that the boot asks for.
//! - [`MappedMemory`]: memory by virtual address, through the MMU of one CPU; [`DataCache`]: that CPU's cache, where it has to be told.
//!
//! The hosted machine keeps the promises with threads, a kernel with the CPU's own means. Contracts come here with
//! their first user; nothing in this crate knows what is in memory.
//!
//! ```
//! use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
//! use pagewright_platform::PerCpu;
//!
//! // Anyone may ask this CPU for something; only it counts.
//! let cpu = PerCpu::new(AtomicU32::new(0), 0_u64);
//! // SAFETY: no other handle exists.
//! let here = unsafe { cpu.here() };
//! here.shared().fetch_or(1, Relaxed);
//! if let Some(mut count) = here.enter() {
//!     *count += 1;
//!     // As in an interrupt handler: the data is in use.
//!     assert!(here.enter().is_none());
//! }
//! assert_eq!(here.enter().map(|count| *count), Some(1));
//! ```
#![no_std]

#[cfg(test)]
extern crate std;

pub mod carve;
mod data_cache;
pub mod direct_map;
pub mod grace;
mod interrupts;
mod mapped;
mod percpu;
mod spin;
pub mod take;

pub use carve::Carve;
pub use data_cache::DataCache;
pub use direct_map::{DirectMap, KnownWords};
pub use grace::{GracePeriods, ReadSection, Reader, ReaderHere, Readers};
pub use interrupts::{Interrupts, NoInterrupts, WithoutInterrupts};
pub use mapped::MappedMemory;
pub use percpu::{Entered, Here, PerCpu};
pub use spin::{Mutex, MutexGuard, Spin};
pub use take::Take;

#[cfg(test)]
mod tests;
