//! The page allocator of a hosted machine: its tables in host memory.

use crate::{Metadata, SimError};
use core::fmt;
use core::sync::atomic::AtomicU32;
use pagewright::running::{metadata_frames, park_words, populated_zones};
use pagewright::{Boot, BootError, Running, Space, hand_over};
use pagewright_addr::NodeId;
use pagewright_memblock::Set;
use pagewright_page::{Pristine, Section};
use pagewright_zone::ZoneKind;
use pagewright_zone::buddy::{BuddyZone, ZonePiece};
use pagewright_zone::watermark::ZoneMarks;

/// Why a hosted machine's page allocator did not start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostedError {
    /// The host does not give the memory.
    Sim(SimError),
    /// The hand-over failed.
    Boot(BootError),
}

impl fmt::Display for HostedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sim(e) => e.fmt(f),
            Self::Boot(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for HostedError {}

/// Ends memblock's time on a booted machine and hands the running page allocator to `then`.
///
/// Metadata is lazily zeroed host memory, so that a described machine of a terabyte costs only what was reserved on
/// it. The allocator's memory lives until `then` returns.
///
/// # Errors
/// [`HostedError::Sim`] if the host has not enough memory, [`HostedError::Boot`] if the hand-over fails.
pub fn with_page_allocator<R>(
    boot: &mut Boot<'_>,
    then: impl FnOnce(&mut Boot<'_>, &mut Running<'_, '_, '_>) -> R,
) -> Result<R, HostedError> {
    let frames = metadata_frames(boot);
    let regions = boot.mb.regions(Set::Memory).len() + 1;
    let free_ranges = regions + boot.mb.regions(Set::Reserved).len();
    let zones = populated_zones(boot);
    let nodes = boot.nodes_online.len().max(1);
    let pageblock = boot.machine.config.pageblock_order();

    let mut metadata = Metadata::new(frames).map_err(HostedError::Sim)?;
    let mut sections = vec![Section::EMPTY; regions];
    let records: Vec<AtomicU32> = (0..(frames >> pageblock) + 2).map(|_| AtomicU32::new(0)).collect();
    let mut pieces = vec![ZonePiece::EMPTY; regions * (zones + 1)];
    let mut extents: Vec<Option<Pristine<'_>>> = Vec::new();
    extents.resize_with(free_ranges * zones, || None);
    let mut parks = vec![0; park_words(boot)];
    let mut buddy_zones: Vec<BuddyZone<'_, '_>> = Vec::new();
    buddy_zones.resize_with(zones, || BuddyZone::new(NodeId::ZERO, ZoneKind::Normal, &mut []));
    let mut marks = vec![ZoneMarks::new(NodeId::ZERO, ZoneKind::Normal, 0, false); nodes * ZoneKind::COUNT];
    let space = Space {
        metadata: metadata.storage(),
        sections: &mut sections,
        records: &records,
        pieces: &mut pieces,
        zones: &mut buddy_zones,
        extents: &mut extents,
        parks: &mut parks,
        marks: &mut marks,
    };
    let mut running = hand_over(boot, space).map_err(HostedError::Boot)?;
    Ok(then(boot, &mut running))
}
