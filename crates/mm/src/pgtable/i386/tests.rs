//! The head's tables, seen by the software MMU.

use super::head::{early_ioremap_init, initial_pages_mapped, setup_arch, startup_32};
use super::{Places, fixmap, kernel_pmds};
use crate::pgtable::TableError;
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr};
use pagewright_firmware::cmdline::{CommandLine, Params};
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_firmware::{BuildFacts, Cpus, Firmware, KernelImage, Machine, Pc};
use pagewright_pagetable::TableMemory;
use pagewright_sim::mmu::{Access, Fault, Registers, X86Registers};
use pagewright_sim::{EntryWidth, PhysMemory};
use std::vec::Vec;

const MIB: u64 = 1 << 20;

/// A kernel at 16 MiB; `_end` is at 30 MiB.
fn machine(flavour: Flavour, page_offset: u32) -> Machine<'static> {
    let at = |mib: u64| PhysAddr::new(mib * MIB);
    let config = KernelConfig { page_offset, ..KernelConfig::debian(flavour) };
    config.validate().unwrap();
    Machine {
        arch: config.arch,
        config,
        image: KernelImage {
            text_start: at(16),
            text_end: at(24),
            rodata_start: at(24),
            rodata_end: at(26),
            data_start: at(26),
            data_end: at(27),
            init_begin: at(27),
            init_end: at(28),
            bss_start: at(28),
            bss_end: at(30),
            end: at(30),
            ..KernelImage::default()
        },
        build: BuildFacts::for_config(&config),
        firmware: Firmware::Pc(Pc::default()),
        initrd: None,
        cmdline: Some(CommandLine::new("")),
        cpus: Cpus::default(),
        seed: None,
    }
}

/// Every flavour with every split that it can have.
fn machines() -> Vec<Machine<'static>> {
    let two = [0xc000_0000, 0xb000_0000, 0x8000_0000, 0x7800_0000, 0x4000_0000];
    let pae = [0xc000_0000, 0x8000_0000, 0x4000_0000];
    let two = two.into_iter().map(|split| machine(Flavour::I686, split));
    two.chain(pae.into_iter().map(|split| machine(Flavour::I686Pae, split))).collect()
}

fn ram(machine: &Machine<'_>) -> PhysMemory {
    let width = if machine.config.lpae { EntryWidth::Bits64 } else { EntryWidth::Bits32 };
    PhysMemory::new([PhysRange::from_len(PhysAddr::ZERO, 64 * MIB)], width)
}

/// Where an address leads.
fn probe(ram: &PhysMemory, m: &Machine<'_>, root: PhysAddr, va: u64, access: Access) -> Result<u64, Fault> {
    let registers = if m.config.lpae { X86Registers::pae } else { X86Registers::two_level };
    Registers::X86(registers(root.get())).probe(ram, VirtAddr::new(va), access).map(PhysAddr::get)
}

/// Room for six tables of the direct map, as without randomisation.
const BRK_PAGES: u64 = 6;

#[test]
fn the_heads_mapping_ends_where_captured_kernels_say() {
    // `initial memory mapped: [mem 0x00000000-0x023fffff]` of both, whose images end at these addresses.
    for (flavour, end) in [(Flavour::I686, 0x1ee_6000), (Flavour::I686Pae, 0x1f0_b000)] {
        let mut m = machine(flavour, 0xc000_0000);
        m.image.end = PhysAddr::new(end);
        assert_eq!(initial_pages_mapped(&m, BRK_PAGES).get(), 0x240_0000, "{}", flavour.name());
    }
}

#[test]
fn the_head_maps_what_it_needs_one_to_one_and_from_page_offset_on() {
    for m in machines() {
        let (ram, places) = (ram(&m), Places::of(&m));
        let end = initial_pages_mapped(&m, BRK_PAGES);
        let tables = startup_32(&ram, &m, &places, end).unwrap();
        assert_eq!(tables, end.get() / super::pmd_bytes(m.config.lpae));
        let base = u64::from(m.config.page_offset);
        for phys in [0, 0x1234, 16 * MIB, 28 * MIB + 5, end.get() - 1] {
            for access in [Access::READ, Access::WRITE, Access::EXECUTE] {
                for va in [phys, base + phys] {
                    assert_eq!(probe(&ram, &m, places.initial, va, access), Ok(phys), "{va:#x} {access}");
                }
            }
            assert!(probe(&ram, &m, places.initial, base + phys, Access::USER_READ).is_err());
        }
        for va in [end.get(), base - 1, base + end.get(), 0xffff_f000] {
            assert!(probe(&ram, &m, places.initial, va, Access::READ).is_err(), "{va:#x}");
        }
    }
}

#[test]
fn the_heads_tables_follow_each_other_from_the_start_of_the_brk_area() {
    let m = machine(Flavour::I686, 0xc000_0000);
    let (ram, places) = (ram(&m), Places::of(&m));
    assert_eq!(places.brk, m.image.end);
    let tables = startup_32(&ram, &m, &places, initial_pages_mapped(&m, BRK_PAGES)).unwrap();
    let word = |at: u64| {
        let cell = ram.word32(PhysAddr::new(at)).unwrap();
        cell.load(std::sync::atomic::Ordering::Relaxed)
    };
    let brk = places.brk.get();
    // PRESENT, RW, ACCESSED and DIRTY for tables, PRESENT and RW for pages.
    assert_eq!(u64::from(word(places.initial.get() + 4)), brk + 0x1063);
    assert_eq!(u64::from(word(places.initial.get() + 768 * 4)), brk + 0x63);
    assert_eq!(word(brk + 4096 + 8), 0x40_2003);
    assert_eq!(u64::from(word(brk + tables * 4096 - 4)), tables * 4 * MIB - 4096 + 3);
    assert_eq!(word(brk + tables * 4096), 0);
}

#[test]
fn swapper_pg_dir_has_the_kernels_addresses_and_nothing_below_them() {
    for m in machines() {
        let (ram, places) = (ram(&m), Places::of(&m));
        let end = initial_pages_mapped(&m, BRK_PAGES);
        startup_32(&ram, &m, &places, end).unwrap();
        let tables = setup_arch(&ram, &m, &places).unwrap();
        assert_eq!(tables.root, places.swapper);
        let base = u64::from(m.config.page_offset);
        assert_eq!(probe(&ram, &m, tables.root, base + 17 * MIB, Access::EXECUTE), Ok(17 * MIB));
        for low in [0, 17 * MIB] {
            assert!(probe(&ram, &m, tables.root, low, Access::READ).is_err());
        }
    }
}

#[test]
fn early_ioremap_has_its_table_before_there_are_allocations() {
    for m in machines() {
        let (ram, places) = (ram(&m), Places::of(&m));
        startup_32(&ram, &m, &places, initial_pages_mapped(&m, BRK_PAGES)).unwrap();
        let tables = setup_arch(&ram, &m, &places).unwrap();
        let fixed = fixmap(&m, &Params::default()).unwrap();
        early_ioremap_init(&tables, &places, &fixed).unwrap();
        let begin = fixed.fix_to_virt(fixed.btmaps().begin).unwrap();
        let table = |va: VirtAddr| {
            let path = tables.with(|tree| tree.path(va));
            path.last().unwrap().table
        };
        assert_eq!(table(begin), places.bm_pte);
        assert_eq!(table(fixed.top()), places.fixmap);
    }
}

#[test]
fn tables_that_an_image_tells_of_are_where_it_says() {
    let mut m = machine(Flavour::I686Pae, 0x4000_0000);
    assert_eq!(kernel_pmds(m.config.page_offset), 3);
    let page = |n: u64| PhysAddr::new(28 * MIB + n * 4096);
    let places = Places::of(&m);
    assert_eq!((places.initial, places.initial_pmd, places.fixmap), (page(0), page(1), page(4)));
    m.image.i386.swapper_pg_dir = PhysAddr::new(29 * MIB);
    m.image.i386.initial_page_table = PhysAddr::new(26 * MIB);
    let told = Places::of(&m);
    assert_eq!((told.swapper.get(), told.initial.get()), (29 * MIB, 26 * MIB));
    assert_eq!(told.bm_pte, page(6));
}

#[test]
fn tables_that_would_lie_outside_memory_are_refused() {
    let m = machine(Flavour::I686, 0xc000_0000);
    let small = PhysMemory::new([PhysRange::from_len(PhysAddr::ZERO, 28 * MIB)], EntryWidth::Bits32);
    let refused = startup_32(&small, &m, &Places::of(&m), PhysAddr::new(32 * MIB));
    assert_eq!(refused, Err(TableError::NoMemory(PhysAddr::new(28 * MIB))));
}
