//! The stage that has parsers of other people read what `pagewright show` prints.
//!
//! Python's `jc` reads six of the files. It is lenient, so reading alone shows little: each answer is also held to
//! facts that hold on any machine, and where captured machines are at hand, jc must find the same keys in our
//! file and in the one that Linux printed. (The Rust `procfs` crate is used in the tests of `lab`.)

use super::Suite;
use crate::cmd::Cmd;
use crate::stage::{Limit, Outcome};
use crate::tools;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The release that was tried.
const JC: (&str, &str) = ("jc", "1.26.1");

/// A file of /proc, and what must be true of jc's reading of it.
type Check = (&'static str, fn(&Value) -> Result<(), String>);

const CHECKS: [Check; 6] = [
    ("buddyinfo", |v| each(v, |zone| integers(zone, "free_chunks", 11).and(text(zone, "zone")))),
    ("pagetypeinfo", |v| {
        integer(v, "page_block_order")?;
        each(&v["free_pages"], |row| integers(row, "free", 11).and(text(row, "type")))?;
        each(&v["num_blocks_type"], |row| text(row, "zone"))
    }),
    ("meminfo", |v| integer(v, "MemTotal").and(integer(v, "MemFree"))),
    ("zoneinfo", |v| {
        each(v, |node| {
            let zones = node.as_object().ok_or("a node is no object")?;
            let found = zones.values().filter(|zone| zone["pages"]["managed"].is_u64()).count();
            if found == 0 { Err("no zone has a managed count".into()) } else { Ok(()) }
        })
    }),
    ("vmstat", |v| integer(v, "nr_free_pages").and(integer(v, "pgalloc_normal"))),
    ("iomem", |v| {
        each(v, |line| text(line, "start").and(text(line, "end")).and(text(line, "device")))?;
        let named = |wanted| v.as_array().is_some_and(|all| all.iter().any(|line| line["device"] == wanted));
        if named("System RAM") { Ok(()) } else { Err("no System RAM".into()) }
    }),
];

/// Runs every check on the default machine, and compares keys on one captured machine of each architecture.
pub(super) fn run(suite: &mut Suite<'_>, limit: Limit) -> Outcome {
    let jc = match tools::pypi(suite.project, JC.0, JC.1, "jc") {
        Ok(jc) => jc,
        Err(line) => return Outcome::Missing(line),
    };
    let program = match suite.pagewright() {
        Ok(program) => program,
        Err(why) => return Outcome::Failed(why),
    };
    let (mut wrong, mut read) = (Vec::new(), 0);
    for (file, check) in CHECKS {
        read += 1;
        let checked = show(&program, file, &[], limit)
            .and_then(|shown| parse(&jc, file, &shown))
            .and_then(|v| check(&v));
        wrong.extend(checked.err().map(|why| format!("{file}: {why}")));
    }
    for machine in one_of_each_architecture(suite.project.captures()) {
        for (file, _) in CHECKS {
            let captured = machine.join(format!("{file}.txt"));
            let Ok(linux) = std::fs::read_to_string(&captured) else { continue };
            read += 1;
            let ours = show(&program, file, &machine_options(&machine), limit);
            let same = ours.and_then(|ours| same_keys(&parse(&jc, file, &ours)?, &parse(&jc, file, &linux)?));
            wrong.extend(same.err().map(|why| format!("{file} of {}: {why}", machine.display())));
        }
    }
    if wrong.is_empty() {
        Outcome::Passed(format!("jc {} reads {read} files", JC.1))
    } else {
        Outcome::Failed(format!("{} of {read} files are read wrongly\n{}", wrong.len(), wrong.join("\n")))
    }
}

/// What `show` needs to know to be a captured machine: its device tree, or its log.
fn machine_options(machine: &Path) -> Vec<String> {
    let option =
        |name: &str, file: &str| vec![name.to_owned(), machine.join(file).to_string_lossy().into_owned()];
    if machine.join("machine.dtb").is_file() {
        return option("--dtb", "machine.dtb");
    }
    let mut options = option("--dmesg", "dmesg.txt");
    if machine.join("SRAT").is_file() {
        options.extend(["--acpi".to_owned(), machine.to_string_lossy().into_owned()]);
    }
    options
}

/// The first captured machine whose name begins with each architecture's.
fn one_of_each_architecture(captures: Vec<PathBuf>) -> Vec<PathBuf> {
    let first = |prefix: &str| {
        let named = |p: &&PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(prefix));
        captures.iter().find(named).cloned()
    };
    ["arm-", "arm64-", "x86_64-", "i386-"].into_iter().filter_map(first).collect()
}

fn show(program: &Path, file: &str, options: &[String], limit: Limit) -> Result<String, String> {
    let out = Cmd::new(program).args(["show", file]).args(options).limit(limit.left()).run()?;
    if out.ok() { Ok(out.stdout) } else { Err(format!("show: {}", crate::cmd::tail(&out.text, 3))) }
}

fn parse(jc: &Path, file: &str, text: &str) -> Result<Value, String> {
    let out = Cmd::new(jc).arg(format!("--proc-{file}")).input(text).run()?;
    if !out.ok() {
        return Err(format!("jc: {}", crate::cmd::tail(&out.text, 3)));
    }
    serde_json::from_str(&out.stdout).map_err(|e| format!("jc's answer: {e}"))
}

/// Both readings have the same keys, at every depth, lists taken as sets of their items' keys. Names that stand
/// for devices (iomem's) are values, not keys, and may differ.
fn same_keys(ours: &Value, linux: &Value) -> Result<(), String> {
    let (ours, linux) = (keys(ours), keys(linux));
    if let Some(key) = linux.iter().find(|key| !ours.contains(*key)) {
        return Err(format!("Linux has {key}, we do not"));
    }
    match ours.iter().find(|key| !linux.contains(*key)) {
        Some(key) => Err(format!("we have {key}, Linux does not")),
        None => Ok(()),
    }
}

fn keys(value: &Value) -> std::collections::BTreeSet<String> {
    fn walk(value: &Value, path: &str, into: &mut std::collections::BTreeSet<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, field)| {
                let path = format!("{path}.{key}");
                walk(field, &path, into);
                into.insert(path);
            }),
            Value::Array(items) => items.iter().for_each(|item| walk(item, path, into)),
            _ => {}
        }
    }
    let mut all = std::collections::BTreeSet::new();
    walk(value, "", &mut all);
    all
}

fn each(value: &Value, check: impl Fn(&Value) -> Result<(), String>) -> Result<(), String> {
    match value.as_array() {
        Some(items) if !items.is_empty() => items.iter().try_for_each(check),
        _ => Err("nothing was read".into()),
    }
}

fn integer(value: &Value, key: &str) -> Result<(), String> {
    if value[key].is_u64() { Ok(()) } else { Err(format!("{key} is no number: {}", value[key])) }
}

fn integers(value: &Value, key: &str, count: usize) -> Result<(), String> {
    match value[key].as_array() {
        Some(items) if items.len() == count && items.iter().all(Value::is_u64) => Ok(()),
        _ => Err(format!("{key} is no list of {count} numbers: {}", value[key])),
    }
}

fn text(value: &Value, key: &str) -> Result<(), String> {
    match value[key].as_str() {
        Some(text) if !text.is_empty() => Ok(()),
        _ => Err(format!("{key} is empty: {}", value[key])),
    }
}

#[cfg(test)]
#[path = "parsers_tests.rs"]
mod tests;
