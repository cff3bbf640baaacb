//! A captured machine: the files that a real kernel printed or built, read into values.
//!
//! A capture is a directory. Only `dmesg.txt` must be there; a file that is missing is `None`, and whoever needs it
//! leaves out what it would have shown. A file that is there but cannot be read is a [`Fault`] with its name and
//! line. Which machine a capture came from is told by [`inputs`]; what the kernel made of it is for `conform`.

mod files;
pub mod inputs;
pub mod page_tables;
pub mod slab;
mod symbols;
pub mod vmallocinfo;

pub use files::{cpulist, sysctl};
pub use symbols::Symbols;

use crate::fault::Fault;
use crate::show::{buddyinfo, iomem, memblock, zoneinfo};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// One captured machine.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    /// The directory's name, by which tables call the machine.
    pub name: String,
    /// The directory.
    pub dir: PathBuf,
    /// The kernel log, without what stands before its lines.
    pub dmesg: String,
    /// The command line, if it has a file of its own.
    pub cmdline: Option<String>,
    /// The device tree.
    pub dtb: Option<Vec<u8>>,
    /// The ACPI tables by signature (`SRAT`, `SLIT`, `APIC`).
    pub acpi: BTreeMap<String, Vec<u8>>,
    /// `/proc/zoneinfo`.
    pub zoneinfo: Option<zoneinfo::ZoneInfo>,
    /// `/proc/buddyinfo`.
    pub buddyinfo: Option<buddyinfo::BuddyInfo>,
    /// `/proc/iomem`.
    pub iomem: Option<iomem::IoMem>,
    /// memblock's memory regions as debugfs shows them.
    pub memblock_memory: Option<memblock::Regions>,
    /// memblock's reserved regions.
    pub memblock_reserved: Option<memblock::Regions>,
    /// Where the kernel image's sections lie, by virtual address.
    pub symbols: Option<Symbols>,
    /// The kernel's page tables as they were found in RAM.
    pub page_tables: Option<page_tables::PageTables>,
    /// `/proc/slabinfo`.
    pub slabinfo: Option<slab::SlabInfo>,
    /// What /sys/kernel/slab says about each cache of kmalloc.
    pub slub_kmalloc: Option<slab::SlubKmalloc>,
    /// `/proc/vmallocinfo`.
    pub vmallocinfo: Option<vmallocinfo::VmallocInfo>,
    /// `vm.min_free_kbytes`, in KiB.
    pub min_free_kbytes: Option<u64>,
    /// `vm.lowmem_reserve_ratio`, by zone.
    pub lowmem_reserve_ratio: Option<Vec<u64>>,
    /// `vm.watermark_scale_factor`, in 1/10000.
    pub watermark_scale_factor: Option<u64>,
    /// The CPUs and distances of each node that has files.
    pub nodes: BTreeMap<u32, NodeFiles>,
}

/// What the files of one node say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeFiles {
    /// Its CPUs.
    pub cpus: Option<Vec<u32>>,
    /// Its distances to nodes 0, 1, ...
    pub distances: Option<Vec<u64>>,
}

/// The ACPI tables that a capture may hold.
const ACPI_TABLES: [&str; 3] = ["SRAT", "SLIT", "APIC"];

impl Capture {
    /// Reads a directory.
    ///
    /// # Errors
    /// A [`Fault`] if it is no directory, has no `dmesg.txt`, or holds a file that is not what its name says.
    pub fn read(dir: &Path) -> Result<Self, Fault> {
        let shown = dir.display().to_string();
        if !dir.is_dir() {
            return Err(Fault::new("no such directory", shown, "a captured machine's directory"));
        }
        // `conform .` still names the machine.
        let name = dir.canonicalize().ok().and_then(|d| Some(d.file_name()?.to_string_lossy().into_owned()));
        let from = files::Directory::new(dir);
        let dmesg = from.text("dmesg.txt")?;
        let dmesg =
            dmesg.ok_or_else(|| Fault::new("no dmesg.txt", &shown, "the kernel log of the machine"))?;
        let mut out = Self {
            name: name.unwrap_or_else(|| shown.clone()),
            dir: dir.to_owned(),
            dmesg: crate::facts::plain(&dmesg),
            cmdline: from.text("cmdline.txt")?.map(|t| t.trim_end_matches('\n').to_owned()),
            dtb: from.bytes("machine.dtb")?,
            zoneinfo: from.parsed("zoneinfo.txt", zoneinfo::ZoneInfo::parse)?,
            buddyinfo: from.parsed("buddyinfo.txt", buddyinfo::BuddyInfo::parse)?,
            iomem: from.parsed("iomem.txt", iomem::IoMem::parse)?,
            memblock_memory: from.parsed("memblock_memory.txt", memblock::Regions::parse)?,
            memblock_reserved: from.parsed("memblock_reserved.txt", memblock::Regions::parse)?,
            page_tables: from.parsed("kernel_page_tables.txt", page_tables::PageTables::parse)?,
            slabinfo: from.parsed("slabinfo.txt", slab::SlabInfo::parse)?,
            slub_kmalloc: from.parsed("slub_kmalloc.txt", slab::SlubKmalloc::parse)?,
            vmallocinfo: from.parsed("vmallocinfo.txt", vmallocinfo::VmallocInfo::parse)?,
            symbols: from.parsed("kernel_symbols.txt", Symbols::parse)?,
            min_free_kbytes: from.parsed("sysctl_min_free_kbytes.txt", files::sysctl_number)?,
            lowmem_reserve_ratio: from.parsed("sysctl_lowmem_reserve_ratio.txt", sysctl)?,
            watermark_scale_factor: from.parsed("sysctl_watermark_scale_factor.txt", files::sysctl_number)?,
            ..Self::default()
        };
        for table in ACPI_TABLES {
            if let Some(bytes) = from.bytes(table)? {
                out.acpi.insert(table.to_owned(), bytes);
            }
        }
        out.read_nodes(&from)?;
        Ok(out)
    }

    fn read_nodes(&mut self, from: &files::Directory<'_>) -> Result<(), Fault> {
        for name in from.names()? {
            let Some((node, what)) = name.strip_prefix("node").and_then(|n| n.split_once('_')) else {
                continue;
            };
            let Ok(node) = node.parse() else { continue };
            let files: &mut NodeFiles = self.nodes.entry(node).or_default();
            match what {
                "cpulist.txt" => files.cpus = from.parsed(&name, cpulist)?,
                "distance.txt" => files.distances = from.parsed(&name, sysctl)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The captures among some paths.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Directories with a kernel log.
    pub captures: Vec<PathBuf>,
    /// What exists but is no capture (`conform reference/*` names a README too).
    pub passed_over: Vec<PathBuf>,
}

/// Looks for captures: each path is one, or a folder whose entries are.
///
/// # Errors
/// A [`Fault`] for a path that does not exist, and if there is no capture at all.
pub fn find(paths: &[PathBuf]) -> Result<Found, Fault> {
    let is_capture = |p: &Path| p.join("dmesg.txt").is_file();
    let mut found = Found::default();
    for path in paths {
        if is_capture(path) {
            found.captures.push(path.clone());
            continue;
        }
        let fault = |e: std::io::Error| Fault::caused(e, path.display().to_string(), "a directory");
        let mut inside = Vec::new();
        if fs::metadata(path).map_err(fault)?.is_dir() {
            let entries = fs::read_dir(path).map_err(fault)?.filter_map(|e| Some(e.ok()?.path()));
            inside = entries.filter(|p| is_capture(p)).collect();
        }
        if inside.is_empty() {
            found.passed_over.push(path.clone());
        }
        inside.sort();
        found.captures.append(&mut inside);
    }
    if found.captures.is_empty() {
        let place = paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" ");
        return Err(Fault::new(
            "no captured machine",
            place,
            "a directory with dmesg.txt, or a folder of them",
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
