//! Kmaps of booted machines: the boot's windows over its own tables, reached by the machine's processors.

use crate::support::Spec;
use crate::support::spec::{arm, arm64, pc, pc_of};
use crate::vmalloc::serving;
use pagewright::Boot;
use pagewright::highmem::{KmapInitError, KmapStack, KmapWindows, PkmapEntry};
use pagewright_addr::{PhysAddr, VirtRange};
use pagewright_firmware::config::Flavour;
use pagewright_pagetable::format::{FormatKind, WithFormat};
use pagewright_pagetable::{Format, SlotsError, Tables};
use pagewright_sim::PhysMemory;
use pagewright_sim::mmu::{Mmu, Strictness, kernel_registers};

const PAGE: u64 = 4096;

/// 32-bit kernels with more RAM than has addresses, and the formats of their tables.
fn machines() -> [(Spec, FormatKind); 4] {
    [
        (arm(Flavour::Armmp, 1024), FormatKind::ArmShort),
        (arm(Flavour::ArmmpLpae, 1024), FormatKind::ArmLpae),
        (pc_of(Flavour::I686, 1024), FormatKind::I386),
        (pc_of(Flavour::I686Pae, 1024), FormatKind::I386Pae),
    ]
}

struct Use<'r, 'b> {
    boot: &'r Boot<'b>,
    windows: KmapWindows,
    kind: FormatKind,
    ram: &'r PhysMemory,
}

impl WithFormat for Use<'_, '_> {
    type Out = ();

    fn run<F: Format>(self, format: F) {
        let Self { boot, windows, kind, ram } = self;
        let root = boot.pgtable.unwrap().root;
        let tables = Tables::new(format, ram, root);
        let mmu = Mmu::new(ram, 2, kernel_registers(kind, root.get()), Strictness::STRICT).unwrap();
        let mut entries = vec![PkmapEntry::EMPTY; windows.entries(PAGE)];
        let few = entries.len() - 1;
        let short = windows.open(&tables, &mut entries[..few], false).err();
        assert_eq!(short, Some(KmapInitError::Entries(few)));
        let nobody = KmapWindows { local: VirtRange::from_len(windows.local.start, PAGE), ..windows };
        let refused = nobody.open(&tables, &mut entries, false).err();
        assert_eq!(refused, Some(KmapInitError::NoCpu(nobody.local)));
        let held = tables.lock(windows.local).unwrap();
        let refused = windows.open(&tables, &mut entries, false).err();
        assert!(matches!(refused, Some(KmapInitError::Locked(_))), "{refused:?}");
        drop(held);
        // The tables are the boot's: nothing is allocated.
        let (kmap, local) = windows.open(&tables, &mut entries, false).unwrap();
        assert!(local.cpus() >= 2, "{}", local.cpus());
        let high = [boot.high_memory.get(), boot.mb.end_of_dram().get() - PAGE].map(PhysAddr::new);
        let (here, stack) = (local.on_cpu(1).unwrap(), KmapStack::new());
        for (n, page) in high.into_iter().enumerate() {
            let map = here.kmap_local_page(&stack, page, &mut mmu.only(1)).unwrap();
            assert!(windows.local.contains(map.address()));
            mmu.store(1, map.address(), false, &[7 + n as u8]).unwrap();
            let at = kmap.kmap(page, &mut mmu.all_cpus()).unwrap();
            assert!(windows.pkmap.contains(at));
            let mut read = [0];
            mmu.load(0, at, false, &mut read).unwrap();
            assert_eq!(read, [7 + n as u8]);
            here.kunmap_local(&stack, map, &mut mmu.only(1)).unwrap();
            let _ = kmap.kunmap(page).unwrap();
        }
        let low = PhysAddr::new(boot.high_memory.get() - PAGE);
        let at = kmap.kmap(low, &mut mmu.all_cpus()).unwrap();
        assert_eq!(at.get() - windows.linear.base.get(), low.get() - windows.linear.start.get());
        assert!(kmap.kmap(boot.mb.end_of_dram(), &mut mmu.all_cpus()).is_err(), "no RAM");
        kmap.kmap_flush_unused(&mut mmu.all_cpus());
        assert_eq!((kmap.validate(), kmap.in_use()), (Ok(()), (0, 0)));
        mmu.check().unwrap();
    }
}

#[test]
fn high_memory_is_reached_through_the_boots_windows() {
    for (spec, kind) in machines() {
        serving(&spec, true, |boot, _, ram| {
            let windows = boot.kmap_windows().expect("windows");
            kind.with(Use { boot, windows, kind, ram });
        });
    }
}

#[test]
fn a_window_that_is_in_use_is_not_opened() {
    let spec = arm(Flavour::Armmp, 1024);
    serving(&spec, true, |boot, _, ram| {
        let windows = boot.kmap_windows().unwrap();
        let format = pagewright_pagetable::format::arm::short::ArmShort::default();
        let tables = Tables::new(format, ram, boot.pgtable.unwrap().root);
        let mut entries = vec![PkmapEntry::EMPTY; windows.entries(PAGE)];
        let at = {
            let (kmap, _) = windows.open(&tables, &mut entries, false).unwrap();
            kmap.kmap(boot.high_memory, &mut pagewright_pagetable::NotLive).unwrap()
        };
        // It was left mapped.
        let refused = windows.open(&tables, &mut entries, false).err();
        let Some(KmapInitError::Slots(SlotsError::InUse { at: found, .. })) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(found, at);
    });
}

#[test]
fn kernels_without_high_memory_have_no_windows() {
    for spec in
        [arm64(256), pc(64), arm(Flavour::Armmp, 256).config(|c| (c.highmem, c.highpte) = (false, false))]
    {
        serving(&spec, true, |boot, _, _| assert!(boot.kmap_windows().is_none()));
    }
    serving(&arm(Flavour::Armmp, 256), false, |boot, _, _| assert!(boot.kmap_windows().is_none()));
}
