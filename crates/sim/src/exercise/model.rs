//! The model: who has each frame.

mod contig;
mod requests;

use super::hot::Hot;
use super::oracle::Asked;
use super::{OPERATION, Summary};
use crate::pages::{Pages, PlainMachine};
use crate::tenants::Tenants;
use pagewright_addr::{Order, Pfn, PfnRange};
use pagewright_page::{FrameIdx, Frames};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::cma::CmaArea;
use pagewright_zone::alloc::{Context, NoHooks, TaskFlags};

/// A frame's owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    Nobody,
    /// Somebody with a token.
    Token,
    /// A tenant, who may move.
    Tenant,
    /// A tenant who may not.
    Pinned,
}

/// Masks of all mobilities and urgencies, for random requests.
pub const MASKS: [Gfp; 6] = [
    Gfp::GFP_KERNEL,
    Gfp::GFP_HIGHUSER_MOVABLE,
    Gfp::GFP_KERNEL.union(Gfp::RECLAIMABLE),
    Gfp::GFP_ATOMIC,
    Gfp::GFP_KERNEL.union(Gfp::THISNODE),
    Gfp::GFP_NOWAIT.union(Gfp::MOVABLE),
];
const ORDERS: [u8; 16] = [0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 7, 10];

/// The machine and the model.
pub(super) struct Model<'p, 'z, 'm, 's, 'a, 'w, 'v> {
    pages: &'p Pages<'z, 'm, 's, 'a, NoHooks>,
    owners: Vec<Owner>,
    tokens: Vec<Frames<'a>>,
    /// Blocks that are out by number.
    numbers: Vec<(Pfn, Order)>,
    /// Of the CMA area.
    lent: Vec<Frames<'a>>,
    tenants: Tenants<'a>,
    names: Vec<u64>,
    pinned: Vec<u64>,
    area: Option<CmaArea<'w>>,
    hot: Option<Hot<'w, 'v, 'a>>,
    before: Vec<[u64; Order::LIMIT]>,
    injecting: bool,
    summary: Summary,
}

impl<'p, 'z, 'm, 's, 'a, 'w, 'v> Model<'p, 'z, 'm, 's, 'a, 'w, 'v> {
    /// `words` has a bit for each page of the CMA area.
    pub(super) fn new(
        pages: &'p Pages<'z, 'm, 's, 'a, NoHooks>,
        machine: &PlainMachine,
        words: &'w mut [u64],
        hot: Option<Hot<'w, 'v, 'a>>,
    ) -> Self {
        let total = machine.ram.iter().map(|r| r.2).sum::<u64>();
        let frames = pages.base.map().len();
        let mut owners = vec![Owner::Nobody; frames as usize];
        // Between runs of RAM there may be frames without memory.
        for (at, owner) in owners.iter_mut().enumerate() {
            let pfn = pages.base.map().pfn(FrameIdx::new(at as u32)).get();
            if !machine.ram.iter().any(|r| (r.1..r.1 + r.2).contains(&pfn)) {
                *owner = Owner::Pinned;
            }
        }
        assert_eq!(owners.iter().filter(|&&o| o == Owner::Nobody).count() as u64, total);
        let area = machine.cma.first().map(|&(start, len)| {
            let range = PfnRange::from_len(Pfn::new(start), len);
            CmaArea::new("exercise", range, Order::ZERO, words).expect("room for its bits")
        });
        let mut model = Self {
            pages,
            owners,
            tokens: vec![],
            numbers: vec![],
            lent: vec![],
            tenants: Tenants::new(*pages.base.map()),
            names: vec![],
            pinned: vec![],
            area,
            hot,
            before: vec![],
            injecting: false,
            summary: Summary::default(),
        };
        model.before = model.buddyinfo();
        model
    }

    fn buddyinfo(&self) -> Vec<[u64; Order::LIMIT]> {
        let allocator = &self.pages.allocator;
        allocator.zones().iter().map(|zone| allocator.free_areas(zone.id()).counts()).collect()
    }

    fn drain(&self) {
        for cpu in 0..self.pages.cpus() {
            self.pages.on_cpu(cpu, |cx| self.pages.allocator.drain_local_pages(cx));
        }
    }

    /// A token comes.
    fn take(&mut self, frames: &Frames<'a>) {
        self.take_run(frames.start(), frames.len());
    }

    fn take_run(&mut self, start: FrameIdx, len: u64) {
        for owner in &mut self.owners[start.index()..start.index() + len as usize] {
            assert_eq!(*owner, Owner::Nobody, "of {len} frames from {start:?} on somebody has a part");
            *owner = Owner::Token;
        }
    }

    /// A token goes.
    fn give(&mut self, frames: &Frames<'a>) {
        self.give_run(frames.start(), frames.len());
    }

    fn give_run(&mut self, start: FrameIdx, len: u64) {
        self.owners[start.index()..start.index() + len as usize].fill(Owner::Nobody);
    }

    /// Looks where tenants are now.
    fn look_at_tenants(&mut self) {
        for owner in &mut self.owners {
            if *owner == Owner::Tenant {
                *owner = Owner::Nobody;
            }
        }
        let mut places = self.tenants.places();
        places.retain(|&(name, at, pages)| {
            let movable = !self.pinned.contains(&name);
            for owner in &mut self.owners[at.index()..at.index() + pages as usize] {
                let was = if movable { Owner::Nobody } else { Owner::Pinned };
                assert_eq!(*owner, was, "tenant {name} lives where somebody else is, or moved though pinned");
                if movable {
                    *owner = Owner::Tenant;
                }
            }
            true
        });
        assert_eq!(places.len(), self.names.len(), "no tenant is lost");
    }

    fn pin(&mut self, name: u64, pinned: bool) {
        self.tenants.pin(name, pinned);
        let Some(&(_, at, pages)) = self.tenants.places().iter().find(|place| place.0 == name) else {
            return;
        };
        let owner = if pinned { Owner::Pinned } else { Owner::Tenant };
        self.owners[at.index()..at.index() + pages as usize].fill(owner);
        self.pinned.retain(|&other| other != name);
        if pinned {
            self.pinned.push(name);
        }
    }

    /// One operation: what, and three bytes of how.
    pub(super) fn operation(&mut self, bytes: [u8; OPERATION]) {
        let [what, a, b, c] = bytes;
        self.summary.operations += 1;
        let pages = self.pages;
        pages.on_cpu(usize::from(c) % pages.cpus(), |cx| match what % 32 {
            0..8 => self.request(cx, a, b, c),
            8..13 => self.free(cx, a, b),
            13 => self.free_number(cx, a),
            14..18 => self.settle(cx, a, b),
            18..21 => self.evict(cx, a, b),
            21 => self.repin(a),
            22 => self.bulk(cx, a, b),
            23 => self.scatter(cx, a, b, c),
            24 => pages.allocator.post_drain(),
            25 | 26 => self.range(cx, a, b, c),
            27 if self.hot.is_some() => self.offline(cx, a),
            28 if self.hot.is_some() => self.online(a),
            27 => self.borrow(cx, a, b),
            28 => self.give_back(cx, a, b),
            29 => self.compact(cx, a),
            30 => {
                // The n-th of what follows fails; the next such operation ends that.
                self.injecting = a & 3 != 0;
                pages.allocator.fail_nth(if self.injecting { u32::from(b % 5) + 1 } else { 0 });
            }
            _ => self.fill(cx, a),
        });
        if self.summary.operations.is_multiple_of(64) {
            self.check();
        }
    }

    /// Many tokens go one by one and reach their zone, where single pages wait for their pageblocks; then somebody looks, or wants a block.
    fn scatter(&mut self, cx: &Context<'_, 'm, 'a>, a: u8, b: u8, c: u8) {
        for n in 0..a {
            self.free(cx, b.wrapping_add(n.wrapping_mul(37)), c.wrapping_add(n) | 1);
        }
        self.pages.allocator.drain_local_pages(cx);
        let allocator = &self.pages.allocator;
        self.summary.waited +=
            allocator.zones().iter().map(|zone| allocator.waiting_pages(zone.id())).sum::<u64>();
        match c % 4 {
            0 => {}
            1 => _ = self.buddyinfo(),
            2 => assert_eq!(allocator.validate(), Ok(())),
            _ => self.request(cx, b, c, c),
        }
    }

    fn settle(&mut self, cx: &Context<'_, 'm, 'a>, a: u8, b: u8) {
        let order = Order::new([0, 0, 0, 2][usize::from(b) % 4]).unwrap_or_default();
        // Several at once: tenants are most of what is in use.
        for _ in 0..1 + a % 8 {
            let gfp = Gfp::GFP_HIGHUSER_MOVABLE | Gfp::NOWARN;
            match self.pages.allocator.alloc_pages(cx, gfp, order) {
                Ok(frames) => {
                    self.take(&frames);
                    self.give(&frames);
                    let start = frames.start().index();
                    self.owners[start..start + frames.len() as usize].fill(Owner::Tenant);
                    self.names.push(self.tenants.settle(frames));
                }
                Err(failure) => return self.failed(Asked { nid: cx.node, gfp, order }, failure),
            }
        }
    }

    fn evict(&mut self, cx: &Context<'_, 'm, 'a>, a: u8, b: u8) {
        for _ in 0..1 + a % 8 {
            if self.names.is_empty() {
                return;
            }
            let at = (usize::from(a) << 8 | usize::from(b)) % self.names.len();
            let name = self.names.swap_remove(at);
            self.pinned.retain(|&other| other != name);
            let frames = self.tenants.leave(name).expect("nobody is isolated between operations");
            self.give(&frames);
            self.pages.allocator.free_pages(cx, frames);
        }
    }

    fn repin(&mut self, a: u8) {
        if a.is_multiple_of(4)
            && let Some(&name) = self.pinned.first()
        {
            self.pin(name, false);
        } else if !self.names.is_empty() && self.pinned.len() < 8 {
            let name = self.names[usize::from(a) % self.names.len()];
            self.pin(name, true);
        }
    }

    fn bulk(&mut self, cx: &Context<'_, 'm, 'a>, a: u8, b: u8) {
        let gfp = MASKS[usize::from(b) % MASKS.len()] | Gfp::NOWARN;
        let mut slots: Vec<Option<Frames<'a>>> = vec![];
        slots.resize_with(usize::from(a) % 80, || None);
        let got = self.pages.allocator.alloc_pages_bulk(cx, gfp, &mut slots);
        assert!(slots.iter().take(got).all(Option::is_some) && slots.iter().skip(got).all(Option::is_none));
        for frames in slots.into_iter().flatten() {
            assert_eq!(frames.len(), 1);
            self.take(&frames);
            self.tokens.push(frames);
        }
    }

    /// Pages until there are none left, or many.
    fn fill(&mut self, cx: &Context<'_, 'm, 'a>, a: u8) {
        let all = cx.with_task(if a >= 0xf0 { TaskFlags::MEMALLOC } else { TaskFlags::empty() });
        for _ in 0..u32::from(a) * 4 {
            let gfp = Gfp::GFP_KERNEL | Gfp::NOWARN;
            let Ok(frames) = self.pages.allocator.alloc_pages(&all, gfp, Order::ZERO) else { return };
            self.take(&frames);
            self.tokens.push(frames);
        }
    }

    /// Every frame is somewhere, and only there: before what waits is merged, and after.
    fn check(&self) {
        self.count();
        assert_eq!(self.pages.allocator.validate(), Ok(()));
        self.count();
    }

    fn count(&self) {
        let allocator = &self.pages.allocator;
        let free: u64 = allocator.zones().iter().map(|zone| zone.free_pages()).sum();
        let listed: u64 = (0..self.pages.cpus())
            .map(|cpu| {
                self.pages.on_cpu(cpu, |cx| {
                    let own = cx.cpu.enter().expect("nobody is interrupted");
                    allocator.zones().iter().map(|zone| u64::from(own.count(zone.id()))).sum::<u64>()
                })
            })
            .sum();
        let nobody = self.owners.iter().filter(|&&owner| owner == Owner::Nobody).count() as u64;
        assert_eq!(free + listed, nobody, "free memory is what nobody has");
    }

    /// Everything goes back.
    pub(super) fn end(mut self) -> Summary {
        let pages = self.pages;
        pages.allocator.fail_nth(0);
        self.tenants.check();
        while self.hot.as_ref().is_some_and(Hot::any_offline) {
            self.online(0);
        }
        self.summary.moved = pages.allocator.migrate_events().success();
        pages.on_cpu(0, |cx| {
            while !self.numbers.is_empty() {
                self.free_number(cx, 0);
            }
            for frames in std::mem::take(&mut self.lent) {
                let area = self.area.as_ref().expect("it was lent by one");
                pages.allocator.cma_release(cx, area, frames).expect("it is the area's");
            }
            for name in std::mem::take(&mut self.names) {
                self.tokens.push(self.tenants.leave(name).expect("nobody is isolated at the end"));
            }
            std::mem::take(&mut self.tokens)
                .into_iter()
                .for_each(|frames| pages.allocator.free_pages(cx, frames));
        });
        self.drain();
        assert_eq!(pages.allocator.validate(), Ok(()));
        // Blocks kept for urgent requests do not merge with others: there, only pages are compared.
        let kept = pages.allocator.zones().iter().any(|zone| zone.highatomic_pages() > 0);
        let count = |zones: &[[u64; Order::LIMIT]]| -> Vec<u64> {
            zones.iter().map(|zone| zone.iter().enumerate().map(|(n, blocks)| blocks << n).sum()).collect()
        };
        let now = self.buddyinfo();
        assert_eq!(count(&now), count(&self.before), "every page is back");
        assert!(kept || now == self.before, "in blocks as large as before: {now:?}");
        self.summary
    }
}
