//! One machine: boots it and compares all groups that its files allow.

use super::compare::{Tally, compare};
use super::iomem::iomem;
use super::page_tables;
use super::replay::{self, Finals};
use super::report::MachineReport;
use super::slub::slub;
use super::vmalloc::vmalloc;
use super::watermarks::{Kernel, watermarks};
use crate::capture::Capture;
use crate::facts::{Facts, Group};
use crate::fault::Fault;
use crate::machine::OwnedMachine;
use crate::run::{self, Booted, Recorder};
use crate::show::zoneinfo;
use pagewright::Boot;
use pagewright_addr::NodeId;
use pagewright_firmware::cmdline::ThpParam;
use pagewright_firmware::config::{Flavour, Thp};
use pagewright_memblock::Set;
use pagewright_view::log::LogOptions;
use pagewright_zone::ZoneKind;

/// What a captured machine has on its command line only so that its log is whole.
const LOGGING: [&str; 2] = ["log_buf_len=", "earlycon="];

/// The groups that need a boot.
const BOOTED: [Group; 4] = [Group::Memory, Group::Zones, Group::Placements, Group::Layout];

/// Compares one captured machine with our boot of it. `asked` is the kernel of a log whose release names none.
///
/// # Errors
/// A [`Fault`] if a file of the capture is there but cannot be read. A file that is not there leaves groups out.
pub fn conform(capture: &Capture, asked: Option<Flavour>) -> Result<MachineReport, Fault> {
    let mut report = MachineReport { machine: capture.name.clone(), ..MachineReport::default() };
    let machine = match capture.machine(asked) {
        Ok(machine) => machine,
        Err(fault) if fault.missing => {
            for group in Group::ALL {
                report.left_out.insert(group, fault.to_string());
            }
            return Ok(report);
        }
        Err(fault) => return Err(fault),
    };
    let booted = run::boot(&machine, |booted| compare_all(capture, &machine, booted, &mut report), |_| ());
    match booted {
        Ok(compared) => compared?,
        Err(fault) => our_boot_stopped(&mut report, &fault),
    }
    quiet_page_tables(capture, &machine, &mut report)?;
    Ok(report)
}

/// Page tables are read out of RAM, for which a machine may have been booted once more, without a log made larger for the
/// debug output and an early console. A large log moves what is allocated after it, the console's registers stay mapped. If they are not those of the logged boot, they are
/// compared with such a boot, and the nearer of the two counts.
fn quiet_page_tables(
    capture: &Capture,
    machine: &OwnedMachine,
    report: &mut MachineReport,
) -> Result<(), Fault> {
    let differing = report.groups.get(&Group::PageTables).map_or(0, |t| t.differences.len());
    let line = machine.lend()?.command_line().text.to_owned();
    let quiet: Vec<&str> =
        line.split(' ').filter(|word| !LOGGING.iter().any(|l| word.starts_with(l))).collect();
    let quiet = quiet.join(" ");
    if differing == 0 || quiet == line {
        return Ok(());
    }
    let machine = OwnedMachine { cmdline: Some(quiet), ..machine.clone() };
    let mut second = MachineReport::default();
    let booted = run::boot(&machine, |booted| page_tables_group(capture, booted, &mut second), |_| ());
    if booted.is_ok()
        && let Some(tally) = second.groups.remove(&Group::PageTables)
        && tally.differences.len() < differing
    {
        report.groups.insert(Group::PageTables, tally);
        report.excluded = second.excluded;
        report.excluded.push(format!("{}: the tables are those of a boot without", LOGGING.join(", ")));
    }
    Ok(())
}

/// Linux booted this machine: not doing so is the difference.
fn our_boot_stopped(report: &mut MachineReport, fault: &Fault) {
    let mut tally = Tally::default();
    tally.check(Group::Memory, "boot", Some("boots".to_owned()), Some(fault.to_string()));
    report.groups.insert(Group::Memory, tally);
    for group in Group::ALL.into_iter().filter(|g| *g != Group::Memory) {
        report.left_out.insert(group, "our boot stopped".to_owned());
    }
}

fn compare_all(
    capture: &Capture,
    machine: &OwnedMachine,
    booted: &Booted<'_, '_, '_, '_, '_>,
    report: &mut MachineReport,
) -> Result<(), Fault> {
    let Booted { boot, record, .. } = *booted;
    let mut captured = Facts::from_log(&capture.dmesg);
    let mut ours = Facts::from_log(&record.log(&LogOptions::of(&boot.params)));
    if capture.lacks_distances() {
        let why = "orders of nodes: neither SLIT nor nodeN_distance.txt tell their distances";
        report.left_out.insert(Group::Zones, why.to_owned());
        for facts in [&mut captured, &mut ours] {
            facts.list.retain(|f| !is_node_order(&f.key));
        }
    }
    for group in BOOTED {
        report.groups.insert(group, compare(group, &captured, &ours));
    }
    let add = |report: &mut MachineReport, group, tally| report.groups.entry(group).or_default().add(tally);
    add(report, Group::Memory, memory_file(capture, boot));
    add(report, Group::Placements, crash_kernel(capture, boot));
    add(report, Group::Managed, compare(Group::Managed, &captured, &ours));
    match &capture.zoneinfo {
        Some(info) => {
            let (zones, cma) = zone_files(info, boot);
            add(report, Group::Zones, zones);
            add(report, Group::Placements, cma);
            add(report, Group::Managed, managed(info, booted));
        }
        None => _ = report.left_out.insert(Group::Watermarks, "no zoneinfo.txt".to_owned()),
    }
    add(report, Group::Zones, node_cpus(capture, boot));
    let kernel = Kernel {
        page_shift: machine.config.page_shift,
        pageblock_pages: 1 << machine.config.pageblock_order(),
        huge_pages: huge_pages(boot),
        given_late: &given_late(boot),
        image_start: machine.image.text_start,
        initrd_start: boot.initrd.map(|r| r.start),
        cpu_nodes: &run::cpu_nodes(boot),
    };
    if let Some(tally) = watermarks(capture, &kernel) {
        report.groups.insert(Group::Watermarks, tally);
    }
    let line = compare(Group::Slub, &captured, &ours);
    match slub(capture, boot) {
        None if line.facts == 0 => {
            let why = "no slabinfo.txt, no slub_kmalloc.txt and no such line in dmesg.txt";
            report.left_out.insert(Group::Slub, why.to_owned());
        }
        Some(Err(why)) if line.facts == 0 => _ = report.left_out.insert(Group::Slub, why),
        files => {
            add(report, Group::Slub, files.and_then(Result::ok).unwrap_or_default());
            add(report, Group::Slub, line);
        }
    }
    match &capture.vmallocinfo {
        Some(info) => _ = report.groups.insert(Group::Vmalloc, vmalloc(info, boot)?),
        None => _ = report.left_out.insert(Group::Vmalloc, "no vmallocinfo.txt".to_owned()),
    }
    match &capture.iomem {
        Some(file) => _ = report.groups.insert(Group::Iomem, iomem(file, &capture.dmesg, boot)?),
        None => _ = report.left_out.insert(Group::Iomem, "no iomem.txt".to_owned()),
    }
    page_tables_group(capture, booted, report);
    replay_group(capture, record, !captured.complete, report)
}

/// Whether the fact follows from the distances between nodes.
fn is_node_order(key: &str) -> bool {
    key.starts_with("fallback order of node ") || key.starts_with("zonelist ")
}

/// Pages by zone that count as managed between the two initcalls: gigantic pages, and EFI's boot services.
fn given_late(boot: &Boot<'_>) -> Vec<(NodeId, ZoneKind, u64)> {
    let mut out = boot.gigantic_pages.to_vec();
    let zones = boot.layout.iter().flat_map(|l| l.nodes()).flat_map(|n| n.populated().map(|z| (n.nid, z)));
    for (nid, zone) in zones {
        let span = zone.pfns().bytes(boot.machine.config.page_shift);
        let inside = boot.boot_services.iter().map(|r| r.intersection(&span).len());
        out.push((nid, zone.kind, inside.sum::<u64>() >> boot.machine.config.page_shift.get()));
    }
    out
}

/// Whether khugepaged is built in, and if so whether it starts: not switched off. The machine's size is judged with the
/// watermarks.
fn huge_pages(boot: &Boot<'_>) -> Option<bool> {
    let built_in = boot.machine.config.thp != Thp::Off;
    built_in.then(|| boot.params.transparent_hugepage != Some(ThpParam::Never))
}

/// `memblock/memory`, on kernels that keep it.
fn memory_file(capture: &Capture, boot: &Boot<'_>) -> Tally {
    let mut tally = Tally::default();
    let Some(captured) = &capture.memblock_memory else { return tally };
    let (captured, ours) = (captured.to_string(), boot.mb.debugfs(Set::Memory).to_string());
    lines(&mut tally, Group::Memory, "memblock/memory", &captured, &ours);
    tally
}

fn lines(tally: &mut Tally, group: Group, what: &str, captured: &str, ours: &str) {
    for n in 0..captured.lines().count().max(ours.lines().count()) {
        let line = |text: &str| text.lines().nth(n).map(|l| l.trim().to_owned());
        tally.check(group, &format!("{what} line {}", n + 1), line(captured), line(ours));
    }
}

/// The crash kernel's place as `/proc/iomem` shows it.
fn crash_kernel(capture: &Capture, boot: &Boot<'_>) -> Tally {
    let mut tally = Tally::default();
    let Some(iomem) = &capture.iomem else { return tally };
    let show = |start: u64, last: u64| format!("{start:08x}-{last:08x}");
    let mut ours: Vec<_> = [boot.crash.main, boot.crash.low].into_iter().flatten().collect();
    ours.sort_by_key(|r| r.start);
    let captured: Vec<_> = iomem.named("Crash kernel").map(|r| show(r.start, r.last)).collect();
    let ours: Vec<_> = ours.iter().map(|r| show(r.start.get(), r.end.get() - 1)).collect();
    for n in 0..captured.len().max(ours.len()) {
        let key = format!("crash kernel #{}", n + 1);
        tally.check(Group::Placements, &key, captured.get(n).cloned(), ours.get(n).cloned());
    }
    tally
}

/// Spanned, present and first frame of each zone; and the pages in CMA areas.
fn zone_files(info: &zoneinfo::ZoneInfo, boot: &Boot<'_>) -> (Tally, Tally) {
    let (mut zones, mut cma) = (Tally::default(), Tally::default());
    let Some(layout) = &boot.layout else { return (zones, cma) };
    for zone in &info.zones {
        let kind = ZoneKind::ALL.into_iter().find(|k| k.name() == zone.name);
        let node = layout.nodes().get(zone.node as usize);
        let ours = kind.zip(node).map(|(kind, node)| node.zone(kind));
        let mut check = |what: &str, captured: u64, ours: Option<u64>| {
            let key = format!("node {} zone {} {what}", zone.node, zone.name);
            zones.check(Group::Zones, &key, Some(captured.to_string()), ours.map(|v| v.to_string()));
        };
        check("spanned", zone.pages.spanned, ours.map(|z| z.spanned));
        check("present", zone.pages.present, ours.map(|z| z.present));
        if let Some(populated) = &zone.populated {
            check("start_pfn", populated.start_pfn, ours.map(|z| z.start_pfn.get()));
        }
        let pages = ours.map(|z| {
            let span = z.pfns().bytes(boot.machine.config.page_shift);
            let active = boot.cma.iter().filter(|area| !area.given_back);
            let inside = active.map(|area| area.range.intersection(&span).len());
            inside.sum::<u64>() / boot.machine.config.page_shift.bytes()
        });
        let key = format!("node {} zone {} cma", zone.node, zone.name);
        cma.check(Group::Placements, &key, Some(zone.pages.cma.to_string()), pages.map(|p| p.to_string()));
    }
    (zones, cma)
}

/// The processors that run on each node, of the nodes that have files.
fn node_cpus(capture: &Capture, boot: &Boot<'_>) -> Tally {
    let mut tally = Tally::default();
    let list =
        |cpus: &mut dyn Iterator<Item = u32>| cpus.map(|cpu| cpu.to_string()).collect::<Vec<_>>().join(", ");
    for (node, files) in &capture.nodes {
        let Some(cpus) = &files.cpus else { continue };
        let captured = list(&mut cpus.iter().copied());
        let nid = u16::try_from(*node).ok().and_then(NodeId::new);
        let mut mine = boot.online_cpus().filter(|cpu| nid.is_some_and(|nid| boot.is_on_node(*cpu, nid)));
        tally.check(Group::Zones, &format!("node {node} cpus"), Some(captured), Some(list(&mut mine)));
    }
    tally
}

/// Managed pages of each zone with memory, the difference told in pages.
fn managed(info: &zoneinfo::ZoneInfo, booted: &Booted<'_, '_, '_, '_, '_>) -> Tally {
    let mut tally = Tally::default();
    for zone in info.zones.iter().filter(|z| z.populated.is_some()) {
        let mut zones = booted.running.buddy.zones().iter();
        let ours = zones.find(|z| u32::from(z.nid().get()) == zone.node && z.kind().name() == zone.name);
        let text = ours.map(|z| {
            let pages = z.managed_pages() + booted.state().gigantic_pages(z.nid(), z.kind());
            match pages as i64 - zone.pages.managed as i64 {
                0 => pages.to_string(),
                difference => format!("{pages} ({difference:+} pages)"),
            }
        });
        let key = format!("node {} zone {} managed", zone.node, zone.name);
        tally.check(Group::Managed, &key, Some(zone.pages.managed.to_string()), text);
    }
    tally
}

/// The kernel's page tables, where the capture has them and ours were built.
fn page_tables_group(capture: &Capture, booted: &Booted<'_, '_, '_, '_, '_>, report: &mut MachineReport) {
    let outcome = match (&capture.page_tables, &booted.boot.pgtable) {
        (Some(captured), Some(tables)) => page_tables::compare(captured, booted, tables),
        (Some(_), None) => {
            report.left_out.insert(Group::PageTables, "page tables are counted only".to_owned());
            return;
        }
        (None, _) => {
            report.left_out.insert(Group::PageTables, "no kernel_page_tables.txt".to_owned());
            return;
        }
    };
    for (rule, bytes) in page_tables::RULES.iter().zip(outcome.excluded) {
        report.excluded.push(format!("{} KiB: {rule}", bytes >> 10));
    }
    report.groups.insert(Group::PageTables, outcome.tally);
}

fn replay_group(
    capture: &Capture,
    record: &Recorder,
    log_has_gap: bool,
    report: &mut MachineReport,
) -> Result<(), Fault> {
    let place = capture.dir.join("dmesg.txt");
    let calls = replay::log::parse(&capture.dmesg).map_err(|f| f.within(place.display()))?;
    if calls.is_empty() {
        report.left_out.insert(Group::Replay, "no memblock call in dmesg.txt (memblock=debug)".to_owned());
        return Ok(());
    }
    let Some((start, ours)) = record.replay_input() else {
        let mut tally = Tally::default();
        tally.check(Group::Replay, "memblock calls", Some(calls.len().to_string()), None);
        report.groups.insert(Group::Replay, tally);
        return Ok(());
    };
    let text = |file: &Option<crate::show::memblock::Regions>| file.as_ref().map(ToString::to_string);
    let (memory, reserved) = (text(&capture.memblock_memory), text(&capture.memblock_reserved));
    let finals = Finals { memory: memory.as_deref(), reserved: reserved.as_deref(), log_has_gap };
    let outcome = replay::replay(&start, &ours, &calls, finals)
        .map_err(|e| Fault::caused(e, place.display().to_string(), ""))?;
    report.groups.insert(Group::Replay, outcome.tally);
    report.silent_changes = outcome.silent;
    report.diverging_calls = outcome.diverging;
    Ok(())
}
