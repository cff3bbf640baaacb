//! Pools of huge pages, as the command line asks for them.

use crate::text;

#[test]
fn huge_pages_of_nodes_fail_by_node_and_named_sizes_are_registered_first() {
    let asks = "hugepagesz=1G hugepages=0:1,1:9 hugepagesz=64K hugepages=1:40 hugepages=0:99999,1:2";
    let asks = asks.replace("hugepages=0:99999", "default_hugepagesz=2M hugepages=0:99999");
    let log = text(&["boot", "--machine", "arm64-numa2", "--cmdline", &asks]);
    assert!(log.contains("allocating 9 of page size 1.00 GiB failed node1.  Only allocated "));
    assert!(log.contains("allocating 99999 of page size 2.00 MiB failed node0.  Only allocated "));
    let sizes: Vec<&str> =
        log.lines().filter_map(|l| l.split_once("registered ")?.1.split(" page").next()).collect();
    assert_eq!(sizes, ["1.00 GiB", "64.0 KiB", "2.00 MiB", "32.0 MiB"]);
}

#[test]
fn a_number_of_huge_pages_that_follows_another_without_a_size_is_ignored() {
    let boot = |cmdline: &str| text(&["boot", "--machine", "x86_64-q35", "--cmdline", cmdline]);
    let pools = |cmdline: &str| text(&["show", "meminfo", "--machine", "x86_64-q35", "--cmdline", cmdline]);
    let twice = "HugeTLB: hugepages= specified twice without interleaving hugepagesz=, ignoring hugepages=";
    assert!(boot("hugepages=3 hugepages=5").contains(&format!("{twice}5")));
    assert!(boot("hugepagesz=2M hugepages=3 hugepages=5").contains(&format!("{twice}5")));
    assert!(pools("hugepages=3 hugepages=5").contains("HugePages_Total:       3"));
    // With a size in between, each counts.
    let fine = "hugepagesz=2M hugepages=3 hugepagesz=1G hugepages=1";
    assert!(!boot(fine).contains(twice));
    assert!(!boot("hugepages=3 default_hugepagesz=2M hugepages=5").contains(twice));
}

#[test]
fn huge_pages_come_from_all_nodes_in_turn() {
    let show = |cmdline: &str| text(&["show", "zoneinfo", "--machine", "arm64-numa2", "--cmdline", cmdline]);
    let free = |info: &str| -> Vec<u64> {
        let lines = info.lines().filter_map(|l| l.trim().strip_prefix("nr_free_pages"));
        lines.map(|n| n.trim().parse().unwrap()).filter(|n| *n > 100_000).collect()
    };
    let (without, with) = (free(&show("")), free(&show("hugepages=100")));
    let taken: Vec<u64> = without.iter().zip(&with).map(|(a, b)| a - b).collect();
    assert_eq!((taken.iter().sum::<u64>(), taken.last().copied()), (51_200, Some(25_600)), "{taken:?}");
}

#[test]
fn meminfo_shows_the_pools_of_huge_pages() {
    for (arch, cmdline, lines) in [
        ("x86_64", "", ["Total:       0", "Hugepagesize:       2048 kB", "Hugetlb:               0 kB"]),
        (
            "x86_64",
            "hugepages=64",
            ["Total:      64", "Hugepagesize:       2048 kB", "Hugetlb:          131072 kB"],
        ),
        (
            "x86_64",
            "hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=8",
            ["Total:       8", "Hugepagesize:       2048 kB", "Hugetlb:         1064960 kB"],
        ),
        (
            "x86_64",
            "default_hugepagesz=1G hugepages=1",
            ["Total:       1", "Hugepagesize:    1048576 kB", "Hugetlb:         1048576 kB"],
        ),
        (
            "arm64",
            "hugepagesz=64K hugepages=100 hugepagesz=2M hugepages=3 hugepagesz=32M hugepages=2",
            ["Total:       3", "Hugepagesize:       2048 kB", "Hugetlb:           78080 kB"],
        ),
        (
            "i386-pae",
            "hugepages=4",
            ["Total:       4", "Hugepagesize:       2048 kB", "Hugetlb:            8192 kB"],
        ),
    ] {
        let show = |cmdline: &str| {
            text(&["show", "meminfo", "--arch", arch, "--memory", "4G", "--cmdline", cmdline])
        };
        let shown = show(cmdline);
        let [total, size, all] = lines;
        let free = total.replace("Total:", "Free: ");
        let block = format!(
            "HugePages_{total}\nHugePages_{free}\nHugePages_Rsvd:        0\nHugePages_Surp:        0\n{size}\n{all}\n"
        );
        assert!(shown.contains(&block), "{arch} {cmdline}:\n{block}\n{shown}");
        // Huge pages are RAM that the kernel manages, and none of it is free.
        let value = |text: &str, name: &str| -> u64 {
            let line = text.lines().find(|l| l.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let hugetlb = value(&shown, "Hugetlb:");
        let (total, free) = (value(&shown, "MemTotal:"), value(&shown, "MemFree:"));
        assert!(total - free >= hugetlb, "{arch} {cmdline}: {total} {free}");
        assert!(value(&show(""), "MemTotal:").abs_diff(total) < 64, "{arch} {cmdline}");
        assert_eq!(value(&shown, "CommitLimit:"), (total / 4 - hugetlb / 4) / 2 * 4, "{arch} {cmdline}");
    }
}

#[test]
fn more_huge_pages_than_there_is_memory_are_as_many_as_fit() {
    let shown =
        text(&["show", "meminfo", "--arch", "x86_64", "--memory", "1G", "--cmdline", "hugepages=9999"]);
    let meminfo = pagewright_lab::show::meminfo::MemInfo::parse(&shown).unwrap();
    let (count, free) = (meminfo.get("HugePages_Total").unwrap(), meminfo.get("MemFree").unwrap());
    assert!(count > 400 && count * 2048 + free <= meminfo.get("MemTotal").unwrap(), "{shown}");
}
