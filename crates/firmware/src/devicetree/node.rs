//! Nodes and properties, looked up as Linux looks them up in the flattened tree.
//!
//! That is libfdt's way rather than the Devicetree Specification's: any name is accepted, properties after a node's
//! first child are not seen, and a path component without a unit address matches a node with one.

use super::flat::{Blob, Token, cell, number};
use core::fmt;

/// A node of the tree.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    blob: Blob<'a>,
    name: &'a [u8],
    /// Offset of the first token after the name.
    body: usize,
}

/// The same node of the same tree.
impl PartialEq for Node<'_> {
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self.name, other.name) && self.body == other.body
    }
}

impl Eq for Node<'_> {}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.name()).finish()
    }
}

impl<'a> Node<'a> {
    /// The node whose first token after the name stands at `body`.
    pub(super) fn new(blob: Blob<'a>, name: &'a [u8], body: usize) -> Self {
        Self { blob, name, body }
    }

    /// The name with its unit address; empty for the root.
    pub fn name(&self) -> &'a str {
        // A checked blob has no name that is not text.
        core::str::from_utf8(self.name).unwrap_or("")
    }

    /// The name up to the `@`.
    pub fn base_name(&self) -> &'a str {
        let name = self.name();
        name.split('@').next().unwrap_or(name)
    }

    /// What follows the `@`.
    pub fn unit_address(&self) -> Option<&'a str> {
        self.name().split_once('@').map(|(_, unit)| unit)
    }

    /// Where the node stands in the blob: different for each node.
    pub(super) fn position(&self) -> usize {
        self.body
    }

    /// The properties in order, those before the first child.
    pub fn properties(&self) -> impl Iterator<Item = Property<'a>> + Clone + use<'a> {
        Properties { blob: self.blob, at: self.body }
    }

    /// The first property of that name.
    pub fn property(&self, name: &str) -> Option<Property<'a>> {
        let (token, _) = self.find_property(name)?;
        match token {
            Token::Property(at, value) => Some(Property { name: self.blob.string(at)?, value }),
            _ => None,
        }
    }

    /// The token of the first property of that name, and the offset behind it.
    fn find_property(&self, name: &str) -> Option<(Token<'a>, usize)> {
        let mut at = self.body;
        loop {
            let found = self.blob.token(at).ok()?;
            match found.0 {
                Token::Property(place, _) if self.blob.is_string(place, name.as_bytes()) => {
                    return Some(found);
                }
                Token::Property(..) | Token::Nop => at = found.1,
                Token::Begin(_) | Token::End | Token::Last => return None,
            }
        }
    }

    /// Whether there is a property of that name.
    pub fn has(&self, name: &str) -> bool {
        self.find_property(name).is_some()
    }

    /// The children in order.
    pub fn children(&self) -> impl Iterator<Item = Node<'a>> + Clone + use<'a> {
        Children { blob: self.blob, at: self.body, depth: 0 }
    }

    /// The first child that a path component names: equal in full, or, when `component` has no unit address, equal
    /// up to the `@` (libfdt's rule).
    pub fn child(&self, component: &str) -> Option<Node<'a>> {
        let exact = component.contains('@');
        let component = component.as_bytes();
        self.children().find(|c| {
            let unit = || !exact && c.name.get(component.len()) == Some(&b'@');
            c.name.starts_with(component) && (c.name.len() == component.len() || unit())
        })
    }

    /// The first child whose full name is `name` (the rule of Linux's unflattened tree).
    pub fn child_exact(&self, name: &str) -> Option<Node<'a>> {
        self.children().find(|c| c.name == name.as_bytes())
    }

    /// Linux's `of_fdt_device_is_available`: no `status`, or one of `ok` and `okay`.
    pub fn is_available(&self) -> bool {
        self.property("status").is_none_or(|s| s.is("ok") || s.is("okay"))
    }

    /// Whether `compatible` lists `name`. Linux compares without regard to case.
    pub fn is_compatible(&self, name: &str) -> bool {
        self.property("compatible")
            .is_some_and(|p| p.strings().any(|s| s.eq_ignore_ascii_case(name.as_bytes())))
    }
}

/// A property of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Property<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value, big-endian cells or text.
    pub value: &'a [u8],
}

impl<'a> Property<'a> {
    /// The first cell.
    pub fn as_u32(&self) -> Option<u32> {
        cell(self.value, 0)
    }

    /// All whole cells as one big-endian number, of which the low 64 bits are kept (`of_read_number`).
    pub fn as_number(&self) -> u64 {
        let (cells, _) = self.value.as_chunks::<4>();
        number(cells)
    }

    /// The value up to the first NUL, or to its end, as text.
    pub fn as_str(&self) -> Option<&'a str> {
        core::str::from_utf8(self.strings().next()?).ok()
    }

    /// Whether the value, up to its first NUL, equals `text`.
    pub fn is(&self, text: &str) -> bool {
        self.strings().next().unwrap_or(b"") == text.as_bytes()
    }

    /// The NUL-terminated strings of the value; a last one may lack its NUL.
    pub fn strings(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let value = match self.value {
            [rest @ .., 0] => rest,
            all => all,
        };
        let some = !self.value.is_empty();
        value.split(|b| *b == 0).filter(move |_| some)
    }
}

#[derive(Clone)]
struct Properties<'a> {
    blob: Blob<'a>,
    at: usize,
}

impl<'a> Iterator for Properties<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        loop {
            let (token, next) = self.blob.token(self.at).ok()?;
            match token {
                Token::Property(at, value) => {
                    self.at = next;
                    // A checked blob has no name that is not text.
                    return Some(Property { name: self.blob.string(at)?, value });
                }
                Token::Nop => self.at = next,
                Token::Begin(_) | Token::End | Token::Last => return None,
            }
        }
    }
}

#[derive(Clone)]
struct Children<'a> {
    blob: Blob<'a>,
    at: usize,
    /// How deep below the parent `at` is.
    depth: u32,
}

impl<'a> Iterator for Children<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        loop {
            let (token, next) = self.blob.token(self.at).ok()?;
            match token {
                Token::Begin(name) => {
                    self.at = next;
                    self.depth += 1;
                    if self.depth == 1 {
                        return Some(Node::new(self.blob, name, next));
                    }
                }
                // The end token stays in place, so that the iterator stays at its end.
                Token::End => {
                    self.depth = self.depth.checked_sub(1)?;
                    self.at = next;
                }
                Token::Last => return None,
                Token::Property(..) | Token::Nop => self.at = next,
            }
        }
    }
}
