//! `/proc/iomem`: the tree of physical address ranges in use.

use crate::fault::Fault;
use pagewright_view::iomem as view;
use std::fmt;

/// The whole file: resources in address order, children after their parent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IoMem {
    /// The resources with their depth in the tree.
    pub resources: Vec<Resource>,
}

/// One range.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Resource {
    /// 0 for a root resource, 1 for its children, ...
    pub depth: usize,
    /// The first address.
    pub start: u64,
    /// The last address.
    pub last: u64,
    /// What uses it.
    pub name: String,
}

impl IoMem {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let resources = text.lines().enumerate().map(|(i, line)| {
            let fault = || Fault::line(i + 1, line, "`<start>-<end> : <name>`");
            let body = line.trim_start_matches(' ');
            let (range, name) = body.split_once(" : ").ok_or_else(fault)?;
            let (start, last) = range.split_once('-').ok_or_else(fault)?;
            let hex = |s: &str| u64::from_str_radix(s, 16).map_err(|_| fault());
            Ok(Resource {
                depth: (line.len() - body.len()) / 2,
                start: hex(start)?,
                last: hex(last)?,
                name: name.to_owned(),
            })
        });
        Ok(Self { resources: resources.collect::<Result<_, Fault>>()? })
    }

    /// All ranges with that name, in file order.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Resource> + 'a {
        self.resources.iter().filter(move |r| r.name == name)
    }
}

impl fmt::Display for IoMem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for r in &self.resources {
            view::resource(f, r.depth, r.start, r.last, &r.name)?;
        }
        Ok(())
    }
}
