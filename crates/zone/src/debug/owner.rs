//! Who allocated each page (`page_owner`), in the text that `page_owner_sort` reads.

use super::Observer;
use crate::buddy::Ground;
use crate::gfp::Gfp;
use core::fmt::{self, Write};
use core::panic::Location;
use pagewright_addr::Order;
use pagewright_page::{FrameIdx, PageFlags};

/// A task as records name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TaskName {
    /// Thread.
    pub pid: u32,
    /// Process.
    pub tgid: u32,
    /// Name, ended by a zero unless it has all 16 bytes (TASK_COMM_LEN).
    pub comm: [u8; 16],
}

impl TaskName {
    /// A task; a longer name is cut.
    pub fn new(pid: u32, tgid: u32, name: &str) -> Self {
        let mut comm = [0; 16];
        for (to, from) in comm[..15].iter_mut().zip(name.bytes()) {
            *to = from;
        }
        Self { pid, tgid, comm }
    }

    /// The name, up to what is no text.
    pub fn name(&self) -> &str {
        let len = self.comm.iter().position(|&b| b == 0).unwrap_or(self.comm.len());
        let bytes = &self.comm[..len];
        match core::str::from_utf8(bytes) {
            Ok(name) => name,
            Err(e) => core::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or(""),
        }
    }
}

/// What is known of one frame's last allocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// It is still in use.
    pub allocated: bool,
    /// The block that it was allocated with.
    pub order: Order,
    /// How it was asked for.
    pub gfp: Gfp,
    /// By whom.
    pub task: TaskName,
    /// When, in nanoseconds.
    pub ts_ns: u64,
    /// When it was freed last; 0 is never.
    pub free_ts_ns: u64,
    /// The calls that led to the allocation, as the observer names them.
    pub stack: u32,
    /// Those that led to freeing it last.
    pub free_stack: u32,
    /// The call itself.
    pub caller: Option<&'static Location<'static>>,
}

impl Record {
    /// Of nobody; for making side arrays.
    pub const EMPTY: Self = Self {
        allocated: false,
        order: Order::ZERO,
        gfp: Gfp::empty(),
        task: TaskName { pid: 0, tgid: 0, comm: [0; 16] },
        ts_ns: 0,
        free_ts_ns: 0,
        stack: 0,
        free_stack: 0,
        caller: None,
    };

    pub(super) fn of(
        observer: &dyn Observer,
        order: Order,
        gfp: Gfp,
        caller: &'static Location<'static>,
    ) -> Self {
        Self {
            allocated: true,
            order,
            gfp,
            task: observer.task(),
            ts_ns: observer.now_ns(),
            stack: observer.stack(),
            caller: Some(caller),
            ..Self::EMPTY
        }
    }

    /// The lines of one allocation (`print_page_owner`).
    pub(super) fn write(
        &self,
        ground: &Ground<'_>,
        idx: FrameIdx,
        observer: &dyn Observer,
        out: &mut dyn Write,
    ) -> fmt::Result {
        let Self { gfp, task, .. } = self;
        write!(out, "Page allocated via order {}, mask {:#x}({gfp}), ", self.order.get(), gfp.bits())?;
        write!(out, "pid {}, tgid {} ({}), ", task.pid, task.tgid, task.name())?;
        writeln!(out, "ts {} ns, free_ts {} ns", self.ts_ns, self.free_ts_ns)?;
        let pfn = ground.map.pfn(idx).get();
        let of_mask = gfp.migrate_type(ground.mobility_grouping).map_or("Unmovable", |m| m.name());
        write!(out, "PFN {pfn} type {of_mask} Block {} ", pfn >> ground.blocks.order().get())?;
        write!(out, "type {} Flags ", ground.blocks.migrate_type(idx))?;
        write_flags(ground.map.word(idx).flags(), out)?;
        writeln!(out)?;
        if let Some(caller) = self.caller {
            writeln!(out, " {}:{}", caller.file(), caller.line())?;
        }
        observer.write_stack(self.stack, out)?;
        writeln!(out)
    }
}

/// Flags as `%pGp` writes them: the number, and the names in small letters. The number is of this library's flags, not of Linux's.
fn write_flags(flags: PageFlags, out: &mut dyn Write) -> fmt::Result {
    write!(out, "{:#x}(", flags.bits())?;
    let mut separator = "";
    for (name, _) in flags.iter_names() {
        out.write_str(separator)?;
        name.chars().try_for_each(|c| out.write_char(c.to_ascii_lowercase()))?;
        separator = "|";
    }
    out.write_char(')')
}
