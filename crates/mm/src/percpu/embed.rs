//! The first chunk embedded in the linear map (`pcpu_embed_first_chunk`): each group's units lie together in its node's memory.

use super::setup::setup_first_chunk;
use super::{AllocInfo, CpuPlace, Sizes, alloc_info};
use crate::boot::{Boot, info};
use crate::error::BootError;
use crate::sink::Level;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::Arch;
use pagewright_kspace::Kind;
use pagewright_memblock::Error as MemblockError;

/// Linux's errors.
const ENOMEM: u32 = 12;
const EINVAL: u32 = 22;

/// Whether the first chunk is embedded.
pub(super) enum Embedded {
    Yes,
    /// Linux's error; memblock is as it was.
    No(u32),
}

/// Whether memory is what was wanting, also because a test would have it so.
fn is_want(e: &MemblockError) -> bool {
    matches!(e, MemblockError::NoMemory { .. } | MemblockError::Injected)
}

/// What embedding has taken so far.
struct Taken {
    /// The layout; as many groups have a base as `groups` says.
    ai: AllocInfo,
    groups: usize,
    /// The description, and the list of the groups' areas.
    info: PhysRange,
    areas: Option<PhysRange>,
}

impl Taken {
    /// Gives all of it back. What was given back before (the unused tails) stays so.
    fn give_up(&self, boot: &mut Boot<'_>) -> Result<(), BootError> {
        boot.mb.set_caller("pcpu_fc_free");
        for g in &self.ai.groups[..self.groups] {
            boot.mb.phys_free(PhysRange::from_len(g.base, u64::from(g.units) * self.ai.unit_size))?;
        }
        self.give_notes_back(boot)
    }

    fn give_notes_back(&self, boot: &mut Boot<'_>) -> Result<(), BootError> {
        boot.mb.set_caller("pcpu_embed_first_chunk");
        boot.mb.phys_free(self.info)?;
        match self.areas {
            Some(areas) => Ok(boot.mb.phys_free(areas)?),
            None => Ok(()),
        }
    }
}

/// Places the first chunk in the linear map (`pcpu_embed_first_chunk` and `pcpu_setup_first_chunk`).
///
/// # Errors
/// Whatever memblock refuses but memory, or refuses once the units are there (where Linux panics); all that was taken is given back.
pub(super) fn embed_first_chunk(
    boot: &mut Boot<'_>,
    sizes: Sizes,
    cpus: &[CpuPlace],
    grouped: bool,
) -> Result<Embedded, BootError> {
    let ai = AllocInfo::build(sizes, cpus, grouped)?;
    let info = match alloc_info(boot, &ai, sizes) {
        Ok(info) => info,
        Err(e) if is_want(&e) => return Ok(Embedded::No(ENOMEM)),
        Err(e) => return Err(e.into()),
    };
    let mut taken = Taken { ai, groups: 0, info, areas: None };
    let done = place(boot, sizes, grouped, &mut taken).and_then(|embedded| match embedded {
        Embedded::Yes => finish(boot, sizes, cpus.len() as u64, &taken).map(|()| embedded),
        Embedded::No(_) => Ok(embedded),
    });
    match done {
        Ok(Embedded::Yes) => {
            taken.give_notes_back(boot)?;
            *boot.percpu = Some(taken.ai);
        }
        _ => taken.give_up(boot)?,
    }
    done
}

/// Takes the groups' memory, and looks at how far apart it is.
fn place(boot: &mut Boot<'_>, sizes: Sizes, grouped: bool, taken: &mut Taken) -> Result<Embedded, BootError> {
    let (long, line) = (boot.long_bytes(), boot.cache_line());
    boot.mb.set_caller("pcpu_embed_first_chunk");
    let areas_bytes = (taken.ai.groups.len() as u64 * long).next_multiple_of(sizes.page);
    match boot.alloc(areas_bytes, line) {
        Ok(at) => taken.areas = Some(PhysRange::from_len(at, areas_bytes)),
        Err(e) if is_want(&e) => return Ok(Embedded::No(ENOMEM)),
        Err(e) => return Err(e.into()),
    }

    let goal = boot.max_dma_address();
    boot.mb.set_caller("pcpu_fc_alloc");
    let ai = &mut taken.ai;
    for g in &mut ai.groups {
        let bytes = u64::from(g.units) * ai.unit_size;
        let base = match g.node.filter(|n| grouped && boot.node_has_data(*n)) {
            Some(node) => boot.mb.alloc_try_nid(bytes, ai.atom_size, goal, PhysAddr::ZERO, Some(node)),
            None => boot.mb.alloc_from(bytes, ai.atom_size, goal),
        };
        match base {
            Ok(base) => g.base = base,
            Err(e) if is_want(&e) => return Ok(Embedded::No(ENOMEM)),
            Err(e) => return Err(e.into()),
        }
        taken.groups += 1;
    }
    // Later chunks have the same distances in vmalloc space, and most of it is for others.
    let distance = max_distance(ai);
    let room = boot.virtual_layout(boot.version).ok().and_then(|layout| layout.get(Kind::Vmalloc));
    // VMALLOC_END is the last byte on x86_64, and behind it elsewhere.
    let less = u64::from(boot.machine.arch == Arch::X86_64);
    let total = room.map_or(u64::MAX, |room| room.len - less);
    if distance > (u128::from(total) * 3 / 4) as u64 {
        boot.sink.line(
            Level::Warning,
            format_args!("percpu: max_distance={distance:#x} too large for vmalloc space {total:#x}"),
        );
        if boot.machine.config.percpu_choice() {
            return Ok(Embedded::No(EINVAL));
        }
    }
    Ok(Embedded::Yes)
}

/// Gives back what the units do not use, and makes the chunk.
fn finish(boot: &mut Boot<'_>, sizes: Sizes, cpus: u64, taken: &Taken) -> Result<(), BootError> {
    let ai = &taken.ai;
    boot.mb.set_caller("pcpu_embed_first_chunk");
    let used = ai.size_sum();
    for g in &ai.groups {
        for unit in 0..g.units {
            let at = g.base.saturating_add(u64::from(unit) * ai.unit_size);
            if unit < g.count {
                boot.mb.phys_free(PhysRange::from_len(at.saturating_add(used), ai.unit_size - used))?;
            } else {
                boot.mb.phys_free(PhysRange::from_len(at, ai.unit_size))?;
            }
        }
    }
    info!(
        boot,
        "percpu: Embedded {} pages/cpu s{} r{} d{} u{}",
        used / sizes.page,
        ai.static_size,
        ai.reserved_size,
        ai.dyn_size,
        ai.unit_size
    );
    setup_first_chunk(boot, ai, sizes, cpus)
}

/// From the lowest unit of all groups to behind the last of the highest.
fn max_distance(ai: &AllocInfo) -> u64 {
    let base = ai.groups.iter().map(|g| g.base).min().unwrap_or_default();
    let highest = ai.groups.iter().max_by_key(|g| g.base);
    highest.map_or(0, |g| g.base.get() - base.get() + u64::from(g.units) * ai.unit_size)
}
