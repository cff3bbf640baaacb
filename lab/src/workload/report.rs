//! An account as people read it.

use super::account::{Account, TYPES, VmallocAccount, ZoneAccount};
use crate::summary::{right, table};
use comfy_table::Table;
use std::fmt;

/// An account as text; tables are for a terminal if `colour`.
#[derive(Clone, Copy, Debug)]
pub struct Report<'r> {
    /// What is told.
    pub account: &'r Account,
    /// The workload's name.
    pub name: &'r str,
    /// The machine's.
    pub machine: &'r str,
    /// Whether tables may fit themselves to the terminal.
    pub colour: bool,
}

impl Report<'_> {
    /// Free blocks of each order, before and after the work.
    fn free_blocks(&self) -> Table {
        let orders = self.account.before.first().map_or(0, |zone| zone.blocks.len());
        let numbers: Vec<String> = (0..orders).map(|n| n.to_string()).collect();
        let mut header = vec!["free blocks", ""];
        header.extend(numbers.iter().map(String::as_str));
        header.push("pages");
        let mut table = table(&header, self.colour);
        let mut row = |name: String, when: &str, zone: &ZoneAccount| {
            let mut cells = vec![name, when.to_owned()];
            cells.extend(zone.blocks.iter().map(u64::to_string));
            cells.push(zone.free.to_string());
            table.add_row(cells);
        };
        for (before, after) in self.account.before.iter().zip(&self.account.after) {
            row(format!("node {} {}", before.node, before.name), "before", before);
            row(String::new(), "after", after);
        }
        right(&mut table, &(2..orders + 3).collect::<Vec<_>>());
        table
    }

    /// Pageblocks of each type, before and after the work.
    fn pageblocks(&self) -> Table {
        let mut header = vec!["pageblocks"];
        header.extend(TYPES.map(|migrate| migrate.name()));
        let mut table = table(&header, self.colour);
        for (before, after) in self.account.before.iter().zip(&self.account.after) {
            let mut cells = vec![format!("node {} {}", before.node, before.name)];
            let both = before.pageblocks.iter().zip(after.pageblocks);
            cells.extend(both.map(|(b, a)| if *b == a { b.to_string() } else { format!("{b} → {a}") }));
            table.add_row(cells);
        }
        right(&mut table, &(1..=TYPES.len()).collect::<Vec<_>>());
        table
    }

    /// What was asked for, by order.
    fn allocations(&self) -> Table {
        let mut table = table(&["allocations", "order", "asked for", "failed", ""], self.colour);
        for phase in &self.account.phases {
            let mut name = phase.name.as_str();
            for (order, asked) in &phase.orders {
                let share = asked.failed as f64 * 100.0 / asked.asked.max(1) as f64;
                let [order, all, failed] =
                    [order.get().into(), asked.asked, asked.failed].map(|n: u64| n.to_string());
                table.add_row([name.to_owned(), order, all, failed, format!("{share:.2} %")]);
                name = "";
            }
            for (kind, asked) in &phase.objects {
                let share = asked.failed as f64 * 100.0 / asked.asked.max(1) as f64;
                let [all, failed] = [asked.asked, asked.failed].map(|n| n.to_string());
                table.add_row([name.to_owned(), kind.clone(), all, failed, format!("{share:.2} %")]);
                name = "";
            }
            if !phase.objects.is_empty() {
                let freed = phase.objects_freed.to_string();
                let none = String::new;
                table.add_row([none(), "objects freed".to_owned(), freed, none(), none()]);
            }
            for (bytes, asked) in &phase.areas {
                let share = asked.failed as f64 * 100.0 / asked.asked.max(1) as f64;
                let [all, failed] = [asked.asked, asked.failed].map(|n| n.to_string());
                let area = match bytes {
                    bytes if bytes.is_multiple_of(1024) => format!("area, {} KiB", bytes / 1024),
                    bytes => format!("area, {bytes} bytes"),
                };
                table.add_row([name.to_owned(), area, all, failed, format!("{share:.2} %")]);
                name = "";
            }
            if !phase.areas.is_empty() {
                let (freed, none) = (phase.areas_freed.to_string(), String::new);
                table.add_row([none(), "areas freed".to_owned(), freed, none(), none()]);
            }
            table.add_row([
                name.to_owned(),
                "freed".to_owned(),
                phase.freed.to_string(),
                String::new(),
                String::new(),
            ]);
        }
        right(&mut table, &[1, 2, 3, 4]);
        table
    }

    /// Caches with slabs, before and after the work.
    fn caches(&self) -> Table {
        let header = ["cache", "", "bytes", "in use", "objects", "slabs", "KiB", "unused"];
        let mut table = table(&header, self.colour);
        for (when, caches) in ["before", "after"].iter().zip(&self.account.caches) {
            for cache in caches {
                let unused = format!("{}.{} %", cache.unused() / 10, cache.unused() % 10);
                let counts = [cache.size, cache.active, cache.objects, cache.slabs, cache.bytes >> 10];
                let mut cells = vec![cache.name.clone(), (*when).to_owned()];
                cells.extend(counts.map(|n| n.to_string()));
                cells.push(unused);
                table.add_row(cells);
            }
        }
        right(&mut table, &[2, 3, 4, 5, 6, 7]);
        table
    }

    /// The vmalloc area, before and after the work.
    fn vmalloc(&self, both: &[VmallocAccount; 2]) -> Table {
        let header = ["vmalloc", "areas", "pages", "gaps", "free KiB", "largest KiB", "kept KiB"];
        let mut table = table(&header, self.colour);
        for (when, area) in ["before", "after"].iter().zip(both) {
            let counts =
                [area.areas, area.pages, area.gaps, area.free >> 10, area.largest >> 10, area.kept >> 10];
            table.add_row([(*when).to_owned()].into_iter().chain(counts.map(|n| n.to_string())));
        }
        right(&mut table, &[1, 2, 3, 4, 5, 6]);
        table
    }

    /// Memory on the way.
    fn samples(&self) -> Table {
        let large = format!("free blocks of order {} and up", self.account.pageblock.get());
        let mut table = table(
            &["operations", "pages held", "free pages", &large, "unusable for them", "boost"],
            self.colour,
        );
        for sample in &self.account.samples {
            let unusable = format!("{}.{:03}", sample.unusable / 1000, sample.unusable % 1000);
            let [at, held, free, huge, boost] =
                [sample.operations, sample.held, sample.free, sample.huge, sample.boost]
                    .map(|n| n.to_string());
            table.add_row([at, held, free, huge, unusable, boost]);
        }
        right(&mut table, &[0, 1, 2, 3, 4, 5]);
        table
    }

    /// Counters that changed.
    fn counters(&self) -> Table {
        let mut table = table(&["vmstat", "before", "after"], self.colour);
        for (name, before, after) in self.account.changed() {
            table.add_row([name.to_owned(), before.to_string(), after.to_string()]);
        }
        right(&mut table, &[1, 2]);
        table
    }

    /// How it ended, in one line.
    fn verdict(&self) -> String {
        let account = self.account;
        let sum = |zones: &[ZoneAccount]| zones.iter().map(|zone| zone.free).sum::<u64>();
        let (before, back) = (sum(&account.before), sum(&account.back));
        if let Some(violation) = &account.violation {
            return format!("The allocator's lists are damaged: {violation}");
        }
        if account.damaged > 0 {
            return format!("{} objects were not what had been written to them", account.damaged);
        }
        if !account.all_back() {
            return format!("Pages are missing: {before} were free, {back} are when all is given back");
        }
        let kept: u64 = account.back.iter().map(ZoneAccount::high_atomic).sum();
        let blocks = match (account.same_blocks(), kept) {
            (true, _) => "in blocks as large as before".to_owned(),
            (false, 0) => "in other blocks than before".to_owned(),
            (false, kept) => {
                let s = if kept == 1 { "" } else { "s" };
                format!(
                    "in other blocks than before: {kept} pageblock{s} stay with urgent requests (HighAtomic)"
                )
            }
        };
        format!("All {before} pages are free again when all is given back, {blocks}")
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let account = self.account;
        let s = if account.cpus == 1 { "" } else { "s" };
        writeln!(
            f,
            "{} on {}, {} processor{s}, seed {}\n",
            self.name, self.machine, account.cpus, account.seed
        )?;
        account.failures.iter().try_for_each(|report| writeln!(f, "{report}"))?;
        for (when, views) in
            ["Before", "After"].iter().zip(&account.views).filter(|(_, views)| !views.is_empty())
        {
            writeln!(f, "{when}:\n{views}")?;
        }
        if !account.events.is_empty() {
            writeln!(f, "Taken from other types' lists:")?;
            account.events.iter().try_for_each(|event| writeln!(f, "{event}"))?;
            writeln!(f)?;
        }
        if !account.page_owner.is_empty() {
            writeln!(f, "page_owner:\n{}", account.page_owner)?;
        }
        writeln!(f, "{}\n", self.free_blocks())?;
        writeln!(f, "{}\n", self.pageblocks())?;
        writeln!(f, "{}\n", self.allocations())?;
        if let Some(design) = account.design {
            writeln!(f, "Objects by {design}:\n{}\n", self.caches())?;
        }
        if let Some(both) = &account.vmalloc {
            writeln!(f, "{}\n", self.vmalloc(both))?;
        }
        if let Some(why) = &account.refused {
            writeln!(f, "The last area that was refused: {why}\n")?;
        }
        writeln!(f, "{}\n", self.samples())?;
        writeln!(f, "{}\n", self.counters())?;
        writeln!(f, "{}", account.picture)?;
        let steals = account.steals();
        writeln!(
            f,
            "Served from another type's lists: {}; pageblocks claimed: {}; watermarks raised: {}; pages moved by \
             compaction: {}",
            steals.fallbacks,
            steals.claimed,
            account.boosts,
            self.counter("pgmigrate_success"),
        )?;
        writeln!(f, "{}", self.verdict())
    }
}

impl Report<'_> {
    fn counter(&self, name: &str) -> u64 {
        self.account.changed().find(|(n, ..)| *n == name).map_or(0, |(_, before, after)| after - before)
    }
}
