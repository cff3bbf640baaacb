use super::super::vmallocinfo::VmallocInfo;
use super::super::{Capture, Symbols};
use crate::machine::OwnedFirmware;
use crate::show::iomem::IoMem;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::Arch;
use pagewright_firmware::config::Flavour;

const PC_LOG: &str = "\
[    0.000000] Linux version 6.1.0-9-amd64 (x) (gcc) #1 SMP PREEMPT_DYNAMIC Debian
[    0.000000] Command line: console=ttyS0 quiet 
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
[    0.000000] BIOS-e820: [mem 0x000000000009fc00-0x000000000009ffff] reserved
[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x000000003fffffff] usable
[    0.000000] user: [mem 0x0000000000100000-0x000000001fffffff] usable
[    0.007000] last_pfn = 0x40000 max_arch_pfn = 0x10000000000
[    0.017701] found SMP MP-table at [mem 0x000f5ba0-0x000f5baf]
[    0.017716] memblock_reserve: [0x00000000000f5ba0-0x00000000000f5baf] smp_scan_config+0xa7/0xff
[    0.018142] memblock_reserve: [0x00000000000f5bb0-0x00000000000f5c7f] smp_scan_config+0xbe/0xff
[    0.018262] memblock_reserve: [0x0000000004400000-0x0000000004410fff] setup_arch+0x797/0xd4f
[    0.019297] Using GB pages for direct mapping
[    0.045549] RAMDISK: [mem 0x3fed3000-0x3ffcffff]
[    0.046000] Move RAMDISK from [mem 0x3fed3000-0x3ffcf13d] to [mem 0x1c903000-0x1c9ff13d]
[    0.047370] ACPI: HPET 0x000000003FFE2374 000038 (v01 BOCHS  BXPC     00000001 BXPC 00000001)
[    0.047370] ACPI: Reserving FACP table memory at [mem 0x3ffe21f0-0x3ffe22e3]
[    0.047416] ACPI: Reserving DSDT table memory at [mem 0x3ffe0040-0x3ffe21ef]
[    0.050000] SRAT: PXM 1 -> APIC 0x02 -> Node 1
[    0.050000] ACPI: SRAT: Node 0 PXM 0 [mem 0x00000000-0x0009ffff]
[    0.070000] IOAPIC[0]: apic_id 0, version 32, address 0xfec00000, GSI 0-23
[    0.071000] smpboot: Allowing 4 CPUs, 1 hotplug CPUs
[    0.100895] Kernel command line:  console=ttyS0 quiet 
";

const PC_IOMEM: &str = "\
00100000-3fffffff : System RAM
  01000000-01e01d31 : Kernel code
  02000000-028eafff : Kernel rodata
  02a00000-02c4897f : Kernel data
  03310000-043fffff : Kernel bss
";

fn pc() -> Capture {
    Capture {
        name: "pc".to_owned(),
        dmesg: PC_LOG.to_owned(),
        iomem: Some(IoMem::parse(PC_IOMEM).unwrap()),
        symbols: Some(Symbols::parse("ffffffff81000000 T _text\nffffffff83044000 D __init_begin\n").unwrap()),
        ..Capture::default()
    }
}

#[test]
fn a_pc_is_read_from_the_lines_that_repeat_its_firmware() {
    let machine = pc().machine(None).unwrap();
    assert_eq!(machine.arch, Arch::X86_64);
    assert!(machine.cpus.gbpages && machine.cpus.la57);
    assert_eq!(machine.cpus.possible, 4);
    // The line in full, with its leading blank.
    assert_eq!(machine.cmdline.as_deref(), Some(" console=ttyS0 quiet "));
    // The move tells the RAM disk's length to the byte.
    let initrd = PhysRange::new(PhysAddr::new(0x3fed_3000), PhysAddr::new(0x3ffc_f13e));
    assert_eq!(machine.initrd, Some(initrd));
    let OwnedFirmware::Pc(pc) = &machine.firmware else { panic!("a PC") };
    assert_eq!(pc.e820.len(), 3, "user: lines are no firmware's");
    assert_eq!(pc.acpi_tables.iter().map(|r| r.start.get()).collect::<Vec<_>>(), [0x3ffe_21f0, 0x3ffe_0040]);
    assert_eq!(pc.mp_table.unwrap().table.unwrap().len(), 0xd0);
    assert_eq!(pc.ebda, Some(PhysAddr::new(0x9_fc00)));
    assert_eq!((pc.io_apics.len(), pc.hotplug_cpus, pc.hpet), (1, 1, true));
    assert_eq!((pc.srat_memory.len(), pc.srat_cpus[0].apic_id), (1, 2));
}

#[test]
fn an_x86_image_is_read_from_iomem_and_symbols() {
    let image = pc().machine(None).unwrap().image;
    assert_eq!((image.text_start.get(), image.end.get()), (0x100_0000, 0x440_0000));
    assert_eq!(image.init_begin.get(), 0x304_4000);
    assert_eq!(image.brk_used, 0x1_1000);
}

#[test]
fn an_arm64_image_is_read_from_iomem_and_symbols() {
    let mut capture = Capture {
        dmesg: "Linux version 6.1.0-9-arm64 (x)\n".to_owned(),
        iomem: Some(
            IoMem::parse("40000000-7fffffff : System RAM\n  40210000-4185ffff : Kernel code\n  41eb0000-4220ffff : Kernel data\n")
                .unwrap(),
        ),
        symbols: Some(
            Symbols::parse("ffff800008010000 T _stext\nffff800009660000 T __init_begin\nffff8000096d5da8 T _einittext\n")
                .unwrap(),
        ),
        ..Capture::default()
    };
    let fault = capture.machine(None).unwrap_err();
    assert!(fault.to_string().contains("machine.dtb"), "{fault}");
    capture.dtb = Some(vec![0; 16]);
    let fault = capture.machine(None).unwrap_err();
    assert!(fault.to_string().contains("device tree"), "{fault}");
    let config = pagewright_firmware::config::KernelConfig::for_arch(Arch::Arm64);
    let image = super::image::image(&capture, Arch::Arm64, &config).unwrap();
    assert_eq!((image.text_start.get(), image.end.get()), (0x4021_0000, 0x4221_0000));
    assert_eq!(image.load_start().get(), 0x4020_0000);
    // Debian's init text, if nothing but _einittext is told.
    assert_eq!((image.init_begin.get(), image.inittext_end.get()), (0x4186_0000, 0x4194_0000));
    assert_eq!(image.virt, 0xffff_8000_0801_0000);
    // Five tables: the top one, two on each of the two levels below it.
    assert_eq!(image.init_pg_dir.len(), 5 * 4096);
    // The running kernel's list of areas tells it, and its own symbol before that.
    capture.vmallocinfo = Some(
        VmallocInfo::parse("0x1-0x2 786432 paging_init+0x19c/0x610 phys=0x0000000041860000 vmap\n").unwrap(),
    );
    let image = super::image::image(&capture, Arch::Arm64, &config).unwrap();
    assert_eq!(image.inittext_end.get(), 0x4192_0000);
    let symbols =
        "ffff800008010000 T _stext\nffff800009660000 T __init_begin\nffff8000096f0000 T __inittext_end\n";
    capture.symbols = Some(Symbols::parse(symbols).unwrap());
    let image = super::image::image(&capture, Arch::Arm64, &config).unwrap();
    assert_eq!(image.inittext_end.get(), 0x418f_0000);
}

#[test]
fn an_arm_image_starts_its_reservation_at_stext_and_its_code_at_text() {
    let memory = "Memory: 1K/2K available (11264K kernel code, 1700K rwdata, 3732K rodata, 2048K init, 377K bss, 1K reserved)";
    let capture = Capture {
        dmesg: memory.to_owned(),
        iomem: Some(IoMem::parse("  40208000-411fffff : Kernel code\n  41400000-41607587 : Kernel data\n").unwrap()),
        symbols: Some(
            Symbols::parse("c0300000 T _stext\nc0e00000 D _etext\nc12003c0 T _sinittext\nc0300000 T __idmap_text_start\nc03000ac T __idmap_text_end\n")
                .unwrap(),
        ),
        ..Capture::default()
    };
    let config = pagewright_firmware::config::KernelConfig::for_arch(Arch::Arm);
    let image = super::image::image(&capture, Arch::Arm, &config).unwrap();
    assert_eq!((image.text_start.get(), image.load_start().get()), (0x4030_0000, 0x4020_8000));
    assert_eq!((image.text_end.get(), image.end.get()), (0x40e0_0000, 0x4160_7588));
    assert_eq!(image.idmap_text.len(), 0xac);
    // The sections' lengths as the kernel lists them.
    assert_eq!(image.data_end.get() - image.data_start.get(), 1700 << 10);
    assert_eq!(image.rodata_end.get() - image.rodata_start.get(), 3732 << 10);
    assert_eq!(image.bss_end.get() - image.bss_start.get(), 377 << 10);
}

#[test]
fn what_is_missing_is_named() {
    for (from, to, names) in [
        ("Linux version", "Minix version", "Linux version"),
        ("BIOS-e820", "BIAS-e820", "BIOS-e820"),
        ("0x000000003fffffff] usable", "0x000000003fffffff] uselessly", "line 5"),
    ] {
        let mut capture = pc();
        capture.dmesg = PC_LOG.replacen(from, to, if from == "BIOS-e820" { 9 } else { 1 });
        let fault = capture.machine(None).unwrap_err();
        assert!(fault.to_string().contains(names), "{fault}");
    }
    let mut capture = pc();
    capture.iomem = None;
    assert!(capture.machine(None).unwrap_err().to_string().contains("iomem.txt"));
}

#[test]
fn a_kernel_whose_release_names_no_architecture_is_known_by_what_else_is_there() {
    let nameless = |log: &str| log.replace("6.1.0-9-amd64", "6.1.0");
    let capture = Capture { dmesg: nameless(PC_LOG), ..pc() };
    assert_eq!(capture.machine(None).unwrap().arch, Arch::X86_64);
    // A release that does say it is believed; one that does not leaves it to the option.
    assert_eq!(pc().machine(Some(Flavour::I686)).unwrap().arch, Arch::X86_64);
    assert_eq!(capture.machine(Some(Flavour::I686)).unwrap().arch, Arch::I386);
    let bare = Capture { dmesg: "Linux version 6.1.0 (x)\n".to_owned(), ..Capture::default() };
    let fault = bare.machine(None).unwrap_err().to_string();
    assert!(fault.ends_with("nothing tells the architecture of kernel `6.1.0`; expected --arch"), "{fault}");
    let source = "/ { cpus { cpu@0 { compatible = \"arm,cortex-a15\"; }; }; };";
    let with_tree = Capture { dtb: crate::machine::dts::compile(source, 1).ok(), ..bare.clone() };
    let fault = with_tree.machine(None).unwrap_err().to_string();
    assert!(fault.contains("where the kernel image lies"), "{fault}");
    let symbols = Symbols::parse("ffff800008010000 T _stext\n").ok();
    let with_symbols = Capture { symbols, ..bare };
    let fault = with_symbols.machine(None).unwrap_err().to_string();
    assert!(fault.contains("where the kernel image lies"), "{fault}");
}
