//! Where the modules of booted machines lie: the kernel's own windows, over the boot's own tables.

use crate::support::{GIB, MIB};
use crate::vmalloc::{free_pages, machines, serving};
use pagewright::Boot;
use pagewright::vmalloc::{VmFlags, VmallocError};
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_firmware::Arch;
use pagewright_kspace::Kind;
use pagewright_kspace::module::{CodeMemory, ModuleHost, OnVmalloc};
use pagewright_pagetable::{Format, NotLive};
use pagewright_sim::pages::NoContents;
use pagewright_sim::vmalloc::{BootedVmalloc, WithVmalloc, with_booted_vmalloc};

const PAGE: u64 = 4096;

/// Nobody writes to the areas.
struct Untouched;

impl CodeMemory for Untouched {
    fn read(&mut self, _: VirtAddr, _: &mut [u8]) {}

    fn write(&mut self, _: VirtAddr, _: &[u8]) {}

    fn sync(&mut self, _: VirtRange) {}
}

struct Windows<'r, 'b>(&'r Boot<'b>);

impl<'s, 'a> WithVmalloc<'s, 'a, NoContents> for Windows<'_, '_> {
    /// Free pages afterwards.
    type Out = u64;

    fn run<F: Format>(self, m: &BootedVmalloc<'_, '_, '_, '_, 's, 'a, F, NoContents>) -> u64 {
        let boot = self.0;
        let layout = boot.virtual_layout(boot.version).unwrap();
        let windows = boot.module_windows().unwrap();
        let mut regions: Vec<_> = m.modules.iter().chain([&m.vmalloc]).collect();
        regions.sort_by_key(|region| region.range().start);
        // i386's is vmalloc's own.
        let own = layout.get(Kind::Modules).filter(|_| boot.machine.arch != Arch::I386);
        assert_eq!(m.modules.as_ref().map(|modules| modules.range()), own);
        assert!(layout.get(Kind::Modules).is_some());
        m.on_cpu(0, &mut NotLive, |on| {
            let (regions, symbols) = (&regions[..], &|_: &str| None);
            macro_rules! host {
                () => {
                    OnVmalloc { regions, windows, on, code: &mut Untouched, symbols, per_cpu: None }
                };
            }
            let near = host!().alloc(PAGE, PAGE).unwrap();
            assert!(windows.first.contains(near), "{near:#x} of {windows:?}");
            assert!(m.modules.as_ref().is_none_or(|modules| modules.range().contains(near)), "{near:#x}");
            host!().free(near);
            // What the first window has of the modules' region is taken.
            let Some(modules) = &m.modules else { return };
            modules.give_all_back(on);
            let (range, first) = (modules.range(), windows.first);
            let (start, last) = (range.start.max(first.start), range.last().min(first.last()));
            let own = VirtRange::from_len(start, last.get() - start.get() + 1);
            modules.add_vm_area(on, own, PhysAddr::ZERO, VmFlags::MAP).unwrap();
            let spilled = host!().alloc(MIB, PAGE);
            match boot.machine.arch {
                Arch::X86_64 => {
                    let why = spilled.unwrap_err();
                    let VmallocError::Space { region: "modules", .. } = why.why else { panic!("{why}") };
                    assert_eq!(why.full, None);
                }
                _ => {
                    let at = spilled.unwrap();
                    assert!(windows.spill.unwrap().contains(at) && m.vmalloc.range().contains(at), "{at:#x}");
                    assert!(boot.early_areas.iter().all(|early| !early.range.contains(at)), "{at:#x}");
                    if boot.machine.arch == Arch::Arm64 {
                        let text = layout.get(Kind::Text).unwrap();
                        assert!(at > text.last() && at.get() - first.start.get() < 2 * GIB, "{at:#x}");
                    }
                    host!().free(at);
                }
            }
            modules.remove(on, own.start, VmFlags::MAP).unwrap();
            for region in regions {
                region.give_all_back(on);
                region.release_tables(on);
                region.validate().unwrap();
            }
        });
        m.on_cpu(0, &mut NotLive, |on| {
            m.free_irq_stacks(on);
            for region in &regions {
                region.give_all_back(on);
                region.release_tables(on);
            }
        });
        free_pages(m.pages)
    }
}

#[test]
fn modules_lie_in_the_kernel_s_windows_and_spill_where_it_lets_them() {
    for (spec, _) in machines() {
        serving(&spec, true, |boot, pages, _| {
            // Tables over borders of regions come with the first areas, and stay.
            let free = || with_booted_vmalloc(boot, pages, &mut NotLive, Windows(boot)).unwrap();
            let first = free();
            assert_eq!(free(), first, "every page is back");
        });
    }
}
