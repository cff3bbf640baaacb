//! What is around the allocator while it ages: owners of movable pages, and a kswapd that is told to free memory.

use pagewright_addr::{NodeId, Order};
use pagewright_page::{FrameIdx, Frames, OwnerHandle, PageMap, Use};
use pagewright_zone::ZoneKind;
use pagewright_zone::alloc::{Hooks, Migrate, MigrateMode, Migrated, NotZeroed};
use std::cell::{Cell, RefCell};

const NOBODY: u32 = u32::MAX;

/// A frame's user.
#[derive(Clone, Copy)]
struct Slot {
    object: u32,
    isolated: bool,
}

/// Movable pages by frame and by object.
pub(super) struct World {
    frames: RefCell<Vec<Slot>>,
    places: RefCell<Vec<u32>>,
    pub(super) awake: Cell<bool>,
    compacts: bool,
    has_kswapd: bool,
    pub(super) moved: Cell<u64>,
}

impl World {
    pub(super) fn new(frames: usize, compacts: bool, has_kswapd: bool) -> Self {
        let none = Slot { object: NOBODY, isolated: false };
        Self {
            frames: RefCell::new(vec![none; frames]),
            places: RefCell::default(),
            awake: Cell::new(false),
            compacts,
            has_kswapd,
            moved: Cell::new(0),
        }
    }

    fn set(&self, at: FrameIdx, object: u32, isolated: bool) {
        self.frames.borrow_mut()[at.index()] = Slot { object, isolated };
    }

    /// Takes a block in for an object.
    pub(super) fn settle<'b>(&self, map: &PageMap<'b>, frames: Frames<'b>, object: u32) {
        let at = map.deposit(frames, Use::Movable, OwnerHandle::NONE);
        self.set(at, object, false);
        let mut places = self.places.borrow_mut();
        let len = places.len().max(object as usize + 1);
        places.resize(len, NOBODY);
        places[object as usize] = at.get();
    }

    /// An object's block, given up.
    pub(super) fn leave<'b>(&self, map: &PageMap<'b>, object: u32) -> Frames<'b> {
        let at = FrameIdx::new(self.places.borrow()[object as usize]);
        assert!(!self.frames.borrow()[at.index()].isolated, "nobody moves pages meanwhile");
        self.set(at, NOBODY, false);
        map.withdraw(at, Use::Movable, OwnerHandle::NONE)
    }
}

impl Migrate for World {
    fn isolate(&self, _: &PageMap<'_>, page: FrameIdx, _: MigrateMode) -> bool {
        let slot = &mut self.frames.borrow_mut()[page.index()];
        let mine = slot.object != NOBODY && !slot.isolated;
        slot.isolated |= mine;
        mine
    }

    fn migrate<'b>(&self, map: &PageMap<'b>, page: FrameIdx, to: Frames<'b>, _: MigrateMode) -> Migrated<'b> {
        let object = self.frames.borrow()[page.index()].object;
        self.set(page, NOBODY, false);
        let old = map.withdraw(page, Use::Movable, OwnerHandle::NONE);
        self.settle(map, to, object);
        self.moved.set(self.moved.get() + old.len());
        Migrated::Moved(old)
    }

    fn putback<'b>(&self, _: &PageMap<'b>, page: FrameIdx) -> Option<Frames<'b>> {
        self.frames.borrow_mut()[page.index()].isolated = false;
        None
    }
}

impl Hooks for World {
    fn zero(&self, _: &Frames<'_>) -> Result<(), NotZeroed> {
        Err(NotZeroed)
    }

    fn has_kswapd(&self) -> bool {
        self.has_kswapd
    }

    fn wake_kswapd(&self, _: NodeId, _: Order, _: ZoneKind) {
        self.awake.set(true);
    }

    fn mover(&self) -> Option<&dyn Migrate> {
        self.compacts.then_some(self as &dyn Migrate)
    }
}
