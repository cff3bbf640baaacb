//! Sizes that follow from a kernel build, as far as a configuration fixes them.

use super::KernelConfig;
use crate::machine::{Arch, BuildFacts};

/// `PERCPU_MODULE_RESERVE`.
const MODULE_RESERVE: u32 = 8 << 10;

/// Bytes of `pg_data_t` apart from its zonelists, in Debian's kernels.
const NODE_WITHOUT_ZONELISTS_X86_64: u32 = 10_336;
const NODE_WITHOUT_ZONELISTS_ARM64: u32 = 9_312;

impl KernelConfig {
    /// Bytes of a node's zonelists: for each kind of zone on each possible node an entry of two words, and one that ends
    /// the list; two lists with NUMA.
    pub const fn zonelists_bytes(&self) -> u32 {
        let entries = self.max_numnodes() * self.max_nr_zones() + 1;
        let lists = if self.numa { 2 } else { 1 };
        entries * 2 * self.long_bytes() * lists
    }
}

impl BuildFacts {
    /// The sizes of a kernel with this configuration.
    ///
    /// `struct_page` and the zonelists' part of `pglist_data` are computed; the rest of `pglist_data`, `percpu_static` and
    /// `real_mode_blob` depend on all of a kernel's code and are those of Debian's 6.1 kernels. A kernel without NUMA
    /// has its one node in the image and allocates none: `pglist_data` is 0.
    pub const fn for_config(config: &KernelConfig) -> Self {
        let (percpu_static, real_mode_blob, node) = match (config.arch, config.lpae) {
            (Arch::X86_64, _) => (217_088, 28_672, NODE_WITHOUT_ZONELISTS_X86_64),
            (Arch::Arm64, _) => (87_208, 0, NODE_WITHOUT_ZONELISTS_ARM64),
            (Arch::Arm, false) => (45_012, 0, 0),
            (Arch::Arm, true) => (45_204, 0, 0),
            (Arch::I386, false) => (103_316, 16_384, 0),
            (Arch::I386, true) => (104_276, 16_384, 0),
        };
        let dynamic = if config.is_64bit() { 28 << 10 } else { 20 << 10 };
        // i386 reserves nothing for modules: it adds the same amount to the dynamic part.
        let (percpu_reserved, percpu_dynamic) = match config.arch {
            Arch::I386 => (0, dynamic + MODULE_RESERVE),
            _ => (MODULE_RESERVE, dynamic),
        };
        Self {
            struct_page: config.struct_page_bytes(),
            pglist_data: if config.numa { node + config.zonelists_bytes() } else { 0 },
            percpu_static,
            percpu_reserved,
            percpu_dynamic,
            real_mode_blob,
            // Its header's page, then the text: one page, two where it has a part with 64 bits.
            real_mode_ro: match config.arch {
                Arch::X86_64 => 3 << 12,
                Arch::I386 => 2 << 12,
                _ => 0,
            },
            real_mode_text: if config.is_x86() { 1 << 12 } else { 0 },
        }
    }
}
