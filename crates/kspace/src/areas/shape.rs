//! Putting nodes into the tree and taking them out, and keeping it balanced: the heights of two siblings differ by one at most.

use super::Areas;
use super::nodes::NONE;

impl<T: Copy + Default> Areas<'_, T> {
    /// Puts a leaf in just before `next`, whose gap has changed.
    pub(super) fn link_before(&mut self, new: u32, next: u32) {
        let left = self.nodes.get(next).left;
        let parent = if left == NONE { next } else { self.rightmost(left) };
        self.nodes.get_mut(new).parent = parent;
        if left == NONE {
            self.nodes.get_mut(parent).left = new;
        } else {
            self.nodes.get_mut(parent).right = new;
        }
        self.mend(parent, next);
    }

    /// Takes a node out. `next` is the one after it, whose gap has changed.
    pub(super) fn unlink(&mut self, at: u32, next: u32) {
        let node = self.nodes.get(at);
        let (left, right, parent, height) = (node.left, node.right, node.parent, node.height);
        if left == NONE || right == NONE {
            let child = if left == NONE { right } else { left };
            self.replace(parent, at, child);
            // The next node is above, or is the child itself.
            if child == next {
                self.renew(child);
            }
            if parent != NONE {
                self.mend(parent, next);
            }
            return;
        }
        // The next node is the leftmost of the right subtree, and takes this one's place.
        let (above, below) = (self.nodes.get(next).parent, self.nodes.get(next).right);
        let mut from = next;
        if above != at {
            self.replace(above, next, below);
            self.nodes.get_mut(next).right = right;
            self.nodes.get_mut(right).parent = next;
            from = above;
        }
        let node = self.nodes.get_mut(next);
        node.left = left;
        node.height = height;
        self.nodes.get_mut(left).parent = next;
        self.replace(parent, at, next);
        self.mend(from, next);
    }

    fn rightmost(&self, mut at: u32) -> u32 {
        loop {
            match self.nodes.get(at).right {
                NONE => return at,
                right => at = right,
            }
        }
    }

    /// Puts `child` (or none) where `old` hangs below `parent` (or at the root).
    fn replace(&mut self, parent: u32, old: u32, child: u32) {
        if parent == NONE {
            self.root = child;
        } else if self.nodes.get(parent).left == old {
            self.nodes.get_mut(parent).left = child;
        } else {
            self.nodes.get_mut(parent).right = child;
        }
        if child != NONE {
            self.nodes.get_mut(child).parent = parent;
        }
    }

    /// A node's height and largest gap from its children's; whether either has changed.
    fn renew(&mut self, at: u32) -> bool {
        let node = self.nodes.get(at);
        let (left, right, gap) = (node.left, node.right, node.gap);
        let height = self.nodes.height(left).max(self.nodes.height(right)) + 1;
        let largest = gap.max(self.nodes.largest(left)).max(self.nodes.largest(right));
        let node = self.nodes.get_mut(at);
        let changed = node.height != height || node.largest != largest;
        node.height = height;
        node.largest = largest;
        changed
    }

    /// Renews and balances from a node upwards: up to `least` in any case, further as long as something changes.
    fn mend(&mut self, mut at: u32, least: u32) {
        let mut passed = false;
        loop {
            passed |= at == least;
            let before = (self.nodes.get(at).height, self.nodes.get(at).largest);
            self.renew(at);
            let top = self.balance(at);
            let changed = before != (self.nodes.get(top).height, self.nodes.get(top).largest);
            let parent = self.nodes.get(top).parent;
            if parent == NONE || passed && !changed {
                return;
            }
            at = parent;
        }
    }

    /// Turns a subtree whose sides differ by two; its root then.
    fn balance(&mut self, at: u32) -> u32 {
        let node = self.nodes.get(at);
        let (left, right) = (node.left, node.right);
        let (low, high) = (self.nodes.height(left), self.nodes.height(right));
        if low > high + 1 {
            let inner = self.nodes.get(left);
            if self.nodes.height(inner.right) > self.nodes.height(inner.left) {
                self.turn_left(left);
            }
            return self.turn_right(at);
        }
        if high > low + 1 {
            let inner = self.nodes.get(right);
            if self.nodes.height(inner.left) > self.nodes.height(inner.right) {
                self.turn_right(right);
            }
            return self.turn_left(at);
        }
        at
    }

    /// The right child comes up; it.
    fn turn_left(&mut self, at: u32) -> u32 {
        let node = self.nodes.get(at);
        let (up, parent) = (node.right, node.parent);
        let middle = self.nodes.get(up).left;
        self.replace(parent, at, up);
        self.nodes.get_mut(up).left = at;
        let node = self.nodes.get_mut(at);
        node.parent = up;
        node.right = middle;
        self.turned(at, middle, up)
    }

    /// The left child comes up; it.
    fn turn_right(&mut self, at: u32) -> u32 {
        let node = self.nodes.get(at);
        let (up, parent) = (node.left, node.parent);
        let middle = self.nodes.get(up).right;
        self.replace(parent, at, up);
        self.nodes.get_mut(up).right = at;
        let node = self.nodes.get_mut(at);
        node.parent = up;
        node.left = middle;
        self.turned(at, middle, up)
    }

    fn turned(&mut self, down: u32, middle: u32, up: u32) -> u32 {
        if middle != NONE {
            self.nodes.get_mut(middle).parent = down;
        }
        self.renew(down);
        self.renew(up);
        up
    }
}
