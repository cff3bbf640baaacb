//! Which parts of an area are given out: a bit for each 2^`order_per_bit` pages.

/// Bits in words that the caller brings.
#[derive(Debug)]
pub(super) struct Bitmap<'m> {
    words: &'m mut [u64],
    bits: u64,
}

impl<'m> Bitmap<'m> {
    /// All clear. `None` if the words are too few.
    pub(super) fn new(words: &'m mut [u64], bits: u64) -> Option<Self> {
        if (words.len() as u64) < bits.div_ceil(64) {
            return None;
        }
        words.fill(0);
        Some(Self { words, bits })
    }

    pub(super) const fn bits(&self) -> u64 {
        self.bits
    }

    fn is_set(&self, bit: u64) -> bool {
        self.words[(bit / 64) as usize] >> (bit % 64) & 1 != 0
    }

    pub(super) fn put(&mut self, start: u64, len: u64, set: bool) {
        for bit in start..(start + len).min(self.bits) {
            let (word, mask) = (&mut self.words[(bit / 64) as usize], 1 << (bit % 64));
            *word = if set { *word | mask } else { *word & !mask };
        }
    }

    /// The runs of clear bits from `from` on: first and how many.
    pub(super) fn clear_runs(&self, from: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut at = from;
        core::iter::from_fn(move || {
            let start = (at..self.bits).find(|&bit| !self.is_set(bit))?;
            at = (start..self.bits).find(|&bit| self.is_set(bit)).unwrap_or(self.bits);
            Some((start, at - start))
        })
    }

    /// The first place from `from` on with `len` clear bits that, `offset` added, is a multiple of `align`, a power of two
    /// (`bitmap_find_next_zero_area_off`).
    pub(super) fn find(&self, from: u64, len: u64, align: u64, offset: u64) -> Option<u64> {
        self.clear_runs(from).find_map(|(start, run)| {
            let at = (start + offset).next_multiple_of(align) - offset;
            (at + len <= start + run).then_some(at)
        })
    }

    pub(super) fn count_set(&self) -> u64 {
        self.words[..self.bits.div_ceil(64) as usize].iter().map(|word| u64::from(word.count_ones())).sum()
    }
}
