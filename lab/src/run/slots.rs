//! Slots for memblock arrays that grow.

use pagewright_addr::PhysRange;
use pagewright_memblock::{Region, RegionMemory};
use std::mem;

/// How many slots a boot gets for grown arrays: Linux's arrays double from 128, so this is 2^15 regions and what
/// was outgrown on the way.
pub const SPARE_SLOTS: usize = 1 << 16;

/// Hands out slots one array after the other; where the modelled memory lies does not matter to it.
#[derive(Debug)]
pub struct SpareSlots<'a> {
    rest: &'a mut [Region],
}

impl<'a> SpareSlots<'a> {
    /// Hands out these.
    pub fn new(slots: &'a mut [Region]) -> Self {
        Self { rest: slots }
    }
}

impl<'a> RegionMemory<'a> for SpareSlots<'a> {
    fn claim(&mut self, _: PhysRange, slots: usize) -> Option<&'a mut [Region]> {
        if slots > self.rest.len() {
            return None;
        }
        let (claimed, rest) = mem::take(&mut self.rest).split_at_mut(slots);
        self.rest = rest;
        Some(claimed)
    }
}
