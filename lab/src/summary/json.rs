//! A boot as one JSON document. Its shape is a promise, written down in `docs/json.md`: kinds are lower-case words,
//! times are whole nanoseconds, sizes bytes, and what a kind adds stands in a field of its own.

use super::ledger::{Ledger, Purpose};
use super::table::durations;
use crate::fault::Fault;
use crate::machine::arch_name;
use crate::run::Booted;
use crate::show::zoneinfo::{Zone, ZoneInfo};
use pagewright::Phase;
use pagewright::reserved_mem::Outcome;
use pagewright_addr::PhysRange;
use pagewright_memblock::{Flags, Set};
use pagewright_view::View;
use serde_json::{Value, json};
use std::time::Instant;

fn range(r: PhysRange) -> Value {
    json!({ "start": r.start.get(), "end": r.end.get() })
}

/// memblock's flags as a list of kinds.
fn flags(flags: Flags) -> Value {
    let kinds = [
        (Flags::HOTPLUG, "hotplug"),
        (Flags::MIRROR, "mirror"),
        (Flags::NOMAP, "nomap"),
        (Flags::DRIVER_MANAGED, "driver_managed"),
    ];
    kinds.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, kind)| kind).collect()
}

/// What became of a reserved-memory node: `outcome` is the kind, the other fields what goes with it.
fn outcome(outcome: &Outcome) -> Value {
    match *outcome {
        Outcome::Reserved => json!({ "outcome": "reserved" }),
        Outcome::DmaPool => json!({ "outcome": "dma_pool" }),
        Outcome::Cma(default) => json!({ "outcome": "cma", "default": default }),
        Outcome::Disabled => json!({ "outcome": "disabled" }),
        Outcome::StaticRefused => json!({ "outcome": "static_refused" }),
        Outcome::NoMemory { size } => json!({ "outcome": "no_memory", "wanted_bytes": size }),
        Outcome::Malformed => json!({ "outcome": "malformed" }),
        Outcome::NotClaimed => json!({ "outcome": "not_claimed" }),
        Outcome::TooMany => json!({ "outcome": "too_many" }),
    }
}

/// A phase's name.
const fn phase_kind(phase: Phase) -> &'static str {
    match phase {
        Phase::Firmware => "firmware",
        Phase::EarlyParams => "early_params",
        Phase::Memblock => "memblock",
        Phase::PagingInit => "paging_init",
        Phase::BootmemInit => "bootmem_init",
        Phase::SetupArch => "setup_arch",
        Phase::PerCpu => "per_cpu",
        Phase::StartKernel => "start_kernel",
        Phase::MemInit => "mem_init",
        Phase::Running => "running",
    }
}

/// Everything that a boot decided. `log` is left out when it is not wanted.
///
/// # Errors
/// A [`Fault`] if a view of the machine cannot be made.
pub fn document(
    booted: &Booted<'_, '_, '_, '_, '_>,
    ledger: &Ledger,
    log: Option<&str>,
    end: Instant,
) -> Result<Value, Fault> {
    let boot = booted.boot;
    let regions = |set| -> Vec<Value> {
        let live = boot.mb.regions(set).iter().filter(|r| r.size() > 0);
        live.map(|r| {
            json!({
                "start": r.base().get(),
                "end": r.end().get(),
                "node": r.nid().map(|n| n.get()),
                "flags": flags(r.flags()),
            })
        })
        .collect()
    };
    let zones: Vec<Value> = ZoneInfo::parse(&booted.show(View::Zoneinfo)?)?
        .zones
        .iter()
        .filter(|z| z.populated.is_some())
        .map(zone)
        .collect();
    let purposes: serde_json::Map<String, Value> =
        Purpose::ALL.into_iter().map(|p| (p.kind().to_owned(), ledger.bytes(p).into())).collect();
    let phases: Vec<Value> = durations(&booted.record.phases(), end)
        .into_iter()
        .map(|(phase, took)| json!({ "phase": phase_kind(phase), "took_ns": took.as_nanos() as u64 }))
        .collect();
    let reserved_memory: Vec<Value> = boot
        .reserved_mem
        .iter()
        .map(|v| {
            let mut node = outcome(&v.outcome);
            node["name"] = v.name.as_str().into();
            node["nomap"] = v.nomap.into();
            node["range"] = if v.range.is_empty() { Value::Null } else { range(v.range) };
            node
        })
        .collect();
    let cma: Vec<Value> = boot
        .cma
        .iter()
        .map(|a| {
            let name = a.name.as_str();
            json!({ "name": name, "range": range(a.range), "default": a.default, "activated": !a.given_back })
        })
        .collect();
    let page_tables: Vec<Value> = boot
        .table_counts
        .steps()
        .iter()
        .map(|s| json!({ "step": s.step, "tables": s.counted, "built": s.built }))
        .collect();
    let mut out = json!({
        "architecture": arch_name(boot.machine.arch),
        "cmdline": boot.cmdline.text,
        "memory": regions(Set::Memory),
        "reserved": regions(Set::Reserved),
        "zones": zones,
        "cma": cma,
        "crash_kernel": { "main": boot.crash.main.map(range), "low": boot.crash.low.map(range) },
        "reserved_memory": reserved_memory,
        "min_free_kbytes": booted.running.watermarks.min_free_kbytes(),
        "ram_bytes": ledger.total(),
        "managed_bytes": booted.state().managed_pages() * boot.page_bytes(),
        "ram_by_purpose": purposes,
        "page_tables": page_tables,
        "linear_map_tables": booted.linear_map_tables().map(|used| {
            json!({ "built": used.built, "minimum": used.minimum })
        }),
        "phases": phases,
    });
    if let (Some(log), Some(object)) = (log, out.as_object_mut()) {
        object.insert("log".to_owned(), log.lines().collect());
    }
    Ok(out)
}

fn zone(zone: &Zone) -> Value {
    json!({
        "node": zone.node,
        "name": zone.name,
        "start_pfn": zone.populated.as_ref().map(|p| p.start_pfn),
        "spanned": zone.pages.spanned,
        "present": zone.pages.present,
        "managed": zone.pages.managed,
        "free": zone.pages.free,
        "cma": zone.pages.cma,
        "min": zone.pages.min,
        "low": zone.pages.low,
        "high": zone.pages.high,
        "protection": zone.protection,
    })
}

#[cfg(test)]
mod tests;
