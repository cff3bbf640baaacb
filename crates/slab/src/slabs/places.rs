//! Where the objects of a cache's slabs lie, and what lies in free ones: the little that loops over objects need, to be copied before them (what they write
//! could be anything, for all the compiler knows, also the cache's figures).

use crate::slub::Geometry;

/// Where objects lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    size: usize,
    /// Bytes of a slab before the first object: its red zone.
    left: usize,
    /// 2^32 divided by the size, rounded up: what turns a distance from the slab's start into a number.
    reciprocal: u64,
    /// One less than the size if that is a power of two above 1, else 0: such objects' places are told by less.
    power: usize,
    /// Whether that is so, and nothing lies before the first object.
    exact: bool,
    /// Where in a free object the link to the next one lies.
    link: usize,
    /// What links are mixed with.
    secret: usize,
}

impl Places {
    pub(crate) const fn new(geometry: &Geometry, secret: usize) -> Self {
        Self {
            size: geometry.size as usize,
            left: geometry.left_red_zone as usize,
            reciprocal: (1_u64 << 32).div_ceil(geometry.size),
            power: if geometry.size.is_power_of_two() { geometry.size as usize - 1 } else { 0 },
            exact: geometry.size.is_power_of_two() && geometry.size > 1 && geometry.left_red_zone == 0,
            // Links are this machine's words, which may be longer than those that objects were laid out for: see `Slabs::new`.
            link: geometry.free_pointer as usize & !(size_of::<usize>() - 1),
            secret,
        }
    }

    /// What links are mixed with.
    pub(crate) const fn secret(&self) -> usize {
        self.secret
    }

    /// Whether one of these objects' places begins at a distance from the first one's. Exact for all of them: the reciprocal is less than one
    /// unit too large for each, and all together are smaller than 2^32.
    #[inline(always)]
    pub(crate) const fn is_object(&self, offset: usize) -> bool {
        if self.power != 0 {
            return offset & self.power == 0;
        }
        let number = (offset as u64 * self.reciprocal) >> 32;
        number * self.size as u64 == offset as u64
    }

    /// Where the object of a number begins, as a distance from its slab's start.
    #[inline(always)]
    pub(crate) const fn offset_of(&self, number: u32) -> usize {
        number as usize * self.size + self.left
    }

    /// Whether one of the objects of a slab of so many bytes begins there.
    #[inline(always)]
    pub(crate) const fn is_inside(&self, offset: usize, bytes: usize) -> bool {
        if self.exact {
            // They fill the slab.
            return offset < bytes && offset & self.power == 0;
        }
        // What lies before the first object becomes huge.
        let offset = offset.wrapping_sub(self.left);
        offset < bytes && offset + self.size <= bytes && self.is_object(offset)
    }

    /// Where a free object's link lies, by where the object does.
    #[inline(always)]
    pub(crate) const fn link(&self, object: usize) -> usize {
        object + self.link
    }

    /// A link as it lies in memory: the next object's distance from the slab's start and one more, or 0 for none; mixed with where it
    /// lies and with a secret, so that it is of no use to who reads it, and whoever overwrites it leads nowhere.
    #[inline(always)]
    pub(crate) const fn encode(&self, at: usize, next: usize) -> usize {
        next ^ self.secret ^ at.swap_bytes()
    }

    /// What lies there as the next object's distance from the slab's start, or what is wrong: it leads nowhere in a slab of `bytes`.
    #[inline(always)]
    pub(crate) const fn decode(&self, at: usize, stored: usize, bytes: usize) -> Result<Option<usize>, ()> {
        match stored ^ self.secret ^ at.swap_bytes() {
            0 => Ok(None),
            plain if self.is_inside(plain - 1, bytes) => Ok(Some(plain - 1)),
            _ => Err(()),
        }
    }
}
