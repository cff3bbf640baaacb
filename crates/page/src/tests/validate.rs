//! Damage that validation must find.

use super::{ALIGN, order, with_map};
use crate::meta::PageMeta;
use crate::{
    FrameIdx, MapViolation, OwnerHandle, PageFlags, PageMap, Section, SectionTable, State, TableViolation,
    Use, Word,
};
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::{Pfn, PfnRange};

/// What is found of damage to one frame of a map with blocks of every kind: pristine at 0, free at 16, owned at 32
/// (8 frames), slab at 40, reserved at 48 to 55, free of order 3 at 56, anonymous at 64.
fn damaged(at: u32, damage: impl FnOnce(&PageMeta)) -> Result<(), MapViolation> {
    with_map(5, |map, mut all| {
        let _untouched = all.take_front(16);
        map.put_block(all.take_front(16).into_frames());
        let (_held, slab) = map.split_at(all.take_front(16).into_frames(), 8);
        map.deposit(slab, Use::Slab, OwnerHandle::new(1, 1).unwrap());
        let (_kept, rest) = all.take_front(16).into_reserved().split_at(8);
        map.put_block(rest.release());
        let anon = map.deposit(all.into_frames(), Use::Anon, OwnerHandle::new(2, 1).unwrap());
        map.set_flags(anon, PageFlags::UPTODATE);
        assert_eq!(map.validate(), Ok(()));
        damage(&map.slots[at as usize]);
        map.validate()
    })
}

fn idx(n: u32) -> FrameIdx {
    FrameIdx::new(n)
}

#[test]
fn a_word_that_is_no_state_is_caught() {
    for at in [0, 16, 33, 70] {
        let found = damaged(at, |slot| slot.word.store(31, Relaxed));
        // In an owned run the map sees the end of the token there.
        assert_eq!(found, Err(MapViolation::Unknown { idx: idx(at), bits: 31 }));
    }
}

#[test]
fn metadata_that_was_touched_while_pristine_is_caught() {
    let touched = Err(MapViolation::Touched { idx: idx(3) });
    assert_eq!(damaged(3, |slot| slot.counts.set(1)), touched);
    assert_eq!(damaged(3, |slot| slot.data.store(1, Relaxed)), touched);
    assert_eq!(damaged(3, |slot| slot.set_next(idx(3), Some(idx(4)))), touched);
    assert_eq!(damaged(3, |slot| slot.word.store(PageFlags::DIRTY.bits(), Relaxed)), touched);
}

#[test]
fn a_block_of_another_order_than_its_frames_is_caught() {
    let free = |n| move |slot: &PageMeta| slot.set_word(Word::free(order(n)));
    assert_eq!(damaged(16, free(5)), Err(MapViolation::Block { idx: idx(16), order: order(5) }));
    assert_eq!(damaged(56, free(4)), Err(MapViolation::Block { idx: idx(56), order: ALIGN }));
    // Its second half has no head then.
    assert_eq!(damaged(16, free(3)), Err(MapViolation::Headless { idx: idx(24) }));
    assert_eq!(damaged(51, |slot| slot.set_word(Word::INNER)), Err(MapViolation::Headless { idx: idx(51) }));
}

#[test]
fn a_frame_with_a_state_of_its_own_inside_a_block_is_caught() {
    for (head, at, state) in [(16, 20, State::Free), (40, 47, State::Owned), (64, 65, State::Reserved)] {
        let found = damaged(at, |slot| slot.set_word(Word::head(state, order(0))));
        assert_eq!(found, Err(MapViolation::Torn { head: idx(head), idx: idx(at), state }));
    }
}

#[test]
fn counts_owners_and_flags_that_a_state_does_not_have_are_caught() {
    let fields = |at, state| Err(MapViolation::Fields { idx: idx(at), state });
    assert_eq!(damaged(16, |slot| slot.counts.set(1)), fields(16, State::Free));
    assert_eq!(damaged(17, |slot| slot.counts.set_both(0, 1)), fields(17, State::Inner));
    assert_eq!(damaged(32, |slot| slot.owner.store(9, Relaxed)), fields(32, State::Owned));
    let locked = |slot: &PageMeta| {
        slot.word.fetch_or(PageFlags::LOCKED.bits(), Relaxed);
    };
    assert_eq!(damaged(16, locked), fields(16, State::Free));
    assert_eq!(damaged(41, locked), fields(41, State::Inner));
    assert_eq!(damaged(64, locked), Ok(()), "a page in use may be locked");
}

#[test]
fn a_damaged_section_table_is_caught() {
    let pfns = |start, end| PfnRange::new(Pfn::new(start), Pfn::new(end));
    let mut entries = [Section::EMPTY; 2];
    let table = SectionTable::build(&mut entries, [pfns(0x10, 0x20), pfns(0x40, 0x80)], ALIGN).unwrap();
    assert_eq!(table.validate(), Ok(()));
    let sound = [table.sections[0], table.sections[1]];
    let check = |sections: &[Section], frames| SectionTable { sections, frames, ..table }.validate();
    let with = |change: &dyn Fn(&mut [Section; 2])| {
        let mut sections = sound;
        change(&mut sections);
        check(&sections, table.frames())
    };
    assert_eq!(with(&|s| s.swap(0, 1)), Err(TableViolation::Base { index: 0, base: 0x10, below: 0 }));
    assert_eq!(with(&|s| s[1].pfns = pfns(0x20, 0x60)), Err(TableViolation::Order { index: 1 }));
    assert_eq!(with(&|s| s[0].pfns = pfns(0x10, 0x10)), Err(TableViolation::Order { index: 0 }));
    assert_eq!(with(&|s| s[1].pfns = pfns(0x41, 0x81)), Err(TableViolation::Ragged { index: 1 }));
    assert_eq!(check(&sound[..1], 0x50), Err(TableViolation::Frames { counted: 0x50, summed: 0x10 }));
    // And through the map, which also knows how many slots it has.
    with_map(2, |map, _| {
        let check = |frames| {
            PageMap { slots: map.slots, sections: SectionTable { sections: &sound, frames, ..table } }
                .validate()
        };
        assert_eq!(check(0x50), Err(MapViolation::Slots { slots: 0x20, frames: 0x50 }));
        let violation = TableViolation::Frames { counted: 1, summed: 0x50 };
        assert_eq!(check(1), Err(MapViolation::Sections(violation)));
    });
}
