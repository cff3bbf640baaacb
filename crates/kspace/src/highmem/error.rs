//! What is refused, and why.

use super::local::LocalMap;
use super::pkmap::WaitKey;
use pagewright_addr::PhysAddr;
use pagewright_pagetable::SlotError;

/// Why a page got no address from `kmap`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KmapError {
    /// Every slot is in use. Whoever may sleep waits until somebody unmaps a page ([`super::Wake::Waiters`]) and tries again.
    #[error("all {slots} slots for kmaps are in use")]
    Wait {
        /// What to wait for.
        key: WaitKey,
        /// How many slots there are.
        slots: u32,
    },
    /// As many users of one page as can be counted.
    #[error("the page at {0:#x} is mapped by as many users as can be counted")]
    TooManyUsers(PhysAddr),
    /// The slot cannot be set.
    #[error("{0}")]
    Slot(SlotError),
}

/// Why `kunmap` did nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KunmapError {
    /// The page is not mapped, or nobody uses it any more.
    #[error("the page at {0:#x} is not in use by any kmap")]
    NotMapped(PhysAddr),
}

/// Why a page got no address from `kmap_local_page`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KmapLocalError {
    /// The task holds as many as it may (KM_MAX_IDX).
    #[error("{held} local kmaps are held, no more are allowed")]
    TooDeep {
        /// How many it holds.
        held: u32,
    },
    /// The slots are for fewer CPUs.
    #[error("there are local kmaps for {cpus} CPUs, this is CPU {cpu}")]
    NoCpu {
        /// The CPU.
        cpu: u32,
        /// How many have slots.
        cpus: u32,
    },
    /// The slot cannot be set.
    #[error("{0}")]
    Slot(SlotError),
}

/// A local kmap that is not the last one that was mapped. It stays as it is, and comes back.
#[derive(Debug, thiserror::Error)]
#[error("the local kmap at {:#x} is not the last one that is held ({held} are)", map.address())]
pub struct NotTop {
    /// The map.
    pub map: LocalMap,
    /// How many are held.
    pub held: u32,
}

/// Why a task's local kmaps cannot change hands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SchedError {
    /// The task holds atomic ones, and must not be scheduled.
    #[error("a task is scheduled that holds {0} atomic kmaps")]
    Atomic(u32),
    /// The task comes back on another CPU than that whose slots it holds.
    #[error("local kmaps are held on CPU {held_on}, this is CPU {cpu}")]
    Moved {
        /// The CPU it is on.
        cpu: u32,
        /// The CPU whose slots it holds.
        held_on: u32,
    },
    /// A slot is in use by somebody else.
    #[error("{0}")]
    Slot(SlotError),
}
