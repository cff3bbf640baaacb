//! Typed values.

use super::*;
use crate::config::{KernelConfig, Slab};
use crate::e820::E820Kind;

const MIB: u64 = 1 << 20;

#[test]
fn mem_means_a_bank_on_arm_and_a_limit_elsewhere() {
    let arm = parse(Arch::Arm, "mem=64M@0x80000000 mem=32M");
    assert_eq!(
        arm.mem.as_slice(),
        [MemParam { size: 64 * MIB, start: Some(0x8000_0000) }, MemParam { size: 32 * MIB, start: None }]
    );
    let arm64 = parse(Arch::Arm64, "mem=64M@0x80000000 mem=1G");
    assert_eq!(arm64.mem_limit(), Some(1 << 30));
    assert_eq!(arm64.mem[0].start, None);
    let x86 = parse(Arch::X86_64, "mem=1500M memmap=1M@16M mem=1G");
    assert_eq!(
        x86.memmap.as_slice(),
        [
            MemmapParam::Limit(1500 * MIB),
            MemmapParam::Add { start: 16 * MIB, size: MIB, kind: E820Kind::Ram },
            MemmapParam::Limit(1 << 30)
        ]
    );
}

#[test]
fn a_meaningless_mem_is_malformed_on_x86() {
    assert_eq!(messages(Arch::X86_64, "mem=lots"), ["Malformed early option 'mem'"]);
    assert!(parse(Arch::X86_64, "mem=lots").memmap.is_empty());
    assert_eq!(
        messages(Arch::X86_64, "mem=nopentium"),
        ["mem=nopentium ignored! (only supported on x86_32)", "Malformed early option 'mem'"]
    );
    assert!(parse(Arch::I386, "mem=nopentium").mem_nopentium);
    assert_eq!(parse(Arch::Arm64, "mem=lots").mem_limit(), Some(0));
}

#[test]
fn every_form_of_memmap_is_read() {
    let params = parse(Arch::X86_64, "memmap=exactmap,640K@0,64K#1M memmap=1M$0x30000000,2M!4G memmap=3G");
    let add = |start, size, kind| MemmapParam::Add { start, size, kind };
    assert_eq!(
        params.memmap.as_slice(),
        [
            MemmapParam::ExactMap,
            add(0, 640 << 10, E820Kind::Ram),
            add(MIB, 64 << 10, E820Kind::Acpi),
            add(0x3000_0000, MIB, E820Kind::Reserved),
            add(4 << 30, 2 * MIB, E820Kind::Pram),
            MemmapParam::Limit(3 << 30),
        ]
    );
}

#[test]
fn memmap_can_change_types() {
    let retype = |old, new| MemmapParam::Retype { start: 4 << 30, size: MIB, old, new };
    let one = |text| parse(Arch::X86_64, text).memmap[0];
    assert_eq!(one("memmap=1M%4G-1+7"), retype(Some(E820Kind::Ram), Some(E820Kind::Pmem)));
    assert_eq!(one("memmap=1M%4G+2"), retype(None, Some(E820Kind::Reserved)));
    assert_eq!(one("memmap=1M%4G-1"), retype(Some(E820Kind::Ram), None));
    assert_eq!(one("memmap=1M%4G"), retype(None, None));
}

#[test]
fn an_item_without_a_size_is_ignored_and_the_rest_of_the_list_taken() {
    let params = parse(Arch::X86_64, "memmap=@1M,1M@2M");
    assert_eq!(
        params.memmap.as_slice(),
        [MemmapParam::Add { start: 2 * MIB, size: MIB, kind: E820Kind::Ram }]
    );
    assert_eq!(messages(Arch::X86_64, "memmap=@1M"), ["memmap=@1M: ignored"]);
}

#[test]
fn more_memmap_items_than_are_kept_are_reported() {
    let list = ["memmap=", &["1K@1M"; 70].join(",")].concat();
    let (params, diagnostics) = CommandLine::new(&list).parse(Arch::X86_64);
    assert_eq!(params.memmap.len(), 64);
    assert_eq!(diagnostics.as_slice()[0].kind, DiagnosticKind::TooMany);
}

#[test]
fn cma_has_a_size_a_base_and_a_limit() {
    let cma = |text| parse(Arch::Arm64, text).cma.unwrap();
    let plain = CmaParam { size: 64 * MIB, base: 0, limit: 0, fixed: false };
    assert_eq!(cma("cma=64M"), plain);
    assert_eq!(
        cma("cma=64M@1G"),
        CmaParam { base: 1 << 30, limit: (1 << 30) + 64 * MIB, fixed: true, ..plain }
    );
    assert_eq!(cma("cma=64M@1G-3G"), CmaParam { base: 1 << 30, limit: 3 << 30, ..plain });
    assert_eq!(messages(Arch::Arm64, "cma"), ["Config string not provided", "Malformed early option 'cma'"]);
    assert_eq!(parse(Arch::Arm64, "cma_pernuma=16M").cma_pernuma, Some(16 * MIB));
}

#[test]
fn kernelcore_and_movablecore_are_bytes_or_percent_or_a_mirror() {
    let core = |text| parse(Arch::X86_64, text).kernelcore;
    assert_eq!(core("kernelcore=1G"), Some(Amount::Bytes(1 << 30)));
    assert_eq!(core("kernelcore=30%"), Some(Amount::Percent(30)));
    assert_eq!(core("kernelcore=30% kernelcore=1G"), Some(Amount::Bytes(1 << 30)));
    assert_eq!(core("kernelcore=1G kernelcore=30%"), Some(Amount::Percent(30)));
    assert_eq!(core("kernelcore=1G kernelcore=0%"), Some(Amount::Bytes(1 << 30)));
    assert_eq!(core("kernelcore=mirror kernelcore=1G"), Some(Amount::Mirror));
    assert_eq!(parse(Arch::X86_64, "movablecore=2G").movablecore, Some(Amount::Bytes(2 << 30)));
    assert_eq!(messages(Arch::X86_64, "movablecore"), ["Malformed early option 'movablecore'"]);
}

#[test]
fn numa_words_are_told_apart() {
    let numa = |text| parse(Arch::X86_64, text).numa;
    assert!(numa("numa=off").off && numa("numa=noacpi").noacpi && numa("numa=nohmat").nohmat);
    assert_eq!(numa("numa=fake=4").fake, Some(NumaFake::Nodes { count: 4, distances: "" }));
    assert_eq!(numa("numa=fake=2:10,20,20,10").fake.unwrap().distances(), "10,20,20,10");
    assert_eq!(numa("numa=fake=512M").fake, Some(NumaFake::Size { bytes: 512 * MIB, distances: "" }));
    assert_eq!(numa("numa=fake=4U").fake, Some(NumaFake::Uniform { count: 4, distances: "" }));
    assert_eq!(numa("numa=fake=none").fake, None);
    assert_eq!(parse(Arch::Arm64, "numa=fake=4").numa.fake, None);
    assert!(parse(Arch::Arm64, "numa=off").numa.off);
    assert!(parse(Arch::Arm, "numa=off").unknown.contains("numa"));
}

#[test]
fn huge_page_parameters_keep_their_order() {
    let text = "default_hugepagesz=1G hugepagesz=2M hugepages=0:4,1:8 hugepagesz=1G hugepages=2";
    let params = parse(Arch::X86_64, text);
    assert_eq!(params.default_hugepage_size(), Some(1 << 30));
    let [
        _,
        HugetlbParam::HugepageSize(size),
        HugetlbParam::Hugepages(nodes),
        _,
        HugetlbParam::Hugepages(plain),
    ] = params.hugetlb.as_slice()
    else {
        panic!("{:?}", params.hugetlb)
    };
    assert_eq!(*size, 2 * MIB);
    assert_eq!(nodes.total(), None);
    assert_eq!(nodes.per_node().collect::<Vec<_>>(), [(0, 4), (1, 8)]);
    assert_eq!((plain.total(), plain.per_node().count()), (Some(2), 0));
    assert_eq!(parse(Arch::Arm64, "hugetlb_cma=0:1G,2:2G").hugetlb_cma, Some("0:1G,2:2G"));
    assert_eq!(parse(Arch::X86_64, "hugetlb_free_vmemmap=on").hugetlb_free_vmemmap, Some(true));
}

#[test]
fn transparent_huge_pages_have_three_settings() {
    let thp = |text| parse(Arch::X86_64, text).transparent_hugepage;
    assert_eq!(thp("transparent_hugepage=never"), Some(ThpParam::Never));
    assert_eq!(thp("transparent_hugepage=madvise"), Some(ThpParam::Madvise));
    assert_eq!(thp("transparent_hugepage=always"), Some(ThpParam::Always));
    assert_eq!(
        messages(Arch::X86_64, "transparent_hugepage=x"),
        ["transparent_hugepage= cannot parse, ignored"]
    );
}

#[test]
fn memtest_without_a_number_runs_every_pattern() {
    assert_eq!(parse(Arch::X86_64, "memtest").memtest, Some(17));
    assert_eq!(parse(Arch::X86_64, "memtest=4").memtest, Some(4));
    assert_eq!(messages(Arch::X86_64, "memtest=4x"), ["Malformed early option 'memtest'"]);
}

#[test]
fn rodata_full_is_arm64s() {
    assert_eq!(parse(Arch::Arm64, "rodata=full").rodata, Some(Rodata::Full));
    assert_eq!(parse(Arch::Arm64, "rodata=on").rodata, Some(Rodata::On));
    assert_eq!(parse(Arch::X86_64, "rodata=off").rodata, Some(Rodata::Off));
    assert_eq!(messages(Arch::X86_64, "rodata=full"), ["Invalid option string for rodata: 'full'"]);
}

#[test]
fn page_table_isolation_has_a_name_for_each_architecture() {
    assert_eq!(parse(Arch::X86_64, "pti=on").pti, Some(Pti::On));
    assert_eq!(parse(Arch::X86_64, "nopti").pti, Some(Pti::Off));
    assert_eq!(parse(Arch::Arm64, "kpti=1").pti, Some(Pti::On));
    assert_eq!(parse(Arch::Arm64, "nopti").pti, None);
    assert_eq!(messages(Arch::Arm64, "kpti=x"), ["Malformed early option 'kpti'"]);
}

#[test]
fn the_initial_ram_disk_and_the_crashed_kernels_header_are_addresses() {
    let params = parse(Arch::Arm, "initrd=0x42000000,1M elfcorehdr=4K@0x9000");
    let initrd = params.initrd.unwrap();
    assert_eq!((initrd.start.get(), initrd.len()), (0x4200_0000, MIB));
    assert_eq!(params.elfcorehdr, Some(ElfCoreHeader { address: 0x9000, size: Some(4096) }));
    let plain = parse(Arch::Arm, "elfcorehdr=0x9000").elfcorehdr;
    assert_eq!(plain, Some(ElfCoreHeader { address: 0x9000, size: None }));
    assert_eq!(parse(Arch::Arm, "initrd=0x42000000").initrd, None);
    assert_eq!(messages(Arch::Arm, "elfcorehdr=x"), ["Malformed early option 'elfcorehdr'"]);
}

#[test]
fn a_log_buffer_is_at_most_2_gib() {
    assert_eq!(parse(Arch::X86_64, "log_buf_len=4M").log_buf_len, Some(4 * MIB));
    assert_eq!(parse(Arch::X86_64, "log_buf_len=4G").log_buf_len, Some(2 << 30));
    assert_eq!(messages(Arch::X86_64, "log_buf_len=4G"), ["log_buf over 2G is not supported."]);
}

#[test]
fn the_first_per_cpu_chunk_can_be_chosen_where_the_kernel_lets_one() {
    assert_eq!(parse(Arch::X86_64, "percpu_alloc=page").percpu_alloc, Some(PercpuAlloc::Page));
    assert_eq!(parse(Arch::Arm64, "percpu_alloc=embed").percpu_alloc, Some(PercpuAlloc::Embed));
    assert_eq!(messages(Arch::Arm, "percpu_alloc=page"), ["percpu: unknown allocator page specified"]);
    // x86 lets one without nodes, arm64 does not.
    for (arch, choice) in [(Arch::X86_64, true), (Arch::I386, true), (Arch::Arm64, false)] {
        let config = KernelConfig { numa: false, ..KernelConfig::for_arch(arch) };
        let (params, told) = CommandLine::new("percpu_alloc=page").parse_for(&config);
        assert_eq!((params.percpu_alloc.is_some(), told.iter().count()), (choice, usize::from(!choice)));
    }
}

#[test]
fn a_log_buffer_no_larger_than_the_built_in_one_leaves_an_earlier_one() {
    assert_eq!(parse(Arch::X86_64, "log_buf_len=4M log_buf_len=64K").log_buf_len, Some(4 * MIB));
    assert_eq!(parse(Arch::X86_64, "log_buf_len=4M log_buf_len=1M").log_buf_len, Some(MIB));
}

#[test]
fn swiotlb_has_up_to_three_parts() {
    let swiotlb = |text| parse(Arch::X86_64, text).swiotlb;
    assert_eq!(swiotlb("swiotlb=65536"), Swiotlb { slabs: Some(65536), areas: None, force: None });
    assert_eq!(
        swiotlb("swiotlb=1024,4,force"),
        Swiotlb { slabs: Some(1024), areas: Some(4), force: Some(true) }
    );
    assert_eq!(swiotlb("swiotlb=noforce"), Swiotlb { force: Some(false), ..Swiotlb::default() });
}

#[test]
fn switches_and_numbers_reach_their_fields() {
    let p = parse(
        Arch::X86_64,
        "movable_node memblock=debug mminit_loglevel=4 init_on_alloc=0 init_on_free=1 page_poison=on \
         page_alloc.shuffle=1 nokaslr nr_cpus=2 maxcpus=1 possible_cpus=8 nosmp dhash_entries=16 ihash_entries=17 \
         mhash_entries=18 mphash_entries=19 thash_entries=20 uhash_entries=21 hashdist=0 cgroup_disable=pids,memory \
         slub_min_objects=8 slub_min_order=1 slub_max_order=2 slab_max_order=1 slab_nomerge slub_debug=P nogbpages no5lvl acpi=off \
         nolapic add_efi_memmap efi=nosoftreserve noinitrd retain_initrd disable_mtrr_trim numa_balancing=disable",
    );
    assert!(
        p.movable_node && p.memblock_debug && p.nokaslr && p.nosmp && p.cgroup_disable_memory && p.no5lvl
    );
    assert!(p.acpi_off && p.no_local_apic && p.add_efi_memmap && p.efi_nosoftreserve && p.noinitrd);
    assert!(!p.acpi_on && !p.efi_debug);
    assert!(p.keep_initrd && p.disable_mtrr_trim);
    assert_eq!((p.mminit_loglevel, p.init_on_alloc, p.init_on_free), (Some(4), Some(false), Some(true)));
    assert_eq!(
        (p.page_poison, p.shuffle, p.gbpages, p.hashdist),
        (Some(true), Some(true), Some(false), Some(false))
    );
    assert_eq!((p.nr_cpus, p.maxcpus, p.possible_cpus), (Some(2), Some(1), Some(8)));
    assert_eq!((p.dhash_entries, p.ihash_entries, p.mhash_entries), (Some(16), Some(17), Some(18)));
    assert_eq!((p.mphash_entries, p.thash_entries, p.uhash_entries), (Some(19), Some(20), Some(21)));
    assert_eq!((p.slub_min_objects, p.slub_min_order, p.slub_max_order), (Some(8), Some(1), Some(2)));
    // SLAB's, which a kernel with SLUB does not know.
    let slab = KernelConfig { slab: Slab::Slab, ..KernelConfig::for_arch(Arch::X86_64) };
    let of_slab = CommandLine::new("slab_max_order=1 slub_max_order=2").parse_for(&slab).0;
    assert_eq!((of_slab.slab_max_order, of_slab.slub_max_order), (Some(1), None));
    assert!(of_slab.unknown.contains("slub_max_order") && p.unknown.contains("slab_max_order"));
    let plain = KernelConfig { slub_debug: false, ..KernelConfig::for_arch(Arch::X86_64) };
    let of_plain = CommandLine::new("slub_debug=P slub_nomerge").parse_for(&plain).0;
    assert_eq!((of_plain.slub_debug, of_plain.slab_nomerge), (None, Some(true)));
    assert!(of_plain.unknown.contains("slub_debug"));
    assert_eq!((p.slab_nomerge, p.slub_debug, p.numa_balancing), (Some(true), Some("P"), Some(false)));
    let i386 = parse(Arch::I386, "vmalloc=256M highmem=64M reservetop=16M");
    assert_eq!(
        (i386.vmalloc, i386.highmem, i386.reservetop),
        (Some(256 * MIB), Some(64 * MIB), Some(16 * MIB))
    );
}

#[test]
fn ill_formed_switches_are_malformed_and_numbers_ignored() {
    assert_eq!(messages(Arch::X86_64, "init_on_alloc=maybe"), ["Malformed early option 'init_on_alloc'"]);
    assert_eq!(messages(Arch::X86_64, "init_on_alloc"), ["Malformed early option 'init_on_alloc'"]);
    assert_eq!(messages(Arch::X86_64, "nr_cpus=two"), ["nr_cpus=two: ignored"]);
    assert_eq!(parse(Arch::X86_64, "nr_cpus=0").nr_cpus, None);
}

#[test]
fn acpi_can_be_wanted_and_efi_be_asked_for_its_map() {
    let p = parse(Arch::Arm64, "acpi=force efi=nosoftreserve,debug");
    assert!(p.acpi_on && !p.acpi_off && p.efi_debug && p.efi_nosoftreserve);
    assert!(parse(Arch::Arm64, "acpi=on").acpi_on);
    assert!(!parse(Arch::Arm64, "acpi=noirq").acpi_on);
}

#[test]
fn an_early_console_in_memory_tells_its_registers() {
    let at = |text: &str| parse(Arch::Arm64, text).earlycon.map(|at| at.get());
    assert_eq!(at("earlycon=pl011,0x9000000"), Some(0x900_0000));
    assert_eq!(at("earlycon=uart8250,mmio32,0xfe201000,115200n8"), Some(0xfe20_1000));
    assert_eq!(at("earlycon=pl011,mmio,0x9000000 earlycon"), Some(0x900_0000));
    // I/O ports are mapped nowhere, and the tree names the console of a bare `earlycon`.
    for other in [
        "earlycon",
        "earlycon=pl011",
        "earlycon=uart8250,io,0x3f8",
        "earlycon=pl011,9000000",
        "earlycon=x,mmio,",
    ] {
        assert_eq!(at(other), None, "{other}");
    }
}
