//! What each CPU keeps of what it freed: it alone takes that back, others when it does not come by or when something is short.

use super::*;
use pagewright_addr::PageShift;
use pagewright_page::{FrameIdx, State};
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_sim::vmalloc::{kernel_data, with_vmalloc};

type Machine<'p, 'v, 'x, 'm, 's, 'a> = HostedVmalloc<'p, 'v, 'x, 'm, 's, 'a, X86Level4>;

fn on_x86(config: fn(&mut VmallocConfig), mib: u64, test: impl FnOnce(&Machine<'_, '_, '_, '_, '_, '_>)) {
    let machine = VmallocMachine { config, ..machine(FormatKind::X86Level4, mib, 2) };
    with_vmalloc(&machine, X86Level4::default(), test);
}

/// Makes an area as a CPU, and frees it.
pub(super) fn pair(m: &Machine<'_, '_, '_, '_, '_, '_>, cpu: usize, pages: u64) -> VirtAddr {
    m.on_cpu(cpu, |on| {
        let at = m.vmalloc.vmalloc(on, pages * PAGE).unwrap();
        m.vmalloc.vfree(on, at).unwrap();
        at
    })
}

/// As many pairs as it takes until something is flushed.
fn until_flushed(m: &Machine<'_, '_, '_, '_, '_, '_>, cpu: usize) {
    let purges = m.vmalloc.purges();
    let pairs = (0..1000).take_while(|_| {
        pair(m, cpu, 1);
        m.vmalloc.purges() == purges
    });
    assert!(pairs.count() < 1000, "no flush");
}

fn frame(m: &Machine<'_, '_, '_, '_, '_, '_>, at: VirtAddr) -> FrameIdx {
    m.pages.base.map().idx(m.vmalloc.vmalloc_to_pfn(at).unwrap()).unwrap()
}

/// Pages that are an area's, or wait with it.
pub(super) fn held(m: &Machine<'_, '_, '_, '_, '_, '_>) -> u64 {
    let map = m.pages.base.map();
    (0..map.len()).filter(|&idx| map.state(FrameIdx::new(idx as u32)) == State::Kernel).count() as u64
}

#[test]
fn what_was_flushed_its_own_cpu_takes_back() {
    on_x86(
        |c| c.lazy_pages = 8,
        16,
        |m| {
            let before = buddyinfo_with_borders(m);
            let at = m.on_cpu(0, |on| m.vmalloc.vmalloc(on, PAGE).unwrap());
            let page = frame(m, at);
            m.on_cpu(0, |on| m.vmalloc.vfree(on, at).unwrap());
            until_flushed(m, 1);
            let map = m.pages.base.map();
            assert_eq!(map.state(page), State::Kernel, "the other CPU leaves it");
            let next = m.on_cpu(1, |on| m.vmalloc.vmalloc(on, PAGE).unwrap());
            assert_ne!(next, at, "and has its own");
            let purges = m.vmalloc.purges();
            let (again, same) = m.on_cpu(0, |on| {
                let again = m.vmalloc.vmalloc(on, PAGE).unwrap();
                (again, frame(m, again) == page)
            });
            assert_eq!((again, m.vmalloc.purges()), (at, purges), "its own, without another flush");
            assert!(same, "and the page that it freed last");
            m.on_cpu(0, |on| [next, again].map(|at| m.vmalloc.vfree(on, at).unwrap()));
            expect_all_back(m, &before);
        },
    );
}

#[test]
fn what_an_idle_cpu_does_not_take_back_goes_with_the_next_purge() {
    on_x86(
        |c| c.lazy_pages = 8,
        16,
        |m| {
            let at = m.on_cpu(0, |on| m.vmalloc.vmalloc(on, PAGE).unwrap());
            let page = frame(m, at);
            m.on_cpu(0, |on| m.vmalloc.vfree(on, at).unwrap());
            until_flushed(m, 1);
            assert_eq!(m.pages.base.map().state(page), State::Kernel);
            until_flushed(m, 1);
            assert_ne!(m.pages.base.map().state(page), State::Kernel, "whoever purges releases it");
            assert_eq!(pair(m, 0, 1), at, "its addresses are still the CPU's");
        },
    );
}

#[test]
fn addresses_that_an_idle_cpu_has_are_found_when_others_are_short_of_them() {
    let config = |config: &mut VmallocConfig| config.lazy_pages = 40;
    let mut machine = VmallocMachine { config, ..machine(FormatKind::X86Level4, 16, 2) };
    machine.range.len = 64 * PAGE;
    with_vmalloc(&machine, X86Level4::default(), |m| {
        pair(m, 0, 30);
        pair(m, 1, 14);
        assert_eq!((m.vmalloc.purges(), m.vmalloc.gaps().kept), (1, (31 + 15) * PAGE), "flushed, and kept");
        let at = m.on_cpu(1, |on| m.vmalloc.vmalloc(on, 60 * PAGE));
        assert_eq!(at, Ok(m.vmalloc.range().start));
    });
}

#[test]
fn pages_that_an_idle_cpu_has_are_found_when_others_are_short_of_them() {
    on_x86(
        |c| c.lazy_pages = 2000,
        16,
        |m| {
            pair(m, 0, 1500);
            pair(m, 1, 600);
            assert_eq!(m.vmalloc.purges(), 1);
            assert_eq!(held(m), 2100, "flushed, and not taken back");
            assert!(m.on_cpu(1, |on| m.vmalloc.vmalloc(on, 3500 * PAGE)).is_ok());
        },
    );
}

#[test]
fn what_waits_stays_below_its_bound_where_one_cpu_frees_what_the_other_made() {
    on_x86(
        |c| c.lazy_pages = 64,
        16,
        |m| {
            let before = buddyinfo_with_borders(m);
            let mut most = 0;
            for round in 0..if cfg!(miri) { 40 } else { 4000 } {
                let at = m.on_cpu(0, |on| m.vmalloc.vmalloc(on, PAGE).unwrap());
                m.on_cpu(1, |on| m.vmalloc.vfree(on, at).unwrap());
                // Now and then it takes one back, but far fewer than it frees.
                if round % 8 == 0 {
                    pair(m, 1, 1);
                }
                if round % 16 == 0 {
                    most = most.max(held(m));
                }
            }
            // A page and a guard page each.
            assert!(2 * most <= 4 * 64, "{most} pages wait");
            assert!(cfg!(miri) || m.vmalloc.purges() > 100);
            m.on_cpu(0, |on| m.vmalloc.give_all_back(on));
            expect_all_back(m, &before);
        },
    );
}

#[test]
fn what_waits_stays_below_its_bound_where_many_cpus_free_little() {
    let config = |config: &mut VmallocConfig| config.lazy_pages = 256;
    let machine = VmallocMachine { config, ..machine(FormatKind::X86Level4, 16, 8) };
    with_vmalloc(&machine, X86Level4::default(), |m| {
        let before = buddyinfo_with_borders(m);
        let mut most = 0;
        for _ in 0..if cfg!(miri) { 3 } else { 60 } {
            for cpu in 1..8 {
                // Less than anybody has to be told of, and more than it takes back.
                for _ in 0..6 {
                    let at = m.on_cpu(0, |on| m.vmalloc.vmalloc(on, PAGE).unwrap());
                    m.on_cpu(cpu, |on| m.vmalloc.vfree(on, at).unwrap());
                }
                pair(m, cpu, 1);
            }
            until_flushed(m, 0);
            most = most.max(held(m));
        }
        // A page and a guard page each.
        assert!(2 * most <= 4 * 256, "{most} pages wait");
        m.on_cpu(0, |on| m.vmalloc.give_all_back(on));
        expect_all_back(m, &before);
    });
}

#[test]
fn pairs_of_a_cpu_leave_the_zones_alone() {
    for pages in [1, 5, 16] {
        on_x86(
            |c| c.lazy_pages = 200,
            64,
            |m| {
                let zone = &m.pages.allocator.zones()[0];
                let free = || m.pages.allocator.free_areas(zone.id());
                let rounds = if cfg!(miri) { 300 / (pages + 1) } else { 1000 };
                for _ in 0..rounds {
                    pair(m, 0, pages);
                }
                let (purges, before) = (m.vmalloc.purges(), free());
                for _ in 0..rounds {
                    pair(m, 0, pages);
                    assert!(free() == before, "areas of {pages} pages");
                }
                assert!(m.vmalloc.purges() > purges);
            },
        );
    }
}

#[test]
fn as_many_bytes_wait_for_a_flush_with_pages_of_every_size() {
    let attr = kernel_data(&X86Level4::default());
    for (shift, pages) in
        [(PageShift::SHIFT_4K, 8192), (PageShift::SHIFT_16K, 2048), (PageShift::SHIFT_64K, 512)]
    {
        let config = |cpus| VmallocConfig::new(attr, cpus, 1 << 30, shift);
        // 32 MiB for each bit of the number of processors.
        assert_eq!((config(1).lazy_pages, config(8).lazy_pages), (pages, 4 * pages));
    }
}
