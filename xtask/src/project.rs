//! Where things are: the work tree, the target directory, the built command, captured machines.

use crate::cmd::{self, Cmd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The work tree this xtask was built from, and the target directory in force.
pub(crate) struct Project {
    root: PathBuf,
    target: PathBuf,
}

impl Project {
    /// Finds the work tree by the place of this crate, and the target directory as cargo does.
    pub(crate) fn locate() -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().expect("xtask lies inside the work tree").to_path_buf();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => root.join(dir),
            None => root.join("target"),
        };
        Self { root, target }
    }

    /// The work tree's root.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The target directory.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// A path inside the work tree.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// A folder of xtask's own below the target directory: logs, downloads, the Python environment.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf, String> {
        let dir = self.target.join("xtask").join(name);
        std::fs::create_dir_all(&dir).map_err(|e| format!("cannot create {}: {e}", dir.display()))?;
        Ok(dir)
    }

    /// A command that runs in the work tree's root.
    pub(crate) fn cmd(&self, program: &str) -> Cmd {
        Cmd::new(program).dir(&self.root)
    }

    /// The names of the Rust files in a folder of the work tree, without their ending.
    pub(crate) fn sources_in(&self, relative: &str) -> Result<Vec<String>, String> {
        let dir = self.path(relative);
        let entries = std::fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let sources =
            entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|x| x == "rs"));
        let mut names: Vec<String> =
            sources.filter_map(|p| p.file_stem().map(|s| s.to_string_lossy().into_owned())).collect();
        names.sort();
        if names.is_empty() { Err(format!("{} holds no program", dir.display())) } else { Ok(names) }
    }

    /// Builds a program of the workspace and returns where it is: with optimisation, or as the tests are built, which costs next to
    /// nothing after them.
    pub(crate) fn program(&self, name: &str, optimised: bool) -> Result<PathBuf, String> {
        // With the features of all the workspace, as tests have them.
        let build = self.cmd("cargo").args(["build", "--workspace", "--bin", name]);
        let (build, folder) =
            if optimised { (build.args(["--release"]), "release") } else { (build, "debug") };
        let log = self.scratch("logs")?.join(format!("build-{name}.log"));
        let out = build.limit(Duration::from_secs(900)).log(&log).run()?;
        if !out.ok() {
            return Err(format!("{name} does not build\n{}", cmd::tail(&out.text, 60)));
        }
        Ok(self.target.join(folder).join(name))
    }

    /// Captured machines, one folder each (a folder with a `dmesg.txt`): those below the folders that
    /// `PAGEWRIGHT_CAPTURES` lists, else those of `tests/captures` and of a `shared/reference` beside the work tree.
    pub(crate) fn captures(&self) -> Vec<PathBuf> {
        let parents: Vec<PathBuf> = match std::env::var_os("PAGEWRIGHT_CAPTURES") {
            Some(list) => std::env::split_paths(&list).collect(),
            None => vec![self.path("tests/captures"), self.path("../shared/reference")],
        };
        let mut found = Vec::new();
        for parent in parents {
            if parent.join("dmesg.txt").is_file() {
                found.push(parent);
                continue;
            }
            let Ok(entries) = std::fs::read_dir(&parent) else { continue };
            found.extend(entries.flatten().map(|e| e.path()).filter(|p| p.join("dmesg.txt").is_file()));
        }
        found.sort();
        found
    }

    /// The machines shipped in `machines/`, by the name that `--machine` takes.
    pub(crate) fn machine_names(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path("machines")) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|e| {
                let path = e.path();
                let described =
                    path.is_dir() || path.extension().is_some_and(|x| x == "machine" || x == "json");
                described.then(|| path.file_stem().map(|s| s.to_string_lossy().into_owned())).flatten()
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }
}
