//! Numbers on the command line.

/// Reads a number as C's `strtoull` with base 0: `0x` hexadecimal, `0` octal, else decimal. Returns what follows it.
///
/// Without a digit the number is 0 and nothing is read. Numbers past 64 bits wrap around, as the kernel's do.
pub fn strtoull(text: &str) -> (u64, &str) {
    let bytes = text.as_bytes();
    let hex = matches!(bytes, [b'0', b'x' | b'X', digit, ..] if digit.is_ascii_hexdigit());
    let (radix, digits) = match bytes {
        _ if hex => (16, &text[2..]),
        [b'0', ..] => (8, text),
        _ => (10, text),
    };
    let len = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(len);
    let value = digits
        .chars()
        .filter_map(|c| c.to_digit(radix))
        .fold(0u64, |value, digit| value.wrapping_mul(u64::from(radix)).wrapping_add(u64::from(digit)));
    (value, rest)
}

/// Reads a size as the kernel's `memparse`: a number as [`strtoull`] reads it, then perhaps one of K, M, G, T, P, E
/// (either case), each 1024 times the one before. Returns what follows.
///
/// Sizes past 64 bits lose their upper bits, as the kernel's do. Text without a number is 0, with all of the text left
/// over; a lone suffix is read all the same (`memparse("K")` is `(0, "")`).
pub fn memparse(text: &str) -> (u64, &str) {
    let (value, rest) = strtoull(text);
    let shift = match rest.bytes().next() {
        Some(b'K' | b'k') => 10,
        Some(b'M' | b'm') => 20,
        Some(b'G' | b'g') => 30,
        Some(b'T' | b't') => 40,
        Some(b'P' | b'p') => 50,
        Some(b'E' | b'e') => 60,
        _ => return (value, rest),
    };
    (value << shift, &rest[1..])
}

/// What [`parse_integer`] reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Integer<'a> {
    /// The number, cut to 32 bits.
    pub value: i32,
    /// What follows it.
    pub rest: &'a str,
}

/// Reads a signed number as the kernel's `get_option` does: an optional `-`, then as [`strtoull`]. `None` without a
/// digit.
pub fn parse_integer(text: &str) -> Option<Integer<'_>> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (value, rest) = strtoull(digits);
    if rest.len() == digits.len() {
        return None;
    }
    let value = value as i32;
    Some(Integer { value: if negative { value.wrapping_neg() } else { value }, rest })
}

/// Reads a switch as the kernel's `kstrtobool`: 1, y, t, on; 0, n, f, off, of which only the first letter (of `on` and
/// `off`, the second) is looked at.
pub fn parse_bool(text: &str) -> Option<bool> {
    let mut letters = text.bytes().map(|b| b.to_ascii_lowercase());
    match letters.next()? {
        b'y' | b't' | b'1' => Some(true),
        b'n' | b'f' | b'0' => Some(false),
        b'o' => match letters.next()? {
            b'n' => Some(true),
            b'f' => Some(false),
            _ => None,
        },
        _ => None,
    }
}
