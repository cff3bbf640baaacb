//! Random users of a small window, beside a count of users for each page.

use crate::world::{Counted, Machine, high, on_every_format};
use pagewright_kspace::highmem::{KmapError, PkmapEntry, Wake};
use pagewright_pagetable::Format;
use proptest::prelude::*;

const PAGES: usize = 12;

#[derive(Clone, Copy, Debug)]
enum Step {
    Map(usize),
    Unmap(usize),
    Touch(usize, usize),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..PAGES).prop_map(Step::Map),
        6 => (0..PAGES).prop_map(Step::Unmap),
        4 => (0..2usize, 0..PAGES).prop_map(|(cpu, page)| Step::Touch(cpu, page)),
        1 => Just(Step::Flush),
    ]
}

fn check<F: Format>(m: Machine<'_, F>, steps: &[Step]) {
    let mut entries = [PkmapEntry::EMPTY; 5];
    let kmap = m.kmap(&mut entries);
    let mut tlb = Counted::all(&m.mmu);
    let mut users = [0u32; PAGES];
    let mut told_to_wait = None;
    for n in 0..PAGES {
        m.mmu.memory().write(high(n as u64), &(n as u32).to_le_bytes()).unwrap();
    }
    for step in steps {
        match *step {
            Step::Map(n) => match kmap.kmap(high(n as u64), &mut tlb) {
                Ok(at) => {
                    users[n] += 1;
                    assert_eq!(kmap.page_address(high(n as u64)), Some(at));
                    assert_eq!(m.load(0, at), n as u32);
                }
                Err(KmapError::Wait { key, slots: 5 }) => {
                    assert_eq!((users[n], users.iter().filter(|u| **u > 0).count()), (0, 5));
                    told_to_wait = Some(key);
                }
                Err(e) => panic!("{e}"),
            },
            Step::Unmap(n) => {
                let wake = kmap.kunmap(high(n as u64));
                assert_eq!(wake.is_ok(), users[n] > 0);
                users[n] = users[n].saturating_sub(1);
                let last = wake.is_ok() && users[n] == 0;
                assert_eq!(wake == Ok(Wake::Waiters), last && told_to_wait.is_some());
                if last && let Some(key) = told_to_wait.take() {
                    assert!(kmap.may_go_on(key));
                }
            }
            Step::Touch(cpu, n) if users[n] > 0 => {
                let at = kmap.page_address(high(n as u64)).unwrap();
                assert_eq!(m.load(cpu, at), n as u32);
            }
            Step::Touch(..) => {}
            Step::Flush => {
                let unused = kmap.in_use().1;
                assert_eq!(kmap.kmap_flush_unused(&mut tlb), unused);
            }
        }
        assert_eq!(kmap.in_use().0 as usize, users.iter().filter(|u| **u > 0).count());
        kmap.validate().unwrap();
        m.mmu.check().unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 1 } else { 64 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_window_counts_users_as_a_model_does(steps in prop::collection::vec(step(), 1..120)) {
        on_every_format!("", 2, |m, _| check(m, &steps));
    }
}
