//! The memblock calls of a kernel log taken under `memblock=debug`.
//!
//! Linux prints a call before it acts, and an allocation's reservation on a line of its own whose caller is
//! `memblock_alloc_range_nid`. Ranges are inclusive and may be empty (the last address one below the first).

use crate::facts::body;
use crate::fault::Fault;

/// A range as the log prints it, half-open: `last + 1` may wrap to 0 at the top of the address space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// First byte.
    pub start: u64,
    /// Bytes; 0 for an empty range.
    pub len: u64,
}

/// Which of the functions that share one wording.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Variant {
    /// `memblock_alloc_try_nid`.
    Plain,
    /// `memblock_alloc_try_nid_raw`.
    Raw,
    /// `memblock_alloc_exact_nid_raw`.
    ExactRaw,
}

/// One call with the arguments that the log shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the fields are the arguments of the Linux function that each variant names")]
pub enum Call {
    /// `memblock_add`.
    Add { span: Span },
    /// `memblock_add_node`.
    AddNode { span: Span, nid: i32, flags: u32 },
    /// `memblock_remove`.
    Remove { span: Span },
    /// `memblock_reserve`.
    Reserve { span: Span },
    /// `memblock_phys_free`.
    Free { span: Span },
    /// `memblock_phys_alloc_range`.
    PhysAllocRange { size: u64, align: u64, min: u64, max: u64 },
    /// `memblock_alloc_try_nid` and its relatives; `nid` -1 is any node.
    AllocTryNid { variant: Variant, size: u64, align: u64, nid: i32, min: u64, max: u64 },
    /// A region array was doubled.
    Doubled { reserved: bool, new_max: u64, span: Span },
}

/// A line of the log that the replay uses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// A call and who made it (without offset, and without the compiler's suffixes).
    Call {
        /// The call.
        call: Call,
        /// Linux's name of the caller.
        caller: String,
        /// The line without the caller.
        text: String,
    },
    /// A `MEMBLOCK configuration:` block, its lines as they stand there.
    Dump(Vec<String>),
}

/// An [`Item`] and the line of the log where it stands, counted from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Logged {
    /// The line's number.
    pub line: usize,
    /// What it says.
    pub item: Item,
}

/// The caller of an allocation's reservation.
pub const ALLOC: &str = "memblock_alloc_range_nid";

/// Reads all items of a log.
///
/// # Errors
/// A [`Fault`] with the line that starts like a memblock call and does not go on like one.
pub fn parse(text: &str) -> Result<Vec<Logged>, Fault> {
    let mut out: Vec<Logged> = Vec::new();
    let mut in_dump = false;
    for (i, raw) in text.lines().enumerate() {
        let line = body(raw);
        if line.trim_end() == "MEMBLOCK configuration:" {
            in_dump = true;
            out.push(Logged { line: i + 1, item: Item::Dump(vec![line.to_owned()]) });
            continue;
        }
        if in_dump
            && line.starts_with(' ')
            && let Some(Logged { item: Item::Dump(lines), .. }) = out.last_mut()
        {
            lines.push(line.to_owned());
            continue;
        }
        in_dump = false;
        if line.starts_with("memblock_")
            || (line.starts_with("memblock: ") && line.contains(" is doubled to "))
        {
            let parsed =
                call(line).ok_or_else(|| Fault::line(i + 1, line, "a memblock call as Linux 6.1 logs it"))?;
            let (call, caller) = parsed;
            let text = without_caller(line, &call).to_owned();
            out.push(Logged { line: i + 1, item: Item::Call { call, caller, text } });
        }
    }
    Ok(out)
}

fn call(line: &str) -> Option<(Call, String)> {
    let (name, rest) = line.split_once(": ")?;
    if name == "memblock" {
        let (set, rest) = rest.split_once(" is doubled to ")?;
        let (count, range) = rest.split_once(" at ")?;
        let (span, _) = span(range)?;
        let call = Call::Doubled { reserved: set == "reserved", new_max: count.parse().ok()?, span };
        return Some((call, String::new()));
    }
    let variant = match name {
        "memblock_alloc_try_nid" => Some(Variant::Plain),
        "memblock_alloc_try_nid_raw" => Some(Variant::Raw),
        "memblock_alloc_exact_nid_raw" => Some(Variant::ExactRaw),
        _ => None,
    };
    if variant.is_some() || name == "memblock_phys_alloc_range" {
        return allocation(variant, rest);
    }
    let (span, rest) = span(rest)?;
    let call = match name {
        "memblock_add" => Call::Add { span },
        "memblock_add_node" => {
            let (nid, flags) = (field(rest, "nid=")?, field(rest, "flags=")?);
            Call::AddNode { span, nid: nid.parse().ok()?, flags: u32::from_str_radix(flags, 16).ok()? }
        }
        "memblock_remove" => Call::Remove { span },
        "memblock_reserve" => Call::Reserve { span },
        "memblock_phys_free" | "memblock_free" => Call::Free { span },
        _ => return None,
    };
    Some((call, caller(rest)?))
}

/// `4096 bytes align=0x1000 nid=-1 from=0x0 max_addr=0x1 who+0x2c/0xb0`.
fn allocation(variant: Option<Variant>, rest: &str) -> Option<(Call, String)> {
    let size = rest.split_once(" bytes ")?.0.parse().ok()?;
    let align = hex(field(rest, "align=")?)?;
    let (min, max) = (hex(field(rest, "from=")?)?, hex(field(rest, "max_addr=")?)?);
    let call = match variant {
        Some(variant) => {
            let nid = field(rest, "nid=")?.parse().ok()?;
            Call::AllocTryNid { variant, size, align, nid, min, max }
        }
        None => Call::PhysAllocRange { size, align, min, max },
    };
    Some((call, caller(rest)?))
}

/// The word after `name`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let word = text.split_whitespace().find_map(|w| w.strip_prefix(name));
    word.filter(|w| !w.is_empty())
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// `[first-last]` and what follows it.
fn span(text: &str) -> Option<(Span, &str)> {
    let (range, rest) = text.trim_start().strip_prefix('[')?.split_once(']')?;
    let (first, last) = range.split_once('-')?;
    // An empty range at 0 ends at the largest address of its width, one below 0.
    let wraps = hex(first)? == 0 && last.len() > 2 && last[2..].bytes().all(|b| b == b'f');
    let (start, wide, last) = (hex(first)?, last.len() > 10, hex(last)?);
    let mut len = if wraps { 0 } else { last.wrapping_sub(start).wrapping_add(1) };
    if !wide {
        len &= u64::from(u32::MAX);
    }
    Some((Span { start, len }, rest))
}

/// The line up to its last word; a doubling names no caller.
fn without_caller<'a>(line: &'a str, call: &Call) -> &'a str {
    let line = line.trim_end();
    match (call, line.rsplit_once(' ')) {
        (Call::Doubled { .. }, _) | (_, None) => line,
        (_, Some((rest, _))) => rest,
    }
}

/// The last word without `+offset/size` and without suffixes such as `.constprop.0`.
fn caller(text: &str) -> Option<String> {
    let word = text.split_whitespace().next_back()?;
    let name = word.split('+').next()?;
    let end = name.find('.').unwrap_or(name.len());
    Some(name[..end].to_owned()).filter(|n| !n.is_empty())
}

#[cfg(test)]
mod tests;
