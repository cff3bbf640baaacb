mod agree;
mod arm;
mod arm64;
mod fuzz;
mod machine;
mod spaces;
mod tlb;
mod x86;

use super::*;
use crate::EntryWidth;

/// Memory of 64 MiB from 0 on, in words of this width.
fn memory(width: EntryWidth) -> PhysMemory {
    PhysMemory::new([PhysRange::from_len(PhysAddr::ZERO, 64 << 20)], width)
}

fn put64(memory: &PhysMemory, at: u64, entry: u64) {
    memory.write(PhysAddr::new(at), &entry.to_le_bytes()).unwrap();
}

fn put32(memory: &PhysMemory, at: u64, entry: u32) {
    memory.write(PhysAddr::new(at), &entry.to_le_bytes()).unwrap();
}

fn get64(memory: &PhysMemory, at: u64) -> u64 {
    let mut bytes = [0; 8];
    memory.read(PhysAddr::new(at), &mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

fn va(at: u64) -> VirtAddr {
    VirtAddr::new(at)
}

/// The rights at an address as letters: kernel read, write, execute, then user code's; `-` for a permission fault.
fn rights(registers: &Registers, memory: &PhysMemory, at: u64) -> String {
    let letters = ["r", "w", "x", "r", "w", "x"];
    let one = |(access, letter): (&Access, &'static str)| match registers.probe(memory, va(at), *access) {
        Ok(_) => letter,
        Err(Fault { kind: FaultKind::Permission(_) | FaultKind::Domain(_), .. }) => "-",
        Err(_) => "!",
    };
    Access::ALL.iter().zip(letters).map(one).collect()
}

fn fault(registers: &Registers, memory: &PhysMemory, at: u64, access: Access) -> Fault {
    registers.probe(memory, va(at), access).unwrap_err()
}
