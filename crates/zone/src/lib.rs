//! Nodes, zones and the buddy allocator: what lies between memblock's region lists and a free page.
//!
//! A newcomer reads in this order:
//! - [`layout`]: free_area_init. Which frames form which zone of which node, ZONE_MOVABLE, holes, and the counts
//!   that the rest of the boot is derived from.
//! - [`zonelist`]: build_all_zonelists. In which order an allocation tries the zones of all nodes.
//! - [`watermark`]: min_free_kbytes, min, low and high, lowmem protection, per-CPU list sizes.
//!
//! All of that is pure arithmetic over values that the caller brings; nothing allocates and there is no unsafe code.
//! Numbers and log lines are those of Linux 6.1.
#![no_std]
#![forbid(unsafe_code)]

pub mod buddy;
mod kind;
pub mod layout;
pub mod watermark;
pub mod zonelist;

pub use kind::{NodeMask, ZoneKind, ZoneSet};
