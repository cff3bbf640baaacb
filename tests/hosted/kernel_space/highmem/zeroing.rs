//! The page allocator hands out zeroed pages of high memory.

use crate::world::{BASE, HIGH, LOW, Machine, PAGE, high, on_every_format};
use pagewright_addr::{NodeId, Pfn, PhysAddr};
use pagewright_pagetable::Format;
use pagewright_sim::highmem::Zeroing;
use pagewright_sim::pages::{PlainMachine, with_plain_machine};
use pagewright_zone::Gfp;

#[test]
fn a_page_that_is_to_be_zeroed_is_also_where_it_has_no_address() {
    fn test<F: Format>(m: Machine<'_, F>) {
        // All of high memory and the end of low memory is the allocator's.
        let first = BASE + LOW - (4 << 20);
        let frames = (HIGH + (4 << 20)) / PAGE;
        let mut machine = PlainMachine::new(frames, 1);
        machine.ram = vec![(NodeId::ZERO, first / PAGE, frames)];
        for n in 0..frames {
            m.mmu.memory().write(PhysAddr::new(first + n * PAGE), &[0x5a; PAGE as usize]).unwrap();
        }
        let local = m.local(false);
        let zeroing = Zeroing::new(&m.mmu, local.on_cpu(1).unwrap(), Pfn::new(first / PAGE));
        let (mut low_pages, mut high_pages) = (0, 0);
        with_plain_machine(&machine, zeroing, |pages| {
            pages.on_cpu(0, |cx| {
                for _ in 0..frames / 2 {
                    let pfn = pages.allocator.get_zeroed_page(cx, Gfp::GFP_KERNEL).unwrap();
                    let at = PhysAddr::new(pfn.get() * PAGE);
                    let mut bytes = [1; PAGE as usize];
                    m.mmu.memory().read(at, &mut bytes).unwrap();
                    assert!(bytes.iter().all(|b| *b == 0), "{at:#x}");
                    *if at >= high(0) { &mut high_pages } else { &mut low_pages } += 1;
                }
            });
        });
        assert!(low_pages > 100 && high_pages > 100, "{low_pages} {high_pages}");
        m.mmu.check().unwrap();
    }
    on_every_format!("", 2, |m, _| test(m));
}
