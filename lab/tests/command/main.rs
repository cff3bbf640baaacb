//! The command as its users run it: exit codes, single lines of complaint, no colour in a pipe, files that other
//! people's parsers read.

mod boot;
mod huge_pages;
mod input;
mod iomem;
mod show;
mod slabs;

use std::path::PathBuf;
use std::process::{Command, Output};

fn pagewright(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pagewright")).args(args).output().expect("the command starts")
}

fn text(args: &[&str]) -> String {
    let out = pagewright(args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("pagewright-test-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}
