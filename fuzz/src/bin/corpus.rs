//! Runs every target over its committed corpus and over repeatable mutations of it, without a fuzzer.
//!
//! Also the writer of the first corpus: `corpus --write-seeds`. An input that makes a target panic is kept below
//! `artifacts/` under a name that says how it came about, and the program ends with code 1.
#![forbid(unsafe_code)]

use pagewright_fuzz::{Mutator, TARGETS, Target, seeds};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let result = match std::env::args().nth(1).as_deref() {
        None => replay(home),
        Some("--write-seeds") => write_seeds(home),
        Some(other) => Err(format!("no option {other}: --write-seeds, or none")),
    };
    match result {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(line) => {
            eprintln!("{line}");
            ExitCode::FAILURE
        }
    }
}

fn write_seeds(home: &Path) -> Result<String, String> {
    let mut count = 0;
    for (target, name, bytes) in seeds::all() {
        let dir = home.join("corpus").join(target);
        fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        fs::write(dir.join(name), bytes).map_err(|e| format!("{}/{name}: {e}", dir.display()))?;
        count += 1;
    }
    Ok(format!("{count} seeds written"))
}

fn replay(home: &Path) -> Result<String, String> {
    let (mut files, mut inputs, mut found) = (0, 0, Vec::new());
    for target in TARGETS {
        let corpus = read_all(&home.join("corpus").join(target.corpus()))?;
        if corpus.is_empty() {
            return Err(format!("corpus/{} is empty", target.corpus()));
        }
        files += corpus.len();
        let start = Instant::now();
        let mut slowest = (Duration::ZERO, String::new());
        for (index, (path, bytes)) in corpus.iter().enumerate() {
            let other = &corpus[(index + 1) % corpus.len()].1;
            let label = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut mutator =
                Mutator::new(label.bytes().fold(0, |sum, b| sum * 31 % 0xffff_fffb + u64::from(b)));
            for round in 0..=target.mutations {
                // The file itself comes first.
                let (label, input) = match round {
                    0 => (label.clone(), bytes.clone()),
                    _ => (format!("{label}+{round}"), mutator.mutate(bytes, other)),
                };
                let began = Instant::now();
                found.extend(run(home, &target, &label, &input));
                inputs += 1;
                slowest = slowest.max((began.elapsed(), label));
                if found.len() > 20 {
                    return Err(format!("stopped after {} findings:\n{}", found.len(), found.join("\n")));
                }
            }
        }
        let (took, slowest) = (start.elapsed().as_secs_f64(), (slowest.0.as_secs_f64(), slowest.1));
        println!("{:<14} {took:>6.1} s, slowest {:.3} s: {}", target.name, slowest.0, slowest.1);
    }
    if found.is_empty() {
        Ok(format!("{} targets, {files} corpus files, {inputs} inputs, no panic", TARGETS.len()))
    } else {
        Err(format!("{} findings:\n{}", found.len(), found.join("\n")))
    }
}

/// Runs one input; a panic is kept and described.
fn run(home: &Path, target: &Target, label: &str, bytes: &[u8]) -> Option<String> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).err()?;
    let name = target.name;
    let dir = home.join("artifacts").join(name);
    let file = dir.join(label);
    let kept = fs::create_dir_all(&dir).and_then(|()| fs::write(&file, bytes));
    Some(match kept {
        Ok(()) => format!("{name} panicked on {}", file.display()),
        Err(e) => format!("{name} panicked on {label}, which could not be kept: {e}"),
    })
}

/// All files of a folder, sorted by name so that runs are alike.
fn read_all(dir: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, String> {
    let entries = fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| p.is_file()).collect();
    paths.sort();
    let read = |path: PathBuf| match fs::read(&path) {
        Ok(bytes) => Ok((path, bytes)),
        Err(e) => Err(format!("{}: {e}", path.display())),
    };
    paths.into_iter().map(read).collect()
}
