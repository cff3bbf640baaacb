//! Which parameter names a kernel knows.
//!
//! The kernel registers names in three tables: early options and core parameters, known by their exact name, and late
//! handlers, which see every parameter that starts with their text (`hugepages=` does not match a bare `hugepages`).
//! Names that belong to a part of the kernel which the configuration switches are decided by that; the rest are those
//! of Debian's kernels.

mod names;

use crate::config::{KernelConfig, Slab, Thp};
use crate::machine::Arch;
use names::{ARM, ARM64, Arches, GROUPS, I386, X86_64};

/// How a name is matched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The name must be equal; a value may follow or not.
    Exact,
    /// A registered text with a `=` needs a value that starts with what follows the `=`.
    Late,
}

/// Whether some part of a kernel with this configuration takes a parameter of this name (in which `-` is written `_`).
pub(super) fn is_known(name: &str, value: Option<&str>, config: &KernelConfig) -> bool {
    if let Some(built) = by_configuration(name, value, config) {
        return built;
    }
    let arch: Arches = match config.arch {
        Arch::X86_64 => X86_64,
        Arch::I386 => I386,
        Arch::Arm64 => ARM64,
        Arch::Arm => ARM,
    };
    let groups = GROUPS.iter().filter(|group| group.arches & arch != 0);
    groups.flat_map(|group| group.names.split_ascii_whitespace().map(|text| (group.kind, text))).any(
        |(kind, text)| match (kind, text.split_once('=')) {
            (Kind::Late, Some((registered, start))) => {
                registered == name && value.is_some_and(|v| v.starts_with(start))
            }
            _ => text == name,
        },
    )
}

/// Names that come and go with a symbol; `None` for all others.
fn by_configuration(name: &str, value: Option<&str>, config: &KernelConfig) -> Option<bool> {
    let late = value.is_some();
    Some(match name {
        "cma" => config.cma.is_some(),
        "cma_pernuma" => config.pernuma_cma,
        "hugetlb_cma" => config.hugetlb && config.cma.is_some(),
        "hugepages" | "hugepagesz" | "default_hugepagesz" => late && config.hugetlb,
        "hugetlb_free_vmemmap" => config.hugetlb && config.arch == Arch::X86_64,
        "transparent_hugepage" => late && config.thp != Thp::Off,
        "page_alloc.shuffle" => config.shuffle_page_allocator,
        "movable_node" => config.memory_hotplug,
        "memhp_default_state" => late && config.memory_hotplug,
        "numa" => config.numa,
        "hashdist" => late && config.numa,
        "numa_balancing" => late && config.numa_balancing,
        "memtest" => config.memtest,
        "kpti" => config.arch == Arch::Arm64 && config.page_table_isolation,
        "highmem" => config.arch == Arch::I386 && config.highmem,
        "elfcorehdr" => config.crash_dump,
        "crashkernel" => config.kexec_core,
        "rodata" => config.strict_kernel_rwx,
        "nr_cpus" | "maxcpus" | "nosmp" => config.smp,
        "possible_cpus" => config.smp && config.is_x86(),
        "slub_debug" => config.slab == Slab::Slub && config.slub_debug,
        "slub_merge" | "slub_nomerge" => config.slab == Slab::Slub,
        "slub_max_order" | "slub_min_objects" | "slub_min_order" => late && config.slab == Slab::Slub,
        "slab_max_order" => late && config.slab == Slab::Slab,
        "swapaccount" | "cgroup.memory" => late && config.memcg,
        _ => return None,
    })
}
