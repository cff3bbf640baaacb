//! What became of one board.

use crate::cmd::{Output, tail};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;

/// How the boot of one device tree ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It booted; one outcome for each reserved-memory node.
    Booted {
        /// The outcomes' words.
        reserved: Vec<String>,
    },
    /// It was refused with this line.
    Refused(String),
    /// Neither, or with the wrong number of verdicts: what is wrong.
    Fault(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Booted { reserved } => write!(f, "booted, {} reserved-memory nodes", reserved.len()),
            Self::Refused(line) => write!(f, "refused: {line}"),
            Self::Fault(why) => write!(f, "FAULT: {why}"),
        }
    }
}

/// The names of /reserved-memory's children, read without any of the code under test (Devicetree specification
/// 0.4, chapter 5); `None` if the bytes are no tree.
pub(super) fn reserved_memory_nodes(tree: &[u8]) -> Option<Vec<String>> {
    let word = |at: usize| Some(u32::from_be_bytes(tree.get(at..at + 4)?.try_into().ok()?));
    if word(0)? != 0xd00d_feed {
        return None;
    }
    let mut at = word(8)? as usize;
    let (mut path, mut names): (Vec<String>, _) = (Vec::new(), Vec::new());
    loop {
        let token = word(at)?;
        at += 4;
        match token {
            BEGIN_NODE => {
                let len = tree.get(at..)?.iter().position(|byte| *byte == 0)?;
                let name = String::from_utf8_lossy(&tree[at..at + len]).into_owned();
                at = (at + len + 1).next_multiple_of(4);
                if path.len() == 2 && path[1] == "reserved-memory" {
                    names.push(name.clone());
                }
                path.push(name);
            }
            END_NODE => drop(path.pop()?),
            PROP => at = (at + 8 + word(at)? as usize).next_multiple_of(4),
            NOP => {}
            END => return Some(names),
            _ => return None,
        }
    }
}

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Judges what the command left behind.
pub(super) fn judge(out: &Output, reserved: Option<&Vec<String>>) -> Verdict {
    if out.timed_out {
        return Verdict::Fault("took too long".into());
    }
    match out.code {
        Some(0) => match reserved {
            Some(expected) => booted(&out.stdout, expected).unwrap_or_else(Verdict::Fault),
            None => Verdict::Fault("booted although it is no device tree".into()),
        },
        Some(2) => {
            let lines: Vec<&str> = out.text.lines().filter(|line| !line.trim().is_empty()).collect();
            match lines[..] {
                [line] => Verdict::Refused(line.to_owned()),
                _ => Verdict::Fault(format!("refused in {} lines: {}", lines.len(), tail(&out.text, 3))),
            }
        }
        code => Verdict::Fault(format!("exit code {code:?}: {}", tail(&out.text, 3))),
    }
}

/// One verdict for each node, by its name.
fn booted(json: &str, expected: &[String]) -> Result<Verdict, String> {
    let value: Value = serde_json::from_str(json).map_err(|e| format!("--json prints no JSON: {e}"))?;
    let nodes = value["reserved_memory"].as_array().ok_or("the answer has no reserved_memory")?;
    let text = |node: &Value, key: &str| node[key].as_str().map(str::to_owned);
    let mut names = BTreeSet::new();
    let mut outcomes = Vec::new();
    for node in nodes {
        let name = text(node, "name").ok_or("a reserved-memory verdict has no name")?;
        outcomes.push(text(node, "outcome").ok_or_else(|| format!("{name} has no outcome"))?);
        if !names.insert(name.clone()) {
            return Err(format!("two verdicts for the reserved-memory node {name}"));
        }
    }
    if let Some(node) = expected.iter().find(|node| !names.contains(*node)) {
        return Err(format!("no verdict for the reserved-memory node {node}"));
    }
    if let Some(name) = names.iter().find(|name| !expected.contains(name)) {
        return Err(format!("a verdict for {name}, which is no reserved-memory node"));
    }
    Ok(Verdict::Booted { reserved: outcomes })
}

/// A refusal without what differs from board to board, to count kinds: paths, numbers, quoted names.
pub(super) fn kind(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        let concrete =
            word.contains('/') || word.chars().any(|c| c.is_ascii_digit()) || word.contains(['"', '`', '@']);
        let word = if concrete { "…" } else { word };
        if words.last().is_none_or(|last| last != "…" || word != "…") {
            words.push(word.to_owned());
        }
    }
    words.join(" ")
}
