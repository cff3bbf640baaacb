//! The invariants of a memory model, checked.

use super::{HasSpan, Maps, MemoryModel, NodeMap, PageArray, Sections};
use core::fmt;
use pagewright_addr::{NodeId, Pfn, PfnRange};

/// An invariant that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ModelViolation {
    /// A memory region that is empty or starts below the end of the one before.
    Memory {
        /// Its place in the list.
        index: usize,
    },
    /// A run of sections that is empty, starts below the end of the one before, or ends beyond the last section number.
    Run {
        /// Its place in the table.
        index: usize,
    },
    /// A run of sections whose arrays overlap each other, have elements without size, or are told from another frame
    /// than the run's first.
    Arrays {
        /// Its place in the table.
        index: usize,
    },
    /// A run of subsections that is empty, ragged, or starts at or below the end of the one before.
    Subsections {
        /// Its place in the table.
        index: usize,
    },
    /// A populated subsection in a section that is not present.
    Unsectioned {
        /// The first frame of the run of subsections.
        pfn: Pfn,
    },
    /// A present section without a populated subsection.
    Unpopulated {
        /// The section's number.
        nr: u64,
    },
    /// Memory without a `struct page`: its section is missing or has no map, or no array covers it.
    Unmapped {
        /// The first such frame.
        pfn: Pfn,
    },
    /// A section's map that is not where `vmemmap` has it.
    Vmemmap {
        /// The section's number.
        nr: u64,
    },
    /// A node's map whose array starts at another frame than the frames it covers, or a second map for the node.
    NodeMap {
        /// The node.
        nid: NodeId,
    },
}

impl fmt::Display for ModelViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { index } => write!(f, "memory region {index} is empty or out of order"),
            Self::Run { index } => {
                write!(f, "run {index} of sections is empty, out of order or beyond the last section")
            }
            Self::Arrays { index } => write!(f, "the section maps of run {index} are not its own"),
            Self::Subsections { index } => {
                write!(f, "run {index} of subsections is empty, ragged or out of order")
            }
            Self::Unsectioned { pfn } => write!(f, "the subsection at frame {pfn:#x} is in no section"),
            Self::Unpopulated { nr } => write!(f, "section {nr} has no populated subsection"),
            Self::Unmapped { pfn } => write!(f, "memory at frame {pfn:#x} has no struct page"),
            Self::Vmemmap { nr } => write!(f, "the map of section {nr} is not part of vmemmap"),
            Self::NodeMap { nid } => write!(f, "node {nid} has two maps, or one that starts elsewhere"),
        }
    }
}

impl core::error::Error for ModelViolation {}

impl<M: HasSpan> MemoryModel<'_, M> {
    /// Checks every invariant: memory, runs and subsections ascend; every section that has memory, and no other, is
    /// present and mapped by an array of its own; a node has one map.
    ///
    /// # Errors
    /// The first [`ModelViolation`].
    pub fn validate(&self) -> Result<(), ModelViolation> {
        let mut end = Pfn::ZERO;
        for (index, m) in self.memory.iter().map(HasSpan::span).enumerate() {
            if m.is_empty() || m.start < end {
                return Err(ModelViolation::Memory { index });
            }
            end = m.end;
        }
        match &self.maps {
            Maps::Flat { node, valid } => self.validate_flat(node, valid),
            Maps::Discontig(nodes) => self.validate_nodes(nodes),
            Maps::Sparse(sections) => self.validate_sections(sections),
            Maps::SparseVmemmap { sections, vmemmap } => {
                self.validate_sections(sections)?;
                in_vmemmap(sections, vmemmap)
            }
        }
    }

    fn validate_flat(&self, node: &NodeMap, valid: &PfnRange) -> Result<(), ModelViolation> {
        let mut used = self.memory.iter().map(|m| m.span().intersection(valid)).filter(|m| !m.is_empty());
        if node.mem_map.first != node.pfns.start || node.mem_map.stride == 0 && used.clone().next().is_some()
        {
            return Err(ModelViolation::NodeMap { nid: node.nid });
        }
        match used.find(|m| !node.pfns.contains_range(m)) {
            Some(m) => Err(ModelViolation::Unmapped { pfn: m.start }),
            None => Ok(()),
        }
    }

    fn validate_nodes(&self, nodes: &[NodeMap]) -> Result<(), ModelViolation> {
        for (index, node) in nodes.iter().enumerate() {
            let again = nodes[..index].iter().any(|n| n.nid == node.nid);
            if again || node.mem_map.first != node.pfns.start || node.mem_map.stride == 0 {
                return Err(ModelViolation::NodeMap { nid: node.nid });
            }
        }
        for m in self.memory {
            let span = m.span();
            let owner = self.node_map(span.start).filter(|n| n.span.contains_range(&span));
            if owner.is_none() {
                return Err(ModelViolation::Unmapped { pfn: span.start });
            }
        }
        Ok(())
    }

    fn validate_sections(&self, sections: &Sections<'_>) -> Result<(), ModelViolation> {
        sections.validate()?;
        let below = PfnRange::new(Pfn::ZERO, sections.geometry().max_pfn());
        for m in self.memory {
            let span = m.span().intersection(&below);
            let mut pfn = span.start;
            while pfn < span.end {
                if sections.section_of(pfn).is_none_or(|s| !s.is_valid()) || !sections.is_populated(pfn) {
                    return Err(ModelViolation::Unmapped { pfn });
                }
                let section = sections.geometry().pages_per_section();
                pfn = pfn.saturating_add(1).align_up(section);
            }
        }
        Ok(())
    }
}

impl Sections<'_> {
    /// Checks the tables: order, bounds, arrays, and that sections and subsections agree.
    ///
    /// # Errors
    /// The first [`ModelViolation`].
    pub fn validate(&self) -> Result<(), ModelViolation> {
        let geometry = self.geometry();
        let mut end = 0;
        for (index, run) in self.runs().iter().enumerate() {
            let fits =
                run.first.checked_add(run.count).is_some_and(|end| end <= 1 << geometry.sections_shift());
            if run.count == 0 || run.first < end || !fits {
                return Err(ModelViolation::Run { index });
            }
            end = run.end();
            let own = run.maps.is_none_or(|maps| {
                maps.array.first == geometry.section_pfns(run.first).start
                    && maps.array.stride > 0
                    && (run.count == 1 || maps.are_apart(geometry))
            });
            if !own {
                return Err(ModelViolation::Arrays { index });
            }
        }
        self.validate_subsections()
    }

    fn validate_subsections(&self) -> Result<(), ModelViolation> {
        let geometry = self.geometry();
        let sub = geometry.pages_per_subsection();
        let mut end = None;
        for (index, s) in self.subsections().iter().enumerate() {
            let ragged = !s.start.is_aligned(sub) || !s.end.is_aligned(sub);
            if s.is_empty() || ragged || end.is_some_and(|end| s.start <= end) {
                return Err(ModelViolation::Subsections { index });
            }
            end = Some(s.end);
            let last = geometry.section_nr(s.end.saturating_sub(1));
            let mut nr = geometry.section_nr(s.start);
            while nr <= last {
                let Some(run) = self.runs().iter().find(|r| r.first <= nr && nr < r.end()) else {
                    return Err(ModelViolation::Unsectioned { pfn: s.start });
                };
                nr = run.end();
            }
        }
        let whole = |nr| geometry.section_pfns(nr);
        let populated = |nr| {
            let at = self.subsections().partition_point(|s| s.end <= whole(nr).start);
            self.subsections().get(at).is_some_and(|s| s.overlaps(&whole(nr)))
        };
        match self.iter().find(|section| !populated(section.nr())) {
            Some(section) => Err(ModelViolation::Unpopulated { nr: section.nr() }),
            None => Ok(()),
        }
    }
}

/// Whether every section's map is its part of `vmemmap`.
fn in_vmemmap(sections: &Sections<'_>, vmemmap: &PageArray) -> Result<(), ModelViolation> {
    let elsewhere = sections.iter().find(|section| {
        let first = sections.geometry().section_pfns(section.nr()).start;
        section.mem_map().is_some_and(|map| map != vmemmap.from(first))
    });
    match elsewhere {
        Some(section) => Err(ModelViolation::Vmemmap { nr: section.nr() }),
        None => Ok(()),
    }
}
