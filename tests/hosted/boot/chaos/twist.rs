//! Changes to what the configuration, the build, the image or the processors say.

use super::words::{extent, place, word};
use crate::support::spec::larger_pages;
use crate::support::{GIB, Spec};
use pagewright_addr::{PageShift, PhysAddr, PhysRange};
use pagewright_firmware::Arch;
use pagewright_firmware::config::{MemoryModel, Slab};
use proptest::prelude::*;

/// A change to what the configuration, the build or the processors say.
#[derive(Clone, Debug)]
pub(super) enum Twist {
    Cpus(u32),
    CacheLine(u32),
    PhysBits(u8),
    PageOffset(u32),
    StructPage(u32),
    Pgdat(u32),
    PercpuStatic(u32),
    PercpuReserved(u32),
    PercpuDynamic(u32),
    RealMode(u32),
    ImageField(usize, u64),
    ImageAt(u64),
    Brk(u64),
    Virt(u64),
    Initrd(PhysRange),
    Seed(u64),
    Pages(PageShift, u8),
    Model(MemoryModel),
    MaxOrder(u8),
    NodesShift(u8),
    Switch(usize),
    NrCpus(u32),
    Gb,
    La57,
    Slots(usize, usize),
}

/// Any memory model, whether the architecture has it or not.
pub(super) fn any_model() -> impl Strategy<Value = MemoryModel> {
    prop::sample::select(vec![
        MemoryModel::Flat,
        MemoryModel::Discontig,
        MemoryModel::Sparse,
        MemoryModel::SparseVmemmap,
    ])
}

pub(super) fn twist() -> impl Strategy<Value = Twist> {
    let small = || prop_oneof![0_u32..10, any::<u32>(), Just(u32::MAX), Just(64), Just(4096), 0_u32..1 << 21];
    let pages = prop::sample::select(vec![
        (PageShift::SHIFT_4K, 39),
        (PageShift::SHIFT_16K, 36),
        (PageShift::SHIFT_16K, 47),
        (PageShift::SHIFT_64K, 42),
        (PageShift::SHIFT_64K, 48),
        (PageShift::SHIFT_64K, 52),
    ]);
    prop_oneof![
        prop_oneof![0_u32..70, Just(512), Just(513), Just(4096), Just(u32::MAX)].prop_map(Twist::Cpus),
        small().prop_map(Twist::CacheLine),
        any::<u8>().prop_map(Twist::PhysBits),
        small().prop_map(Twist::PageOffset),
        small().prop_map(Twist::StructPage),
        small().prop_map(Twist::Pgdat),
        small().prop_map(Twist::PercpuStatic),
        small().prop_map(Twist::PercpuReserved),
        small().prop_map(Twist::PercpuDynamic),
        small().prop_map(Twist::RealMode),
        (0_usize..12, word()).prop_map(|(f, at)| Twist::ImageField(f, at)),
        place().prop_map(Twist::ImageAt),
        word().prop_map(Twist::Brk),
        word().prop_map(Twist::Virt),
        extent().prop_map(Twist::Initrd),
        any::<u64>().prop_map(Twist::Seed),
        pages.prop_map(|(shift, va)| Twist::Pages(shift, va)),
        any_model().prop_map(Twist::Model),
        (0_u8..18).prop_map(Twist::MaxOrder),
        (0_u8..12).prop_map(Twist::NodesShift),
        (0_usize..20).prop_map(Twist::Switch),
        prop_oneof![0_u32..70, any::<u32>()].prop_map(Twist::NrCpus),
        Just(Twist::Gb),
        Just(Twist::La57),
        (0_usize..9, 0_usize..9).prop_map(|(m, r)| Twist::Slots(m, r)),
    ]
}

pub(super) fn apply(spec: &mut Spec, twist: &Twist) {
    let c = &mut spec.config;
    let i = &mut spec.image;
    match *twist {
        Twist::Cpus(n) => spec.cpus.possible = n,
        Twist::CacheLine(n) => spec.cpus.cache_line = n,
        Twist::PhysBits(n) => spec.cpus.phys_bits = n,
        Twist::PageOffset(n) => c.page_offset = n,
        Twist::StructPage(n) => spec.build.struct_page = n,
        Twist::Pgdat(n) => spec.build.pglist_data = n,
        Twist::PercpuStatic(n) => spec.build.percpu_static = n,
        Twist::PercpuReserved(n) => spec.build.percpu_reserved = n,
        Twist::PercpuDynamic(n) => spec.build.percpu_dynamic = n,
        Twist::RealMode(n) => spec.build.real_mode_blob = n,
        Twist::ImageField(field, at) => {
            let fields = [
                &mut i.text_start,
                &mut i.text_end,
                &mut i.rodata_start,
                &mut i.rodata_end,
                &mut i.init_begin,
                &mut i.inittext_end,
                &mut i.init_end,
                &mut i.data_start,
                &mut i.data_end,
                &mut i.bss_start,
                &mut i.bss_end,
                &mut i.end,
            ];
            for (n, slot) in fields.into_iter().enumerate() {
                if n == field {
                    *slot = PhysAddr::new(at);
                }
            }
        }
        Twist::ImageAt(at) => {
            let at = at.min(u64::MAX - GIB);
            spec.image = crate::support::spec::image(c.arch, at, c.va_bits);
        }
        Twist::Brk(n) => i.brk_used = n,
        Twist::Virt(n) => i.virt = n,
        Twist::Initrd(r) => spec.initrd = Some(r),
        Twist::Seed(n) => spec.seed = Some(n),
        Twist::Pages(shift, va) => {
            if c.arch == Arch::Arm64 {
                larger_pages(c, shift, va);
            }
        }
        Twist::Model(model) => {
            c.memory_model = model;
            let sparse = matches!(model, MemoryModel::Sparse | MemoryModel::SparseVmemmap);
            c.sparsemem_extreme &= sparse;
            c.memory_hotplug &= sparse;
            c.deferred_struct_page_init &= sparse;
            c.zone_device &= c.memory_hotplug && model == MemoryModel::SparseVmemmap;
            c.lru_gen &= c.is_64bit() || !sparse;
            if model == MemoryModel::Flat {
                (c.numa, c.numa_emu, c.numa_balancing, c.pernuma_cma) = (false, false, false, false);
            }
        }
        Twist::MaxOrder(n) => c.max_order = n,
        Twist::NodesShift(n) => c.nodes_shift = n,
        Twist::NrCpus(n) => c.nr_cpus = n,
        Twist::Gb => spec.cpus.gbpages = true,
        Twist::La57 => spec.cpus.la57 = true,
        Twist::Slots(memory, reserved) => spec.slots = (memory, reserved),
        Twist::Switch(n) => {
            let switches = [
                &mut c.zone_dma,
                &mut c.zone_dma32,
                &mut c.highmem,
                &mut c.zone_device,
                &mut c.deferred_struct_page_init,
                &mut c.hugetlb,
                &mut c.smp,
                &mut c.strict_kernel_rwx,
                &mut c.rodata_full,
                &mut c.randomize_base,
                &mut c.memory_hotplug,
                &mut c.keep_memblock,
                &mut c.lru_gen,
                &mut c.memory_isolation,
                &mut c.kexec_core,
                &mut c.numa_balancing,
                &mut c.memcg,
                &mut c.sparsemem_extreme,
                &mut c.page_table_isolation,
            ];
            match switches.into_iter().nth(n) {
                Some(switch) => *switch ^= true,
                None => c.slab = Slab::Slob,
            }
        }
    }
}
