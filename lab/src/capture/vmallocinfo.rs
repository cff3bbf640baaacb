//! `/proc/vmallocinfo`: a line for each area, `<address>-<address> <bytes> <function>+<offset>/<length> <what it is>`.
//!
//! Addresses are not read: kernels print hashes of them.

use crate::fault::Fault;
use std::fmt;

/// An area.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Area {
    /// Its bytes, the guard page included.
    pub size: u64,
    /// The function that asked for it, without the place in it; empty if none is named.
    pub function: String,
    /// `pages=`: how many it has of its own.
    pub pages: u64,
    /// `phys=`: what is mapped there.
    pub phys: Option<u64>,
    /// The words for what it is: `vmalloc`, `ioremap`, `vpages`.
    pub kinds: Vec<String>,
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.size)?;
        if let Some(phys) = self.phys {
            write!(f, ", phys={phys:#x}")?;
        }
        self.kinds.iter().try_for_each(|kind| write!(f, ", {kind}"))
    }
}

/// The file, in its order: by address, then what waits for its flush.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VmallocInfo {
    /// All areas.
    pub areas: Vec<Area>,
}

impl VmallocInfo {
    /// Reads the file's text.
    ///
    /// # Errors
    /// A [`Fault`] with the line that is no area.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty());
        let areas = lines.map(|(i, line)| {
            area(line).ok_or_else(|| Fault::line(i + 1, line, "`<address>-<address> <bytes> <words>`"))
        });
        Ok(Self { areas: areas.collect::<Result<_, _>>()? })
    }

    /// The areas that this function asked for.
    pub fn of<'a>(&'a self, function: &'a str) -> impl Iterator<Item = &'a Area> {
        self.areas.iter().filter(move |area| area.function == function)
    }
}

fn area(line: &str) -> Option<Area> {
    let mut words = line.split_whitespace();
    words.next()?.strip_prefix("0x")?.split_once("-0x")?;
    let size = words.next()?.parse().ok()?;
    let mut area = Area { size, function: String::new(), pages: 0, phys: None, kinds: Vec::new() };
    for word in words {
        let by_node =
            || word.strip_prefix('N').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        match word.split_once('=') {
            Some(("pages", count)) => area.pages = count.parse().ok()?,
            Some(("phys", at)) => area.phys = Some(u64::from_str_radix(at.strip_prefix("0x")?, 16).ok()?),
            Some(_) if by_node() => {}
            Some(_) => return None,
            None => match word.split_once("+0x") {
                Some((function, _)) => function.clone_into(&mut area.function),
                None => area.kinds.push(word.to_owned()),
            },
        }
    }
    Some(area)
}

#[cfg(test)]
mod tests {
    use super::VmallocInfo;

    const FILE: &str = "\
0x0000000064b79319-0x00000000f0fadd8d   20480 start_kernel+0x568/0x790 pages=4 vmalloc N0=4
0x(____ptrval____)-0x(____ptrval____)  917504 paging_init+0x19c/0x610 phys=0x0000000041860000 vmap
0xbf800000-0xbfa00000 2097152 pci_reserve_io+0x0/0x38 ioremap
0x00000000c392f3aa-0x00000000d4c71c48   20480 unpurged vm_area
";

    #[test]
    fn areas_are_known_by_function_size_and_kind() {
        let file = VmallocInfo::parse(FILE).unwrap();
        let shown: Vec<String> = file.areas.iter().map(|a| format!("{} {a}", a.function)).collect();
        assert_eq!(
            shown,
            [
                "start_kernel 20480 bytes, vmalloc",
                "paging_init 917504 bytes, phys=0x41860000, vmap",
                "pci_reserve_io 2097152 bytes, ioremap",
                " 20480 bytes, unpurged, vm_area",
            ]
        );
        assert_eq!((file.areas[0].pages, file.areas[1].pages), (4, 0));
        assert_eq!(file.of("paging_init").count(), 1);
    }

    #[test]
    fn what_is_no_area_is_told_by_its_line() {
        for bad in
            ["nothing", "0x1-0x2 many", "0x1-0x2 4096 pages=x", "0x1-0x2 4096 phys=12", "0x1-0x2 4096 a=b"]
        {
            let fault = VmallocInfo::parse(&format!("{FILE}{bad}\n")).unwrap_err();
            assert!(fault.to_string().contains("line 5"), "{fault}");
        }
    }
}
