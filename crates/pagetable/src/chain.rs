//! A list of table pages that runs through the pages themselves.
//!
//! The link is the next page's address in the page's first word; the last page links to itself. Addresses of pages have
//! their low bits clear, so a processor that still holds the page in a walk cache reads an invalid entry.

use crate::memory::{TableMemory, TableSource};
use crate::word::Word;
use core::marker::PhantomData;
use pagewright_addr::PhysAddr;

/// The list. Forgetting it leaks its pages.
pub(crate) struct Chain<W: Word> {
    head: Option<PhysAddr>,
    tail: Option<PhysAddr>,
    len: u64,
    width: PhantomData<W>,
}

impl<W: Word> Chain<W> {
    pub(crate) const fn new() -> Self {
        Self { head: None, tail: None, len: 0, width: PhantomData }
    }

    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Adds a page; `false` if the page is no memory (then it was not added).
    pub(crate) fn push<M: TableMemory + ?Sized>(&mut self, memory: &M, page: PhysAddr) -> bool {
        let Some([link]) = W::words(memory, page, 1) else { return false };
        W::store(link, self.head.unwrap_or(page).get());
        self.tail = self.tail.or(Some(page));
        self.head = Some(page);
        self.len += 1;
        true
    }

    /// Takes the page that was added last.
    pub(crate) fn pop<M: TableMemory + ?Sized>(&mut self, memory: &M) -> Option<PhysAddr> {
        let page = self.head?;
        let [link] = W::words(memory, page, 1)? else { return None };
        let next = PhysAddr::new(W::load(link));
        self.head = (next != page).then_some(next);
        if self.head.is_none() {
            self.tail = None;
        }
        self.len -= 1;
        Some(page)
    }

    /// All pages of `other` join this list.
    pub(crate) fn append<M: TableMemory + ?Sized>(&mut self, memory: &M, other: Self) {
        let (Some(tail), Some(head)) = (other.tail, self.head) else {
            if self.head.is_none() {
                *self = other;
            }
            return;
        };
        if let Some([link]) = W::words(memory, tail, 1) {
            W::store(link, head.get());
            self.head = other.head;
            self.len += other.len;
        }
    }

    /// Gives every page back.
    pub(crate) fn release<M: TableMemory + ?Sized>(&mut self, memory: &M, source: &mut dyn TableSource) {
        while let Some(page) = self.pop(memory) {
            source.free_table(page);
        }
    }

    /// Gets `needed` pages, or none: those that could be had go back, and their number is the error.
    pub(crate) fn reserve<M: TableMemory + ?Sized>(
        memory: &M,
        source: &mut dyn TableSource,
        needed: u64,
    ) -> Result<Self, u64> {
        let mut chain = Self::new();
        while chain.len < needed {
            let got = chain.len;
            match source.alloc_table() {
                Some(page) if chain.push(memory, page) => {}
                other => {
                    if let Some(page) = other {
                        source.free_table(page);
                    }
                    chain.release(memory, source);
                    return Err(got);
                }
            }
        }
        Ok(chain)
    }
}
