use super::document;
use pagewright_addr::PhysAddr;
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_kspace::layout::Ram;
use pagewright_kspace::{Facts, Layout, Version};

fn layout(flavour: Flavour, version: (u16, u16), start: u64, mapped: u64) -> Layout {
    let start = PhysAddr::new(start);
    let ram = Ram { map_start: start, start, high_memory: start.saturating_add(mapped) };
    let facts = Facts::new(KernelConfig::debian(flavour)).with_ram(ram);
    Layout::of(&facts.at_version(Version::new(version.0, version.1))).unwrap()
}

#[test]
fn the_document_has_every_region_with_addresses_as_text() {
    let layout = layout(Flavour::Arm64, (6, 1), 0x4000_0000, 1 << 30);
    let json = document(&layout);
    assert_eq!(json["architecture"], "arm64");
    assert_eq!(json["linux"], "6.1");
    let regions = json["regions"].as_array().unwrap();
    assert_eq!(regions.len(), layout.regions().len());
    let find = |kind: &str| regions.iter().find(|r| r["kind"] == kind).unwrap();
    assert_eq!(find("pci_io")["start"], "0xfffffbfffe800000");
    assert_eq!(find("pci_io")["last"], "0xfffffbffff7fffff");
    assert_eq!(find("pci_io")["size_bytes"], 16 << 20);
    assert_eq!(find("pci_io")["inside"], serde_json::Value::Null);
    assert_eq!(find("vmemmap_used")["inside"], "vmemmap");
    assert_eq!(json["limits"]["task_size"], "0x1000000000000");
    assert_eq!(json["limits"]["io_space_limit"], "0xffffff");
    let slot = |name: &str| {
        let slots = json["fixmap"]["slots"].as_array().unwrap();
        slots.iter().find(|s| s["name"] == name).unwrap().clone()
    };
    assert_eq!(slot("FIX_FDT_END")["start"], "0xfffffbfffdc00000");
    assert_eq!(slot("FIX_FDT_END")["count"], 1024);
    assert_eq!(slot("FIX_BTMAP_END")["permanent"], false);
    assert_eq!(json["markers"][0]["name"], "Linear Mapping start");
    // Sizes that do not fit 2^53 are exact numbers all the same.
    let user = find("non_canonical");
    assert_eq!(user["size_bytes"].as_u64(), Some(0xfffe_0000_0000_0000));
}

/// The keys and kinds of `docs/json.md`'s section about this document.
#[test]
fn every_key_and_kind_is_documented() {
    let doc = include_str!("../../../../docs/json.md");
    let doc = doc.split("## `show layout --json`").nth(1).unwrap();
    let documented = |key: &str| assert!(doc.contains(&format!("`{key}`")), "{key}");
    for flavour in Flavour::ALL {
        let layout = layout(flavour, (6, 1), 0x4000_0000, 1 << 26);
        let json = document(&layout);
        for (key, value) in json.as_object().unwrap() {
            match value {
                serde_json::Value::Array(list) => {
                    let fields = list[0].as_object().unwrap().keys();
                    fields.for_each(|field| documented(&format!("{key}[].{field}")));
                }
                serde_json::Value::Object(map) => {
                    for (field, inner) in map {
                        let list = if inner.is_array() { "[]" } else { "" };
                        documented(&format!("{key}.{field}{list}"));
                    }
                }
                _ => documented(key),
            }
        }
        let slots = json["fixmap"]["slots"][0].as_object().unwrap();
        slots.keys().for_each(|field| documented(&format!("fixmap.slots[].{field}")));
        layout.regions().iter().for_each(|r| documented(r.kind.word()));
    }
}
