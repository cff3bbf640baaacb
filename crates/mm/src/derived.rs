//! Facts that follow from the kernel configuration and are used by several steps.

use crate::boot::Boot;

impl Boot<'_> {
    /// Prints "MEMBLOCK configuration:" (`memblock_dump_all`), which Linux does under `memblock=debug`.
    pub(crate) fn dump_memblock(&self) {
        self.sink.line(crate::sink::Level::Debug, format_args!("{}", self.mb.dump()));
    }

    /// Whether permissions of the linear map may change page by page (`can_set_direct_map`): with `rodata=full`.
    pub(crate) fn can_set_direct_map(&self) -> bool {
        use pagewright_firmware::cmdline::Rodata;
        match self.params.rodata {
            Some(Rodata::Full) => true,
            Some(Rodata::On | Rodata::Off) => false,
            None => self.machine.config.rodata_full,
        }
    }

    /// The largest physical address of the kernel configuration (MAX_PHYS_ADDR of the early device-tree scan).
    pub(crate) fn max_phys_addr(&self) -> pagewright_addr::PhysAddr {
        if self.phys_addr_is_64bit() {
            pagewright_addr::PhysAddr::MAX
        } else {
            pagewright_addr::PhysAddr::new(u32::MAX.into())
        }
    }

    /// The `mem auto-init:` line after its prefix.
    pub(crate) fn auto_init_text(&self) -> impl core::fmt::Display {
        let on = |b: bool| if b { "on" } else { "off" };
        let c = &self.machine.config;
        let alloc = on(self.params.init_on_alloc.unwrap_or(c.init_on_alloc));
        let free = on(self.params.init_on_free.unwrap_or(c.init_on_free));
        AutoInit { alloc, free }
    }
}

struct AutoInit {
    alloc: &'static str,
    free: &'static str,
}

impl core::fmt::Display for AutoInit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "stack:all(zero), heap alloc:{}, heap free:{}", self.alloc, self.free)
    }
}
