//! The page allocator in service on a booted machine: what CPUs take and give back.

use pagewright::reserved_mem::Outcome;
use pagewright::{Boot, BootError, CpuRoom, Running};
use pagewright_addr::{NodeId, Order};
use pagewright_page::Frames;
use pagewright_platform::{Carve, NoInterrupts};
use pagewright_sim::pages::NoContents;
use pagewright_sim::pages::{Pages, with_service};
use pagewright_sim::tenants::Tenants;
use pagewright_zone::Gfp;
use pagewright_zone::alloc::AllocFailure;
use pagewright_zone::figures::ZoneSource;

/// CPUs of a machine that is put in service, at most: their lists cost memory.
const CPUS: u32 = 16;

/// Free blocks of each order and pageblocks of each type, zone by zone.
fn counts(zones: &dyn ZoneSource) -> Vec<(u64, Vec<u64>)> {
    zones.zones().map(|z| (z.free, zones.free_areas(z.zone).by_order().collect())).collect()
}

/// Puts the allocator in service, has each CPU take blocks of every order for every purpose, has another one free them, and expects
/// what was there before.
pub(super) fn serve_and_return(boot: &Boot<'_>, running: &mut Running<'_, '_, '_>) {
    if boot.online_cpus().count() as u32 > CPUS || running.buddy.zones().is_empty() {
        return;
    }
    too_little_memory_changes_nothing(boot, running);
    let before = counts(&running.buddy);
    let served = with_service(boot, running, NoContents, |pages, running| {
        assert_eq!(counts(&pages.allocator), before, "the zones are as they were");
        assert!(running.buddy.zones().iter().all(|z| z.free_pages() == 0), "and they are in one place only");
        lend_and_return(boot, running, pages);
        lists_are_of_small_blocks_and_huge_pages(boot, pages);
        use_on_all_cpus(pages);
        for cpu in 0..pages.cpus() {
            pages.on_cpu(cpu, |cx| pages.allocator.drain_local_pages(cx));
        }
        pages.allocator.validate().unwrap_or_else(|v| panic!("in service: {v}"));
        assert_eq!(counts(&pages.allocator), before, "every page is back");
    });
    served.expect("memory as asked for");
}

/// Each contiguous area gives pages and gets them back, and is found by its region of the device tree.
fn lend_and_return(
    boot: &Boot<'_>,
    running: &Running<'_, '_, '_>,
    pages: &Pages<'_, '_, '_, '_, NoContents>,
) {
    let (areas, shift) =
        (pages.cma.expect("a booted machine has its boot's"), boot.machine.config.page_shift);
    let tenants = Tenants::new(*pages.base.map());
    for (at, declared) in boot.cma.iter().enumerate() {
        let area = areas.get(at);
        assert_eq!(area.is_none(), declared.given_back, "{declared:?}");
        let Some(area) = area else { continue };
        assert_eq!((area.name(), area.pfns()), (&*declared.name, declared.range.frames_inside(shift)));
        // Enough for several pageblocks; more only takes longer.
        let count = area.pfns().len().min(1500);
        pages.on_cpu(0, |cx| {
            match pages.allocator.cma_alloc(cx, &tenants, area, (count, Order::ZERO, true)) {
                Ok(frames) => {
                    assert_eq!(pages.allocator.cma_figures(area).used, count);
                    assert!(pages.allocator.cma_release(cx, area, frames).is_ok());
                }
                Err(e) => assert!(running.huge_pages > 0, "nobody has any of it: {e}"),
            }
            assert_eq!(pages.allocator.cma_figures(area).used, 0);
        });
    }
    let default = boot.cma.iter().find(|area| area.default && !area.given_back);
    assert_eq!(areas.default_area().map(|area| area.name()), default.map(|area| &*area.name));
    for declared in boot.cma.iter().filter(|area| !area.given_back) {
        let nid = declared.of_node;
        let mut choice = areas.for_device(None).choice(nid, 2, Gfp::GFP_KERNEL).map(|area| area.name());
        assert!(nid.is_none() || choice.next() == Some(&*declared.name), "{declared:?}");
    }
    for region in boot.reserved_mem.iter() {
        let declared = boot.cma.iter().find(|area| area.range == region.range && !area.given_back);
        let area = areas.of_region(region).map(|area| area.name());
        assert_eq!(area, declared.map(|area| &*area.name), "{region:?}");
        assert!(declared.is_none() || matches!(region.outcome, Outcome::Cma(_)));
    }
}

/// No CPU has a list of other orders than those up to 3 and a huge page's, whatever the order of pageblocks.
fn lists_are_of_small_blocks_and_huge_pages(boot: &Boot<'_>, pages: &Pages<'_, '_, '_, '_, NoContents>) {
    let config = &boot.machine.config;
    let huge = config.hugetlb_page_order().min(config.pageblock_order());
    pages.on_cpu(0, |cx| {
        let own = cx.cpu.enter().expect("nobody else uses the lists");
        for zone in pages.allocator.zones() {
            for list in own.lists(zone.id()).iter().filter(|list| list.capacity() > 0) {
                let order = u32::from(list.order().get());
                assert!(order <= 3 || order == huge, "a list of order {order}");
            }
        }
        let preferred = pages.allocator.zones().iter().map(|zone| own.lists(zone.id()));
        let any = |order: u32| {
            preferred.clone().flatten().any(|l| l.capacity() > 0 && u32::from(l.order().get()) == order)
        };
        assert!(any(0) && any(huge));
    });
}

fn use_on_all_cpus(pages: &Pages<'_, '_, '_, '_, NoContents>) {
    let masks = [
        Gfp::GFP_KERNEL,
        Gfp::GFP_HIGHUSER_MOVABLE,
        Gfp::GFP_KERNEL | Gfp::RECLAIMABLE,
        Gfp::GFP_KERNEL | Gfp::DMA,
        Gfp::GFP_KERNEL | Gfp::DMA32,
    ];
    let mut held: Vec<Frames<'_>> = Vec::new();
    for cpu in 0..pages.cpus() {
        pages.on_cpu(cpu, |cx| {
            for order in [0, 0, 1, 2, 3, 4, 0, 9].into_iter().filter_map(Order::new) {
                for gfp in masks.map(|gfp| gfp | Gfp::NOWARN) {
                    match pages.allocator.alloc_pages(cx, gfp, order) {
                        Ok(frames) => held.push(frames),
                        Err(e) => assert!(
                            matches!(e, AllocFailure::NoMemory { .. } | AllocFailure::TooLarge { .. }),
                            "{e}"
                        ),
                    }
                }
            }
        });
    }
    let cpus = pages.cpus();
    for (n, frames) in held.into_iter().enumerate() {
        pages.on_cpu((n + 1) % cpus, |cx| pages.allocator.free_pages(cx, frames));
    }
}

/// Each piece of memory that is too small is refused by name.
fn too_little_memory_changes_nothing(boot: &Boot<'_>, running: &mut Running<'_, '_, '_>) {
    let before = counts(&running.buddy);
    let bytes = running.service_bytes(boot, 1);
    // Less than the alignment that was counted in may do.
    for (shared, lists) in [(0, bytes.each_cpu), (bytes.shared / 2, bytes.each_cpu), (bytes.shared, 0)] {
        let words = |bytes: u64| vec![0_u64; bytes.div_ceil(8) as usize];
        let (mut shared, mut lists) = (words(shared), words(lists));
        let room = CpuRoom { node: NodeId::ZERO, memory: Carve::of(&mut lists) };
        let refused =
            running.serve(boot, Carve::of(&mut shared), [room].into_iter(), NoInterrupts, NoContents).err();
        assert!(matches!(refused, Some(BootError::Space { .. })), "{refused:?}");
        assert_eq!(counts(&running.buddy), before);
    }
}
