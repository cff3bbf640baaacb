//! Migrate types are kept apart as long as near memory allows it (ALLOC_NOFRAGMENT).

use super::*;

/// Two nodes, the first with ZONE_DMA32 as well as Normal, of 8 MiB each; the second is of 16 MiB.
fn machine_of_two() -> PlainMachine {
    PlainMachine { dma32_end: 0x4_0000 + (8 << 8), ..table::two_nodes() }
}

/// Mixes up zones: each pageblock of theirs is movable and half used. Those of others stay as they are. Returns what is held.
fn half_use<'m, 'a>(
    m: &Pages<'_, 'm, '_, 'a, NoHooks>,
    cx: &Context<'_, 'm, 'a>,
    zones: &[usize],
) -> Vec<Frames<'a>> {
    let all = cx.with_task(TaskFlags::MEMALLOC);
    let mut held = vec![];
    while let Ok(block) = m.allocator.alloc_pages(&all, Gfp::GFP_HIGHUSER_MOVABLE | Gfp::NOWARN, order(8)) {
        held.push(block);
    }
    let mut kept = vec![];
    for block in held {
        let half = m.base.map().pfn(block.start()).get() >> 8 & 1 == 0;
        if half && zones.contains(&zone_of(m, &block)) {
            kept.push(block);
        } else {
            m.allocator.free_pages(cx, block);
        }
    }
    kept
}

fn zone_of(m: &Pages<'_, '_, '_, '_, NoHooks>, frames: &Frames<'_>) -> usize {
    m.base.pageblocks().zone_of(frames.start()).unwrap().index()
}

/// In which zone an unmovable block is served if these zones are half used, and whether its pageblock is still movable ("mixed").
fn served(machine: &PlainMachine, zones: &[usize], wanted: Order) -> (usize, bool) {
    with_plain_machine(machine, NoHooks, |m| {
        let before = buddyinfo(m);
        let found = m.on_cpu(0, |cx| {
            let held = half_use(m, cx, zones);
            let block = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, wanted).unwrap();
            let zone = zone_of(m, &block);
            let pageblock = m.base.map().pfn(block.start()).get() >> 9;
            let mixed = held.iter().any(|other| m.base.map().pfn(other.start()).get() >> 9 == pageblock);
            held.into_iter().chain([block]).for_each(|frames| m.allocator.free_pages(cx, frames));
            (zone, mixed)
        });
        expect_all_back(m, &before);
        found
    })
}

#[test]
fn a_lower_zone_serves_before_types_are_mixed() {
    let machine = machine_of_two();
    for n in [0, 5] {
        assert_eq!(served(&machine, &[], order(n)), (1, false), "Normal is first");
        assert_eq!(served(&machine, &[1], order(n)), (0, false), "DMA32 instead");
        assert_eq!(served(&machine, &[0], order(n)), (1, false));
    }
}

#[test]
fn types_are_mixed_near_before_they_are_kept_apart_far_away() {
    let machine = machine_of_two();
    for n in [0, 5] {
        assert_eq!(served(&machine, &[0, 1], order(n)), (1, true));
    }
}

#[test]
fn types_are_mixed_where_there_is_nothing_else() {
    let one = PlainMachine { dma32_end: 0x4_0000 + (8 << 8), ..machine(16, 1) };
    for n in [0, 5] {
        assert_eq!(served(&one, &[1], order(n)), (0, false));
        assert_eq!(served(&one, &[0, 1], order(n)), (1, true));
    }
}

#[test]
fn where_no_zone_is_below_near_memory_is_mixed_at_once() {
    // Nodes without DMA32: what is near matters more, from the first.
    for n in [0, 5] {
        assert_eq!(served(&table::two_nodes(), &[0], order(n)), (0, true));
    }
}
