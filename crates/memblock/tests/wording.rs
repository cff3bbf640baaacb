//! Log lines, the dump and the debugfs files, byte for byte.

mod common;
use common::*;
use pagewright_memblock::{AddrWidth, Config, Flags, MEMBLOCK_ALLOC_NOLEAKTRACE, Memblock, Quiet, Set};

#[test]
fn every_logged_operation_has_linux_s_line() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let log = Log::default();
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &log);
    m.set_caller("arm64_memblock_init");
    m.add(span(0x4000_0000, 0x8000_0000)).unwrap();
    m.remove_sized(at(1 << 48), u64::MAX).unwrap();
    m.add_node(span(0x1_0000_0000, 0x1000), node(3), Flags::HOTPLUG).unwrap();
    m.reserve(span(0x4800_0000, 0xf_2000)).unwrap();
    m.set_caller("early_pgtable_alloc");
    m.phys_alloc_range(4096, 4096, at(0), MEMBLOCK_ALLOC_NOLEAKTRACE).unwrap();
    m.set_caller("start_kernel");
    m.set_current_limit(at(0xc000_0000));
    m.alloc(9, 64).unwrap();
    m.alloc_try_nid_raw(4096, 4096, at(0x100_0000), at(0), node(0)).unwrap();
    m.alloc_exact_nid_raw(64, 0, at(0), at(0x2_0000_0000), None).unwrap();
    m.set_caller("pcpu_embed_first_chunk");
    m.phys_free(span(0x6eddf000, 0)).unwrap();
    let expected = "\
memblock_add: [0x0000000040000000-0x00000000bfffffff] arm64_memblock_init
memblock_remove: [0x0001000000000000-0x0000fffffffffffe] arm64_memblock_init
memblock_add_node: [0x0000000100000000-0x0000000100000fff] nid=3 flags=1 arm64_memblock_init
memblock_reserve: [0x0000000048000000-0x00000000480f1fff] arm64_memblock_init
memblock_phys_alloc_range: 4096 bytes align=0x1000 from=0x0000000000000000 max_addr=0x0000000000000001 early_pgtable_alloc
memblock_reserve: [0x0000000100000000-0x0000000100000fff] memblock_alloc_range_nid
memblock_alloc_try_nid: 9 bytes align=0x40 nid=-1 from=0x0000000000000000 max_addr=0x0000000000000000 start_kernel
memblock_reserve: [0x00000000bfffffc0-0x00000000bfffffc8] memblock_alloc_range_nid
memblock_alloc_try_nid_raw: 4096 bytes align=0x1000 nid=0 from=0x0000000001000000 max_addr=0x0000000000000000 start_kernel
memblock_reserve: [0x00000000bfffe000-0x00000000bfffefff] memblock_alloc_range_nid
memblock_alloc_exact_nid_raw: 64 bytes align=0x0 nid=-1 from=0x0000000000000000 max_addr=0x0000000200000000 start_kernel
memblock_reserve: [0x00000000bfffff80-0x00000000bfffffbf] memblock_alloc_range_nid
memblock_phys_free: [0x000000006eddf000-0x000000006eddefff] pcpu_embed_first_chunk";
    assert_eq!(log.lines(AddrWidth::Bits64).join("\n"), expected);
}

#[test]
fn a_32_bit_kernel_prints_eight_digits() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let log = Log::default();
    let mut m = Memblock::new(&mut a, &mut b, narrow(), &log);
    m.set_caller("arm_memblock_init");
    m.reserve(span(0x4020_4000, 0x4000)).unwrap();
    m.remove_sized(at(0x1000), u64::from(u32::MAX)).unwrap();
    let lines = log.lines(AddrWidth::Bits32);
    assert_eq!(
        lines,
        [
            "memblock_reserve: [0x40204000-0x40207fff] arm_memblock_init",
            "memblock_remove: [0x00001000-0x00000ffe] arm_memblock_init",
        ]
    );
}

#[test]
fn state_changes_that_linux_does_not_print_have_a_line_too() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let log = Log::default();
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &log);
    m.add(span(0x1000, 0xf000)).unwrap();
    m.set_node(span(0x1000, 0x1000), Set::Memory, node(2)).unwrap();
    m.mark_nomap(span(0x2000, 0x1000)).unwrap();
    m.set_current_limit(at(0x8000));
    m.set_bottom_up(true);
    m.allow_resize();
    m.trim_memory(PAGE).unwrap();
    m.enforce_memory_limit(0x8000).unwrap();
    m.cap_memory_range(span(0, 0x7000)).unwrap();
    m.alloc(MIB, PAGE).unwrap_err();
    m.free_all(&mut |_, _| ()).unwrap();
    m.discard(&mut |_| ()).unwrap();
    assert_eq!(
        log.silent(),
        [
            "memblock_set_node: [0x0000000000001000-0x0000000000001fff] memory nid=2 start_kernel",
            "memblock_mark_nomap: [0x0000000000002000-0x0000000000002fff] start_kernel",
            "memblock_set_current_limit: 0x0000000000008000 start_kernel",
            "memblock_set_bottom_up: true start_kernel",
            "memblock_allow_resize: start_kernel",
            "memblock_trim_memory: align=0x1000 start_kernel",
            "memblock_enforce_memory_limit: max_addr=0x0000000000009000 start_kernel",
            "memblock_cap_memory_range: [0x0000000000000000-0x0000000000006fff] start_kernel",
            "memblock: no memory for 1048576 bytes align=0x1000 start_kernel",
            "memblock_free_all: 5 pages start_kernel",
            "memblock_discard: start_kernel",
        ]
    );
}

#[test]
fn the_dump_of_a_numa_kernel_names_nodes_where_there_are_some() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add_node(span(0x1000, 0x9ec00), node(0), Flags::NONE).unwrap();
    m.add_node(span(0x1_0000_0000, 0x1_0000_0000), node(1), Flags::NOMAP).unwrap();
    m.trim_memory(PAGE).unwrap();
    m.reserve(span(0x7fea_8000, 0x2_b000)).unwrap();
    m.reserve(span(0x8000_0000, 0x1000)).unwrap();
    m.set_node(span(0x8000_0000, 0x1000), Set::Reserved, node(0)).unwrap();
    let expected = "\
MEMBLOCK configuration:
 memory size = 0x000000010009ec00 reserved size = 0x000000000002c000
 memory.cnt  = 0x2
 memory[0x0]\t[0x0000000000001000-0x000000000009efff], 0x000000000009e000 bytes on node 0 flags: 0x0
 memory[0x1]\t[0x0000000100000000-0x00000001ffffffff], 0x0000000100000000 bytes on node 1 flags: 0x4
 reserved.cnt  = 0x2
 reserved[0x0]\t[0x000000007fea8000-0x000000007fed2fff], 0x000000000002b000 bytes flags: 0x0
 reserved[0x1]\t[0x0000000080000000-0x0000000080000fff], 0x0000000000001000 bytes on node 0 flags: 0x0";
    assert_eq!(m.dump().to_string(), expected);
}

#[test]
fn the_dump_of_a_32_bit_kernel_is_narrower() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, narrow(), &Quiet);
    m.add(span(0x4000_0000, 0x8000_0000)).unwrap();
    m.reserve(span(0x4020_4000, 0x4000)).unwrap();
    let expected = "\
MEMBLOCK configuration:
 memory size = 0x80000000 reserved size = 0x00004000
 memory.cnt  = 0x1
 memory[0x0]\t[0x40000000-0xbfffffff], 0x80000000 bytes flags: 0x0
 reserved.cnt  = 0x1
 reserved[0x0]\t[0x40204000-0x40207fff], 0x00004000 bytes flags: 0x0";
    assert_eq!(m.dump().to_string(), expected);
}

#[test]
fn an_empty_set_shows_its_dummy_region() {
    let config = Config { keep_physmem: true, ..Config::default() };
    let (mut a, mut b, mut c) = (slots::<8>(), slots::<8>(), slots::<4>());
    let mut m = Memblock::new(&mut a, &mut b, config, &Quiet).with_physmem(&mut c);
    let dummy = "\t[0x0000000000000000-0xffffffffffffffff], 0x0000000000000000 bytes on node 0 flags: 0x0";
    let expected = format!(
        "MEMBLOCK configuration:\n memory size = 0x0000000000000000 reserved size = 0x0000000000000000\n \
         memory.cnt  = 0x1\n memory[0x0]{dummy}\n reserved.cnt  = 0x1\n reserved[0x0]{dummy}\n \
         physmem.cnt  = 0x1\n physmem[0x0]{dummy}"
    );
    assert_eq!(m.dump().to_string(), expected);
    // What the last region leaves behind is on no node.
    m.add(span(0x4000_0000, 0x1000)).unwrap();
    m.remove(span(0x4000_0000, 0x1000)).unwrap();
    let emptied = dummy.replace(" on node 0", "");
    let dump = m.dump().to_string();
    assert!(
        dump.contains(&format!(" memory[0x0]{emptied}\n reserved.cnt  = 0x1\n reserved[0x0]{dummy}")),
        "{dump}"
    );
}

#[test]
fn debugfs_lists_one_range_a_line() {
    let (mut a, mut b) = (slots::<16>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    for i in 0..11 {
        m.add(span(0x4000_0000 + i * 0x10000, 0x1000)).unwrap();
    }
    let text = m.debugfs(Set::Memory).to_string();
    assert!(text.starts_with("   0: 0x0000000040000000..0x0000000040000fff\n"), "{text}");
    assert!(text.ends_with("  10: 0x00000000400a0000..0x00000000400a0fff\n"), "{text}");
    let (mut a, mut b) = (slots::<16>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, narrow(), &Quiet);
    m.add(span(0x4000_0000, 0x4000_0000)).unwrap();
    assert_eq!(m.debugfs(Set::Memory).to_string(), "   0: 0x40000000..0x7fffffff\n");
    assert_eq!(m.debugfs(Set::Physmem).to_string(), "");
}

#[test]
fn an_allocation_that_linux_does_not_log_tells_its_arguments_in_silence() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let log = Log::default();
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &log);
    m.add_node(span(0x4000_0000, 0x4000_0000), node(1), Flags::NONE).unwrap();
    let _ = log.lines(AddrWidth::Bits64);
    m.set_caller("cma_declare_contiguous_nid");
    m.alloc_range_nid(0x10_0000, 0x40_0000, at(0x5000_0000), at(0x6000_0000), node(1), true).unwrap();
    m.set_caller("setup_node_data");
    m.phys_alloc_try_nid(0x100, 64, node(1)).unwrap();
    let events = log.events.borrow().clone();
    let order: Vec<bool> = events.iter().map(pagewright_memblock::Event::is_logged).collect();
    assert_eq!(order, [false, true, false, true], "each asks, then reserves");
    let all: Vec<String> = events.iter().map(|e| e.line(AddrWidth::Bits64).to_string()).collect();
    let expected = "\
memblock_alloc_range_nid: 1048576 bytes align=0x400000 nid=1 from=0x0000000050000000 max_addr=0x0000000060000000 exact cma_declare_contiguous_nid
memblock_reserve: [0x000000005fc00000-0x000000005fcfffff] memblock_alloc_range_nid
memblock_alloc_range_nid: 256 bytes align=0x40 nid=1 from=0x0000000000000000 max_addr=0x0000000000000000 setup_node_data
memblock_reserve: [0x000000007fffff00-0x000000007fffffff] memblock_alloc_range_nid";
    assert_eq!(all.join("\n"), expected);
}

#[test]
fn an_allocation_that_linux_logs_does_not_tell_its_arguments_twice() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let log = Log::default();
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &log);
    m.add(span(0x4000_0000, 0x4000_0000)).unwrap();
    m.phys_alloc(64, 64).unwrap();
    m.alloc(64, 64).unwrap();
    assert_eq!(log.silent(), [""; 0]);
}

#[test]
fn switches_can_be_read_back() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    assert!(!m.can_resize() && !m.mirrored_kernelcore());
    m.allow_resize();
    m.set_mirrored_kernelcore(true);
    assert!(m.can_resize() && m.mirrored_kernelcore());
}
