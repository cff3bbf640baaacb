//! The kernel's virtual layout as JSON.

use crate::machine::arch_name;
use pagewright_kspace::Layout;
use serde_json::{Value, json};

/// The layout as one JSON document; `docs/json.md` lists its keys. Addresses are strings: they do not fit the numbers of
/// every reader.
pub fn document(layout: &Layout) -> Value {
    let hex = |n: u64| format!("{n:#x}");
    let facts = layout.facts();
    let mut outer = None;
    let regions: Vec<Value> = layout
        .regions()
        .iter()
        .map(|r| {
            let inside = if r.depth > 0 { outer } else { None };
            outer = if r.depth == 0 { Some(r.kind.word()) } else { outer };
            json!({
                "kind": r.kind.word(),
                "start": hex(r.range.start.get()),
                "last": hex(r.range.last().get()),
                "size_bytes": r.range.len,
                "inside": inside,
            })
        })
        .collect();
    let limits = layout.limits();
    let fixmap = layout.fixmap();
    let slots: Vec<Value> = fixmap
        .groups()
        .iter()
        .map(|g| {
            let start = fixmap.address(g.slot).map(|a| hex(a.get()));
            json!({
                "name": g.slot.name(), "index": g.first.0, "count": g.count, "start": start,
                "permanent": g.permanent,
            })
        })
        .collect();
    let markers: Vec<Value> =
        layout.markers().map(|m| json!({ "at": hex(m.at.get()), "name": m.name })).collect();
    json!({
        "architecture": arch_name(facts.config.arch),
        "linux": facts.version.to_string(),
        "regions": regions,
        "limits": {
            "task_size": hex(limits.task_size.get()),
            "map_window": hex(limits.map_window.get()),
            "task_size_32": limits.task_size_32.map(|a| hex(a.get())),
            "first_user_address": hex(limits.first_user_address.get()),
            "io_space_limit": limits.io_space_limit.map(hex),
        },
        "fixmap": { "top": hex(fixmap.top().get()), "start": hex(fixmap.start().get()), "slots": slots },
        "markers": markers,
    })
}

#[cfg(test)]
mod tests;
