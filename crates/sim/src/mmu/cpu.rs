//! One simulated CPU: its registers, its TLB, and what an access does to both.

use super::fault::{Arch, Fault};
use super::registers::{LoadError, Registers};
use super::tlb::{CachedTable, Reach, Tag, Tlb, TlbEntry};
use super::types::{Access, Fetch, Mapping, Step, Trail, Walker};
use super::violation::{Missing, Violation};
use super::x86::{self, X86Registers};
use super::{AccessError, Hit, Strictness};
use crate::phys::{EntryBytes, PhysMemory};
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use pagewright_pagetable::FlushScope;

/// How often an entry may change under a walk before the CPU goes on with what it has.
const RETRIES: u32 = 64;

pub(crate) struct Cpu {
    pub(super) id: usize,
    pub(super) registers: Registers,
    pub(super) tlb: Tlb,
    /// All registers that were in force while something was cached; the last is now's.
    pub(super) history: Vec<Registers>,
    pub(super) strictness: Strictness,
}

/// Reads entries that lead to tables from the walk cache where it has them.
struct Cached<'a> {
    memory: &'a PhysMemory,
    tlb: &'a Tlb,
    asid: u16,
}

impl Fetch for Cached<'_> {
    fn fetch(&mut self, level: u8, at: PhysAddr, span: VirtRange, bytes: EntryBytes) -> Option<(u64, bool)> {
        if let Some(table) = self.tlb.table(level, span, self.asid) {
            return Some((table.step.word, true));
        }
        Some((self.memory.load_entry(at, bytes)?, false))
    }
}

impl Cpu {
    pub(super) fn new(id: usize, registers: Registers, strictness: Strictness) -> Self {
        Self { id, registers, tlb: Tlb::default(), history: vec![registers], strictness }
    }

    /// Writes the registers; what hardware flushes by itself then is flushed.
    pub(super) fn load(&mut self, memory: &PhysMemory, new: Registers) -> Result<(), LoadError> {
        let mut new = new.loaded(memory)?;
        if let (Registers::X86(old), Registers::X86(new)) = (&self.registers, &mut new) {
            let keeps = new.cr3 & x86::CR3_NOFLUSH != 0 && new.cr4 & x86::cr4::PCIDE != 0;
            new.cr3 &= !x86::CR3_NOFLUSH;
            if Self::flushes_everything(old, new) {
                self.tlb.flush_all(None);
            } else if old.cr3 != new.cr3 && !keeps {
                self.tlb.flush_all(Some(new.asid()));
            }
        }
        if self.registers != new {
            self.registers = new;
            self.history.push(new);
        }
        Ok(())
    }

    /// Intel SDM 4.10.4.1: which writes of CR0, CR4 and EFER invalidate everything.
    fn flushes_everything(old: &X86Registers, new: &X86Registers) -> bool {
        use x86::{cr0, cr4};
        let modes = cr4::PSE | cr4::PAE | cr4::PGE | cr4::LA57 | cr4::PCIDE;
        (old.cr0 ^ new.cr0) & cr0::PG != 0
            || (old.cr4 ^ new.cr4) & modes != 0
            || new.cr4 & !old.cr4 & cr4::SMEP != 0
            || old.efer != new.efer
    }

    /// One access, as hardware does it.
    pub(super) fn access(
        &mut self,
        memory: &PhysMemory,
        va: VirtAddr,
        access: Access,
    ) -> Result<Hit, AccessError> {
        let registers = self.registers;
        if !registers.is_on() {
            return Ok(Hit { phys: PhysAddr::new(va.get()), mapping: None, from_tlb: false });
        }
        let key = registers.untagged(va, access);
        let asid = registers.asid();
        let mut found = None;
        for entry in self.tlb.find(key, asid) {
            if access.writes() && entry.mapping.is_clean() {
                continue;
            }
            found = found.or(Some(*entry));
            if let Some(violation) = self.stale(memory, entry, key, Some(access), &registers) {
                return Err(violation.into());
            }
        }
        if let Some(entry) = found {
            let checked = registers.check(&entry.mapping, va, access);
            if let Err(fault) = checked {
                // Hardware forgets the address when it faults on x86; elsewhere the entry stays.
                if registers.arch() == Arch::X86 {
                    self.tlb.drop_va(key, asid);
                }
                return Err(self.told(memory, va, access, fault).into());
            }
            return Ok(Hit {
                phys: entry.mapping.phys_of(key),
                mapping: Some(entry.mapping),
                from_tlb: true,
            });
        }
        if access.writes() {
            // The first write walks again to note itself in the entry.
            self.tlb.drop_va(key, asid);
        }
        self.walk_and_keep(memory, va, key, access)
    }

    fn walk_and_keep(
        &mut self,
        memory: &PhysMemory,
        va: VirtAddr,
        key: VirtAddr,
        access: Access,
    ) -> Result<Hit, AccessError> {
        let registers = self.registers;
        let mut tries = 0;
        loop {
            let (found, trail) = self.walk(memory, key, access);
            if let Some(violation) = self.stale_table(memory, key, access, &trail) {
                return Err(violation.into());
            }
            let mut mapping = match found.and_then(|m| registers.check(&m, va, access).map(|()| m)) {
                Ok(mapping) => mapping,
                Err(fault) => {
                    self.keep_tables(&trail, key);
                    return Err(self.told(memory, va, access, fault).into());
                }
            };
            if trail.iter().any(|s| s.cached) {
                let as_entry = self.entry(mapping, false);
                if let Some(violation) = self.stale(memory, &as_entry, key, Some(access), &registers) {
                    return Err(violation.into());
                }
            }
            tries += 1;
            if update(memory, &trail, &mut mapping, access.writes()) || tries > RETRIES {
                self.keep(mapping, trail, key)?;
                return Ok(Hit { phys: mapping.phys_of(key), mapping: Some(mapping), from_tlb: false });
            }
        }
    }

    fn walk(&self, memory: &PhysMemory, key: VirtAddr, access: Access) -> (Result<Mapping, Fault>, Trail) {
        let mut fetch = Cached { memory, tlb: &self.tlb, asid: self.registers.asid() };
        let mut walker = Walker::new(key, access, &mut fetch);
        let found = self.registers.walk(&mut walker);
        (found, walker.trail)
    }

    fn entry(&self, mapping: Mapping, after_flush: bool) -> TlbEntry {
        let tag: Tag = (!mapping.global).then(|| self.registers.asid());
        TlbEntry { mapping, tag, context: self.history.len() - 1, after_flush }
    }

    fn keep(&mut self, mapping: Mapping, mut trail: Trail, va: VirtAddr) -> Result<(), AccessError> {
        let entry = self.entry(mapping, false);
        if self.strictness.check
            && self.registers.arch().breaks_before_making()
            && let Some(old) = self.tlb.conflict(&mapping, entry.tag)
        {
            let group = old.mapping.group_bytes != 0 && old.mapping.same_size(&mapping);
            let missing = if group { Missing::WholeGroup } else { Missing::BreakBeforeMake };
            let cached = old.mapping;
            return Err(Violation::ConflictingTranslations {
                cpu: self.id,
                va,
                cached,
                now: mapping,
                missing,
            }
            .into());
        }
        for step in &mut trail {
            step.word |= core::mem::take(&mut step.set);
        }
        self.keep_tables(&trail, va);
        self.tlb.insert(entry);
        Ok(())
    }

    /// Keeps the entries that lead to tables. On x86 an entry whose accessed bit is clear is never kept.
    fn keep_tables(&mut self, trail: &Trail, va: VirtAddr) {
        let asid = self.registers.asid();
        for pair in trail.windows(2).take_while(|pair| pair[0].set == 0) {
            self.tlb.insert_table(CachedTable { step: pair[0], va, leads_to: pair[1].at }, asid);
        }
    }

    /// The fault, marked if the tables would allow the access.
    fn told(&self, memory: &PhysMemory, va: VirtAddr, access: Access, mut fault: Fault) -> Fault {
        fault.va = va;
        fault.spurious = self.strictness.check && self.registers.probe(memory, va, access).is_ok();
        fault
    }

    /// Whether the walk went through an entry that was kept and leads elsewhere than the tables do.
    fn stale_table(
        &self,
        memory: &PhysMemory,
        va: VirtAddr,
        access: Access,
        trail: &Trail,
    ) -> Option<Violation> {
        if !self.strictness.check || !trail.iter().any(|s| s.cached) {
            return None;
        }
        let (_, now) = self.registers.look_up_trail(memory, va, access);
        let old = trail
            .windows(2)
            .enumerate()
            .find(|(i, pair)| pair[0].cached && now.get(i + 1).is_none_or(|next| next.at != pair[1].at));
        old.map(|(_, pair)| self.old_table(va, &pair[0], pair[1].at))
    }

    /// What is wrong with using `entry` for `va`, by the tables that `registers` lead to.
    fn stale(
        &self,
        memory: &PhysMemory,
        entry: &TlbEntry,
        va: VirtAddr,
        access: Option<Access>,
        registers: &Registers,
    ) -> Option<Violation> {
        if !self.strictness.check {
            return None;
        }
        let now = registers.look_up(memory, va, access.unwrap_or(Access::READ));
        let missing = super::stale::missing(entry, va, access, registers, &now)?;
        Some(Violation::StaleTranslation {
            cpu: self.id,
            va,
            access,
            cached: entry.mapping,
            now,
            missing,
            flushed_too_early: entry.after_flush,
        })
    }

    /// Forgets what a flush says; then, if the CPU is that eager, fetches again what is still there.
    pub(super) fn flush(&mut self, memory: &PhysMemory, scope: &FlushScope) {
        let arch = self.registers.arch();
        let by_level = matches!(self.registers, Registers::Arm64(r) if r.ttl);
        let reach =
            Reach { scope: *scope, global_too: arch != Arch::X86, by_level, all_tables: arch == Arch::X86 };
        let mut gone = Vec::new();
        self.tlb.flush(&reach, &mut gone);
        if scope.tables_freed {
            // With PAE, a flush for tables is a write of CR3.
            self.registers = self.registers.loaded(memory).unwrap_or(self.registers);
        }
        if !self.strictness.speculate {
            return;
        }
        for old in gone {
            let mine = old.tag.is_none_or(|asid| asid == self.registers.asid());
            let whole_group = old.mapping.group_bytes == old.mapping.bytes;
            if !mine || whole_group {
                continue;
            }
            let (found, trail) = self.walk(memory, old.mapping.start, Access::READ);
            if let Ok(mapping) = found
                && trail.iter().all(|s| s.set == 0)
            {
                self.keep_tables(&trail, old.mapping.start);
                self.tlb.insert(self.entry(mapping, true));
            }
        }
    }

    /// Everything that is cached and no longer true.
    pub(super) fn audit(&self, memory: &PhysMemory, into: &mut Vec<Violation>) {
        let asid = self.registers.asid();
        for entry in self.tlb.leaves() {
            let mine = entry.tag.is_none_or(|tag| tag == asid);
            let registers = if mine { &self.registers } else { &self.history[entry.context] };
            into.extend(self.stale(memory, entry, entry.mapping.start, None, registers));
        }
        for (table, tag) in self.tlb.tables() {
            if tag != asid {
                continue;
            }
            let va = table.va;
            let (_, now) = self.registers.look_up_trail(memory, va, Access::READ);
            let mut steps = now.windows(2);
            if !steps.any(|pair| pair[0].level == table.step.level && pair[1].at == table.leads_to) {
                into.push(self.old_table(va, &table.step, table.leads_to));
            }
        }
    }

    fn old_table(&self, va: VirtAddr, step: &Step, leads_to: PhysAddr) -> Violation {
        let (level, cached) = (step.level, step.word);
        Violation::StaleTable { cpu: self.id, va, level, cached, leads_to, missing: Missing::TableFlush }
    }

    /// Whether anything cached came from, or leads to, a page that was given back.
    pub(super) fn uses(&self, page: PhysRange) -> Option<Violation> {
        let told = |va, missing| Violation::TableInUse { cpu: self.id, page: page.start, va, missing };
        if let Some((table, _)) = self.tlb.tables().find(|(table, _)| page.contains(table.leads_to)) {
            return Some(told(table.step.span.start, Missing::TableFlush));
        }
        if let Registers::X86(registers) = &self.registers
            && let Some((_, va)) = registers.pdpte_tables().find(|(table, _)| page.contains(*table))
        {
            return Some(told(va, Missing::TableFlush));
        }
        let leaf = self.tlb.leaves().find(|entry| page.contains(entry.mapping.entry_at));
        leaf.map(|entry| told(entry.mapping.start, Missing::UnmapFlush))
    }
}

/// Sets what hardware sets in the entries of a walk. `false` if one of them has changed meanwhile.
fn update(memory: &PhysMemory, trail: &Trail, mapping: &mut Mapping, writes: bool) -> bool {
    let leaf = trail.len().saturating_sub(1);
    for (i, step) in trail.iter().enumerate() {
        let mut new = step.word | step.set;
        if i == leaf && writes {
            new = (new | mapping.dirty.0) & !mapping.dirty.1;
        }
        if new == step.word || step.cached {
            continue;
        }
        if !memory.replace_entry(step.at, step.bytes, step.word, new) {
            return false;
        }
        if i == leaf {
            mapping.entry = new;
        }
    }
    if writes {
        mapping.dirty = (0, 0);
    }
    true
}
