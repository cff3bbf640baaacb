//! How much stack a boot takes: little enough for a thread, or for a kernel's first stack.

use crate::support::spec::{Spec, arm, arm64, pc, pc_of};
use pagewright::{Quiet, Tables, Workspace, boot};
use pagewright_addr::{NodeId, PfnRange};
use pagewright_firmware::Machine;
use pagewright_firmware::config::Flavour;
use pagewright_memblock::Region;
use pagewright_page::model::{MapSpace, NodeMap, SectionRun};
use pagewright_zone::layout::{MemFlags, MemRange, NodeLayout};
use std::thread;

/// Enough, also without optimisation. Most of it goes to values that unoptimised code copies.
const STACK_BYTES: usize = 288 << 10;

/// Boots in a thread with a small stack. One that is too small ends the test's process.
fn boots(spec: &Spec) -> bool {
    let work = |machine: &Machine<'_>| {
        let nodes = spec.config.max_numnodes() as usize;
        let blank = MemRange { pfns: PfnRange::default(), nid: NodeId::ZERO, flags: MemFlags::empty() };
        let mut tables = Box::new(Tables::new());
        let mut run = || {
            let workspace = Workspace {
                memory: &mut vec![Region::default(); 128],
                reserved: &mut vec![Region::default(); 128],
                region_memory: None,
                ranges: &mut vec![blank; 128],
                nodes: &mut vec![NodeLayout::EMPTY; nodes],
                zonelists: &mut vec![NodeId::ZERO; nodes * (nodes + 1)],
                tables: &mut tables,
                maps: MapSpace {
                    sections: &mut vec![SectionRun::EMPTY; 128],
                    subsections: &mut vec![PfnRange::default(); 128],
                    node_maps: &mut vec![NodeMap::EMPTY; nodes],
                },
            };
            boot(machine, workspace, &Quiet).is_ok()
        };
        thread::scope(|scope| {
            let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, &mut run);
            thread.expect("a thread").join().expect("no panic")
        })
    };
    spec.lend(work).expect("the firmware's tables can be read")
}

#[test]
fn an_arm64_boot_needs_little_stack() {
    assert!(boots(&arm64(256).cmdline("cma=16M crashkernel=32M")));
}

#[test]
fn an_arm_boot_needs_little_stack() {
    assert!(boots(&arm(Flavour::Armmp, 1024)));
}

#[test]
fn a_boot_of_a_pc_needs_little_stack() {
    assert!(boots(&pc(256).cmdline("crashkernel=32M memmap=16M$64M")));
    assert!(boots(&pc(512).cmdline("numa=fake=4").cpus(4)));
    assert!(boots(&pc(512).cmdline("percpu_alloc=page").cpus(4)));
}

#[test]
fn an_i386_boot_needs_little_stack() {
    assert!(boots(&pc_of(Flavour::I686, 1024)));
}
