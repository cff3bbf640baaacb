//! Arbitrary command lines.

use super::*;
use proptest::prelude::*;

const NAMES: [&str; 24] = [
    "mem",
    "memmap",
    "cma",
    "crashkernel",
    "kernelcore",
    "movablecore",
    "numa",
    "vmalloc",
    "highmem",
    "hugepages",
    "hugepagesz",
    "memtest",
    "init_on_alloc",
    "rodata",
    "log_buf_len",
    "nr_cpus",
    "percpu_alloc",
    "swiotlb",
    "initrd",
    "elfcorehdr",
    "transparent_hugepage",
    "init",
    "--",
    "nokaslr",
];

fn every_arch(text: &str) {
    for flavour in Flavour::ALL {
        let config = KernelConfig::debian(flavour);
        let (params, diagnostics) = CommandLine::new(text).parse_for(&config);
        let shown = params.unknown.to_string();
        assert_eq!(shown.is_empty(), params.unknown.is_empty());
        diagnostics.iter().for_each(|d| drop(d.to_string()));
        if let Some(crash) = params.crashkernel {
            let _ = crash.resolve(1 << 32);
            let _ = crash.resolve_suffix(CrashkernelSuffix::High);
            let _ = crash.resolve_suffix(CrashkernelSuffix::Low);
        }
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,120}") {
        every_arch(&text);
    }

    #[test]
    fn no_value_panics(
        params in prop::collection::vec(
            (prop::sample::select(Vec::from(NAMES)), "[-=@#$!%:,.\"0-9a-fxKMGTPE ]{0,24}é?"),
            0..12,
        )
    ) {
        let text: std::string::String = params.iter().map(|(n, v)| std::format!("{n}={v} ")).collect();
        every_arch(&text);
    }

    #[test]
    fn plain_parameters_come_back_as_written(
        params in prop::collection::vec(("[a-z_]{1,8}", prop::option::of("[a-z0-9,=]{0,8}")), 0..12)
    ) {
        let text: std::string::String = params
            .iter()
            .map(|(n, v)| v.as_ref().map_or(std::format!("{n} "), |v| std::format!("{n}={v} ")))
            .collect();
        let read: Vec<_> = CommandLine::new(&text).params().map(|p| (p.name.to_string(), p.value.map(str::to_string))).collect();
        prop_assert_eq!(read, params);
    }

    #[test]
    fn sizes_read_back(value in any::<u64>()) {
        let texts = [
            (std::format!("{value}"), ""),
            (std::format!("{value:#x}@1"), "@1"),
            (std::format!("0{value:o},"), ","),
        ];
        for (text, rest) in &texts {
            prop_assert_eq!(memparse(text), (value, *rest));
        }
    }
}
