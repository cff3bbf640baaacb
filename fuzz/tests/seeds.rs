//! The corpus is worth mutating: its seeds are accepted, and it stands in the tree as the seeds' writer makes it.

use pagewright_firmware::acpi::{self, Slit};
use pagewright_firmware::atags::Atags;
use pagewright_firmware::devicetree::DeviceTree;
use pagewright_fuzz::{Mutator, TARGETS, seeds};
use std::path::Path;

fn seed(target: &str, name: &str) -> Vec<u8> {
    seeds::all().into_iter().find(|(t, n, _)| *t == target && *n == name).expect("there is such a seed").2
}

#[test]
fn device_tree_seeds_describe_what_they_should() {
    let bytes = seed("dtb", "numa");
    let tree = DeviceTree::parse(&bytes).unwrap();
    assert_eq!((tree.memory_banks().count(), tree.cpus().count()), (2, 2));
    assert!(tree.has_numa() && tree.distances().is_some());
    let bytes = seed("dtb", "reserved");
    assert_eq!(DeviceTree::parse(&bytes).unwrap().reserved_memory().count(), 4);
    let bytes = seed("dtb", "plain");
    assert!(DeviceTree::parse(&bytes).unwrap().chosen().initrd.is_some());
}

#[test]
fn table_seeds_are_accepted() {
    let mut entries = 0;
    acpi::parse_srat(&seed("acpi", "srat"), &mut |_| entries += 1).unwrap();
    assert_eq!(entries, 6);
    assert!(acpi::parse_madt(&seed("acpi", "madt"), &mut |_| ()).is_ok());
    assert_eq!(Slit::parse(&seed("acpi", "slit")).unwrap().localities(), 3);
    assert_eq!(Atags::parse(&seed("atags", "full")).unwrap().memory.len(), 2);
}

#[test]
fn the_committed_corpus_has_every_seed_as_it_is_written() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (target, name, bytes) in seeds::all() {
        let file = corpus.join(target).join(name);
        assert_eq!(std::fs::read(&file).ok(), Some(bytes), "{}: run corpus --write-seeds", file.display());
    }
}

#[test]
fn every_target_has_its_cargo_fuzz_entry() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
    for name in TARGETS.map(|target| target.name) {
        assert!(dir.join(format!("{name}.rs")).is_file(), "{name}");
    }
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), TARGETS.len());
}

#[test]
fn mutations_repeat_and_differ() {
    let once: Vec<_> = (0..50)
        .map({
            let mut m = Mutator::new(7);
            move |_| m.mutate(b"some seed", b"other")
        })
        .collect();
    let again: Vec<_> = (0..50)
        .map({
            let mut m = Mutator::new(7);
            move |_| m.mutate(b"some seed", b"other")
        })
        .collect();
    assert_eq!(once, again);
    assert!(once.iter().any(|bytes| bytes != b"some seed"));
}
