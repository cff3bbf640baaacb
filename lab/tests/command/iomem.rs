//! `show iomem`: what is where in the physical address space before any driver asks.

use crate::{pagewright, text};

#[test]
fn iomem_lists_the_ram_disk_of_arm64_although_it_is_freed_later() {
    let args = ["--arch", "arm64", "--initrd", "1M@0x48000000"];
    let show = |file: &str| text(&[&["show", file][..], &args].concat());
    assert!(!show("memblock/reserved").contains("0x0000000048000000"));
    assert!(show("iomem").contains("  48000000-480fffff : reserved\n"));
    let plain = text(&["show", "iomem", "--arch", "arm64"]);
    assert!(!plain.contains("48000000-480fffff : reserved"));
}

#[test]
fn iomem_of_a_pc_leaves_out_what_a_physical_address_without_pae_cannot_name() {
    let above = |arch| text(&["show", "iomem", "--arch", arch, "--memory", "5G"]).contains("100000000-");
    assert!(!above("i386"));
    assert!(above("i386-pae") && above("x86_64"));
}

#[test]
fn tightly_coupled_memory_is_asked_for_by_size_and_shows_in_iomem() {
    let show = |args: &[&str]| text(&[&["show"], args, &["--arch", "arm", "--machine", "arm-virt"]].concat());
    let iomem = show(&["iomem", "--itcm", "16K", "--dtcm", "0x1000"]);
    let roots: Vec<_> = iomem.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(
        roots[roots.len() - 2..],
        ["fffe0000-fffe3fff : ITCM RAM", "fffe8000-fffe8fff : DTCM RAM"],
        "{iomem}"
    );
    assert!(!show(&["iomem", "--itcm", "32K"]).contains("DTCM"));
    assert!(!show(&["iomem"]).contains("TCM"));
    assert!(show(&["layout", "--dtcm", "8K"]).contains("DTCM"));
    for wrong in ["2K", "12K", "64K", "x"] {
        let refused = pagewright(&["show", "iomem", "--arch", "arm", "--itcm", wrong]);
        assert_eq!(refused.status.code(), Some(2), "{wrong}");
    }
}

/// The lines of a PC of 512 MiB without those of the kernel's image.
fn pc(arch: &str, cmdline: &str) -> Vec<String> {
    let all = text(&["show", "iomem", "--arch", arch, "--memory", "512M", "--cmdline", cmdline]);
    all.lines().filter(|line| !line.contains("Kernel")).map(str::to_owned).collect()
}

/// Of those the ones from an address on.
fn from(start: u64, lines: &[String]) -> Vec<&str> {
    let at = |line: &str| u64::from_str_radix(line.trim_start().split('-').next().unwrap(), 16).unwrap();
    lines.iter().map(String::as_str).filter(|line| at(line) >= start).collect()
}

const APICS: [&str; 2] = ["fec00000-fec003ff : IOAPIC 0", "fee00000-fee00fff : Local APIC"];

#[test]
fn every_pc_has_roms_and_interrupt_controllers_without_a_driver() {
    let plain = pc("x86_64", "");
    assert!(
        plain.windows(2).any(|w| w == ["000f0000-000fffff : Reserved", "  000f0000-000fffff : System ROM"])
    );
    assert!(
        APICS.iter().all(|line| plain.iter().any(|l| l == line))
            && !plain.iter().any(|l| l.contains("Video"))
    );
    let video = "000a0000-000bffff : Video RAM area".to_owned();
    assert!(pc("i386", "").contains(&video));
    let none = pc("i386", "nolapic");
    assert!(none.contains(&video) && !none.iter().any(|line| line.contains("Local APIC")), "{none:?}");
}

#[test]
fn what_is_entered_later_goes_above_below_or_nowhere() {
    let apics = |cmdline: &str| pc("x86_64", cmdline);
    let below = apics("memmap=16M$0xfe000000");
    let expected = [
        "fe000000-feffffff : Reserved",
        "  fec00000-fec003ff : IOAPIC 0",
        "  fee00000-fee00fff : Local APIC",
    ];
    assert_eq!(from(0xfe00_0000, &below)[..3], expected);
    let same = apics("memmap=4K$0xfee00000");
    assert_eq!(from(0xfee0_0000, &same)[..2], [APICS[1], "  fee00000-fee00fff : Reserved"]);
    let partly = apics("memmap=4K$0xfee00800");
    assert_eq!(from(0xfee0_0000, &partly)[0], "fee00800-fee017ff : Reserved");
    // The system's ROM is there first: what overlaps a part of it gets no place.
    let exact = |more: &str| apics(&format!("memmap=exactmap memmap=640K@0 memmap=511M@1M {more}"));
    let rom = "000f0000-000fffff : System ROM";
    let inside = exact("memmap=16K$0xf4000");
    assert_eq!(from(0xa_0000, &inside)[..2], [rom, "  000f4000-000f7fff : Reserved"]);
    let across = exact("memmap=16K$0xee000");
    assert_eq!(from(0xa_0000, &across)[..2], [rom, "00100000-1fffffff : System RAM"]);
    let video = pc("i386", "memmap=exactmap memmap=640K@0 memmap=511M@1M memmap=4K$0xb0000");
    assert_eq!(from(0xa_0000, &video)[..2], ["000b0000-000b0fff : Reserved", rom]);
}
