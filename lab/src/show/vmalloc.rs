//! Who has what of the vmalloc area, as JSON.

use crate::machine::arch_name;
use pagewright_addr::VirtRange;
use pagewright_kspace::vmalloc::VmFlags;
use pagewright_view::State;
use pagewright_view::vmallocinfo::{Areas, Stretch, VmallocShown, stretches, words};
use serde_json::{Value, json};

/// The regions of a machine whose vmalloc serves as one JSON document; `docs/json.md` lists its keys. Addresses are strings: they do not fit the numbers
/// of every reader.
pub fn document(state: &State<'_, '_, '_, '_, '_>, shown: &dyn VmallocShown) -> Value {
    let mut regions = Vec::new();
    shown.regions(&mut |areas| regions.push(region(state, areas)));
    let arch = arch_name(state.boot.machine.arch);
    json!({ "architecture": arch, "used_pages": shown.nr_pages(), "regions": regions })
}

fn hex(n: u64) -> String {
    format!("{n:#x}")
}

fn region(state: &State<'_, '_, '_, '_, '_>, areas: &dyn Areas) -> Value {
    let mut list = Vec::new();
    // `entry` fails nowhere.
    let _ = stretches(areas, state.boot.early_areas, &mut |stretch| {
        list.push(entry(&stretch));
        Ok(())
    });
    let (range, gaps) = (areas.range(), areas.gaps());
    json!({
        "name": areas.name(),
        "start": hex(range.start.get()),
        "last": hex(range.last().get()),
        "size_bytes": range.len,
        "used_pages": areas.nr_pages(),
        "gaps": gaps.count,
        "free_bytes": gaps.bytes,
        "largest_gap_bytes": gaps.largest,
        "kept_bytes": gaps.kept,
        "areas": list,
    })
}

fn entry(stretch: &Stretch<'_>) -> Value {
    let VirtRange { start, len } = stretch.range();
    let (kind, caller, flags, phys) = match stretch {
        Stretch::Free(_) => ("free", None, VmFlags::empty(), 0),
        Stretch::Early(early) => {
            let caller = (!early.caller.is_empty()).then(|| early.caller.to_owned());
            ("early", caller, early.flags, early.phys.get())
        }
        Stretch::Area(area) if area.flags.contains(VmFlags::PERCPU) => {
            ("per_cpu", Some("pcpu_get_vm_areas".to_owned()), area.flags, area.phys.get())
        }
        Stretch::Area(area) => {
            let caller = area.caller.map(|at| format!("{}:{}", at.file(), at.line()));
            ("area", caller, area.flags, area.phys.get())
        }
        Stretch::Ram(_) => ("vm_map_ram", None, VmFlags::empty(), 0),
        Stretch::Unpurged(_) => ("unpurged", None, VmFlags::empty(), 0),
        Stretch::Ready(_) => ("kept", None, VmFlags::empty(), 0),
    };
    let pages = if let Stretch::Area(area) = stretch { area.pages } else { 0 };
    json!({
        "kind": kind,
        "start": hex(start.get()),
        "last": hex(stretch.range().last().get()),
        "size_bytes": len,
        "caller": caller,
        "pages": pages,
        "phys": (phys != 0).then(|| hex(phys)),
        "flags": words(flags).collect::<Vec<_>>(),
    })
}
