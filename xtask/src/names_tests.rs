//! The map answers for every name, and the check can fail.

use super::*;

#[test]
fn every_linux_name_has_an_answer() {
    assert_eq!(run(&Project::locate()), Ok(()));
}

#[test]
fn a_name_without_a_row_is_a_fault() {
    let map =
        parse("| Linux | here |\n|---|---|\n| `mem_map` `page_to_pfn` | `pagewright_page::PageMap` |\n");
    assert_eq!(unanswered("mem_map\npage_to_pfn\n", &map), Vec::<String>::new());
    assert_eq!(unanswered("mem_map\nkmalloc\n", &map), ["kmalloc: no row"]);
}

#[test]
fn a_name_in_running_text_is_no_answer() {
    let map = parse("We know `kmalloc` well.\n");
    assert!(map.is_empty());
}

#[test]
fn an_answer_of_another_form_is_a_fault() {
    let map = parse(
        "| `kmalloc` | somewhere |\n| `vmalloc` | planned: `kspace` |\n| `insmod` | none: no modules |\n",
    );
    assert_eq!(unanswered("kmalloc\nvmalloc\ninsmod\n", &map).len(), 1);
}

#[test]
fn a_counterpart_that_is_not_defined_is_found_out() {
    let root = Project::locate();
    let there = |answer| not_there(root.root(), answer, &mut BTreeMap::new());
    assert_eq!(there("`pagewright_addr::PhysAddr`"), None);
    assert_eq!(there("`pagewright_addr::PageShift::pages_for`, rounding up"), None);
    assert!(there("`pagewright_addr::NoSuchThing`").is_some());
    assert!(there("`pagewright_nowhere::Thing`").is_some());
}

#[test]
fn a_definition_is_told_from_a_mention() {
    let source =
        "/// Like zonelist.\npub enum Kind {\n    Dma,\n    Normal(u8),\n}\nfn build_all() { zonelists() }\n";
    assert!(mentions(source, "Dma") && mentions(source, "Normal") && mentions(source, "build_all"));
    assert!(!mentions(source, "zonelist") && !mentions(source, "zonelists") && !mentions(source, "build"));
}
