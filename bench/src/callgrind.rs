//! Counting the instructions of one function, by running the current program under `valgrind --tool=callgrind`.

use std::io::{Error, ErrorKind};
use std::process::{Command, Stdio};

/// Runs this program again with `args` under callgrind and returns how many instructions were executed inside
/// functions whose demangled name matches `function` (a glob such as `*::measured_fill*`).
///
/// # Errors
/// If valgrind is missing (Debian: `apt-get install valgrind`), the program fails under it, or nothing was counted
/// because the function was inlined away.
pub fn instructions(function: &str, args: &[&str]) -> Result<u64, Error> {
    // callgrind counts `rep stosb` once for each byte, which says nothing: have the C library fill and copy with
    // ordinary stores, as Linux's figures were taken with `-erms`.
    let plain_stores =
        "glibc.cpu.x86_rep_stosb_threshold=0x7fffffffffff:glibc.cpu.x86_rep_movsb_threshold=0x7fffffffffff";
    let output = Command::new("valgrind")
        .env("GLIBC_TUNABLES", plain_stores)
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={function}"))
        .arg(std::env::current_exe()?)
        .args(args)
        .stdout(Stdio::null())
        .output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(Error::other(format!("the run under callgrind failed:\n{log}")));
    }
    let count = log.lines().find_map(|line| line.split_once("Collected :")).map(|(_, count)| count.trim());
    match count.and_then(|text| text.parse().ok()) {
        Some(0) | None => {
            Err(Error::new(ErrorKind::NotFound, format!("nothing counted for {function}:\n{log}")))
        }
        Some(count) => Ok(count),
    }
}
