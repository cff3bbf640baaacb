//! Reading a capture's files: which are there, and the small formats that have no module of their own.

use crate::facts::body;
use crate::fault::Fault;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// A directory whose files may be missing.
pub(super) struct Directory<'a> {
    path: &'a Path,
}

impl<'a> Directory<'a> {
    pub(super) fn new(path: &'a Path) -> Self {
        Self { path }
    }

    /// The file's bytes, `None` if there is no such file.
    pub(super) fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Fault::caused(e, path.display().to_string(), "a readable file")),
        }
    }

    /// The file's text. Logs may hold stray bytes; they become replacement characters.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Fault> {
        Ok(self.bytes(name)?.map(|b| String::from_utf8_lossy(&b).into_owned()))
    }

    /// The file, read by `parse`; its name is added to a fault. Files taken over a serial console may hold lines of
    /// the kernel log, which are known by their timestamps and left out; a file of nothing else holds nothing.
    pub(super) fn parsed<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let logged = text.lines().any(|l| body(l) != l.trim_end_matches('\r'));
        let text = if logged {
            text.lines().filter(|l| body(l) == l.trim_end_matches('\r')).map(|l| format!("{l}\n")).collect()
        } else {
            text
        };
        if logged && text.trim().is_empty() {
            return Ok(None);
        }
        parse(&text).map(Some).map_err(|fault| fault.within(self.path.join(name).display()))
    }

    /// The names of all files.
    pub(super) fn names(&self) -> Result<Vec<String>, Fault> {
        let fault = |e: std::io::Error| Fault::caused(e, self.path.display().to_string(), "a directory");
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path).map_err(fault)? {
            names.push(entry.map_err(fault)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }
}

/// The numbers of a sysctl file: of its first line that is not empty.
///
/// # Errors
/// A [`Fault`] if no line holds numbers only.
pub fn sysctl(text: &str) -> Result<Vec<u64>, Fault> {
    let value = text.lines().find(|l| !l.trim().is_empty());
    let line = value.ok_or_else(|| Fault::new("no value", "", "numbers"))?;
    line.split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|_| Fault::new(format!("`{line}`"), "", "numbers"))
}

/// The only number of a sysctl file.
pub(super) fn sysctl_number(text: &str) -> Result<u64, Fault> {
    match sysctl(text)?[..] {
        [value] => Ok(value),
        _ => Err(Fault::new(format!("`{}`", text.trim()), "", "one number")),
    }
}

/// A CPU list such as `0-3,8`; an empty one is a node without CPUs.
///
/// # Errors
/// A [`Fault`] if an entry is neither a number nor a range.
pub fn cpulist(text: &str) -> Result<Vec<u32>, Fault> {
    let text = text.trim();
    let fault = || Fault::new(format!("`{text}`"), "", "a CPU list such as 0-3,8");
    let mut cpus = Vec::new();
    for part in text.split(',').filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) =
            (first.parse().map_err(|_| fault())?, last.parse().map_err(|_| fault())?);
        if last < first || last - first >= 1 << 16 {
            return Err(fault());
        }
        cpus.extend(first..=last);
    }
    Ok(cpus)
}
