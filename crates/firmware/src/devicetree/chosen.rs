//! /chosen: what the boot loader adds to the tree.

use super::{CellCounts, DeviceTree, Node, PropertyError, PropertyProblem, Region, Regions};
use arrayvec::ArrayVec;
use pagewright_addr::{PhysAddr, PhysRange};

/// How many ranges of `linux,usable-memory-range` Linux reads (MAX_USABLE_RANGES).
const MAX_USABLE_RANGES: usize = 2;

/// What /chosen says. A property that Linux would pass over is `None` here and stands in `problems`.
#[derive(Clone, Debug, Default)]
pub struct Chosen<'a> {
    /// Whether there is a /chosen (or /chosen@0) at all.
    pub present: bool,
    /// `bootargs`, not yet cut to the kernel's COMMAND_LINE_SIZE. A value without its final NUL loses its last byte,
    /// as Linux's copy does.
    pub bootargs: Option<&'a str>,
    /// `linux,initrd-start` and `linux,initrd-end`, of one or two cells each.
    pub initrd: Option<PhysRange>,
    /// `linux,usable-memory-range`, at most two ranges.
    pub usable_memory_ranges: ArrayVec<Region, MAX_USABLE_RANGES>,
    /// `linux,elfcorehdr`.
    pub elfcorehdr: Option<PhysRange>,
    /// `kaslr-seed`; one that an earlier boot stage has used is 0.
    pub kaslr_seed: Option<u64>,
    /// Whether there is a `rng-seed`, which Linux takes out of the tree.
    pub rng_seed: bool,
    /// `stdout-path`, or the older `linux,stdout-path`.
    pub stdout_path: Option<&'a str>,
    /// What could not be read, in the order above.
    pub problems: ArrayVec<PropertyError<'a>, 8>,
}

/// Reads the properties of one node and keeps what is wrong with them.
struct Reader<'a> {
    node: Node<'a>,
    problems: ArrayVec<PropertyError<'a>, 8>,
}

impl<'a> Reader<'a> {
    fn refuse(&mut self, property: &'static str, problem: PropertyProblem) {
        let error = PropertyError { node: self.node.name(), property, problem };
        // Fewer than eight properties are read, each refused at most once.
        let _ = self.problems.try_push(error);
    }

    fn refuse_length(&mut self, property: &'static str, value: &[u8], expected: usize) {
        let (len_bytes, expected_bytes) = (value.len() as u32, expected as u32);
        self.refuse(property, PropertyProblem::BadLength { len_bytes, expected_bytes });
    }

    fn bootargs(&mut self) -> Option<&'a str> {
        let (_, text) = self.node.property("bootargs")?.value.split_last()?;
        let text = text.split(|b| *b == 0).next().unwrap_or(text);
        let result = core::str::from_utf8(text).ok();
        if result.is_none() {
            self.refuse("bootargs", PropertyProblem::NotText);
        }
        result
    }

    fn initrd(&mut self) -> Option<PhysRange> {
        let start = self.node.property("linux,initrd-start")?.as_number();
        let Some(end) = self.node.property("linux,initrd-end") else {
            self.refuse("linux,initrd-end", PropertyProblem::Missing);
            return None;
        };
        let end = end.as_number();
        if start > end {
            self.refuse("linux,initrd-end", PropertyProblem::BadValue { value: end });
            return None;
        }
        Some(PhysRange::new(PhysAddr::new(start), PhysAddr::new(end)))
    }

    fn usable_memory_ranges(&mut self, cells: CellCounts) -> ArrayVec<Region, MAX_USABLE_RANGES> {
        const NAME: &str = "linux,usable-memory-range";
        let Some(p) = self.node.property(NAME) else { return ArrayVec::new() };
        let pair = cells.pair_bytes().unwrap_or(0);
        if !p.value.len().is_multiple_of(pair) {
            self.refuse_length(NAME, p.value, pair);
            return ArrayVec::new();
        }
        Regions::new(p.value, cells).take(MAX_USABLE_RANGES).collect()
    }

    fn elfcorehdr(&mut self, cells: CellCounts) -> Option<PhysRange> {
        const NAME: &str = "linux,elfcorehdr";
        let p = self.node.property(NAME)?;
        let region = Regions::new(p.value, cells).next();
        if region.is_none() {
            self.refuse_length(NAME, p.value, cells.pair_bytes().unwrap_or(0));
        }
        region.map(|r| r.range())
    }

    fn kaslr_seed(&mut self) -> Option<u64> {
        let p = self.node.property("kaslr-seed")?;
        if p.value.len() != 8 {
            self.refuse_length("kaslr-seed", p.value, 8);
            return None;
        }
        Some(p.as_number())
    }
}

impl<'a> DeviceTree<'a> {
    /// The node that Linux takes for /chosen: `/chosen`, else `/chosen@0`.
    pub fn chosen_node(&self) -> Option<Node<'a>> {
        // A lookup without a unit address finds `chosen@0` as well, so the second try adds nothing.
        self.root().child("chosen")
    }

    /// Reads /chosen (early_init_dt_scan_chosen and what follows it).
    pub fn chosen(&self) -> Chosen<'a> {
        let Some(node) = self.chosen_node() else { return Chosen::default() };
        let cells = self.root_cells();
        let mut reader = Reader { node, problems: ArrayVec::new() };
        let text = |name| node.property(name).and_then(|p| p.as_str());
        Chosen {
            present: true,
            bootargs: reader.bootargs(),
            initrd: reader.initrd(),
            usable_memory_ranges: reader.usable_memory_ranges(cells),
            elfcorehdr: reader.elfcorehdr(cells),
            kaslr_seed: reader.kaslr_seed(),
            rng_seed: node.property("rng-seed").is_some_and(|p| !p.value.is_empty()),
            stdout_path: text("stdout-path").or_else(|| text("linux,stdout-path")),
            problems: reader.problems,
        }
    }
}
