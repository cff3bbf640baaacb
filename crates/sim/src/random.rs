//! Numbers that look random and are the same for the same seed on every host (xorshift64*), for models and workloads.

/// A stream of them.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed. Seeds that differ in their lowest bit alone may give the same one.
    pub const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next number below `end`; 0 if nothing is.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        // The upper bits are the better ones.
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % end.max(1)
    }
}

/// A number that the environment gives, for runs that are longer than the everyday one.
pub fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
