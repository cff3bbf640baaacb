//! Pages that somebody is charged for (`__GFP_ACCOUNT`, `memcg_kmem_online`).
//!
//! Who pays is the embedder's ([`Hooks::charge`]), and so is a note of it for each frame, beside the page metadata. While accounting is off nothing is charged
//! or looked at, whatever masks say. On, every allocation and free takes the slower way, where the embedder is asked.

use super::{AllocFailure, Context, Hooks, PageAllocator, Reasons};
use crate::gfp::Gfp;
use pagewright_addr::Order;
use pagewright_page::Frames;
use pagewright_platform::Interrupts;

impl<'m, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, '_, 'a, I, H> {
    /// Charges for pages from now on, or no longer. What other CPUs have begun may yet be charged or uncharged, or not; what is charged when
    /// it ends stays so.
    pub fn set_accounting(&self, on: bool) {
        for cpu in self.cpus {
            if on {
                cpu.shared().post(Reasons::ACCOUNT);
            } else {
                cpu.shared().take(Reasons::ACCOUNT);
            }
        }
    }

    /// Whether a request is charged.
    pub(super) fn is_charged(&self, cx: &Context<'_, 'm, 'a>, gfp: Gfp) -> bool {
        gfp.contains(Gfp::ACCOUNT) && cx.cpu.shared().reasons().contains(Reasons::ACCOUNT)
    }

    /// Charges for a block that was found, before anybody sees it (`__memcg_kmem_charge_page`); it goes back if it cannot be paid.
    pub(super) fn charged(
        &self,
        cx: &Context<'_, 'm, 'a>,
        gfp: Gfp,
        order: Order,
        frames: Frames<'a>,
    ) -> Result<Frames<'a>, AllocFailure> {
        if !self.is_charged(cx, gfp) || self.hooks.charge(gfp, &frames) {
            return Ok(frames);
        }
        self.free_to_zones(frames);
        Err(AllocFailure::NotCharged { order, gfp })
    }

    /// Says that frames are given back, if anybody pays for frames.
    pub(super) fn uncharge(&self, cx: &Context<'_, 'm, 'a>, frames: &Frames<'a>) {
        if cx.cpu.shared().reasons().contains(Reasons::ACCOUNT) {
            self.hooks.uncharge(frames);
        }
    }
}
