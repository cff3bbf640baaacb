//! An account as one JSON document; `docs/json.md` lists its keys.

use super::account::{Account, CacheAccount, Sample, TYPES, VmallocAccount, ZoneAccount};
use super::picture::Mark;
use serde_json::{Map, Value, json};

fn zone(zone: &ZoneAccount) -> Value {
    let types = TYPES.iter().zip(zone.pageblocks);
    let pageblocks: Map<String, Value> =
        types.map(|(migrate, count)| (migrate.name().to_lowercase(), count.into())).collect();
    json!({
        "node": zone.node,
        "name": zone.name,
        "free": zone.free,
        "free_blocks": zone.blocks,
        "pageblocks": pageblocks,
    })
}

fn zones(list: &[ZoneAccount]) -> Vec<Value> {
    list.iter().map(zone).collect()
}

fn caches(list: &[CacheAccount]) -> Vec<Value> {
    let cache = |cache: &CacheAccount| {
        json!({
            "name": cache.name,
            "size": cache.size,
            "active_objects": cache.active,
            "objects": cache.objects,
            "slabs": cache.slabs,
            "bytes": cache.bytes,
            "unused": cache.unused() as f64 / 1000.0,
        })
    };
    list.iter().map(cache).collect()
}

fn vmalloc(account: &VmallocAccount) -> Value {
    json!({
        "areas": account.areas,
        "pages": account.pages,
        "gaps": account.gaps,
        "free_bytes": account.free,
        "largest_gap_bytes": account.largest,
        "kept_bytes": account.kept,
    })
}

fn sample(sample: &Sample) -> Value {
    json!({
        "operations": sample.operations,
        "held": sample.held,
        "free": sample.free,
        "large_free_blocks": sample.huge,
        "unusable": sample.unusable as f64 / 1000.0,
        "boost": sample.boost,
    })
}

fn mark(mark: &Mark) -> Value {
    json!({
        "type": mark.migrate().name().to_lowercase(),
        "pages": mark.pages,
        "used": mark.used,
        "mixed": mark.mixed,
    })
}

/// Everything that a workload did.
pub fn document(name: &str, machine: &str, account: &Account) -> Value {
    let phases: Vec<Value> = account
        .phases
        .iter()
        .map(|phase| {
            let orders: Vec<Value> = phase
                .orders
                .iter()
                .map(|(order, asked)| json!({ "order": order.get(), "asked": asked.asked, "failed": asked.failed }))
                .collect();
            let objects: Vec<Value> = phase
                .objects
                .iter()
                .map(|(kind, asked)| json!({ "kind": kind, "asked": asked.asked, "failed": asked.failed }))
                .collect();
            let areas: Vec<Value> = phase
                .areas
                .iter()
                .map(|(bytes, asked)| json!({ "bytes": bytes, "asked": asked.asked, "failed": asked.failed }))
                .collect();
            json!({
                "name": phase.name,
                "allocations": orders,
                "freed": phase.freed,
                "objects": objects,
                "objects_freed": phase.objects_freed,
                "areas": areas,
                "areas_freed": phase.areas_freed,
            })
        })
        .collect();
    let changed: Map<String, Value> = account
        .changed()
        .map(|(name, before, after)| (name.to_owned(), json!({ "before": before, "after": after })))
        .collect();
    let picture: Vec<Value> = account
        .picture
        .zones
        .iter()
        .map(|(node, name, marks)| {
            json!({ "node": node, "name": name, "marks": marks.iter().map(mark).collect::<Vec<_>>() })
        })
        .collect();
    let steals = account.steals();
    json!({
        "workload": name,
        "machine": machine,
        "seed": account.seed,
        "cpus": account.cpus,
        "phases": phases,
        "before": zones(&account.before),
        "after": zones(&account.after),
        "slabs": account.design.map(|design| design.to_string()),
        "caches": { "before": caches(&account.caches[0]), "after": caches(&account.caches[1]) },
        "damaged_objects": account.damaged,
        "vmalloc": account.vmalloc.map(|[before, after]| {
            json!({ "before": vmalloc(&before), "after": vmalloc(&after) })
        }),
        "refused_area": account.refused,
        "samples": account.samples.iter().map(sample).collect::<Vec<_>>(),
        "vmstat": changed,
        "fallbacks": steals.fallbacks,
        "pageblocks_claimed": steals.claimed,
        "boosts": account.boosts,
        "events": account.events,
        "picture": { "pageblocks_a_mark": account.picture.group, "zones": picture },
        "all_back": account.all_back(),
        "same_blocks": account.same_blocks(),
        "violation": account.violation,
        "failure_reports": account.failures,
        "injected_failures": account.injected,
        "page_owner": account.page_owner,
    })
}
