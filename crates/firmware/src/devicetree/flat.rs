//! The flattened form itself: header, blocks and tokens.
//!
//! [`Blob::parse`] checks the header and walks every token once; after it, reading never leaves the blob. A boot asks the tree for
//! hundreds of things, and each answer is a walk: so a walk looks at names as bytes, and a name becomes text when it is asked for.

use super::{DtError, Node};
use core::fmt;

pub(super) const MAGIC: u32 = 0xd00d_feed;
/// Bytes of a version 16 header; version 17 adds the size of the structure block.
const HEADER_V16: usize = 36;
const HEADER_V17: usize = 40;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Reads a big-endian cell at `at`, if all of it is there.
pub(super) fn cell(bytes: &[u8], at: usize) -> Option<u32> {
    let end = at.checked_add(4)?;
    Some(u32::from_be_bytes(bytes.get(at..end)?.try_into().ok()?))
}

/// A length or position rounded up to whole cells.
fn cells_up(n: usize) -> Option<usize> {
    Some(n.checked_add(3)? & !3)
}

/// The blocks of a tree that [`Blob::parse`] has checked.
#[derive(Clone, Copy)]
pub(super) struct Blob<'a> {
    reservations: &'a [u8],
    structure: &'a [u8],
    strings: &'a [u8],
    /// All of it.
    bytes: &'a [u8],
    /// Every place in the strings block is the beginning of a name: it is all ASCII and ends with a NUL.
    plain_strings: bool,
}

impl fmt::Debug for Blob<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.bytes.len())
    }
}

/// One token of the structure block, with names as bytes.
#[derive(Clone, Copy)]
pub(super) enum Token<'a> {
    Begin(&'a [u8]),
    End,
    /// The name's place in the strings block, and the value.
    Property(u32, &'a [u8]),
    Nop,
    Last,
}

impl<'a> Blob<'a> {
    /// Checks the header and the whole structure block. Bytes beyond `totalsize` are ignored.
    ///
    /// # Errors
    /// Any [`DtError`].
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, DtError> {
        let short = DtError::TooShort { len_bytes: bytes.len() as u64, needed_bytes: HEADER_V16 as u64 };
        let field = |i: usize| cell(bytes, i * 4).ok_or(short);
        let magic = field(0)?;
        if magic != MAGIC {
            return Err(DtError::BadMagic { found: magic });
        }
        let total = field(1)?;
        let (version, last_compatible) = (field(5)?, field(6)?);
        if version < 16 || last_compatible > 17 || version < last_compatible {
            return Err(DtError::UnsupportedVersion { version, last_compatible });
        }
        let header = if version >= 17 { HEADER_V17 } else { HEADER_V16 };
        let blob = bytes
            .get(..total as usize)
            .ok_or(DtError::TooShort { len_bytes: bytes.len() as u64, needed_bytes: u64::from(total) })?;
        if blob.len() < header {
            return Err(DtError::TooShort { len_bytes: blob.len() as u64, needed_bytes: header as u64 });
        }
        let block = |name: &'static str, offset: u32, size: Option<u32>| {
            let outside = DtError::BlockOutside { block: name, offset, size_bytes: size.unwrap_or(0), total };
            let start = offset as usize;
            let end = match size {
                Some(size) => start.checked_add(size as usize).ok_or(outside)?,
                None => blob.len(),
            };
            if start < header {
                return Err(outside);
            }
            blob.get(start..end).ok_or(outside)
        };
        let struct_size = if version >= 17 { Some(field(9)?) } else { None };
        let strings = block("strings", field(3)?, Some(field(8)?))?;
        let this = Self {
            structure: block("structure", field(2)?, struct_size)?,
            strings,
            plain_strings: strings.last() == Some(&0) && strings.is_ascii(),
            reservations: block("memory reservation", field(4)?, None)?,
            bytes: blob,
        };
        this.check_structure()?;
        Ok(this)
    }

    /// `totalsize` of the header.
    pub(super) fn total_size(&self) -> u32 {
        // It was cut to a number of 32 bits.
        self.bytes.len() as u32
    }

    /// All bytes, up to `totalsize`.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The entries of the memory reservation block, up to the first of size 0 or the end of the blob.
    pub(super) fn reservations(&self) -> impl Iterator<Item = (u64, u64)> + Clone + use<'a> {
        let be = |b: &[u8]| b.iter().fold(0, |n: u64, b| n << 8 | u64::from(*b));
        let (entries, _) = self.reservations.as_chunks::<16>();
        entries.iter().map(move |e| (be(&e[..8]), be(&e[8..]))).take_while(|(_, size)| *size != 0)
    }

    /// The root node. A checked blob has one.
    pub(super) fn root(&self) -> Node<'a> {
        match self.first_token() {
            Ok((Token::Begin(name), body)) => Node::new(*self, name, body),
            _ => Node::new(*self, b"", self.structure.len()),
        }
    }

    /// Every node in the order of the blob, with its depth; the root comes first, at depth 0.
    pub(super) fn nodes(&self) -> Nodes<'a> {
        Nodes { blob: *self, at: 0, depth: 0 }
    }

    /// The first token that is not a NOP, and the offset after it.
    fn first_token(&self) -> Result<(Token<'a>, usize), DtError> {
        let mut at = 0;
        loop {
            match self.token(at)? {
                (Token::Nop, next) => at = next,
                found => return Ok(found),
            }
        }
    }

    fn check_structure(&self) -> Result<(), DtError> {
        let (mut at, mut depth) = (0, 0_u32);
        loop {
            let offset = at as u32;
            let (token, next) = self.token(at)?;
            match token {
                Token::Begin(name) => {
                    if core::str::from_utf8(name).is_err() {
                        return Err(DtError::BadNodeName { offset });
                    }
                    depth += 1;
                }
                Token::Property(name_offset, _) => {
                    let plain = self.plain_strings && (name_offset as usize) < self.strings.len();
                    if !plain && self.string(name_offset).is_none() {
                        return Err(DtError::BadPropertyName { offset, name_offset });
                    }
                }
                Token::Last if depth > 0 => return Err(DtError::Unclosed { offset, depth }),
                Token::End | Token::Last | Token::Nop => {}
            }
            match token {
                Token::Nop => {}
                Token::End if depth == 1 => return Ok(()),
                Token::End if depth > 1 => depth -= 1,
                _ if depth == 0 => return Err(DtError::NoRoot),
                _ => {}
            }
            at = next;
        }
    }

    /// The token at `at`, and the offset of the next one. Names are not looked at.
    #[inline]
    pub(super) fn token(&self, at: usize) -> Result<(Token<'a>, usize), DtError> {
        let offset = at as u32;
        let cut = DtError::StructureCut { offset };
        let tag = cell(self.structure, at).ok_or(cut)?;
        let after = at + 4;
        match tag {
            BEGIN_NODE => {
                let rest = self.structure.get(after..).ok_or(cut)?;
                let len = nul(rest).ok_or(cut)?;
                Ok((Token::Begin(&rest[..len]), after + cells_up(len + 1).ok_or(cut)?))
            }
            END_NODE => Ok((Token::End, after)),
            NOP => Ok((Token::Nop, after)),
            END => Ok((Token::Last, after)),
            PROP => {
                let len = cell(self.structure, after).ok_or(cut)? as usize;
                let name_offset = cell(self.structure, after + 4).ok_or(cut)?;
                let start = after + 8;
                let end = start.checked_add(len).ok_or(cut)?;
                let value = self
                    .structure
                    .get(start..end)
                    .ok_or(DtError::ValueOutside { offset, len_bytes: len as u32 })?;
                Ok((Token::Property(name_offset, value), cells_up(end).ok_or(cut)?))
            }
            _ => Err(DtError::BadToken { offset, found: tag }),
        }
    }

    /// Whether the name at `offset` of the strings block is `name`.
    #[inline]
    pub(super) fn is_string(&self, offset: u32, name: &[u8]) -> bool {
        let Some(rest) = self.strings.get(offset as usize..) else { return false };
        // Most names differ in the byte behind the shorter one's end, or in their first.
        rest.get(name.len()) == Some(&0)
            && rest.first() == name.first().or(Some(&0))
            && rest.starts_with(name)
    }

    /// The name at `offset` of the strings block.
    pub(super) fn string(&self, offset: u32) -> Option<&'a str> {
        let rest = self.strings.get(offset as usize..)?;
        let len = rest.iter().position(|b| *b == 0)?;
        core::str::from_utf8(&rest[..len]).ok()
    }
}

/// Where the first NUL is, cell by cell.
#[inline]
fn nul(bytes: &[u8]) -> Option<usize> {
    let (cells, rest) = bytes.as_chunks::<4>();
    let whole = cells.iter().position(|c| {
        let n = u32::from_le_bytes(*c);
        // A byte is 0 where subtracting 1 borrows and its top bit was not set.
        n.wrapping_sub(0x0101_0101) & !n & 0x8080_8080 != 0
    });
    match whole {
        Some(n) => bytes[n * 4..].iter().position(|b| *b == 0).map(|inside| n * 4 + inside),
        None => rest.iter().position(|b| *b == 0).map(|inside| cells.len() * 4 + inside),
    }
}

/// A big-endian number of any count of cells, cut to its low 64 bits.
pub(super) fn number(cells: &[[u8; 4]]) -> u64 {
    cells.iter().fold(0, |n: u64, c| n << 32 | u64::from(u32::from_be_bytes(*c)))
}

/// Nodes in the blob's order.
#[derive(Clone, Debug)]
pub(super) struct Nodes<'a> {
    blob: Blob<'a>,
    at: usize,
    depth: u32,
}

impl<'a> Iterator for Nodes<'a> {
    type Item = (u32, Node<'a>);

    fn next(&mut self) -> Option<(u32, Node<'a>)> {
        loop {
            let (token, next) = self.blob.token(self.at).ok()?;
            match token {
                Token::Begin(name) => {
                    self.at = next;
                    let depth = self.depth;
                    self.depth += 1;
                    return Some((depth, Node::new(self.blob, name, next)));
                }
                Token::End => {
                    self.depth = self.depth.checked_sub(1)?;
                    if self.depth == 0 {
                        // What follows the root's end is not part of the tree.
                        self.at = self.blob.structure.len();
                        return None;
                    }
                    self.at = next;
                }
                Token::Last => return None,
                Token::Property(..) | Token::Nop => self.at = next,
            }
        }
    }
}
