//! The numbers that programs and drivers meet: where user space ends, how many I/O ports there are.

use super::{Facts, MIB, arm, arm64, x86_64};
use pagewright_addr::VirtAddr;
use pagewright_firmware::Arch;

/// Limits that follow from a layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// TASK_SIZE: the end of user space (on x86_64 with 5 levels, of what a task gets only if it asks for it).
    pub task_size: VirtAddr,
    /// The end of where mappings go that name no address (DEFAULT_MAP_WINDOW, STACK_TOP).
    pub map_window: VirtAddr,
    /// The end of a 32-bit task's space on a 64-bit kernel.
    pub task_size_32: Option<VirtAddr>,
    /// FIRST_USER_ADDRESS, or `mmap_min_addr` if that is higher.
    pub first_user_address: VirtAddr,
    /// IO_SPACE_LIMIT: the last I/O port.
    pub io_space_limit: Option<u64>,
}

/// The last port of x86's own I/O space.
const X86_IO_SPACE_LIMIT: u64 = 0xffff;

impl Limits {
    pub(super) fn of(f: &Facts) -> Self {
        let c = &f.config;
        let page = c.page_shift.bytes();
        let first = u64::from(c.mmap_min_addr).next_multiple_of(page);
        let va = VirtAddr::new;
        match c.arch {
            Arch::Arm => Self {
                task_size: va(arm::task_size(c)),
                map_window: va(arm::task_size(c)),
                task_size_32: None,
                first_user_address: va(first.max(2 * page)),
                io_space_limit: c.pci.then_some(MIB - 1),
            },
            Arch::I386 => Self {
                task_size: va(c.page_offset.into()),
                map_window: va(c.page_offset.into()),
                task_size_32: None,
                first_user_address: va(first),
                io_space_limit: Some(X86_IO_SPACE_LIMIT),
            },
            Arch::Arm64 => Self {
                task_size: va(1 << arm64::va_bits_actual(f)),
                map_window: va(1 << arm64::va_bits_min(c)),
                // The last page stays empty; of 64 KiB it would be the one with the vectors and helpers.
                task_size_32: Some(va(if page == 0x1_0000 && c.kuser_helpers {
                    1 << 32
                } else {
                    (1 << 32) - page
                })),
                first_user_address: va(first),
                io_space_limit: Some(arm64::PCI_IO_SIZE - 1),
            },
            Arch::X86_64 => Self {
                task_size: va(x86_64::task_size_max(f)),
                map_window: va((1 << 47) - page),
                task_size_32: Some(va(0xffff_e000)),
                first_user_address: va(first),
                io_space_limit: Some(X86_IO_SPACE_LIMIT),
            },
        }
    }
}
