//! Taking many blocks from a shelf at once.

use super::{Frames, Rack, is_unused};

impl<'a> Rack<'_, 'a> {
    /// Takes blocks from the top of a shelf into slots, from the first on, until one is in use, there are no more, or the shelf is
    /// empty: how many slots were filled. What [`Self::pop`] would give, in the same order.
    ///
    /// # Panics
    /// If one of them has flags, or is referenced or mapped ("Bad page state").
    #[inline]
    pub fn pop_into(&mut self, number: usize, slots: &mut [Option<Frames<'a>>]) -> usize {
        let Some(shelf) = self.shelves.get_mut(number) else { return 0 };
        let most = slots.len().min(shelf.len());
        let (top, tail) = (shelf.top as usize, shelf.tail);
        let (lying, slots) = (&shelf.room[top - most..top], &mut slots[..most]);
        let mut filled = 0;
        let mut sound = true;
        while filled < most && slots[filled].is_none() {
            let idx = lying[most - 1 - filled];
            // SAFETY: what lies on a shelf is an index of this map (the rack's invariant).
            let head = unsafe { self.map.get_unchecked(idx.index()) };
            if !is_unused(head) {
                sound = false;
                break;
            }
            slots[filled] = Some(Frames::from_extent(head, Frames::extent_of(idx, tail)));
            filled += 1;
        }
        shelf.top -= filled as u32;
        shelf.count_pops(filled as u32);
        if !sound {
            self.expect_top(number);
        }
        filled
    }
}
