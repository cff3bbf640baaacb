//! What can be wrong with a device tree: its structure ([`DtError`]) or one property's value ([`PropertyError`]).

use core::fmt;

/// Why a blob is not a device tree. Offsets are bytes from the start of the structure block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DtError {
    /// The bytes end before the header or before `totalsize`.
    TooShort {
        /// Bytes given.
        len_bytes: u64,
        /// Bytes needed.
        needed_bytes: u64,
    },
    /// The first cell is not 0xd00dfeed.
    BadMagic {
        /// What stands there.
        found: u32,
    },
    /// Neither version 16 nor 17, nor compatible with them.
    UnsupportedVersion {
        /// The version of the blob.
        version: u32,
        /// The oldest version it says it is compatible with.
        last_compatible: u32,
    },
    /// A block of the blob does not lie between the header and `totalsize`.
    BlockOutside {
        /// Which block.
        block: &'static str,
        /// Its offset in the blob.
        offset: u32,
        /// Its size in bytes, 0 where the header has none.
        size_bytes: u32,
        /// `totalsize`.
        total: u32,
    },
    /// The structure block does not begin with a node.
    NoRoot,
    /// A token of no known kind.
    BadToken {
        /// Where.
        offset: u32,
        /// Its value.
        found: u32,
    },
    /// The structure block ends inside the token.
    StructureCut {
        /// Where the token begins.
        offset: u32,
    },
    /// The end token stands inside a node.
    Unclosed {
        /// Where.
        offset: u32,
        /// How many nodes are open.
        depth: u32,
    },
    /// A node's name is not text.
    BadNodeName {
        /// Where the node begins.
        offset: u32,
    },
    /// A property's name is not text inside the strings block.
    BadPropertyName {
        /// Where the property begins.
        offset: u32,
        /// The name's offset in the strings block.
        name_offset: u32,
    },
    /// A property's value reaches beyond the structure block.
    ValueOutside {
        /// Where the property begins.
        offset: u32,
        /// The value's length in bytes.
        len_bytes: u32,
    },
}

impl fmt::Display for DtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooShort { len_bytes, needed_bytes } => {
                write!(f, "device tree is {len_bytes} bytes long, expected at least {needed_bytes}")
            }
            Self::BadMagic { found } => {
                write!(f, "not a device tree: magic {found:#010x}, expected 0xd00dfeed")
            }
            Self::UnsupportedVersion { version, last_compatible } => write!(
                f,
                "device tree version {version} (compatible down to {last_compatible}), expected 16 or 17"
            ),
            Self::BlockOutside { block, offset, size_bytes, total } => write!(
                f,
                "device tree's {block} block at {offset:#x}, {size_bytes:#x} bytes, lies outside its {total:#x} bytes"
            ),
            Self::NoRoot => f.write_str("device tree's structure block does not begin with a root node"),
            Self::BadToken { offset, found } => {
                write!(
                    f,
                    "device tree token {found:#x} at structure offset {offset:#x}, expected 1 to 4 or 9"
                )
            }
            Self::StructureCut { offset } => {
                write!(f, "device tree's structure block ends inside the token at offset {offset:#x}")
            }
            Self::Unclosed { offset, depth } => {
                write!(f, "device tree ends at structure offset {offset:#x} with {depth} nodes open")
            }
            Self::BadNodeName { offset } => {
                write!(f, "device tree node at structure offset {offset:#x} has a name that is not text")
            }
            Self::BadPropertyName { offset, name_offset } => write!(
                f,
                "device tree property at structure offset {offset:#x} has no name at strings offset {name_offset:#x}"
            ),
            Self::ValueOutside { offset, len_bytes } => write!(
                f,
                "device tree property at structure offset {offset:#x} of {len_bytes} bytes ends outside the structure block"
            ),
        }
    }
}

impl core::error::Error for DtError {}

/// A property whose value cannot mean what it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PropertyError<'a> {
    /// The node's name, with its unit address.
    pub node: &'a str,
    /// The property.
    pub property: &'static str,
    /// What is wrong.
    pub problem: PropertyProblem,
}

/// What is wrong with a property's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PropertyProblem {
    /// It should be there and is not.
    Missing,
    /// Its length is not one of those that its meaning allows.
    BadLength {
        /// Its length in bytes.
        len_bytes: u32,
        /// The length, or the length of one element, that was expected, in bytes.
        expected_bytes: u32,
    },
    /// It is not UTF-8 text.
    NotText,
    /// Its value is out of range, or contradicts another property.
    BadValue {
        /// The value.
        value: u64,
    },
}

impl fmt::Display for PropertyError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = if self.node.is_empty() { "/" } else { self.node };
        write!(f, "device tree node '{node}', property '{}': ", self.property)?;
        match self.problem {
            PropertyProblem::Missing => f.write_str("missing"),
            PropertyProblem::BadLength { len_bytes, expected_bytes } => {
                write!(f, "{len_bytes} bytes long, expected {expected_bytes} or a multiple")
            }
            PropertyProblem::NotText => f.write_str("not text"),
            PropertyProblem::BadValue { value } => write!(f, "bad value {value:#x}"),
        }
    }
}

impl core::error::Error for PropertyError<'_> {}
