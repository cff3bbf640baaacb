//! State changes that Linux makes without a line in the log.

use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_memblock::{Error, Event, Memblock, Set};

/// Makes the change on `memblock`. Events that only tell of a failure change nothing.
pub(super) fn apply(memblock: &mut Memblock<'_>, event: &Event) -> Result<(), Error> {
    match *event {
        // Without a node the regions lose theirs, whatever number this kernel marks that with.
        Event::SetNode { range, which, nid, .. } => memblock.set_node(whole(range), which, nid),
        Event::SetFlag { range, flag, set, .. } => memblock.set_flag(range.start, size(&range), flag, set),
        Event::CurrentLimit { limit, .. } => {
            memblock.set_current_limit(limit);
            Ok(())
        }
        Event::BottomUp { enable, .. } => {
            memblock.set_bottom_up(enable);
            Ok(())
        }
        Event::AllowResize { .. } => {
            memblock.allow_resize();
            Ok(())
        }
        Event::Trim { align, .. } => memblock.trim_memory(align),
        Event::Capped { range, .. } => memblock.cap_memory_range(range),
        Event::LimitEnforced { max, .. } => {
            // The event tells where memory ends now, the operation wants to know how much of it there is.
            let below = |r: &PhysRange| r.end.min(max).get().saturating_sub(r.start.get());
            let kept = memblock.mem_ranges().map(|r| below(&r)).sum();
            memblock.enforce_memory_limit(kept)
        }
        Event::FreeAll { .. } => memblock.free_all(&mut |_, _| ()).map(|_| ()),
        Event::Discard { .. } => memblock.discard(&mut |_| ()),
        _ => Ok(()),
    }
}

/// Calls that Linux logs but made before the log begins: the effect without the line.
pub(super) fn apply_logged(memblock: &mut Memblock<'_>, event: &Event) -> Result<(), Error> {
    match *event {
        Event::Add { range, .. } => memblock.add_sized(range.start, size(&range)),
        Event::AddNode { range, nid, flags, .. } => {
            memblock.add_node_sized(range.start, size(&range), nid, flags)
        }
        Event::Remove { range, .. } => memblock.remove_sized(range.start, size(&range)),
        Event::Reserve { range, .. } => memblock.reserve_sized(range.start, size(&range)),
        Event::Free { range, .. } => memblock.phys_free_sized(range.start, size(&range)),
        // An allocation's effect is in the reservation that follows.
        _ => Ok(()),
    }
}

/// The bytes of a range whose end may have wrapped around.
fn size(range: &PhysRange) -> u64 {
    range.end.get().wrapping_sub(range.start.get())
}

/// A range whose end did not wrap: where it did, all from its start on is meant.
fn whole(range: PhysRange) -> PhysRange {
    let end = if range.end < range.start { PhysAddr::MAX } else { range.end };
    PhysRange::new(range.start, end)
}

/// Whether an event changes a state on which later results depend.
pub(super) fn matters(event: &Event) -> bool {
    match event {
        // The arguments of a reservation that follows, if it succeeds.
        Event::Exhausted { .. } | Event::AllocRangeNid { .. } => false,
        Event::SetNode { which, .. } => *which != Set::Physmem,
        _ => !event.is_logged(),
    }
}
