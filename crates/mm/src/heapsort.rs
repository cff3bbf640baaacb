//! Bottom-up heapsort (Wegener 1993), the algorithm behind the kernel's `sort()`.
//!
//! Used where equal keys matter: heapsort is not stable, and the order in which it leaves equal elements decides, for
//! one, which dynamic reserved-memory region is placed first. A sort with other ties would place them differently.

/// Sorts ascending by `key`, leaving equal elements in the order in which bottom-up heapsort leaves them.
pub(crate) fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    for root in (0..items.len() / 2).rev() {
        sink(items, root, &key);
    }
    for last in (1..items.len()).rev() {
        items.swap(0, last);
        sink(&mut items[..last], 0, &key);
    }
}

/// Restores the heap below `root`: walks down the larger children to a leaf (the first of equals), then back up to
/// where the root's element belongs, and rotates the path.
fn sink<T, K: Ord>(heap: &mut [T], root: usize, key: &impl Fn(&T) -> K) {
    let mut at = root;
    loop {
        let (left, right) = (2 * at + 1, 2 * at + 2);
        at = if right < heap.len() {
            if key(&heap[left]) >= key(&heap[right]) { left } else { right }
        } else if left < heap.len() {
            left
        } else {
            break;
        };
    }
    while at != root && key(&heap[root]) >= key(&heap[at]) {
        at = (at - 1) / 2;
    }
    let target = at;
    while at != root {
        at = (at - 1) / 2;
        heap.swap(at, target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn every_small_input_comes_out_sorted() {
        for n in 0..7usize {
            for code in 0..4usize.pow(n as u32) {
                let mut v: Vec<usize> = (0..n).map(|i| code / 4usize.pow(i as u32) % 4).collect();
                let mut expected = v.clone();
                expected.sort_unstable();
                sort_by_key(&mut v, |x| *x);
                assert_eq!(v, expected);
            }
        }
    }

    #[test]
    fn equal_keys_come_out_as_heapsort_leaves_them() {
        // Two placed regions, then two that wait for a place: the second of those comes first.
        let mut v = [(6, 'f'), (5, 'd'), (0, 'c'), (0, 'v')];
        sort_by_key(&mut v, |x| x.0);
        assert_eq!(v, [(0, 'v'), (0, 'c'), (5, 'd'), (6, 'f')]);
    }
}
