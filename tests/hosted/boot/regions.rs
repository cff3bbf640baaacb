//! `memory-region`: which area or pool is a device's.

use crate::support::MIB;
use crate::support::spec::{RAM, Spec, arm64};
use crate::support::tree::{N, node, reserved_memory};
use pagewright::reserved_mem::{MemoryRegionError, Outcome, memory_region};
use pagewright_addr::NodeId;
use pagewright_firmware::devicetree::DeviceTree;

fn region(name: &str, phandle: u32) -> N {
    node(name).cells("phandle", &[phandle])
}

fn pool(name: &str, phandle: u32, mib: u64) -> N {
    region(name, phandle).text("compatible", "shared-dma-pool").reg(RAM + mib * MIB, 4 * MIB)
}

/// A machine with regions of all kinds, and devices that name them.
fn machine() -> Spec {
    let regions = [
        pool("video@48000000", 1, 128).flag("reusable"),
        pool("sound@49000000", 2, 144).flag("no-map"),
        region("firmware@4a000000", 3).reg(RAM + 160 * MIB, MIB),
        pool("off@4b000000", 4, 176).flag("reusable").text("status", "disabled"),
        pool("crooked@4c100000", 5, 193).flag("reusable"),
    ];
    let soc = node("soc")
        .with(node("codec").cells("memory-region", &[1, 2]))
        .with(node("loader").cells("memory-region", &[3, 4, 5, 9]))
        .with(node("old").cells("linux,phandle", &[6]).cells("memory-region", &[6, 0]))
        .with(node("plain"));
    arm64(256).cmdline("cma=0").with(reserved_memory(regions)).with(soc)
}

/// What a device's regions came to: the outcome and where it begins, or Linux's number.
fn regions(device: &str, count: usize) -> Vec<Result<Option<(Outcome, u64)>, i32>> {
    let (spec, mut found) = (machine(), vec![]);
    let blob = spec.blob();
    let (facts, _) = spec.boot_to_the_end(
        |_| (),
        |boot| {
            let tree = DeviceTree::parse(&blob).unwrap();
            let device = tree.find(device).unwrap();
            found = (0..count)
                .map(|index| match memory_region(boot, &tree, &device, index) {
                    Ok(region) => Ok(region.map(|v| (v.outcome, (v.range.start.get() - RAM) / MIB))),
                    Err(e) => {
                        let missing = matches!(e, MemoryRegionError::Missing { index: i } if i == index);
                        assert_eq!(missing, e.errno() == -19, "{e}");
                        Err(e.errno())
                    }
                })
                .collect();
        },
    );
    facts.unwrap();
    found
}

#[test]
fn a_device_has_the_areas_and_pools_that_it_names() {
    let expected = [Ok(Some((Outcome::Cma(false), 128))), Ok(Some((Outcome::DmaPool, 144))), Err(-19)];
    assert_eq!(regions("/soc/codec", 3), expected);
}

#[test]
fn what_no_pool_serves_is_refused_and_what_is_disabled_is_passed_over() {
    // Kept for a driver alone, disabled, not aligned to a pageblock, and not in the tree.
    assert_eq!(regions("/soc/loader", 4), [Err(-22), Ok(None), Err(-22), Err(-19)]);
    // A node elsewhere, by the old name of the property, and no node at all.
    assert_eq!(regions("/soc/old", 2), [Err(-22), Err(-19)]);
    assert_eq!(regions("/soc/plain", 1), [Err(-19)]);
}

#[test]
fn each_node_has_an_area_for_its_devices_if_asked() {
    // That each leads to its node's is shown when the allocator of this machine serves.
    let facts = arm64(256).cmdline("cma=16M cma_pernuma=8M").config(|c| c.pernuma_cma = true).boot();
    let areas: Vec<_> = facts.cma.iter().map(|area| (&*area.name, area.of_node, area.given_back)).collect();
    assert_eq!(areas, [("pernuma0", Some(NodeId::ZERO), false), ("reserved", None, false)]);
}
