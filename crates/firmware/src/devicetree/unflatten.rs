//! How much memory Linux takes to unflatten a tree (`unflatten_device_tree`) and for its aliases (`of_alias_scan`).
//!
//! Linux walks the blob twice, first only to add up sizes: for each node a `struct device_node` with the node's name
//! behind it, for each property a `struct property`, and, for a node without a `name` property, one more with the
//! name up to the unit address behind it. Each begins aligned to a pointer. The request is the sum rounded up to 4,
//! plus 4 for an end marker. The sizes of the two structures are those of kernels with CONFIG_OF_KOBJ and without
//! CONFIG_OF_DYNAMIC; they were derived from the allocations that captured kernels logged, which they meet exactly.

use super::{DeviceTree, Node};

/// Nodes at this depth or deeper are left out (FDT_MAX_DEPTH - 1).
const MAX_DEPTH: u32 = 63;

/// How many aliases one alias may lead through.
const MAX_ALIAS_DEPTH: u32 = 8;

/// Sizes of the kernel's structures, by the size of a pointer.
struct Sizes {
    device_node: u64,
    property: u64,
    alias_prop: u64,
    pointer: u64,
}

impl Sizes {
    fn of(pointer_bytes: u32) -> Self {
        if pointer_bytes >= 8 {
            Self { device_node: 208, property: 96, alias_prop: 40, pointer: 8 }
        } else {
            Self { device_node: 108, property: 48, alias_prop: 20, pointer: 4 }
        }
    }
}

/// An allocation for one alias, in the order of /aliases.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AliasAllocation<'a> {
    /// The alias up to its number.
    pub stem: &'a str,
    /// Its number.
    pub id: u32,
    /// Bytes asked for, aligned to a pointer.
    pub bytes: u64,
}

impl<'a> DeviceTree<'a> {
    /// Bytes that `unflatten_device_tree` asks for, aligned to a pointer of `pointer_bytes` (4 or 8).
    ///
    /// A `rng-seed` in /chosen does not count: Linux has taken it out by then.
    pub fn unflattened_size(&self, pointer_bytes: u32) -> u64 {
        let sizes = Sizes::of(pointer_bytes);
        let chosen = self.chosen_node().map(|n| n.position());
        let mut total = 0_u64;
        let mut add = |bytes: u64| total = total.next_multiple_of(sizes.pointer) + bytes;
        for (depth, node) in self.blob.nodes() {
            if depth >= MAX_DEPTH {
                continue;
            }
            add(sizes.device_node + node.name().len() as u64 + 1);
            let is_chosen = chosen == Some(node.position());
            let mut named = false;
            for p in node.properties() {
                if is_chosen && p.name == "rng-seed" && !p.value.is_empty() {
                    continue;
                }
                named |= p.name == "name";
                add(sizes.property);
            }
            if !named {
                add(sizes.property + unit_name_len(node.name()) + 1);
            }
        }
        total.next_multiple_of(4) + 4
    }

    /// The allocations that follow for /aliases, one for each alias that ends in a number and names a node.
    pub fn alias_allocations(
        &self,
        pointer_bytes: u32,
    ) -> impl Iterator<Item = AliasAllocation<'a>> + Clone + use<'a> {
        let base = Sizes::of(pointer_bytes).alias_prop;
        let root = self.root();
        let aliases = root.child_exact("aliases");
        aliases.into_iter().flat_map(|n| n.properties()).filter_map(move |p| {
            if matches!(p.name, "name" | "phandle" | "linux,phandle") {
                return None;
            }
            find_by_path(root, p.as_str()?, MAX_ALIAS_DEPTH)?;
            let stem = p.name.trim_end_matches(|c: char| c.is_ascii_digit());
            let id = p.name[stem.len()..].parse::<i32>().ok()?.unsigned_abs();
            Some(AliasAllocation { stem, id, bytes: base + stem.len() as u64 + 1 })
        })
    }
}

/// Length of a node's name up to its last `@`.
fn unit_name_len(name: &str) -> u64 {
    name.rfind('@').unwrap_or(name.len()) as u64
}

/// Linux's `of_find_node_by_path`: exact names; a path that does not begin with `/` begins with an alias, which ends
/// at a colon anywhere in the path, else at the first `/`; options behind the colon are left out. Aliases that name
/// aliases are followed `depth` times; Linux would follow a loop until its stack ends.
fn find_by_path<'a>(root: Node<'a>, path: &str, depth: u32) -> Option<Node<'a>> {
    let options = path.find(':');
    let (start, rest) = if path.starts_with('/') {
        (root, path)
    } else {
        let (alias, rest) = path.split_at(options.or_else(|| path.find('/')).unwrap_or(path.len()));
        let value = root.child_exact("aliases")?.property(alias)?.as_str()?;
        (find_by_path(root, value, depth.checked_sub(1)?)?, rest)
    };
    let rest = rest.split(':').next().unwrap_or(rest);
    match rest.strip_prefix('/') {
        None => Some(start),
        Some("") if path == "/" => Some(root),
        Some(names) => names.split('/').try_fold(start, |node, name| node.child_exact(name)),
    }
}
