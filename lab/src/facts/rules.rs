//! Which lines are facts, and under which key.

use super::{Facts, Group, shape};

/// Lines that are facts as a whole: their beginning, and the group. The key is the line's shape (numbers left
/// out), the value the line. Messages about refusals are among them, so that one which only one side prints shows.
/// Other parts of a kernel begin lines with the same words: each beginning goes on until only memory is meant.
const MESSAGES: &[(Group, &str)] = &[
    (Group::Memory, "e820: update [mem"),
    (Group::Memory, "e820: remove [mem"),
    (Group::Memory, "user: [mem"),
    (Group::Memory, "last_pfn = "),
    (Group::Memory, "No NUMA configuration found"),
    (Group::Memory, "Faking a node at "),
    (Group::Memory, "Faking node "),
    (Group::Memory, "Fake node size"),
    (Group::Memory, "NUMA: "),
    (Group::Memory, "numa: "),
    (Group::Memory, "NODE_DATA("),
    (Group::Memory, "    NODE_DATA("),
    (Group::Memory, "SRAT: "),
    (Group::Memory, "ACPI: SRAT: "),
    (Group::Memory, "Memory limited to"),
    (Group::Memory, "Ignoring RAM at "),
    (Group::Memory, "Ignoring memory "),
    (Group::Memory, "Truncating RAM at "),
    (Group::Memory, "Truncating memory at "),
    (Group::Memory, "  mapped low ram:"),
    (Group::Memory, "  low ram:"),
    (Group::Memory, "PM: hibernation: Registered nosave memory:"),
    (Group::Zones, "Initializing HighMem for node"),
    (Group::Zones, "Initializing Movable for node"),
    (Group::Placements, "cma: "),
    (Group::Placements, "crashkernel"),
    (Group::Placements, "Reserving "),
    (Group::Placements, "cannot allocate crashkernel"),
    (Group::Placements, "Cannot reserve "),
    (Group::Placements, "Cannot allocate reserved memory"),
    (Group::Placements, "OF: reserved mem: "),
    (Group::Placements, "OF: fdt: Reserved memory: "),
    (Group::Placements, "OF: fdt: Reserving "),
    (Group::Placements, "OF: fdt: Ignoring memory "),
    (Group::Placements, "Reserved memory: "),
    (Group::Placements, "INITRD: "),
    (Group::Placements, "initrd "),
    (Group::Placements, "RAMDISK: [mem "),
    (Group::Placements, "Allocated new RAMDISK: "),
    (Group::Placements, "Move RAMDISK "),
    (Group::Placements, "hugetlb_cma: "),
    (Group::Placements, "HugeTLB: "),
    (Group::Placements, "software IO TLB: "),
    (Group::Layout, "percpu: "),
    (Group::Layout, "setup_percpu: "),
    (Group::Layout, "pcpu-alloc: "),
    (Group::Slub, "SLUB: HWalign="),
    (Group::Managed, "Memory: "),
];

/// What follows on lines of their own inside a block.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Block {
    #[default]
    None,
    ZoneRanges,
    MovableStarts,
    EarlyRanges,
    MemblockDump,
}

/// The extractor's state between lines.
#[derive(Default)]
pub(super) struct Reader {
    block: Block,
    dumps: u32,
    late: bool,
    /// The boot is over: drivers and programs speak.
    over: bool,
}

impl Reader {
    pub(super) fn line(&mut self, line: &str, facts: &mut Facts) {
        // `Run /init as init process`
        self.over |= line.starts_with("Run ") && line.trim_end().ends_with(" as init process");
        if self.over || self.heading(line) {
            return;
        }
        if line.starts_with(' ') && self.block != Block::None {
            if self.inside_block(line, facts) {
                return;
            }
        } else {
            self.block = Block::None;
        }
        if let Some((group, key, value)) = structured(line) {
            facts.push(group, key, value, self.late);
        } else if let Some(rest) = line.strip_prefix("On node ") {
            // `0, zone DMA: 97 pages in unavailable ranges`: several holes of one zone have a line each.
            if let Some((place, pages)) = rest.split_once(": ") {
                facts.push_next(Group::Zones, &format!("holes of node {place}"), pages, self.late);
            }
        } else if let Some((group, _)) = MESSAGES.iter().find(|(_, start)| line.starts_with(start)) {
            if line.starts_with("Memory: ") {
                facts.complete = true;
            }
            facts.push_next(*group, &shape(line), line, self.late);
        } else if line.ends_with("HIGHMEM available.") || line.ends_with("LOWMEM available.") {
            facts.push_next(Group::Memory, &shape(line), line, self.late);
        } else if line.contains("--0x") && line.contains(") overlaps with ") {
            facts.push_next(Group::Placements, &shape(line), line, self.late);
        }
    }

    fn heading(&mut self, line: &str) -> bool {
        self.block = match line.trim_end() {
            "Zone ranges:" => Block::ZoneRanges,
            "Movable zone start for each node" => Block::MovableStarts,
            "Early memory node ranges" => Block::EarlyRanges,
            "MEMBLOCK configuration:" => {
                self.dumps += 1;
                Block::MemblockDump
            }
            _ => {
                if line.starts_with("Kernel command line:") {
                    self.late = true;
                }
                return false;
            }
        };
        true
    }

    fn inside_block(&mut self, line: &str, facts: &mut Facts) -> bool {
        let line = line.trim();
        match self.block {
            Block::ZoneRanges => {
                let Some((zone, range)) = line.split_once(char::is_whitespace) else { return false };
                facts.push(Group::Zones, format!("zone {zone} range"), range.trim(), self.late);
            }
            Block::MovableStarts => {
                let Some((node, start)) = line.strip_prefix("Node ").and_then(|l| l.split_once(": ")) else {
                    return false;
                };
                facts.push(Group::Zones, format!("movable start of node {node}"), start, self.late);
            }
            Block::EarlyRanges => {
                let Some(range) = line.strip_prefix("node ") else { return false };
                facts.push_next(Group::Zones, "early memory node range", range.trim(), self.late);
            }
            Block::MemblockDump => {
                let split = line.split_once(" = ").or_else(|| line.split_once('\t'));
                let Some((what, value)) = split else { return false };
                let key = format!("memblock dump {}: {}", self.dumps, what.trim());
                facts.push(Group::Memory, key, value, self.late);
            }
            Block::None => return false,
        }
        true
    }
}

/// Lines whose key names what they decide.
fn structured(line: &str) -> Option<(Group, String, &str)> {
    if let Some(rest) = line.strip_prefix("mminit::") {
        if let Some(list) = rest.strip_prefix("zonelist ") {
            let (which, zones) = list.split_once(" = ")?;
            return Some((Group::Zones, format!("zonelist {which}"), zones));
        }
        if let Some(map) = rest.strip_prefix("memmap_init Initialising map ") {
            let (which, pfns) = map.split_once(" pfns ")?;
            return Some((Group::Zones, format!("map of {which}"), pfns));
        }
        let (what, value) = rest.split_once(' ')?;
        return what.starts_with("pageflags_").then(|| (Group::Layout, what.to_owned(), value));
    }
    if let Some(rest) = line.strip_prefix("Initmem setup node ") {
        let (node, value) = rest.split_once(' ')?;
        return Some((Group::Zones, format!("memory of node {node}"), value));
    }
    if let Some(rest) = line.strip_prefix("Initializing node ") {
        let (node, value) = rest.split_once(' ')?;
        return Some((Group::Zones, format!("initialising of node {node}"), value));
    }
    if let Some(rest) = line.strip_prefix("Fallback order for Node ") {
        let (node, order) = rest.split_once(": ")?;
        return Some((Group::Zones, format!("fallback order of node {node}"), order));
    }
    if line.starts_with("Built ") && line.contains(" zonelists, ") {
        return Some((Group::Zones, "zonelists".to_owned(), line));
    }
    line.strip_prefix("Policy zone: ").map(|zone| (Group::Zones, "policy zone".to_owned(), zone))
}
