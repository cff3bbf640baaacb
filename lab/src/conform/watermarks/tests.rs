use super::*;

/// A machine of 64 MiB with one zone and one CPU, as our own arithmetic gives it.
fn capture(managed: u64, dmesg: &str, figures: [u64; 3]) -> Capture {
    let [min, low, high] = figures;
    let text = format!(
        "Node 0, zone   Normal
  per-node stats
  pages free     100
        boost    0
        min      {min}
        low      {low}
        high     {high}
        spanned  16384
        present  16384
        managed  {managed}
        cma      0
        protection: (0, 0)
  pagesets
    cpu: 0
              count: 0
              high:  {low}
              batch: 3
  vm stats threshold: 2
  node_unreclaimable:  0
  start_pfn:           262144
Node 0, zone  Movable
  pages free     0
        boost    0
        min      0
        low      0
        high     0
        spanned  0
        present  0
        managed  0
        cma      0
        protection: (0, 0)
"
    );
    Capture {
        zoneinfo: Some(ZoneInfo::parse(&text).unwrap()),
        dmesg: format!("Zone ranges:\n  Normal   [mem 0x40000000-0x43ffffff]\n{dmesg}"),
        ..Capture::default()
    }
}

const KERNEL: Kernel<'static> = Kernel {
    page_shift: PageShift::SHIFT_4K,
    pageblock_pages: 512,
    huge_pages: Some(true),
    given_late: &[],
    image_start: PhysAddr::new(0x4020_0000),
    initrd_start: Some(PhysAddr::new(0x4200_0000)),
    cpu_nodes: &[],
};

// 16000 pages = 64000 KiB: sqrt(16 * 64000) = 1011 KiB = 252 pages, and a quarter of it between the marks.
const FIGURES: [u64; 3] = [252, 315, 378];

#[test]
fn figures_follow_from_the_managed_pages() {
    let tally = watermarks(&capture(16_000, "", FIGURES), &KERNEL).unwrap();
    assert_eq!(tally.differences, []);
    assert_eq!(tally.facts, 11);
}

#[test]
fn what_was_freed_after_the_figures_were_computed_is_taken_off() {
    let log = "[    1.0] Freeing initrd memory: 1000K\n[    1.0] Freeing unused kernel memory: 600K\n\
               [    1.0] Freeing SMP alternatives memory: 36K\n";
    assert_eq!(watermarks(&capture(16_400, log, FIGURES), &KERNEL).unwrap().differences, []);
    let early = watermarks(&capture(16_400, "", FIGURES), &KERNEL).unwrap();
    assert!(early.differences.iter().any(|d| d.key == "node 0 zone Normal min"));
}

#[test]
fn a_wrong_mark_is_named_with_both_values() {
    let tally = watermarks(&capture(16_000, "", [252, 316, 378]), &KERNEL).unwrap();
    let keys: Vec<_> = tally.differences.iter().map(|d| d.key.as_str()).collect();
    assert_eq!(keys, ["node 0 zone Normal low", "node 0 zone Normal cpu 0 high"]);
    assert_eq!(tally.differences[0].ours.as_deref(), Some("315"));
}

#[test]
fn without_zoneinfo_the_group_is_left_out() {
    assert!(watermarks(&Capture::default(), &KERNEL).is_none());
}
