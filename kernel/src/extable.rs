//! Where modules may fault: their tables, as the handlers of faults ask them.
//!
//! A table is known while whoever loaded its module says so ([`with_table`]), so that it is mapped whenever somebody looks into it. The lock is held for as long
//! as the list of tables is changed or copied, without interrupts, and nothing faults inside: so a handler may wait for it.

use crate::code::KernelCode;
use arrayvec::ArrayVec;
use pagewright_addr::VirtAddr;
use pagewright_hot::Masking;
use pagewright_kspace::module::{FaultTable, Fixup};
use pagewright_platform::{Mutex, WithoutInterrupts};

/// Tables at a time, at most.
const TABLES: usize = 8;

type Tables = ArrayVec<FaultTable, TABLES>;

static KNOWN: Mutex<Tables> = Mutex::new(ArrayVec::new_const());

/// Does something with the list of tables that cannot fault.
fn with_known<R>(work: impl FnOnce(&mut Tables) -> R) -> R {
    let _masked = WithoutInterrupts::new(&Masking);
    work(&mut KNOWN.lock())
}

/// Does something while faults of a module's are looked for in its table. `None`, and it is not done, if there are too many tables.
pub fn with_table<R>(table: FaultTable, work: impl FnOnce() -> R) -> Option<R> {
    with_known(|known| known.try_push(table)).ok()?;
    let done = work();
    with_known(|known| {
        if let Some(at) = known.iter().position(|other| *other == table) {
            known.swap_remove(at);
        }
    });
    Some(done)
}

/// Where to go on after a fault of the instruction at this address; `None` if it must not fault.
pub fn search(instruction: u64) -> Option<Fixup> {
    let known = with_known(|known| known.clone());
    let code = &mut KernelCode(&|_| ());
    known.iter().find_map(|table| table.search(code, VirtAddr::new(instruction)))
}
