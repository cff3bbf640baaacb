//! The head: the first tables, filled by the library while addresses are still physical.

use super::image::{Loaded, VERSION};
use pagewright::pgtable::arm64::head::{self, Entry, Head};
use pagewright::pgtable::arm64::mmu::MmuRegisters;
use pagewright::pgtable::{KernelFormat, KernelTables, Switched};
use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_firmware::{Cpus, Firmware, Pc};
use pagewright_kernel::direct_map::DirectMap;
use pagewright_kernel::exit::Exit;
use pagewright_kernel::take::Take;
use pagewright_pagetable::TableMemory;

/// What the head leaves: first of all what `entry.s` writes to TTBR0 and TTBR1, then what [`super::start`] goes on with. It is
/// written at physical addresses and read at linked ones, so there is no reference in it.
#[repr(C)]
pub(super) struct Left {
    ttbr0: u64,
    ttbr1: u64,
    head: Option<Kept>,
}

/// A [`Head`] without the memory that its tables are reached in.
struct Kept {
    idmap: KernelFormat,
    kernel: KernelFormat,
    tables: [u64; 2],
    registers: MmuRegisters,
    switched: Switched,
    fdt_virt: Option<VirtAddr>,
}

static LEFT: Take<Left> = Take::new(Left { ttbr0: 0, ttbr1: 0, head: None });

impl Left {
    /// The head, with its tables in `memory`. `None` only if the head was never run.
    pub(super) fn head<'m>(&self, memory: &'m dyn TableMemory) -> Option<Head<'m>> {
        let kept = self.head.as_ref()?;
        let tables = |root, format| KernelTables { memory, root: PhysAddr::new(root), format };
        Some(Head {
            idmap: tables(self.ttbr0, kept.idmap),
            kernel: tables(self.ttbr1, kept.kernel),
            tables: kept.tables,
            registers: kept.registers,
            switched: kept.switched,
            fdt_virt: kept.fdt_virt,
        })
    }
}

/// Fills the identity map and the image's map. Called by `entry.s` with the MMU off, at the image's load address `load`; `fdt` is
/// the device tree's. Null if that cannot be done: then `entry.s` ends.
pub(super) extern "C" fn head(load: u64, fdt: u64) -> *const Left {
    let image = Loaded::new(PhysAddr::new(load));
    // SAFETY: the MMU is off, so every address is its own; the image's range is memory with this image in it, and the tables'
    // places in it are nothing else's.
    let memory = unsafe { DirectMap::new([image.range()], 0) };
    // What the firmware says about memory is of no interest yet.
    let machine = image.machine(Firmware::Pc(Pc::default()), Cpus::default());
    let fdt = Some(PhysAddr::new(fdt)).filter(|at| *at != PhysAddr::ZERO);
    let Some(left) = LEFT.take() else { return core::ptr::null() };
    let entry = Entry { machine: &machine, version: VERSION, kimage_voffset: image.virt_offset(), fdt };
    let Ok(Some(head)) = head::build(&memory, &entry) else {
        return core::ptr::null();
    };
    left.ttbr0 = head.idmap.root.get();
    left.ttbr1 = head.kernel.root.get();
    left.head = Some(Kept {
        idmap: head.idmap.format,
        kernel: head.kernel.format,
        tables: head.tables,
        registers: head.registers,
        switched: head.switched,
        fdt_virt: head.fdt_virt,
    });
    left
}

/// What `entry.s` calls where [`head`] gives none: there is no console yet but semihosting's.
pub(super) extern "C" fn exit_early() -> ! {
    super::end::stop(Exit::BootFailed, format_args!("the first tables cannot be filled"))
}
