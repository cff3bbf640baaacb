//! A boot as one JSON document.

use super::ledger::{Ledger, Purpose};
use super::table::durations;
use crate::run::Booted;
use pagewright_addr::PhysRange;
use pagewright_memblock::Set;
use serde_json::{Value, json};
use std::time::Instant;

fn range(r: PhysRange) -> Value {
    json!({ "start": r.start.get(), "end": r.end.get() })
}

/// Everything that a boot decided. `log` is left out when it is not wanted.
pub fn document(
    booted: &Booted<'_, '_, '_, '_, '_>,
    ledger: &Ledger,
    log: Option<&str>,
    end: Instant,
) -> Value {
    let boot = booted.boot;
    let regions = |set| -> Vec<Value> {
        let live = boot.mb.regions(set).iter().filter(|r| r.size() > 0);
        live.map(|r| {
            json!({
                "start": r.base().get(),
                "end": r.end().get(),
                "node": r.nid().map(|n| n.get()),
                "flags": r.flags().bits(),
            })
        })
        .collect()
    };
    let zones: Vec<Value> =
        booted.zoneinfo().zones.iter().filter(|z| z.populated.is_some()).map(zone).collect();
    let purposes: serde_json::Map<String, Value> =
        Purpose::ALL.into_iter().map(|p| (p.title().to_owned(), ledger.bytes(p).into())).collect();
    let phases: Vec<Value> = durations(&booted.record.phases(), end)
        .into_iter()
        .map(|(phase, took)| json!({ "phase": phase, "microseconds": took.as_secs_f64() * 1e6 }))
        .collect();
    let reserved_memory: Vec<Value> = boot
        .reserved_mem
        .iter()
        .map(|v| {
            json!({
                "name": v.name.as_str(),
                "outcome": format!("{:?}", v.outcome),
                "nomap": v.nomap,
                "range": if v.range.is_empty() { Value::Null } else { range(v.range) },
            })
        })
        .collect();
    let cma: Vec<Value> = boot
        .cma
        .iter()
        .map(|a| json!({ "name": a.name.as_str(), "range": range(a.range), "default": a.default }))
        .collect();
    let mut out = json!({
        "architecture": format!("{:?}", boot.machine.arch),
        "cmdline": boot.cmdline.text,
        "memory": regions(Set::Memory),
        "reserved": regions(Set::Reserved),
        "zones": zones,
        "cma": cma,
        "crash_kernel": { "main": boot.crash.main.map(range), "low": boot.crash.low.map(range) },
        "reserved_memory": reserved_memory,
        "min_free_kbytes": booted.running.watermarks.min_free_kbytes(),
        "ram_bytes": ledger.total(),
        "ram_by_purpose": purposes,
        "phases": phases,
    });
    if let (Some(log), Some(object)) = (log, out.as_object_mut()) {
        object.insert("log".to_owned(), log.lines().collect());
    }
    out
}

fn zone(zone: &crate::show::zoneinfo::Zone) -> Value {
    json!({
        "node": zone.node,
        "name": zone.name,
        "start_pfn": zone.populated.as_ref().map(|p| p.start_pfn),
        "spanned": zone.spanned,
        "present": zone.present,
        "managed": zone.managed,
        "free": zone.free,
        "cma": zone.cma,
        "min": zone.min,
        "low": zone.low,
        "high": zone.high,
        "protection": zone.protection,
    })
}
