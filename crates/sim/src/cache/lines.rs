//! The lines of one cache.

use crate::phys::{PhysError, PhysMemory};
use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_kspace::dcache::{CacheKind, CacheShape};

/// A byte as an access means it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) virt: VirtAddr,
    pub(super) phys: PhysAddr,
}

/// A line of RAM that is in the cache twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Alias {
    /// Its first byte.
    pub phys: PhysAddr,
    /// The address by which it was fetched first.
    pub first: VirtAddr,
    /// The other one.
    pub second: VirtAddr,
    /// Whether one of them is dirty: what is read depends on the address, and what stays on which goes last.
    pub dirty: bool,
}

struct Line {
    /// What the line is found by: its virtual or physical address.
    tag: u64,
    virt: VirtAddr,
    phys: PhysAddr,
    dirty: bool,
    bytes: Vec<u8>,
}

pub(super) struct Lines {
    shape: CacheShape,
    /// Set by set, oldest line first.
    sets: Vec<Vec<Line>>,
}

impl Lines {
    pub(super) fn new(shape: CacheShape) -> Self {
        Self { shape, sets: (0..shape.sets()).map(|_| Vec::new()).collect() }
    }

    pub(super) const fn shape(&self) -> &CacheShape {
        &self.shape
    }

    /// The set and the tag of a place.
    fn find_by(&self, place: Place) -> (usize, u64) {
        let line = u64::from(self.shape.line);
        let (index, tag) = match self.shape.kind {
            CacheKind::Vivt => (place.virt.get(), place.virt.get()),
            CacheKind::Vipt => (place.virt.get(), place.phys.get()),
            CacheKind::Pipt => (place.phys.get(), place.phys.get()),
        };
        ((index / line % self.shape.sets()) as usize, tag & !(line - 1))
    }

    fn line(&mut self, place: Place) -> Option<&mut Line> {
        let (set, tag) = self.find_by(place);
        self.sets[set].iter_mut().find(|line| line.tag == tag)
    }

    fn write_back(memory: &PhysMemory, line: &mut Line) {
        if core::mem::take(&mut line.dirty)
            && let Err(e) = memory.write(line.phys, &line.bytes)
        {
            panic!("writing a line back: {e}");
        }
    }

    /// The line of a place, fetched if it is not there; the oldest of its set makes room.
    fn fetch(&mut self, memory: &PhysMemory, place: Place) -> Result<&mut Line, PhysError> {
        let (set, tag) = self.find_by(place);
        let ways = self.shape.ways as usize;
        let mask = !(u64::from(self.shape.line) - 1);
        let lines = &mut self.sets[set];
        let at = match lines.iter().position(|line| line.tag == tag) {
            Some(at) => at,
            None => {
                let (virt, phys) =
                    (VirtAddr::new(place.virt.get() & mask), PhysAddr::new(place.phys.get() & mask));
                let mut bytes = vec![0; self.shape.line as usize];
                memory.read(phys, &mut bytes)?;
                if lines.len() == ways {
                    Self::write_back(memory, &mut lines.remove(0));
                }
                lines.push(Line { tag, virt, phys, dirty: false, bytes });
                lines.len() - 1
            }
        };
        Ok(&mut lines[at])
    }

    pub(super) fn load(
        &mut self,
        memory: &PhysMemory,
        place: Place,
        into: &mut [u8],
    ) -> Result<(), PhysError> {
        let skip = (place.virt.get() % u64::from(self.shape.line)) as usize;
        let line = self.fetch(memory, place)?;
        into.copy_from_slice(&line.bytes[skip..skip + into.len()]);
        Ok(())
    }

    pub(super) fn store(&mut self, memory: &PhysMemory, place: Place, bytes: &[u8]) -> Result<(), PhysError> {
        let skip = (place.virt.get() % u64::from(self.shape.line)) as usize;
        let line = self.fetch(memory, place)?;
        line.bytes[skip..skip + bytes.len()].copy_from_slice(bytes);
        line.dirty = true;
        Ok(())
    }

    pub(super) fn clean(&mut self, memory: &PhysMemory, place: Place) {
        if let Some(line) = self.line(place) {
            Self::write_back(memory, line);
        }
    }

    pub(super) fn invalidate(&mut self, place: Place) {
        let (set, tag) = self.find_by(place);
        self.sets[set].retain(|line| line.tag != tag);
    }

    pub(super) fn clean_invalidate_all(&mut self, memory: &PhysMemory) {
        for set in &mut self.sets {
            for line in set.iter_mut() {
                Self::write_back(memory, line);
            }
            set.clear();
        }
    }

    pub(super) fn dirty(&self) -> usize {
        self.sets.iter().flatten().filter(|line| line.dirty).count()
    }

    pub(super) fn aliases(&self) -> Vec<Alias> {
        let mut lines: Vec<&Line> = self.sets.iter().flatten().collect();
        lines.sort_by_key(|line| line.phys);
        let pairs = lines.windows(2).filter(|two| two[0].phys == two[1].phys);
        pairs
            .map(|two| Alias {
                phys: two[0].phys,
                first: two[0].virt,
                second: two[1].virt,
                dirty: two[0].dirty || two[1].dirty,
            })
            .collect()
    }
}
