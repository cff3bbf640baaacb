use crate::build::{memory, node, root};
use pagewright_firmware::devicetree::{DeviceTree, DtError};

fn small() -> Vec<u8> {
    root(2, 2).text("model", "a board").with(memory("40000000", &[0, 0x4000_0000, 0, 0x1000_0000])).blob()
}

fn put(blob: &mut [u8], field: usize, value: u32) {
    blob[field * 4..field * 4 + 4].copy_from_slice(&value.to_be_bytes());
}

fn get(blob: &[u8], field: usize) -> u32 {
    u32::from_be_bytes(blob[field * 4..field * 4 + 4].try_into().unwrap())
}

#[test]
fn bytes_beyond_totalsize_are_ignored() {
    let mut blob = small();
    let size = blob.len() as u64;
    blob.extend([0xff; 100]);
    assert_eq!(DeviceTree::parse(&blob).unwrap().total_size(), size);
}

#[test]
fn a_blob_shorter_than_totalsize_is_refused_with_both_lengths() {
    let blob = small();
    let needed_bytes = blob.len() as u64;
    let error = DeviceTree::parse(&blob[..blob.len() - 1]).unwrap_err();
    assert_eq!(error, DtError::TooShort { len_bytes: needed_bytes - 1, needed_bytes });
}

#[test]
fn other_magic_and_versions_are_refused_by_value() {
    let mut blob = small();
    put(&mut blob, 0, 0x1234_5678);
    assert_eq!(DeviceTree::parse(&blob).unwrap_err(), DtError::BadMagic { found: 0x1234_5678 });
    for (version, last_compatible) in [(15, 1), (18, 18), (16, 17)] {
        let mut blob = small();
        put(&mut blob, 5, version);
        put(&mut blob, 6, last_compatible);
        let error = DeviceTree::parse(&blob).unwrap_err();
        assert_eq!(error, DtError::UnsupportedVersion { version, last_compatible });
    }
}

#[test]
fn a_later_version_that_is_compatible_with_17_is_read() {
    let mut blob = small();
    put(&mut blob, 5, 18);
    assert_eq!(DeviceTree::parse(&blob).unwrap().memory_banks().count(), 1);
}

#[test]
fn version_16_has_no_size_of_the_structure_block() {
    let mut blob = small();
    put(&mut blob, 5, 16);
    put(&mut blob, 9, 0xffff_ffff);
    assert_eq!(DeviceTree::parse(&blob).unwrap().memory_banks().count(), 1);
}

#[test]
fn blocks_outside_the_blob_are_refused_by_name() {
    for (field, name) in [(2, "structure"), (3, "strings"), (4, "memory reservation")] {
        let mut blob = small();
        put(&mut blob, field, 0xffff_fff0);
        let Err(DtError::BlockOutside { block, offset: 0xffff_fff0, .. }) = DeviceTree::parse(&blob) else {
            panic!("{name} was taken");
        };
        assert_eq!(block, name);
    }
}

#[test]
fn tokens_that_are_none_are_refused_where_they_stand() {
    let mut blob = small();
    let structure = get(&blob, 2) as usize;
    put(&mut blob, structure / 4, 7);
    assert_eq!(DeviceTree::parse(&blob).unwrap_err(), DtError::BadToken { offset: 0, found: 7 });
    let mut blob = small();
    put(&mut blob, structure / 4, 9);
    assert_eq!(DeviceTree::parse(&blob).unwrap_err(), DtError::NoRoot);
}

#[test]
fn a_structure_that_ends_inside_a_node_is_refused() {
    let mut blob = small();
    let (structure, size) = (get(&blob, 2), get(&blob, 9));
    let last = ((structure + size) / 4) as usize;
    assert_eq!((get(&blob, last - 1), get(&blob, last - 2)), (9, 2));
    put(&mut blob, last - 2, 9);
    assert_eq!(DeviceTree::parse(&blob).unwrap_err(), DtError::Unclosed { offset: size - 8, depth: 1 });
    put(&mut blob, last - 2, 4);
    put(&mut blob, last - 1, 4);
    assert_eq!(DeviceTree::parse(&blob).unwrap_err(), DtError::StructureCut { offset: size });
}

#[test]
fn names_that_the_specification_forbids_are_read_as_linux_reads_them() {
    let long = "a-name-of-more-than-thirty-one-characters-as-symbols-have";
    let blob = root(1, 1).with(node("odd@1@2").text(long, "x")).with(node(long)).blob();
    assert!(dtoolkit::fdt::Fdt::new(&blob).is_err(), "the specification's validator takes it now");
    let tree = DeviceTree::parse(&blob).unwrap();
    let odd = tree.find("/odd").unwrap();
    assert_eq!(odd.name(), "odd@1@2");
    assert_eq!(odd.property(long).unwrap().as_str(), Some("x"));
    assert!(tree.find("/a-name-of-more-than-thirty-one-characters-as-symbols-have").is_some());
}

#[test]
fn a_path_component_without_unit_address_finds_a_node_with_one() {
    let blob = root(1, 1)
        .with(node("soc@0").with(node("uart@10").flag("first")).with(node("uart@20").flag("second")))
        .blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    assert!(tree.find("/soc/uart").unwrap().has("first"));
    assert!(tree.find("/soc@0/uart@20").unwrap().has("second"));
    assert!(tree.find("/soc/uart@30").is_none());
    assert!(tree.find("/soc/uart@1").is_none());
    assert_eq!(tree.find("/").unwrap().name(), "");
}

#[test]
fn children_come_in_order_and_grandchildren_do_not_come() {
    let blob =
        root(1, 1).with(node("a").with(node("b").with(node("c"))).with(node("d"))).with(node("e")).blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    let names: Vec<_> = tree.root().children().map(|n| n.name()).collect();
    assert_eq!(names, ["a", "e"]);
    let a = tree.find("/a").unwrap();
    assert_eq!(a.children().map(|n| n.name()).collect::<Vec<_>>(), ["b", "d"]);
    let mut none = tree.find("/e").unwrap().children();
    assert!(none.next().is_none() && none.next().is_none());
}

#[test]
fn a_property_is_read_the_same_way_by_dtoolkit() {
    let blob = root(2, 1).text("model", "m").with(node("x@4").cells("reg", &[1, 2, 3]).flag("f")).blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    let other = dtoolkit::fdt::Fdt::new(&blob).unwrap();
    let theirs = other.find_node("/x@4").unwrap();
    let ours = tree.find("/x@4").unwrap();
    let pairs: Vec<_> = ours.properties().map(|p| (p.name.to_owned(), p.value.to_vec())).collect();
    use dtoolkit::{Node, Property};
    let expected: Vec<_> = theirs.properties().map(|p| (p.name().to_owned(), p.value().to_vec())).collect();
    assert_eq!(pairs, expected);
    assert_eq!(pairs.len(), 2);
}

#[test]
fn the_machine_is_named_by_model_and_else_by_compatible() {
    let blob = root(1, 1).bytes("compatible", b"vendor,board\0vendor,soc\0").blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    assert_eq!(tree.model(), Some("vendor,board"));
    assert_eq!(tree.compatible_root().collect::<Vec<_>>(), ["vendor,board", "vendor,soc"]);
    assert_eq!(DeviceTree::parse(&small()).unwrap().model(), Some("a board"));
}

#[test]
fn reservations_end_at_the_first_of_size_zero() {
    let blob = root(1, 1).blob_reserving(&[(0x1000, 0x2000), (0, 0x80), (0x5000, 0), (0x9000, 0x1000)]);
    let tree = DeviceTree::parse(&blob).unwrap();
    let ranges: Vec<_> = tree.memory_reservations().map(|r| (r.start.get(), r.end.get())).collect();
    assert_eq!(ranges, [(0x1000, 0x3000), (0, 0x80)]);
}

#[test]
fn strings_of_a_list_are_told_apart_with_and_without_a_final_nul() {
    let blob = root(1, 1).bytes("two", b"one\0two").bytes("three", b"a\0b\0c\0").flag("none").blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    let list = |name| tree.root().property(name).unwrap().strings().map(<[u8]>::to_vec).collect::<Vec<_>>();
    assert_eq!(list("two"), [b"one", b"two"]);
    assert_eq!(list("three"), [b"a", b"b", b"c"]);
    assert!(list("none").is_empty());
    assert!(tree.root().property("two").unwrap().is("one"));
    assert!(!tree.root().property("two").unwrap().is("on"));
}

#[test]
fn errors_say_what_stood_where() {
    let text = DeviceTree::parse(b"").unwrap_err().to_string();
    assert_eq!(text, "device tree is 0 bytes long, expected at least 36");
    let text = DeviceTree::parse(&[0x42; 64]).unwrap_err().to_string();
    assert_eq!(text, "not a device tree: magic 0x42424242, expected 0xd00dfeed");
}
