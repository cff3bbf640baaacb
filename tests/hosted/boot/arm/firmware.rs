//! What the firmware and the command line say of memory.

use super::{at, banks, banks_of, touched, with_ram};
use crate::support::facts::Facts;
use crate::support::spec::{Fw, RAM, range};
use crate::support::{MIB, Spec};
use pagewright_firmware::atags::{AtagInitrd, Atags};
use pagewright_firmware::config::{Flavour, KernelConfig};

fn ram(facts: &Facts) -> Vec<(u64, u64)> {
    facts.memory.iter().map(|b| (b.range.start.get(), b.range.end.get())).collect()
}

/// A machine that hands over this list; the kernel lies 3 MiB into RAM.
fn with_tags(tags: &Atags<'_>) -> Spec {
    let mut bytes = vec![0; 1024];
    let len = tags.write(&mut bytes).expect("the list fits");
    bytes.truncate(len);
    Spec::new(KernelConfig::debian(Flavour::Armmp), RAM + 3 * MIB, Fw::Atags(bytes))
}

#[test]
fn the_first_mem_drops_what_the_firmware_said_and_each_adds_a_bank() {
    let facts = with_ram(512).cmdline("mem=128M mem=64M@0x50000000").boot();
    assert_eq!(ram(&facts), [(RAM, RAM + 128 * MIB), (0x5000_0000, 0x5400_0000)]);
    assert_eq!(touched(&facts, "early_mem"), [at(0, 512)]);
    assert_eq!(touched(&facts, "arm_add_memory"), [at(0, 128), range(0x5000_0000, 64 * MIB)]);
}

#[test]
fn banks_of_the_command_line_shrink_to_whole_pages() {
    let facts = with_ram(512).cmdline("mem=100M mem=33333@0x50000800").boot();
    // 33333 bytes end within page 0x50008000.
    assert_eq!(ram(&facts)[1], (0x5000_1000, 0x5000_8000));
}

#[test]
fn banks_below_phys_offset_are_ignored() {
    let facts = with_ram(512).cmdline("mem=256M mem=16M@0x30000000 mem=64M@0x3e000000").boot();
    facts.expect("Ignoring memory below PHYS_OFFSET: 0x30000000-0x31000000");
    facts.expect("Ignoring memory below PHYS_OFFSET: 0x3e000000-0x40000000");
    assert_eq!(ram(&facts), [(RAM, RAM + 256 * MIB)]);
}

#[test]
fn banks_beyond_32_bits_are_cut_or_ignored_without_lpae_only() {
    let line = "mem=256M mem=16M@0xff800000 mem=16M@0x180000000";
    let facts = with_ram(512).cmdline(line).boot();
    facts.expect("Truncating memory at 0xff800000 to fit in 32-bit physical address space");
    facts.expect("Ignoring memory at 0x180000000 outside 32-bit physical address space");
    // The last page of the address space is lost.
    assert_eq!(ram(&facts)[1..], [(0xff80_0000, 0xffff_f000)]);
    let facts = banks_of(Flavour::ArmmpLpae, &[(0, 512)]).cmdline(line).boot();
    assert_eq!(ram(&facts)[1..], [(0xff80_0000, 0x1_0080_0000), (0x1_8000_0000, 0x1_8100_0000)]);
}

#[test]
fn a_mem_of_zero_leaves_no_memory_and_is_an_error() {
    assert!(with_ram(512).cmdline("mem=0").refused().to_string().contains("no memory"));
}

#[test]
fn memory_of_the_tree_below_phys_offset_is_not_added() {
    let facts = banks(&[(0, 256)]).with(crate::support::tree::memory(0x3000_0000, 16 * MIB)).boot();
    facts.expect("OF: fdt: Ignoring memory block 0x30000000 - 0x31000000");
    assert_eq!(ram(&facts), [(RAM, RAM + 256 * MIB)]);
}

#[test]
fn the_linear_map_starts_at_the_128_mib_block_that_the_kernel_was_loaded_into() {
    assert_eq!(with_ram(256).boot().memstart.get(), RAM);
    let mut machine = with_ram(512);
    machine.image = crate::support::spec::image(machine.config.arch, RAM + 131 * MIB, 32);
    let facts = machine.boot();
    assert_eq!(facts.memstart.get(), RAM + 128 * MIB);
    // What lies before it is lost.
    assert_eq!(ram(&facts), [(RAM + 128 * MIB, RAM + 512 * MIB)]);
}

#[test]
fn without_memory_at_the_start_of_the_block_the_lowest_memory_counts() {
    let facts = banks(&[(1, 255)]).boot();
    assert_eq!(facts.memstart.get(), RAM + 2 * MIB);
    facts.expect("OF: fdt: Ignoring memory range 0x40100000 - 0x40200000");
    assert_eq!(ram(&facts), [(RAM + 2 * MIB, RAM + 256 * MIB)]);
}

#[test]
fn an_image_that_tells_its_virtual_address_fixes_phys_offset() {
    let mut machine = with_ram(256);
    machine.image.virt = 0xc010_0000;
    assert_eq!(machine.boot().memstart.get(), RAM + 2 * MIB);
}

#[test]
fn atags_give_banks_and_a_ram_disk() {
    let initrd = at(100, 2);
    let mut tags = Atags { initrd: Some(AtagInitrd::Physical(initrd)), ..Atags::default() };
    tags.memory.push(at(0, 128));
    tags.memory.push(at(256, 64));
    tags.memory.push(range(0x2000_0000, MIB));
    let facts = with_tags(&tags).boot();
    assert_eq!(ram(&facts), [(RAM, RAM + 128 * MIB), (RAM + 256 * MIB, RAM + 320 * MIB)]);
    facts.expect("Ignoring memory below PHYS_OFFSET: 0x20000000-0x20100000");
    assert_eq!(facts.initrd, Some(initrd));
    assert!(facts.is_reserved(initrd));
}

#[test]
fn an_old_ram_disk_tag_is_a_virtual_address() {
    let initrd = AtagInitrd::Virtual { start: 0xc640_0000, size: 0x1000 };
    let mut tags = Atags { initrd: Some(initrd), ..Atags::default() };
    tags.memory.push(at(0, 128));
    let facts = with_tags(&tags).boot();
    facts.expect("ATAG_INITRD is deprecated; please update your bootloader.");
    assert_eq!(facts.initrd, Some(range(RAM + 100 * MIB, 0x1000)));
}

#[test]
fn atags_without_memory_are_an_error_unless_the_command_line_has_some() {
    assert!(with_tags(&Atags::default()).refused().to_string().contains("no memory"));
    let facts = with_tags(&Atags::default()).cmdline("mem=64M").boot();
    assert_eq!(facts.ram(), 64 * MIB);
}
