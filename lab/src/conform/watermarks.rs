//! The `watermarks` group: min, low, high, protection, per-CPU lists and vmstat thresholds, computed from the
//! captured managed pages.
//!
//! Linux computes them in two initcalls, before it frees the initial RAM disk and its own init sections, and does
//! not compute them again. The captured counts are from afterwards: what was freed in between (the kernel says how
//! much) is taken off the zone it belongs to.

use super::compare::Tally;
use crate::capture::Capture;
use crate::facts::{Facts, Group, body};
use crate::show::zoneinfo::{Zone, ZoneInfo};
use pagewright_addr::{NodeId, PageShift, PhysAddr};
use pagewright_zone::watermark::{Cpus, Tunables, Watermarks, ZoneMarks, thp_is_on};
use pagewright_zone::{ZoneKind, ZoneSet};

/// What of the kernel decides the figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kernel<'a> {
    /// The page size.
    pub page_shift: PageShift,
    /// Pages of a pageblock.
    pub pageblock_pages: u64,
    /// Whether transparent huge pages are built in, and if so whether they are not switched off.
    pub huge_pages: Option<bool>,
    /// Pages that count as managed only after the first of the two initcalls, by zone; a zone may be named again.
    pub given_late: &'a [(NodeId, ZoneKind, u64)],
    /// Where the image lies: its init sections are freed late.
    pub image_start: PhysAddr,
    /// Where the initial RAM disk lies when it is freed.
    pub initrd_start: Option<PhysAddr>,
    /// The node of each processor, for captures without files of their nodes; empty puts all on every node.
    pub cpu_nodes: &'a [NodeId],
}

/// Compares all figures of `/proc/zoneinfo`, and `vm.min_free_kbytes`. `None` if the capture has no zoneinfo.
pub fn watermarks(capture: &Capture, kernel: &Kernel<'_>) -> Option<Tally> {
    let info = capture.zoneinfo.as_ref()?;
    let mut zones = zones(info)?;
    for (at, pages) in freed_late(&capture.dmesg, kernel) {
        take_off(&mut zones, info, at.pfn(kernel.page_shift).get(), pages);
    }
    let managed = zones.iter().map(|z| z.managed).sum();
    let given_late = |z: &ZoneMarks| {
        let here = kernel.given_late.iter().filter(|(nid, kind, _)| (*nid, *kind) == (z.nid, z.kind));
        here.map(|(.., pages)| *pages).sum()
    };
    let with_all: Vec<_> = zones.iter().map(|z| (z.nid, z.kind, z.managed)).collect();
    for zone in &mut zones {
        zone.managed = zone.managed.saturating_sub(given_late(zone));
    }
    let mut set = ZoneSet::BASE;
    for zone in &zones {
        set = set.with(zone.kind);
    }
    let mut tunables =
        Tunables::new(set, movable_zone(&capture.dmesg, set), kernel.page_shift, kernel.pageblock_pages);
    if let Some(factor) = capture.watermark_scale_factor {
        tunables.watermark_scale_factor = factor;
    }
    for (kind, &ratio) in set.iter().zip(capture.lowmem_reserve_ratio.iter().flatten()) {
        tunables.lowmem_reserve_ratio[kind.index()] = ratio;
    }
    let online = info.zones.iter().filter_map(|z| Some(z.populated.as_ref()?.pagesets.len())).max()?;
    let on_node = |nid: NodeId| {
        let files = capture.nodes.get(&u32::from(nid.get())).and_then(|n| n.cpus.as_ref());
        let told = || kernel.cpu_nodes.iter().take(online).filter(|n| **n == nid).count();
        let guess = || if kernel.cpu_nodes.is_empty() { online } else { told() };
        files.map_or_else(guess, Vec::len) as u32
    };
    let cpus = Cpus { online: online as u32, on_node: &on_node };
    let mut marks = Watermarks::new(tunables, &mut zones);
    marks.setup_boot_pagesets();
    marks.setup_per_cpu_pageset(&cpus);
    marks.bring_up_cpus(&cpus);
    marks.init_per_zone_wmark_min(&cpus);
    for (nid, kind, pages) in with_all {
        marks.set_managed(nid, kind, pages);
    }
    match kernel.huge_pages.filter(|_| thp_is_on(managed, kernel.page_shift)) {
        Some(true) => _ = marks.set_recommended_min_free_kbytes(&cpus),
        Some(false) => _ = marks.restore_default_min_free_kbytes(&cpus),
        None => {}
    }
    marks.kswapd_sleeps(&cpus);
    let mut tally = Tally::default();
    for zone in &info.zones {
        check_zone(&mut tally, zone, &marks);
    }
    if let Some(kib) = capture.min_free_kbytes {
        let ours = marks.min_free_kbytes().to_string();
        tally.check(Group::Watermarks, "min_free_kbytes", Some(kib.to_string()), Some(ours));
    }
    Some(tally)
}

/// The captured zones with their managed pages. `None` if a zone's name is not one of Linux's.
fn zones(info: &ZoneInfo) -> Option<Vec<ZoneMarks>> {
    let marks = |z: &Zone| {
        let kind = ZoneKind::ALL.into_iter().find(|k| k.name() == z.name)?;
        let nid = u16::try_from(z.node).ok().and_then(NodeId::new)?;
        Some(ZoneMarks::new(nid, kind, z.pages.managed, z.populated.is_some()))
    };
    info.zones.iter().map(marks).collect()
}

/// The zone that ZONE_MOVABLE would be cut from: the highest one with a range.
fn movable_zone(dmesg: &str, set: ZoneSet) -> ZoneKind {
    let facts = Facts::from_log(dmesg);
    let has_range = |kind: &ZoneKind| {
        let range = facts.get(&format!("zone {} range", kind.name()));
        range.is_some_and(|r| r != "empty")
    };
    let below_movable = set.iter().filter(|k| *k < ZoneKind::Movable);
    below_movable.rev().find(has_range).unwrap_or(ZoneKind::Normal)
}

/// What was freed after the figures were computed: where, and how many pages.
fn freed_late<'a>(dmesg: &'a str, kernel: &'a Kernel<'_>) -> impl Iterator<Item = (PhysAddr, u64)> + 'a {
    dmesg.lines().filter_map(|line| {
        let (what, amount) = body(line).strip_prefix("Freeing ")?.split_once(" memory: ")?;
        let kib: u64 = amount.strip_suffix('K')?.parse().ok()?;
        let at = match what {
            "initrd" => kernel.initrd_start?,
            // Code for alternatives is freed before the initcalls run.
            _ if what.starts_with("unused ") => kernel.image_start,
            _ => return None,
        };
        Some((at, kernel.page_shift.pages_for(kib << 10)))
    })
}

fn take_off(marks: &mut [ZoneMarks], info: &ZoneInfo, pfn: u64, pages: u64) {
    let holds = |z: &Zone| {
        let start = z.populated.as_ref().map(|p| p.start_pfn);
        start.is_some_and(|s| (s..s + z.pages.spanned).contains(&pfn))
    };
    if let Some(at) = info.zones.iter().position(holds) {
        marks[at].managed = marks[at].managed.saturating_sub(pages);
    }
}

fn check_zone(tally: &mut Tally, zone: &Zone, marks: &Watermarks<'_>) {
    let nid = u16::try_from(zone.node).ok().and_then(NodeId::new);
    let Some(ours) =
        nid.and_then(|n| marks.zones().iter().find(|z| z.nid == n && z.kind.name() == zone.name))
    else {
        return;
    };
    let mut check = |what: &str, captured: u64, ours: u64| {
        let key = format!("node {} zone {} {what}", zone.node, zone.name);
        tally.check(Group::Watermarks, &key, Some(captured.to_string()), Some(ours.to_string()));
    };
    // A boost is on top of all three.
    check("min", zone.pages.min, ours.min + zone.pages.boost);
    check("low", zone.pages.low, ours.low + zone.pages.boost);
    check("high", zone.pages.high, ours.high + zone.pages.boost);
    for set in zone.populated.iter().flat_map(|p| &p.pagesets) {
        check(&format!("cpu {} high", set.cpu), set.high, ours.pageset.high);
        check(&format!("cpu {} batch", set.cpu), set.batch, ours.pageset.batch);
        if let Some(threshold) = set.stat_threshold {
            check(&format!("cpu {} stat threshold", set.cpu), threshold, ours.stat_threshold);
        }
    }
    let list =
        |values: &mut dyn Iterator<Item = u64>| values.map(|v| v.to_string()).collect::<Vec<_>>().join(", ");
    let key = format!("node {} zone {} protection", zone.node, zone.name);
    let captured = list(&mut zone.protection.iter().copied());
    tally.check(Group::Watermarks, &key, Some(captured), Some(list(&mut marks.protection(ours))));
}

#[cfg(test)]
mod tests;
