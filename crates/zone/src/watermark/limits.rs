//! Sizes of per-CPU lists, and the thresholds of per-CPU counters.

use super::{Cpus, Pageset, Watermarks, ZoneMarks};
use pagewright_addr::PageShift;

/// The lists that every CPU uses until `setup_per_cpu_pageset`: pages go straight back to the buddy.
pub const fn boot_pageset() -> Pageset {
    Pageset { high: 0, batch: 1 }
}

/// How many pages a per-CPU list moves at once (`zone_batchsize`): about a 4096th of the zone, a quarter of 1 MiB at
/// most, shaped to 2^n - 1 so that it does not fall in step with power-of-two users. 0 for a tiny zone.
pub fn zone_batchsize(managed: u64, page_shift: PageShift) -> u64 {
    let batch = ((managed >> 10).min((1 << 20) / page_shift.bytes()) / 4).max(1);
    (1 << (batch + batch / 2).ilog2()) - 1
}

/// Whether transparent huge pages stay on at boot: machines below 512 MiB switch them off (`hugepage_init`), and
/// khugepaged then does not raise min_free_kbytes.
pub const fn thp_is_on(total_ram_pages: u64, page_shift: PageShift) -> bool {
    total_ram_pages >= 512 << (20 - page_shift.get())
}

/// How far per-CPU counters of a zone may drift (`calculate_normal_threshold`): grows with the logarithms of CPUs and
/// of the zone in units of 128 MiB, up to 125.
pub fn normal_stat_threshold(managed: u64, online_cpus: u32, page_shift: PageShift) -> u64 {
    let units = managed >> (27 - page_shift.get());
    let fls = |n: u64| u64::from(u64::BITS - n.leading_zeros());
    (2 * fls(u64::from(online_cpus)) * (1 + fls(units))).min(125)
}

impl Watermarks<'_> {
    /// Gives every zone the boot lists (`build_all_zonelists_init`).
    pub fn setup_boot_pagesets(&mut self) {
        for z in self.zones.iter_mut() {
            z.pageset = boot_pageset();
        }
    }

    /// Gives every populated zone its own lists; the watermarks being 0 still, their size follows from the batch.
    pub fn setup_per_cpu_pageset(&mut self, cpus: &Cpus<'_>) {
        self.update_pagesets(cpus);
    }

    pub(super) fn update_pagesets(&mut self, cpus: &Cpus<'_>) {
        for i in 0..self.zones.len() {
            if self.zones[i].populated {
                self.zones[i].pageset = self.pageset_of(&self.zones[i], cpus);
            }
        }
    }

    /// `zone_highsize`: the CPUs near a zone share its low watermark, or the fraction that the sysctl asks for; a node
    /// without CPUs is shared by all.
    fn pageset_of(&self, z: &ZoneMarks, cpus: &Cpus<'_>) -> Pageset {
        let batch = zone_batchsize(z.managed, self.tunables.page_shift).max(1);
        let total = match self.tunables.percpu_pagelist_high_fraction {
            0 => z.low,
            fraction => z.managed / fraction,
        };
        let near = match (cpus.on_node)(z.nid) {
            0 => cpus.online.max(1),
            n => n,
        };
        Pageset { high: (total / u64::from(near)).max(batch * 4), batch }
    }

    /// `smp_init`: each processor that comes up after the first has the thresholds computed (`vmstat_cpu_online`). All
    /// watermarks are 0 then, so any drift is a danger and every populated zone gets its mark, which nothing takes away.
    pub fn bring_up_cpus(&mut self, cpus: &Cpus<'_>) {
        if cpus.online > 1 {
            self.refresh_stat_thresholds(cpus);
        }
    }

    /// kswapd goes to sleep for the first time (`set_pgdat_percpu_threshold`): thresholds of zones with a drift mark
    /// follow what these manage by now.
    pub fn kswapd_sleeps(&mut self, cpus: &Cpus<'_>) {
        let shift = self.tunables.page_shift;
        for z in self.zones.iter_mut().filter(|z| z.populated && z.percpu_drift_mark != 0) {
            z.stat_threshold = normal_stat_threshold(z.managed, cpus.online, shift);
        }
    }

    /// `refresh_zone_stat_thresholds`: also marks zones whose counters could hide that min is reached.
    pub fn refresh_stat_thresholds(&mut self, cpus: &Cpus<'_>) {
        let shift = self.tunables.page_shift;
        for z in self.zones.iter_mut().filter(|z| z.populated) {
            z.stat_threshold = normal_stat_threshold(z.managed, cpus.online, shift);
            let drift = u64::from(cpus.online) * z.stat_threshold;
            if drift > z.low - z.min {
                z.percpu_drift_mark = z.high + drift;
            }
        }
    }
}
