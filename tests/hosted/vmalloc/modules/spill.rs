//! Where modules lie when their own region is full.

use super::*;
use pagewright_sim::vmalloc::with_modules;

/// Bytes of the modules' region: for one of the samples.
const ROOM: u64 = 64 << 10;

struct Spills(FormatKind);

impl WithFormat for Spills {
    type Out = ();

    fn run<F: Format>(self, format: F) {
        let whole = region(self.0);
        let modules = VirtRange::from_len(whole.start, ROOM);
        // Farther than a branch reaches.
        let far = if self.0 == FormatKind::Arm64Page4kVa48 { 256 * MIB } else { 64 * MIB };
        let range = VirtRange::from_len(va(whole.start.get() + far), 32 * MIB);
        let machine = VmallocMachine { range, ..machine(self.0, 16, 2) };
        with_modules(&machine, modules, format, |m| {
            let arch = arch(self.0);
            let own = m.modules.as_ref().unwrap();
            let regions = &[own, &m.vmalloc];
            let windows = ModuleWindows { first: modules, spill: Some(range) };
            let helper = modules.start.get() + NEAR;
            let bytes = sample(arch).build();
            let file = ModuleFile::parse(&bytes, arch).unwrap();
            let mut places = vec![Place::Nowhere; file.sections()];
            let layout = ModuleLayout::new(&file, PAGE, &mut places).unwrap();
            let symbols = |name: &str| (name == "helper").then_some(helper);
            let free = || {
                m.on_cpu(0, |on| {
                    for region in [own, &m.vmalloc] {
                        region.purge_vmap_area_lazy(on);
                        region.release_tables(on);
                        assert_eq!(region.validate(), Ok(()));
                    }
                });
                buddyinfo(m.pages).iter().zip(0..).map(|(n, at)| n << (at % 11)).sum::<u64>()
            };
            // The tables over both regions' borders come with their first areas, and stay.
            m.on_cpu(0, |on| {
                for region in [own, &m.vmalloc] {
                    let at = region.vmalloc(on, PAGE).unwrap();
                    region.vfree(on, at).unwrap();
                }
            });
            let before = free();
            m.on_cpu(0, |on| {
                let mut code = Code { mmu: m.mmu, synced: Vec::new() };
                let (mut loaded, mut spilled) = (Vec::new(), 0);
                for _ in 0..4 {
                    let mut host =
                        OnVmalloc { regions, windows, on, code: &mut code, symbols: &symbols, per_cpu: None };
                    let module = Module::load(&file, &layout, &mut host).unwrap();
                    let text = module.group(Part::Core, Group::Text).unwrap();
                    let mut bytes = [0; 4];
                    host.read(text.start, &mut bytes);
                    let to = target(arch, text.start.get(), bytes);
                    if modules.contains_range(&module.range(Part::Core).unwrap()) {
                        assert_eq!((to, module.veneers[0]), (helper, 0));
                    } else {
                        spilled += 1;
                        assert!(range.contains_range(&module.range(Part::Core).unwrap()));
                        assert_eq!(module.veneers[0], 1);
                        assert!(text.contains(va(to)), "a veneer of its own");
                        let word = arch.veneer() - arch.word();
                        assert_eq!(pointer(arch, host.code, va(to + word)), helper);
                    }
                    assert!(!is_allowed(m.mmu, text.start, AccessKind::Write));
                    assert!(is_allowed(m.mmu, text.start, AccessKind::Execute));
                    loaded.push(module);
                }
                assert!((2..4).contains(&spilled), "{spilled} spilled");
                // Where nothing near enough is free, nothing is left of the attempt.
                let nowhere = VirtRange::from_len(range.start, PAGE);
                let windows = ModuleWindows { first: modules, spill: Some(nowhere) };
                let mut host =
                    OnVmalloc { regions, windows, on, code: &mut code, symbols: &symbols, per_cpu: None };
                let why = Module::load(&file, &layout, &mut host).unwrap_err();
                assert!(matches!(why, ModuleError::Area { part: Part::Core, .. }), "{why}");
                // Both regions are named, and of the second the gap where it may be.
                let said = why.to_string();
                let (start, last) = (nowhere.start, nowhere.last());
                assert!(said.contains(": the modules area is full (the largest gap has "), "{said}");
                assert!(
                    said.contains(&format!(" from {start:#x} to {last:#x}: the largest gap has ")),
                    "{said}"
                );
                assert!(said.contains(" 0 bytes there") || said.contains(" 4096 bytes there"), "{said}");
                for mut module in loaded {
                    module.finish_init(&mut host).unwrap();
                    module.unload(&mut host);
                }
            });
            assert_eq!(free(), before, "every page is back");
        });
    }
}

#[test]
fn what_finds_no_room_beside_other_modules_lies_in_vmalloc_s_region() {
    for kind in [FormatKind::Arm64Page4kVa48, FormatKind::ArmShort, FormatKind::ArmLpae] {
        kind.with(Spills(kind));
    }
}
