//! Who took an object last, and who freed it.

use super::super::Slabs;
use super::super::cache::Info;
use super::super::cpu::SlabContext;
use super::super::shared::Slab;
use crate::memory::SlabMemory;
use core::fmt;
use core::panic::Location;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_platform::Interrupts;

/// A place in a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Site {
    file: &'static str,
    line: u32,
}

impl Site {
    /// A line of a file.
    pub const fn new(file: &'static str, line: u32) -> Self {
        Self { file, line }
    }

    /// The file's name.
    pub const fn file(&self) -> &'static str {
        self.file
    }

    /// The line's number, from 1 on.
    pub const fn line(&self) -> u32 {
        self.line
    }
}

impl From<&'static Location<'static>> for Site {
    fn from(location: &'static Location<'static>) -> Self {
        Self::new(location.file(), location.line())
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A record of who did something with an object (`struct track`).
///
/// In memory it has Linux's size and nearly its members: a sum over the others where the caller's address is, so that what was written over is not
/// believed; the number of the place in the code, kept once for all, where the handle of a stack trace is; processor, task, time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Track {
    /// The place in the code; `None` if more places than are kept did so.
    pub site: Option<Site>,
    /// The processor's number.
    pub cpu: u32,
    /// The task ([`SlabContext::for_task`]).
    pub task: u32,
    /// When, as a count of such records.
    pub when: usize,
    /// Of kmalloc's memory, the bytes that were asked for (`orig_size`); 0 where that is not kept.
    pub bytes: u32,
}

const WORD: usize = size_of::<usize>();

impl Track {
    /// Nobody yet.
    pub(crate) const NONE: Self = Self { site: None, cpu: u32::MAX, task: u32::MAX, when: 0, bytes: 0 };
    /// Bytes of one in memory.
    pub(crate) const BYTES: usize = (WORD + 3 * 4).next_multiple_of(WORD) + WORD;
}

impl fmt::Display for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.site {
            Some(site) => site.fmt(f)?,
            None => f.write_str("an unknown place")?,
        }
        write!(f, " age={} cpu={} pid={}", self.when, self.cpu, self.task)?;
        if self.bytes > 0 {
            write!(f, " size={}", self.bytes)?;
        }
        Ok(())
    }
}

/// The places in the code that used watched caches.
#[derive(Debug)]
pub(crate) struct Sites {
    known: [Option<Site>; Self::MOST],
}

impl Sites {
    const MOST: usize = 128;

    pub(crate) const fn new() -> Self {
        Self { known: [None; Self::MOST] }
    }

    /// The number of a place, from 1 on; 0 if there is no room for it.
    fn number(&mut self, who: Site) -> u32 {
        for (n, site) in self.known.iter_mut().enumerate() {
            if *site.get_or_insert(who) == who {
                return n as u32 + 1;
            }
        }
        0
    }

    fn site(&self, number: u32) -> Option<Site> {
        self.known.get((number as usize).checked_sub(1)?).copied().flatten()
    }
}

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// What is to be recorded of an operation that came from there, unless those who are told know better.
    pub(super) fn track(&self, cx: &SlabContext<'_, 'k, 'a>, who: &'static Location<'static>) -> Track {
        let cpu = self.cpus.iter().position(|cpu| core::ptr::eq(cpu, cx.cpu.cpu()));
        let who = self.reports.caller().unwrap_or_else(|| who.into());
        let _quiet = self.quiet();
        let number = self.sites.lock().number(who);
        let site = (number > 0).then_some(who);
        let when = self.recorded.fetch_add(1, Relaxed) + 1;
        Track { site, cpu: cpu.map_or(u32::MAX, |cpu| cpu as u32), task: cx.task, when, bytes: 0 }
    }

    fn place(&self, info: &Info, slab: &Slab, offset: usize, which: usize) -> *mut u32 {
        self.memory.pointer(slab.base + offset + info.metadata() + which * Track::BYTES).cast()
    }

    /// What a record's sum is: of its members, its place and the cache's secret.
    fn sum(info: &Info, at: usize, [site, cpu, task, bytes]: [u32; 4], when: usize) -> usize {
        let mix =
            |sum: usize, part: usize| (sum ^ part).rotate_left(13).wrapping_mul(0x9e37_79b1).wrapping_add(1);
        [site, cpu, task, bytes]
            .map(|part| part as usize)
            .into_iter()
            .chain([when, at])
            .fold(info.places.secret(), mix)
    }

    /// Writes the record of the last user (0) or of the last free (1), under the slab's lock.
    pub(super) fn write_track(&self, info: &Info, slab: &Slab, offset: usize, which: usize, track: Track) {
        let site = track.site.map_or(0, |who| self.sites.lock().number(who));
        let at = self.place(info, slab, offset, which);
        let sum = Self::sum(info, at.addr(), [site, track.cpu, track.task, track.bytes], track.when);
        // SAFETY: metadata of an object of the slab, which is the slabs' alone, under its lock; the layout left `BYTES` for each record (its
        // word is this machine's: `Slabs::make`), which have room for all of this, and metadata begins at a whole word.
        unsafe {
            at.cast::<[u8; Track::BYTES]>().write([0; Track::BYTES]);
            at.cast::<usize>().write(sum);
            let members = at.byte_add(WORD);
            members.write(site);
            members.add(1).write(track.cpu);
            members.add(2).write(track.task);
            at.byte_add(Track::BYTES - WORD).cast::<usize>().write(track.when);
        }
        if which == 0 && info.keeps_asked() {
            // SAFETY: behind both records are four bytes more in such a cache's objects, aligned as words are.
            unsafe { at.byte_add(2 * Track::BYTES).write(track.bytes) };
        }
    }

    /// Reads it; `None` if something was written over it.
    pub(in super::super) fn read_track(
        &self,
        info: &Info,
        slab: &Slab,
        offset: usize,
        which: usize,
    ) -> Option<Track> {
        let at = self.place(info, slab, offset, which);
        // SAFETY: as for `write_track`; every byte is initialised.
        let (sum, site, cpu, task, gap, when) = unsafe {
            let members = at.byte_add(WORD);
            let when = at.byte_add(Track::BYTES - WORD);
            // What lies between the members and the time, where words have 8 bytes.
            let gap = if WORD == 8 { members.add(3).read() } else { 0 };
            let first = (at.cast::<usize>().read(), members.read(), members.add(1).read());
            (first.0, first.1, first.2, members.add(2).read(), gap, when.cast::<usize>().read())
        };
        let mut bytes = 0;
        if which == 0 && info.keeps_asked() {
            // SAFETY: as in `write_track`.
            bytes = unsafe { at.byte_add(2 * Track::BYTES).read() };
        }
        if gap != 0 || sum != Self::sum(info, at.addr(), [site, cpu, task, bytes], when) {
            return None;
        }
        Some(Track { site: self.sites.lock().site(site), cpu, task, when, bytes })
    }
}
