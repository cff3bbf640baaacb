//! Repeatable mutations, for runs without a fuzzer: the same seed gives the same inputs on every machine.

/// Numbers at which lengths, counts and addresses tend to break.
const EDGES: [u32; 8] = [0, 1, 2, 0x7f, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];

/// A source of mutated copies.
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// Starts from a seed (any number).
    pub const fn new(seed: u64) -> Self {
        Self { state: seed ^ 0x9e37_79b9_7f4a_7c15 }
    }

    /// xorshift64*: short, and good enough to choose places.
    fn next(&mut self) -> u64 {
        self.state = self.state.max(1);
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound` (which is not 0).
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A copy of `seed` with one to eight changes; `other` lends pieces.
    pub fn mutate(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(8) {
            self.change(&mut bytes, other);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        if bytes.is_empty() {
            bytes.extend_from_slice(other);
            bytes.push(self.next() as u8);
            return;
        }
        let at = self.below(bytes.len());
        match self.below(8) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.next() as u8,
            2 | 3 => {
                let edge = EDGES[self.below(EDGES.len())];
                let word = if self.next() & 1 == 0 { edge.to_be_bytes() } else { edge.to_le_bytes() };
                let at = at & !3;
                let room = bytes.len() - at;
                bytes[at..at + room.min(4)].copy_from_slice(&word[..room.min(4)]);
            }
            4 => bytes.truncate(at),
            5 => {
                let len = self.below((bytes.len() - at).min(64)) + 1;
                let piece = bytes[at..at + len].to_vec();
                let to = self.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            6 => {
                let len = self.below((bytes.len() - at).min(64)) + 1;
                bytes.drain(at..at + len);
            }
            _ if other.is_empty() => bytes[at] = 0,
            _ => {
                let from = self.below(other.len());
                let len = self.below((other.len() - from).min(128)) + 1;
                bytes.splice(at..at, other[from..from + len].iter().copied());
            }
        }
    }
}
