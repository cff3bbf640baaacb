//! Where a handler of faults goes on when a module's table expected the fault, and what it changes of the registers before.
//!
//! The last word of an entry says what (`extable_fixup_types.h` of x86, `asm-extable.h` of arm64; numbers are those of Linux 6.1). What only
//! goes on elsewhere, sets registers to constants or clears them is told here; kinds that do more are not.

use super::relocate::ModuleArch;

/// `EFAULT`.
const EFAULT: i64 = 14;

/// EX_TYPE_DEFAULT, EX_TYPE_UACCESS, EX_TYPE_DEFAULT_MCE_SAFE: go on elsewhere.
const X86_GO_ON: [u32; 3] = [1, 3, 14];
/// EX_TYPE_IMM_REG: a register gets the word's upper half (EX_TYPE_EFAULT_REG: `-EFAULT`).
const X86_IMM_REG: u32 = 17;
/// EX_FLAG_CLEAR_AX and EX_FLAG_CLEAR_DX.
const X86_CLEAR: [(u32, u8); 2] = [(1 << 12, 0), (1 << 13, 2)];
/// EX_TYPE_UACCESS_ERR_ZERO and EX_TYPE_KACCESS_ERR_ZERO: one register gets `-EFAULT`, another zero.
const ARM64_ERR_ZERO: [u32; 2] = [2, 3];
/// The register that is always zero.
const ARM64_ZERO_REGISTER: u8 = 31;

/// Where to go on after a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fixup {
    /// The instruction to go on with.
    pub address: u64,
    /// How (`type` and `data`), as the entry has it; 0 on arm.
    pub kind: u32,
}

/// A register that is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegisterChange {
    /// Its number, as instructions have it (on x86 0 is `ax`, 1 `cx`, 2 `dx`, 3 `bx`, 4 `sp`).
    pub register: u8,
    /// What it gets, extended to the register's width.
    pub value: i64,
}

/// The registers that are set before a fixup goes on, one after the other.
pub type RegisterChanges = [Option<RegisterChange>; 3];

impl Fixup {
    /// What changes before it goes on; `None` for a kind that is not known, or does more than set registers: the fault is then unexpected.
    pub fn registers(&self, arch: ModuleArch) -> Option<RegisterChanges> {
        match arch {
            ModuleArch::Arm => Some([None; 3]),
            ModuleArch::Arm64 => self.arm64(),
            ModuleArch::X86_64 => self.x86(16),
            ModuleArch::I386 => self.x86(8),
        }
    }

    fn x86(&self, registers: u8) -> Option<RegisterChanges> {
        let (what, register) = (self.kind & 0xff, (self.kind >> 8 & 0xf) as u8);
        let first = match what {
            X86_IMM_REG if register < registers => {
                Some(RegisterChange { register, value: i64::from(self.kind as i32 >> 16) })
            }
            what if X86_GO_ON.contains(&what) => None,
            _ => return None,
        };
        let [ax, dx] = X86_CLEAR
            .map(|(flag, register)| (self.kind & flag != 0).then_some(RegisterChange { register, value: 0 }));
        Some([first, ax, dx])
    }

    fn arm64(&self) -> Option<RegisterChanges> {
        let (what, data) = (self.kind & 0xffff, self.kind >> 16);
        let set = |register: u32, value| {
            let register = (register & 31) as u8;
            (register != ARM64_ZERO_REGISTER).then_some(RegisterChange { register, value })
        };
        ARM64_ERR_ZERO.contains(&what).then(|| [set(data, -EFAULT), set(data >> 5, 0), None])
    }
}
