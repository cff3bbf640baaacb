//! When a cached translation is wrong to have, and what was left out.
//!
//! Not everything that differs is wrong. Rights that were added need no flush: the worst is a spurious fault. A cleared
//! accessed bit needs none either: the page only looks older than it is. x86 may go on with a block whose table says the same.

use super::fault::{Fault, FaultKind};
use super::registers::Registers;
use super::tlb::TlbEntry;
use super::types::{Access, Mapping};
use super::violation::Missing;
use pagewright_addr::VirtAddr;

/// What was left out, if `entry` must not be used for `va` when the tables say `now`. Without an access: for any.
pub(crate) fn missing(
    entry: &TlbEntry,
    va: VirtAddr,
    access: Option<Access>,
    registers: &Registers,
    now: &Result<Mapping, Fault>,
) -> Option<Missing> {
    let cached = &entry.mapping;
    let whole_group = cached.group_bytes != 0 && cached.bytes == cached.group_bytes;
    let strict = registers.arch().breaks_before_making();
    let now = match now {
        Ok(now) => now,
        Err(fault) if fault.kind == FaultKind::AccessFlag => return None,
        // Another leaf of the group filled the entry, and this one is not there.
        Err(_) if whole_group => return Some(Missing::WholeGroup),
        Err(_) => return Some(Missing::UnmapFlush),
    };
    if !cached.same_place(now, va) {
        return Some(match (strict, whole_group && cached.same_size(now)) {
            (true, true) => Missing::WholeGroup,
            (true, false) => Missing::BreakBeforeMake,
            (false, _) => Missing::ChangeFlush,
        });
    }
    if strict && !cached.same_size(now) {
        return Some(Missing::BreakBeforeMake);
    }
    let more = match access {
        Some(access) => {
            registers.check(cached, va, access).is_ok() && registers.check(now, va, access).is_err()
        }
        None => cached.perms.exceeds(now.perms) || cached.key != now.key,
    };
    if more {
        return Some(Missing::ProtectFlush);
    }
    // Hardware may note a write to a group in any one of its leaves.
    let writes = access.is_none_or(Access::writes) && !whole_group;
    (writes && !cached.is_clean() && now.is_clean() && cached.perms.kernel_write)
        .then_some(Missing::CleanFlush)
}
