//! The head's tables: enough to turn the MMU on and to run the image at its link address.
//!
//! Code runs where the boot loader put it until the MMU is on, and goes on at the same addresses right after: an identity map
//! in TTBR0 carries it over. The image's own addresses are in TTBR1. What is mapped one to one has changed:
//!
//! - up to 5.19 (`__create_page_tables`): the code that turns the MMU on, and nothing else; both trees are filled while
//!   the MMU is off;
//! - from 6.0 on (`create_idmap`): the whole image, read-only except for `init_pg_dir`, and the device tree behind it. The
//!   image's mapping is then made with the MMU on (`create_kernel_mapping`).

use super::mmu::{self, MmuRegisters};
use super::{Arm64Format, Places, format, idmap_format};
use crate::census::{Census, Leaves};
use crate::pgtable::{KernelFormat, KernelTables, Switched, TableError};
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use pagewright_firmware::Machine;
use pagewright_kspace::Version;
use pagewright_pagetable::{Attr, AttrFlags, Level, MapOptions, TableMemory, TableSource};

/// `MAX_FDT_SIZE`.
pub const MAX_FDT_SIZE: u64 = 2 << 20;

/// `SWAPPER_RW_MMUFLAGS`: everybody may execute it; there is nobody else yet.
const RW: Attr = Attr::normal(
    AttrFlags::WRITE
        .union(AttrFlags::DIRTY)
        .union(AttrFlags::EXEC)
        .union(AttrFlags::USER_EXEC)
        .union(AttrFlags::GLOBAL)
        .union(AttrFlags::ACCESSED),
);
/// `SWAPPER_RX_MMUFLAGS`.
const RX: Attr = RW.changed(AttrFlags::empty(), AttrFlags::WRITE.union(AttrFlags::DIRTY));

/// Which head a kernel has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Design {
    /// `__create_page_tables`, up to 5.19.
    CreatePageTables,
    /// `create_idmap` and `create_kernel_mapping`, from 6.0 on.
    CreateIdmap,
}

/// What the head finds: the machine, and where the image is to run.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'m> {
    /// The machine.
    pub machine: &'m Machine<'m>,
    /// The kernel.
    pub version: Version,
    /// What the image's addresses will be ahead of the physical ones.
    pub kimage_voffset: u64,
    /// Where the boot loader put the device tree (x0).
    pub fdt: Option<PhysAddr>,
}

/// THREAD_SIZE with pages that are not larger.
const THREAD_SIZE: u64 = 16 << 10;

impl Entry<'_> {
    /// What `__primary_switched` sets up.
    fn switched(&self) -> Switched {
        let image = &self.machine.image;
        let virt = |at: PhysAddr| VirtAddr::new(at.get().wrapping_add(self.kimage_voffset));
        // A stack in vmalloc space is a multiple of pages, and one that lies at a multiple of twice its size shows its overflow
        // in one bit of the stack pointer (VMAP_STACK).
        let size = THREAD_SIZE.max(self.machine.config.page_shift.bytes());
        let stack = image.data_start.align_up(2 * size);
        Switched {
            vectors: (image.arm64.vectors != PhysAddr::ZERO).then(|| virt(image.arm64.vectors)),
            init_stack: VirtRange { start: virt(stack), len: size },
            fdt_pointer: self.fdt,
            kimage_voffset: self.kimage_voffset,
        }
    }

    /// The head of this kernel.
    pub fn design(&self) -> Design {
        if self.version.since(6, 0) { Design::CreateIdmap } else { Design::CreatePageTables }
    }
}

/// What the head leaves behind.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// TTBR0_EL1: the identity map.
    pub idmap: KernelTables<'a>,
    /// TTBR1_EL1: the image at its link address (`init_pg_dir`).
    pub kernel: KernelTables<'a>,
    /// How many tables each of them has, the top ones included.
    pub tables: [u64; 2],
    /// With which the MMU is turned on.
    pub registers: MmuRegisters,
    /// What the code sets up first that runs at the image's link address.
    pub switched: Switched,
    /// Where the identity map's tree has the device tree: behind the image. `None` without one, and up to 5.19.
    pub fdt_virt: Option<VirtAddr>,
}

/// A mapping that the head makes.
#[derive(Clone, Copy, Debug)]
struct Piece {
    virt: u64,
    phys: u64,
    len: u64,
    attr: Attr,
}

/// The pieces of both trees.
struct Plan {
    idmap: [Piece; 4],
    kernel: Piece,
    /// The largest leaf: blocks of 2 MiB with pages of 4 KiB, else pages (SWAPPER_BLOCK_SIZE).
    leaf: Level,
    idmap_format: Arm64Format,
    kernel_format: Arm64Format,
}

/// `SWAPPER_BLOCK_SIZE`, and the level of such leaves.
pub(crate) fn swapper_block(machine: &Machine<'_>) -> (u64, Level) {
    let page = machine.config.page_shift;
    if page.get() == 12 { (2 << 20, Level::PMD) } else { (page.bytes(), Level::PTE) }
}

impl Plan {
    fn of(entry: &Entry<'_>) -> Option<Self> {
        let Entry { machine, version, kimage_voffset, fdt } = *entry;
        let image = &machine.image;
        let beyond = |at: PhysAddr| at.get() >> machine.config.pa_bits != 0;
        if beyond(image.end) || fdt.is_some_and(beyond) {
            return None;
        }
        let (block, leaf) = swapper_block(machine);
        let (text, end) = (image.load_start(), image.end);
        let piece = |virt: PhysAddr, virt_end: PhysAddr, phys: PhysAddr, attr| {
            let virt_end = virt_end.align_up(block);
            let virt = virt.align_down(block);
            let len = virt_end.get().saturating_sub(virt.get());
            Piece { virt: virt.get(), phys: phys.align_down(block).get(), len, attr }
        };
        let none = Piece { virt: 0, phys: 0, len: 0, attr: RX };
        let idmap = match entry.design() {
            Design::CreatePageTables => {
                let code = image.idmap_text;
                [piece(code.start, code.end, code.start, RW), none, none, none]
            }
            Design::CreateIdmap => {
                let known = image.init_pg_dir;
                let tables = if known.is_empty() { PhysRange::new(end, end) } else { known };
                let (from, to) = (tables.start.align_down(block), tables.end.align_up(block));
                let after = end.saturating_add(block).align_down(block);
                [
                    piece(text, from, text, RX),
                    piece(from, to, from, RW),
                    piece(to, after, to, RX),
                    fdt.map_or(none, |fdt| piece(after, after.saturating_add(MAX_FDT_SIZE + block), fdt, RW)),
                ]
            }
        };
        let top = idmap.iter().map(|p| p.virt.saturating_add(p.len)).max().unwrap_or(0);
        // The image's address and its place agree in their offset into a block. Those of an image that cannot be may not, and
        // then its block begins below address 0.
        let virt = text.get().wrapping_add(kimage_voffset);
        let low = virt & (block - 1);
        let phys = text.get().checked_sub(low)?;
        let len = end.get().checked_sub(phys)?.next_multiple_of(block);
        Some(Self {
            idmap,
            kernel: Piece { virt: virt - low, phys, len, attr: RW },
            leaf,
            idmap_format: idmap_format(machine, version, PhysAddr::new(top))?,
            kernel_format: format(machine, version)?,
        })
    }

    /// How many tables some pieces take, the top one included.
    fn count(&self, pieces: &[Piece], format: Arm64Format) -> u64 {
        let shape = format.shape();
        let page_shift = shape.page_shift();
        let mut census: Census<8> = Census::new(page_shift, page_shift - 3, shape.count() as u8);
        let leaves = if self.leaf == Level::PTE { Leaves::Pages } else { Leaves::Blocks(1) };
        let count = |p: &Piece| census.map(p.virt, p.phys, p.len, leaves).unwrap_or(0);
        1 + pieces.iter().map(count).sum::<u64>()
    }
}

/// How many tables the head fills: the identity map's and the image's. `None` for an address size that no kernel has, and where
/// image or device tree lie beyond all physical addresses, or below the first: no such kernel runs.
pub fn count(entry: &Entry<'_>) -> Option<[u64; 2]> {
    let plan = Plan::of(entry)?;
    Some([plan.count(&plan.idmap, plan.idmap_format), plan.count(&[plan.kernel], plan.kernel_format)])
}

/// Pages that the image keeps for tables: a top table and those below it.
struct Area {
    root: PhysAddr,
    page: u64,
    left: u64,
    taken: u64,
}

impl TableSource for Area {
    // From the last one down: a mapping makes its upper tables from the pages that it got last.
    fn alloc_table(&mut self) -> Option<PhysAddr> {
        let page = self.root.checked_add(self.left * self.page)?;
        self.left = self.left.checked_sub(1)?;
        self.taken += 1;
        Some(page)
    }

    fn free_table(&mut self, _: PhysAddr) {
        self.left += 1;
        self.taken -= 1;
    }
}

/// Where `tables` pages for tables are: at the start of what the image keeps for them, or, if it does not tell or keeps
/// too little, right before `end`.
fn area(known: PhysRange, tables: u64, end: PhysAddr, page: u64) -> Area {
    let start = known.start.align_up(page);
    let fits = !known.is_empty() && start.saturating_add(tables * page) <= known.end;
    let root = if fits { start } else { end.align_down(page).saturating_sub(tables * page) };
    Area { root, page, left: tables - 1, taken: 1 }
}

/// Fills the head's tables.
///
/// # Errors
/// [`TableError`]; `None` as for [`count`].
pub fn build<'a>(memory: &'a dyn TableMemory, entry: &Entry<'_>) -> Result<Option<Head<'a>>, TableError> {
    let Some(plan) = Plan::of(entry) else { return Ok(None) };
    let (image, page) = (&entry.machine.image, entry.machine.config.page_shift.bytes());
    let counted =
        [plan.count(&plan.idmap, plan.idmap_format), plan.count(&[plan.kernel], plan.kernel_format)];
    let low = match entry.design() {
        // They end with the page of the later `idmap_pg_dir`.
        Design::CreatePageTables => {
            let end = Places::of(entry.machine).idmap.saturating_add(page);
            area(PhysRange::default(), counted[0], end, page)
        }
        Design::CreateIdmap => area(image.arm64.init_idmap_pg_dir, counted[0], image.init_end, page),
    };
    let high = area(image.init_pg_dir, counted[1], image.end, page);
    let (idmap, low) = fill(memory, plan.idmap_format, &plan.idmap, plan.leaf, low)?;
    let (kernel, high) = fill(memory, plan.kernel_format, &[plan.kernel], plan.leaf, high)?;
    Ok(Some(Head {
        idmap,
        kernel,
        tables: [low, high],
        registers: MmuRegisters {
            ttbr0: idmap.root,
            ttbr1: kernel.root,
            tcr: mmu::tcr(&plan.idmap_format, &plan.kernel_format),
            mair: mmu::mair(entry.version),
        },
        switched: entry.switched(),
        fdt_virt: entry.fdt.filter(|_| plan.idmap[3].len > 0).map(|fdt| {
            let piece = plan.idmap[3];
            VirtAddr::new(piece.virt + (fdt.get() - piece.phys))
        }),
    }))
}

/// Clears an area and makes a tree in it; returns how many tables it has.
fn fill<'a>(
    memory: &'a dyn TableMemory,
    format: Arm64Format,
    pieces: &[Piece],
    leaf: Level,
    mut area: Area,
) -> Result<(KernelTables<'a>, u64), TableError> {
    let (root, page) = (area.root, area.page);
    for n in 0..=area.left {
        super::clear(memory, root.saturating_add(n * page), page)?;
    }
    let tables = KernelTables { memory, root, format: KernelFormat::Arm64(format) };
    let options = MapOptions { max_leaf: leaf, contiguous: false, ..MapOptions::default() };
    tables.with(|tree| {
        for piece in pieces.iter().filter(|p| p.len > 0) {
            let range = VirtRange { start: VirtAddr::new(piece.virt), len: piece.len };
            tree.map(range, PhysAddr::new(piece.phys), piece.attr, &options, &mut area)?;
        }
        Ok::<_, TableError>(())
    })?;
    Ok((tables, area.taken))
}
