//! Kernel images for machines that are described without one: where the sections of Debian's 6.1 kernels lie.

use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::config::KernelConfig;
use pagewright_firmware::{Arch, Arm64Image, I386Image, KernelImage, X86Image};

/// Offsets of an image's sections from its load address (`_text`).
struct Sections {
    text: u64,
    etext: u64,
    rodata: u64,
    rodata_end: u64,
    init_begin: u64,
    inittext_end: u64,
    init_end: u64,
    data: u64,
    data_end: u64,
    bss: u64,
    bss_end: u64,
    end: u64,
    idmap: (u64, u64),
    brk_used: u64,
    /// Bytes of lock prefixes, which follow the init sections.
    smp_locks: u64,
    /// Unused bytes at the end of the decrypted data, which is the last of bss.
    decrypted_unused: u64,
}

/// Bytes of lock prefixes and of unused decrypted data in Debian's kernel of this configuration.
pub(crate) fn late_parts(config: &KernelConfig) -> (u64, u64) {
    let sections = of(config);
    (sections.smp_locks, sections.decrypted_unused)
}

/// Bytes from where init sections begin to the end of init text in Debian's kernel of this configuration.
pub(crate) fn init_text_bytes(config: &KernelConfig) -> u64 {
    let sections = of(config);
    sections.inittext_end - sections.init_begin
}

fn of(config: &KernelConfig) -> &'static Sections {
    match (config.arch, config.lpae) {
        (Arch::Arm64, _) => &ARM64,
        (Arch::Arm, false) => &ARM,
        (Arch::Arm, true) => &ARM_LPAE,
        (Arch::X86_64, _) => &X86_64,
        (Arch::I386, false) => &I386,
        (Arch::I386, true) => &I386_PAE,
    }
}

const ARM64: Sections = Sections {
    text: 0x1_0000,
    etext: 0xd0_0000,
    rodata: 0xd0_0000,
    rodata_end: 0x164_8000,
    init_begin: 0x166_0000,
    inittext_end: 0x174_0000,
    init_end: 0x1cb_0000,
    data: 0x1cb_0000,
    data_end: 0x1f6_d800,
    bss: 0x1f7_3400,
    bss_end: 0x201_0000,
    end: 0x201_0000,
    idmap: (0xcf_0000, 0xcf_0930),
    brk_used: 0,
    smp_locks: 0,
    decrypted_unused: 0,
};

/// Offsets from the start of RAM: the head lies at 0x208000.
const ARM: Sections = Sections {
    text: 0x30_0000,
    etext: 0xe0_0000,
    rodata: 0xe0_0000,
    rodata_end: 0x11a_5000,
    init_begin: 0x120_0000,
    inittext_end: 0x128_aae8,
    init_end: 0x140_0000,
    data: 0x140_0000,
    data_end: 0x15a_9000,
    bss: 0x15a_9000,
    bss_end: 0x160_7588,
    end: 0x160_7588,
    idmap: (0x30_0000, 0x30_00ac),
    brk_used: 0,
    smp_locks: 0,
    decrypted_unused: 0,
};

const ARM_LPAE: Sections = Sections {
    text: 0x40_0000,
    etext: 0x100_0000,
    rodata: 0x100_0000,
    rodata_end: 0x13a_a000,
    init_begin: 0x140_0000,
    inittext_end: 0x148_db38,
    init_end: 0x160_0000,
    data: 0x160_0000,
    data_end: 0x17a_d000,
    bss: 0x17a_d000,
    bss_end: 0x180_d288,
    end: 0x180_d288,
    idmap: (0x40_0000, 0x40_00ac),
    ..ARM
};

const X86_64: Sections = Sections {
    text: 0,
    etext: 0xe0_1d32,
    rodata: 0x100_0000,
    rodata_end: 0x18e_b000,
    init_begin: 0x204_4000,
    inittext_end: 0x20e_7c04,
    init_end: 0x230_6000,
    data: 0x1a0_0000,
    data_end: 0x1c4_8980,
    bss: 0x231_0000,
    bss_end: 0x340_0000,
    end: 0x340_0000,
    idmap: (0, 0),
    brk_used: 0x1_1000,
    smp_locks: 0x9000,
    decrypted_unused: 0x1f_d000,
};

const I386: Sections = Sections {
    etext: 0x91_bc80,
    rodata: 0x91_c000,
    rodata_end: 0xc3_9000,
    init_begin: 0xd8_6000,
    inittext_end: 0xdd_94d5,
    init_end: 0xe6_a000,
    data: 0xc3_9000,
    data_end: 0xd7_0bc0,
    bss: 0xe7_2000,
    bss_end: 0xee_6000,
    end: 0xee_6000,
    brk_used: 0x1_0000,
    smp_locks: 0x8000,
    decrypted_unused: 0,
    ..X86_64
};

const I386_PAE: Sections = Sections {
    etext: 0x93_3f00,
    rodata: 0x93_4000,
    rodata_end: 0xc5_1000,
    init_begin: 0xda_4000,
    inittext_end: 0xdf_9b6b,
    init_end: 0xe8_c000,
    data: 0xc5_2000,
    data_end: 0xd8_e680,
    bss: 0xe9_4000,
    bss_end: 0xf0_b000,
    end: 0xf0_b000,
    brk_used: 0x1_9000,
    smp_locks: 0x8000,
    decrypted_unused: 0,
    ..X86_64
};

/// Where Debian's x86_64 kernel has its page tables and its IDT, from its load address.
fn x86_64_tables(base: PhysAddr) -> X86Image {
    let at = |offset: u64| base.saturating_add(offset);
    X86Image {
        init_top_pgt: at(0x1a1_0000),
        level3_kernel_pgt: at(0x1a1_5000),
        level2_kernel_pgt: at(0x1a1_6000),
        level2_fixmap_pgt: at(0x1a1_7000),
        level1_fixmap_pgt: at(0x1a1_8000),
        early_top_pgt: at(0x20e_c000),
        early_dynamic_pgts: at(0x20e_e000),
        idt_table: at(0x231_3000),
    }
}

/// Where Debian's i386 kernels have their tables, with the IDT, as offsets from the load address: two levels, PAE.
fn i386_tables(base: PhysAddr, pae: bool) -> (I386Image, PhysAddr) {
    let at = |offset: u64| base.saturating_add(offset);
    let none = PhysAddr::ZERO;
    let [initial_page_table, initial_pg_pmd, initial_pg_fixmap, swapper_pg_dir, bm_pte, idt] = if pae {
        [at(0xc5_6000), at(0xe9_4000), at(0xe9_5000), at(0xe9_8000), at(0xe9_c000), at(0xe9_b000)]
    } else {
        [at(0xe7_2000), none, at(0xe7_3000), at(0xe7_4000), at(0xe7_7000), at(0xe7_6000)]
    };
    (I386Image { initial_page_table, initial_pg_pmd, initial_pg_fixmap, swapper_pg_dir, bm_pte }, idt)
}

/// The same of Debian's arm64 kernel, with the code that is mapped while user code runs.
fn arm64_tables(base: PhysAddr) -> Arm64Image {
    let at = |offset: u64| base.saturating_add(offset);
    Arm64Image {
        entry_tramp_text: PhysRange::new(at(0x164_c000), at(0x164_f000)),
        idmap_pg_dir: at(0x165_0000),
        tramp_pg_dir: at(0x165_1000),
        swapper_pg_dir: at(0x165_3000),
        init_idmap_pg_dir: PhysRange::new(at(0x174_0000), at(0x174_5000)),
        bm_pud: at(0x1f7_0000),
        bm_pmd: at(0x1f7_1000),
        bm_pte: at(0x1f7_2000),
        ..Arm64Image::default()
    }
}

const MIB: u64 = 1 << 20;
/// Where arm's head lies from the start of RAM (TEXT_OFFSET of a kernel for many platforms).
const ARM_TEXT_OFFSET: u64 = 0x20_8000;

/// The image of Debian's kernel of this configuration on a machine whose RAM starts at `ram`.
pub(super) fn image(config: &KernelConfig, ram: PhysAddr) -> KernelImage {
    let base = match config.arch {
        // The first 2 MiB are the boot loader's.
        Arch::Arm64 => ram.align_up(2 * MIB).saturating_add(2 * MIB),
        Arch::Arm => ram.align_up(2 * MIB),
        Arch::X86_64 | Arch::I386 => physical_start(config),
    };
    let at = |offset: u64| base.saturating_add(offset);
    let s = of(config);
    let virt = match config.arch {
        // KIMAGE_VADDR: above the modules, which take 128 MiB.
        Arch::Arm64 => (128 * MIB).wrapping_sub(1 << (config.va_bits.min(48) - 1)).wrapping_add(s.text),
        _ => 0,
    };
    let init_tables = match config.arch {
        Arch::Arm64 => init_tables(virt, virt + (s.end - s.text), config) * config.page_shift.bytes(),
        _ => 0,
    };
    let smp_locks = if config.smp { s.smp_locks } else { 0 };
    KernelImage {
        x86: match config.arch {
            Arch::X86_64 => x86_64_tables(base),
            Arch::I386 => X86Image { idt_table: i386_tables(base, config.lpae).1, ..X86Image::default() },
            _ => X86Image::default(),
        },
        arm64: match config.arch {
            // Other page sizes need other places.
            Arch::Arm64 if config.page_shift.get() == 12 => arm64_tables(base),
            _ => Arm64Image::default(),
        },
        i386: match config.arch {
            // Other splits need other tables.
            Arch::I386 if config.page_offset == 0xc000_0000 => i386_tables(base, config.lpae).0,
            _ => I386Image::default(),
        },
        text_start: at(s.text),
        text_end: at(s.etext),
        rodata_start: at(s.rodata),
        rodata_end: at(s.rodata_end),
        init_begin: at(s.init_begin),
        inittext_end: at(s.inittext_end),
        init_end: at(s.init_end),
        data_start: at(s.data),
        data_end: at(s.data_end),
        bss_start: at(s.bss),
        bss_end: at(s.bss_end),
        end: at(s.end),
        brk_used: s.brk_used,
        virt,
        init_pg_dir: PhysRange::new(at(s.end - init_tables), at(s.end)),
        idmap_text: PhysRange::new(at(s.idmap.0), at(s.idmap.1)),
        smp_locks: PhysRange::new(at(s.init_end), at(s.init_end + smp_locks)),
        decrypted_unused: PhysRange::new(at(s.bss_end - s.decrypted_unused), at(s.bss_end)),
        head_len: match config.arch {
            Arch::Arm => s.text - ARM_TEXT_OFFSET,
            _ => s.text,
        },
    }
}

/// Pages of `init_pg_dir`, which the linker puts at the very end of the image: one top table, and for each level
/// below it down to 2 MiB blocks as many as the image spans, plus one in case it is moved.
pub(crate) fn init_tables(start: u64, end: u64, config: &KernelConfig) -> u64 {
    let page_shift = config.page_shift.get();
    let bits = page_shift - 3;
    let spare = u64::from(config.randomize_base);
    // With 4 KiB pages the image is mapped by blocks, one level less than the full tree.
    let levels = u32::from(config.pgtable_levels) - u32::from(page_shift == 12);
    let entries = |shift: u32| ((end - 1) >> shift) - (start >> shift) + 1 + spare;
    let leaf_shift = if page_shift == 12 { page_shift + bits } else { page_shift };
    1 + (1..levels).map(|level| entries(leaf_shift + bits * level)).sum::<u64>()
}

fn physical_start(config: &KernelConfig) -> PhysAddr {
    PhysAddr::new(u64::from(config.physical_start))
}

#[cfg(test)]
mod tests {
    use super::image;
    use pagewright_addr::PhysAddr;
    use pagewright_firmware::config::{Flavour, KernelConfig};

    #[test]
    fn sections_of_every_image_are_in_order() {
        for flavour in Flavour::ALL {
            let i = image(&KernelConfig::debian(flavour), PhysAddr::new(0x4000_0000));
            let order =
                [i.load_start(), i.text_start, i.text_end, i.rodata_end, i.data_end, i.bss_end, i.end];
            assert!(order.is_sorted(), "{}: {order:x?}", flavour.name());
            assert!(i.init_begin < i.inittext_end && i.inittext_end <= i.init_end, "{}", flavour.name());
            assert!(i.init_pg_dir.end <= i.end);
        }
    }
}
