//! What a layout is computed from.

use crate::version::Version;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_firmware::config::KernelConfig;
use pagewright_firmware::{KernelImage, Machine};

/// A kernel, and the few facts of its machine that move regions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The kernel's configuration.
    pub config: KernelConfig,
    /// Its version.
    pub version: Version,
    /// x86_64: 5-level tables are in use. arm64 with 52-bit addresses: the processor has them.
    pub wide: bool,
    /// `sizeof(struct page)`.
    pub struct_page: u32,
    /// How many processors are possible.
    pub possible_cpus: u32,
    /// `vmalloc=` in bytes, on arm and i386.
    pub vmalloc: Option<u64>,
    /// `reservetop=` in bytes, on i386.
    pub reservetop: u64,
    /// What is known of the machine's RAM. Without it, 32-bit kernels are taken to have as much as they can map.
    pub ram: Option<Ram>,
    /// Where the image's sections lie in RAM; they are left out without it.
    pub image: Option<KernelImage>,
    /// arm: where the boot allocated the page of zeroes (`empty_zero_page`); it is left out without it.
    pub zero_page: Option<PhysAddr>,
    /// x86_64: where the randomised regions begin; `None` where nothing was randomised.
    pub bases: Option<Bases>,
    /// What only some arm processors and boards have.
    pub arm: ArmFacts,
}

/// The machine's RAM as far as it shapes the map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ram {
    /// The physical address of the linear map's first byte (`memstart_addr`, `PHYS_OFFSET`; 0 on x86).
    pub map_start: PhysAddr,
    /// The first byte of RAM.
    pub start: PhysAddr,
    /// The end of what is mapped permanently (`__pa(high_memory - 1) + 1`).
    pub high_memory: PhysAddr,
}

/// Where the three regions begin that x86_64 can move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bases {
    /// `page_offset_base`.
    pub page_offset: VirtAddr,
    /// `vmalloc_base`.
    pub vmalloc: VirtAddr,
    /// `vmemmap_base`.
    pub vmemmap: VirtAddr,
}

/// What only some arm processors and boards have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ArmFacts {
    /// Exceptions go through address 0 (SCTLR.V is clear).
    pub low_vectors: bool,
    /// Bytes of tightly coupled memory for instructions.
    pub itcm_bytes: u32,
    /// The same for data.
    pub dtcm_bytes: u32,
    /// How pages are copied where the data cache needs care.
    pub cache: CacheWindows,
    /// What the cache and the mini data cache are flushed by reading from (FLUSH_BASE, FLUSH_BASE_MINICACHE): 1 MiB each, in the
    /// board's part of vmalloc space.
    pub cache_flush: Option<[VirtRange; 2]>,
}

/// Windows that the upper addresses of arm hold for its data cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CacheWindows {
    /// None: the cache does not alias.
    #[default]
    None,
    /// An aliasing VIPT cache: pages are flushed and copied at an address of their own colour.
    Aliasing,
    /// StrongARM and XScale copy through their mini data cache.
    Minicache,
}

impl Facts {
    /// A kernel with this configuration, 6.1, on a machine of which nothing is known: one processor, as much RAM as the
    /// kernel can map, 5 levels or 52 bits if the kernel is built for them.
    pub const fn new(config: KernelConfig) -> Self {
        Self {
            config,
            version: Version::V6_1,
            wide: config.va_bits > 48,
            struct_page: config.struct_page_bytes(),
            possible_cpus: 1,
            vmalloc: None,
            reservetop: 0,
            ram: None,
            image: None,
            zero_page: None,
            bases: None,
            arm: ArmFacts {
                low_vectors: false,
                itcm_bytes: 0,
                dtcm_bytes: 0,
                cache: CacheWindows::None,
                cache_flush: None,
            },
        }
    }

    /// The facts of a machine as its description and command line have them.
    pub fn of(machine: &Machine<'_>, params: &pagewright_firmware::cmdline::Params<'_>) -> Self {
        let mut facts = Self::new(machine.config);
        facts.wide = machine.cpus.la57;
        facts.struct_page = machine.build.struct_page;
        facts.possible_cpus = machine.cpus.possible;
        facts.vmalloc = params.vmalloc;
        facts.reservetop = params.reservetop.unwrap_or(0);
        facts.image = Some(machine.image);
        let arm = machine.cpus.arm;
        facts.arm.low_vectors = arm.low_vectors;
        facts.arm.itcm_bytes = arm.itcm_bytes;
        facts.arm.dtcm_bytes = arm.dtcm_bytes;
        facts.arm.cache_flush = arm.cache_flush.and_then(|flush| {
            let window = |start| VirtRange { start, len: 1 << 20 };
            Some([window(flush.main), window(flush.mini?)])
        });
        if machine.cpus.vipt_aliasing {
            facts.arm.cache = CacheWindows::Aliasing;
        }
        facts
    }

    /// The same for another version.
    #[must_use]
    pub const fn at_version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// The same with RAM that is known.
    #[must_use]
    pub const fn with_ram(mut self, ram: Ram) -> Self {
        self.ram = Some(ram);
        self
    }

    /// Bytes of RAM from the start of the linear map to the end of what is mapped permanently.
    pub(super) fn mapped_bytes(&self) -> Option<u64> {
        self.ram.map(|r| r.high_memory.get().saturating_sub(r.map_start.get()))
    }
}
