//! The start information of Xen's PVH boot protocol (`hvm_start_info`, Xen's `public/arch-x86/hvm/start_info.h`).

use super::{Reader, field};
use arrayvec::ArrayVec;
use core::fmt;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::e820::{E820Entry, E820Kind};

/// `XEN_HVM_START_MAGIC_VALUE`.
const MAGIC: u64 = 0x336e_c578;
/// Entries of the memory map that are kept.
pub const MAP_ENTRIES: usize = 128;
/// Bytes of a command line, its end included (COMMAND_LINE_SIZE).
pub const COMMAND_LINE: u64 = 2048;

/// What a loader hands over.
#[derive(Clone, Debug, Default)]
pub struct Handover<'r> {
    /// The memory map.
    pub map: ArrayVec<E820Entry, MAP_ENTRIES>,
    /// The command line, as far as it is text.
    pub cmdline: &'r str,
    /// The first module: the initial RAM disk.
    pub initrd: Option<PhysRange>,
    /// ACPI's root pointer.
    pub rsdp: Option<PhysAddr>,
}

/// Why there is no hand-over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PvhError {
    /// Another number stands where the magic one belongs.
    Magic(u64),
    /// A version without a memory map.
    Version(u64),
    /// Something lies where the processor sees no memory.
    Unreachable(&'static str, PhysAddr),
    /// More entries in the memory map than are kept, or none.
    Entries(u64),
}

impl fmt::Display for PvhError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic(found) => {
                write!(f, "no PVH start information: {found:#x} where {MAGIC:#x} was expected")
            }
            Self::Version(found) => {
                write!(f, "PVH start information of version {found}, which has no memory map")
            }
            Self::Unreachable(what, at) => write!(f, "the {what} at {at:#x} cannot be read"),
            Self::Entries(n) => write!(f, "a memory map of {n} entries: expected 1 to {MAP_ENTRIES}"),
        }
    }
}

impl core::error::Error for PvhError {}

/// Reads the start information at `at`.
///
/// # Errors
/// [`PvhError`].
pub fn parse<'r>(read: Reader<'r>, at: PhysAddr) -> Result<Handover<'r>, PvhError> {
    const LEN: u64 = 56;
    const ENTRY: usize = 24;
    let info = read(at, LEN).ok_or(PvhError::Unreachable("start information", at))?;
    let magic = field(info, 0, 4);
    if magic != MAGIC {
        return Err(PvhError::Magic(magic));
    }
    let version = field(info, 4, 4);
    if version < 1 {
        return Err(PvhError::Version(version));
    }
    let address = |at: usize| Some(PhysAddr::new(field(info, at, 8))).filter(|a| *a != PhysAddr::ZERO);
    let mut handover = Handover { rsdp: address(32), ..Handover::default() };
    if let Some(at) = address(24) {
        handover.cmdline = text(read, at).ok_or(PvhError::Unreachable("command line", at))?;
    }
    if let Some(at) = address(16).filter(|_| field(info, 12, 4) > 0) {
        let module = read(at, 16).ok_or(PvhError::Unreachable("list of modules", at))?;
        let range = PhysRange::from_len(PhysAddr::new(field(module, 0, 8)), field(module, 8, 8));
        handover.initrd = Some(range).filter(|r| !r.is_empty());
    }
    let (at, count) = (PhysAddr::new(field(info, 40, 8)), field(info, 48, 4));
    if count == 0 || count > MAP_ENTRIES as u64 {
        return Err(PvhError::Entries(count));
    }
    let map = read(at, count * ENTRY as u64).ok_or(PvhError::Unreachable("memory map", at))?;
    for entry in map.chunks_exact(ENTRY) {
        let kind = E820Kind::from_number(field(entry, 16, 4) as u32);
        // There is room: the count was compared.
        let _ = handover.map.try_push(E820Entry::new(field(entry, 0, 8), field(entry, 8, 8), kind));
    }
    Ok(handover)
}

/// The text at `at` up to its zero byte, or up to what is no text.
fn text(read: Reader<'_>, at: PhysAddr) -> Option<&str> {
    let bytes = read(at, COMMAND_LINE)?;
    let bytes = bytes.split(|b| *b == 0).next().unwrap_or(bytes);
    Some(match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => core::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or(""),
    })
}
