//! The CPUs that objects of any design serve: their rows, which each has to itself, and their nodes.

use super::service::{StartSlabsError, small};
use crate::service::CpuRoom;
use pagewright_addr::NodeId;
use pagewright_platform::Carve;
use pagewright_slab::slabs::{Row, SlabCpu, SlabHere};
use pagewright_slab::{PageSource, SlabContext};

/// A machine's CPUs as objects know them, by their numbers.
#[derive(Clone, Copy, Debug)]
pub struct ServedCpus<'k> {
    cpus: &'k [SlabCpu<'k>],
    nodes: &'k [NodeId],
}

impl<'k> ServedCpus<'k> {
    /// Makes them, each with rows for so many caches in its own memory.
    pub(super) fn carve(
        shared: &mut Carve<'k>,
        cpus: impl ExactSizeIterator<Item = CpuRoom<'k>>,
        places: usize,
        seed: u64,
    ) -> Result<Self, StartSlabsError> {
        let count = cpus.len();
        let nodes = shared.slice(count, || NodeId::ZERO).ok_or(small("the CPUs' nodes"))?;
        let (mut rooms, mut of_cpu, mut enough) = (cpus, nodes.iter_mut(), true);
        let mut number = seed;
        let cpus = shared.slice(count, || {
            let room = rooms.next();
            if let (Some(room), Some(node)) = (&room, of_cpu.next()) {
                *node = room.node;
            }
            let rows = room.and_then(|mut room| room.memory.slice(places, Row::new));
            enough &= rows.is_some();
            // Another number for each, so that they do not lay slabs out alike.
            number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
            SlabCpu::new(rows.unwrap_or_default(), number)
        });
        let cpus: &'k [SlabCpu<'k>] = cpus.filter(|_| enough).ok_or(small("CPUs' rows of objects"))?;
        Ok(Self { cpus, nodes })
    }

    /// All of them.
    pub const fn all(&self) -> &'k [SlabCpu<'k>] {
        self.cpus
    }

    /// How many are on a node, by its number.
    pub(super) fn on_node(&self, node: usize) -> usize {
        self.nodes.iter().filter(|of| of.index() == node).count()
    }

    /// A CPU's node.
    pub fn node(&self, cpu: usize) -> NodeId {
        self.nodes.get(cpu).copied().unwrap_or(NodeId::ZERO)
    }

    /// How one asks on CPU number `cpu`, whose handle this is; `pages` is this CPU's way to the page allocator.
    pub fn context<'c, 'a>(
        &self,
        cpu: usize,
        here: SlabHere<'c, 'k>,
        pages: &'c dyn PageSource<'a>,
    ) -> SlabContext<'c, 'k, 'a> {
        SlabContext::new(here, self.node(cpu), pages)
    }
}
