//! The first corpus: small inputs, each with something in it that a parser must get right. Written by hand, so that
//! mutations start close to the interesting places.

use pagewright_kspace::module::ModuleArch;
use pagewright_pagetable::format::FormatKind;

mod binary;
mod text;

/// Names of the formats' seeds, in the order of the formats.
const PAGE_TABLES: [&str; FormatKind::ALL.len()] = [
    "x86_64-4",
    "x86_64-5",
    "arm64-4k-39",
    "arm64-4k-48",
    "arm64-16k-36",
    "arm64-16k-47",
    "arm64-16k-48",
    "arm64-64k-42",
    "arm64-64k-48",
    "arm64-64k-52",
    "arm-short",
    "arm-lpae",
    "i386",
    "i386-pae",
];

/// All seeds: target, file name, bytes.
pub fn all() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut all = binary::all();
    all.extend(text::all().into_iter().map(|(target, name, text)| (target, name, text.as_bytes().to_vec())));
    all.extend(
        FormatKind::ALL
            .iter()
            .zip(PAGE_TABLES)
            .map(|(kind, name)| ("page_tables", name, crate::page_tables_seed(*kind))),
    );
    let modules = [
        ("x86_64", ModuleArch::X86_64),
        ("i386", ModuleArch::I386),
        ("arm64", ModuleArch::Arm64),
        ("arm", ModuleArch::Arm),
    ];
    all.extend(modules.map(|(name, arch)| ("module", name, pagewright_sim::modules::sample(arch).build())));
    let tables = [
        ("x86_64-tables", ModuleArch::X86_64),
        ("i386-tables", ModuleArch::I386),
        ("arm64-tables", ModuleArch::Arm64),
        ("arm-tables", ModuleArch::Arm),
    ];
    all.extend(tables.map(|(name, arch)| ("module", name, pagewright_sim::modules::exporting(arch).build())));
    let machines = ["plain", "dma32", "numa", "cma"];
    all.extend(
        machines.into_iter().zip(0..).map(|(name, n)| ("page_alloc", name, crate::page_alloc_seed(n))),
    );
    let slabs = [
        "slub",
        "slub-cpu-slabs",
        "slab",
        "slob",
        "slub-numa",
        "slub-cpu-slabs-numa",
        "slab-numa",
        "slob-numa",
        "slub-watched",
    ];
    all.extend(slabs.into_iter().zip(0..).map(|(name, n)| ("slabs", name, crate::slabs_seed(n))));
    all
}
