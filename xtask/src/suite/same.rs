//! The stage that shows a bare-metal image to give the answers of the hosted boot.
//!
//! What an image prints is written down as the capture of a machine, in the form in which real Linux kernels were captured,
//! and `pagewright conform` boots that machine hosted and compares every fact: memblock's regions, zones, fallback orders, the
//! replayed calls, and the page tables that the image's processor runs on.

use super::Suite;
use crate::cmd;
use crate::qemu::{self, Guest, Target, symbols};
use crate::stage::{Limit, Outcome};
use std::path::Path;

/// What the image is asked for.
const APPEND: &str = "memblock=debug mminit_loglevel=4 test=none dump=page-tables \
                      show=zoneinfo,buddyinfo,iomem,memblock/memory,memblock/reserved";
/// The image that is compared, and the kernel whose configuration it has.
const IMAGE: (&str, &str) = ("x86_64", "6.1.0-56-amd64");
/// Symbols that tell where the image's parts are, and what Linux calls them.
const SYMBOLS: [(&str, &str); 21] = [
    ("_text", "_text"),
    ("_text", "_stext"),
    ("_etext", "_etext"),
    ("__start_rodata", "__start_rodata"),
    ("__end_rodata", "__end_rodata"),
    ("_sdata", "_sdata"),
    ("_edata", "_edata"),
    ("__init_begin", "__init_begin"),
    ("__inittext_end", "_einittext"),
    ("__init_end", "__init_end"),
    ("__bss_start", "__bss_start"),
    ("__bss_stop", "__bss_stop"),
    ("_end", "__end_of_kernel_reserve"),
    ("__brk_limit", "_end"),
    ("init_top_pgt", "init_top_pgt"),
    ("level3_kernel_pgt", "level3_kernel_pgt"),
    ("level2_kernel_pgt", "level2_kernel_pgt"),
    ("level2_fixmap_pgt", "level2_fixmap_pgt"),
    ("level1_fixmap_pgt", "level1_fixmap_pgt"),
    ("early_top_pgt", "early_top_pgt"),
    ("early_dynamic_pgts", "early_dynamic_pgts"),
];
/// Groups of facts in which something has to be compared: a capture that cannot be read as one compares nothing.
pub(super) const GROUPS: [&str; 6] = ["memory", "zones", "placements", "layout", "replay", "page-tables"];

/// The text in parts: the log, then the files by their headings.
pub(super) fn parts(text: &str) -> (String, Vec<(String, String)>) {
    let (mut log, mut files) = (String::new(), Vec::<(String, String)>::new());
    for line in text.lines().map(str::trim_end) {
        let heading = line.strip_prefix("==> ").and_then(|l| l.strip_suffix(" <=="));
        match (heading, files.last_mut()) {
            (Some(name), _) => files.push((name.into(), String::new())),
            // Whatever has a time stamp is the log's, wherever it comes.
            _ if line.starts_with('[') => {
                // The image's own words, and what it does after the initcalls, are no facts of the boot.
                let own = ["pagewright: ", "smp: "].iter().any(|own| line.contains(&format!("] {own}")));
                if !own {
                    log.push_str(line);
                    log.push('\n');
                }
            }
            (None, Some((_, file))) => {
                file.push_str(line);
                file.push('\n');
            }
            (None, None) => {}
        }
    }
    (log, files)
}

/// A line of the image's page tables in the words of captured ones: the entry's bits as letters.
pub(super) fn run_of_x86(line: &str) -> Option<String> {
    let [range, phys, size, word] = line.split_whitespace().collect::<Vec<_>>()[..] else { return None };
    let word = u64::from_str_radix(word, 16).ok()?;
    let bit = |n: u32, letter| if word >> n & 1 != 0 { letter } else { '-' };
    let x = if word >> 63 == 0 { 'x' } else { '-' };
    let letters: String =
        [bit(1, 'w'), bit(2, 'u'), x, bit(8, 'G'), bit(4, 'C'), bit(3, 'W')].iter().collect();
    Some(format!("{range} {phys} {size:>9} {letters}"))
}

/// Writes what an image printed as the files of a capture.
fn write_capture(dir: &Path, text: &str, image: &Path) -> Result<(), String> {
    let fault = |e: std::io::Error| format!("{}: {e}", dir.display());
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).map_err(fault)?;
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).map_err(fault);
    let (log, files) = parts(text);
    // What the image has none of it does not free either; a real kernel's log says how much it was.
    let none = "[    9.999999] Freeing SMP alternatives memory: 0K\n[    9.999999] Freeing unused decrypted memory: 0K\n";
    let banner = format!("[    0.000000] Linux version {} (the image's configuration)\n", IMAGE.1);
    write("dmesg.txt", &format!("{banner}{log}{none}"))?;
    for (name, file) in &files {
        match name.as_str() {
            "dump/page-tables" => {
                let runs: Vec<String> = file.lines().filter_map(run_of_x86).collect();
                write("kernel_page_tables.txt", &(runs.join("\n") + "\n"))?;
            }
            "end" => {}
            name => write(&format!("{}.txt", name.replace('/', "_")), file)?,
        }
    }
    let bytes = std::fs::read(image).map_err(|e| format!("{}: {e}", image.display()))?;
    let found = symbols(&bytes).ok_or_else(|| format!("{}: no symbols", image.display()))?;
    let mut lines = Vec::new();
    for (ours, linux) in SYMBOLS {
        let at = found.iter().find(|(name, _)| name == ours).map(|(_, at)| at);
        let at = at.ok_or_else(|| format!("{}: no symbol {ours}", image.display()))?;
        lines.push(format!("{at:016x} D {linux}\n"));
    }
    lines.sort();
    write("kernel_symbols.txt", &lines.concat())
}

/// The machines.
fn guests() -> Vec<Guest> {
    let guest = |mib, smp, numa| Guest { numa, append: APPEND.into(), ..Guest::new(mib, smp) };
    vec![guest(64, 1, 1), guest(1024, 2, 1), guest(6144, 1, 1), guest(512, 4, 2)]
}

/// Boots the machines, and compares them.
pub(super) fn run(suite: &mut Suite<'_>, limit: Limit) -> Outcome {
    match compare(suite, limit) {
        Ok(outcome) => outcome,
        Err(why) => Outcome::Failed(why),
    }
}

fn compare(suite: &mut Suite<'_>, limit: Limit) -> Result<Outcome, String> {
    let target: &Target = qemu::target(IMAGE.0)?;
    let image = qemu::build(suite.project, target)?;
    let folder = suite.project.scratch("same-answers")?;
    let mut dirs = Vec::new();
    for guest in guests() {
        let name = format!("{}-{}m-{}cpu-{}node", target.name, guest.memory_mib, guest.smp, guest.numa);
        let ended = qemu::boot(suite.project, target, &guest, &image, limit.left(), suite.verbose)?;
        ended.passed().map_err(|why| format!("{name}: {why}\n{}", cmd::tail(&ended.text, 20)))?;
        let dir = folder.join(&name);
        write_capture(&dir, &ended.text, &image)?;
        dirs.push(dir);
    }
    let program = suite.pagewright()?.to_string_lossy().into_owned();
    let json = suite.project.cmd(&program).args(["conform", "--json"]).args(&dirs);
    let out = match suite.run("same-answers", json, limit) {
        Ok(out) => out,
        Err(outcome) => return Ok(outcome),
    };
    if !out.ok() {
        return Err(format!("the image and the hosted boot differ\n{}", cmd::tail(&out.text, 120)));
    }
    let facts = facts(&out.stdout).ok_or("conform's answer cannot be read")?;
    match facts.iter().find(|(_, n)| *n < dirs.len() as u64) {
        Some((group, n)) => Err(format!("{n} facts of {group} were compared on {} machines", dirs.len())),
        None => {
            let all: u64 = facts.iter().map(|(_, n)| n).sum();
            Ok(Outcome::Passed(format!("{all} facts of {} machines are equal", dirs.len())))
        }
    }
}

/// How many facts of each of [`GROUPS`] were compared on all machines.
pub(super) fn facts(json: &str) -> Option<Vec<(&'static str, u64)>> {
    let answer: serde_json::Value = serde_json::from_str(json).ok()?;
    let machines = answer["machines"].as_array()?;
    let of =
        |group: &str| -> u64 { machines.iter().filter_map(|m| m["groups"][group]["facts"].as_u64()).sum() };
    Some(GROUPS.iter().map(|group| (*group, of(group))).collect())
}
