//! The table of a program that counts its loops with callgrind and times them.

use crate::callgrind;
use std::error::Error;

/// A loop: its name, the function whose instructions count, what the count is divided by, the goal and Linux's figure for one of these
/// (0: none).
#[derive(Clone, Copy, Debug)]
pub struct Loop {
    /// What it is called on the command line and in the table.
    pub name: &'static str,
    /// The function, or a part of its name.
    pub counts: &'static str,
    /// Pairs, pages or whatever is counted.
    pub pairs: u64,
    /// At most so many instructions.
    pub goal: u64,
    /// So many that Linux takes.
    pub linux: u64,
}

impl Loop {
    /// A loop; 0 where there is no goal or no figure.
    pub const fn new(name: &'static str, counts: &'static str, pairs: u64, goal: u64, linux: u64) -> Self {
        Self { name, counts, pairs, goal, linux }
    }
}

/// Prints a row for each loop; or, where the first argument names one, runs that once: so the program calls itself under
/// callgrind. `run` runs a loop once and says how many seconds it took; the time in the table is the median of five.
///
/// # Errors
/// As for [`callgrind::instructions`]; a name that is none of the loops'.
pub fn show<L: AsRef<Loop>>(loops: &[L], run: impl Fn(&L) -> f64) -> Result<(), Box<dyn Error>> {
    if let Some(name) = std::env::args().nth(1) {
        let which = loops.iter().find(|l| l.as_ref().name == name);
        run(which.ok_or_else(|| format!("{name}: no such loop"))?);
        return Ok(());
    }
    println!("{:<18} {:>12} {:>8} {:>8} {:>9}", "loop", "instructions", "goal", "Linux", "ns/pair");
    for which in loops {
        let Loop { name, counts, pairs, goal, linux } = *which.as_ref();
        let mut times: Vec<f64> = (0..5).map(|_| run(which)).collect();
        times.sort_by(f64::total_cmp);
        let count = callgrind::instructions(&format!("*{counts}*"), &[name])? as f64 / pairs as f64;
        println!("{name:<18} {count:>12.1} {goal:>8} {linux:>8} {:>9.1}", times[2] * 1e9 / pairs as f64);
    }
    Ok(())
}

impl AsRef<Self> for Loop {
    fn as_ref(&self) -> &Self {
        self
    }
}
