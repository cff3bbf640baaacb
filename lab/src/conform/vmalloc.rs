//! The `vmalloc` group: areas of the kernel's virtual memory that are there before vmalloc is, and stay.
//!
//! Which areas drivers ask for later is no matter of the boot. Of the early ones, and of the stacks that interrupts are handled on, the file has function, bytes, what is mapped and of which kind, in
//! the order of their addresses, which themselves are hashed.

use super::compare::Tally;
use crate::capture::vmallocinfo::{Area, VmallocInfo};
use crate::facts::Group;
use crate::fault::Fault;
use pagewright::Boot;
use pagewright_view::vmallocinfo::{early, words};

/// The functions that add areas while a kernel boots: the image's segments on arm64; on arm devices and low memory that is mapped anew, PCI's
/// window, and halves of sections that stand alone. Then those that ask for the stacks of interrupts.
const FUNCTIONS: [&str; 6] = [
    "paging_init",
    "iotable_init",
    "pci_reserve_io",
    "pmd_empty_section_gap",
    "start_kernel",
    "irq_init_percpu_irqstack",
];

/// Compares the file with the boot's areas.
///
/// # Errors
/// A [`Fault`] if the lines that we would show are none.
pub fn vmalloc(captured: &VmallocInfo, boot: &Boot<'_>) -> Result<Tally, Fault> {
    let mut text = String::new();
    early(&mut text, boot).map_err(|e| Fault::caused(e, "vmallocinfo", ""))?;
    // Our lines name functions without a place in them.
    let mut ours = VmallocInfo::parse(&text)?;
    for area in &mut ours.areas {
        let named = area.kinds.iter().position(|kind| FUNCTIONS.contains(&kind.as_str()));
        area.function = named.map(|at| area.kinds.remove(at)).unwrap_or_default();
    }
    ours.areas.extend(boot.irq_stacks().map(|stack| Area {
        // A page behind it is the guard.
        size: stack.shape.bytes + boot.page_bytes(),
        function: stack.function().to_owned(),
        pages: 0,
        phys: None,
        kinds: words(stack.flags()).map(str::to_owned).collect(),
    }));
    Ok(compare(captured, &ours))
}

fn compare(captured: &VmallocInfo, ours: &VmallocInfo) -> Tally {
    let mut tally = Tally::default();
    for function in FUNCTIONS {
        let (captured, ours): (Vec<&Area>, Vec<&Area>) =
            (captured.of(function).collect(), ours.of(function).collect());
        for n in 0..captured.len().max(ours.len()) {
            let shown = |areas: &[&Area]| areas.get(n).map(ToString::to_string);
            tally.check(
                Group::Vmalloc,
                &format!("{function} area {}", n + 1),
                shown(&captured),
                shown(&ours),
            );
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::{VmallocInfo, compare};

    const LINUX: &str = "\
0x1-0x2 917504 paging_init+0x19c/0x610 phys=0x0000000041860000 vmap
0x2-0x3 5701632 paging_init+0x1cc/0x610 phys=0x0000000041940000 vmap
0x5-0x6 8192 devm_ioremap+0x74/0xd0 phys=0x0000000009010000 ioremap
0x5-0x6 2097152 pci_reserve_io+0x0/0x38 ioremap
";

    fn unequal(theirs: &str, ours: &str) -> Vec<String> {
        let read = |text| VmallocInfo::parse(text).unwrap();
        compare(&read(theirs), &read(ours)).differences.into_iter().map(|d| d.key).collect()
    }

    #[test]
    fn every_early_area_counts_and_no_other() {
        let without_driver: String =
            LINUX.lines().filter(|l| !l.contains("devm")).map(|l| format!("{l}\n")).collect();
        assert!(unequal(LINUX, &without_driver).is_empty());
        let other_border = LINUX.replace(" 917504 ", " 524288 ");
        assert_eq!(unequal(LINUX, &other_border), ["paging_init area 1"]);
        assert_eq!(unequal(LINUX, &LINUX.replace("41940000", "418e0000")), ["paging_init area 2"]);
        assert_eq!(unequal(LINUX, &LINUX.replace("/0x38 ioremap", "/0x38 vmap")), ["pci_reserve_io area 1"]);
    }

    #[test]
    fn an_area_that_one_side_lacks_is_a_difference() {
        assert_eq!(unequal(LINUX, "").len(), 3);
        assert_eq!(unequal("", LINUX).len(), 3);
    }
}
