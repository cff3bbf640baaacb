//! What a command line says, typed.

use super::Crashkernel;
use super::unknown::UnknownParams;
use super::values::{
    Amount, CmaParam, ElfCoreHeader, HugetlbParam, MemParam, MemmapParam, NumaParam, PercpuAlloc, Pti,
    Rodata, Swiotlb, ThpParam,
};
use arrayvec::ArrayVec;
use pagewright_addr::{PhysAddr, PhysRange};

/// The parameters that bear on memory, and the names of those that no part of the kernel takes.
///
/// Unless a field says otherwise, the last of several equal parameters counts, and `None` or `false` means that it was
/// not given. A parameter that the kernel being modelled does not have (on this architecture, with this configuration)
/// is not read into its field; it is among the unknown ones.
#[derive(Clone, Debug, Default)]
pub struct Params<'a> {
    /// `mem=`, in order. arm adds each as a bank (the first one removes what the firmware said); arm64 uses the last;
    /// x86 cuts its map at each, see `memmap`.
    pub mem: ArrayVec<MemParam, 16>,
    /// x86: `memmap=` items and `mem=` limits, in order.
    pub memmap: ArrayVec<MemmapParam, 64>,
    /// i386: `mem=nopentium`, no 4 MiB pages.
    pub mem_nopentium: bool,
    /// `cma=`.
    pub cma: Option<CmaParam>,
    /// `cma_pernuma=`, bytes on each node.
    pub cma_pernuma: Option<u64>,
    /// `crashkernel=` in all its forms.
    pub crashkernel: Option<Crashkernel<'a>>,
    /// `kernelcore=`. `mirror` counts whatever else is given; a value of 0 % leaves an earlier one in force.
    pub kernelcore: Option<Amount>,
    /// `movablecore=`, never a mirror.
    pub movablecore: Option<Amount>,
    /// `movable_node`.
    pub movable_node: bool,
    /// `numa=`.
    pub numa: NumaParam<'a>,
    /// `numa_balancing=`.
    pub numa_balancing: Option<bool>,
    /// `vmalloc=` on 32-bit kernels, bytes as written.
    pub vmalloc: Option<u64>,
    /// `reservetop=` on i386, bytes at the top of the virtual address space.
    pub reservetop: Option<u64>,
    /// `highmem=` on i386, bytes.
    pub highmem: Option<u64>,
    /// The huge page family, in order.
    pub hugetlb: ArrayVec<HugetlbParam<'a>, 32>,
    /// `hugetlb_cma=`: a size, or `NODE:SIZE,...`, as text.
    pub hugetlb_cma: Option<&'a str>,
    /// `hugetlb_free_vmemmap=`.
    pub hugetlb_free_vmemmap: Option<bool>,
    /// `transparent_hugepage=`.
    pub transparent_hugepage: Option<ThpParam>,
    /// `memtest[=N]`: how many patterns; all 17 without a number.
    pub memtest: Option<u32>,
    /// `memblock=debug`.
    pub memblock_debug: bool,
    /// `mminit_loglevel=`.
    pub mminit_loglevel: Option<i32>,
    /// `init_on_alloc=`.
    pub init_on_alloc: Option<bool>,
    /// `init_on_free=`.
    pub init_on_free: Option<bool>,
    /// `page_poison=`.
    pub page_poison: Option<bool>,
    /// `page_alloc.shuffle=`.
    pub shuffle: Option<bool>,
    /// `rodata=`.
    pub rodata: Option<Rodata>,
    /// `nokaslr`.
    pub nokaslr: bool,
    /// `log_buf_len=`, as written; the kernel rounds it up to a power of two.
    pub log_buf_len: Option<u64>,
    /// `nr_cpus=`, if positive.
    pub nr_cpus: Option<u32>,
    /// `maxcpus=`: how many are started at boot.
    pub maxcpus: Option<u32>,
    /// `possible_cpus=` (x86).
    pub possible_cpus: Option<i32>,
    /// `nosmp`.
    pub nosmp: bool,
    /// `percpu_alloc=`.
    pub percpu_alloc: Option<PercpuAlloc>,
    /// `earlycon=NAME,[mmio...,]ADDRESS`: where the registers of the early console lie in memory.
    pub earlycon: Option<PhysAddr>,
    /// `pti=`, `nopti` (x86), `kpti=` (arm64).
    pub pti: Option<Pti>,
    /// `dhash_entries=`.
    pub dhash_entries: Option<u64>,
    /// `ihash_entries=`.
    pub ihash_entries: Option<u64>,
    /// `mhash_entries=`.
    pub mhash_entries: Option<u64>,
    /// `mphash_entries=`.
    pub mphash_entries: Option<u64>,
    /// `thash_entries=`.
    pub thash_entries: Option<u64>,
    /// `uhash_entries=`.
    pub uhash_entries: Option<u64>,
    /// `hashdist=`: spread large hashes over nodes.
    pub hashdist: Option<bool>,
    /// `swiotlb=`.
    pub swiotlb: Swiotlb,
    /// `cgroup_disable=memory` (perhaps among others).
    pub cgroup_disable_memory: bool,
    /// `slub_min_objects=`.
    pub slub_min_objects: Option<i32>,
    /// `slab_max_order=`.
    pub slab_max_order: Option<i32>,
    /// `slub_min_order=`.
    pub slub_min_order: Option<i32>,
    /// `slub_max_order=`.
    pub slub_max_order: Option<i32>,
    /// `slab_nomerge`, `slub_nomerge` (true); `slab_merge`, `slub_merge` (false).
    pub slab_nomerge: Option<bool>,
    /// `slub_debug` with its options, which may be empty.
    pub slub_debug: Option<&'a str>,
    /// `gbpages` or `nogbpages` (x86_64).
    pub gbpages: Option<bool>,
    /// `no5lvl` (x86_64).
    pub no5lvl: bool,
    /// `acpi=off`.
    pub acpi_off: bool,
    /// `acpi=on` or `acpi=force` (arm64): ACPI although there is a device tree.
    pub acpi_on: bool,
    /// `noapic`, `nolapic` or `disableapic` (x86).
    pub no_local_apic: bool,
    /// `add_efi_memmap` (x86).
    pub add_efi_memmap: bool,
    /// `efi=nosoftreserve`.
    pub efi_nosoftreserve: bool,
    /// `efi=debug`: the map is printed, and boot services' memory is kept.
    pub efi_debug: bool,
    /// `initrd=start,size` and `initrdmem=`; cut at the end of the address space.
    pub initrd: Option<PhysRange>,
    /// `noinitrd`.
    pub noinitrd: bool,
    /// `keepinitrd`, `retain_initrd`.
    pub keep_initrd: bool,
    /// `elfcorehdr=`.
    pub elfcorehdr: Option<ElfCoreHeader>,
    /// `disable_mtrr_trim` (x86).
    pub disable_mtrr_trim: bool,
    /// Those that go to init.
    pub unknown: UnknownParams<'a>,
}

impl<'a> Params<'a> {
    /// The names and values that no part of the kernel takes, in the order in which it lists them.
    pub fn unknown_params(&self) -> impl Iterator<Item = super::Param<'a>> + '_ {
        self.unknown.iter()
    }

    /// The last `mem=`, the only one that counts where it is a limit (arm64).
    pub fn mem_limit(&self) -> Option<u64> {
        self.mem.last().map(|m| m.size)
    }

    /// The last `default_hugepagesz=`.
    pub fn default_hugepage_size(&self) -> Option<u64> {
        self.hugetlb.iter().rev().find_map(|p| match p {
            HugetlbParam::DefaultSize(size) => Some(*size),
            _ => None,
        })
    }
}
