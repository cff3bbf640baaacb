//! Which bytes may be copied to and from user space (hardened usercopy): the part of the object that its cache names.
//!
//! SLUB and SLAB tell the object of any address. SLOB does not know whose an object is: of its pages only what is free is refused, and what goes beyond the page.

use crate::large::Large;
use crate::memory::SlabMemory;
use crate::objects::Design;
use crate::slabs::CacheName;
use core::fmt;

/// Where bytes lie that must not be copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In an object of a cache, beyond what is for users.
    Object(CacheName),
    /// In a slab of a cache, before its objects, between or behind them.
    Beside(CacheName),
    /// In a page that objects of several caches share, of which some of these bytes are free, or beyond its end (SLOB).
    Page,
    /// In a block of pages of kmalloc, beyond its end.
    Block,
    /// Nowhere that was allocated here.
    Nowhere,
}

/// Bytes that must not be copied (`usercopy_abort`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UsercopyError {
    /// Whose memory it is.
    pub design: Design,
    /// Where in it.
    pub place: Place,
    /// The first of them, counted from the start of the object, slab, page or block; 0 for what lies nowhere.
    pub offset: usize,
    /// How many.
    pub bytes: usize,
    /// Whether users would have been shown them, or written them.
    pub to_user: bool,
}

impl fmt::Display for UsercopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { design, place, offset, bytes, to_user } = self;
        let (what, way) = if *to_user { ("exposure", "from") } else { ("overwrite", "to") };
        write!(f, "Kernel memory {what} attempt detected {way} ")?;
        match place {
            Place::Object(name) => write!(f, "{design} object '{name}'")?,
            Place::Beside(name) => write!(f, "{design} slab of '{name}'")?,
            Place::Page => write!(f, "{design} page")?,
            Place::Block => f.write_str("page alloc")?,
            Place::Nowhere => f.write_str("unallocated memory")?,
        }
        write!(f, " (offset {offset}, size {bytes})!")
    }
}

impl core::error::Error for UsercopyError {}

/// What is asked about.
#[derive(Clone, Copy)]
pub(crate) struct Copied {
    pub(crate) design: Design,
    pub(crate) address: usize,
    pub(crate) bytes: usize,
    pub(crate) to_user: bool,
}

impl Copied {
    pub(crate) const fn refused(&self, place: Place, offset: usize) -> UsercopyError {
        let Self { design, bytes, to_user, .. } = *self;
        UsercopyError { design, place, offset, bytes, to_user }
    }

    /// Whether they are of an object's part for users, in which they begin at a distance.
    pub(crate) fn within(
        &self,
        name: CacheName,
        (first, len): (u32, u32),
        offset: usize,
    ) -> Result<(), UsercopyError> {
        let inside = offset.checked_sub(first as usize).and_then(|at| (len as usize).checked_sub(at));
        match inside.is_some_and(|left| self.bytes <= left) {
            true => Ok(()),
            false => Err(self.refused(Place::Object(name), offset)),
        }
    }

    /// Whether they lie in one block of pages of kmalloc; what lies in none is nowhere.
    pub(crate) fn in_block<M: SlabMemory>(&self, large: &Large<'_, '_, M>) -> Result<(), UsercopyError> {
        let Some((start, bytes)) = large.around(self.address) else {
            return Err(self.refused(Place::Nowhere, 0));
        };
        let offset = self.address - start;
        if self.bytes <= bytes - offset { Ok(()) } else { Err(self.refused(Place::Block, offset)) }
    }
}
