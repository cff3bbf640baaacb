//! The stages that run the `pagewright` command as its users do.

use super::Suite;
use crate::stage::{Limit, Outcome};
use std::path::{Path, PathBuf};

/// Builds the command.
pub(super) fn build(suite: &mut Suite<'_>, _limit: Limit) -> Outcome {
    match suite.pagewright() {
        Ok(path) => {
            Outcome::Passed(path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned()))
        }
        Err(why) => Outcome::Failed(why),
    }
}

/// Every shipped machine boots, in words and as JSON; bad input ends with code 2 and one line.
pub(super) fn smoke(suite: &mut Suite<'_>, limit: Limit) -> Outcome {
    let program = match suite.pagewright() {
        Ok(program) => program,
        Err(why) => return Outcome::Failed(why),
    };
    let mut wrong = Vec::new();
    let names = suite.project.machine_names();
    let default = boot(suite, &program, &["boot"], limit);
    wrong.extend(default.and_then(|text| booted(&text)).err());
    for name in &names {
        let boot_json = boot(suite, &program, &["boot", "--machine", name, "--json", "--quiet"], limit);
        let checked = boot_json.and_then(|text| match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(value) if value.is_object() => Ok(()),
            Ok(_) => Err("--json prints no object".to_owned()),
            Err(e) => Err(format!("--json prints no JSON: {e}")),
        });
        wrong.extend(checked.err().map(|why| format!("{name}: {why}")));
    }
    wrong.extend(workloads(suite, &program, limit).err());
    let refused: [&[&str]; 6] = [
        &["boot", "--machine", "no-such-machine"],
        &["boot", "--dtb", "/no/such/file.dtb"],
        &["boot", "--memory", "lots"],
        &["show", "no-such-file"],
        &["run", "no-such-workload"],
        &["run", "fill=90%; orders=0:9 99:1"],
    ];
    for args in refused {
        wrong.extend(
            refuses(suite, &program, args, limit).err().map(|why| format!("{}: {why}", args.join(" "))),
        );
    }
    if names.is_empty() {
        wrong.push("machines/ describes no machine".into());
    }
    if wrong.is_empty() {
        Outcome::Passed(format!(
            "{} shipped machines boot, workloads give every page back, {} bad inputs are refused",
            names.len(),
            refused.len()
        ))
    } else {
        Outcome::Failed(format!("{} checks failed\n{}", wrong.len(), wrong.join("\n")))
    }
}

fn boot(suite: &Suite<'_>, program: &Path, args: &[&str], limit: Limit) -> Result<String, String> {
    let cmd = suite.project.cmd(&program.to_string_lossy()).args(args);
    let out = suite.run("smoke", cmd, limit).map_err(|_| "took too long".to_owned())?;
    if out.ok() {
        Ok(out.stdout)
    } else {
        Err(format!("exit code {:?}\n{}", out.code, crate::cmd::tail(&out.text, 20)))
    }
}

/// Workloads that ship and one of the caller's own do their work, and every page comes back; where the work runs in turns, the same
/// each time.
fn workloads(suite: &Suite<'_>, program: &Path, limit: Limit) -> Result<(), String> {
    let runs: [&[&str]; 4] = [
        &["run", "steady", "--memory", "128M"],
        &["run", "huge-page", "--memory", "128M", "--cpus", "4", "--threads"],
        &["run", "bursty", "--machine", "arm-virt"],
        &[
            "run",
            "ops=20000; orders=0:9 3:1; fill=70%",
            "--machine",
            "x86_64-numa4",
            "--show",
            "zoneinfo,vmstat",
        ],
    ];
    for args in runs {
        let text = boot(suite, program, args, limit).map_err(|why| format!("{}: {why}", args.join(" ")))?;
        if !text.contains("pages are free again") || !text.contains("Pageblocks, ") || text.contains('\u{1b}')
        {
            return Err(format!("{}: {}", args.join(" "), crate::cmd::tail(&text, 5)));
        }
    }
    let again = ["run", "fragmenting", "--memory", "128M", "--json"];
    let (first, second) = (boot(suite, program, &again, limit)?, boot(suite, program, &again, limit)?);
    let value: serde_json::Value =
        serde_json::from_str(&first).map_err(|e| format!("run --json prints no JSON: {e}"))?;
    if value["all_back"] != true {
        return Err("run --json: pages did not come back".to_owned());
    }
    if first == second { Ok(()) } else { Err("the same workload does not do the same".to_owned()) }
}

/// A picture without colour (standard output is no terminal here), with the log's first and last words in it.
fn booted(text: &str) -> Result<(), String> {
    if text.contains('\u{1b}') {
        return Err("boot writes colour to something that is no terminal".into());
    }
    match ["Zone ranges:", "Memory: "].iter().find(|wanted| !text.contains(**wanted)) {
        Some(wanted) => Err(format!("boot's log has no line with {wanted:?}")),
        None => Ok(()),
    }
}

fn refuses(suite: &Suite<'_>, program: &Path, args: &[&str], limit: Limit) -> Result<(), String> {
    let cmd = suite.project.cmd(&program.to_string_lossy()).args(args);
    let out = suite.run("smoke", cmd, limit).map_err(|_| "took too long".to_owned())?;
    match out.code {
        Some(2) if !out.text.contains("panicked") => Ok(()),
        code => Err(format!("exit code {code:?} instead of 2\n{}", crate::cmd::tail(&out.text, 10))),
    }
}

/// Linux's own userspace suite of memblock, linked against the C interface.
pub(super) fn memblock_suite(suite: &mut Suite<'_>, _limit: Limit) -> Outcome {
    let run = suite.project.scratch("memblock-suite").and_then(|dir| crate::memblock_suite::run(&dir));
    match run {
        Ok(outcome) => Outcome::Passed(outcome.to_string()),
        Err(why) if why.contains("needs the Debian packages") => Outcome::Missing(why),
        Err(why) => Outcome::Failed(why),
    }
}

/// `pagewright conform` over every captured machine at hand, and the allow list if there is one.
pub(super) fn conformance(suite: &mut Suite<'_>, limit: Limit) -> Outcome {
    let captures = suite.project.captures();
    if captures.is_empty() {
        return Outcome::Missing(
            "no captured machines: put folders with a dmesg.txt into tests/captures or name them in PAGEWRIGHT_CAPTURES"
                .into(),
        );
    }
    let program = match suite.pagewright() {
        Ok(program) => program,
        Err(why) => return Outcome::Failed(why),
    };
    let mut cmd = suite.project.cmd(&program.to_string_lossy()).arg("conform").args(&captures);
    match accepted_differences(suite) {
        Ok(Some(file)) => cmd = cmd.arg("--allow").arg(file),
        Ok(None) => {}
        Err(why) => return Outcome::Failed(why),
    }
    suite.judge("conformance", cmd, limit, &format!("{} captured machines are equal", captures.len()))
}

/// The accepted differences, taken out of docs/conformance.md so that they stand in one place; `None` if the list
/// there is empty.
fn accepted_differences(suite: &Suite<'_>) -> Result<Option<PathBuf>, String> {
    let docs = suite.project.path("docs/conformance.md");
    let text = std::fs::read_to_string(&docs).map_err(|e| format!("{}: {e}", docs.display()))?;
    let list = fenced(&text, "conform-allow").ok_or("docs/conformance.md has no conform-allow block")?;
    if list.trim().is_empty() {
        return Ok(None);
    }
    let file = suite.project.scratch("conform")?.join("allow.txt");
    std::fs::write(&file, list).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(Some(file))
}

/// What stands in a document's fenced block of that kind.
pub(super) fn fenced(markdown: &str, kind: &str) -> Option<String> {
    let (_, rest) = markdown.split_once(&format!("\n```{kind}\n"))?;
    let mut list = String::new();
    for line in rest.lines() {
        if line.trim_end() == "```" {
            return Some(list);
        }
        list.push_str(line);
        list.push('\n');
    }
    None
}
