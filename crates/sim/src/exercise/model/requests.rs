//! Requests for blocks in all their forms, and what the oracle says of them.

use super::super::oracle::{Asked, Before};
use super::{MASKS, Model, ORDERS};
use pagewright_addr::{NodeId, Order};
use pagewright_page::Frames;
use pagewright_zone::alloc::{AllocFailure, Context, Reasons};
use pagewright_zone::debug::BadFree;
use pagewright_zone::policy::{Mempolicy, Mode, ModeFlags, TaskPolicy};
use pagewright_zone::{Gfp, NodeMask};

impl<'m, 'a> Model<'_, '_, 'm, '_, 'a, '_, '_> {
    pub(super) fn failed(&mut self, asked: Asked, failure: AllocFailure) {
        self.summary.allocations.1 += 1;
        match failure {
            AllocFailure::Injected { .. } => assert!(self.injecting, "nobody asked for a failure"),
            AllocFailure::NoMemory { .. } => {
                let served = asked.serving_zone(&self.pages.allocator);
                assert!(served.is_none(), "{asked:?} failed, but {:?} has enough", served.map(|z| z.id()));
            }
            other => panic!("{asked:?} cannot fail with {other:?}"),
        }
    }

    /// One of the forms that a request has.
    pub(super) fn request(&mut self, cx: &Context<'_, 'm, 'a>, a: u8, b: u8, c: u8) {
        let order = Order::new(ORDERS[usize::from(a) % ORDERS.len()]).unwrap_or_default();
        let gfp = MASKS[usize::from(b) % MASKS.len()] | Gfp::NOWARN;
        match c >> 4 {
            0..8 => self.allocate(cx, Asked { nid: cx.node, gfp, order }),
            8 | 9 => self.allocate(cx, Asked { nid: cx.node, gfp: gfp | Gfp::COMP, order }),
            10 | 11 => self.exact(cx, gfp, order.pages() - u64::from(b) % order.pages().div_ceil(2)),
            12 | 13 => self.by_number(cx, gfp, order),
            14 => {
                self.summary.forms[3] += 1;
                let nid = self.pages.allocator.zones().last().map_or(cx.node, |zone| zone.nid());
                self.allocate(cx, Asked { nid, gfp, order });
            }
            _ if b & 1 == 0 => self.by_policy(cx, gfp, order),
            _ => self.bound(cx, gfp, order),
        }
    }

    /// A block from the zone that has to give it.
    pub(super) fn allocate(&mut self, cx: &Context<'_, 'm, 'a>, asked: Asked) {
        let Asked { nid, gfp, order } = asked;
        let allocator = &self.pages.allocator;
        let before = Before::of(allocator);
        // Lists that are emptied on the way make zones have more.
        let as_seen = !cx.cpu.shared().reasons().contains(Reasons::DRAIN);
        let result = if nid == cx.node {
            allocator.alloc_pages(cx, gfp, order)
        } else {
            allocator.alloc_pages_node(cx, nid, gfp, order)
        };
        match result {
            Ok(frames) => {
                let zone = self.pages.base.pageblocks().zone_of(frames.start());
                let zone = zone.and_then(|zone| allocator.zones().get(zone.index())).expect("of a zone");
                if as_seen {
                    asked.justify(allocator, &before, zone).unwrap_or_else(|wrong| panic!("{wrong}"));
                    self.summary.justified += 1;
                }
                self.served(frames, order.pages());
                self.summary.forms[0] += u64::from(gfp.contains(Gfp::COMP));
            }
            Err(failure) => self.failed(asked, failure),
        }
    }

    fn served(&mut self, frames: Frames<'a>, pages: u64) {
        assert_eq!(frames.len(), pages);
        self.summary.allocations.0 += 1;
        self.take(&frames);
        self.tokens.push(frames);
    }

    /// So many pages and no more.
    fn exact(&mut self, cx: &Context<'_, 'm, 'a>, gfp: Gfp, pages: u64) {
        let gfp = gfp - Gfp::HIGHMEM;
        match self.pages.allocator.alloc_pages_exact(cx, gfp, pages) {
            Ok(frames) => {
                self.served(frames, pages);
                self.summary.forms[1] += 1;
            }
            Err(failure) => {
                let order = Order::new(pages.next_power_of_two().ilog2() as u8).unwrap_or_default();
                self.failed(Asked { nid: cx.node, gfp, order }, failure);
            }
        }
    }

    /// A block that is known by its number only.
    fn by_number(&mut self, cx: &Context<'_, 'm, 'a>, gfp: Gfp, order: Order) {
        match self.pages.allocator.get_free_pages(cx, gfp, order) {
            Ok(pfn) => {
                self.summary.allocations.0 += 1;
                self.summary.forms[2] += 1;
                let idx = self.pages.base.map().idx(pfn).expect("a frame of this machine");
                self.take_run(idx, order.pages());
                self.numbers.push((pfn, order));
            }
            Err(failure) => self.failed(Asked { nid: cx.node, gfp, order }, failure),
        }
    }

    /// Such a block goes back once, and not twice, nor with another order.
    pub(super) fn free_number(&mut self, cx: &Context<'_, 'm, 'a>, a: u8) {
        if self.numbers.is_empty() {
            return;
        }
        let (pfn, order) = self.numbers.swap_remove(usize::from(a) % self.numbers.len());
        let allocator = &self.pages.allocator;
        let idx = self.pages.base.map().idx(pfn).expect("a frame of this machine");
        if let Some(larger) = order.up() {
            let wrong = allocator.free_pages_at(cx, pfn, larger);
            assert_eq!(wrong, Err(BadFree::Order { pfn, allocated: order, freed: larger }));
        }
        assert_eq!(allocator.free_pages_at(cx, pfn, order), Ok(()));
        let again = allocator.free_pages_at(cx, pfn, order);
        assert!(matches!(again, Err(BadFree::DoubleFree(_) | BadFree::NotByNumber(_))), "{again:?}");
        self.give_run(idx, order.pages());
    }

    /// From all nodes in turn.
    fn by_policy(&mut self, cx: &Context<'_, 'm, 'a>, gfp: Gfp, order: Order) {
        let gfp = gfp - Gfp::THISNODE;
        let nodes: NodeMask = self.pages.allocator.memory_nodes();
        let in_turn = Mempolicy::new(Mode::Interleave, ModeFlags::empty(), &nodes, &nodes);
        let policy = TaskPolicy::new(in_turn.expect("nodes with memory"));
        match self.pages.allocator.alloc_pages(&cx.with_policy(&policy), gfp, order) {
            Ok(frames) => {
                self.served(frames, order.pages());
                self.summary.forms[3] += 1;
            }
            Err(failure) => self.failed(Asked { nid: NodeId::ZERO, gfp, order }, failure),
        }
    }

    /// From one node, and no other unless the mask is urgent.
    fn bound(&mut self, cx: &Context<'_, 'm, 'a>, gfp: Gfp, order: Order) {
        let gfp = gfp - Gfp::THISNODE;
        let nodes: NodeMask = self.pages.allocator.memory_nodes();
        let nid = nodes.iter().last().expect("a node with memory");
        let only: NodeMask = [nid].into_iter().collect();
        let bind = Mempolicy::new(Mode::Bind, ModeFlags::empty(), &only, &nodes);
        let policy = TaskPolicy::new(bind.expect("a node with memory"));
        match self.pages.allocator.alloc_pages(&cx.with_policy(&policy), gfp, order) {
            Ok(frames) => {
                let at = self.pages.allocator.node_of(frames.start());
                assert!(at == Some(nid) || gfp.contains(Gfp::ATOMIC), "{at:?} is not {nid:?}");
                self.served(frames, order.pages());
                self.summary.forms[4] += 1;
            }
            Err(failure) => self.failed(Asked { nid, gfp: gfp | Gfp::THISNODE, order }, failure),
        }
    }

    pub(super) fn free(&mut self, cx: &Context<'_, 'm, 'a>, a: u8, b: u8) {
        if self.tokens.is_empty() {
            return;
        }
        let at = (usize::from(a) << 8 | usize::from(b)) % self.tokens.len();
        let frames = self.tokens.swap_remove(at);
        self.give(&frames);
        let map = self.pages.base.map();
        if frames.len() > 1 && b.is_multiple_of(4) && !map.is_head(frames.start()) {
            let low = 1 + u64::from(a) % (frames.len() - 1);
            let (low, high) = map.split_at(frames, low);
            self.pages.allocator.free_pages(cx, high);
            self.pages.allocator.free_pages(cx, low);
        } else {
            self.pages.allocator.free_pages(cx, frames);
        }
    }
}
