//! `/proc/vmallocinfo`, and what is free.

use super::*;
use pagewright_addr::PhysAddr;
use pagewright_firmware::Arch;
use pagewright_kspace::stacks::{StackShape, Stacks};
use pagewright_kspace::vmalloc::{EarlyArea, EarlyAreas, PhysMapping, VfreeError, VmFlags};
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_sim::vmalloc::{kernel_data, with_vmalloc};
use pagewright_view::vmallocinfo::{self, Looked, Widths};

#[test]
fn vmallocinfo_has_a_line_for_each_area() {
    let mut machine = VmallocMachine { config: lowest_first, ..machine(FormatKind::X86Level4, 0, 1) };
    machine.plain.ram = vec![(node(0), 0x4_0000, 4096), (node(1), 0x5_0000, 4096)];
    machine.plain.cpus = vec![node(0)];
    machine.range.len = 32 * MIB;
    let widths = Widths { virt: 16, phys: 16, page: PAGE };
    with_vmalloc(&machine, X86Level4::default(), |m| {
        m.on_cpu(0, |on| {
            let attr = kernel_data(&X86Level4::default());
            let line = line!() + 1;
            m.vmalloc.vmalloc(on, 3 * PAGE).unwrap();
            let freed = m.vmalloc.vmalloc(on, 3 * PAGE).unwrap();
            m.vmalloc.vmalloc_node(on, 2 * PAGE, node(1)).unwrap();
            m.vmalloc.vmalloc_user(on, 600 * PAGE).unwrap();
            m.vmalloc.map_phys(on, &PhysMapping::io(PhysAddr::new(0xfed0_0000), PAGE, attr)).unwrap();
            let image = VirtRange::from_len(va(m.vmalloc.range().start.get() + 16 * MIB), 2 * MIB);
            m.vmalloc.add_vm_area(on, image, PhysAddr::ZERO, VmFlags::MAP).unwrap();
            let page = m.vmalloc.vmalloc_to_pfn(freed).unwrap();
            m.vmalloc.vm_map_ram(on, &[page]).unwrap();
            m.vmalloc.vfree(on, freed).unwrap();
            m.vmalloc.vmap(on, &[page, page], VmFlags::MAP, attr).unwrap();
            let mut text = String::new();
            vmallocinfo::write(
                &mut text,
                &[&Looked { region: &m.vmalloc, on }],
                &EarlyAreas::new(),
                true,
                widths,
            )
            .unwrap();
            let at = |n: u32| format!("{}:{}", file!(), line + n);
            let expected = [
                format!("0xffffc90000000000-0xffffc90000004000   16384 {} pages=3 vmalloc N0=3", at(0)),
                format!("0xffffc90000008000-0xffffc9000000b000   12288 {} pages=2 vmalloc N1=2", at(2)),
                format!(
                    "0xffffc9000000b000-0xffffc90000264000 2461696 {} pages=600 vmalloc user vpages N0=600",
                    at(3)
                ),
                format!(
                    "0xffffc90000264000-0xffffc90000266000    8192 {} phys=0x00000000fed00000 ioremap",
                    at(4)
                ),
                // The pages are its caller's, so there are none to count.
                format!("0xffffc90000266000-0xffffc90000269000   12288 {} vmap", at(10)),
                "0xffffc90000400000-0xffffc90000800000 4194304 vm_map_ram".to_owned(),
                format!("0xffffc90001000000-0xffffc90001200000 2097152 {} vmap", at(6)),
                "0xffffc90000004000-0xffffc90000008000   16384 unpurged vm_area".to_owned(),
            ];
            assert_eq!(text.lines().collect::<Vec<_>>(), expected);
            let mut text = String::new();
            vmallocinfo::layout(&mut text, &Looked { region: &m.vmalloc, on }, &EarlyAreas::new(), widths)
                .unwrap();
            let free: Vec<_> = text.lines().filter(|line| line.ends_with(" free")).collect();
            assert_eq!(
                free,
                [
                    "0xffffc90000269000-0xffffc90000400000 1667072 free",
                    "0xffffc90000800000-0xffffc90001000000 8388608 free",
                    "0xffffc90001200000-0xffffc90002000000 14680064 free",
                ]
            );
            let last = text.lines().next_back().unwrap();
            assert_eq!(
                last,
                "vmalloc: 3 gaps, 24156 KiB free, the largest 14336 KiB; 16 KiB wait for a flush or are kept"
            );
            assert_eq!(text.lines().count(), 8 + 3 + 1);
        });
    });
}

#[test]
fn the_page_below_a_stack_is_in_the_map_alone() {
    let machine = VmallocMachine { config: lowest_first, ..machine(FormatKind::X86Level4, 16, 1) };
    let widths = Widths { virt: 16, phys: 16, page: PAGE };
    with_vmalloc(&machine, X86Level4::default(), |m| {
        m.on_cpu(0, |on| {
            let memory = m.mmu.memory_of(0);
            let stacks = Stacks::new(&m.vmalloc, StackShape::of(Arch::X86_64, PAGE), &[]);
            let stack = stacks.alloc(on, &memory).unwrap();
            let (mut text, mut map) = (String::new(), String::new());
            let (region, early) = (Looked { region: &m.vmalloc, on }, EarlyAreas::new());
            vmallocinfo::write(&mut text, &[&region], &early, false, widths).unwrap();
            vmallocinfo::layout(&mut map, &region, &early, widths).unwrap();
            let start = stack.range().start.get();
            let lines: Vec<_> = text.lines().collect();
            assert!(lines.len() == 1 && lines[0].starts_with(&format!("{start:#x}-")), "{text}");
            let guard = format!("{:#x}-{start:#x}    4096 ", stack.guard().start);
            assert_eq!(map.lines().filter(|line| line.starts_with(&guard)).count(), 1, "{map}");
            assert!(map.contains(" stack guard\n"), "{map}");
            stacks.free(on, stack).unwrap();
        });
    });
}

/// A coherent buffer is no "vmap", and an area that nobody gave a kind has none; either goes as it came.
#[test]
fn a_vmap_is_called_what_its_caller_says() {
    let machine = VmallocMachine { config: lowest_first, ..machine(FormatKind::X86Level4, 16, 1) };
    let widths = Widths { virt: 16, phys: 16, page: PAGE };
    with_vmalloc(&machine, X86Level4::default(), |m| {
        m.on_cpu(0, |on| {
            let attr = kernel_data(&X86Level4::default());
            let own = m.vmalloc.vmalloc(on, PAGE).unwrap();
            let page = m.vmalloc.vmalloc_to_pfn(own).unwrap();
            for (flags, name) in
                [(VmFlags::MAP, " vmap"), (VmFlags::DMA_COHERENT, " dma-coherent"), (VmFlags::empty(), "")]
            {
                let told = format!(":{}{name}", line!() + 1);
                let at = m.vmalloc.vmap(on, &[page], flags, attr).unwrap();
                let mut text = String::new();
                vmallocinfo::write(
                    &mut text,
                    &[&Looked { region: &m.vmalloc, on }],
                    &EarlyAreas::new(),
                    false,
                    widths,
                )
                .unwrap();
                let line = text.lines().find(|line| line.starts_with(&format!("{:#x}-", at.get()))).unwrap();
                assert!(line.ends_with(&told), "{line}");
                m.vmalloc.vunmap(on, at).unwrap();
                assert_eq!(m.vmalloc.vunmap(on, at), Err(VfreeError::Nonexistent(at)));
            }
            m.vmalloc.vfree(on, own).unwrap();
        });
    });
}

#[test]
fn areas_that_lie_where_early_ones_did_are_not_taken_for_them() {
    let mut machine = VmallocMachine { config: lowest_first, ..machine(FormatKind::X86Level4, 16, 1) };
    machine.range.len = 32 * MIB;
    let widths = Widths { virt: 16, phys: 16, page: PAGE };
    with_vmalloc(&machine, X86Level4::default(), |m| {
        m.on_cpu(0, |on| {
            let start = m.vmalloc.range().start;
            let range = VirtRange::from_len(start, 2 * PAGE);
            let phys = PhysAddr::new(0xfed0_0000);
            let mut early = EarlyAreas::new();
            early.add(EarlyArea { range, phys, flags: VmFlags::IOREMAP, caller: "early" }).unwrap();
            let longer = VirtRange::from_len(start, 3 * PAGE);
            let elsewhere = PhysAddr::new(0xfee0_0000);
            for (range, phys, is_early) in
                [(range, phys, true), (longer, phys, false), (range, elsewhere, false)]
            {
                m.vmalloc.add_vm_area(on, range, phys, VmFlags::IOREMAP).unwrap();
                let (mut info, mut layout) = (String::new(), String::new());
                vmallocinfo::write(&mut info, &[&Looked { region: &m.vmalloc, on }], &early, false, widths)
                    .unwrap();
                vmallocinfo::layout(&mut layout, &Looked { region: &m.vmalloc, on }, &early, widths).unwrap();
                for text in [info, layout] {
                    let line = text.lines().next().unwrap();
                    assert_eq!(line.contains(" early "), is_early, "{line}");
                    let place = format!("{:#x}-{:#x} ", start.get(), start.get() + range.len);
                    assert!(line.starts_with(&place), "{line}");
                    assert!(line.contains(&format!(" phys={:#018x} ", phys.get())), "{line}");
                }
                m.vmalloc.remove(on, start, VmFlags::IOREMAP).unwrap();
                m.vmalloc.give_all_back(on);
            }
        });
    });
}
