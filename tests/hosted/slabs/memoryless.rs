//! A node without memory: whose slabs serve it, and what its processor keeps.

use super::designs::on_design;
use super::*;
use pagewright_sim::pages::Pluggable;
use pagewright_slab::objects::Design;
use pagewright_zone::Gfp;

const K: Gfp = Gfp::GFP_KERNEL;

/// Nodes 0 and 2 have memory, each of the three has a processor.
fn one_without_memory() -> PlainMachine {
    let half = if cfg!(miri) { 512 } else { 1 << 12 };
    PlainMachine {
        ram: vec![(node(0), 0x4_0000, half), (node(2), 0x8_0000, half)],
        cpus: vec![node(0), node(1), node(2)],
        plug: Pluggable { nodes: vec![node(1)], ..Pluggable::default() },
        ..small(3)
    }
}

#[test]
fn a_node_without_memory_is_served_by_the_nearest_ones_slabs() {
    for design in [Design::Slub, Design::SlubCpuSlabs, Design::Slab] {
        on_design(design, &one_without_memory(), &Silent, |m| {
            let o = m.allocator();
            let cache = o.create(&spec("served", 256)).unwrap();
            for cpu in [0, 1] {
                m.on_cpu(cpu, |cx| {
                    let ask = || o.alloc_node(cx, cache, K, node(1)).unwrap();
                    let objects: Vec<_> = (0..40).map(|_| ask()).collect();
                    let nodes = objects.iter().map(|&object| m.node_of(object));
                    assert!(nodes.clone().all(|of| of == nodes.clone().next().unwrap()), "{design}");
                    let row = o.row(cache).unwrap();
                    let most = 40_u64.div_ceil(row.per_slab.into()) + 2;
                    assert!(row.slabs <= most, "{design}: {} slabs for 40 objects", row.slabs);
                    // SAFETY: each is freed once.
                    objects.into_iter().for_each(|object| unsafe { o.free(cx, cache, object) });
                    o.flush_cpu(cx);
                    o.shrink(cx, cache);
                });
            }
        });
    }
}

/// The same, and the node without memory is nearer to the last one than to the first.
fn nearer_to_the_last() -> PlainMachine {
    let distance = |from: NodeId, to: NodeId| match (from.index(), to.index()) {
        (from, to) if from == to => 10,
        (1, 2) | (2, 1) => 15,
        _ => 20,
    };
    PlainMachine { distance, ..one_without_memory() }
}

#[test]
fn a_processor_of_a_node_without_memory_keeps_at_hand_what_it_frees_and_tells_its_node_from_the_nearest() {
    for design in [Design::Slub, Design::SlubCpuSlabs, Design::Slab] {
        on_design(design, &nearer_to_the_last(), &Silent, |m| {
            let o = m.allocator();
            let cache = o.create(&spec("nearest", 256)).unwrap();
            m.on_cpu(1, |cx| {
                let take = || o.alloc(cx, cache, K).unwrap();
                // SAFETY: each is freed once before it is taken again.
                let give = |object| unsafe { o.free(cx, cache, object) };
                let held: Vec<_> = (0..40).map(|_| take()).collect();
                assert!(held.iter().all(|&object| m.node_of(object) == Some(node(2))), "{design}");
                // What was freed last comes first: of the slab that was made last, which a processor may have.
                let last = [held[37], held[35], held[39]];
                last.into_iter().for_each(give);
                let again: Vec<_> = last.iter().map(|_| take()).collect();
                assert!(again.iter().eq(last.iter().rev()), "{design}");
                give(last[0]);
                let only = |on| o.alloc_node(cx, cache, K | Gfp::THISNODE | Gfp::NOWARN, node(on)).ok();
                assert_eq!(only(1), None, "{design}: there is nothing on that node");
                let at_hand = only(2).unwrap();
                if design == Design::Slab {
                    // An array serves also who names the node; the others' rows and slabs do not, or were given up for the other node.
                    assert_eq!(at_hand, last[0], "{design}");
                }
                let elsewhere = only(0).unwrap();
                let nodes = [at_hand, elsewhere].map(|object| m.node_of(object));
                assert_eq!(nodes, [Some(node(2)), Some(node(0))], "{design}");
                held.into_iter().filter(|object| *object != last[0]).for_each(give);
                [at_hand, elsewhere].into_iter().for_each(give);
            });
            o.validate(cache).unwrap();
        });
    }
}

#[test]
fn what_a_processor_of_a_node_without_memory_has_too_many_of_its_neighbours_get_first() {
    on_design(Design::Slab, &nearer_to_the_last(), &Silent, |m| {
        let o = m.allocator();
        let cache = o.create(&spec("shared", 64)).unwrap();
        let shared = || o.row(cache).unwrap().shared_available;
        m.on_cpu(1, |cx| {
            let held: Vec<_> = (0..200).map(|_| o.alloc(cx, cache, K).unwrap()).collect();
            // SAFETY: each is freed once.
            held.into_iter().for_each(|object| unsafe { o.free(cx, cache, object) });
        });
        let before = shared();
        assert!(before >= 60, "{before}: a batch at least");
        // Its reaper looks at that node's array, which was not used since: the first time that says so.
        m.on_cpu(1, |cx| (0..6).for_each(|round| o.reap(cx, round)));
        assert!(shared() < before);
        m.on_cpu(2, |cx| {
            let object = o.alloc(cx, cache, K).unwrap();
            assert_eq!(m.node_of(object), Some(node(2)));
            // SAFETY: freed once.
            unsafe { o.free(cx, cache, object) };
        });
    });
}
