//! Damage that validation must find.

use super::*;

/// What is found of damage to a layout of two nodes: DMA, DMA32 and Normal on node 0, Normal and Movable on node 1.
fn damaged(damage: impl FnOnce(&mut Layout<'_>)) -> Result<(), LayoutViolation> {
    let ranges = [
        ram(0, 0x1000, 0x9_efff),
        ram(0, 0x10_0000, 0xbfff_ffff),
        ram(0, 1 << 32, 0x1_7fff_ffff),
        ram(1, 0x1_8000_0000, 0x3_ffff_ffff),
    ];
    let cfg = LayoutConfig { movablecore: CoreAmount::Pages(0x8_0000), ..x86_64(2, 0x40_0000) };
    let mut nodes = [NodeLayout::EMPTY; 2];
    let mut layout = free_area_init(cfg, &ranges, &mut nodes).unwrap();
    assert_eq!(layout.validate(), Ok(()));
    assert!(
        layout.nodes[1].zone(ZoneKind::Movable).present > 0 && layout.nodes[1].first_deferred_pfn.is_some()
    );
    damage(&mut layout);
    layout.validate()
}

fn zone<'x>(layout: &'x mut Layout<'_>, node: usize, kind: ZoneKind) -> &'x mut ZoneLayout {
    &mut layout.nodes[node].zones[kind.index()]
}

const N0: NodeId = NodeId::ZERO;

fn n1() -> NodeId {
    NodeId::new(1).unwrap()
}

#[test]
fn zones_out_of_place_are_caught() {
    let span = |nid, kind| Err(LayoutViolation::Span { nid, kind });
    let found = damaged(|l| zone(l, 0, ZoneKind::Dma32).start_pfn = Pfn::new(0xfff));
    assert_eq!(found, span(N0, ZoneKind::Dma32), "a frame is in two zones");
    let found = damaged(|l| zone(l, 1, ZoneKind::Normal).start_pfn = Pfn::new(0x17_ffff));
    assert_eq!(found, span(n1(), ZoneKind::Normal), "a frame is of the other node");
    let found = damaged(|l| zone(l, 0, ZoneKind::HighMem).spanned = 1);
    assert_eq!(found, Err(LayoutViolation::Unconfigured { nid: N0, kind: ZoneKind::HighMem }));
    let found = damaged(|l| l.nodes.swap(0, 1));
    assert_eq!(found, Err(LayoutViolation::Node { index: 0, nid: n1() }));
}

#[test]
fn counts_that_do_not_add_up_are_caught() {
    // 0x9e frames below 640 KiB, and from 1 MiB to 16 MiB.
    let (kind, memory) = (ZoneKind::Dma, 0x9e + 0xf00);
    let found = damaged(|l| zone(l, 0, ZoneKind::Dma).present += 1);
    assert_eq!(found, Err(LayoutViolation::Present { nid: N0, kind, present: memory + 1, memory }));
    let found = damaged(|l| zone(l, 0, ZoneKind::Dma).early_managed = memory + 1);
    assert_eq!(found, Err(LayoutViolation::Managed { nid: N0, kind }));
    let found = damaged(|l| l.nodes[1].spanned -= 1);
    let (node, zones) = ((0x27_ffff, 0x28_0000), (0x28_0000, 0x28_0000));
    assert_eq!(found, Err(LayoutViolation::NodeSum { nid: n1(), node, zones }));
    let found = damaged(|l| l.nr_all_pages += 1);
    assert!(matches!(found, Err(LayoutViolation::Totals { .. })), "{found:?}");
    let found = damaged(|l| l.nr_kernel_pages = l.nr_all_pages + 1);
    assert!(matches!(found, Err(LayoutViolation::Totals { .. })), "{found:?}");
    let found = damaged(|l| l.bounds[ZoneKind::Normal.index()].end = Pfn::new(0x30_0000));
    assert!(
        matches!(found, Err(LayoutViolation::Memory { .. })),
        "memory above the limit is present: {found:?}"
    );
}

#[test]
fn ragged_starts_and_wrong_node_states_are_caught() {
    let movable = Err(LayoutViolation::Movable { nid: n1() });
    assert_eq!(damaged(|l| l.nodes[1].movable_start = None), movable);
    assert_eq!(damaged(|l| l.nodes[1].movable_start = Some(Pfn::new(0x20_0001))), movable);
    assert_eq!(damaged(|l| l.nodes[1].movable_start = Some(Pfn::new(0x40_0000))), movable);
    let deferred = Err(LayoutViolation::Deferred { nid: n1() });
    assert_eq!(damaged(|l| l.nodes[1].first_deferred_pfn = Some(Pfn::new(0x20_0400))), deferred);
    assert_eq!(damaged(|l| l.nodes[1].first_deferred_pfn = Some(Pfn::ZERO)), deferred);
    let states = Err(LayoutViolation::States { nid: n1() });
    assert_eq!(damaged(|l| l.memory_nodes.remove(n1())), states);
    assert_eq!(damaged(|l| l.high_memory_nodes.remove(n1())), states);
    assert_eq!(damaged(|l| l.nodes[1].online = false), states);
}
