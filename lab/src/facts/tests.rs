use super::*;

const LOG: &str = "\
[    0.000000] cma: Reserved 16 MiB at 0xbf000000
[    0.000000] MEMBLOCK configuration:
[    0.000000]  memory size = 0x80000000 reserved size = 0x024e4588
[    0.000000]  memory.cnt  = 0x1
[    0.000000]  memory[0x0]\t[0x40000000-0xbfffffff], 0x80000000 bytes flags: 0x0
[    0.000000] memblock_alloc_try_nid: 40 bytes align=0x4 nid=-1 from=0x0 max_addr=0x0 early_alloc+0x2c/0x58
[    0.000000] Zone ranges:
[    0.000000]   DMA      [mem 0x0000000040000000-0x000000006fffffff]
[    0.000000]   Normal   empty
[    0.000000] Movable zone start for each node
[    0.000000]   Node 0: 0x0000000070000000
[    0.000000] Early memory node ranges
[    0.000000]   node   0: [mem 0x0000000040000000-0x00000000bfffffff]
[    0.000000] mminit::pageflags_layout_nodezoneid Node/Zone ID: 32 -> 30
[    0.000000] On node 0, zone DMA: 1 pages in unavailable ranges
[    0.000000] On node 0, zone DMA: 97 pages in unavailable ranges
[    0.000000] mminit::zonelist general 0:HighMem = 0:HighMem 0:DMA 
[    0.000000] Built 1 zonelists, mobility grouping on.  Total pages: 522560
[    0.000000] Kernel command line: console=ttyAMA0
[    0.000000] software IO TLB: area num 2.
";

#[test]
fn every_fact_has_a_key_that_names_the_decision() {
    let facts = Facts::from_log(LOG);
    for (key, value) in [
        ("cma: Reserved # MiB at # #1", "cma: Reserved 16 MiB at 0xbf000000"),
        ("memblock dump 1: memory[0x0]", "[0x40000000-0xbfffffff], 0x80000000 bytes flags: 0x0"),
        ("memblock dump 1: memory size", "0x80000000 reserved size = 0x024e4588"),
        ("zone DMA range", "[mem 0x0000000040000000-0x000000006fffffff]"),
        ("zone Normal range", "empty"),
        ("movable start of node 0", "0x0000000070000000"),
        ("early memory node range #1", "0: [mem 0x0000000040000000-0x00000000bfffffff]"),
        ("pageflags_layout_nodezoneid", "Node/Zone ID: 32 -> 30"),
        ("holes of node 0, zone DMA #2", "97 pages in unavailable ranges"),
        ("zonelist general 0:HighMem", "0:HighMem 0:DMA"),
        ("zonelists", "Built 1 zonelists, mobility grouping on.  Total pages: 522560"),
    ] {
        assert_eq!(facts.get(key), Some(value), "{key}");
    }
}

#[test]
fn facts_below_the_command_line_are_late_and_a_log_without_memory_line_is_incomplete() {
    let facts = Facts::from_log(LOG);
    assert!(!facts.complete);
    let late: Vec<_> = facts.list.iter().filter(|f| f.late).map(|f| f.value.as_str()).collect();
    assert_eq!(late, ["software IO TLB: area num 2."]);
    let whole = format!("{LOG}[    0.1] Memory: 2023080K/2097152K available\n");
    assert!(Facts::from_log(&whole).complete);
}

#[test]
fn timestamps_levels_and_loggers_are_taken_off() {
    for line in [
        "Zone ranges:",
        "[    0.000000] Zone ranges:",
        "<6>[    0.000000] Zone ranges:",
        "<6>Zone ranges:\r",
        "Nov 21 02:35:01 host kernel: [    0.000000] Zone ranges:",
        "2023-11-21T02:35:01+0100 host kernel: Zone ranges:",
        "[    0.000000][    T0] Zone ranges:",
        "[Tue Nov 21 02:35:01 2023] Zone ranges:",
        "[  +0.000000] Zone ranges:",
        "[    0.000000 <    0.000000>] Zone ranges:",
        "[Nov21 02:35] Zone ranges:",
        "2023-11-21T02:35:01,123456+01:00 Zone ranges:",
        "kern  :info  : [    0.000000] Zone ranges:",
        "kern  :warn  : [Tue Nov 21 02:35:01 2023] Zone ranges:",
    ] {
        assert_eq!(body(line), "Zone ranges:", "{line}");
    }
    for line in [
        "[mem 0x80000000-0xafffffff] available",
        "[Firmware Bug]: the BIOS has corrupted",
        "kern: an odd text",
        "  DMA      [mem 0x0000000040000000-0x000000006fffffff]",
        "00000000-00000fff : Reserved",
    ] {
        assert_eq!(body(line), line);
    }
}

#[test]
fn a_shape_leaves_numbers_out_and_names_whole() {
    assert_eq!(shape("e820: remove [mem 0x000a0000-0x000fffff] usable"), "e820: remove [mem #-#] usable");
    assert_eq!(shape("cma: Failed to reserve 16 MiB"), "cma: Failed to reserve # MiB");
    assert_eq!(shape("NODE_DATA(1) allocated"), "NODE_DATA(#) allocated");
}

#[test]
fn groups_are_found_by_name() {
    for group in Group::ALL {
        assert_eq!(Group::from_name(group.name()), Some(group));
    }
}

#[test]
fn lines_that_only_begin_like_facts_are_none() {
    for line in [
        "Ignoring duplicate/late registration of read_current_timer delay",
        "Ignoring unrecognised tag 0x54410008",
        "Ignoring BGRT: invalid image address",
        "Truncating the name of a device",
        "Faking a PC speaker",
        "RAMDISK: gzip image found at block 0",
        "pci 0000:00:1f.0: can't claim BAR 13 [io 0x0600-0x067f]: (size 0x80) overlaps with PM",
    ] {
        assert_eq!(Facts::from_log(line).list, [], "{line}");
    }
    for line in [
        "Ignoring RAM at 0x70000000-0x80000000",
        "Ignoring memory at 0x100000000 outside 32-bit physical address space",
        "Truncating memory at 0xf0000000 to fit in 32-bit physical address space",
        "RAMDISK: [mem 0x7fed3000-0x7ffcffff]",
        "OF: fdt: Ignoring memory range 0x0 - 0x40000000",
        "a (0x0000000050000000--0x0000000050100000) overlaps with b (0x0000000050080000--0x0000000050180000)",
    ] {
        assert_eq!(Facts::from_log(line).list.len(), 1, "{line}");
    }
}

#[test]
fn what_is_said_after_the_boot_is_no_fact_of_it() {
    let late = "cma: cma_alloc: reserved: alloc failed, req-size: 1 pages, ret: -12";
    let log = format!("{LOG}[    1.0] Run /init as init process\n[   99.0] {late}\n");
    assert_eq!(Facts::from_log(&log), Facts::from_log(LOG));
    assert_eq!(Facts::from_log(late).list.len(), 1);
}

#[test]
fn a_pasted_log_keeps_its_lines_and_loses_what_stands_before_them() {
    let stamped: String = LOG.lines().map(|l| format!("    {l}\r\n")).collect();
    let bare: String = LOG.lines().map(|l| format!("{}\n", body(l))).collect();
    assert_eq!(super::plain(&stamped), bare);
    assert_eq!(super::plain(&bare), bare);
    assert_eq!(super::plain("\n  a\n\n    b"), "\na\n\n  b\n");
}
