//! From where the objects of a watched cache that are in use were taken, and from where they were freed before: debugfs' `alloc_traces` and `free_traces`.
//!
//! Source: Documentation/mm/slub.rst (the columns, and their order), and what 6.1 prints.

use super::Slabs;
use super::cache::{CacheId, Info};
use super::debug::{Site, Track};
use super::shared::Slab;
use crate::CacheFlags;
use crate::memory::SlabMemory;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_platform::Interrupts;

/// Which of an object's two records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trace {
    /// That of the last allocation.
    Alloc,
    /// That of the last free.
    Free,
}

impl Trace {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Alloc, Self::Free];

    /// The file's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alloc => "alloc_traces",
            Self::Free => "free_traces",
        }
    }
}

/// Words of a set of processors: as many as a machine may have (512).
const CPU_WORDS: usize = 8;

/// What was done from one place in the code (`struct location`), as often as objects in use tell of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceSite {
    /// The place; `None` where nobody did so yet, or more places than are kept did.
    pub site: Option<Site>,
    /// How many objects.
    pub count: u64,
    /// Bytes of each that were not asked for of kmalloc.
    pub waste: u64,
    /// How many records were made since ([`Track::when`]): the least, the sum of all, the most.
    pub age: (u64, u64, u64),
    /// The lowest and the highest number of a task.
    pub pids: (u32, u32),
    /// The processors, a bit each.
    cpus: [u64; CPU_WORDS],
    /// The nodes on which the objects lie, a bit each.
    nodes: u64,
}

impl TraceSite {
    /// A place for one.
    pub const EMPTY: Self = Self {
        site: None,
        count: 0,
        waste: 0,
        age: (u64::MAX, 0, 0),
        pids: (u32::MAX, 0),
        cpus: [0; CPU_WORDS],
        nodes: 0,
    };

    fn is_of(&self, site: Option<Site>, waste: u64) -> bool {
        self.site == site && self.waste == waste
    }

    /// One object more.
    fn add(&mut self, track: &Track, now: usize, node: usize) {
        let age = now.saturating_sub(track.when) as u64;
        self.count += 1;
        self.age = (self.age.0.min(age), self.age.1.saturating_add(age), self.age.2.max(age));
        // Nobody did it yet: Linux shows zeroes.
        let known = |number: u32| if *track == Track::NONE { 0 } else { number };
        let (cpu, pid) = (known(track.cpu), known(track.task));
        self.pids = (self.pids.0.min(pid), self.pids.1.max(pid));
        if let Some(word) = self.cpus.get_mut(cpu as usize / 64) {
            *word |= 1 << (cpu % 64);
        }
        self.nodes |= 1_u64.checked_shl(node as u32).unwrap_or(0);
    }
}

/// A file's lines, most frequent first.
#[derive(Clone, Copy, Debug)]
pub struct Traces<'t> {
    sites: &'t [TraceSite],
    /// Objects of places for which there was no room.
    pub left_out: u64,
    /// Whether processors and nodes are named: there are several.
    several: (bool, bool),
}

impl Traces<'_> {
    /// The places.
    pub const fn sites(&self) -> &[TraceSite] {
        self.sites
    }
}

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// From where the objects in use of a watched cache were taken, or had been freed before; `None` for caches that keep no records (without STORE_USER). `room` has a place for each line; what
    /// finds none is counted. A record that was written over is left out. Others may use the cache meanwhile; a node's lists are locked while its objects are looked at.
    pub fn traces<'t>(&self, cache: CacheId, which: Trace, room: &'t mut [TraceSite]) -> Option<Traces<'t>> {
        let info = self.info(cache).filter(|info| info.flags.contains(CacheFlags::STORE_USER))?;
        let (now, mut used, mut left_out) = (self.recorded.load(Relaxed), 0, 0);
        for node in 0..self.nodes {
            let _quiet = self.quiet();
            let lists = self.lists_of(cache, node).lock();
            for head in lists.partial.iter(&self.map).chain(lists.full.iter(&self.map)) {
                let Some(slab) = self.slab(head, self.map.word(head).order()) else { continue };
                self.each_in_use(info, &slab, |offset| {
                    let Some(track) = self.read_track(info, &slab, offset, which as usize) else { return };
                    let waste = self.waste(info, &slab, offset);
                    let found =
                        room[..used].iter().position(|at| at.is_of(track.site, waste)).unwrap_or(used);
                    match room.get_mut(found) {
                        Some(at) => {
                            if found == used {
                                *at = TraceSite { site: track.site, waste, ..TraceSite::EMPTY };
                                used += 1;
                            }
                            at.add(&track, now, node);
                        }
                        None => left_out += 1,
                    }
                });
            }
        }
        let sites = &mut room[..used];
        sites.sort_unstable_by_key(|site| (core::cmp::Reverse(site.count), site.age.0));
        let several = (self.cpus.len() > 1, self.nodes > 1);
        Some(Traces { sites, left_out, several })
    }

    /// Bytes of an object in use that were not asked for; none where that is not kept.
    fn waste(&self, info: &Info, slab: &Slab, offset: usize) -> u64 {
        let asked = self.read_track(info, slab, offset, Trace::Alloc as usize).map_or(0, |track| track.bytes);
        if asked == 0 { 0 } else { info.geometry.object_size.saturating_sub(asked.into()) }
    }

    /// Calls `each` with every object of a slab that is in use, under its lock.
    fn each_in_use(&self, info: &Info, slab: &Slab, mut each: impl FnMut(usize)) {
        let word = self.word(slab);
        for number in 0..info.objects(self.map.word(slab.head).order()) {
            let offset = info.places.offset_of(number);
            if !self.is_listed_free(info, slab, word, offset) {
                each(offset);
            }
        }
    }
}

/// A number or a run of them, with commas between (`%*pbl`).
struct Ranges<'b>(&'b [u64]);

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |n: usize| self.0.get(n / 64).is_some_and(|word| word >> (n % 64) & 1 != 0);
        let (mut at, mut comma) = (0, "");
        while at < self.0.len() * 64 {
            if !has(at) {
                at += 1;
                continue;
            }
            let first = at;
            while has(at) {
                at += 1;
            }
            write!(f, "{comma}{first}")?;
            if at - first > 1 {
                write!(f, "-{}", at - 1)?;
            }
            comma = ",";
        }
        Ok(())
    }
}

impl fmt::Display for Traces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sites.is_empty() && self.left_out == 0 {
            return f.write_str("No data\n");
        }
        for site in self.sites {
            write!(f, "{:7} ", site.count)?;
            match site.site {
                Some(at) => at.fmt(f)?,
                None => f.write_str("<not-available>")?,
            }
            if site.waste > 0 {
                write!(f, " waste={}/{}", site.count * site.waste, site.waste)?;
            }
            let (least, sum, most) = site.age;
            write!(f, " age={least}")?;
            if sum != least {
                write!(f, "/{}/{most}", sum / site.count.max(1))?;
            }
            let (first, last) = site.pids;
            write!(f, " pid={first}")?;
            if first != last {
                write!(f, "-{last}")?;
            }
            if self.several.0 {
                write!(f, " cpus={}", Ranges(&site.cpus))?;
            }
            if self.several.1 {
                write!(f, " nodes={}", Ranges(&[site.nodes]))?;
            }
            f.write_str("\n")?;
        }
        if self.left_out > 0 {
            writeln!(f, "{:7} <not-available>", self.left_out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn site(count: u64, cpus: u64, nodes: u64) -> TraceSite {
        let mut words = [0; CPU_WORDS];
        words[0] = cpus;
        words[1] = 1;
        TraceSite { count, cpus: words, nodes, age: (3, 3 * count, 3), pids: (1, 1), ..TraceSite::EMPTY }
    }

    #[test]
    fn a_line_has_linuxs_columns() {
        let place = Site::from(core::panic::Location::caller());
        let sites = [
            TraceSite {
                site: Some(place),
                waste: 12,
                age: (3, 20, 9),
                pids: (1, 7),
                ..site(4, 0b1101_1110, 5)
            },
            site(1, 1, 1),
        ];
        let text = |several| Traces { sites: &sites, left_out: 2, several }.to_string();
        let at = std::format!("{}:{}", file!(), place.line());
        assert_eq!(
            text((true, true)),
            std::format!(
                "      4 {at} waste=48/12 age=3/5/9 pid=1-7 cpus=1-4,6-7,64 nodes=0,2\n      \
                 1 <not-available> age=3 pid=1 cpus=0,64 nodes=0\n      2 <not-available>\n"
            )
        );
        assert!(text((false, false)).lines().all(|line| !line.contains("cpus=") && !line.contains("nodes=")));
        assert_eq!(Traces { sites: &[], left_out: 0, several: (true, true) }.to_string(), "No data\n");
    }
}
