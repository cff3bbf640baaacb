//! From a booted machine to the files' models.
//!
//! The machine stands right after its initcalls: nothing runs on it yet. What a running system would count (cache,
//! faults, page-table pages) is zero.

use super::{Counter, buddyinfo, memblock, meminfo, names, pagetypeinfo, vmstat, zoneinfo};
use crate::run::Booted;
use pagewright_addr::{NodeId, Order};
use pagewright_firmware::Arch;
use pagewright_memblock::Set;
use pagewright_zone::ZoneKind;
use pagewright_zone::buddy::{BuddyZone, MigrateType, ZoneId};
use pagewright_zone::layout::NodeLayout;
use pagewright_zone::watermark::ZoneMarks;

impl<'s, 'p> Booted<'_, '_, 's, 'p, '_> {
    /// The online nodes in order.
    fn nodes(&self) -> impl Iterator<Item = &NodeLayout> {
        let nodes = self.boot.layout.as_ref().map_or(&[][..], |l| l.nodes());
        nodes.iter().filter(|n| n.possible && self.boot.nodes_online.contains(n.nid))
    }

    /// The kernel's zone kinds in order.
    fn kinds(&self) -> Vec<ZoneKind> {
        self.running.watermarks.tunables.zones.iter().collect()
    }

    fn buddy_zone(&self, nid: NodeId, kind: ZoneKind) -> Option<(ZoneId, &BuddyZone<'s, 'p>)> {
        let id = self.running.buddy.find(nid, kind)?;
        Some((id, &self.running.buddy.zones()[id.index()]))
    }

    fn page_kib(&self) -> u64 {
        self.boot.page_bytes() >> 10
    }

    fn orders(&self) -> impl Iterator<Item = Order> {
        (0..=self.running.buddy.largest_order().get()).filter_map(Order::new)
    }

    /// `/proc/zoneinfo`.
    pub fn zoneinfo(&self) -> zoneinfo::ZoneInfo {
        let mut zones = Vec::new();
        for node in self.nodes() {
            let mut first = true;
            for kind in self.kinds() {
                let Some(marks) = self.running.watermarks.zone(node.nid, kind) else { continue };
                let mut zone = self.zone(node, kind, marks);
                if zone.populated.is_some() && first {
                    first = false;
                    let config = &self.boot.machine.config;
                    zone.node_stats = Some(names::node(config).map(zero).collect());
                }
                zones.push(zone);
            }
        }
        zoneinfo::ZoneInfo { zones }
    }

    fn zone(&self, node: &NodeLayout, kind: ZoneKind, marks: &ZoneMarks) -> zoneinfo::Zone {
        let layout = node.zone(kind);
        let buddy = self.buddy_zone(node.nid, kind).map(|(_, z)| z);
        let free = buddy.map_or(0, BuddyZone::free_pages);
        let free_cma = buddy.map_or(0, BuddyZone::free_cma_pages);
        let populated = layout.is_populated().then(|| {
            let mut stats: Vec<Counter> = names::ZONE.into_iter().map(zero).collect();
            stats[0].1 = free;
            stats[10].1 = free_cma;
            if self.boot.machine.config.numa {
                stats.extend(names::NUMA.into_iter().map(zero));
            }
            let pageset = |cpu| zoneinfo::Pageset {
                cpu,
                count: 0,
                high: marks.pageset.high,
                batch: marks.pageset.batch,
                stat_threshold: self.boot.machine.config.smp.then_some(marks.stat_threshold),
            };
            zoneinfo::Populated {
                stats,
                pagesets: self.boot.online_cpus().map(pageset).collect(),
                node_unreclaimable: 0,
                start_pfn: layout.start_pfn.get(),
            }
        });
        zoneinfo::Zone {
            node: node.nid.get().into(),
            name: kind.name().to_owned(),
            node_stats: None,
            free,
            boost: 0,
            min: marks.min,
            low: marks.low,
            high: marks.high,
            spanned: layout.spanned,
            present: layout.present,
            managed: buddy.map_or(0, BuddyZone::managed_pages) + self.gigantic_pages(node.nid, kind),
            cma: buddy.map_or(0, BuddyZone::cma_pages),
            protection: self.running.watermarks.protection(marks).collect(),
            populated,
        }
    }

    /// `/proc/buddyinfo`.
    pub fn buddyinfo(&self) -> buddyinfo::BuddyInfo {
        let mut zones = Vec::new();
        for zone in self.running.buddy.zones() {
            let Some((id, _)) = self.buddy_zone(zone.nid(), zone.kind()) else { continue };
            let free = self.orders().map(|o| self.running.buddy.free_blocks(id, o)).collect();
            zones.push(buddyinfo::Zone {
                node: zone.nid().get().into(),
                name: zone.kind().name().to_owned(),
                free,
            });
        }
        buddyinfo::BuddyInfo { zones }
    }

    /// The migrate types that this kernel has, in order.
    fn migrate_types(&self) -> Vec<MigrateType> {
        let config = &self.boot.machine.config;
        let built = |m: &MigrateType| match m {
            MigrateType::Cma => config.cma.is_some(),
            MigrateType::Isolate => config.memory_isolation,
            _ => true,
        };
        MigrateType::ALL.into_iter().filter(built).collect()
    }

    /// `/proc/pagetypeinfo`.
    pub fn pagetypeinfo(&self) -> pagetypeinfo::PageTypeInfo {
        let types = self.migrate_types();
        let buddy = &self.running.buddy;
        let mut nodes: Vec<pagetypeinfo::Node> = Vec::new();
        for zone in buddy.zones() {
            let Some((id, _)) = self.buddy_zone(zone.nid(), zone.kind()) else { continue };
            let number = u32::from(zone.nid().get());
            if nodes.last().is_none_or(|n| n.node != number) {
                nodes.push(pagetypeinfo::Node {
                    node: number,
                    pageblock_order: self.boot.machine.config.pageblock_order(),
                    types: types.iter().map(|t| t.name().to_owned()).collect(),
                    zones: Vec::new(),
                });
            }
            let counts = buddy.pageblock_counts(id);
            let row = |t: &MigrateType| self.orders().map(|o| buddy.free_blocks_of(id, o, *t)).collect();
            if let Some(node) = nodes.last_mut() {
                node.zones.push(pagetypeinfo::Zone {
                    name: zone.kind().name().to_owned(),
                    free: types.iter().map(row).collect(),
                    blocks: types.iter().map(|t| counts[t.index()]).collect(),
                });
            }
        }
        pagetypeinfo::PageTypeInfo { nodes }
    }

    /// `/proc/vmstat`.
    pub fn vmstat(&self) -> vmstat::VmStat {
        let config = &self.boot.machine.config;
        let mut counters: Vec<Counter> = names::ZONE.into_iter().map(zero).collect();
        counters[0].1 = self.free_pages();
        counters[10].1 = self.running.buddy.zones().iter().map(BuddyZone::free_cma_pages).sum();
        if config.numa {
            counters.extend(names::NUMA.into_iter().map(zero));
        }
        counters.extend(names::node(config).map(zero));
        // Writeback starts at 10 and 20 % of what may be dirty, which is what is free and not held back.
        let high: u64 = match config.highmem {
            true => self.pages_of(ZoneKind::HighMem, BuddyZone::free_pages),
            false => 0,
        };
        let reserve = self.running.watermarks.totalreserve_pages();
        let dirtyable = self.free_pages().saturating_sub(reserve).saturating_sub(high);
        counters.push(("nr_dirty_threshold".to_owned(), dirtyable / 5));
        counters.push(("nr_dirty_background_threshold".to_owned(), dirtyable / 10));
        counters.extend(names::events(config, &self.kinds()).into_iter().map(|name| (name, 0)));
        vmstat::VmStat { counters }
    }

    fn free_pages(&self) -> u64 {
        self.running.buddy.zones().iter().map(BuddyZone::free_pages).sum()
    }

    fn pages_of(&self, kind: ZoneKind, count: impl Fn(&BuddyZone<'s, 'p>) -> u64) -> u64 {
        self.running.buddy.zones().iter().filter(|z| z.kind() == kind).map(count).sum()
    }

    /// `memblock/memory` or `memblock/reserved`.
    pub fn memblock(&self, set: Set) -> memblock::Regions {
        let live = self.boot.mb.regions(set).iter().filter(|r| r.size() > 0);
        memblock::Regions {
            wide: self.boot.phys_addr_is_64bit(),
            regions: live.map(|r| (r.base().get(), r.end().get() - 1)).collect(),
        }
    }

    /// `/proc/meminfo`.
    pub fn meminfo(&self) -> meminfo::MemInfo {
        let config = &self.boot.machine.config;
        let mut out = meminfo::MemInfo::default();
        let kib = |pages: u64| pages * self.page_kib();
        let (total, free) = (self.managed_pages(), self.free_pages());
        let available = free.saturating_sub(self.running.watermarks.totalreserve_pages());
        out.push_kib("MemTotal", kib(total));
        out.push_kib("MemFree", kib(free));
        out.push_kib("MemAvailable", kib(available));
        let zeroes = |out: &mut meminfo::MemInfo, list: &str| {
            list.split_whitespace().for_each(|name| out.push_kib(name, 0));
        };
        zeroes(
            &mut out,
            "Buffers Cached SwapCached Active Inactive Active(anon) Inactive(anon) Active(file) Inactive(file) \
             Unevictable Mlocked",
        );
        if config.highmem {
            let (high, high_free) = (
                self.pages_of(ZoneKind::HighMem, BuddyZone::managed_pages),
                self.pages_of(ZoneKind::HighMem, BuddyZone::free_pages),
            );
            out.push_kib("HighTotal", kib(high));
            out.push_kib("HighFree", kib(high_free));
            out.push_kib("LowTotal", kib(total - high));
            out.push_kib("LowFree", kib(free - high_free));
        }
        zeroes(
            &mut out,
            "SwapTotal SwapFree Zswap Zswapped Dirty Writeback AnonPages Mapped Shmem KReclaimable Slab \
             SReclaimable SUnreclaim KernelStack PageTables SecPageTables NFS_Unstable Bounce WritebackTmp",
        );
        out.push_kib("CommitLimit", total.saturating_sub(self.hugetlb_pages()) / 2 * self.page_kib());
        out.push_kib("Committed_AS", 0);
        out.push_kib("VmallocTotal", self.vmalloc_kib());
        zeroes(&mut out, "VmallocUsed VmallocChunk");
        let percpu = self.boot.percpu.as_ref().map_or(0, |p| {
            let used = p.static_size + p.reserved_size + p.dyn_size;
            used / 1024 * u64::from(self.boot.possible_cpus.count())
        });
        out.push_kib("Percpu", percpu);
        self.meminfo_tail(&mut out);
        out
    }

    fn meminfo_tail(&self, out: &mut meminfo::MemInfo) {
        let config = &self.boot.machine.config;
        let page = self.page_kib();
        if config.memory_failure {
            out.push_kib("HardwareCorrupted", 0);
        }
        if config.thp != pagewright_firmware::config::Thp::Off {
            for name in
                ["AnonHugePages", "ShmemHugePages", "ShmemPmdMapped", "FileHugePages", "FilePmdMapped"]
            {
                out.push_kib(name, 0);
            }
        }
        if config.cma.is_some() {
            let free: u64 = self.running.buddy.zones().iter().map(BuddyZone::free_cma_pages).sum();
            out.push_kib("CmaTotal", self.boot.total_cma_pages * page);
            out.push_kib("CmaFree", free * page);
        }
        if config.hugetlb {
            let default = self.huge_pools().into_iter().find(|p| p.default);
            let (size, count) = default.map_or((0, 0), |p| (p.size, p.count));
            for (name, value) in [("Total", count), ("Free", count), ("Rsvd", 0), ("Surp", 0)] {
                out.push_count(&format!("HugePages_{name}"), value);
            }
            out.push_kib("Hugepagesize", size >> 10);
            out.push_kib("Hugetlb", self.hugetlb_pages() * page);
        }
        if config.is_x86() {
            self.direct_map(out);
        }
    }

    /// Base pages in the pools of all sizes.
    fn hugetlb_pages(&self) -> u64 {
        let page = self.boot.page_bytes();
        self.huge_pools().iter().map(|p| p.count * (p.size / page)).sum()
    }

    /// How x86's direct map is built before anything splits it: 4 KiB at the borders, large pages between.
    fn direct_map(&self, out: &mut meminfo::MemInfo) {
        let config = &self.boot.machine.config;
        let large = if config.arch == Arch::I386 && !config.lpae { 4 << 20 } else { 2 << 20 };
        let high = self.boot.high_memory.get();
        let mut sizes = [0u64; 3];
        for range in self.boot.mb.mem_ranges() {
            let (start, end) = (range.start.get(), range.end.get().min(high));
            let (first, last) = (start.next_multiple_of(large), end / large * large);
            let middle = last.saturating_sub(first);
            sizes[1] += middle;
            sizes[0] += end.saturating_sub(start).saturating_sub(middle);
            if self.boot.machine.cpus.gbpages {
                let whole = (last >> 30 << 30).saturating_sub(first.next_multiple_of(1 << 30));
                sizes[2] += whole;
                sizes[1] -= whole;
            }
        }
        out.push_kib("DirectMap4k", sizes[0] >> 10);
        out.push_kib(if large == 4 << 20 { "DirectMap4M" } else { "DirectMap2M" }, sizes[1] >> 10);
        if self.boot.machine.cpus.gbpages {
            out.push_kib("DirectMap1G", sizes[2] >> 10);
        }
    }

    /// The size of the vmalloc area in KiB.
    fn vmalloc_kib(&self) -> u64 {
        const MIB: u64 = 1 << 20;
        let config = &self.boot.machine.config;
        match config.arch {
            Arch::X86_64 if self.boot.machine.cpus.la57 => (12800 << 30) - 1,
            Arch::X86_64 => (32 << 30) - 1,
            Arch::Arm64 => {
                // From the modules' end to 256 MiB below the memory map at the top.
                let va = u32::from(config.va_bits);
                let memmap = 1u64 << (va - (config.page_shift.get() - 6));
                ((1u64 << (va - 1)) - 128 * MIB - memmap - 256 * MIB) >> 10
            }
            Arch::Arm | Arch::I386 => {
                // 8 MiB above the permanent map, up to where the fixed mappings begin.
                let offset = u64::from(config.page_offset).wrapping_sub(self.boot.memstart.get());
                let start = (self.boot.high_memory.get().wrapping_add(offset) & 0xffff_ffff) + 8 * MIB;
                let (start, end) = match config.arch {
                    Arch::Arm => (start & !(8 * MIB - 1), 0xff80_0000),
                    _ => (start, u64::from(self.boot.machine.build.vmalloc_end)),
                };
                end.saturating_sub(start) >> 10
            }
        }
    }
}

fn zero(name: &str) -> Counter {
    (name.to_owned(), 0)
}
