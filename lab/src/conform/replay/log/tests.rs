use super::*;

fn one(line: &str) -> (Call, String) {
    match parse(line).unwrap().remove(0).item {
        Item::Call { call, caller, .. } => (call, caller),
        Item::Dump(_) => panic!("not a dump: {line}"),
    }
}

#[test]
fn every_wording_of_a_call_is_read() {
    let span = Span { start: 0x4800_0000, len: 0xf_2000 };
    for (line, call, caller) in [
        (
            "memblock_add: [0x48000000-0x480f1fff] arm_add_memory+0x14c/0x260",
            Call::Add { span },
            "arm_add_memory",
        ),
        (
            "[    0.1] memblock_remove: [0x48000000-0x480f1fff] early_mem+0x1/0x2",
            Call::Remove { span },
            "early_mem",
        ),
        ("memblock_reserve: [0x48000000-0x480f1fff] x+0x1/0x2", Call::Reserve { span }, "x"),
        ("memblock_phys_free: [0x48000000-0x480f1fff] x.part.0+0x1/0x2", Call::Free { span }, "x"),
        (
            "memblock_add_node: [0x48000000-0x480f1fff] nid=1 flags=4 x+0x1/0x2",
            Call::AddNode { span, nid: 1, flags: 4 },
            "x",
        ),
        (
            "memblock_phys_alloc_range: 4096 bytes align=0x1000 from=0x10 max_addr=0x1 early_pgtable_alloc+0x2c/0xb0",
            Call::PhysAllocRange { size: 4096, align: 0x1000, min: 0x10, max: 1 },
            "early_pgtable_alloc",
        ),
        (
            "memblock_alloc_exact_nid_raw: 64 bytes align=0x40 nid=1 from=0x0 max_addr=0x0 a.constprop.0+0xc/0x28",
            Call::AllocTryNid { variant: Variant::ExactRaw, size: 64, align: 0x40, nid: 1, min: 0, max: 0 },
            "a",
        ),
        (
            "memblock_alloc_try_nid: 9 bytes align=0x40 nid=-1 from=0x0 max_addr=0x0 start_kernel",
            Call::AllocTryNid { variant: Variant::Plain, size: 9, align: 0x40, nid: -1, min: 0, max: 0 },
            "start_kernel",
        ),
        (
            "memblock: reserved is doubled to 256 at [0x48000000-0x480f1fff]",
            Call::Doubled { reserved: true, new_max: 256, span },
            "",
        ),
    ] {
        assert_eq!(one(line), (call, caller.to_owned()), "{line}");
    }
}

#[test]
fn an_empty_range_has_length_0_also_at_address_0() {
    for (line, start) in [
        ("memblock_phys_free: [0x6eddf000-0x6eddefff] x+0x1/0x2", 0x6edd_f000),
        ("memblock_phys_free: [0x00000000-0xffffffff] x+0x1/0x2", 0),
        ("memblock_phys_free: [0x0000000000000000-0xffffffffffffffff] x+0x1/0x2", 0),
    ] {
        assert_eq!(one(line).0, Call::Free { span: Span { start, len: 0 } }, "{line}");
    }
}

#[test]
fn a_range_may_wrap_around_the_width_of_an_address() {
    for (line, len) in [
        ("memblock_remove: [0x80000000-0x7ffffffe] x+0x1/0x2", u64::from(u32::MAX)),
        ("memblock_remove: [0x0000800040000000-0x000080003ffffffe] x+0x1/0x2", u64::MAX),
    ] {
        let Call::Remove { span } = one(line).0 else { panic!("{line}") };
        assert_eq!(span.len, len, "{line}");
    }
}

#[test]
fn the_text_of_a_call_is_the_line_without_its_caller() {
    let line = "memblock_reserve: [0x00001000-0x00001fff] x+0x1/0x2";
    let Item::Call { text, .. } = &parse(line).unwrap()[0].item else { panic!("{line}") };
    assert_eq!(text, "memblock_reserve: [0x00001000-0x00001fff]");
}

#[test]
fn a_dump_is_kept_with_its_indented_lines() {
    let text = "\
[    0.0] MEMBLOCK configuration:
[    0.0]  memory size = 0x80000000 reserved size = 0x024e4588
[    0.0]  memory.cnt  = 0x1
[    0.0] memblock_reserve: [0x1000-0x1fff] x+0x1/0x2
";
    let items = parse(text).unwrap();
    assert_eq!(items.iter().map(|l| l.line).collect::<Vec<_>>(), [1, 4]);
    let Item::Dump(lines) = &items[0].item else { panic!("a dump comes first") };
    assert_eq!(lines[2], " memory.cnt  = 0x1");
}

#[test]
fn a_call_that_is_cut_off_is_refused_with_its_line() {
    for bad in [
        "memblock_reserve: [0x1000-0x1f",
        "memblock_alloc_try_nid: 9 bytes align=0x40 nid=-1 from=0x0",
        "memblock_frobnicate: [0x1000-0x1fff] x",
    ] {
        let fault = parse(&format!("x\n{bad}\n")).unwrap_err();
        assert!(fault.to_string().starts_with("line 2: "), "{fault}");
    }
}
