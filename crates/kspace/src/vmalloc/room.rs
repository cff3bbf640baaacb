//! A region's own memory: how much it is, and a region made in it.

use super::{VmCpu, VmSection, Vmalloc, VmallocConfig, VmallocSetupError};
use pagewright_addr::VirtRange;
use pagewright_page::PageMap;
use pagewright_pagetable::{Cursor, Format, TableMemory};
use pagewright_platform::Carve;
use pagewright_platform::carve::bytes_for;

impl<'v, 'a, F: Format, M: TableMemory> Vmalloc<'v, 'a, F, M> {
    /// Bytes of memory that [`Self::carve`] needs for so many areas and CPUs.
    pub const fn bytes(areas: usize, cpus: usize) -> u64 {
        VmSection::bytes(areas) + bytes_for::<VmCpu<'_, F::Word>>(cpus)
    }

    /// Puts a region in service ([`Self::new`]) whose first section, with room for `areas` areas, and rows for `cpus` CPUs are carved out of
    /// `memory`.
    ///
    /// # Errors
    /// [`VmallocSetupError`]; some of the memory may be gone then.
    pub fn carve(
        config: VmallocConfig,
        range: VirtRange,
        cursor: Cursor<'v, F, M>,
        map: PageMap<'a>,
        memory: &mut Carve<'v>,
        (areas, cpus): (usize, usize),
    ) -> Result<Self, VmallocSetupError> {
        let none = VmallocSetupError::Memory(Self::bytes(areas, cpus));
        let section = VmSection::carve(memory, areas).ok_or(none)?;
        let rows = memory.slice(cpus, VmCpu::new).ok_or(none)?;
        Self::new(config, range, cursor, map, section, rows)
    }
}
