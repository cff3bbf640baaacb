//! What stands before a log line's own text.

/// `line` without its newline, quoting, syslog header, priority and time stamp.
///
/// Recognised, each optional and in this order: `> ` or `| ` of a quoted mail; `Nov 21 02:24:17 host kernel: ` or any
/// other header that ends in `kernel: `; `<6>`; `[    0.000000] `, also with the caller that CONFIG_PRINTK_CALLER adds
/// (`[    0.000000][    T0] `).
pub fn strip_prefix(line: &str) -> &str {
    let mut text = line.trim_end_matches(['\n', '\r']).trim_start();
    while let Some(rest) = text.strip_prefix("> ").or_else(|| text.strip_prefix("| ")) {
        text = rest.trim_start();
    }
    if let Some((header, rest)) = text.split_once("kernel: ") {
        // Only a header: the words may also stand in the middle of a message.
        if !header.contains(['[', '<', '=']) && header.len() <= 80 && looks_like_header(header) {
            text = rest;
        }
    }
    let level = text.strip_prefix('<').and_then(|t| t.split_once('>'));
    if let Some((level, rest)) = level
        && !level.is_empty()
        && level.bytes().all(|b| b.is_ascii_digit())
    {
        text = rest;
    }
    while let Some((stamp, rest)) = text.trim_start().strip_prefix('[').and_then(|t| t.split_once(']')) {
        if !is_stamp(stamp) {
            break;
        }
        text = rest.strip_prefix(' ').unwrap_or(rest);
    }
    text
}

/// A header is empty, or carries a time of day (`02:24:17`).
fn looks_like_header(header: &str) -> bool {
    header.is_empty()
        || header.split([' ', 'T', '.', '+']).any(|word| {
            word.len() == 8
                && word
                    .bytes()
                    .enumerate()
                    .all(|(i, b)| if i % 3 == 2 { b == b':' } else { b.is_ascii_digit() })
        })
}

/// `    0.000000` or, for a caller, `    T0`, `    C1`.
fn is_stamp(text: &str) -> bool {
    let text = text.trim();
    if let Some(id) = text.strip_prefix(['T', 'C']) {
        return !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
    }
    let Some((seconds, fraction)) = text.split_once('.') else { return false };
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    digits(seconds) && digits(fraction)
}
