//! `cargo xtask names`: does `docs/linux-map.md` answer for every Linux name that people will look for?
//!
//! The names stand in `docs/linux-names.txt`, one a line. An answer is a row of a table in the map: the names in
//! its first column, each in backticks; in the second column where the counterpart is (`` `crate::item` ``), or
//! `planned: ` and the crate it will be in, or `none: ` and the reason. A counterpart that is claimed to exist is
//! looked for in the crate's source: a map that points nowhere is worse than none.

use crate::project::Project;
use std::collections::BTreeMap;
use std::path::Path;

/// The answer for a name: the second column of its row.
type Map = BTreeMap<String, String>;

/// Checks the map and prints how much of it is built.
///
/// # Errors
/// Every name without an answer, every malformed answer and every counterpart that is not there, one a line.
pub(crate) fn run(project: &Project) -> Result<(), String> {
    let names = read(&project.path("docs/linux-names.txt"))?;
    let map = parse(&read(&project.path("docs/linux-map.md"))?);
    let mut wrong = unanswered(&names, &map);
    let mut sources = BTreeMap::new();
    let (mut here, mut planned, mut none) = (0, 0, 0);
    for name in names.lines() {
        match map.get(name).map(String::as_str) {
            Some(answer) if answer.starts_with("planned: ") => planned += 1,
            Some(answer) if answer.starts_with("none: ") => none += 1,
            Some(answer) => {
                here += 1;
                wrong.extend(
                    not_there(project.root(), answer, &mut sources).map(|why| format!("{name}: {why}")),
                );
            }
            None => {}
        }
    }
    if wrong.is_empty() {
        println!(
            "{} names: {here} are here, {planned} planned, {none} have no counterpart",
            here + planned + none
        );
        Ok(())
    } else {
        Err(format!("docs/linux-map.md: {} faults\n{}", wrong.len(), wrong.join("\n")))
    }
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))
}

/// Every name of every table row, with the row's answer.
fn parse(markdown: &str) -> Map {
    let mut map = Map::new();
    for row in markdown.lines().filter_map(|line| line.strip_prefix('|')) {
        let mut columns = row.split('|').map(str::trim);
        let (Some(names), Some(answer)) = (columns.next(), columns.next()) else { continue };
        for name in names.split('`').skip(1).step_by(2) {
            map.insert(name.to_owned(), answer.to_owned());
        }
    }
    map
}

/// Names that the map leaves out or answers in no known form.
fn unanswered(names: &str, map: &Map) -> Vec<String> {
    let fault = |name: &str| match map.get(name) {
        None => Some(format!("{name}: no row")),
        Some(answer) if answer.starts_with('`') => None,
        Some(answer) if answer.starts_with("planned: `") => None,
        Some(answer) if answer.starts_with("none: ") => None,
        Some(answer) => Some(format!("{name}: neither an item nor planned nor none: {answer:?}")),
    };
    names.lines().filter_map(fault).collect()
}

/// Whether the crate that an answer names has no item of the path's last name (`crate::module::Type::method`).
fn not_there(root: &Path, answer: &str, sources: &mut BTreeMap<String, String>) -> Option<String> {
    let path = answer.split('`').nth(1)?;
    let (package, item) = (path.split("::").next()?, path.rsplit("::").next()?);
    let folder = match package {
        "pagewright" => "crates/mm".to_owned(),
        "pagewright_lab" => "lab".to_owned(),
        "xtask" => "xtask".to_owned(),
        other => format!("crates/{}", other.strip_prefix("pagewright_")?),
    };
    let source = sources.entry(folder.clone()).or_insert_with(|| all_source(&root.join(&folder).join("src")));
    if package == item {
        return source.is_empty().then(|| format!("{folder} has no source"));
    }
    (!mentions(source, item)).then(|| format!("{folder} defines no {item}, which the map names as {path}"))
}

/// Whether `source` has `item` right after a word that defines something, or as an enum's variant or a field.
fn mentions(source: &str, item: &str) -> bool {
    source.match_indices(item).any(|(at, _)| {
        let (before, after) = (&source[..at], &source[at + item.len()..]);
        let word = |c: char| c.is_alphanumeric() || c == '_';
        if before.chars().next_back().is_some_and(word) || after.chars().next().is_some_and(word) {
            return false;
        }
        let line = before.rsplit('\n').next().unwrap_or("").trim_start();
        let defines = ["fn ", "struct ", "enum ", "trait ", "const ", "static ", "mod ", "type "];
        let field = line.is_empty() || line == "pub ";
        defines.iter().any(|word| line.ends_with(word))
            || (field && after.starts_with([':', ',', '(', ' ', '{']))
    })
}

fn all_source(dir: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            text.push_str(&all_source(&path));
        } else if path.extension().is_some_and(|x| x == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
