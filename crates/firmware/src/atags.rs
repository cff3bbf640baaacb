//! ATAGs: the list of tagged values that boot loaders handed to 32-bit Arm kernels before there were device trees.
//!
//! A list is a row of little-endian words. Each tag begins with its length in words, counted with these two words,
//! and its number; ATAG_CORE comes first, a length of 0 ends the list. The format is that of the Arm Linux boot
//! protocol. [`Atags::parse`] keeps what memory set-up needs; [`Atags::write`] makes a list, for tests and loaders.

use arrayvec::ArrayVec;
use core::fmt;
use pagewright_addr::{PhysAddr, PhysRange};

/// How many banks of memory a list may have: as many as kernels of the time of ATAGs kept (NR_BANKS).
pub const MAX_BANKS: usize = 8;

const NONE: u32 = 0;
const CORE: u32 = 0x5441_0001;
const MEM: u32 = 0x5441_0002;
const INITRD: u32 = 0x5441_0005;
const INITRD2: u32 = 0x5442_0005;
const SERIAL: u32 = 0x5441_0006;
const REVISION: u32 = 0x5441_0007;
const CMDLINE: u32 = 0x5441_0009;

/// A parsed list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Atags<'a> {
    /// What ATAG_CORE says; `None` for its empty form.
    pub core: Option<AtagCore>,
    /// Banks of memory (ATAG_MEM) in order, those of size 0 too.
    pub memory: ArrayVec<PhysRange, MAX_BANKS>,
    /// The initial RAM disk; the last tag counts.
    pub initrd: Option<AtagInitrd>,
    /// The command line (ATAG_CMDLINE) up to its NUL; the last tag counts.
    pub cmdline: Option<&'a str>,
    /// Board revision (ATAG_REVISION).
    pub revision: Option<u32>,
    /// Board serial number (ATAG_SERIAL).
    pub serial: Option<u64>,
    /// How many tags were of other kinds; Linux says "Ignoring unrecognised tag" for those it does not know.
    pub others: u32,
}

/// The values of ATAG_CORE.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AtagCore {
    /// Bit 0: mount the root device read-only.
    pub flags: u32,
    /// The page size that the boot loader assumes, in bytes.
    pub page_size: u32,
    /// The root device's number.
    pub root_dev: u32,
}

/// Where the initial RAM disk lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AtagInitrd {
    /// ATAG_INITRD2: physical.
    Physical(PhysRange),
    /// ATAG_INITRD, deprecated: a virtual address of the kernel's linear map.
    Virtual {
        /// Virtual start address.
        start: u32,
        /// Length in bytes.
        size: u32,
    },
}

/// Why a list cannot be read, or written. Offsets are bytes from its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AtagError {
    /// The list does not begin with an ATAG_CORE of 2 or 5 words.
    NoCore {
        /// The length that stands there, in words.
        words: u32,
        /// The tag that stands there.
        tag: u32,
    },
    /// The bytes end before the list does.
    Cut {
        /// Where the tag begins that is not whole, or the end tag is missing.
        offset: u64,
    },
    /// A tag has too few words.
    BadLength {
        /// Where.
        offset: u64,
        /// The tag.
        tag: u32,
        /// Its length in words.
        words: u32,
    },
    /// The command line is not text.
    NotText {
        /// Where the tag begins.
        offset: u64,
    },
    /// More than [`MAX_BANKS`] banks.
    TooManyBanks {
        /// Where the first one too many begins.
        offset: u64,
    },
    /// A bank or RAM disk does not fit 32-bit words (writing).
    TooLarge {
        /// The range.
        range: PhysRange,
    },
    /// The buffer is too small (writing).
    NoRoom {
        /// Bytes of the buffer.
        len_bytes: u64,
    },
}

impl fmt::Display for AtagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoCore { words, tag } => {
                write!(f, "ATAGs begin with tag {tag:#010x} of {words} words, expected 0x54410001 of 2 or 5")
            }
            Self::Cut { offset } => write!(f, "ATAGs end inside the tag at offset {offset:#x}"),
            Self::BadLength { offset, tag, words } => {
                write!(f, "ATAG {tag:#010x} at offset {offset:#x} has {words} words, too few")
            }
            Self::NotText { offset } => write!(f, "ATAG_CMDLINE at offset {offset:#x} is not text"),
            Self::TooManyBanks { offset } => {
                write!(f, "ATAG_MEM at offset {offset:#x} is one more than {MAX_BANKS} banks")
            }
            Self::TooLarge { range } => write!(f, "range {range:?} does not fit an ATAG's 32-bit words"),
            Self::NoRoom { len_bytes } => write!(f, "{len_bytes} bytes are too few for the ATAGs"),
        }
    }
}

impl core::error::Error for AtagError {}

fn range(start: u32, size: u32) -> PhysRange {
    PhysRange::from_len(PhysAddr::new(u64::from(start)), u64::from(size))
}

impl<'a> Atags<'a> {
    /// Reads a list; bytes after its end are ignored.
    ///
    /// # Errors
    /// [`AtagError::NoCore`], [`AtagError::Cut`], [`AtagError::BadLength`], [`AtagError::NotText`] or
    /// [`AtagError::TooManyBanks`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, AtagError> {
        let (words, _) = bytes.as_chunks::<4>();
        let word = |i: usize| words.get(i).map(|w| u32::from_le_bytes(*w));
        let (size, tag) = (word(0).unwrap_or(0), word(1).unwrap_or(0));
        if !matches!(size, 2 | 5) || tag != CORE {
            return Err(AtagError::NoCore { words: size, tag });
        }
        let mut this = Self::default();
        let mut at = 0_usize;
        loop {
            let cut = AtagError::Cut { offset: at as u64 * 4 };
            let size = word(at).ok_or(cut)?;
            if size == 0 {
                return Ok(this);
            }
            let tag = word(at + 1).ok_or(cut)?;
            let end = at.checked_add(size as usize).ok_or(cut)?;
            let body = words.get(at + 2..end.max(at + 2)).ok_or(cut)?;
            this.take(tag, body, at as u64 * 4, size)?;
            // A length of 1 would stand still inside the header; `take` has refused it.
            at = end;
        }
    }

    fn take(&mut self, tag: u32, body: &'a [[u8; 4]], offset: u64, words: u32) -> Result<(), AtagError> {
        let short = AtagError::BadLength { offset, tag, words };
        if words < 2 {
            return Err(short);
        }
        let word = |i: usize| body.get(i).map(|w| u32::from_le_bytes(*w)).ok_or(short);
        match tag {
            CORE if body.is_empty() => {}
            CORE => {
                self.core = Some(AtagCore { flags: word(0)?, page_size: word(1)?, root_dev: word(2)? });
            }
            MEM => {
                let bank = range(word(1)?, word(0)?);
                self.memory.try_push(bank).map_err(|_| AtagError::TooManyBanks { offset })?;
            }
            INITRD => self.initrd = Some(AtagInitrd::Virtual { start: word(0)?, size: word(1)? }),
            INITRD2 => self.initrd = Some(AtagInitrd::Physical(range(word(0)?, word(1)?))),
            SERIAL => self.serial = Some(u64::from(word(1)?) << 32 | u64::from(word(0)?)),
            REVISION => self.revision = Some(word(0)?),
            CMDLINE => {
                let text = body.as_flattened().split(|b| *b == 0).next().unwrap_or(&[]);
                let text = core::str::from_utf8(text).map_err(|_| AtagError::NotText { offset })?;
                self.cmdline = Some(text);
            }
            _ => self.others = self.others.saturating_add(1),
        }
        Ok(())
    }

    /// Writes the list and returns its length in bytes. `others` cannot be written and is left out.
    ///
    /// # Errors
    /// [`AtagError::NoRoom`] or [`AtagError::TooLarge`].
    pub fn write(&self, out: &mut [u8]) -> Result<usize, AtagError> {
        let mut w = Writer { out, at: 0 };
        match self.core {
            Some(c) => w.tag(CORE, &[c.flags, c.page_size, c.root_dev])?,
            None => w.tag(CORE, &[])?,
        }
        for bank in &self.memory {
            let [start, size] = words_of(bank)?;
            w.tag(MEM, &[size, start])?;
        }
        match self.initrd {
            Some(AtagInitrd::Physical(r)) => w.tag(INITRD2, &words_of(&r)?)?,
            Some(AtagInitrd::Virtual { start, size }) => w.tag(INITRD, &[start, size])?,
            None => {}
        }
        if let Some(serial) = self.serial {
            w.tag(SERIAL, &[serial as u32, (serial >> 32) as u32])?;
        }
        if let Some(revision) = self.revision {
            w.tag(REVISION, &[revision])?;
        }
        if let Some(text) = self.cmdline {
            w.word(2 + (text.len() as u32 + 4) / 4)?;
            w.word(CMDLINE)?;
            w.bytes(text.as_bytes())?;
            w.bytes(&[0; 4][..4 - text.len() % 4])?;
        }
        w.word(0)?;
        w.word(NONE)?;
        Ok(w.at)
    }
}

fn words_of(r: &PhysRange) -> Result<[u32; 2], AtagError> {
    let word = |n: u64| u32::try_from(n).map_err(|_| AtagError::TooLarge { range: *r });
    Ok([word(r.start.get())?, word(r.len())?])
}

struct Writer<'o> {
    out: &'o mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), AtagError> {
        let no_room = AtagError::NoRoom { len_bytes: self.out.len() as u64 };
        let end = self.at + bytes.len();
        self.out.get_mut(self.at..end).ok_or(no_room)?.copy_from_slice(bytes);
        self.at = end;
        Ok(())
    }

    fn word(&mut self, word: u32) -> Result<(), AtagError> {
        self.bytes(&word.to_le_bytes())
    }

    fn tag(&mut self, tag: u32, values: &[u32]) -> Result<(), AtagError> {
        self.word(2 + values.len() as u32)?;
        self.word(tag)?;
        values.iter().try_for_each(|v| self.word(*v))
    }
}
