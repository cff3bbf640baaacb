//! What goes to init.

use super::*;

fn listed(arch: Arch, text: &str) -> std::string::String {
    parse(arch, text).unknown.to_string()
}

const TAIL: &str = "\", will be passed to user space.";

#[test]
fn what_no_handler_takes_is_listed_flags_first() {
    assert_eq!(
        listed(Arch::X86_64, "min_free_kbytes=8192 nokaslr mem=1G foo=bar baz"),
        ["Unknown kernel command line parameters \"nokaslr baz min_free_kbytes=8192 foo=bar", TAIL].concat()
    );
    assert_eq!(listed(Arch::X86_64, "console=ttyS0 panic=-1 ignore_loglevel root=/dev/vda ro quiet"), "");
}

#[test]
fn parameters_of_other_architectures_are_unknown_and_not_read() {
    let params = parse(Arch::Arm64, "memmap=64M$0x30000000 vmalloc=1G highmem=1M");
    assert!(params.memmap.is_empty() && params.vmalloc.is_none() && params.highmem.is_none());
    assert_eq!(params.unknown_params().count(), 3);
    assert!(!parse(Arch::Arm, "vmalloc=1G").unknown.contains("vmalloc"));
    assert!(parse(Arch::X86_64, "cma=64M").unknown.contains("cma"));
    assert!(parse(Arch::X86_64, "reservelow=64k nopti pti=off").unknown.contains("reservelow"));
}

#[test]
fn parameters_follow_the_configuration() {
    let with =
        KernelConfig { cma: KernelConfig::for_arch(Arch::Arm64).cma, ..KernelConfig::for_arch(Arch::X86_64) };
    assert_eq!(CommandLine::new("cma=64M").parse_for(&with).0.cma.unwrap().size, 64 << 20);
    let lpae = KernelConfig::debian(Flavour::ArmmpLpae);
    assert!(CommandLine::new("hugepages=4").parse_for(&lpae).0.unknown.is_empty());
    let plain = KernelConfig::debian(Flavour::Armmp);
    let (params, _) = CommandLine::new("hugepages=4").parse_for(&plain);
    assert!(params.hugetlb.is_empty() && params.unknown.contains("hugepages"));
}

#[test]
fn late_handlers_see_values_only_and_may_refuse_them() {
    assert!(parse(Arch::X86_64, "hugepages").unknown.contains("hugepages"));
    assert!(parse(Arch::X86_64, "transparent_hugepage=maybe").unknown.contains("transparent_hugepage"));
    assert!(parse(Arch::X86_64, "thash_entries=12x").unknown.contains("thash_entries"));
    assert!(parse(Arch::X86_64, "dhash_entries=12x").unknown.is_empty());
    assert!(parse(Arch::X86_64, "numa_balancing=perhaps").unknown.contains("numa_balancing"));
}

#[test]
fn names_with_a_dot_belong_to_modules() {
    assert_eq!(listed(Arch::X86_64, "usbcore.autosuspend=5 what.ever"), "");
}

#[test]
fn a_later_value_replaces_an_earlier_one_in_its_place() {
    assert_eq!(
        listed(Arch::Arm, "a=1 b=2 a=3 HOME=/x TERM=vt100"),
        ["Unknown kernel command line parameters \"a=3 b=2", TAIL].concat()
    );
}

#[test]
fn naming_init_forgets_the_arguments_before_it() {
    assert_eq!(
        listed(Arch::Arm, "one a=1 init=/bin/sh two"),
        ["Unknown kernel command line parameters \"two a=1", TAIL].concat()
    );
}

#[test]
fn quoted_values_are_listed_without_their_quotes() {
    assert_eq!(
        listed(Arch::Arm, "a=\"b c\""),
        ["Unknown kernel command line parameters \"a=b c", TAIL].concat()
    );
}

#[test]
fn the_messages_buffer_has_a_byte_for_each_blank_and_the_end() {
    assert_eq!(parse(Arch::X86_64, "nokaslr").unknown.message_bytes(), 9);
    assert_eq!(parse(Arch::X86_64, "nokaslr min_free_kbytes=8192").unknown.message_bytes(), 30);
    assert_eq!(parse(Arch::X86_64, "quiet").unknown.message_bytes(), 0);
}

#[test]
fn more_than_init_can_take_is_said_once() {
    let many: std::string::String = (0..40).map(|i| std::format!("flag{i} ")).collect();
    let params = parse(Arch::Arm64, &many);
    assert_eq!(params.unknown_params().count(), 32);
    assert_eq!(params.unknown.too_many(), Some("flag32"));
}
