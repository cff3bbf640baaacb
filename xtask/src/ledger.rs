//! The ledger of unsafe in ARCHITECTURE.md is complete, and has no row too many.
//!
//! A test, not a command: a reviewer should meet every file with `unsafe` in it in one table, with the reason. A row
//! that ends with a slash stands for all files below that folder.

use crate::project::Project;
use std::collections::BTreeSet;
use std::path::Path;

/// Folders whose Rust files are looked at.
const PLACES: [&str; 7] = ["crates", "lab", "bench", "fuzz", "kernel", "examples", "tests"];

/// Whether a Rust source uses `unsafe`: as a word in code, apart from comments and the lint's own name.
fn uses_unsafe(source: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    source.lines().map(|line| line.split("//").next().unwrap_or("")).any(|line| {
        line.match_indices("unsafe")
            .any(|(at, found)| !line[..at].ends_with(word) && !line[at + found.len()..].starts_with(word))
    })
}

fn files(root: &Path, dir: &Path, into: &mut BTreeSet<String>) {
    for path in std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()) {
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && name != "target" {
            files(root, &path, into);
        } else if path.extension().is_some_and(|x| x == "rs")
            && std::fs::read_to_string(&path).is_ok_and(|source| uses_unsafe(&source))
        {
            into.insert(path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned());
        }
    }
}

/// The files that the ledger names.
fn ledger(architecture: &str) -> BTreeSet<String> {
    let section = architecture.split("\n## Ledger of unsafe\n").nth(1).unwrap_or("");
    let section = section.split("\n## ").next().unwrap_or("");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next()).map(str::to_owned).collect()
}

#[test]
fn every_file_with_unsafe_is_in_the_ledger() {
    let project = Project::locate();
    let mut found = BTreeSet::new();
    for place in PLACES {
        files(project.root(), &project.path(place), &mut found);
    }
    let listed = ledger(&std::fs::read_to_string(project.path("ARCHITECTURE.md")).unwrap());
    let covers =
        |row: &String, file: &String| row == file || (row.ends_with('/') && file.starts_with(row.as_str()));
    let missing: Vec<_> = found.iter().filter(|file| !listed.iter().any(|row| covers(row, file))).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md's ledger of unsafe lacks {missing:?}");
    let gone: Vec<_> = listed.iter().filter(|row| !found.iter().any(|file| covers(row, file))).collect();
    assert!(gone.is_empty(), "ARCHITECTURE.md's ledger lists files without unsafe: {gone:?}");
}

#[test]
fn unsafe_in_a_comment_or_a_lint_is_not_unsafe() {
    assert!(!uses_unsafe("#![forbid(unsafe_code)]\n// unsafe here\nfn f() {}\n"));
    assert!(uses_unsafe("fn f() { unsafe { g() } }\n"));
    assert!(uses_unsafe("unsafe impl Send for T {}\n"));
}
