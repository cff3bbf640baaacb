//! Which of our calls stands for which of the captured ones.
//!
//! Both sides are sequences of keys (what was called, by whom). They are aligned by a longest common subsequence
//! (Myers' greedy algorithm), so that a call which only one side makes does not shift everything after it.

/// Gives up beyond this many insertions and deletions; what follows stays unaligned.
const MAX_EDITS: usize = 4000;

/// For each element of `b` the index of its partner in `a`, if it has one. Partners are in order on both sides.
pub fn align<K: PartialEq>(a: &[K], b: &[K]) -> Vec<Option<usize>> {
    let mut partner = vec![None; b.len()];
    let prefix = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    for (i, p) in partner.iter_mut().enumerate().take(prefix) {
        *p = Some(i);
    }
    for (x, y) in middle(&a[prefix..], &b[prefix..]) {
        partner[prefix + y] = Some(prefix + x);
    }
    partner
}

/// Myers: on round `d`, `furthest[k]` is how far along `a` the diagonal `k` gets with `d` edits.
fn middle<K: PartialEq>(a: &[K], b: &[K]) -> Vec<(usize, usize)> {
    let (n, m) = (a.len() as isize, b.len() as isize);
    let limit = ((n + m) as usize).min(MAX_EDITS);
    let offset = limit as isize + 1;
    let mut furthest = vec![0isize; 2 * limit + 3];
    let mut rounds: Vec<Vec<isize>> = Vec::new();
    for d in 0..=limit as isize {
        for k in (-d..=d).step_by(2) {
            let at = |k: isize| furthest[(k + offset) as usize];
            let mut x = if k == -d || (k != d && at(k - 1) < at(k + 1)) { at(k + 1) } else { at(k - 1) + 1 };
            while x < n && x - k < m && x - k >= 0 && a[x as usize] == b[(x - k) as usize] {
                x += 1;
            }
            furthest[(k + offset) as usize] = x;
            if x >= n && x - k >= m {
                rounds.push(window(&furthest, offset, d));
                return trace_back(&rounds, n, m);
            }
        }
        rounds.push(window(&furthest, offset, d));
    }
    Vec::new()
}

/// The diagonals that round `d` can have touched, `-d - 1 ..= d + 1`.
fn window(furthest: &[isize], offset: isize, d: isize) -> Vec<isize> {
    let first = (offset - d - 1).max(0) as usize;
    let last = ((offset + d + 1) as usize).min(furthest.len() - 1);
    furthest[first..=last].to_vec()
}

fn trace_back(rounds: &[Vec<isize>], n: isize, m: isize) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let (mut x, mut y) = (n, m);
    for d in (0..rounds.len() as isize).rev() {
        let k = x - y;
        let (px, py) = if d == 0 {
            (0, 0)
        } else {
            let before = &rounds[d as usize - 1];
            // `before` starts at diagonal `-(d - 1) - 1`.
            let at = |k: isize| before.get((k + d) as usize).copied().unwrap_or(-1);
            let from = if k == -d || (k != d && at(k - 1) < at(k + 1)) { k + 1 } else { k - 1 };
            (at(from), at(from) - from)
        };
        while x > px && y > py {
            x -= 1;
            y -= 1;
            pairs.push((x as usize, y as usize));
        }
        (x, y) = (px, py);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::align;

    fn pairs(a: &str, b: &str) -> String {
        let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
        let partner = align(&a, &b);
        let used: Vec<_> = partner.iter().flatten().copied().collect();
        assert!(used.windows(2).all(|w| w[0] < w[1]), "out of order: {used:?}");
        partner
            .iter()
            .zip(&b)
            .filter_map(|(p, c)| p.map(|i| (a[i], *c)))
            .map(|(x, y)| {
                assert_eq!(x, y);
                x
            })
            .collect()
    }

    #[test]
    fn equal_sequences_are_aligned_throughout() {
        assert_eq!(pairs("abcde", "abcde"), "abcde");
        assert_eq!(pairs("", ""), "");
    }

    #[test]
    fn an_extra_call_on_either_side_shifts_nothing() {
        assert_eq!(pairs("abXcde", "abcde"), "abcde");
        assert_eq!(pairs("abcde", "abXXcdeY"), "abcde");
        assert_eq!(pairs("aXbc", "abYc"), "abc");
        assert_eq!(pairs("", "abc"), "");
        assert_eq!(pairs("abc", ""), "");
    }

    #[test]
    fn a_run_of_equal_calls_of_another_length_keeps_what_follows_aligned() {
        assert_eq!(pairs("ppppz", "ppppppz"), "ppppz");
        assert_eq!(pairs("ppppppz", "ppz"), "ppz");
    }

    #[test]
    fn the_alignment_is_as_long_as_a_dynamic_programme_finds() {
        let mut seed = 1u32;
        let mut letter = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + (seed >> 24) as u8 % 3)
        };
        for _ in 0..200 {
            let a: String = (0..12).map(|_| letter()).collect();
            let b: String = (0..9).map(|_| letter()).collect();
            let (x, y) = (a.as_bytes(), b.as_bytes());
            let mut best = vec![vec![0; y.len() + 1]; x.len() + 1];
            for i in 0..x.len() {
                for j in 0..y.len() {
                    best[i + 1][j + 1] =
                        if x[i] == y[j] { best[i][j] + 1 } else { best[i][j + 1].max(best[i + 1][j]) };
                }
            }
            assert_eq!(pairs(&a, &b).len(), best[x.len()][y.len()], "{a} {b}");
        }
    }
}
