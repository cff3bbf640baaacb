use crate::build::{node, root};
use pagewright_firmware::devicetree::DeviceTree;

#[test]
fn nodes_are_found_by_either_name_of_their_number() {
    let blob = root(2, 1)
        .with(node("a").cells("phandle", &[7]).with(node("b").cells("linux,phandle", &[8])))
        .with(node("zero").cells("phandle", &[0]))
        // The newer name counts.
        .with(node("both").cells("linux,phandle", &[9]).cells("phandle", &[10]))
        .blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    let name = |phandle| tree.by_phandle(phandle).map(|node| node.name());
    assert_eq!([7, 8, 9, 10, 0].map(name), [Some("a"), Some("b"), None, Some("both"), None]);
    assert_eq!(tree.by_phandle(8), tree.find("/a/b"));
    assert_ne!(tree.by_phandle(8), tree.find("/a"));
}

#[test]
fn entries_of_a_list_are_counted_in_cells() {
    let user = node("user").cells("list", &[2, 1, 3]).bytes("odd", &[0, 0, 0, 1, 0]);
    let blob = root(2, 1)
        .with(user)
        .with(node("one").cells("phandle", &[1]))
        .with(node("two").cells("phandle", &[2]));
    let blob = blob.blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    let user = tree.find("/user").unwrap();
    let name = |list, index| tree.referred(&user, list, index).map(|node| node.name());
    assert_eq!([0, 1, 2, 3].map(|index| name("list", index)), [Some("two"), Some("one"), None, None]);
    assert_eq!(
        [name("odd", 0), name("odd", 1), name("none", 0), name("list", usize::MAX)],
        [Some("one"), None, None, None]
    );
}
