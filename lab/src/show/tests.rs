use super::*;

const ZONEINFO: &str = "\
Node 0, zone      DMA
  per-node stats
      nr_inactive_anon 21
      nr_dirty     0
  pages free     100
        boost    0
        min      4
        low      5
        high     6
        spanned  200
        present  190
        managed  180
        cma      16
        protection: (0, 3, 3)
      nr_free_pages 100
      nr_mlock     0
  pagesets
    cpu: 0
              count: 7
              high:  35
              batch: 8
  vm stats threshold: 4
  node_unreclaimable:  0
  start_pfn:           1
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
        protection: (0, 0, 0)
";

#[test]
fn zoneinfo_is_written_as_it_was_read() {
    let info = zoneinfo::ZoneInfo::parse(ZONEINFO).unwrap();
    assert_eq!(info.to_string(), ZONEINFO);
    let dma = info.zone(0, "DMA").unwrap();
    assert_eq!((dma.pages.managed, dma.pages.cma, &dma.protection[..]), (180, 16, &[0, 3, 3][..]));
    assert_eq!(dma.populated.as_ref().unwrap().pagesets[0].high, 35);
    assert!(info.zone(0, "Movable").unwrap().populated.is_none());
}

#[test]
fn a_cut_zoneinfo_names_the_line_that_is_missing() {
    let cut = &ZONEINFO[..ZONEINFO.find("        spanned").unwrap()];
    let fault = zoneinfo::ZoneInfo::parse(cut).unwrap_err();
    assert!(fault.to_string().contains("spanned"), "{fault}");
}

#[test]
fn buddyinfo_lines_end_in_a_blank() {
    let text = "Node 0, zone   Normal      1      0 123456 \n";
    let info = buddyinfo::BuddyInfo::parse(text).unwrap();
    assert_eq!(info.zones[0].free, [1, 0, 123_456]);
    assert_eq!(info.to_string(), text);
}

#[test]
fn pagetypeinfo_is_written_as_it_was_read() {
    let text = "\
Page block order: 9
Pages per block:  512

Free pages count per migrate type at order       0      1 
Node    0, zone      DMA, type    Unmovable      1      2 
Node    0, zone      DMA, type      Movable      3      4 
Node    0, zone   Normal, type    Unmovable      5 >100000 
Node    0, zone   Normal, type      Movable      7      8 

Number of blocks type     Unmovable      Movable 
Node 0, zone      DMA            1            7 
Node 0, zone   Normal           19          483 
";
    let info = pagetypeinfo::PageTypeInfo::parse(text).unwrap();
    assert_eq!(info.nodes[0].zones[1].free[0], [5, 100_000]);
    assert_eq!(info.nodes[0].zones[1].blocks, [19, 483]);
    assert_eq!(info.to_string(), text);
}

#[test]
fn pagetypeinfo_counts_no_further_than_linux_does() {
    let line = |count| {
        let mut text = String::new();
        pagewright_view::pagetypeinfo::free(&mut text, 0, "Normal", "Movable", [count, 7].into_iter())
            .unwrap();
        text
    };
    assert!(line(99_999).ends_with("  99999      7 \n"));
    assert!(line(100_000).ends_with(" >100000      7 \n"));
    assert!(line(168_161).ends_with(" >100000      7 \n"));
}

#[test]
fn meminfo_pads_labels_and_amounts() {
    let text = "MemTotal:        2042380 kB\nVmallocTotal:   133143592960 kB\n\
HardwareCorrupted:     0 kB\nHugePages_Total:   123456\nHugePages_Free:        0\n";
    let info = meminfo::MemInfo::parse(text).unwrap();
    assert_eq!(info.get("MemTotal"), Some(2_042_380));
    assert_eq!(info.to_string(), text);
}

#[test]
fn iomem_keeps_depth_and_wide_addresses() {
    let text = "00001000-0009fbff : System RAM\n  00010000-0001ffff : Kernel code\n100000000-17fffffff : System RAM\n";
    let io = iomem::IoMem::parse(text).unwrap();
    assert_eq!(io.named("System RAM").map(|r| r.start).collect::<Vec<_>>(), [0x1000, 0x1_0000_0000]);
    assert_eq!(io.to_string(), text);
}

#[test]
fn memblock_files_have_the_width_of_phys_addr_t() {
    for text in [
        "   0: 0x40000000..0xbfffffff\n",
        "   0: 0x0000000040000000..0x00000000bfffffff\n   1: 0x0000000100000000..0x000000013fffffff\n",
    ] {
        assert_eq!(memblock::Regions::parse(text).unwrap().to_string(), text);
    }
}

#[test]
fn a_line_that_is_no_counter_is_refused_with_its_number() {
    let fault = vmstat::VmStat::parse("nr_free_pages 1\nnr_mlock\n").unwrap_err();
    assert_eq!(fault.to_string(), "line 2: `nr_mlock`; expected `<name> <number>`");
}
