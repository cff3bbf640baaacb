//! Layouts of machines whose boot logs are known, and the modes that no captured machine uses.

extern crate std;

mod machines;
mod model;
mod modes;
mod validate;

use super::*;
use crate::kind::ZoneSet;
use pagewright_addr::PageShift;
use std::string::{String, ToString};
use std::vec::Vec;

const K4: PageShift = PageShift::SHIFT_4K;

/// A memory range by its first and last byte, as a log prints it.
fn ram(nid: u16, first: u64, last: u64) -> MemRange {
    flagged(nid, first, last, MemFlags::empty())
}

fn flagged(nid: u16, first: u64, last: u64, flags: MemFlags) -> MemRange {
    MemRange {
        pfns: PfnRange::new(Pfn::new(first >> 12), Pfn::new((last + 1) >> 12)),
        nid: NodeId::new(nid).unwrap(),
        flags,
    }
}

fn mask(nodes: u16) -> NodeMask {
    (0..nodes).filter_map(NodeId::new).collect()
}

fn limits(list: &[(ZoneKind, u64)]) -> [Pfn; ZoneKind::COUNT] {
    let mut max = [Pfn::ZERO; ZoneKind::COUNT];
    for &(kind, pfn) in list {
        max[kind.index()] = Pfn::new(pfn);
    }
    max
}

/// Debian's x86_64 kernel: 128 MiB sections, 2 MiB pageblocks, deferred initialisation.
fn x86_64(nodes: u16, max_pfn: u64) -> LayoutConfig {
    LayoutConfig {
        zones: [ZoneKind::Dma, ZoneKind::Dma32, ZoneKind::Device].into_iter().collect(),
        max_zone_pfn: limits(&[
            (ZoneKind::Dma, 4096.min(max_pfn)),
            (ZoneKind::Dma32, 0x10_0000.min(max_pfn)),
            (ZoneKind::Normal, max_pfn),
        ]),
        kernelcore: CoreAmount::None,
        movablecore: CoreAmount::None,
        movable_node: false,
        possible: mask(nodes),
        online: mask(nodes),
        page_shift: K4,
        bits_per_long: 64,
        highmem: false,
        struct_page_bytes: 64,
        section_pages: Some(0x8000),
        pfn_valid: PfnValidity::Blocks { pages: 0x8000 },
        max_order: 11,
        pageblock_order: 9,
        dma_reserve: 158,
        deferred: true,
    }
}

/// Debian's armmp kernel: FLATMEM, 8 MiB pageblocks, low memory up to `low`.
fn arm(low: u64, high: u64) -> LayoutConfig {
    LayoutConfig {
        zones: ZoneSet::BASE.with(ZoneKind::Dma).with(ZoneKind::HighMem),
        max_zone_pfn: limits(&[(ZoneKind::Dma, low), (ZoneKind::Normal, low), (ZoneKind::HighMem, high)]),
        bits_per_long: 32,
        highmem: true,
        struct_page_bytes: 36,
        section_pages: None,
        pfn_valid: PfnValidity::Blocks { pages: 2048 },
        max_order: 12,
        pageblock_order: 11,
        dma_reserve: 0,
        deferred: false,
        ..x86_64(1, 0)
    }
}

/// What Linux prints, the page-flag lines and memory allocations between left out.
fn log_of(layout: &Layout<'_>) -> Vec<String> {
    assert_eq!(layout.validate(), Ok(()));
    let mut lines = Vec::new();
    log::range_lines(layout, &mut |line| lines.push(line.to_string()));
    for node in layout.nodes().iter().filter(|n| n.possible) {
        if !node.online {
            lines.push(log::MemorylessLine { nid: node.nid }.to_string());
        }
        lines.push(log::InitmemLine { node, shift: layout.config().page_shift }.to_string());
        for zone in ZoneKind::ALL.map(|k| node.zone(k)).into_iter().filter(|z| z.spanned > 0) {
            let line = log::MemmapInitLine { zones: layout.config().zones, nid: node.nid, zone };
            lines.push(line.to_string());
        }
    }
    layout.for_each_unavailable(&mut |hole| lines.push(hole.to_string()));
    lines
}

fn assert_log(layout: &Layout<'_>, expected: &str) {
    let expected: Vec<_> = expected.lines().filter(|l| !l.is_empty()).collect();
    assert_eq!(log_of(layout), expected);
}

fn total_pages(layout: &Layout<'_>) -> u64 {
    layout.nodes().iter().flat_map(|n| n.populated()).map(|z| z.early_managed).sum()
}
