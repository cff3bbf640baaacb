//! Tests of this module.

use super::*;
use crate::e820::{E820Entry, E820Kind, MapName};
use crate::machine::Arch;
use proptest::prelude::*;
use std::vec::Vec;

fn range(first: u64, last: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(first), PhysAddr::new(last + 1))
}

#[test]
fn prefixes_of_every_kind_are_taken_off() {
    for line in [
        "Memory: x",
        "[    0.000000] Memory: x\n",
        "[12345.678901] Memory: x\r\n",
        "[    0.000000][    T0] Memory: x",
        "<6>[    0.000000] Memory: x",
        "<6>Memory: x",
        "Nov 21 02:24:17 host kernel: [    0.000000] Memory: x",
        "Nov 21 02:24:17 host kernel: Memory: x",
        "2026-11-21T02:24:17.123456+01:00 host kernel: [    1.0] Memory: x",
        "kernel: Memory: x",
        "> > [    0.000000] Memory: x",
        "   [    0.000000] Memory: x",
    ] {
        assert_eq!(strip_prefix(line), "Memory: x", "{line}");
    }
}

#[test]
fn what_only_looks_like_a_prefix_stays() {
    for line in [
        "[mem 0xc0000000-0xfed1bfff] available for PCI devices",
        "Booting paravirtualized kernel: on bare hardware",
        "<unknown> x",
        "[Firmware Bug]: x",
    ] {
        assert_eq!(strip_prefix(line), line);
    }
}

#[test]
fn indented_continuations_keep_their_text() {
    assert_eq!(
        strip_prefix("[    0.052081]   DMA      [mem 0x1000-0xffffff]"),
        "  DMA      [mem 0x1000-0xffffff]"
    );
}

#[test]
fn the_banner_names_release_flavour_and_architecture() {
    let line = "[    0.000000] Linux version 6.1.0-50-686-pae (debian-kernel) (gcc-12) #1 SMP PREEMPT_DYNAMIC Debian";
    let Line::Banner(banner) = classify(line) else { panic!("no banner") };
    assert_eq!(banner.release, "6.1.0-50-686-pae");
    assert_eq!(banner.version(), Some((6, 1)));
    assert_eq!(banner.flavour(), Some("686-pae"));
    assert_eq!(banner.arch(), Some(Arch::I386));
    assert!(banner.is_pae() && banner.smp);
    let arch = |release| Banner { release, smp: true, rest: "" }.arch();
    assert_eq!(arch("6.1.0-50-arm64"), Some(Arch::Arm64));
    assert_eq!(arch("6.1.0-50-armmp-lpae"), Some(Arch::Arm));
    assert_eq!(arch("6.1.0-56-amd64"), Some(Arch::X86_64));
    assert_eq!(arch("6.1.0-56-cloud-amd64"), Some(Arch::X86_64));
    assert_eq!(arch("6.1.0"), None);
    assert_eq!(arch("6.5.0-14-generic"), None);
}

#[test]
fn command_lines_of_both_kinds_are_whole() {
    let text = "console=ttyS0 memmap=64M$0x30000000 a=\"b c\" ";
    for head in ["[    0.000000] Command line: ", "[    0.0] Kernel command line: "] {
        let line = [head, text].concat();
        assert_eq!(classify(&line), Line::CommandLine(text));
    }
}

#[test]
fn each_kind_of_line_is_told_apart() {
    let cases: [(&str, Line<'_>); 17] = [
        ("OF: fdt: Machine model: linux,dummy-virt", Line::MachineModel("linux,dummy-virt")),
        ("Machine model: Some Board", Line::MachineModel("Some Board")),
        (
            "user: [mem 0x0000000000000000-0x000000000009fbff] usable",
            Line::E820(MapLine { map: MapName::User, entry: E820Entry::new(0, 0x9fc00, E820Kind::Ram) }),
        ),
        (
            "ACPI: SRAT 0x000000007FFE23AE 000160 (v01 BOCHS  BXPC     00000001 BXPC 00000001)",
            Line::AcpiTable { signature: "SRAT", range: range(0x7ffe23ae, 0x7ffe250d) },
        ),
        (
            "ACPI: Reserving FACP table memory at [mem 0x7ffe21f2-0x7ffe22e5]",
            Line::AcpiReserving { signature: "FACP", range: range(0x7ffe21f2, 0x7ffe22e5) },
        ),
        ("found SMP MP-table at [mem 0x000f5ba0-0x000f5baf]", Line::MpTable(range(0xf5ba0, 0xf5baf))),
        (
            "memblock_reserve: [0x00000000000f5bb0-0x00000000000f5c7f] smp_scan_config+0xbe/0xff",
            Line::MemblockReserve { range: range(0xf5bb0, 0xf5c7f), caller: "smp_scan_config" },
        ),
        ("RAMDISK: [mem 0x7fed3000-0x7ffcffff]", Line::RamDisk(range(0x7fed3000, 0x7ffcffff))),
        ("smpboot: Allowing 4 CPUs, 2 hotplug CPUs", Line::AllowingCpus { possible: 4, hotplug: 2 }),
        (
            "setup_percpu: NR_CPUS:8192 nr_cpumask_bits:4 nr_cpu_ids:4 nr_node_ids:2",
            Line::SetupPerCpu { nr_cpus: 8192, nr_cpu_ids: 4, nr_node_ids: 2 },
        ),
        (
            "percpu: Embedded 62 pages/cpu s217088 r8192 d28672 u2097152",
            Line::PerCpu(PerCpuLine {
                pages: 62,
                static_bytes: 217_088,
                reserved_bytes: 8192,
                dynamic_bytes: 28_672,
                unit_bytes: 2_097_152,
            }),
        ),
        ("Using GB pages for direct mapping", Line::GbPages),
        (
            "last_pfn = 0x180000 max_arch_pfn = 0x400000000",
            Line::LastPfn { last_pfn: 0x180000, max_arch_pfn: 0x4_0000_0000 },
        ),
        (
            "Memory: 2041348K/2096628K available (9327K kernel code, 55280K reserved, 0K cma-reserved, 1200004K highmem)",
            Line::Memory(MemoryLine {
                available_kib: 2_041_348,
                total_kib: 2_096_628,
                reserved_kib: Some(55_280),
                cma_kib: Some(0),
                highmem_kib: Some(1_200_004),
            }),
        ),
        ("ACPI: PM-Timer IO Port: 0x608", Line::Other("ACPI: PM-Timer IO Port: 0x608")),
        ("", Line::Other("")),
        ("Zone ranges:", Line::Other("Zone ranges:")),
    ];
    for (line, expected) in cases {
        assert_eq!(classify(line), expected, "{line}");
    }
}

#[test]
fn efi_and_srat_lines_reach_their_readers() {
    assert!(matches!(classify("ACPI: SRAT: Node 0 PXM 0 [mem 0x00000000-0x0009ffff]"), Line::Srat(_)));
    assert!(matches!(classify("SRAT: PXM 0 -> APIC 0x00 -> Node 0"), Line::Srat(_)));
    let efi = "efi: mem00: [Conventional Memory|   |  |  |  |  |  |  |  |   |WB|WT|WC|UC] \
               range=[0x0000000000000000-0x0000000000000fff] (0MB)";
    assert!(matches!(classify(efi), Line::Efi(_)));
    assert!(matches!(classify("efi: UEFI not found."), Line::Other(_)));
}

#[test]
fn truncated_lines_say_what_they_should_look_like() {
    for line in [
        "BIOS-e820: [mem 0x00000000000",
        "ACPI: Reserving FACP table memory at [mem 0x7ff",
        "RAMDISK: [mem ",
        "smpboot: Allowing 4",
        "smpboot: Allowing 99999999999999999999 CPUs, 0 hotplug CPUs",
        "last_pfn = 0x180000",
        "Memory: lots",
        "percpu: Embedded 62 pages/cpu s217088",
        "memblock_reserve: [0x0-0xffffffffffffffff] x+0x0/0x0",
    ] {
        let Line::Malformed { expected } = classify(line) else { panic!("{line}: {:?}", classify(line)) };
        assert!(!expected.is_empty(), "{line}");
    }
}

#[test]
fn a_whole_log_yields_its_machine() {
    const LOG: &str = include_str!("../../tests/data/dmesg-small-pc.txt");
    let lines: Vec<_> = LOG.lines().map(classify).collect();
    let count = |is: fn(&Line<'_>) -> bool| lines.iter().filter(|l| is(l)).count();
    assert_eq!(count(|l| matches!(l, Line::E820(_))), 6);
    assert_eq!(count(|l| matches!(l, Line::Srat(_))), 4);
    assert_eq!(count(|l| matches!(l, Line::AcpiReserving { .. })), 2);
    assert_eq!(count(|l| matches!(l, Line::Malformed { .. })), 0);
    assert_eq!(count(|l| matches!(l, Line::CommandLine(_))), 2);
    assert_eq!(count(|l| matches!(l, Line::MpTable(_))), 1);
}

proptest! {
    #[test]
    fn no_line_panics(line in "\\PC{0,80}") {
        let _ = classify(&line);
    }

    #[test]
    fn no_tail_of_a_known_line_panics(rule in 0..RULES.len(), tail in "[-0-9a-fxK/ ,()\\[\\]memé:NCPU_]{0,60}") {
        let line = [RULES[rule].prefix, &tail].concat();
        let _ = classify(&line);
    }
}
