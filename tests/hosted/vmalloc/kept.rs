//! Areas that come back with the pages that they had, and those that do not.

use super::rows::pair;
use super::*;
use pagewright_kspace::vmalloc::VmRequest;
use pagewright_page::{FrameIdx, OwnerHandle};
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_sim::vmalloc::with_vmalloc;
use pagewright_zone::Gfp;

type Machine<'p, 'v, 'x, 'm, 's, 'a> = HostedVmalloc<'p, 'v, 'x, 'm, 's, 'a, X86Level4>;

fn on_x86(test: impl FnOnce(&Machine<'_, '_, '_, '_, '_, '_>)) {
    let config = |config: &mut VmallocConfig| config.lazy_pages = 64;
    let machine = VmallocMachine { config, ..machine(FormatKind::X86Level4, 16, 2) };
    with_vmalloc(&machine, X86Level4::default(), test);
}

/// The frames of an area, and whose each of them is.
fn frames(m: &Machine<'_, '_, '_, '_, '_, '_>, at: VirtAddr, pages: u64) -> Vec<(FrameIdx, OwnerHandle)> {
    let map = m.pages.base.map();
    let frame = |n| map.idx(m.vmalloc.vmalloc_to_pfn(va(at.get() + n * PAGE)).unwrap()).unwrap();
    (0..pages).map(|n| (frame(n), map.owner(frame(n)))).collect()
}

/// An area that the first CPU has made as `request` says and freed, and that was flushed, by the other: where, and what it had.
fn flushed(
    m: &Machine<'_, '_, '_, '_, '_, '_>,
    request: &VmRequest,
) -> (VirtAddr, Vec<(FrameIdx, OwnerHandle)>) {
    let at = m.on_cpu(0, |on| m.vmalloc.vmalloc_request(on, request).unwrap());
    let had = frames(m, at, request.size.div_ceil(PAGE));
    m.on_cpu(0, |on| m.vmalloc.vfree(on, at).unwrap());
    let purges = m.vmalloc.purges();
    assert!((0..1000).any(|_| {
        pair(m, 1, 1);
        m.vmalloc.purges() > purges
    }));
    (at, had)
}

#[test]
fn an_area_comes_back_with_the_pages_that_it_had() {
    for pages in [1, 2, 5, 20] {
        on_x86(|m| {
            let before = buddyinfo_with_borders(m);
            let (at, had) = flushed(m, &VmRequest::new(pages * PAGE));
            let again = m.on_cpu(0, |on| m.vmalloc.vmalloc(on, pages * PAGE - 7).unwrap());
            assert_eq!((again, frames(m, again, pages)), (at, had), "{pages} pages");
            assert_eq!(m.vmalloc.nr_pages(), pages);
            assert_eq!(m.vmalloc.find_vm_area(again).unwrap().requested, pages * PAGE - 7);
            m.on_cpu(0, |on| m.vmalloc.vfree(on, again).unwrap());
            m.on_cpu(0, |on| m.vmalloc.give_all_back(on));
            expect_all_back(m, &before);
        });
    }
}

#[test]
fn whoever_asks_for_other_pages_gets_others() {
    let plain = VmRequest::new(3 * PAGE);
    let ways: [(&str, VmRequest, VmRequest); 4] = [
        ("of a node", plain, plain.on_node(node(0))),
        ("that were of a node", plain.on_node(node(0)), plain),
        ("zeroed", plain, plain.with_gfp(Gfp::GFP_KERNEL | Gfp::ZERO)),
        ("in a lower zone", plain, plain.with_gfp(Gfp::GFP_KERNEL | Gfp::DMA32)),
    ];
    for (which, first, second) in ways {
        on_x86(|m| {
            let before = buddyinfo_with_borders(m);
            let (at, had) = flushed(m, &first);
            let again = m.on_cpu(0, |on| m.vmalloc.vmalloc_request(on, &second).unwrap());
            assert_eq!(again, at, "{which}: the addresses are the same");
            let has = frames(m, again, 3);
            assert!(has.iter().zip(&had).all(|(now, then)| now.1 != then.1), "{which}: anew, {has:?}");
            m.on_cpu(0, |on| m.vmalloc.vfree(on, again).unwrap());
            m.on_cpu(0, |on| m.vmalloc.give_all_back(on));
            expect_all_back(m, &before);
        });
    }
}

#[test]
fn an_area_of_another_size_gives_its_pages_back() {
    on_x86(|m| {
        let before = buddyinfo_with_borders(m);
        // As many addresses, without a guard page.
        let (at, had) = flushed(m, &VmRequest::new(3 * PAGE));
        let request = VmRequest::new(4 * PAGE).with_flags(pagewright_kspace::vmalloc::VmFlags::NO_GUARD);
        let again = m.on_cpu(0, |on| m.vmalloc.vmalloc_request(on, &request).unwrap());
        assert_eq!(again, at);
        assert!(frames(m, again, 4).iter().all(|(_, owner)| *owner != had[0].1));
        m.on_cpu(0, |on| m.vmalloc.vfree(on, again).unwrap());
        m.on_cpu(0, |on| m.vmalloc.give_all_back(on));
        expect_all_back(m, &before);
    });
}

#[test]
fn where_somebody_watches_pages_they_go_back_in_between() {
    on_x86(|m| {
        let before = buddyinfo_with_borders(m);
        let (at, had) = flushed(m, &VmRequest::new(2 * PAGE));
        m.pages.allocator.set_hardened(true);
        let again = m.on_cpu(0, |on| m.vmalloc.vmalloc(on, 2 * PAGE).unwrap());
        assert_eq!(again, at);
        assert!(frames(m, again, 2).iter().all(|(_, owner)| *owner != had[0].1));
        m.pages.allocator.set_hardened(false);
        m.on_cpu(0, |on| m.vmalloc.vfree(on, again).unwrap());
        m.on_cpu(0, |on| m.vmalloc.give_all_back(on));
        expect_all_back(m, &before);
    });
}

#[test]
#[should_panic(expected = "still referenced")]
fn a_page_that_somebody_refers_to_is_not_used_again() {
    on_x86(|m| {
        let (_, had) = flushed(m, &VmRequest::new(PAGE));
        m.pages.base.map().take_reference(had[0].0);
        let _ = m.on_cpu(0, |on| m.vmalloc.vmalloc(on, PAGE));
    });
}
