//! A small compiler of device tree source, for the machine descriptions that ship with the command.
//!
//! It knows nodes, properties with cells (`<1 0x2>`), strings and bytes (`[00 1f]`), in lists, `/memreserve/`, and
//! comments; no labels, references, includes or expressions. The blob is laid out by dtoolkit's writer.

use crate::fault::Fault;
use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

/// Compiles a source to a flattened device tree.
///
/// # Errors
/// A [`Fault`] with the line (counted from `first_line`) at which the source stops being one.
pub fn compile(source: &str, first_line: usize) -> Result<Vec<u8>, Fault> {
    let mut parser = Parser { rest: source, line: first_line };
    let mut tree = DeviceTree::new();
    loop {
        parser.skip();
        if parser.take("/dts-v1/") {
            parser.need(";")?;
        } else if parser.take("/memreserve/") {
            let (address, size) = (parser.number()?, parser.number()?);
            parser.need(";")?;
            tree.memory_reservations.push(MemoryReservation::new(address, size));
        } else {
            break;
        }
    }
    parser.need("/")?;
    parser.need("{")?;
    parser.body(&mut tree.root, 0)?;
    parser.need(";")?;
    parser.skip();
    if !parser.rest.is_empty() {
        return Err(parser.fault("the end of the tree"));
    }
    Ok(tree.to_dtb())
}

/// Deeper nesting is a mistake, not a machine.
const MAX_DEPTH: usize = 32;

struct Parser<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Parser<'a> {
    fn fault(&self, expected: impl Into<String>) -> Fault {
        let found = self.rest.lines().next().unwrap_or("").trim();
        let found = if found.is_empty() { "the end" } else { found };
        Fault::line(self.line, found, expected)
    }

    fn advance(&mut self, len: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(len);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    /// Skips blanks and comments.
    fn skip(&mut self) {
        loop {
            let blanks = self.rest.len() - self.rest.trim_start().len();
            self.advance(blanks);
            let comment = if self.rest.starts_with("//") {
                self.rest.find('\n').unwrap_or(self.rest.len())
            } else if self.rest.starts_with("/*") {
                self.rest.find("*/").map_or(self.rest.len(), |at| at + 2)
            } else {
                return;
            };
            self.advance(comment);
        }
    }

    fn take(&mut self, text: &str) -> bool {
        self.skip();
        let found = self.rest.starts_with(text);
        if found {
            self.advance(text.len());
        }
        found
    }

    fn need(&mut self, text: &str) -> Result<(), Fault> {
        if self.take(text) { Ok(()) } else { Err(self.fault(format!("`{text}`"))) }
    }

    fn word(&mut self, of: impl Fn(char) -> bool, expected: &str) -> Result<&'a str, Fault> {
        self.skip();
        match self.rest.find(|c| !of(c)).unwrap_or(self.rest.len()) {
            0 => Err(self.fault(expected)),
            len => Ok(self.advance(len)),
        }
    }

    fn number(&mut self) -> Result<u64, Fault> {
        let line = self.line;
        let word = self.word(|c| c.is_ascii_alphanumeric(), "a number")?;
        let parsed = match word.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => word.parse(),
        };
        parsed.map_err(|_| Fault::line(line, word, "a number"))
    }

    /// What stands between a node's braces, with the closing one.
    fn body(&mut self, node: &mut DeviceTreeNode, depth: usize) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(self.fault(format!("at most {MAX_DEPTH} levels of nodes")));
        }
        while !self.take("}") {
            let is_name = |c: char| c.is_ascii_alphanumeric() || "#,._+-@?".contains(c);
            let name = self.word(is_name, "a property, a node or `}`")?;
            if self.take("{") {
                let mut child = DeviceTreeNode::new(name).map_err(|e| self.fault(e.to_string()))?;
                self.body(&mut child, depth + 1)?;
                node.add_child(child);
            } else {
                let value = if self.take("=") { self.values()? } else { Vec::new() };
                let property = DeviceTreeProperty::new(name, value).map_err(|e| self.fault(e.to_string()))?;
                node.add_property(property);
            }
            self.need(";")?;
        }
        Ok(())
    }

    fn values(&mut self) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        loop {
            if self.take("<") {
                while !self.take(">") {
                    let cell = self.number()?;
                    let cell = u32::try_from(cell).map_err(|_| self.fault("cells of 32 bits"))?;
                    bytes.extend(cell.to_be_bytes());
                }
            } else if self.take("[") {
                while !self.take("]") {
                    let byte = self.word(|c| c.is_ascii_hexdigit(), "bytes in hex, two digits each")?;
                    let byte = u8::from_str_radix(byte, 16);
                    bytes.push(byte.map_err(|_| self.fault("bytes in hex, two digits each"))?);
                }
            } else if self.take("\"") {
                let end = self.rest.find(['"', '\n']).filter(|&at| self.rest[at..].starts_with('"'));
                let end = end.ok_or_else(|| self.fault("a closing quotation mark"))?;
                bytes.extend(self.advance(end).bytes());
                bytes.push(0);
                self.advance(1);
            } else {
                return Err(self.fault("`<cells>`, `[bytes]` or `\"text\"`"));
            }
            if !self.take(",") {
                return Ok(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::compile;
    use pagewright_firmware::devicetree::DeviceTree;

    #[test]
    fn a_source_becomes_the_tree_it_describes() {
        let source = r#"
            /dts-v1/;
            /memreserve/ 0x1000 0x2000;
            / { // a board
                #address-cells = <2>; #size-cells = <1>;
                compatible = "acme,board", "acme,soc";
                memory@80000000 { device_type = "memory"; reg = <0 0x80000000 0x40000000>; };
                chosen { bootargs = "console=ttyS0 quiet"; kaslr-seed = [00 01 02 03 04 05 06 ff]; empty; };
                /* two */ cpus { #address-cells = <1>; cpu@0 { reg = <0>; }; cpu@1 { reg = <1>; }; };
            };"#;
        let blob = compile(source, 1).unwrap();
        let tree = DeviceTree::parse(&blob).unwrap();
        assert_eq!(tree.compatible_root().collect::<Vec<_>>(), ["acme,board", "acme,soc"]);
        assert_eq!(tree.memory_reservations().next().unwrap().len(), 0x2000);
        let bank = tree.memory_banks().next().unwrap();
        assert_eq!((bank.range.start.get(), bank.range.len()), (0x8000_0000, 1 << 30));
        assert_eq!(tree.chosen().bootargs, Some("console=ttyS0 quiet"));
        assert_eq!(tree.chosen().kaslr_seed, Some(0x0001_0203_0405_06ff));
        assert_eq!(tree.cpus().count(), 2);
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        for (source, line, expected) in [
            ("/ {\n a = <1 x>;\n};", "line 2", "a number"),
            ("/ {\n\n a = <1>\n};", "line 4", "`;`"),
            ("/ {\n a = \"open\n};", "line 2", "quotation"),
            ("/ { a = <0x100000000>; };", "line 1", "32 bits"),
            ("/ { n { };\n", "line 2", "a property, a node or `}`"),
            ("/ { }; x", "line 1", "the end of the tree"),
            ("{", "line 1", "`/`"),
            ("/ { a = 5; };", "line 1", "`<cells>`"),
        ] {
            let fault = compile(source, 1).unwrap_err().to_string();
            assert!(fault.starts_with(line) && fault.contains(expected), "{source:?}: {fault}");
        }
        let deep = format!("/ {{ {} ", "n {".repeat(100));
        assert!(compile(&deep, 1).unwrap_err().to_string().contains("levels"));
    }
}
