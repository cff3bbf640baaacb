//! Whole boots of small machines that are described in code, and the facts that they must show.

#[path = "../../../crates/sim/examples/areas.rs"]
mod areas;
mod arm;
mod arm64_limits;
mod arm64_tables;
mod available;
mod chaos;
mod cma;
mod config;
mod cpus;
mod efi;
mod embed;
mod failing;
mod failing_tables;
mod freed;
mod i386_tables;
mod kmaps;
mod least_tables;
mod models;
mod modules;
mod numa;
mod page_tables;
mod percpu_failing;
mod percpu_pages;
mod percpu_served;
mod placements;
mod regions;
mod reserved;
mod slabs;
mod stack;
mod support;
mod vmalloc;
mod whole;
