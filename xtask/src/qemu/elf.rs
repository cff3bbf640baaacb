//! From an ELF file to the bytes that a loader puts into memory, and how many they are.

/// A loadable segment: where it lies in the file, where in memory, how long it is in the file and how long in memory.
struct Segment {
    offset: usize,
    address: u64,
    len: usize,
    memory: u64,
}

/// The loadable segments as one run of bytes from the first of them on, placed by their physical addresses. What the file has nothing
/// for (bss) is there as zeroes, at the end too: a loader sees how much memory the image takes, and puts nothing else there.
///
/// # Errors
/// Why it is no ELF file that can be laid out.
pub(super) fn flatten(file: &[u8]) -> Result<Vec<u8>, String> {
    let segments: Vec<Segment> = segments(file).ok_or("no little-endian ELF file")?;
    let start = segments.iter().map(|s| s.address).min().ok_or("nothing to load")?;
    let end = segments.iter().map(|s| s.address.saturating_add(s.memory)).max().unwrap_or(start);
    const LIMIT: u64 = 64 << 20;
    if end - start > LIMIT {
        return Err(format!("{} bytes from the first segment to the last", end - start));
    }
    let mut image = vec![0; (end - start) as usize];
    for s in segments {
        let bytes = file.get(s.offset..s.offset + s.len).ok_or("a segment ends behind the file")?;
        let at = (s.address - start) as usize;
        image[at..at + s.len].copy_from_slice(bytes);
    }
    Ok(image)
}

/// Where the first segment ends in memory.
pub(super) fn first_end(file: &[u8]) -> Option<u64> {
    let first = segments(file)?.into_iter().min_by_key(|s| s.address)?;
    first.address.checked_add(first.memory)
}

fn segments(file: &[u8]) -> Option<Vec<Segment>> {
    const LOAD: u64 = 1;
    if file.get(..4)? != b"\x7fELF" || *file.get(5)? != 1 {
        return None;
    }
    let wide = *file.get(4)? == 2;
    let number = |at: usize, len: usize| -> Option<u64> {
        let bytes = file.get(at..at.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    };
    let word = if wide { 8 } else { 4 };
    let (table, size, count) = if wide {
        (number(32, 8)?, number(54, 2)?, number(56, 2)?)
    } else {
        (number(28, 4)?, number(42, 2)?, number(44, 2)?)
    };
    let mut found = Vec::new();
    for n in 0..count {
        let at = usize::try_from(table + n * size).ok()?;
        // Offset, virtual address, physical address, length in the file and in memory: one word each, behind the type (and flags, if
        // wide).
        let field = |n: usize| number(at + if wide { 8 } else { 4 } + n * word, word);
        let len = usize::try_from(field(3)?).ok()?;
        if number(at, 4)? == LOAD {
            let memory = field(4)?.max(len as u64);
            found.push(Segment { offset: usize::try_from(field(0)?).ok()?, address: field(2)?, len, memory });
        }
    }
    Some(found)
}

/// Bytes that an image brings along; what is only zeroed when it starts (bss) is no part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sizes {
    /// Code.
    pub(crate) text: u64,
    /// Constants and data.
    pub(crate) data: u64,
}

impl Sizes {
    /// Both.
    pub(crate) fn total(self) -> u64 {
        self.text.saturating_add(self.data)
    }
}

/// How large those sections of a little-endian ELF file are that are loaded; what alignment leaves between them does not count.
/// `None` if it is no such file, or has none.
pub(super) fn sizes(file: &[u8]) -> Option<Sizes> {
    const NOBITS: u64 = 8;
    const ALLOC: u64 = 2;
    const EXECUTABLE: u64 = 4;
    if file.get(..4)? != b"\x7fELF" || *file.get(5)? != 1 {
        return None;
    }
    let wide = *file.get(4)? == 2;
    let word = if wide { 8 } else { 4 };
    let number = |at: usize, len: usize| -> Option<u64> {
        let bytes = file.get(at..at.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    };
    let (table, size, count) = if wide {
        (number(40, 8)?, number(58, 2)?, number(60, 2)?)
    } else {
        (number(32, 4)?, number(46, 2)?, number(48, 2)?)
    };
    let mut sizes = Sizes::default();
    for n in 0..count {
        // The name and the type have four bytes each; then come flags, address, place in the file and size, one word each.
        let fields = usize::try_from(table.checked_add(n * size)?).ok()?.checked_add(8)?;
        let (kind, flags, bytes) =
            (number(fields - 4, 4)?, number(fields, word)?, number(fields.checked_add(3 * word)?, word)?);
        if flags & ALLOC != 0 && kind != NOBITS {
            let part = if flags & EXECUTABLE != 0 { &mut sizes.text } else { &mut sizes.data };
            *part = part.checked_add(bytes)?;
        }
    }
    (sizes.total() > 0).then_some(sizes)
}

/// The symbols of a little-endian ELF file, by name; `None` if it has no table of them, or one that cannot be.
pub(crate) fn symbols(file: &[u8]) -> Option<Vec<(String, u64)>> {
    const TABLE: u64 = 2;
    let number = |at: usize, len: usize| -> Option<u64> {
        let bytes = file.get(at..at.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    };
    let place = |at: usize, len: usize| number(at, len).and_then(|n| usize::try_from(n).ok());
    if file.get(..4)? != b"\x7fELF" || *file.get(5)? != 1 {
        return None;
    }
    let wide = *file.get(4)? == 2;
    let word = if wide { 8 } else { 4 };
    // Sections: where their table is and how many there are; bytes of a header. Symbols: bytes of one, where its value stands.
    let (first, count, header) =
        if wide { (place(40, 8)?, place(60, 2)?, 64) } else { (place(32, 4)?, place(48, 2)?, 40) };
    let (symbol, value) = if wide { (24, 8) } else { (16, 4) };
    let section = |n: usize| first.checked_add(n.checked_mul(header)?);
    // Name, kind, then flags, address, offset and size of a word each, then the table of names.
    let bytes = |at: usize| -> Option<&[u8]> {
        let (start, len) = (place(at + 8 + 2 * word, word)?, place(at + 8 + 3 * word, word)?);
        file.get(start..start.checked_add(len)?)
    };
    let table = (0..count).filter_map(section).find(|at| number(at + 4, 4) == Some(TABLE))?;
    let names = bytes(section(place(table + 8 + 4 * word, 4)?)?)?;
    let mut found = Vec::new();
    for entry in bytes(table)?.chunks_exact(symbol) {
        let field =
            |at: usize, len: usize| entry[at..at + len].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
        let name = names.get(usize::try_from(field(0, 4)).ok()?..)?.split(|b| *b == 0).next()?;
        found.push((String::from_utf8_lossy(name).into_owned(), field(value, word)));
    }
    Some(found)
}
