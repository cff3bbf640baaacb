//! Memblock's state as text: the boot log's dump and the files under debugfs.

use crate::event::Addr;
use crate::set::RegionSet;
use crate::{Memblock, Set};
use core::fmt;

/// What `memblock=debug` prints at the end of the set-up (`memblock_dump_all`); made by [`Memblock::dump`].
#[derive(Clone, Copy, Debug)]
pub struct Dump<'s, 'a>(&'s Memblock<'a>);

/// A file of `/sys/kernel/debug/memblock`; made by [`Memblock::debugfs`].
#[derive(Clone, Copy, Debug)]
pub struct Debugfs<'s, 'a>(&'s Memblock<'a>, Set);

impl<'a> Memblock<'a> {
    /// The `MEMBLOCK configuration:` block: lines joined by newlines, none at the end.
    pub fn dump<'s>(&'s self) -> Dump<'s, 'a> {
        Dump(self)
    }

    /// The contents of `memory`, `reserved` or `physmem` under debugfs; every line ends in a newline.
    pub fn debugfs<'s>(&'s self, which: Set) -> Debugfs<'s, 'a> {
        Debugfs(self, which)
    }
}

impl Dump<'_, '_> {
    fn set(&self, f: &mut fmt::Formatter<'_>, which: Set, set: &RegionSet<'_>) -> fmt::Result {
        let addr = |a| Addr(a, self.0.config.width);
        write!(f, "\n {which}.cnt  = {:#x}", set.cnt)?;
        for (i, r) in set.counted().iter().enumerate() {
            let last = r.base.wrapping_add(r.size).wrapping_sub(1);
            write!(f, "\n {which}[{i:#x}]\t[{}-{}], {} bytes", addr(r.base), addr(last), addr(r.size))?;
            if self.0.config.numa && r.nid != self.0.max_numnodes {
                write!(f, " on node {}", r.nid)?;
            }
            write!(f, " flags: {:#x}", r.flags.bits())?;
        }
        Ok(())
    }
}

impl fmt::Display for Dump<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let m = self.0;
        let addr = |a| Addr(a, m.config.width);
        f.write_str("MEMBLOCK configuration:\n")?;
        write!(f, " memory size = {} reserved size = {}", addr(m.memory.total), addr(m.reserved.total))?;
        self.set(f, Set::Memory, &m.memory)?;
        self.set(f, Set::Reserved, &m.reserved)?;
        m.physmem.as_ref().map_or(Ok(()), |p| self.set(f, Set::Physmem, p))
    }
}

impl fmt::Display for Debugfs<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addr = |a| Addr(a, self.0.config.width);
        let Some(set) = self.0.set(self.1) else { return Ok(()) };
        for (i, r) in set.counted().iter().enumerate() {
            let last = r.base.wrapping_add(r.size).wrapping_sub(1);
            writeln!(f, "{i:4}: {}..{}", addr(r.base), addr(last))?;
        }
        Ok(())
    }
}
