//! `cargo xtask bench --icount`: the images' own benchmarks in guest instructions, beside goals and Linux's figures.

use crate::project::Project;
use crate::qemu::{self, Guest, Purpose, TARGETS, Target};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// How long an image may take.
const LIMIT: Duration = Duration::from_secs(300);
/// The machine's RAM in MiB.
const MEMORY_MIB: u64 = 1024;
/// Arguments with which a nanosecond of guest time is an instruction.
const ICOUNT: [&str; 2] = ["-icount", "shift=0,sleep=off"];

/// What an image measured: names and values in the order in which it told them.
type Values = Vec<(String, f64)>;

/// What a benchmark's value is held beside.
struct Known {
    name: &'static str,
    goal: Option<u64>,
    /// Linux 6.1 on x86_64, the same loop counted the same way.
    linux: Option<u64>,
}

const fn known(name: &'static str, goal: Option<u64>, linux: Option<u64>) -> Known {
    Known { name, goal, linux }
}

/// Goals, and Linux's figures.
const KNOWN: [Known; 36] = [
    known("bytes.total", Some(1 << 20), None),
    known("boot.total", Some(6_000_000), None),
    // `struct page` of 1 GiB.
    known("boot.hand_over", None, Some(25_200_000)),
    known("page.order0", Some(70), Some(705)),
    known("page.order1", None, Some(776)),
    known("page.order2", None, Some(812)),
    known("page.order3", Some(90), Some(884)),
    known("page.order4", None, Some(1599)),
    known("page.order5", None, Some(1953)),
    known("page.order6", None, Some(3560)),
    known("page.order7", None, Some(5468)),
    known("page.order8", None, Some(9426)),
    known("page.order9", Some(400), Some(9979)),
    known("page.order10", Some(900), Some(33679)),
    known("page.batch4096.order0", Some(180), Some(705)),
    known("page.batch512.order3", None, Some(895)),
    known("page.bulk", Some(40), None),
    known("page.bulk_free", None, None),
    known("pagetable.map.4k", Some(6), None),
    known("pagetable.map.2m", Some(8), None),
    known("pagetable.unmap.4k", Some(10), None),
    known("pagetable.translate.4k", Some(40), None),
    known("slab.kmalloc.8", None, Some(269)),
    known("slab.kmalloc.64", Some(57), Some(269)),
    known("slab.kmalloc.1k", None, Some(269)),
    known("slab.cache.40", Some(50), Some(224)),
    known("slab.batch4096.kmalloc.64", Some(80), Some(389)),
    known("slab.batch1024.kmalloc.1k", Some(110), Some(556)),
    known("percpu.8", Some(150), Some(1504)),
    known("vmalloc.4k", Some(750), Some(3612)),
    known("vmalloc.64k", Some(2500), None),
    known("vmalloc.1m", Some(25_000), Some(121_042)),
    known("vmalloc.ioremap", Some(900), None),
    known("vmalloc.beside.4k", Some(1125), None),
    known("vmalloc.beside.64k", Some(3750), None),
    known("kmap.local", Some(40), None),
];

/// Words of the command line that a target's figures are stated with.
fn append(target: &Target, groups: &str) -> String {
    let rodata = if target.triple.starts_with("aarch64") { "rodata=full " } else { "" };
    format!("{rodata}bench={groups}")
}

/// The machine of a target.
fn guest(target: &Target, groups: &str) -> Guest {
    let mut extra: Vec<String> = ICOUNT.map(String::from).into();
    if target.triple.starts_with("x86_64") {
        // The last of two counts.
        extra.extend(["-cpu".into(), "max,la57=off".into()]);
    }
    Guest { append: append(target, groups), extra, ..Guest::new(MEMORY_MIB, 1) }
}

/// The values in what an image printed.
///
/// # Errors
/// A line that is none, and a counter that does not count instructions.
fn values(text: &str) -> Result<Values, String> {
    let mut found = Values::new();
    for line in text.lines().map(str::trim_end).filter(|line| line.starts_with("BENCH ")) {
        let mut words = line.split(' ').skip(1);
        let (name, value) = (words.next(), words.next().and_then(|v| v.parse().ok()));
        match (name, value, words.next()) {
            (Some(name), Some(value), None) => found.push((name.to_owned(), value)),
            _ => return Err(format!("not a value: {line}")),
        }
    }
    match of(&found, "clock.1000") {
        Some(ticks) if (ticks - 1000.0).abs() <= 1.0 => Ok(found),
        Some(ticks) => Err(format!("the counter takes {ticks} for 1000 instructions")),
        None => Err("the image told no values".into()),
    }
}

fn of(values: &Values, name: &str) -> Option<f64> {
    values.iter().find(|(n, _)| n == name).map(|(_, value)| *value)
}

/// A value as it stands in the table; one that misses its goal is marked.
fn cell(value: Option<f64>, goal: Option<u64>) -> String {
    let Some(value) = value else { return "-".into() };
    let mark = if goal.is_some_and(|goal| value > goal as f64) { " !" } else { "" };
    let digits = if value < 1000.0 && value.fract() != 0.0 { 1 } else { 0 };
    format!("{value:.digits$}{mark}")
}

/// The table, in Markdown: a row for each benchmark that an image told, and for those of the same groups that there is a goal for.
fn table(columns: &[(&str, Values)]) -> String {
    let mut names: Vec<&str> = Vec::new();
    let told = columns.iter().flat_map(|(_, values)| values.iter().map(|(name, _)| name.as_str()));
    let group = |name: &str| name.split('.').next().map(str::to_owned);
    let groups: Vec<_> = told.clone().map(group).collect();
    let goals = KNOWN.iter().filter(|k| k.goal.is_some() && groups.contains(&group(k.name))).map(|k| k.name);
    for name in told.chain(goals) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut text = String::from("| instructions, bytes | goal | Linux |");
    columns.iter().for_each(|(name, _)| write!(text, " {name} |").expect("a string takes all"));
    text += "\n|---|---|---|";
    text += &"---|".repeat(columns.len());
    text.push('\n');
    for name in names {
        let known = KNOWN.iter().find(|k| k.name == name);
        let (goal, linux) = (known.and_then(|k| k.goal), known.and_then(|k| k.linux));
        let number = |n: Option<u64>| n.map_or("-".into(), |n| n.to_string());
        write!(text, "| {name} | {} | {} |", number(goal), number(linux)).expect("a string takes all");
        for (_, values) in columns {
            write!(text, " {} |", cell(of(values, name), goal)).expect("a string takes all");
        }
        text.push('\n');
    }
    text
}

/// Runs the benchmarks of all images (or of those that are named) and tells what they measured.
///
/// # Errors
/// One line: what is missing, or which image did not end well.
pub(super) fn run(
    project: &Project,
    archs: &[String],
    groups: &str,
    out: Option<&Path>,
) -> Result<(), String> {
    let targets: Vec<&Target> = if archs.is_empty() {
        TARGETS.iter().collect()
    } else {
        archs.iter().map(|name| qemu::target(name)).collect::<Result<_, _>>()?
    };
    let mut columns = Vec::new();
    for target in targets {
        // What is held to a size are the images of the tests. The next image takes this one's name.
        let image = qemu::build(project, target, Purpose::Tests)?;
        let sizes = qemu::sizes(target, &image)?;
        let image = qemu::build(project, target, Purpose::Benchmarks)?;
        let ended = qemu::boot(project, target, &guest(target, groups), &image, LIMIT, false)?;
        let told = ended.passed().and_then(|()| values(&ended.text));
        let told =
            told.map_err(|why| format!("{}: {why}\n{}", target.name, crate::cmd::tail(&ended.text, 20)))?;
        let mut told = told;
        told.extend([
            ("bytes.text".to_owned(), sizes.text as f64),
            ("bytes.data".to_owned(), sizes.data as f64),
            ("bytes.total".to_owned(), sizes.total() as f64),
        ]);
        columns.push((target.name, told));
    }
    let text = format!(
        "Images of this tree, `{} -smp 1 -m {MEMORY_MIB}M`; Linux is 6.1 on x86_64. `!` marks what misses its goal.\n\n{}",
        ICOUNT.join(" "),
        table(&columns)
    );
    println!("{text}");
    match out {
        Some(out) => std::fs::write(out, text).map_err(|e| format!("{}: {e}", out.display())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_from_what_an_image_prints() {
        let text = "[    0.008] pagewright: benchmarks: values are instructions\nBENCH clock.1000 1000.16\r\nBENCH page.order0 65.50\n";
        let expected: Values = vec![("clock.1000".into(), 1000.16), ("page.order0".into(), 65.5)];
        assert_eq!(values(text), Ok(expected));
    }

    #[test]
    fn values_of_a_counter_that_counts_something_else_are_refused() {
        let wrong = values("BENCH clock.1000 2500\nBENCH page.order0 65\n").unwrap_err();
        assert_eq!(wrong, "the counter takes 2500 for 1000 instructions");
        assert!(values("nothing\n").is_err());
        assert!(values("BENCH clock.1000 1000\nBENCH page.order0 many\n").is_err());
        assert!(values("BENCH clock.1000 1000\nBENCH page.order0 1 2\n").is_err());
    }

    #[test]
    fn a_value_stands_beside_its_goal_and_is_marked_where_it_misses_it() {
        let columns =
            [("arm64", vec![("page.order0".into(), 65.5)]), ("arm", vec![("page.order0".into(), 71.0)])];
        let text = table(&columns);
        assert!(text.contains("| page.order0 | 70 | 705 | 65.5 | 71 ! |\n"), "{text}");
        assert!(text.contains("| page.bulk | 40 | - | - | - |\n"), "{text}");
        assert!(!text.contains("boot.total"), "nobody measured the boot: {text}");
    }
}
