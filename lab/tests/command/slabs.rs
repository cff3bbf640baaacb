//! `show slab` and `show slabinfo`: caches as the kernel was built.

use crate::{pagewright, scratch, text};

#[test]
fn caches_are_shown_of_machines_larger_than_the_host_and_as_their_kernel_was_built() {
    let all = ["show", "slabinfo", "--machine", "x86_64-q35", "--memory", "64G"];
    assert!(text(&all).contains("\nkmalloc-8k "));
    let dir = scratch("slab-config");
    let show = |machine: &str, config: &str, cmdline: &str| {
        let file = dir.join(machine);
        std::fs::write(&file, config).unwrap();
        let config = ["--kernel-config", file.to_str().unwrap(), "--cmdline", cmdline];
        text(&[&["show", "slab", "kmalloc-512", "--machine", machine][..], &config].concat())
    };
    let has = |shown: &str, file: &str| shown.contains(&format!("kmalloc-512/{file}:"));
    let debian = show("x86_64-q35", "", "");
    assert!(
        !has(&debian, "failslab") && has(&debian, "remote_node_defrag_ratio") && has(&debian, "cache_dma")
    );
    assert!(debian.contains("kmalloc-512/cpu_partial:52\n"), "{debian}");
    assert!(has(&show("x86_64-q35", "CONFIG_FAILSLAB=y", ""), "failslab"));
    assert!(!has(&show("x86_64-q35", "# CONFIG_ZONE_DMA is not set", ""), "cache_dma"));
    assert!(!has(&show("arm-virt", "", ""), "remote_node_defrag_ratio"));
    let plain = show("x86_64-q35", "# CONFIG_SLUB_DEBUG is not set", "slub_debug=Z");
    assert!(has(&plain, "slab_size") && !has(&plain, "red_zone") && plain.contains("/slab_size:512\n"));
    let alone = show("x86_64-q35", "# CONFIG_SLUB_CPU_PARTIAL is not set", "");
    assert!(alone.contains("kmalloc-512/cpu_partial:0\n"), "{alone}");
    let file = dir.join("x86_64-q35");
    std::fs::write(&file, "# CONFIG_SLUB_DEBUG is not set").unwrap();
    let refused = pagewright(&[
        "show",
        "slabinfo",
        "--machine",
        "x86_64-q35",
        "--kernel-config",
        file.to_str().unwrap(),
    ]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("there is no such file"));
    std::fs::remove_dir_all(dir).unwrap();
}
