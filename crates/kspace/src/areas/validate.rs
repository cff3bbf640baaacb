//! Looking whether the tree is one.

use super::Areas;
use super::nodes::{NONE, SENTINEL};
use thiserror::Error;

/// What is wrong with a tree, and at which node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("node {node}: {what} is {found:#x} instead of {expected:#x}")]
pub struct Broken {
    /// The node's number.
    pub node: u32,
    /// What is wrong.
    pub what: &'static str,
    /// What it is.
    pub found: u64,
    /// What it should be.
    pub expected: u64,
}

impl<T: Copy + Default> Areas<'_, T> {
    /// Compares links, heights, gaps and counts with each other.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), Broken> {
        let (mut at, mut end, mut count) = (self.leftmost(self.root), 0, 0);
        let check = |node, what, found, expected| match found == expected {
            true => Ok(()),
            false => Err(Broken { node, what, found, expected }),
        };
        check(self.root, "the root's parent", self.nodes.get(self.root).parent.into(), NONE.into())?;
        loop {
            let node = self.nodes.get(at);
            check(at, "the end of the area before", end, node.start - node.gap)?;
            check(at, "the area's order", u64::from(node.start > node.end), 0)?;
            let (left, right) = (self.nodes.height(node.left), self.nodes.height(node.right));
            check(at, "the height", node.height.into(), u64::from(left.max(right)) + 1)?;
            check(at, "the balance", u64::from(left.abs_diff(right) > 1), 0)?;
            let largest = node.gap.max(self.nodes.largest(node.left)).max(self.nodes.largest(node.right));
            check(at, "the largest gap", node.largest, largest)?;
            for child in [node.left, node.right].into_iter().filter(|child| *child != NONE) {
                check(child, "the parent", self.nodes.get(child).parent.into(), at.into())?;
            }
            count += 1;
            if at == SENTINEL || count > self.count + 1 {
                break;
            }
            end = node.end;
            at = self.after(at).ok_or(Broken { node: at, what: "the next node", found: 0, expected: 1 })?;
        }
        check(at, "the last node", at.into(), SENTINEL.into())?;
        check(at, "the range's end", self.nodes.get(SENTINEL).start, self.range.len)?;
        check(at, "the number of areas", count as u64 - 1, self.count as u64)
    }
}
