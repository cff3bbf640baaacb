//! Nodes, zones and the buddy allocator: what lies between memblock's region lists and a free page.
//!
//! A newcomer reads in this order:
//! - [`layout`]: free_area_init. Which frames form which zone of which node, ZONE_MOVABLE, holes, and the counts
//!   that the rest of the boot is derived from.
//!
//! Everything here is pure arithmetic over values that the caller brings; nothing allocates and there is no unsafe
//! code. Numbers and log lines are those of Linux 6.1.
#![no_std]
#![forbid(unsafe_code)]

mod kind;
pub mod layout;

pub use kind::{NodeMask, ZoneKind, ZoneSet};
