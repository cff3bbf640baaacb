//! The tree beside a plain list of ranges.

use super::{Intersects, Resource, ResourceError, ResourceFlags, ResourceNode, Resources};
use pagewright_addr::{PhysAddr, PhysRange};
use proptest::prelude::*;
use std::string::{String, ToString};
use std::vec::Vec;

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), PhysAddr::new(end))
}

fn what(start: u64, end: u64, name: &str) -> Resource<'_> {
    Resource { range: range(start, end), name, flags: ResourceFlags::MEM }
}

fn text(tree: &Resources<'_, '_>) -> String {
    let line = |seen: super::Seen<'_>| {
        let r = seen.resource;
        std::format!(
            "{:w$}{:x}-{:x} {};",
            "",
            r.range.start.get(),
            r.range.end.get() - 1,
            r.name,
            w = seen.depth
        )
    };
    tree.walk().map(line).collect()
}

#[test]
fn what_is_inside_goes_below_and_what_is_around_goes_above() {
    let mut nodes = [ResourceNode::EMPTY; 8];
    let mut tree = Resources::new(range(0, 1 << 32), &mut nodes).unwrap();
    tree.insert_resource(what(0x3000, 0x4000, "b")).unwrap();
    tree.insert_resource(what(0x1000, 0x2000, "a")).unwrap();
    tree.insert_resource(what(0x9000, 0xa000, "c")).unwrap();
    tree.insert_resource(what(0x1000, 0x8000, "bus")).unwrap();
    tree.insert_resource(what(0x3800, 0x3900, "part")).unwrap();
    assert_eq!(text(&tree), "1000-7fff bus; 1000-1fff a; 3000-3fff b;  3800-38ff part;9000-9fff c;");
    tree.validate().unwrap();
    let half = tree.insert_resource(what(0x3880, 0x5000, "half")).unwrap_err();
    assert_eq!(half.to_string(), "in use by b at 0x3000-0x3fff");
    let again = tree.insert_resource(what(0x1000, 0x8000, "around")).unwrap();
    assert!(text(&tree).starts_with("1000-7fff around; 1000-7fff bus;  1000-1fff a;"));
    tree.remove_resource(again).unwrap();
    tree.remove_resource(again).unwrap_err();
    assert_eq!(text(&tree), "1000-7fff bus; 1000-1fff a; 3000-3fff b;  3800-38ff part;9000-9fff c;");
    tree.validate().unwrap();
}

#[test]
fn a_driver_gets_a_part_of_a_bus_but_not_of_another_drivers() {
    let mut nodes = [ResourceNode::EMPTY; 6];
    let mut tree = Resources::new(range(0, 1 << 32), &mut nodes).unwrap();
    tree.request_resource(Resources::ROOT, what(0x1000, 0x8000, "bus")).unwrap();
    tree.request_mem_region(range(0x2000, 0x3000), "uart").unwrap();
    tree.request_mem_region(range(0xa000, 0xb000), "timer").unwrap();
    let busy = tree.request_mem_region(range(0x2800, 0x2900), "other").unwrap_err();
    assert!(matches!(busy, ResourceError::Busy(r) if r.name == "uart"));
    let across = tree.request_mem_region(range(0x7000, 0x9000), "other").unwrap_err();
    assert!(matches!(across, ResourceError::Busy(r) if r.name == "bus"));
    assert!(tree.request_mem_region(range(0x5000, 0x5000), "none").is_err());
    assert_eq!(text(&tree), "1000-7fff bus; 2000-2fff uart;a000-afff timer;");
    let wrong = tree.release_mem_region(range(0x2000, 0x2800)).unwrap_err();
    assert_eq!(wrong.to_string(), "Trying to free nonexistent resource <0000000000002000-00000000000027ff>");
    tree.release_mem_region(range(0x2000, 0x3000)).unwrap();
    tree.release_mem_region(range(0x2000, 0x3000)).unwrap_err();
    // The bus is not a driver's.
    tree.release_mem_region(range(0x1000, 0x8000)).unwrap_err();
    assert_eq!(text(&tree), "1000-7fff bus;a000-afff timer;");
    tree.validate().unwrap();
}

#[test]
fn memory_that_runs_out_changes_nothing() {
    let mut nodes = [ResourceNode::EMPTY; 3];
    let mut tree = Resources::new(range(0, 1 << 32), &mut nodes).unwrap();
    tree.insert_resource(what(0x1000, 0x2000, "a")).unwrap();
    tree.insert_resource(what(0x3000, 0x4000, "b")).unwrap();
    let full = ResourceError::NoMemory { resources: 3 };
    assert_eq!(tree.insert_resource(what(0, 0x8000, "around")), Err(full));
    assert_eq!(tree.request_mem_region(range(0x5000, 0x6000), "c"), Err(full));
    assert_eq!(text(&tree), "1000-1fff a;3000-3fff b;");
    tree.validate().unwrap();
    tree.release_mem_region(range(0x1000, 0x2000)).unwrap_err();
    assert!(Resources::new(range(0, 1), &mut []).is_none());
}

#[test]
fn ram_is_told_from_what_is_not() {
    let mut nodes = [ResourceNode::EMPTY; 6];
    let mut tree = Resources::new(range(0, 1 << 32), &mut nodes).unwrap();
    let ram = Resource { flags: ResourceFlags::SYSTEM_RAM, ..what(0x1000, 0x8000, "System RAM") };
    tree.insert_resource(ram).unwrap();
    tree.insert_resource(what(0x2000, 0x3000, "Kernel code")).unwrap();
    tree.insert_resource(what(0x8000, 0x9000, "bus")).unwrap();
    let of = |start, end| tree.region_intersects(range(start, end), ResourceFlags::SYSTEM_RAM);
    assert_eq!(of(0x2000, 0x4000), Intersects::Intersects);
    assert_eq!(of(0x7000, 0x8800), Intersects::Mixed);
    assert_eq!(of(0x8000, 0xa000), Intersects::Disjoint);
    assert_eq!(of(0, 0x1000), Intersects::Disjoint);
    // What nobody has counts as much as what others have.
    let run = |start, end| tree.next_of(range(start, end), ResourceFlags::SYSTEM_RAM);
    assert_eq!(run(0x2000, 0x4000), Some(range(0x2000, 0x4000)));
    assert_eq!(run(0x7000, 0x8800), Some(range(0x7000, 0x8000)));
    assert_eq!([run(0x8000, 0xa000), run(0, 0x1000)], [None, None]);
    assert_eq!(run(0, 0x1800), Some(range(0x1000, 0x1800)));
    assert_eq!(run(0, 1 << 32), Some(range(0x1000, 0x8000)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Drivers' ranges are had if nobody has a part of them, whatever buses there are; all can be given back.
    #[test]
    fn drivers_never_share_a_byte(steps in prop::collection::vec((0u64..60, 1u64..9, prop::bool::ANY), 1..80)) {
        let mut nodes = [ResourceNode::EMPTY; 24];
        let mut tree = Resources::new(range(0, 64), &mut nodes).unwrap();
        for bus in [(0, 32), (32, 64), (8, 16)] {
            tree.insert_resource(what(bus.0, bus.1, "bus")).unwrap();
        }
        let mut held: Vec<PhysRange> = Vec::new();
        for (start, len, take) in steps {
            let wanted = range(start, (start + len).min(64));
            if take {
                let free = held.iter().all(|r| !r.overlaps(&wanted)) && held.len() < 20;
                // Not across the border of a bus.
                let inside = [(0, 32), (32, 64), (8, 16)].iter().all(|b| {
                    let bus = range(b.0, b.1);
                    !bus.overlaps(&wanted) || bus.contains_range(&wanted)
                });
                let got = tree.request_mem_region(wanted, "driver");
                prop_assert_eq!(got.is_ok(), free && inside);
                if got.is_ok() {
                    held.push(wanted);
                }
            } else {
                let had = held.iter().position(|r| *r == wanted);
                prop_assert_eq!(tree.release_mem_region(wanted).is_ok(), had.is_some());
                had.map(|n| held.remove(n));
            }
            prop_assert_eq!(tree.validate(), Ok(()));
        }
        for r in held {
            tree.release_mem_region(r).unwrap();
        }
        prop_assert_eq!(text(&tree), "0-1f bus; 8-f bus;20-3f bus;");
    }
}
