//! Page tables of any format with anything in them.
//!
//! An input is one byte for the format and then records of 12 bytes: which word of the tables' memory (32 bits), and what
//! is in it (64 bits), both little-endian. The root table is at the beginning of that memory.

use crate::{said, shown};
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::format::{FormatKind, WithFormat};
use pagewright_pagetable::{
    Attr, AttrChange, AttrFlags, Format, Leaf, Level, Live, MapOptions, NotLive, Pool, TableLimits,
    TableMemory, Tables, Word,
};

/// Pages of the memory; the root may take four of them.
const PAGES: u64 = 12;
/// More tables than there are pages: a tree that leads to one of them many times is cut off here.
const MOST_TABLES: u64 = 64;
/// Bytes of a record.
const RECORD: usize = 12;

/// Reads the bytes as page tables, looks at them in every way, and changes them.
pub fn page_tables(data: &[u8]) {
    let Some((kind, records)) = data.split_first() else { return };
    let kind = FormatKind::ALL[usize::from(*kind) % FormatKind::ALL.len()];
    kind.with(Fuzz { records });
}

/// Writes a tree of `kind` with pages and blocks in it as an input for [`page_tables`].
pub fn page_tables_seed(kind: FormatKind) -> Vec<u8> {
    let number = FormatKind::ALL.iter().position(|k| *k == kind).unwrap_or(0);
    let mut bytes = vec![number as u8];
    kind.with(Seed { bytes: &mut bytes });
    bytes
}

struct Seed<'b> {
    bytes: &'b mut Vec<u8>,
}

impl WithFormat for Seed<'_> {
    type Out = ();

    fn run<F: Format>(self, format: F) {
        let cells: Vec<_> = (0..words::<F>()).map(|_| F::Word::zero()).collect();
        let pool = Pool::<F::Word>::new(&cells, PhysAddr::ZERO, F::SHAPE.page_bytes()).expect("aligned");
        let mut tables = Tables::new(format, &pool, root::<F>(&pool));
        let block = F::SHAPE.level(Level::PMD).bytes();
        let [low, high] = format.window().ranges();
        let start = if high.is_empty() { low.start.get() + low.len / 2 } else { high.start.get() };
        let range = VirtRange {
            start: VirtAddr::new((start & !(block - 1)) + block - 0x1_0000),
            len: block + 0x2_0000,
        };
        let data = AttrFlags::WRITE | AttrFlags::ACCESSED | AttrFlags::DIRTY | AttrFlags::GLOBAL;
        // Where there is no bit against execution, data can be executed.
        let leaf = |flags| Leaf { phys: PhysAddr::ZERO, attr: Attr::normal(flags), contiguous: false };
        let says = |flags: &AttrFlags| format.leaf_word(Level::PTE, &leaf(*flags)).is_ok();
        let flags = [data, data | AttrFlags::EXEC].into_iter().find(says).expect("the format can map data");
        let attr = Attr::normal(flags);
        let phys = PhysAddr::new((4 * block) - 0x1_0000);
        tables.cursor().map(range, phys, attr, &MapOptions::default(), &mut &pool).expect("mapped");
        for (index, cell) in cells.iter().enumerate() {
            let value = F::Word::load(cell);
            if value != 0 {
                self.bytes.extend_from_slice(&(index as u32).to_le_bytes());
                self.bytes.extend_from_slice(&value.to_le_bytes());
            }
        }
    }
}

fn words<F: Format>() -> u64 {
    PAGES * F::SHAPE.page_bytes() / F::Word::BYTES
}

/// The root table, at the beginning of the memory.
fn root<F: Format>(pool: &Pool<'_, F::Word>) -> PhysAddr {
    let bytes = F::SHAPE.level(F::SHAPE.top()).entries() as u64 * F::Word::BYTES;
    pool.alloc_root(bytes.div_ceil(F::SHAPE.page_bytes()), bytes.max(F::SHAPE.page_bytes()))
        .expect("room for the root")
}

struct Fuzz<'d> {
    records: &'d [u8],
}

impl WithFormat for Fuzz<'_> {
    type Out = ();

    fn run<F: Format>(self, format: F) {
        let cells: Vec<_> = (0..words::<F>()).map(|_| F::Word::zero()).collect();
        let pool = Pool::<F::Word>::new(&cells, PhysAddr::ZERO, F::SHAPE.page_bytes()).expect("aligned");
        let root = root::<F>(&pool);
        for record in self.records.chunks_exact(RECORD) {
            let index = u32::from_le_bytes([record[0], record[1], record[2], record[3]]) as usize;
            let value = record[4..].iter().rev().fold(0u64, |v, b| (v << 8) | u64::from(*b));
            F::Word::store(&cells[index % cells.len()], value);
        }
        let mut tables = Tables::new(format, &pool, root);
        let interesting = look(&tables);
        // Pages for new tables come from memory of their own, which the tree cannot lead into.
        let spare: Vec<_> =
            (0..8 * F::SHAPE.page_bytes() / F::Word::BYTES).map(|_| F::Word::zero()).collect();
        let spare_base = PhysAddr::new(words::<F>() * F::Word::BYTES);
        let mut spare = &Pool::<F::Word>::new(&spare, spare_base, F::SHAPE.page_bytes()).expect("aligned");
        for at in interesting.into_iter().take(4) {
            change(&mut tables, at, &mut spare);
        }
        shown(tables.validate(MOST_TABLES));
    }
}

/// Everything that reads a tree; returns some addresses that lead somewhere.
fn look<F: Format, M: TableMemory>(tables: &Tables<F, M>) -> Vec<VirtAddr> {
    let mut interesting = Vec::new();
    let walked = tables.walk_all(MOST_TABLES, &mut |run| {
        shown(run);
        assert!(tables.format().window().contains(run.range.start), "a run outside the window");
        interesting.push(run.range.start);
        interesting.push(run.range.last());
    });
    match walked {
        Ok(()) => {}
        Err(error) => said(error),
    }
    match tables.validate(MOST_TABLES) {
        Ok(stats) => shown(stats),
        Err(error) => said(error),
    }
    for at in interesting.iter().take(32) {
        // Both ways to look an address up agree.
        match (tables.translate(*at), tables.leaf(*at)) {
            (Ok(hit), Ok((leaf, level, start))) => {
                assert_eq!((hit.phys.get(), hit.level), (leaf.phys.get() + (at.get() - start.get()), level));
            }
            (fast, slow) => shown((fast, slow)),
        }
    }
    interesting
}

/// Everything that changes one. Errors are fine; panics and loops are not.
fn change<F: Format>(
    tables: &mut Tables<F, &Pool<'_, F::Word>>,
    at: VirtAddr,
    spare: &mut &Pool<'_, F::Word>,
) {
    let page = F::SHAPE.page_bytes();
    let range = VirtRange { start: at.align_down(page), len: 4 * page };
    let attr = Attr::normal(AttrFlags::WRITE | AttrFlags::ACCESSED | AttrFlags::DIRTY);
    // A table's page goes back to nobody: the tree may lead to it from elsewhere too.
    let forget = |token: pagewright_pagetable::PendingFlush<F::Word>| shown(token.scope());
    match tables.cursor().split(range.start, TableLimits::empty(), spare, Live::No) {
        Ok((_, token)) => forget(token),
        Err(error) => said(error),
    }
    match tables.cursor().protect(range, &AttrChange::flags(AttrFlags::WRITE, AttrFlags::GLOBAL), Live::No) {
        Ok((changed, token)) => {
            shown(changed);
            forget(token);
        }
        Err(error) => said(error),
    }
    match tables.cursor().test_and_clear(at, AttrFlags::ACCESSED) {
        Ok((had, token)) => {
            shown(had);
            forget(token);
        }
        Err(error) => said(error),
    }
    match tables.cursor().collapse(at, Level::PMD, Live::MayBreak(&mut NotLive)) {
        Ok((_, token)) => forget(token),
        Err(error) => said(error),
    }
    match tables.cursor().unmap(range, &mut |run| shown(run)) {
        Ok(token) => forget(token),
        Err(error) => said(error),
    }
    match tables.cursor().map(range, PhysAddr::ZERO, attr, &MapOptions::default(), spare) {
        Ok(done) => shown(done),
        Err(error) => said(error),
    }
}
