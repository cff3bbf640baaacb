//! SLIT: distances between proximity domains (ACPI 6.4, section 5.2.17).

use super::table::{AcpiError, Table};
use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::U64;

/// Header and the number of localities.
const FIXED_PART: usize = 44;

/// A domain's distance to itself.
pub const LOCAL_DISTANCE: u8 = 10;
/// The distance between any two domains when no table says otherwise.
pub const REMOTE_DISTANCE: u8 = 20;

/// A square matrix of distances; row by row, from the row's domain to the column's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slit<'a> {
    localities: u32,
    matrix: &'a [u8],
}

impl<'a> Slit<'a> {
    /// Reads a raw SLIT.
    ///
    /// # Errors
    /// [`AcpiError`]; [`AcpiError::Localities`] when the matrix does not fit the table.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, AcpiError> {
        let (table, rest) = Table::expect(bytes, b"SLIT", FIXED_PART)?;
        // The count ends where the fixed part does.
        let count = table.bytes.get(FIXED_PART - 8..).and_then(|b| U64::read_from_prefix(b).ok());
        let count = count.map_or(0, |(count, _)| count.get());
        Self::checked(count, rest).ok_or(AcpiError::Localities { count, available: rest.len() })
    }

    /// A matrix of `localities` x `localities` distances; `None` if `matrix` is too short for it. Further bytes are
    /// ignored.
    pub fn from_matrix(localities: u32, matrix: &'a [u8]) -> Option<Self> {
        Self::checked(u64::from(localities), matrix)
    }

    fn checked(count: u64, matrix: &'a [u8]) -> Option<Self> {
        let len = count.checked_mul(count).and_then(|n| usize::try_from(n).ok())?;
        Some(Self { localities: u32::try_from(count).ok()?, matrix: matrix.get(..len)? })
    }

    /// How many proximity domains the matrix covers: 0 up to, not including, this.
    pub const fn localities(&self) -> u32 {
        self.localities
    }

    /// The distance from one domain to another, or `None` for a domain that the matrix does not cover.
    pub fn distance(&self, from_pxm: u32, to_pxm: u32) -> Option<u8> {
        if from_pxm >= self.localities || to_pxm >= self.localities {
            return None;
        }
        let index = u64::from(from_pxm) * u64::from(self.localities) + u64::from(to_pxm);
        self.matrix.get(usize::try_from(index).ok()?).copied()
    }

    /// Whether the kernel would use it: 10 on the diagonal, more everywhere else; the two directions between nodes may
    /// differ. It drops the whole table otherwise ("SLIT table looks invalid. Not used.").
    pub fn is_valid(&self) -> bool {
        (0..self.localities).all(|row| {
            (0..self.localities).all(|column| match self.distance(row, column) {
                Some(d) if row == column => d == LOCAL_DISTANCE,
                Some(d) => d > LOCAL_DISTANCE,
                None => false,
            })
        })
    }
}
