//! `cargo xtask boards`: every device tree that Debian ships with its arm and arm64 kernels.
//!
//! The trees are fetched, not committed. Each one is given to `pagewright boot --memory 1G` under its package's own
//! kernel configuration. A tree is fine if it boots, or is refused by name (exit code 2, one line), and if each
//! child of its /reserved-memory has exactly one verdict.

mod fetch;
mod verdict;

use crate::cmd::Cmd;
use crate::project::Project;
use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use verdict::Verdict;

/// How many trees the three packages hold.
const EXPECTED_TREES: usize = 2372;

/// Options of `cargo xtask boards`.
#[derive(Args)]
pub(crate) struct Options {
    /// Take the trees below this folder instead of Debian's
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Only trees whose path contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Memory given to each board
    #[arg(long, default_value = "1G")]
    memory: String,
    /// Trees at a time; all processors if not given
    #[arg(long, short)]
    jobs: Option<usize>,
    /// Print a line for each tree, not only for those at fault
    #[arg(long, short)]
    verbose: bool,
}

/// One tree, and the kernel configuration it is booted with.
struct Board {
    tree: PathBuf,
    name: String,
    config: Option<PathBuf>,
}

/// Boots them all and prints a summary.
///
/// # Errors
/// One line: what is missing, or how many trees are at fault (each has been named above).
pub(crate) fn run(project: &Project, options: &Options) -> Result<(), String> {
    let mut boards = match &options.dir {
        Some(dir) => trees(dir, None),
        None => {
            let packages = fetch::packages(project)?;
            packages.iter().flat_map(|p| trees(&p.unpacked, p.kernel_config())).collect()
        }
    };
    if options.dir.is_none() && boards.len() != EXPECTED_TREES {
        println!(
            "{} device trees instead of {EXPECTED_TREES}: the packages are of another release",
            boards.len()
        );
    }
    if let Some(text) = &options.only {
        boards.retain(|board| board.name.contains(text.as_str()));
    }
    if boards.is_empty() {
        return Err("no device tree to boot".into());
    }
    let program = project.program("pagewright", true)?;
    let start = Instant::now();
    let verdicts = boot_all(&program, &boards, options);
    let summary = Summary::of(&boards, &verdicts, options.verbose);
    println!("{}", summary.text);
    println!("{} trees in {:.1} s", boards.len(), start.elapsed().as_secs_f64());
    match summary.faults {
        0 => Ok(()),
        count => Err(format!("{count} of {} trees neither boot nor are refused by name", boards.len())),
    }
}

/// Every device tree below a folder.
fn trees(dir: &Path, config: Option<PathBuf>) -> Vec<Board> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|e| e.path()) {
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if path.extension().is_some_and(|x| x == "dtb") {
                let name = path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().into_owned();
                found.push(Board { tree: path, name, config: config.clone() });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Boots every board, as many at a time as there are jobs, and returns the verdicts in the boards' order.
fn boot_all(program: &Path, boards: &[Board], options: &Options) -> Vec<Verdict> {
    let jobs = options.jobs.or(thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    let next = AtomicUsize::new(0);
    let (send, receive) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs {
            let (send, next) = (send.clone(), &next);
            scope.spawn(move || {
                while let Some((index, board)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, boards.get(i)?)))
                {
                    if send.send((index, boot(program, board, &options.memory))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        let mut verdicts: BTreeMap<usize, Verdict> = BTreeMap::new();
        for (index, verdict) in receive {
            verdicts.insert(index, verdict);
        }
        verdicts.into_values().collect()
    })
}

fn boot(program: &Path, board: &Board, memory: &str) -> Verdict {
    let mut cmd =
        Cmd::new(program).args(["boot", "--json", "--quiet", "--memory", memory, "--dtb"]).arg(&board.tree);
    if let Some(config) = &board.config {
        cmd = cmd.arg("--kernel-config").arg(config);
    }
    let reserved = match std::fs::read(&board.tree) {
        Ok(bytes) => verdict::reserved_memory_nodes(&bytes),
        Err(e) => return Verdict::Fault(e.to_string()),
    };
    match cmd.limit(Duration::from_secs(60)).run() {
        Ok(out) => verdict::judge(&out, reserved.as_ref()),
        Err(why) => Verdict::Fault(why),
    }
}

/// The closing table.
struct Summary {
    text: String,
    faults: usize,
}

impl Summary {
    fn of(boards: &[Board], verdicts: &[Verdict], verbose: bool) -> Self {
        let (mut booted, mut nodes, mut faults) = (0, 0, Vec::new());
        let mut refused: BTreeMap<String, usize> = BTreeMap::new();
        let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
        let mut lines = Vec::new();
        for (board, verdict) in boards.iter().zip(verdicts) {
            if verbose {
                lines.push(format!("{}: {verdict}", board.name));
            }
            match verdict {
                Verdict::Booted { reserved } => {
                    booted += 1;
                    nodes += reserved.len();
                    for outcome in reserved {
                        // Some outcomes carry operands; the first word is the kind.
                        let kind = outcome.split_whitespace().next().unwrap_or(outcome);
                        *outcomes.entry(kind.to_owned()).or_default() += 1;
                    }
                }
                Verdict::Refused(line) => *refused.entry(verdict::kind(line)).or_default() += 1,
                Verdict::Fault(why) => faults.push(format!("{}: {why}", board.name)),
            }
        }
        lines.extend(faults.iter().map(|line| format!("FAULT {line}")));
        lines.push(format!("{booted:>6}  booted, with {nodes} reserved-memory nodes"));
        lines.extend(outcomes.iter().map(|(outcome, count)| format!("{count:>15}  {outcome}")));
        lines.push(format!("{:>6}  refused by name", refused.values().sum::<usize>()));
        lines.extend(refused.iter().map(|(kind, count)| format!("{count:>15}  {kind}")));
        lines.push(format!("{:>6}  at fault", faults.len()));
        Self { text: lines.join("\n"), faults: faults.len() }
    }
}

#[cfg(test)]
mod tests;
