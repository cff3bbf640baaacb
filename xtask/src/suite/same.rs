//! The stage that shows the bare-metal images to give the answers of the hosted boot.
//!
//! What an image prints is written down as the capture of a machine, in the form in which real Linux kernels were captured. Then
//! the same machine boots hosted, twice over: `pagewright conform` compares fact by fact what the logs say (memblock's regions, zones,
//! fallback orders, the replayed calls), and `pagewright show` has to print the very text of every view, the page tables with
//! their entries among them. The image has asked its processor for every mapping of those tables, and the hosted
//! command its software MMU.

mod capture;

use super::pairs::two_at_a_time;
use super::{Suite, images};
use crate::cmd;
use crate::project::Project;
use crate::qemu::{self, Guest, Target};
use crate::stage::{Limit, Outcome};
pub(super) use capture::{MODELS, Model};
#[cfg(test)]
pub(super) use capture::{device_tree, parts, run_of_x86};
use std::path::PathBuf;

/// The views that are compared.
const VIEWS: &str = "zoneinfo,buddyinfo,pagetypeinfo,meminfo,vmstat,extfrag/extfrag_index,extfrag/unusable_index,cma,iomem,memblock/memory,memblock/reserved,layout,page-tables/runs";
/// What the image is asked for besides: a log from which the machine can be read, and the test that asks the processor for each
/// mapping.
const APPEND: &str = "memblock=debug mminit_loglevel=4 test=tables";
/// Groups of facts in which something has to be compared: a capture that cannot be read as one compares nothing.
pub(super) const GROUPS: [&str; 5] = ["memory", "zones", "placements", "layout", "replay"];

/// A machine: RAM in MiB, processors, nodes, the kernel's words, whether there is a RAM disk.
type Wanted = (u64, u32, u32, &'static str, bool);

/// The machines of one image.
fn machines(model: &Model) -> &'static [Wanted] {
    match model.name {
        "x86_64" => &[
            (64, 1, 1, "", false),
            (1024, 2, 1, "crashkernel=64M no5lvl", true),
            (6144, 1, 1, "", false),
            (512, 4, 2, "movablecore=128M no5lvl", false),
            (768, 1, 1, "mem=300M cma=32M", false),
        ],
        "arm64" => &[
            (64, 1, 1, "", false),
            (1024, 2, 1, "crashkernel=64M", true),
            (4096, 1, 1, "cma=128M@1G-3G rodata=on", false),
            (512, 4, 2, "movablecore=128M", false),
            (768, 1, 1, "mem=300M", true),
        ],
        _ => &[
            (64, 1, 1, "", false),
            (1024, 1, 1, "crashkernel=64M", true),
            (2048, 1, 1, "vmalloc=512M cma=64M", false),
            (512, 1, 1, "mem=300M movablecore=64M", true),
        ],
    }
}

/// Boots the machines, and compares them.
pub(super) fn run(suite: &mut Suite<'_>, limit: Limit) -> Outcome {
    match compare(suite, limit) {
        Ok(outcome) => outcome,
        Err(why) => Outcome::Failed(why),
    }
}

/// A machine that an image has booted on.
struct Booted {
    name: String,
    dir: PathBuf,
    /// What it printed, by view.
    views: Vec<(String, String)>,
}

/// What all machines are compared with.
struct Common<'s> {
    project: &'s Project,
    verbose: bool,
    /// The hosted command.
    pagewright: String,
    /// Where machines are written down.
    folder: PathBuf,
    /// The RAM disk of those that have one.
    disk: PathBuf,
    limit: Limit,
}

/// Boots an image on one of its machines.
fn boot(
    common: &Common<'_>,
    model: &Model,
    (target, image): &(&Target, PathBuf),
    wanted: &Wanted,
) -> Result<Booted, String> {
    let &(mib, smp, numa, words, disk) = wanted;
    let words = words.split(' ').filter(|w| !w.is_empty());
    let name = [format!("{}-{mib}m-{smp}cpu-{numa}node", model.name)].into_iter();
    let name = name.chain(words.clone().map(str::to_owned)).collect::<Vec<_>>().join("-");
    let mut append = format!("{APPEND} show={VIEWS}");
    if model.name != "x86_64" {
        append.push_str(" dump=device-tree");
    }
    if model.name == "arm64" {
        // The image uses the console in the mapping that an early console of the kernel's would have.
        append.push_str(" earlycon=pl011,0x9000000");
    }
    words.for_each(|word| append.push_str(&format!(" {word}")));
    let initrd = disk.then(|| common.disk.clone());
    let guest = Guest { numa, append, initrd, ..Guest::new(mib, smp) };
    let ended = qemu::boot(common.project, target, &guest, image, common.limit.left(), common.verbose)?;
    ended.passed().map_err(|why| format!("{name}: {why}\n{}", cmd::tail(&ended.text, 20)))?;
    let dir = common.folder.join(name.replace(['=', '@', ','], "-"));
    let elf = if target.flat { image.with_extension("") } else { image.clone() };
    let views = capture::write(&dir, model, &ended.text, &elf).map_err(|why| format!("{name}: {why}"))?;
    Ok(Booted { name, dir, views })
}

/// Where two texts differ first, in words.
pub(super) fn difference(image: &str, hosted: &str) -> Option<String> {
    let (mut a, mut b, mut n) = (image.lines(), hosted.lines(), 0);
    loop {
        n += 1;
        match (a.next(), b.next()) {
            (None, None) => return None,
            (a, b) if a == b => {}
            (a, b) => {
                let shown = |line: Option<&str>| line.unwrap_or("nothing").to_owned();
                return Some(format!(
                    "line {n}: the image has `{}`, the hosted boot `{}`",
                    shown(a),
                    shown(b)
                ));
            }
        }
    }
}

/// Holds the text of each view to the hosted boot's. Returns how many lines there were.
fn compare_views(common: &Common<'_>, booted: &Booted) -> Result<usize, String> {
    let cmd = common.project.cmd(&common.pagewright).args(["show", VIEWS, "--capture"]).arg(&booted.dir);
    let out = cmd.limit(common.limit.left()).echo(common.verbose).run()?;
    if out.timed_out {
        return Err(format!("{}: took too long", booted.name));
    }
    if !out.ok() {
        return Err(format!("{}: the hosted boot fails\n{}", booted.name, cmd::tail(&out.text, 20)));
    }
    let (_, hosted) = capture::parts(&out.stdout);
    let (mut lines, mut wrong) = (0, Vec::new());
    for view in VIEWS.split(',') {
        let of =
            |views: &[(String, String)]| views.iter().find(|(name, _)| name == view).map(|(_, t)| t.clone());
        match of(&booted.views).zip(of(&hosted)) {
            // A machine without contiguous areas has nothing to show of them.
            Some((image, hosted)) if !image.is_empty() || (view == "cma" && hosted.is_empty()) => {
                lines += image.lines().count();
                wrong
                    .extend(difference(&image, &hosted).map(|why| format!("{}: {view}, {why}", booted.name)));
            }
            _ => wrong.push(format!("{}: {view} was not printed", booted.name)),
        }
    }
    if wrong.is_empty() { Ok(lines) } else { Err(wrong.join("\n")) }
}

fn compare(suite: &mut Suite<'_>, limit: Limit) -> Result<Outcome, String> {
    let folder = suite.project.scratch("same-answers")?;
    let disk = folder.join("disk");
    std::fs::write(&disk, vec![0x5a; 1_234_567]).map_err(|e| format!("{}: {e}", disk.display()))?;
    let pagewright = suite.pagewright()?.to_string_lossy().into_owned();
    let common = Common { project: suite.project, verbose: suite.verbose, pagewright, folder, disk, limit };
    let images = images::build(suite)?;
    let mut wanted = Vec::new();
    for model in &MODELS {
        let image = images.iter().find(|(target, _)| target.name == model.name);
        let image = image.ok_or_else(|| format!("there is no image for {}", model.name))?;
        wanted.extend(machines(model).iter().map(|wanted| (model, image, wanted)));
    }
    let answers = two_at_a_time(&wanted, |(model, image, wanted)| {
        let booted = boot(&common, model, image, wanted)?;
        compare_views(&common, &booted).map(|lines| (booted, lines))
    });
    let (mut booted, mut wrong, mut lines) = (Vec::new(), Vec::new(), 0);
    for answer in answers {
        match answer {
            Ok((machine, n)) => {
                booted.push(machine);
                lines += n;
            }
            Err(why) => wrong.push(why),
        }
    }
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    let dirs = booted.iter().map(|machine| &machine.dir);
    let json = suite.project.cmd(&common.pagewright).args(["conform", "--json"]).args(dirs);
    let out = match suite.run("same-answers", json, limit) {
        Ok(out) => out,
        Err(outcome) => return Ok(outcome),
    };
    if !out.ok() {
        return Err(format!("the images and the hosted boot differ\n{}", cmd::tail(&out.text, 120)));
    }
    let facts = facts(&out.stdout).ok_or("conform's answer cannot be read")?;
    match facts.iter().find(|(_, n)| *n < booted.len() as u64) {
        Some((group, n)) => Err(format!("{n} facts of {group} were compared on {} machines", booted.len())),
        None => {
            let all: u64 = facts.iter().map(|(_, n)| n).sum();
            let machines = booted.len();
            Ok(Outcome::Passed(format!("{all} facts and {lines} lines of {machines} machines are equal")))
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
