//! Users of movable pages, for tests and workloads: a table of pages with contents, some of them pinned.
//!
//! Each page is deposited, in turn as movable driver memory and as anonymous memory on an LRU list; its bytes name its tenant and
//! how large it is, so a page that was moved wrongly, twice or not at all is found out ([`Tenants::check`]).

use crate::Ram;
use pagewright_addr::PageShift;
use pagewright_page::{FrameIdx, Frames, OwnerHandle, PageFlags, PageMap, Use};
use pagewright_zone::alloc::{Migrate, MigrateMode, Migrated};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Clone, Copy, Debug)]
struct Tenant {
    name: u64,
    pages: u64,
    pinned: bool,
    isolated: bool,
    /// It wanted to leave while it was isolated.
    gone: bool,
}

impl Tenant {
    const fn usage(&self) -> Use {
        if self.name.is_multiple_of(2) { Use::Movable } else { Use::Anon }
    }
}

#[derive(Default)]
struct Table {
    by_frame: BTreeMap<u32, Tenant>,
    named: u64,
    asked: u64,
}

/// The table.
pub struct Tenants<'a> {
    map: PageMap<'a>,
    ram: Ram<'a>,
    owner: OwnerHandle,
    table: Mutex<Table>,
    /// Says "interrupted" from the so many-th question on.
    interrupt_at: Mutex<Option<u64>>,
}

impl<'a> Tenants<'a> {
    /// Nobody yet, in RAM of its own.
    ///
    /// # Panics
    /// Never: the owner's number is in range.
    pub fn new(map: PageMap<'a>) -> Self {
        let owner = OwnerHandle::new(7, 1).expect("a handle in range");
        let ram = Ram::new(map, PageShift::SHIFT_4K);
        Self { map, ram, owner, table: Mutex::default(), interrupt_at: Mutex::new(None) }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a block to a new tenant; its name.
    pub fn settle(&self, frames: Frames<'a>) -> u64 {
        let mut table = self.table();
        let name = table.named;
        table.named += 1;
        let tenant = Tenant { name, pages: frames.len(), pinned: false, isolated: false, gone: false };
        let mut frames = frames;
        self.write(&mut frames, &tenant);
        let at = self.deposit(&self.map, frames, &tenant);
        table.by_frame.insert(at.get(), tenant);
        name
    }

    /// A tenant leaves. Its frames, unless somebody isolated the page: then whoever did gets them.
    ///
    /// # Panics
    /// If there is no such tenant, or its page does not have its bytes.
    pub fn leave(&self, name: u64) -> Option<Frames<'a>> {
        let mut table = self.table();
        let (&at, tenant) = table.by_frame.iter_mut().find(|(_, t)| t.name == name).expect("a tenant");
        if tenant.isolated {
            tenant.gone = true;
            return None;
        }
        let tenant = *tenant;
        table.by_frame.remove(&at);
        let frames = self.map.withdraw(FrameIdx::new(at), tenant.usage(), self.owner);
        self.read(&frames, &tenant);
        Some(frames)
    }

    /// Pins a tenant's page where it is, or lets it go.
    pub fn pin(&self, name: u64, pinned: bool) {
        if let Some(tenant) = self.table().by_frame.values_mut().find(|t| t.name == name) {
            tenant.pinned = pinned;
        }
    }

    /// Where a tenant's page begins.
    pub fn place(&self, name: u64) -> Option<FrameIdx> {
        self.table().by_frame.iter().find(|(_, t)| t.name == name).map(|(&at, _)| FrameIdx::new(at))
    }

    /// Every tenant with where its page begins and how many frames it has, by place.
    pub fn places(&self) -> Vec<(u64, FrameIdx, u64)> {
        self.table().by_frame.iter().map(|(&at, t)| (t.name, FrameIdx::new(at), t.pages)).collect()
    }

    /// All tenants' names, by place.
    pub fn names(&self) -> Vec<u64> {
        self.table().by_frame.values().map(|t| t.name).collect()
    }

    /// From the `n`-th question on, 1 being the next, says that the task is interrupted; 0 ends it.
    pub fn interrupt_at(&self, n: u64) {
        let now = self.table().asked;
        *self.interrupt_at.lock().unwrap_or_else(PoisonError::into_inner) = (n > 0).then_some(now + n);
    }

    /// Reads every tenant's page.
    ///
    /// # Panics
    /// If one does not have its tenant's bytes, or is still isolated.
    pub fn check(&self) {
        let mut table = self.table();
        for (&at, tenant) in &mut table.by_frame {
            assert!(!tenant.isolated, "{tenant:?} was left isolated");
            let frames = self.map.withdraw(FrameIdx::new(at), tenant.usage(), self.owner);
            self.read(&frames, tenant);
            self.deposit(&self.map, frames, tenant);
        }
    }

    fn deposit<'b>(&self, map: &PageMap<'b>, frames: Frames<'b>, tenant: &Tenant) -> FrameIdx {
        let at = map.deposit(frames, tenant.usage(), self.owner);
        if tenant.usage() == Use::Anon {
            map.set_flags(at, PageFlags::LRU);
        }
        at
    }

    fn marks(tenant: &Tenant) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(tenant.name ^ 0x5eed).to_le_bytes());
        bytes[8..].copy_from_slice(&tenant.pages.to_le_bytes());
        bytes
    }

    fn write(&self, frames: &mut Frames<'_>, tenant: &Tenant) {
        let bytes = self.ram.bytes_mut(frames).expect("host memory");
        for page in bytes.chunks_exact_mut(4096) {
            page[..16].copy_from_slice(&Self::marks(tenant));
        }
    }

    fn read(&self, frames: &Frames<'_>, tenant: &Tenant) {
        let bytes = self.ram.bytes(frames).expect("host memory");
        assert_eq!(frames.len(), tenant.pages, "{tenant:?}");
        for page in bytes.chunks_exact(4096) {
            assert_eq!(page[..16], Self::marks(tenant), "{tenant:?} does not have its bytes");
        }
    }
}

impl Migrate for Tenants<'_> {
    fn isolate(&self, map: &PageMap<'_>, page: FrameIdx, _mode: MigrateMode) -> bool {
        let mut table = self.table();
        let Some(tenant) = table.by_frame.get_mut(&page.get()) else { return false };
        if tenant.isolated || map.owner(page) != self.owner {
            return false;
        }
        tenant.isolated = true;
        map.clear_flags(page, PageFlags::LRU);
        true
    }

    fn migrate<'b>(
        &self,
        map: &PageMap<'b>,
        page: FrameIdx,
        to: Frames<'b>,
        _mode: MigrateMode,
    ) -> Migrated<'b> {
        let mut table = self.table();
        let tenant = table.by_frame[&page.get()];
        assert!(tenant.isolated, "only isolated pages are moved");
        if tenant.pinned && !tenant.gone {
            return Migrated::Busy(to);
        }
        table.by_frame.remove(&page.get());
        let old = map.withdraw(page, tenant.usage(), self.owner);
        self.read(&old, &tenant);
        if tenant.gone {
            return Migrated::Gone { old, unused: to };
        }
        let mut to = to;
        let bytes = self.ram.bytes(&old).expect("host memory").to_vec();
        self.ram.bytes_mut(&mut to).expect("host memory").copy_from_slice(&bytes);
        let at = self.deposit(map, to, &tenant);
        table.by_frame.insert(at.get(), Tenant { isolated: false, ..tenant });
        Migrated::Moved(old)
    }

    fn putback<'b>(&self, map: &PageMap<'b>, page: FrameIdx) -> Option<Frames<'b>> {
        let mut table = self.table();
        let tenant = table.by_frame.get_mut(&page.get()).expect("an isolated page");
        assert!(tenant.isolated, "only isolated pages are put back");
        tenant.isolated = false;
        if tenant.gone {
            let usage = tenant.usage();
            table.by_frame.remove(&page.get());
            return Some(map.withdraw(page, usage, self.owner));
        }
        if tenant.usage() == Use::Anon {
            map.set_flags(page, PageFlags::LRU);
        }
        None
    }

    fn interrupted(&self) -> bool {
        let mut table = self.table();
        table.asked += 1;
        let at = *self.interrupt_at.lock().unwrap_or_else(PoisonError::into_inner);
        at.is_some_and(|at| table.asked >= at)
    }
}
