//! Random numbers for the order of objects in new slabs: no secret of theirs protects anything, only nobody is to rely on an order.

/// The next number of all 64 bits (xorshift64*); `state` is never 0.
pub(crate) const fn next_bits(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// The same without the lowest bits, whose order is the worst: what is divided to choose among few.
pub(crate) const fn next_random(state: &mut u64) -> u64 {
    next_bits(state) >> 16
}

/// A number below `limit`, 0 if that is 0. All are equally likely, to one in 2^32 divided by the limit.
pub(crate) const fn below(state: &mut u64, limit: u32) -> u32 {
    (((next_bits(state) >> 32) * limit as u64) >> 32) as u32
}
