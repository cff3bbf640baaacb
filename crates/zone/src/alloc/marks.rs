//! Watermarks that are computed anew while the machine runs.

use super::{Hooks, PageAllocator, Reasons};
use crate::watermark::Watermarks;
use pagewright_platform::Interrupts;

impl<I: Interrupts, H: Hooks> PageAllocator<'_, '_, '_, '_, I, H> {
    /// Takes over watermarks, protection and the sizes of per-CPU lists after they were computed anew: `vm.min_free_kbytes`,
    /// `vm.watermark_scale_factor`, `vm.lowmem_reserve_ratio` or `vm.percpu_pagelist_high_fraction` was written, or memory came or went. What fragmentation had
    /// added to the marks ends, as in `__setup_per_zone_wmarks`. Each CPU's lists follow with its next allocation or free, as far as they have room.
    pub fn apply_marks(&self, marks: &Watermarks<'_>) {
        for cell in self.zones {
            // Under the lock it is counted among those that press, or no longer.
            self.with_zone(cell, |_| {
                if let Some(marks) = marks.zone(cell.nid(), cell.kind()) {
                    cell.set_marks(marks);
                    cell.boost.store(0);
                }
            });
        }
        self.cpus.iter().for_each(|cpu| cpu.shared().post(Reasons::ZONES));
    }
}
