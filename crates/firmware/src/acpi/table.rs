//! The header that all system description tables share, and the walk over a table's entries.

use core::fmt;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// What is wrong with a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AcpiError {
    /// Fewer bytes than a table header has.
    NoHeader {
        /// How many bytes there are.
        len: usize,
    },
    /// Another table than the one asked for.
    Signature {
        /// What stands there.
        found: [u8; 4],
        /// What was expected.
        expected: [u8; 4],
    },
    /// The header's length is less than the table's fixed part, or more than there is.
    Length {
        /// The table.
        signature: [u8; 4],
        /// What the header says.
        claimed: u32,
        /// How many bytes there are.
        available: usize,
        /// Bytes of the fixed part.
        minimum: usize,
    },
    /// An entry's length is too small for its type, or runs past the table.
    Entry {
        /// The table.
        signature: [u8; 4],
        /// Where the entry starts, in bytes from the table's start.
        offset: usize,
        /// The entry's type.
        kind: u8,
        /// The entry's length as it says.
        length: u8,
    },
    /// SLIT: the matrix does not fit the table.
    Localities {
        /// How many proximity domains the table claims.
        count: u64,
        /// Bytes that are there for the matrix.
        available: usize,
    },
}

/// A signature as text, with dots where a byte is not printable.
struct Signature([u8; 4]);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        self.0.iter().try_for_each(|b| f.write_char(if b.is_ascii_graphic() { char::from(*b) } else { '.' }))
    }
}

impl fmt::Display for AcpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoHeader { len } => {
                write!(f, "{len} bytes are no ACPI table: its header alone has {}", size_of::<Header>())
            }
            Self::Signature { found, expected } => {
                write!(f, "table {} where {} was expected", Signature(found), Signature(expected))
            }
            Self::Length { signature, claimed, available, minimum } => write!(
                f,
                "table {} says that it has {claimed} bytes: expected at least {minimum}, at most the {available} given",
                Signature(signature)
            ),
            Self::Entry { signature, offset, kind, length } => write!(
                f,
                "table {}: the entry of type {kind} at byte {offset} has length {length}, too short for its type or \
                 past the table's end",
                Signature(signature)
            ),
            Self::Localities { count, available } => {
                write!(
                    f,
                    "table SLIT: {count} localities need {count} x {count} bytes, {available} are there"
                )
            }
        }
    }
}

impl core::error::Error for AcpiError {}

/// The header of ACPI 6.4, section 5.2.6.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    signature: [u8; 4],
    length: U32,
    revision: u8,
    checksum: u8,
    oem_id: [u8; 6],
    oem_table_id: U64,
    oem_revision: U32,
    creator_id: U32,
    creator_revision: U32,
}

const _: () = assert!(size_of::<Header>() == 36);

/// A table whose header has been checked against the bytes at hand.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// The four letters it is known by.
    pub signature: [u8; 4],
    /// Its revision, which decides about the width of some fields.
    pub revision: u8,
    /// The whole table, exactly as long as its header says.
    pub bytes: &'a [u8],
}

impl<'a> Table<'a> {
    /// Reads the header of any table. Bytes after the table's length are ignored.
    ///
    /// # Errors
    /// [`AcpiError::NoHeader`], [`AcpiError::Length`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, AcpiError> {
        let len = bytes.len();
        let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| AcpiError::NoHeader { len })?;
        let table = Self { signature: header.signature, revision: header.revision, bytes };
        let claimed = header.length.get();
        let wrong = table.length_error(claimed, size_of::<Header>());
        let wanted = usize::try_from(claimed).map_err(|_| wrong)?;
        if wanted < size_of::<Header>() {
            return Err(wrong);
        }
        let bytes = bytes.get(..wanted).ok_or(wrong)?;
        Ok(Self { bytes, ..table })
    }

    /// Reads the header of the table with this signature, whose fixed part (header included) has `minimum` bytes.
    pub(super) fn expect(
        bytes: &'a [u8],
        expected: &[u8; 4],
        minimum: usize,
    ) -> Result<(Self, &'a [u8]), AcpiError> {
        let table = Self::parse(bytes)?;
        if table.signature != *expected {
            return Err(AcpiError::Signature { found: table.signature, expected: *expected });
        }
        let length = table.bytes.len() as u32;
        let rest = table.bytes.get(minimum..).ok_or_else(|| table.length_error(length, minimum))?;
        Ok((table, rest))
    }

    fn length_error(&self, claimed: u32, minimum: usize) -> AcpiError {
        let available = self.bytes.len();
        AcpiError::Length { signature: self.signature, claimed, available, minimum }
    }

    /// Whether all bytes add up to zero, modulo 256.
    pub fn checksum_ok(&self) -> bool {
        self.bytes.iter().fold(0u8, |sum, b| sum.wrapping_add(*b)) == 0
    }

    /// The entries after the fixed part of `skip` bytes: type, length, and all bytes including those two.
    pub(super) fn entries(&self, skip: usize) -> Entries<'a> {
        Entries { signature: self.signature, bytes: self.bytes, offset: skip }
    }
}

/// One entry of a table: its type, its length, and the whole of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawEntry<'a> {
    signature: [u8; 4],
    offset: usize,
    pub(super) kind: u8,
    bytes: &'a [u8],
}

impl<'a> RawEntry<'a> {
    /// The entry as a structure, which may be shorter than the entry.
    pub(super) fn read<T: FromBytes + KnownLayout + Immutable + Unaligned>(
        &self,
    ) -> Result<&'a T, AcpiError> {
        T::ref_from_prefix(self.bytes).map(|(value, _)| value).map_err(|_| self.error(self.bytes.len() as u8))
    }

    fn error(&self, length: u8) -> AcpiError {
        AcpiError::Entry { signature: self.signature, offset: self.offset, kind: self.kind, length }
    }
}

/// Walks entries that start with a type byte and a length byte.
pub(super) struct Entries<'a> {
    signature: [u8; 4],
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<RawEntry<'a>, AcpiError>;

    /// The next entry. After an error there are none: the next one's place is not known.
    fn next(&mut self) -> Option<Self::Item> {
        // A single byte after the last entry cannot be one; the kernel stops there as well.
        let [kind, length, ..] = *self.bytes.get(self.offset..)? else { return None };
        let offset = self.offset;
        let entry = RawEntry { signature: self.signature, offset, kind, bytes: &[] };
        let end = offset + usize::from(length);
        match self.bytes.get(offset..end) {
            Some(bytes) if length >= 2 => {
                self.offset = end;
                Some(Ok(RawEntry { bytes, ..entry }))
            }
            _ => {
                self.offset = self.bytes.len();
                Some(Err(entry.error(length)))
            }
        }
    }
}
