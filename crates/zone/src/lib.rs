//! Nodes, zones and the buddy allocator: what lies between memblock's region lists and a free page.
//!
//! A newcomer reads in this order:
//! - [`layout`]: free_area_init. Which frames form which zone of which node, ZONE_MOVABLE, holes, and the counts
//!   that the rest of the boot is derived from.
//! - [`zonelist`]: build_all_zonelists. In which order an allocation tries the zones of all nodes.
//! - [`watermark`]: min_free_kbytes, min, low and high, lowmem protection, per-CPU list sizes.
//! - [`buddy`]: the free lists. Memory that memblock had free goes in, blocks of any order come out.
//!
//! The first three are pure arithmetic over values that the caller brings; the buddy works on the metadata and tokens of
//! `pagewright-page`. Nothing here allocates, and there is no unsafe code. Numbers and log lines are those of Linux 6.1.
//!
//! ```
//! use pagewright_addr::{NodeId, PageShift, Pfn, PfnRange};
//! use pagewright_zone::ZoneKind;
//! use pagewright_zone::layout::{LayoutConfig, MemFlags, MemRange, NodeLayout, free_area_init, log};
//!
//! // 2 GiB with a hole of 64 MiB in it.
//! let ranges = [(0x4_0000, 0x7_0000), (0x7_4000, 0xc_0000)].map(|(start, end)| MemRange {
//!     pfns: PfnRange::new(Pfn::new(start), Pfn::new(end)),
//!     nid: NodeId::ZERO,
//!     flags: MemFlags::empty(),
//! });
//! let mut nodes = [NodeLayout::EMPTY; 1];
//! let cfg = LayoutConfig::one_node(PageShift::SHIFT_4K, Pfn::new(0xc_0000));
//! let layout = free_area_init(cfg, &ranges, &mut nodes)?;
//! let normal = layout.nodes()[0].zone(ZoneKind::Normal);
//! assert_eq!((normal.spanned, normal.present), (0x8_0000, 0x7_c000));
//!
//! let mut lines = Vec::new();
//! log::range_lines(&layout, &mut |line| lines.push(line.to_string()));
//! assert_eq!(lines[1], "  Normal   [mem 0x0000000040000000-0x00000000bfffffff]");
//! # Ok::<(), pagewright_zone::layout::LayoutError>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

pub mod alloc;
pub mod buddy;
pub mod debug;
pub mod figures;
pub mod gfp;
mod kind;
pub mod layout;
pub mod policy;
pub mod watermark;
pub mod zonelist;

pub use gfp::{Gfp, GfpError, GfpParseError, GfpWarning};
pub use kind::{NodeListError, NodeMask, ZoneKind, ZoneSet};
