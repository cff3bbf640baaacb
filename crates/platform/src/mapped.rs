//! Memory by virtual address, as one CPU reaches it.

use pagewright_addr::VirtAddr;

/// Memory that is reached through the MMU of the CPU that this is used on.
///
/// On the metal these are ordinary accesses, and nothing can fail that is mapped; the hosted machine goes through its software MMU, whose
/// faults are the error. Ranges may cross from one page into the next.
pub trait MappedMemory {
    /// What an access can meet.
    type Error;

    /// Zeroes `bytes` bytes (`clear_page`).
    ///
    /// # Errors
    /// What the access met; bytes before it are zero.
    fn zero(&self, at: VirtAddr, bytes: u64) -> Result<(), Self::Error>;

    /// Copies `bytes` bytes between ranges that do not overlap (`copy_page`).
    ///
    /// # Errors
    /// What the access met; bytes before it were copied.
    fn copy(&self, to: VirtAddr, from: VirtAddr, bytes: u64) -> Result<(), Self::Error>;

    /// Loads bytes.
    ///
    /// # Errors
    /// What the access met.
    fn read(&self, at: VirtAddr, into: &mut [u8]) -> Result<(), Self::Error>;

    /// Stores bytes.
    ///
    /// # Errors
    /// What the access met; bytes before it were stored.
    fn write(&self, at: VirtAddr, bytes: &[u8]) -> Result<(), Self::Error>;
}
