use super::*;

const LOG: &str = "\
[    0.000000] memblock_reserve: [0x5000040-0x5001b3f] efi_memblock_x86_reserve_range+0x1fc/0x22a
[    0.000000] e820: update [mem 0x4000018-0x4009c57] usable ==> usable
[    0.000000] e820: update [mem 0x4000018-0x4009c57] usable ==> usable
[    0.000000] memblock_reserve: [0x4010018-0x4010447] efi_memattr_init+0x73/0x97
[    0.000000] memblock_reserve: [0x4020018-0x40212ee] efi_tpm_eventlog_init+0x7f/0x36d
[    0.000000] memblock_reserve: [0x4030000-0x40301cc] efi_tpm_eventlog_init+0x31e/0x36d
[    0.000000] efi: mem00: [Boot Data   |   |WB|WT|WC|UC] range=[0x0000000004040000-0x000000000404ffff] (0MB)
[    0.000000] e820: update [mem 0x00000000-0x00000fff] usable ==> reserved
[    0.000000] esrt: Reserving ESRT space from 0x0000000004040018 to 0x0000000004040100.
[    0.000000] memblock_reserve: [0x4040018-0x40400ff] efi_mem_reserve+0x21/0x2e
[    0.000000] memblock_reserve: [0x4041000-0x40417ff] efi_mem_reserve+0x21/0x2e
[    0.000000] memblock_reserve: [0x4040000-0x404ffff] efi_reserve_boot_services+0x7d/0xcf
[    0.000000] ACPI: RSDP 0x000000005D77E014 000024 (v02 BOCHS )
[    0.000000] memblock_phys_alloc_range: 6096 bytes align=0x40 from=0x0 max_addr=0x0 efi_memmap_alloc+0xb5/0xcc
[    0.000000] memblock_reserve: [0x1bedc5800-0x1bedc6fcf] memblock_alloc_range_nid+0xb0/0x13d
[    0.000000] e820: update [mem 0x4042000-0x404afff] usable ==> reserved
[    0.000000] Memory: 194264K/2091148K available (14343K kernel code)
[    0.500000] efi: mem00: [Boot Data   |RUN|WB|WT|WC|UC] range=[0x0000000004042000-0x000000000404ffff] (0MB)
";

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), PhysAddr::new(end))
}

#[test]
fn the_tables_are_where_the_kernel_reserved_them() {
    let log = EfiLog::read(LOG, None);
    assert_eq!(log.efi.map.len(), 1, "the kernel's own map is no input");
    assert_eq!(log.efi.map_at, Some(range(0x500_0040, 0x500_1b40)));
    assert_eq!(log.setup_data, [range(0x400_0018, 0x400_9c58)]);
    assert_eq!(log.efi.memory_attributes, Some(range(0x401_0018, 0x401_0448)));
    assert_eq!(log.efi.tpm_logs, [range(0x402_0018, 0x402_12ef), range(0x403_0000, 0x403_01cd)]);
    assert_eq!(log.efi.esrt, Some(range(0x404_0018, 0x404_0100)));
    assert_eq!(log.efi.mok_variables, Some(range(0x404_1000, 0x404_1800)));
    assert_eq!(log.efi.boot_logo, Some(range(0x404_2000, 0x404_b000)));
}

#[test]
fn without_the_map_boot_services_are_known_by_their_reservations() {
    let log: String = LOG.lines().filter(|l| !l.contains("efi: mem")).map(|l| format!("{l}\n")).collect();
    let map = EfiLog::read(&log, None).efi.map;
    assert_eq!(map.len(), 1);
    assert!(map[0].is_boot_services());
    assert_eq!(map[0].range, range(0x404_0000, 0x405_0000));
}

#[test]
fn the_ram_disk_is_what_is_reserved_besides_the_image() {
    let log = "memblock_reserve: [0x8000000-0x80fffff] arm64_memblock_init+0x164/0x260\n\
               memblock_reserve: [0x4010000-0x5ffffff] arm64_memblock_init+0x1f0/0x260\n";
    let image = KernelImage { text_start: PhysAddr::new(0x401_0000), ..KernelImage::default() };
    assert_eq!(EfiLog::read(log, Some(&image)).initrd, Some(range(0x800_0000, 0x810_0000)));
    let freed = format!("{log}Freeing initrd memory: 1020K\n");
    assert_eq!(EfiLog::read(&freed, Some(&image)).initrd, Some(range(0x800_0000, 0x80f_f001)));
    let only_image = log.lines().nth(1).unwrap();
    assert_eq!(EfiLog::read(only_image, Some(&image)).initrd, None);
}

#[test]
fn a_list_of_reservations_tells_the_place_of_a_tree_of_that_length() {
    let capture = Capture {
        dmesg: "MEMBLOCK configuration:\n reserved.cnt  = 0x1\n \
                reserved[0x0]\t[0xbc120000-0xbc120230], 0x231 bytes flags: 0x0\nother\n \
                reserved[0x0]\t[0xbc130000-0xbc130330], 0x331 bytes flags: 0x0\n"
            .to_owned(),
        ..Capture::default()
    };
    assert_eq!(capture.logged_reserved_of_len(0x231), Some(PhysAddr::new(0xbc12_0000)));
    assert_eq!(
        capture.logged_reserved_of_len(0x331),
        None,
        "only the first list is from before any allocation"
    );
}
