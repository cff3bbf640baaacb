//! Whole boots map memory with as few tables as can hold the mappings.

use crate::failing_tables::{machines, ram};
use crate::support::MIB;
use crate::support::spec::{RAM, Spec, arm64, arm64_banks, pc};
use pagewright::Boot;
use pagewright_kspace::{Facts, Kind, Layout};
use pagewright_pagetable::TableUse;

/// The linear map's tables, before the page allocator serves and at the very end.
fn linear_map(spec: &Spec) -> [TableUse; 2] {
    let look = |boot: &Boot<'_>| {
        let layout = Layout::of(&Facts::of(boot.machine, &boot.params)).expect("a layout");
        let range = layout.get(Kind::LinearMap).expect("a linear map");
        boot.pgtable.expect("tables").with(|tree| tree.table_use(range)).expect("a sound tree")
    };
    let ram = ram(spec);
    let (mut early, mut late) = (None, None);
    let mut service = |boot: &Boot<'_>, _: &mut pagewright::Running<'_, '_, '_>| early = Some(look(boot));
    let mut last = |boot: &Boot<'_>, _: &pagewright::Running<'_, '_, '_>| late = Some(look(boot));
    let hooks = crate::support::facts::Hooks { service: &mut service, last: &mut last, ..Default::default() };
    spec.boot_hooked(|boot| boot.set_table_memory(ram), hooks).expect("booted");
    [early.expect("the hand-over"), late.expect("the end")]
}

#[test]
fn the_linear_map_takes_the_arithmetic_minimum_of_tables() {
    let mut huge = pc(900);
    huge.cpus.gbpages = true;
    let more = [
        ("a PC with pages of a gigabyte", huge),
        (
            "a ragged arm64",
            arm64_banks(&[(RAM, 65 * MIB), (RAM + 80 * MIB, 100 * MIB), (RAM + 600 * MIB, 7 * MIB)])
                .cmdline("rodata=on"),
        ),
        ("arm64 by blocks", arm64(900).cmdline("rodata=off")),
    ];
    for (name, spec) in machines().into_iter().chain(more) {
        for used in linear_map(&spec) {
            assert_eq!(used.built, used.minimum, "{name}");
            // Two levels of arm map low memory in the top table alone.
            assert!(used.built > 0 || !spec.config.lpae, "{name}");
        }
    }
}
