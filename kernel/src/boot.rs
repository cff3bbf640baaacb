//! A boot on the metal: from a machine's description to a running page allocator, with memory for the allocator's tables taken from memblock.

use crate::carve::{Carve, bytes_for};
use crate::direct_map::DirectMap;
use core::fmt;
use core::sync::atomic::AtomicU32;
use pagewright::running::{metadata_frames, populated_zones};
use pagewright::{Boot, BootError, Running, Space, hand_over};
use pagewright_addr::{NodeId, PhysAddr};
use pagewright_firmware::config::KernelConfig;
use pagewright_firmware::{self as machine, BuildFacts, Firmware, KernelImage, Machine};
use pagewright_memblock::{self as memblock, Flags, Set};
use pagewright_page::{PageMeta, Pristine, Section};
use pagewright_zone::ZoneKind;
use pagewright_zone::buddy::{BuddyZone, ZonePiece};
use pagewright_zone::watermark::{Cpus, ZoneMarks};

/// Why a machine did not get to a running page allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartError {
    /// The boot stopped.
    Boot(BootError),
    /// No run of free memory holds the page allocator's metadata.
    Metadata {
        /// Bytes that it takes.
        needed: u64,
        /// Bytes of the largest free run.
        largest: u64,
    },
    /// memblock gave memory that the direct map does not reach.
    Unreachable(PhysAddr),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot(e) => e.fmt(f),
            Self::Metadata { needed, largest } => write!(
                f,
                "page metadata takes {needed} bytes and the largest free run has {largest}: {} bytes short",
                needed.saturating_sub(*largest)
            ),
            Self::Unreachable(at) => write!(f, "the direct map does not reach {at:#x}"),
        }
    }
}

impl core::error::Error for StartError {}

impl From<BootError> for StartError {
    fn from(e: BootError) -> Self {
        Self::Boot(e)
    }
}

/// A boot's error, with what memory lacks if that is what stopped it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopped {
    error: BootError,
    short: Option<u64>,
}

impl Stopped {
    /// The error of a boot that can be looked at.
    pub fn new(boot: &Boot<'_>, error: BootError) -> Self {
        let BootError::Memblock(memblock::Error::NoMemory { size, align, .. }) = error else {
            return Self { error, short: None };
        };
        let free = boot.mb.free_ranges(None, Flags::NONE);
        let largest =
            free.map(|(r, _)| r.end.get().saturating_sub(r.start.align_up(align.max(1)).get())).max();
        let short = size.saturating_sub(largest.unwrap_or(0));
        Self { error, short: Some(short).filter(|short| *short > 0) }
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)?;
        match self.short {
            Some(short) => write!(f, ": too little memory, {short} bytes short"),
            None => Ok(()),
        }
    }
}

/// A machine as an image tells of it: `image` on this firmware and these processors. The RAM disk and the command line are the
/// firmware's.
pub fn describe<'a>(
    config: KernelConfig,
    image: KernelImage,
    firmware: Firmware<'a>,
    cpus: machine::Cpus,
) -> Machine<'a> {
    let build = BuildFacts::for_config(&config);
    Machine {
        arch: config.arch,
        config,
        image,
        build,
        firmware,
        initrd: None,
        cmdline: None,
        cpus,
        seed: None,
    }
}

/// Bytes of the largest free run.
fn largest_free(boot: &Boot<'_>) -> u64 {
    boot.mb.free_ranges(None, Flags::NONE).map(|(r, _)| r.len()).max().unwrap_or(0)
}

/// How many of each table a page allocator on this machine has.
#[derive(Clone, Copy, Debug)]
struct Counts {
    frames: usize,
    regions: usize,
    records: usize,
    zones: usize,
    extents: usize,
    marks: usize,
}

impl Counts {
    fn of(boot: &Boot<'_>) -> Self {
        let frames = metadata_frames(boot);
        // One reservation more: this memory itself.
        let regions = boot.mb.regions(Set::Memory).len() + 1;
        let free = regions + boot.mb.regions(Set::Reserved).len() + 1;
        let zones = populated_zones(boot);
        Self {
            frames: frames as usize,
            regions,
            records: (frames >> boot.machine.config.pageblock_order()) as usize + 2,
            zones,
            extents: free * zones,
            marks: boot.nodes_online.len().max(1) * ZoneKind::COUNT,
        }
    }

    fn pieces(&self) -> usize {
        self.regions * (self.zones + 1)
    }

    fn bytes(&self) -> u64 {
        bytes_for::<PageMeta>(self.frames)
            + bytes_for::<Section>(self.regions)
            + bytes_for::<AtomicU32>(self.records)
            + bytes_for::<ZonePiece>(self.pieces())
            + bytes_for::<Option<Pristine<'_>>>(self.extents)
            + bytes_for::<BuddyZone<'_, '_>>(self.zones)
            + bytes_for::<ZoneMarks>(self.marks)
    }

    fn space<'a>(&self, memory: &mut Carve<'a>) -> Option<Space<'a, 'a, 'a>> {
        Some(Space {
            metadata: memory.metadata(self.frames)?,
            sections: memory.slice(self.regions, || Section::EMPTY)?,
            records: memory.slice(self.records, || AtomicU32::new(0))?,
            pieces: memory.slice(self.pieces(), || ZonePiece::EMPTY)?,
            extents: memory.slice(self.extents, || None)?,
            zones: memory.slice(self.zones, || BuddyZone::new(NodeId::ZERO, ZoneKind::Normal, &mut []))?,
            marks: memory.slice(self.marks, || ZoneMarks::new(NodeId::ZERO, ZoneKind::Normal, 0, false))?,
        })
    }
}

/// Bytes of memory that the page allocator's tables take on this machine.
pub fn allocator_bytes(boot: &Boot<'_>) -> u64 {
    Counts::of(boot).bytes()
}

/// Takes the page allocator's tables from memblock and hands memory over to it.
///
/// # Errors
/// [`StartError`].
pub fn start_allocator<'a>(boot: &mut Boot<'_>, ram: &DirectMap) -> Result<Running<'a, 'a, 'a>, StartError> {
    let counts = Counts::of(boot);
    let (bytes, page) = (counts.bytes(), boot.page_bytes());
    let bytes = bytes.next_multiple_of(page);
    boot.mb.set_caller("start_allocator");
    let Ok(at) = boot.mb.alloc(bytes, page) else {
        return Err(StartError::Metadata { needed: bytes, largest: largest_free(boot) });
    };
    let first = ram.pointer(at, bytes).ok_or(StartError::Unreachable(at))?;
    // SAFETY: memblock has just given these bytes to nobody else, they stay reserved when it hands over, and the direct map has
    // them as memory that may be read and written.
    let mut memory = unsafe { Carve::new(first, bytes as usize) };
    let Some(space) = counts.space(&mut memory) else {
        return Err(BootError::Space { what: "its tables" }.into());
    };
    Ok(hand_over(boot, space)?)
}

/// The initcalls, with the machine's processors on their nodes.
pub fn initcalls(boot: &mut Boot<'_>, running: &mut Running<'_, '_, '_>) {
    let online = boot.online_cpus().count() as u32;
    let mut counts = [0_u32; NODES];
    for cpu in boot.online_cpus() {
        if let Some(count) = counts.get_mut(node_of_cpu(boot, cpu).index()) {
            *count += 1;
        }
    }
    let numa = boot.machine.config.numa;
    let on_node = |nid: NodeId| counts.get(nid.index()).copied().unwrap_or(0);
    let everywhere = |_: NodeId| online;
    let cpus = Cpus { online, on_node: if numa { &on_node } else { &everywhere } };
    running.initcalls(boot, &cpus);
}

/// Nodes whose processors are counted.
const NODES: usize = 64;

/// The node that a processor's first chunk was placed on.
pub fn node_of_cpu(boot: &Boot<'_>, cpu: u32) -> NodeId {
    let groups = boot.percpu.iter().flat_map(|info| info.groups.iter().map(move |g| (info, g)));
    let mut mine = groups.filter(|(info, group)| info.cpus(group).contains(&cpu));
    mine.next().and_then(|(_, group)| group.node).unwrap_or(NodeId::ZERO)
}
