//! A naive model of `memmap_init`: every frame by itself, on machines of a few hundred frames.

use super::*;
use proptest::prelude::*;

const SECTION: u64 = 32;
const PAGEBLOCK: u64 = 8;

/// Memory as (node, gap before it, length, flags), and what shapes the zones.
#[derive(Clone, Debug)]
struct Machine {
    memory: Vec<(u16, u64, u64, u8)>,
    dma_end: u64,
    kernelcore: CoreAmount,
    movable_node: bool,
    sections: bool,
}

fn machine() -> impl Strategy<Value = Machine> {
    let memory = prop::collection::vec((0..3u16, 0..70u64, 1..90u64, 0..4u8), 1..6);
    let amount = prop_oneof![
        2 => Just(CoreAmount::None),
        2 => (0..300u64).prop_map(CoreAmount::Pages),
        1 => (0..110u64).prop_map(CoreAmount::Percent),
        2 => Just(CoreAmount::Mirror),
    ];
    (memory, 0..200u64, amount, prop::bool::weighted(0.2), any::<bool>()).prop_map(
        |(mut memory, mut dma_end, kernelcore, mut movable_node, sections)| {
            if kernelcore == CoreAmount::Mirror {
                // What lies below a rounded movable start, or above the start of a node that begins with movable memory,
                // is lost in Linux (see modes.rs). Here it is kept out.
                let mut seen = NodeMask::EMPTY;
                for m in &mut memory {
                    (m.1, m.2) = (m.1 / 32 * 32, m.2.next_multiple_of(32));
                    if seen.insert(NodeId::new(m.0).unwrap()) {
                        m.3 |= MemFlags::MIRROR.bits();
                    }
                }
                (dma_end, movable_node) = (0, false);
            }
            Machine { memory, dma_end, kernelcore, movable_node, sections }
        },
    )
}

/// The mirror mode leaves memory below 4 GiB alone, so machines start there when it is on.
fn base(m: &Machine) -> u64 {
    if m.kernelcore == CoreAmount::Mirror { 1 << 20 } else { 0 }
}

fn ranges(m: &Machine) -> Vec<MemRange> {
    let mut at = base(m);
    let range = |&(nid, gap, len, flags): &(u16, u64, u64, u8)| {
        let start = at + gap;
        at = start + len;
        let pfns = PfnRange::new(Pfn::new(start), Pfn::new(at));
        MemRange { pfns, nid: NodeId::new(nid).unwrap(), flags: MemFlags::from_bits_truncate(flags) }
    };
    m.memory.iter().map(range).collect()
}

fn config(m: &Machine) -> LayoutConfig {
    LayoutConfig {
        zones: ZoneSet::BASE.with(ZoneKind::Dma),
        max_zone_pfn: limits(&[(ZoneKind::Dma, base(m) + m.dma_end), (ZoneKind::Normal, 1 << 40)]),
        kernelcore: m.kernelcore,
        movable_node: m.movable_node,
        possible: mask(3),
        online: mask(3),
        section_pages: m.sections.then_some(SECTION),
        pfn_valid: PfnValidity::Blocks { pages: if m.sections { SECTION } else { PAGEBLOCK } },
        max_order: 6,
        pageblock_order: 3,
        deferred: m.sections,
        ..LayoutConfig::one_node(K4, Pfn::ZERO)
    }
}

/// One entry for each frame from the machine's first section on.
struct Naive {
    base: u64,
    zone: Vec<Option<(NodeId, ZoneKind)>>,
    holes: Vec<(NodeId, ZoneKind, u64)>,
    deferred: [Option<u64>; 3],
}

fn valid(cfg: &LayoutConfig, ranges: &[MemRange], pfn: u64) -> bool {
    let PfnValidity::Blocks { pages } = cfg.pfn_valid else { unreachable!() };
    let block = PfnRange::from_len(Pfn::new(pfn / pages * pages), pages);
    ranges.iter().any(|r| r.pfns.overlaps(&block))
}

impl Naive {
    fn new(layout: &Layout<'_>, base: u64) -> Self {
        let (cfg, ranges) = (layout.config(), layout.ranges());
        let last = ranges.last().unwrap().pfns.end.get();
        let end = if cfg.section_pages.is_some() { last.next_multiple_of(SECTION) } else { last };
        let mut naive = Self {
            base,
            zone: std::vec![None; (end - base) as usize],
            holes: Vec::new(),
            deferred: [None; 3],
        };
        // The counter starts again for each zone end, as the kernel's static variables do.
        let (mut counted_end, mut counted) = (0, 0);
        let mut hole = base;
        for r in ranges {
            let node = &layout.nodes()[r.nid.index()];
            for zone in node.populated() {
                let span = zone.pfns();
                let mut first = None;
                for pfn in r.pfns.start.get()..r.pfns.end.get() {
                    if !span.contains(Pfn::new(pfn)) {
                        continue;
                    }
                    first = first.or(Some(pfn));
                    let skipped = cfg.kernelcore == CoreAmount::Mirror
                        && zone.kind == ZoneKind::Movable
                        && r.flags.contains(MemFlags::MIRROR);
                    if skipped {
                        continue;
                    }
                    naive.zone[(pfn - base) as usize] = Some((r.nid, zone.kind));
                    if counted_end != span.end.get() {
                        (counted_end, counted) = (span.end.get(), 0);
                    }
                    let deferred = &mut naive.deferred[r.nid.index()];
                    if cfg.deferred && span.end >= node.pfns.end && deferred.is_none() {
                        counted += 1;
                        if counted > SECTION && pfn % SECTION == 0 {
                            *deferred = Some(pfn);
                        }
                    }
                }
                if let Some(first) = first {
                    naive.hole(cfg, ranges, hole..first, (r.nid, zone.kind));
                    hole = span.end.get().min(r.pfns.end.get());
                }
            }
        }
        let last = ranges.last().unwrap().nid;
        if let Some(zone) = layout.nodes()[last.index()].populated().next_back() {
            naive.hole(cfg, ranges, hole..end, (last, zone.kind));
        }
        naive
    }

    fn hole(
        &mut self,
        cfg: &LayoutConfig,
        ranges: &[MemRange],
        pfns: core::ops::Range<u64>,
        zone: (NodeId, ZoneKind),
    ) {
        let mut count = 0;
        for pfn in pfns.filter(|&p| valid(cfg, ranges, p)) {
            self.zone[(pfn - self.base) as usize] = Some(zone);
            count += 1;
        }
        if count > 0 {
            self.holes.push((zone.0, zone.1, count));
        }
    }

    fn contiguous(&self, nid: NodeId, zone: &ZoneLayout) -> bool {
        let (start, end) = (zone.pfns().start.get(), zone.pfns().end.get());
        let mine = |pfn: u64| self.zone[(pfn - self.base) as usize] == Some((nid, zone.kind));
        let first = |block: u64| (block * PAGEBLOCK).max(start);
        let last = |block: u64| ((block + 1) * PAGEBLOCK).min(end) - 1;
        (start / PAGEBLOCK..end.div_ceil(PAGEBLOCK)).all(|b| mine(first(b)) && mine(last(b)))
    }
}

fn check(m: &Machine) {
    let ranges = ranges(m);
    let mut nodes = [NodeLayout::EMPTY; 3];
    let layout = free_area_init(config(m), &ranges, &mut nodes).unwrap();
    let naive = Naive::new(&layout, base(m));
    layout.validate().unwrap_or_else(|v| panic!("{v}"));

    let present: u64 = layout.nodes().iter().map(|n| n.present).sum();
    assert_eq!(present, ranges.iter().map(|r| r.pfns.len()).sum::<u64>());

    let mut holes = Vec::new();
    layout.for_each_unavailable(&mut |h| holes.push((h.nid, h.kind, h.pages)));
    assert_eq!(holes, naive.holes);
    for (at, &zone) in naive.zone.iter().enumerate() {
        assert_eq!(layout.zone_of(Pfn::new(naive.base + at as u64)), zone, "frame {at} from the base");
    }
    let mut pieces = std::vec![None; naive.zone.len()];
    layout.for_each_zone_memory(&mut |nid, kind, pfns| {
        for pfn in pfns.start.get()..pfns.end.get() {
            let slot: &mut Option<_> = &mut pieces[(pfn - naive.base) as usize];
            assert_eq!(slot.replace((nid, kind)), None, "frame {pfn:#x} is in two zones");
        }
    });
    for (at, piece) in pieces.iter().enumerate().filter(|(_, p)| p.is_some()) {
        assert_eq!(*piece, naive.zone[at]);
    }
    assert_eq!(pieces.iter().flatten().count() as u64, present);

    for node in layout.nodes() {
        let deferred = node.first_deferred_pfn.map(Pfn::get);
        assert_eq!(deferred, naive.deferred[node.nid.index()], "{}", node.nid);
        for zone in node.populated() {
            assert_eq!(zone.contiguous, naive.contiguous(node.nid, zone), "{} {}", node.nid, zone.kind);
            let counted = naive.zone_memory(&ranges, node.nid, zone.kind);
            assert_eq!(zone.present, counted, "{} {}", node.nid, zone.kind);
        }
        if let Some(start) = node.movable_start {
            assert!(start.is_aligned(32) && start < node.pfns.end);
        }
    }
    check_kernelcore(m, &layout, present);
}

impl Naive {
    fn zone_memory(&self, ranges: &[MemRange], nid: NodeId, kind: ZoneKind) -> u64 {
        let memory = ranges.iter().flat_map(|r| r.pfns.start.get()..r.pfns.end.get());
        memory.filter(|p| self.zone[(p - self.base) as usize] == Some((nid, kind))).count() as u64
    }
}

/// `kernelcore=` is a lower bound on what stays outside ZONE_MOVABLE.
fn check_kernelcore(m: &Machine, layout: &Layout<'_>, total: u64) {
    let wanted = match m.kernelcore {
        CoreAmount::Pages(pages) => pages,
        CoreAmount::Percent(percent) => total * percent / 100,
        CoreAmount::None | CoreAmount::Mirror => return,
    };
    let movable: u64 = layout.nodes().iter().map(|n| n.zone(ZoneKind::Movable).present).sum();
    // The passes stop when fewer pages than nodes are missing.
    let slack = layout.memory_nodes.len() as u64;
    if !m.movable_node {
        assert!(
            total - movable + slack >= wanted.min(total),
            "{movable} of {total} movable, {wanted} wanted"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 2000 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_layout_agrees_with_a_frame_by_frame_memmap_init(machine in machine()) {
        check(&machine);
    }
}
