//! The stage that boots the bare-metal images.

use super::pairs::two_at_a_time;
use super::{Suite, minimal};
use crate::qemu::{self, Ended, Guest, Purpose, Sizes, TARGETS, Target};
use crate::stage::{Limit, Outcome};
use std::path::PathBuf;

/// A machine, and how an image has to end on it.
struct Case {
    guest: Guest,
    /// The image's exit code.
    code: i32,
    /// What it has to say, besides its closing line.
    says: &'static [&'static str],
}

impl Case {
    /// An image that does everything that is asked for.
    fn passes(guest: Guest) -> Self {
        Self { guest, code: 0, says: &["tests passed, 0 failed"] }
    }

    /// An image that ends with this code, and says why.
    fn ends(append: &str, code: i32, says: &'static [&'static str]) -> Self {
        Self { guest: Guest { append: append.into(), ..Guest::new(128, 2) }, code, says }
    }

    /// What the log says when all processors run.
    fn brought_up(&self) -> String {
        let s = |n| if n == 1 { "" } else { "s" };
        let (nodes, cpus) = (self.guest.numa, self.guest.smp);
        format!("smp: Brought up {nodes} node{}, {cpus} CPU{}", s(nodes), s(cpus))
    }

    fn judge(&self, ended: &Ended) -> Result<(), String> {
        if self.code == 0 {
            ended.passed()?;
            let up = self.brought_up();
            if !ended.text.contains(&up) {
                return Err(format!("it does not say {up:?}"));
            }
        } else if ended.timed_out || ended.code != Some(self.code) || ended.closing().is_none() {
            let closing = ended.closing().unwrap_or("no closing line");
            return Err(format!("{closing}, exit code {:?} instead of {}", ended.code, self.code));
        }
        match self.says.iter().find(|says| !ended.text.contains(**says)) {
            Some(says) => Err(format!("it does not say {says:?}")),
            None => Ok(()),
        }
    }
}

/// Small and large machines, with one processor and two, NUMA machines where the architecture has such; and endings that are not
/// good, which have to be told.
fn cases(target: &Target) -> Vec<Case> {
    let mut cases: Vec<Case> =
        [(16, 1), (64, 2), (1024, 1), (1024, 2)].map(|(mib, smp)| Case::passes(Guest::new(mib, smp))).into();
    let wide = ["aarch64", "x86_64"].iter().any(|arch| target.triple.starts_with(arch));
    if wide {
        cases.push(Case::passes(Guest { numa: 2, ..Guest::new(512, 4) }));
        // The processors' own data in pages from both nodes, which vmalloc space makes one.
        let append = "percpu_alloc=page".to_owned();
        cases.push(Case::passes(Guest { append, numa: 2, ..Guest::new(512, 4) }));
    } else {
        cases.push(Case::passes(Guest::new(256, 4)));
    }
    if target.name == "x86_64" {
        // The others have page tables of five levels.
        let append = "no5lvl".to_owned();
        cases.push(Case::passes(Guest { append, ..Guest::new(64, 2) }));
    }
    cases.push(Case::ends("test=none trigger=fault", 4, &["walk of 0x8 "]));
    cases.push(Case::ends("test=none trigger=overflow", 4, &["Call trace:"]));
    cases.push(Case::ends("test=none trigger=panic", 5, &["panicked at"]));
    // What KASAN would say of it.
    cases.push(Case::ends("test=none trigger=overrun", 4, &["vmalloc-out-of-bounds at 0x"]));
    // What serves when the other views are printed already: the second processor's stack is an area of vmalloc's.
    let append = "test=none show=meminfo,vmallocinfo,vmalloc-map".to_owned();
    let says = &["VmallocUsed:         128 kB", " pages=32 vmalloc", " stack guard", "vmalloc: "];
    cases.push(Case { guest: Guest { append, ..Guest::new(64, 2) }, code: 0, says });
    // A fault while it prints: the report takes the console from there.
    cases.push(Case::ends("test=none trigger=console", 4, &["Call trace:"]));
    cases.push(Case::ends(if target.flat { "inject=fdt" } else { "inject=acpi" }, 3, &["pagewright: "]));
    cases.push(Case::ends("inject=map", 3, &["pagewright: "]));
    // Too little memory by the command line.
    cases.push(Case::ends("mem=1M", 3, &["bytes short"]));
    cases.push(Case::ends("show=nothing", 6, &["no view `nothing`"]));
    // Started without a device tree: it can say so to the host alone.
    if target.flat {
        let guest = Guest { bare_at: Some(BARE_AT), ..Guest::new(128, 1) };
        cases.push(Case { guest, code: 3, says: &["handed no device tree over"] });
    }
    // Where RAM does not hold the image, or what it needs besides: as little as QEMU loads it into, and a little more.
    for mib in too_small(target) {
        let guest = Guest::new(*mib, 1);
        cases.push(Case { guest, code: 3, says: &["bytes short"] });
    }
    cases
}

/// Where an image's bytes are put if no boot protocol says so: the second 2 MiB of the RAM of QEMU's `virt`, with the 64 KiB before it that arm
/// has its first tables in.
const BARE_AT: u64 = 0x4021_0000;

/// Machines (MiB of RAM) that an image cannot serve. Into less than the first, QEMU does not load it, and says so.
fn too_small(target: &Target) -> &'static [u64] {
    match target.name {
        "x86_64" => &[3, 5, 7, 10],
        "arm" => &[4],
        "arm-lpae" => &[7],
        // QEMU knows what arm64's image takes: what it loads the image into is enough.
        _ => &[],
    }
}

/// The targets that are also built and booted with the other designs of slabs.
const WITH_DESIGNS: [&str; 2] = ["x86_64", "arm64"];

/// Machines for [`qemu::DESIGNS`], the one test that these images have besides what the others run.
fn design_cases() -> Vec<Case> {
    let machines = [Guest::new(64, 2), Guest { numa: 2, ..Guest::new(512, 4) }];
    let says = &["test designs: ok: ", "1 tests passed, 0 failed"];
    let append = format!("test={}", qemu::DESIGNS);
    machines.map(|guest| Case { guest: Guest { append: append.clone(), ..guest }, code: 0, says }).into()
}

/// The most bytes of text and data that an image has.
const MOST_BYTES: u64 = 1 << 20;
/// The same of one with the other designs, which no kernel has at once: a sixteenth more.
const MOST_BYTES_OF_DESIGNS: u64 = MOST_BYTES + MOST_BYTES / 16;

/// Whether an image is as small as it should be.
fn small(name: &str, sizes: Sizes, most: u64) -> Result<(), String> {
    let (text, data, total) = (sizes.text, sizes.data, sizes.total());
    if total <= most {
        return Ok(());
    }
    Err(format!("{name}: {text} bytes of text and {data} of data are {} too many", total - most))
}

/// All images, built. Those of one processor share what they are made of, so they are built one after the other; two processors' at a
/// time.
///
/// # Errors
/// What is missing, or why one does not build. A machine without QEMU shows nothing: that is a failure.
pub(super) fn build(suite: &Suite<'_>) -> Result<Vec<(&'static Target, PathBuf)>, String> {
    build_for(suite, Purpose::Tests, |_| true)
}

/// Images of some targets for a purpose.
fn build_for(
    suite: &Suite<'_>,
    purpose: Purpose,
    wanted: impl Fn(&Target) -> bool,
) -> Result<Vec<(&'static Target, PathBuf)>, String> {
    let mut processors: Vec<Vec<&'static Target>> = Vec::new();
    for target in TARGETS.iter().filter(|target| wanted(target)) {
        match processors.iter_mut().find(|all| all[0].triple == target.triple) {
            Some(all) => all.push(target),
            None => processors.push(vec![target]),
        }
    }
    let project = suite.project;
    let built = two_at_a_time(&processors, |targets| {
        targets
            .iter()
            .map(|t| qemu::build(project, t, purpose).map(|image| (*t, image)))
            .collect::<Result<Vec<_>, _>>()
    });
    built.into_iter().collect::<Result<Vec<_>, _>>().map(|all| all.into_iter().flatten().collect())
}

/// The images for tests, and then those with the other designs, which share all but the last crate with them.
fn build_both(suite: &Suite<'_>) -> Result<[Vec<(&'static Target, PathBuf)>; 2], String> {
    let plain = build(suite)?;
    Ok([plain, build_for(suite, Purpose::Designs, |target| WITH_DESIGNS.contains(&target.name))?])
}

/// Each image is small, boots, runs its tests, and says that they passed; where it cannot go on it says so and ends.
pub(super) fn boot(suite: &mut Suite<'_>, limit: Limit) -> Outcome {
    let [images, designs] = match build_both(suite) {
        Ok(both) => both,
        Err(why) => return Outcome::Failed(why),
    };
    let mut wrong: Vec<String> = Vec::new();
    for (all, most) in [(&images, MOST_BYTES), (&designs, MOST_BYTES_OF_DESIGNS)] {
        for (target, image) in all {
            wrong.extend(qemu::sizes(target, image).and_then(|sizes| small(target.name, sizes, most)).err());
        }
    }
    let plain = images.iter().map(|(target, image)| (target, image, cases(target)));
    let machines: Vec<_> = plain
        .chain(designs.iter().map(|(target, image)| (target, image, design_cases())))
        .flat_map(|(target, image, cases)| cases.into_iter().map(move |case| (*target, image, case)))
        .collect();
    let (project, verbose) = (suite.project, suite.verbose);
    let ends = two_at_a_time(&machines, |(target, image, case)| {
        let guest = &case.guest;
        let ended = qemu::boot(project, target, guest, image, limit.left(), verbose);
        let judged = ended.and_then(|ended| {
            case.judge(&ended).map_err(|why| format!("{why}\n{}", crate::cmd::tail(&ended.text, 20)))
        });
        judged.map_err(|why| {
            format!(
                "{} with {} MiB, {} processors, {} nodes, `{}`: {why}",
                target.name, guest.memory_mib, guest.smp, guest.numa, guest.append
            )
        })
    });
    wrong.extend(ends.into_iter().filter_map(Result::err));
    wrong.extend(minimal::check(suite, limit).err());
    if wrong.is_empty() {
        Outcome::Passed(format!(
            "{} machines with {} images end as they should, and so does the minimal example",
            machines.len(),
            images.len() + designs.len()
        ))
    } else {
        Outcome::Failed(format!("{} boots or sizes are wrong\n{}", wrong.len(), wrong.join("\n")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_more_than_a_mebibyte_is_told_with_its_parts() {
        assert_eq!(small("arm", Sizes { text: 1 << 20, data: 0 }, MOST_BYTES), Ok(()));
        let why = small("arm", Sizes { text: 1_000_000, data: 50_000 }, MOST_BYTES).unwrap_err();
        assert_eq!(why, "arm: 1000000 bytes of text and 50000 of data are 1424 too many");
    }
}
