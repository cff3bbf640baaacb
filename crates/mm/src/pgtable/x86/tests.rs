//! The tables before the direct map, seen by the software MMU.

use super::early::{EARLY_DYNAMIC_PAGE_TABLES, EarlyTables, identity_4g};
use super::{Places, START_KERNEL_MAP, page_offset};
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr};
use pagewright_firmware::cmdline::CommandLine;
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_firmware::{BuildFacts, Cpus, Firmware, KernelImage, Machine, Pc};
use pagewright_sim::mmu::{Access, Fault, FaultKind, Registers, X86Registers};
use pagewright_sim::{EntryWidth, PhysMemory};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn machine(la57: bool) -> Machine<'static> {
    let at = |mib: u64| PhysAddr::new(mib * MIB);
    let config = KernelConfig::debian(Flavour::Amd64);
    Machine {
        arch: config.arch,
        config,
        image: KernelImage {
            text_start: at(16),
            text_end: at(30),
            rodata_start: at(32),
            rodata_end: at(40),
            data_start: at(42),
            data_end: at(44),
            init_begin: at(46),
            init_end: at(48),
            bss_start: at(48),
            bss_end: at(62),
            end: at(62),
            brk_used: 0x1_1000,
            ..KernelImage::default()
        },
        build: BuildFacts::for_config(&config),
        firmware: Firmware::Pc(Pc::default()),
        initrd: None,
        cmdline: Some(CommandLine::new("")),
        cpus: Cpus { la57, ..Cpus::default() },
        seed: None,
    }
}

fn ram() -> PhysMemory {
    PhysMemory::new([PhysRange::from_len(PhysAddr::ZERO, GIB)], EntryWidth::Bits64)
}

/// Where an address leads.
fn probe(ram: &PhysMemory, root: PhysAddr, la57: bool, va: u64, access: Access) -> Result<u64, Fault> {
    let registers = Registers::X86(X86Registers::long(root.get(), la57));
    registers.probe(ram, VirtAddr::new(va), access).map(PhysAddr::get)
}

fn head(ram: &PhysMemory, la57: bool) -> EarlyTables {
    let machine = machine(la57);
    EarlyTables::startup_64(ram, &machine, Places::of(&machine)).unwrap()
}

#[test]
fn the_decompressor_maps_four_gibibytes_one_to_one_and_nothing_more() {
    for la57 in [false, true] {
        let ram = ram();
        let root = identity_4g(&ram, PhysAddr::new(64 * MIB), la57).unwrap();
        for at in [0, 0x1234, 16 * MIB, GIB, 3 * GIB + 5, 4 * GIB - 1] {
            for access in [Access::READ, Access::WRITE, Access::EXECUTE] {
                assert_eq!(probe(&ram, root, la57, at, access), Ok(at), "{at:#x} {access}");
            }
        }
        for at in [4 * GIB, 1 << 39, u64::MAX] {
            let fault = probe(&ram, root, la57, at, Access::READ).unwrap_err();
            assert_eq!(fault.kind, FaultKind::Translation, "{at:#x}");
        }
    }
}

#[test]
fn the_head_maps_the_image_where_it_is_and_where_it_was_linked_to() {
    for la57 in [false, true] {
        let (ram, machine) = (ram(), machine(la57));
        let head = head(&ram, la57);
        let image = &machine.image;
        for phys in [image.text_start, image.rodata_start, image.end.saturating_sub(1)].map(PhysAddr::get) {
            assert_eq!(probe(&ram, head.root(), la57, phys, Access::EXECUTE), Ok(phys));
            assert_eq!(probe(&ram, head.root(), la57, START_KERNEL_MAP + phys, Access::EXECUTE), Ok(phys));
        }
        // The blocks around the image are there, but not present.
        for outside in [image.text_start.get() - 1, 66 * MIB] {
            assert!(probe(&ram, head.root(), la57, START_KERNEL_MAP + outside, Access::READ).is_err());
        }
    }
}

#[test]
fn c_code_starts_without_the_identity_mapping_and_takes_the_image_along_to_the_final_top_table() {
    for la57 in [false, true] {
        let ram = ram();
        let mut head = head(&ram, la57);
        let top = head.start_kernel(&ram).unwrap();
        assert_eq!(head.in_use(), 0);
        for root in [head.root(), top] {
            assert!(probe(&ram, root, la57, 16 * MIB, Access::READ).is_err());
            let link = START_KERNEL_MAP + 20 * MIB;
            assert_eq!(probe(&ram, root, la57, link, Access::EXECUTE), Ok(20 * MIB));
        }
    }
}

#[test]
fn an_early_fault_maps_the_two_mebibytes_around_it() {
    for la57 in [false, true] {
        let ram = ram();
        let mut head = head(&ram, la57);
        head.start_kernel(&ram).unwrap();
        let base = page_offset(la57);
        assert!(probe(&ram, head.root(), la57, base + 0x40e, Access::READ).is_err());
        assert_eq!(head.fault(&ram, base + 0x40e), Ok(if la57 { 3 } else { 2 }));
        assert_eq!(probe(&ram, head.root(), la57, base + 0x40e, Access::READ), Ok(0x40e));
        assert_eq!(probe(&ram, head.root(), la57, base + 2 * MIB - 1, Access::WRITE), Ok(2 * MIB - 1));
        assert!(probe(&ram, head.root(), la57, base + 2 * MIB, Access::READ).is_err());
        // The next block has its tables already.
        assert_eq!(head.fault(&ram, base + 2 * MIB), Ok(0));
    }
}

#[test]
fn early_tables_are_recycled_when_all_are_in_use_and_the_image_stays_mapped() {
    let ram = ram();
    let mut head = head(&ram, false);
    head.start_kernel(&ram).unwrap();
    let base = page_offset(false);
    // Addresses 512 GiB apart take two tables each.
    let pairs = EARLY_DYNAMIC_PAGE_TABLES / 2;
    for n in 0..pairs {
        assert_eq!(head.fault(&ram, base + (n << 39)), Ok(2));
    }
    assert_eq!((head.in_use(), head.resets()), (EARLY_DYNAMIC_PAGE_TABLES, 0));
    assert_eq!(head.fault(&ram, base + (pairs << 39)), Ok(2));
    assert_eq!((head.in_use(), head.resets()), (2, 1));
    assert!(probe(&ram, head.root(), false, base, Access::READ).is_err());
    let link = START_KERNEL_MAP + 20 * MIB;
    assert_eq!(probe(&ram, head.root(), false, link, Access::EXECUTE), Ok(20 * MIB));
    // What is still needed comes back with the next fault.
    assert_eq!(head.fault(&ram, base), Ok(2));
    assert_eq!(probe(&ram, head.root(), false, base + 7, Access::READ), Ok(7));
}

#[test]
fn an_encryption_bit_is_in_every_entry_of_the_head() {
    let ram = ram();
    let mut machine = machine(false);
    machine.cpus.encryption_mask = 1 << 47;
    let mut head = EarlyTables::startup_64(&ram, &machine, Places::of(&machine)).unwrap();
    head.start_kernel(&ram).unwrap();
    head.fault(&ram, page_offset(false)).unwrap();
    let mut registers = X86Registers::long(head.root().get(), false);
    registers.encryption_mask = 1 << 47;
    for (va, phys) in [(START_KERNEL_MAP + 16 * MIB, 16 * MIB), (page_offset(false) + 5, 5)] {
        let (found, trail) = Registers::X86(registers).look_up_trail(&ram, VirtAddr::new(va), Access::READ);
        assert_eq!(found.unwrap().phys_of(VirtAddr::new(va)).get(), phys);
        assert!(trail.iter().all(|step| step.word >> 47 & 1 == 1), "{trail:x?}");
    }
}

#[test]
fn tables_that_would_lie_outside_memory_are_refused() {
    let ram = PhysMemory::new([PhysRange::from_len(PhysAddr::ZERO, MIB)], EntryWidth::Bits64);
    assert!(identity_4g(&ram, PhysAddr::new(MIB), false).is_err());
    let machine = machine(false);
    assert!(EarlyTables::startup_64(&ram, &machine, Places::of(&machine)).is_err());
}
