use super::*;

fn symbols(text: &str) -> Symbols {
    Symbols::parse(text).unwrap()
}

#[test]
fn a_release_names_the_nearest_of_debians_kernels() {
    let of = |release: &str| {
        let line = format!("Linux version {release} (x) (gcc) #1 SMP");
        let Line::Banner(banner) = classify(&line) else { panic!("{line}") };
        by_banner(&banner)
    };
    for (release, flavour) in [
        ("6.1.0-50-cloud-amd64", Some(Flavour::Amd64)),
        ("6.1.0-50-rt-686-pae", Some(Flavour::I686Pae)),
        ("6.1.0-50-armmp-lpae", Some(Flavour::ArmmpLpae)),
        ("6.1.0", None),
        ("6.1.21-v8+", None),
    ] {
        assert_eq!(of(release), flavour, "{release}");
    }
}

#[test]
fn a_log_tells_its_architecture_by_lines_that_no_other_prints() {
    for (log, flavour) in [
        ("last_pfn = 0x7ffdf max_arch_pfn = 0x100000", Flavour::I686),
        ("last_pfn = 0x3ffdf max_arch_pfn = 0x1000000", Flavour::I686Pae),
        ("last_pfn = 0x7ffdf max_arch_pfn = 0x400000000", Flavour::Amd64),
        ("last_pfn = 0x7ffdf max_arch_pfn = 0x10000000000", Flavour::Amd64),
        ("BIOS-e820: [mem 0x0000000000100000-0x000000007ffdefff] usable", Flavour::Amd64),
        ("875MB LOWMEM available.", Flavour::I686),
        ("[    0.000000] CPU: ARMv7 Processor [414fc0f0] revision 0 (ARMv7), cr=10c5387d", Flavour::Armmp),
        ("CPU: ARMv7 Processor [414fc0f0]\ncma: Reserved 16 MiB at 0x7f000000", Flavour::Armmp),
        ("CPU: ARMv7 Processor [414fc0f0]\ncma: Reserved 16 MiB at 0x000000007f000000", Flavour::ArmmpLpae),
        (
            "CPU: ARMv7\nmemblock_reserve: [0x0000000040300000-0x0000000041607587] x+0x1/0x2",
            Flavour::ArmmpLpae,
        ),
        ("[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x410fd083]", Flavour::Arm64),
    ] {
        assert_eq!(by_content(log), Some(flavour), "{log}");
    }
    assert_eq!(by_content("Booting Linux on physical CPU 0x0\nZone ranges:"), None);
}

#[test]
fn symbols_tell_the_architecture_by_address_and_name() {
    for (text, flavour) in [
        ("ffffffff81000000 T _text", Some(Flavour::Amd64)),
        ("ffff800008010000 T _stext", Some(Flavour::Arm64)),
        ("c0300000 T _stext\nc0300000 T __idmap_text_start", Some(Flavour::Armmp)),
        ("c1000000 T _stext\nc1ee6000 B __brk_base", Some(Flavour::I686)),
        ("c0300000 T _stext", None),
        ("0000000000000000 T _stext", None),
        ("ffffffff81000000 T schedule", None),
    ] {
        assert_eq!(by_symbols(&symbols(text), ""), flavour, "{text}");
    }
    let wide = "memblock_reserve: [0x0000000040300000-0x0000000041607587] x+0x1/0x2";
    let arm = symbols("c0300000 T _stext\nc0300000 T __idmap_text_start");
    assert_eq!(by_symbols(&arm, wide), Some(Flavour::ArmmpLpae));
}
