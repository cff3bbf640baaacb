//! Memory for more areas than there was room for at first.

use super::*;
use pagewright_kspace::areas::AreaError;
use pagewright_kspace::vmalloc::{MoreAreas, PcpuPart, VmSection, VmSlot, VmallocError};
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_sim::vmalloc::with_vmalloc;
use std::sync::Mutex;

type Machine<'p, 'v, 'x, 'm, 's, 'a> = HostedVmalloc<'p, 'v, 'x, 'm, 's, 'a, X86Level4>;

/// A machine with room for seven areas.
fn on_seven(test: impl FnOnce(&Machine<'_, '_, '_, '_, '_, '_>)) {
    let machine = VmallocMachine { areas: 8, config: lowest_first, ..machine(FormatKind::X86Level4, 64, 2) };
    with_vmalloc(&machine, X86Level4::default(), test);
}

#[test]
fn sections_are_appended_when_all_areas_are_in_use() {
    let nodes = vec![Default::default(); 8];
    let slots: Vec<VmSlot> = (0..8).map(|_| VmSlot::new()).collect();
    let odd: Vec<VmSlot> = (0..4).map(|_| VmSlot::new()).collect();
    // Sections outlive the region.
    let (nodes, slots, odd): (_, &[VmSlot], &[VmSlot]) = (nodes.leak(), slots.leak(), odd.leak());
    on_seven(|m| {
        m.on_cpu(0, |on| {
            let mut all: Vec<_> = (0..7).map(|_| m.vmalloc.vmalloc(on, PAGE).unwrap()).collect();
            let none = m.vmalloc.vmalloc(on, PAGE);
            assert!(matches!(none, Err(VmallocError::Space { why: AreaError::NoNode { nodes: 8 }, .. })));
            assert!(!m.vmalloc.add_section(VmSection { nodes: &mut [], slots: odd }));
            assert!(m.vmalloc.add_section(VmSection { nodes, slots }));
            all.extend((0..8).map(|_| m.vmalloc.vmalloc(on, PAGE).unwrap()));
            assert!(m.vmalloc.vmalloc(on, PAGE).is_err());
            all.drain(..).for_each(|at| m.vmalloc.vfree(on, at).unwrap());
        });
    });
}

/// Some sections, as they are asked for.
struct Sections(Mutex<Vec<VmSection<'static>>>);

impl Sections {
    /// So many, of so many areas.
    fn leaked(sections: usize, areas: usize) -> &'static Self {
        let section = || {
            let slots: Vec<VmSlot> = (0..areas).map(|_| VmSlot::new()).collect();
            VmSection { nodes: vec![Default::default(); areas].leak(), slots: slots.leak() }
        };
        Box::leak(Box::new(Self(Mutex::new((0..sections).map(|_| section()).collect()))))
    }
}

impl<'v> MoreAreas<'v> for Sections {
    fn section(&self, areas: usize) -> Option<VmSection<'v>> {
        let section = self.0.lock().unwrap().pop()?;
        assert_eq!(section.slots.len(), areas, "as many as the first one");
        Some(section)
    }
}

#[test]
fn a_region_grows_from_what_it_was_given_until_that_has_no_more() {
    on_seven(|m| {
        let rooms = Sections::leaked(3, 8);
        m.vmalloc.grow_from(rooms);
        m.on_cpu(0, |on| {
            let mut all: Vec<_> = (0..7).map(|_| m.vmalloc.vmalloc(on, PAGE).unwrap()).collect();
            // Two sections at once: a chunk of ten parts, which one of eight does not hold.
            let part = |at: u64| PcpuPart { offset: at * 2 * PAGE, size: PAGE, node: None };
            let parts: Vec<_> = (0..10).map(part).collect();
            let base = m.vmalloc.pcpu_get_vm_areas(on, &parts, PAGE).unwrap();
            assert_eq!(rooms.0.lock().unwrap().len(), 1);
            all.extend((0..6 + 8).map(|_| m.vmalloc.vmalloc(on, PAGE).unwrap()));
            let mut sorted = all.clone();
            sorted.sort();
            sorted.dedup();
            assert_eq!(sorted.len(), 7 + 14, "nothing is given out twice");
            let none = m.vmalloc.vmalloc(on, PAGE).unwrap_err();
            assert!(
                none.to_string().ends_with("areas: there is memory for 31, and all are in use"),
                "{none}"
            );
            m.vmalloc.validate().unwrap();
            m.vmalloc.pcpu_free_vm_areas(on, base, &parts).unwrap();
            all.drain(..).for_each(|at| m.vmalloc.vfree(on, at).unwrap());
        });
    });
}
