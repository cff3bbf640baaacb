//! The same with every architecture's tables.

use super::*;
use pagewright_pagetable::format::WithFormat;
use pagewright_sim::mmu::{Access, AccessError};
use pagewright_sim::vmalloc::with_vmalloc;

const KINDS: [FormatKind; 7] = [
    FormatKind::X86Level4,
    FormatKind::X86Level5,
    FormatKind::Arm64Page4kVa48,
    FormatKind::ArmShort,
    FormatKind::ArmLpae,
    FormatKind::I386,
    FormatKind::I386Pae,
];

fn kinds() -> impl Iterator<Item = FormatKind> {
    let few = [FormatKind::X86Level4, FormatKind::ArmShort];
    KINDS.into_iter().filter(move |kind| !cfg!(miri) || few.contains(kind))
}

struct WriteAndRead(FormatKind);

impl WithFormat for WriteAndRead {
    type Out = ();

    fn run<F: Format>(self, format: F) {
        let machine = VmallocMachine { config: lowest_first, ..machine(self.0, 16, 2) };
        with_vmalloc(&machine, format, |m| {
            let before = buddyinfo_with_borders(m);
            let (a, b) = m.on_cpu(0, |on| {
                (m.vmalloc.vmalloc(on, 5 * PAGE - 1).unwrap(), m.vmalloc.vzalloc(on, 300 * PAGE).unwrap())
            });
            assert_eq!(a, m.vmalloc.range().start, "the lowest address there is");
            assert_eq!(b.get(), a.get() + 6 * PAGE, "behind the guard page");
            // What one CPU writes across pages the other reads.
            let text: Vec<u8> = (0..5 * PAGE).map(|n| (n * 7 / 3) as u8).collect();
            m.mmu.store(0, a, false, &text).unwrap();
            let mut read = vec![0; text.len()];
            m.mmu.load(1, a, false, &mut read).unwrap();
            assert!(read == text);
            // vread sees the same, from the middle of a page and over the guard page into the next area.
            let mut seen = vec![0xee; 3 * PAGE as usize];
            let reached = m.vmalloc.vread(va(a.get() + 3 * PAGE + 5), &mut seen, &mut |phys, into| {
                m.memory.read(phys, into).unwrap();
            });
            assert_eq!(reached, seen.len());
            let rest = 2 * PAGE as usize - 5;
            assert!(seen[..rest] == text[3 * PAGE as usize + 5..]);
            assert!(seen[rest..].iter().all(|&byte| byte == 0));
            for at in (0..300).step_by(17) {
                let mut bytes = [1; 16];
                m.mmu.load(1, va(b.get() + at * PAGE + 100), false, &mut bytes).unwrap();
                assert_eq!(bytes, [0; 16], "vzalloc's page {at}");
            }
            // Behind each area is a page that nothing is mapped to, and user code gets nothing.
            for end in [a.get() + 5 * PAGE, b.get() + 300 * PAGE] {
                assert!(matches!(m.mmu.access(0, va(end), Access::READ), Err(AccessError::Fault(_))));
                assert!(m.mmu.access(0, va(end - 1), Access::WRITE).is_ok());
            }
            let user = Access { user: true, ..Access::READ };
            assert!(matches!(m.mmu.access(0, a, user), Err(AccessError::Fault(_))));
            // The page tables say which page is where.
            let hit = m.mmu.access(0, va(b.get() + 7 * PAGE), Access::READ).unwrap();
            assert_eq!(
                m.vmalloc.vmalloc_to_pfn(va(b.get() + 7 * PAGE)),
                Some(hit.phys.pfn(pagewright_addr::PageShift::SHIFT_4K))
            );
            m.on_cpu(1, |on| {
                m.vmalloc.vfree(on, a).unwrap();
                m.vmalloc.vfree(on, b).unwrap();
            });
            expect_all_back(m, &before);
            assert!(matches!(m.mmu.access(0, a, Access::READ), Err(AccessError::Fault(_))));
        });
    }
}

#[test]
fn bytes_written_by_one_cpu_are_read_by_another_and_guard_pages_fault() {
    kinds().for_each(|kind| kind.with(WriteAndRead(kind)));
}

struct Churn(FormatKind);

impl WithFormat for Churn {
    type Out = ();

    /// Both CPUs touch each area. Had an address been used again before every TLB forgot it, a CPU would use the old page, and say so.
    fn run<F: Format>(self, format: F) {
        let machine = VmallocMachine { config: |config| config.lazy_pages = 40, ..machine(self.0, 16, 2) };
        with_vmalloc(&machine, format, |m| {
            let before = buddyinfo_with_borders(m);
            let rounds: u8 = if cfg!(miri) { 12 } else { 200 };
            for round in 0..rounds {
                let pages = 1 + u64::from(round) % 7;
                let at = m.on_cpu(round as usize % 2, |on| m.vmalloc.vmalloc(on, pages * PAGE).unwrap());
                let bytes = vec![round; (pages * PAGE) as usize];
                m.mmu.store(0, at, false, &bytes).unwrap();
                let mut seen = vec![0; bytes.len()];
                m.mmu.load(1, at, false, &mut seen).unwrap();
                assert!(seen == bytes);
                m.on_cpu(usize::from(round / 2) % 2, |on| m.vmalloc.vfree(on, at).unwrap());
            }
            assert!(m.vmalloc.purges() > 0 && m.vmalloc.purges() < u64::from(rounds) / 3, "many at a time");
            m.on_cpu(0, |on| m.vmalloc.purge_vmap_area_lazy(on));
            m.mmu.check().unwrap();
            m.on_cpu(0, |on| m.vmalloc.give_ready_back(on));
            expect_all_back(m, &before);
        });
    }
}

#[test]
fn no_cpu_meets_an_old_page_at_an_address_that_is_used_again() {
    kinds().for_each(|kind| kind.with(Churn(kind)));
}
