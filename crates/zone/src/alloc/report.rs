//! What is said when an allocation fails: Linux's "page allocation failure" and the Mem-Info block after it.
//!
//! Lines are written into anything that takes text, without allocating; how often a report may be printed is up to whoever prints
//! it. What the allocator does not know (LRU lists, slabs, page tables, swap) its owners bring as [`Counts`].

mod counts;
mod meminfo;

pub use counts::{Counts, NoCounts, NodeCounts, SwapCounts, ZoneCounts};
pub(super) use meminfo::InService;

use super::TaskFlags;
use crate::gfp::Gfp;
use crate::{NodeMask, ZoneKind};
use core::fmt;
use pagewright_addr::Order;

/// An allocation that failed, while its report is made.
#[derive(Clone, Copy)]
pub struct Failure<'r> {
    /// How it was asked for.
    pub gfp: Gfp,
    /// What was asked for.
    pub order: Order,
    /// The nodes that its policy allowed, if not all.
    pub nodes: Option<&'r NodeMask>,
    /// The nodes of the task's cpuset, if it is in one.
    pub mems_allowed: Option<&'r NodeMask>,
    pub(super) task: TaskFlags,
    pub(super) highest: ZoneKind,
    pub(super) mem: &'r dyn MemInfo,
}

impl fmt::Debug for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.line("", "/", &NodeMask::EMPTY))
    }
}

/// Who can write the Mem-Info block.
pub(super) trait MemInfo {
    fn write(
        &self,
        counts: &dyn Counts,
        nodes: Option<&NodeMask>,
        highest: ZoneKind,
        out: &mut dyn fmt::Write,
    ) -> fmt::Result;
}

impl<'r> Failure<'r> {
    /// The first line, for a task of this name in a cpuset of that name. `online` is what `mems_allowed` says for a task in no
    /// cpuset but the root.
    pub fn line<'l>(
        &'l self,
        comm: &'l str,
        cpuset: &'l str,
        online: &'l NodeMask,
    ) -> impl fmt::Display + use<'l, 'r> {
        fmt::from_fn(move |f| {
            let (gfp, order) = (self.gfp, self.order.get());
            write!(f, "{comm}: page allocation failure: order:{order}, mode:{:#x}({gfp})", gfp.bits())?;
            match self.nodes {
                Some(nodes) => write!(f, ", nodemask={}", nodes.list())?,
                None => write!(f, ", nodemask=(null)")?,
            }
            write!(f, ",cpuset={cpuset},mems_allowed={}", self.mems_allowed.unwrap_or(online).list())
        })
    }

    /// The Mem-Info block (`warn_alloc_show_mem`). Nodes that the allocation could not use are left out, unless the task may
    /// use all memory.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn show_mem(&self, counts: &dyn Counts, out: &mut dyn fmt::Write) -> fmt::Result {
        let everywhere = TaskFlags::MEMALLOC | TaskFlags::EXITING | TaskFlags::OOM_VICTIM;
        let filtered = (self.gfp.contains(Gfp::NOMEMALLOC) || !self.task.intersects(everywhere))
            && !self.task.contains(TaskFlags::INTERRUPT)
            && self.gfp.contains(Gfp::DIRECT_RECLAIM);
        let nodes = self.nodes.or(self.mems_allowed).filter(|_| filtered);
        self.mem.write(counts, nodes, self.highest, out)
    }
}
