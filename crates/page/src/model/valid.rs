//! pfn_valid: which frame numbers have a `struct page`.

use pagewright_addr::{NodeId, Pfn, PfnRange};

/// Something that stands for a run of frames: a memory region, a node.
pub trait HasSpan {
    /// From the first frame to past the last.
    fn span(&self) -> PfnRange;

    /// The node that the frames belong to, where that is known.
    fn nid(&self) -> Option<NodeId> {
        None
    }
}

impl HasSpan for PfnRange {
    fn span(&self) -> PfnRange {
        *self
    }
}

/// Which frames have metadata while booting (`pfn_valid`): follows from the memory model and the architecture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PfnValidity {
    /// Every frame of a block of `pages` frames (a power of two, at least a pageblock) that holds some memory.
    /// SPARSEMEM: the section, all sections being early ones. arm: the pageblock, because the memory map between is
    /// freed.
    Blocks {
        /// Frames in a block.
        pages: u64,
    },
    /// Every frame of one array (FLATMEM: from ARCH_PFN_OFFSET up to `max_mapnr`).
    Flat {
        /// The array's frames.
        pfns: PfnRange,
    },
    /// Every frame between a node's first and last (DISCONTIGMEM).
    NodeSpans,
}

impl PfnValidity {
    /// Whether the frame is valid. `memory` ascends without overlap; `nodes` may be in any order.
    pub fn is_valid(&self, pfn: Pfn, memory: &[impl HasSpan], nodes: &[impl HasSpan]) -> bool {
        match *self {
            Self::Blocks { pages } => {
                let block = PfnRange::from_len(pfn.align_down(pages), pages);
                let at = memory.partition_point(|m| m.span().end <= block.start);
                memory.get(at).is_some_and(|m| m.span().overlaps(&block))
            }
            Self::Flat { pfns } => pfns.contains(pfn),
            Self::NodeSpans => nodes.iter().any(|n| n.span().contains(pfn)),
        }
    }

    /// How many frames of a hole Linux gives metadata (`init_unavailable_range`): it asks for the first frame of each
    /// pageblock and takes the answer for the whole block.
    pub fn count_in(
        &self,
        hole: &PfnRange,
        pageblock_pages: u64,
        memory: &[impl HasSpan],
        nodes: &[impl HasSpan],
    ) -> u64 {
        let by_block =
            |r: PfnRange| PfnRange::new(r.start.align_up(pageblock_pages), r.end.align_up(pageblock_pages));
        match *self {
            // At least a pageblock, so a pageblock's first frame answers for all of it here too.
            Self::Blocks { pages } => near(memory, pages, hole),
            Self::Flat { pfns } => by_block(pfns).intersection(hole).len(),
            Self::NodeSpans => {
                let spans = || nodes.iter().map(|n| by_block(n.span())).filter(|s| !s.is_empty());
                let (mut at, mut sum) = (hole.start, 0);
                while at < hole.end {
                    if let Some(end) = spans().filter(|s| s.contains(at)).map(|s| s.end.min(hole.end)).max() {
                        sum += end.get() - at.get();
                        at = end;
                    } else {
                        at = spans().map(|s| s.start).filter(|&s| s > at).min().unwrap_or(hole.end);
                    }
                }
                sum
            }
        }
    }
}

/// How many frames of a hole lie in blocks of `pages` frames that memory touches.
fn near(memory: &[impl HasSpan], pages: u64, hole: &PfnRange) -> u64 {
    let mut counted = hole.start;
    let first = memory.partition_point(|m| m.span().end.align_up(pages) <= hole.start);
    let touching = memory[first..].iter().map(|m| {
        let span = m.span();
        PfnRange::new(span.start.align_down(pages), span.end.align_up(pages)).intersection(hole)
    });
    let mut sum = 0;
    for r in touching.take_while(|r| r.start < hole.end) {
        let new = PfnRange::new(r.start.max(counted), r.end);
        sum += new.len();
        counted = counted.max(r.end);
    }
    sum
}
