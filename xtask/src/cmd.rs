//! Running other programs: output kept in a log, an optional copy to the terminal, and a time limit that ends the
//! whole process tree.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A program about to be run.
pub(crate) struct Cmd {
    command: Command,
    what: String,
    input: Option<Vec<u8>>,
    limit: Option<Duration>,
    log: Option<std::path::PathBuf>,
    echo: bool,
}

/// What a finished program left behind.
pub(crate) struct Output {
    /// The exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output alone.
    pub(crate) stdout: String,
    /// Standard output and error, line by line as they came.
    pub(crate) text: String,
    /// Whether the time limit ended it.
    pub(crate) timed_out: bool,
}

impl Output {
    /// Whether it ended by itself with code 0.
    pub(crate) fn ok(&self) -> bool {
        self.code == Some(0) && !self.timed_out
    }
}

impl Cmd {
    /// `program`, looked up in PATH, without what `cargo run` put into the environment for this xtask: a nested
    /// cargo must choose its toolchain itself.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program.as_ref());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let ours = name == "CARGO" || name == "CARGO_MANIFEST_DIR" || name == "CARGO_MANIFEST_PATH";
            if ours || name.starts_with("CARGO_PKG_") || name == "RUSTUP_TOOLCHAIN" {
                command.env_remove(name);
            }
        }
        // Output goes through a pipe into logs and is searched; colours would be in the way.
        // (Not NO_COLOR: tests inherit it, and some of them are about colour.)
        command.env("CARGO_TERM_COLOR", "never");
        let what = program.as_ref().to_string_lossy().into_owned();
        Self { command, what, input: None, limit: None, log: None, echo: false }
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.what = format!("{} {}", self.what, arg.as_ref().to_string_lossy());
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<I: IntoIterator<Item = A>, A: AsRef<OsStr>>(self, args: I) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Feeds `bytes` to standard input (which is empty otherwise).
    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Ends the program and everything it started after `limit`.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Keeps all output in a file.
    pub(crate) fn log(mut self, file: &Path) -> Self {
        self.log = Some(file.to_path_buf());
        self
    }

    /// Copies all output to this program's standard error as it comes.
    pub(crate) fn echo(mut self, echo: bool) -> Self {
        self.echo = echo;
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// One line if it cannot be started, or its log cannot be written. A non-zero exit code is no error here.
    pub(crate) fn run(mut self) -> Result<Output, String> {
        let stdin = if self.input.is_some() { Stdio::piped() } else { Stdio::null() };
        self.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().map_err(|e| format!("cannot start `{}`: {e}", self.what))?;
        let feeder = self.input.map(|bytes| {
            let mut pipe = child.stdin.take().expect("standard input is piped");
            // A program that stops reading early closes the pipe; its exit code tells the rest.
            thread::spawn(move || drop(pipe.write_all(&bytes)))
        });
        let text = Arc::new(Mutex::new(Vec::new()));
        let out = collect(child.stdout.take().expect("standard output is piped"), &text, self.echo);
        let err = collect(child.stderr.take().expect("standard error is piped"), &text, self.echo);
        let (code, timed_out) = wait(&mut child, self.limit).map_err(|e| format!("`{}`: {e}", self.what))?;
        let stdout = out.join().expect("the reader does not panic");
        err.join().expect("the reader does not panic");
        if let Some(feeder) = feeder {
            feeder.join().expect("the feeder does not panic");
        }
        let text = String::from_utf8_lossy(&text.lock().expect("readers have ended")).into_owned();
        if let Some(file) = &self.log {
            let kept = format!("$ {}\n{text}", self.what);
            fs::write(file, kept).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
        }
        Ok(Output { code, stdout: String::from_utf8_lossy(&stdout).into_owned(), text, timed_out })
    }
}

/// Reads a pipe to its end line by line, into the shared text and into the returned bytes.
fn collect(
    pipe: impl Read + Send + 'static,
    text: &Arc<Mutex<Vec<u8>>>,
    echo: bool,
) -> thread::JoinHandle<Vec<u8>> {
    let text = Arc::clone(text);
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let (mut all, mut line) = (Vec::new(), Vec::new());
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            if echo {
                // A closed terminal is no reason to lose the result.
                drop(std::io::stderr().write_all(&line));
            }
            text.lock().expect("no reader panics").extend_from_slice(&line);
            all.append(&mut line);
        }
        all
    })
}

/// Waits for the child, at most `limit`; then ends its process tree.
fn wait(child: &mut Child, limit: Option<Duration>) -> std::io::Result<(Option<i32>, bool)> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status.code(), false));
        }
        if limit.is_some_and(|limit| start.elapsed() >= limit) {
            end_tree(child.id());
            let status = child.wait()?;
            return Ok((status.code(), true));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Ends a process of ours and its descendants, each by its id. Children are listed before their parent is ended,
/// because an orphan's origin can no longer be told.
fn end_tree(pid: u32) {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children: String = tasks
        .map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default() + " ")
        .collect();
    let ids: Vec<u32> = children.split_whitespace().filter_map(|id| id.parse().ok()).collect();
    // A process that is already gone is what we want.
    drop(Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status());
    ids.into_iter().for_each(end_tree);
}

/// The last `lines` lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Whether a program is in PATH.
pub(crate) fn exists(program: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

#[cfg(test)]
#[path = "cmd_tests.rs"]
mod tests;
