//! Taking blocks from the page allocator and giving them back.

use pagewright::Running;
use pagewright_addr::Order;
use pagewright_page::Frames;
use pagewright_zone::buddy::{Request, ZoneId};

/// Free blocks of each order in each zone, and free pages.
fn counts(running: &Running<'_, '_, '_>) -> Vec<(u64, Vec<u64>)> {
    let orders = || (0..=running.buddy.largest_order().get()).filter_map(Order::new);
    let zones = running.buddy.zones();
    let ids = zones.iter().map(|z| running.buddy.find(z.nid(), z.kind()).expect("a zone of its own"));
    ids.zip(zones)
        .map(|(id, z)| (z.free_pages(), orders().map(|o| running.buddy.free_blocks(id, o)).collect()))
        .collect()
}

/// Takes blocks of every order from every zone for every purpose, gives all back, and expects what was there before.
pub(super) fn use_and_return<'a>(running: &mut Running<'_, '_, 'a>) {
    let before = counts(running);
    let largest = running.buddy.largest_order().get();
    let ids: Vec<ZoneId> =
        running.buddy.zones().iter().filter_map(|z| running.buddy.find(z.nid(), z.kind())).collect();
    for id in ids {
        let mut held: Vec<Frames<'a>> = Vec::new();
        let free = running.buddy.zones()[id.index()].free_pages();
        let mut taken = 0;
        for order in (0..=largest).filter_map(Order::new) {
            for request in [Request::unmovable(order), Request::movable(order), Request::reclaimable(order)] {
                if let Ok(frames) = running.buddy.alloc(id, request) {
                    assert_eq!(frames.len(), order.pages());
                    taken += frames.len();
                    held.push(frames);
                }
            }
        }
        assert_eq!(running.buddy.zones()[id.index()].free_pages(), free - taken);
        running.buddy.validate().unwrap_or_else(|v| panic!("with blocks taken: {v}"));
        // Neither first come first served nor its opposite.
        while !held.is_empty() {
            let at = held.len() / 2;
            running.buddy.free(held.swap_remove(at));
        }
    }
    running.buddy.validate().unwrap_or_else(|v| panic!("after all came back: {v}"));
    assert_eq!(counts(running), before, "what was taken and returned did not merge to what was there");
}
