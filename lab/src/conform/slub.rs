//! The `slub` group: how caches are laid out in slabs.
//!
//! kmalloc's caches are computed from the machine alone, all columns of them. Which other caches a kernel has, and how large their
//! objects are, is its own affair: from a captured object size follow the objects and pages of a slab. The group is SLUB's: the other
//! designs have no such attributes, and what slabinfo says does not tell SLAB's flags, by which it lays out.

use super::compare::Tally;
use crate::capture::Capture;
use crate::capture::slab::{SlabInfo, SlubKmalloc};
use crate::facts::Group;
use pagewright::Boot;
use pagewright_slab::kmalloc::{Classes, KmallocKind, Name};
use pagewright_slab::objects::Design;
use pagewright_slab::slabs::DebugOptions;
use pagewright_slab::slub::{Geometry, ObjectSpec, Slub};

/// Compares both files; the line of the log that says by what SLUB decides is compared with the boot's. `None` if the capture has neither file.
///
/// # Errors
/// Why neither is compared, where the machine's kernel has another design.
pub fn slub(capture: &Capture, boot: &Boot<'_>) -> Option<Result<Tally, String>> {
    if capture.slabinfo.is_none() && capture.slub_kmalloc.is_none() {
        return None;
    }
    if boot.slab_design() != Design::Slub {
        return Some(Err(format!("the kernel's slabs are by {}", boot.slab_design())));
    }
    let (slub, classes, watched) = (boot.slub(), boot.kmalloc_classes(), boot.slub_debug());
    let mut tally = Tally::default();
    if let Some(file) = &capture.slub_kmalloc {
        kmalloc(&mut tally, file, &slub, &classes, watched);
    }
    if let Some(file) = &capture.slabinfo {
        order(&mut tally, file, &classes);
    }
    for cache in capture.slabinfo.iter().flat_map(|file| &file.caches) {
        let shape = |objects: u64, pages: u64| format!("{objects} objects, {pages} pages");
        let ours = slub.geometry(&ObjectSpec::new(cache.size)).ok();
        let ours = ours.map(|g| shape(g.objects.into(), g.order.pages()));
        let key = format!("{} of {} bytes", cache.name, cache.size);
        tally.check(Group::Slub, &key, Some(shape(cache.objects, cache.pages)), ours);
    }
    Some(Ok(tally))
}

/// slabinfo has kmalloc's caches in the opposite order of their creation.
fn order(tally: &mut Tally, file: &SlabInfo, classes: &Classes) {
    let mut ours: Vec<_> = classes.caches().map(|(kind, size)| Name(kind, size).to_string()).collect();
    ours.reverse();
    let theirs: Vec<&str> = file
        .caches
        .iter()
        .map(|cache| cache.name.as_str())
        .filter(|name| name.contains("kmalloc-"))
        .collect();
    tally.check(Group::Slub, "kmalloc's caches in order", Some(theirs.join(" ")), Some(ours.join(" ")));
}

/// The caches of kmalloc, by name, watched as the command line asks.
///
/// A file without any row of the kind for devices that reach ZONE_DMA is one whose capture asked for the other names only.
fn kmalloc(tally: &mut Tally, file: &SlubKmalloc, slub: &Slub, classes: &Classes, watched: DebugOptions<'_>) {
    let is_dma = |name: &str| name.starts_with(KmallocKind::Dma.prefix());
    let has_dma = file.caches.iter().any(|cache| is_dma(&cache.name));
    let mut ours: Vec<(String, [u64; 7])> = Vec::new();
    for (kind, size) in classes.caches().filter(|&(kind, _)| has_dma || kind != KmallocKind::Dma) {
        let name = Name(kind, size).to_string();
        let spec = watched.watched(slub, &name, classes.spec(size, kind));
        if let Ok(geometry) = slub.geometry(&spec) {
            ours.push((name, columns(&geometry)));
        }
    }
    for cache in &file.caches {
        let mine = ours.iter().position(|(name, _)| *name == cache.name).map(|at| ours.swap_remove(at).1);
        for (n, column) in SlubKmalloc::COLUMNS.iter().enumerate() {
            let key = format!("{} {column}", cache.name);
            let value = mine.map(|values| values[n].to_string());
            tally.check(Group::Slub, &key, Some(cache.values[n].to_string()), value);
        }
    }
    for (name, _) in ours {
        tally.check(Group::Slub, &name, None, Some("a cache".to_owned()));
    }
}

/// The values in the order of [`SlubKmalloc::COLUMNS`].
fn columns(g: &Geometry) -> [u64; 7] {
    [
        g.object_size,
        g.size,
        g.objects.into(),
        g.order.get().into(),
        g.cpu_partial.into(),
        g.min_partial.into(),
        g.align,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use pagewright_addr::PageShift;

    fn compared(text: &str) -> Tally {
        compared_watching(text, DebugOptions::NONE)
    }

    fn compared_watching(text: &str, watched: DebugOptions<'_>) -> Tally {
        let classes = Classes {
            page_shift: PageShift::SHIFT_4K,
            min_size: 4096,
            min_align: 4096,
            accounted: false,
            dma: true,
        };
        let mut tally = Tally::default();
        kmalloc(&mut tally, &SlubKmalloc::parse(text).unwrap(), &Slub::new(1), &classes, watched);
        tally
    }

    const NORMAL: &str = "kmalloc-4k 4096 4096 8 3 6 6 4096\nkmalloc-8k 8192 8192 4 3 6 6 8192\n";
    const RECLAIMABLE: &str =
        "kmalloc-rcl-4k 4096 4096 8 3 6 6 4096\nkmalloc-rcl-8k 8192 8192 4 3 6 6 8192\n";

    #[test]
    fn every_column_of_every_cache_counts() {
        let same = compared(&format!("{NORMAL}{RECLAIMABLE}"));
        assert_eq!((same.facts, same.open()), (28, 0));
        let other = compared(&format!("{NORMAL}{RECLAIMABLE}").replacen(" 8 3 6 6 ", " 4 2 6 5 ", 1));
        let keys: Vec<&str> = other.differences.iter().map(|d| d.key.as_str()).collect();
        assert_eq!(keys, ["kmalloc-4k objs_per_slab", "kmalloc-4k order", "kmalloc-4k min_partial"]);
    }

    #[test]
    fn what_the_command_line_watches_is_laid_out_so() {
        // Both red zones, the pointer behind, two records, what was asked for; no objects near a processor.
        let watched = "kmalloc-4k 4096 12288 2 3 0 6 4096\nkmalloc-8k 8192 24576 1 3 0 7 8192\n";
        let text = format!("{watched}{RECLAIMABLE}");
        let options = DebugOptions::parse("FZPU,kmalloc-4k,kmalloc-8k").unwrap();
        let tally = compared_watching(&text, options);
        assert_eq!((tally.facts, tally.open()), (28, 0), "{:?}", tally.differences);
        assert_eq!(compared(&text).open(), 7, "nothing is watched there");
        let spared = DebugOptions::parse("O;FZPU,kmalloc-4k,kmalloc-8k").unwrap();
        // Checks need no room: slabs are as they were, but processors keep none.
        let checked = format!("{NORMAL}{RECLAIMABLE}").replacen(" 6 6 ", " 0 6 ", 2);
        assert_eq!(compared_watching(&checked, spared).open(), 0);
    }

    #[test]
    fn caches_for_dma_count_where_a_file_has_any() {
        let rows = "dma-kmalloc-4k 4096 4096 8 3 6 6 4096\ndma-kmalloc-8k 8192 8192 4 3 6 6 8192\n";
        let all = compared(&format!("{NORMAL}{RECLAIMABLE}{rows}"));
        assert_eq!((all.facts, all.open()), (42, 0), "{:?}", all.differences);
        let wrong = compared(
            &format!("{NORMAL}{RECLAIMABLE}{rows}")
                .replace("dma-kmalloc-8k 8192 8192", "dma-kmalloc-8k 8192 8448"),
        );
        assert_eq!(wrong.open(), 1);
        let first = rows.lines().next().unwrap();
        assert_eq!(compared(&format!("{NORMAL}{RECLAIMABLE}{first}\n")).open(), 1, "one lacks");
    }

    #[test]
    fn the_order_of_slabinfo_counts() {
        let classes = Classes {
            page_shift: PageShift::SHIFT_4K,
            min_size: 4096,
            min_align: 8,
            accounted: false,
            dma: false,
        };
        let compared = |names: [&str; 5]| {
            let rows = names.map(|name| format!("{name} 0 0 8 1 1 : tunables 0 0 0 : slabdata 0 0 0\n"));
            let text = format!("slabinfo - version: 2.1\n{}", rows.concat());
            let mut tally = Tally::default();
            order(&mut tally, &SlabInfo::parse(&text).unwrap(), &classes);
            (tally.facts, tally.open())
        };
        let [a, b, c, d] = ["kmalloc-rcl-8k", "kmalloc-rcl-4k", "kmalloc-8k", "kmalloc-4k"];
        assert_eq!(compared(["mm_struct", a, b, c, d]), (1, 0));
        assert_eq!(compared(["mm_struct", a, c, b, d]), (1, 1));
    }

    #[test]
    fn a_cache_that_one_side_lacks_is_a_difference() {
        let fewer = compared(NORMAL);
        assert_eq!(fewer.open(), 2, "{:?}", fewer.differences);
        let more = compared(&format!("{NORMAL}{RECLAIMABLE}kmalloc-cg-4k 4096 4096 8 3 6 6 4096\n"));
        assert_eq!(more.open(), 7, "a line for each column");
    }
}
