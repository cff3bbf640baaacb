//! From the first chunk that the boot has placed to the allocator of per-CPU memory: where the units are seen, and what is whose in them.

use super::AllocInfo;
use crate::boot::Boot;
use core::fmt;
use core::ptr::NonNull;
use pagewright_addr::{PhysRange, VirtRange};
use pagewright_percpu::{FirstChunk, Geometry};

/// Where a CPU's unit of the first chunk lies, as far as it is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnitPlace {
    /// RAM: it is seen where the linear map has it.
    Ram(PhysRange),
    /// Kernel addresses: single pages that the boot has mapped there (`percpu_alloc=page`), if it built tables.
    Mapped(VirtRange),
}

/// Why the first chunk cannot be served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FirstChunkError {
    /// The boot has placed none yet.
    NotPlaced,
    /// The room for offsets is of another size than there are CPUs in the chunk.
    Room {
        /// For so many CPUs it is.
        room: usize,
        /// And so many there are.
        cpus: usize,
    },
    /// A CPU's unit is not seen.
    NotSeen {
        /// The CPU.
        cpu: u32,
    },
    /// The units, as they are seen, are none that an allocator could serve: they overlap, or do not begin at pages.
    Geometry,
}

impl fmt::Display for FirstChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPlaced => f.write_str("the per-CPU first chunk is not placed yet"),
            Self::Room { room, cpus } => write!(f, "room for {room} CPUs' units, and there are {cpus}"),
            Self::NotSeen { cpu } => write!(f, "the per-CPU unit of CPU {cpu} is not seen"),
            Self::Geometry => f.write_str("per-CPU units that overlap, or do not begin at pages"),
        }
    }
}

impl core::error::Error for FirstChunkError {}

impl AllocInfo {
    /// How many CPUs have a unit: their numbers are below that.
    pub const fn count_cpus(&self) -> usize {
        self.cpus.len()
    }

    /// Where a CPU's unit lies; `None` for a CPU that the layout does not have.
    pub fn unit(&self, cpu: u32) -> Option<UnitPlace> {
        let (group, at) = self.groups.iter().find_map(|group| {
            let at = self.cpus(group).iter().position(|c| *c == cpu)?;
            Some((group, at as u64 * self.unit_size))
        })?;
        let used = self.size_sum();
        Some(match self.paged {
            None => UnitPlace::Ram(PhysRange::from_len(group.base.checked_add(at)?, used)),
            Some(first) => UnitPlace::Mapped(VirtRange::from_len(first.checked_add(at)?, used)),
        })
    }
}

impl Boot<'_> {
    /// What [`PerCpuAllocator`](pagewright_percpu::PerCpuAllocator) needs of the first chunk: the units' distances, of which `offsets` has one for each CPU
    /// ([`AllocInfo::count_cpus`]), and where they begin. `see` says where a unit is seen: RAM in the linear map, once that has it.
    ///
    /// The static part of each unit is the kernel's own; the reserved and the dynamic part are the allocator's. The boot never gives any of them back.
    ///
    /// # Errors
    /// [`FirstChunkError`].
    pub fn first_chunk<'m>(
        &self,
        offsets: &'m mut [u64],
        mut see: impl FnMut(UnitPlace) -> Option<NonNull<u8>>,
    ) -> Result<(Geometry<'m>, FirstChunk), FirstChunkError> {
        let info = self.percpu.as_ref().ok_or(FirstChunkError::NotPlaced)?;
        let cpus = info.count_cpus();
        if offsets.len() != cpus {
            return Err(FirstChunkError::Room { room: offsets.len(), cpus });
        }
        let mut lowest: Option<NonNull<u8>> = None;
        for (cpu, offset) in (0..).zip(offsets.iter_mut()) {
            let unit = info.unit(cpu).and_then(&mut see).ok_or(FirstChunkError::NotSeen { cpu })?;
            *offset = unit.addr().get() as u64;
            lowest = Some(lowest.map_or(unit, |lowest| lowest.min(unit)));
        }
        let lowest = lowest.ok_or(FirstChunkError::NotPlaced)?;
        offsets.iter_mut().for_each(|offset| *offset -= lowest.addr().get() as u64);
        let geometry = Geometry::new(self.page_bytes(), info.unit_size, offsets);
        let AllocInfo { static_size, reserved_size, dyn_size, .. } = *info;
        let first = FirstChunk { lowest, static_size, reserved_size, dyn_size };
        Ok((geometry.ok_or(FirstChunkError::Geometry)?, first))
    }
}
