//! What stands before the text of a log line: levels and timestamps as the kernel, `dmesg` and system loggers write them.

/// A log line without its level (`<6>`, `kern  :info  :`), timestamp (`[    0.000000]`, also as `dmesg -T`, `-d`, `-e`
/// and `--time-format iso` write it), caller (`[    T0]`), and what a system logger puts before them.
pub fn body(line: &str) -> &str {
    let mut rest = line.trim_end_matches('\r');
    if let Some(at) = rest.find(" kernel: ") {
        rest = &rest[at + " kernel: ".len()..];
    }
    if let Some((level, after)) = rest.strip_prefix('<').and_then(|r| r.split_once('>'))
        && level.bytes().all(|b| b.is_ascii_digit())
    {
        rest = after;
    }
    if let Some((level, after)) =
        rest.strip_prefix("kern").and_then(|r| r.trim_start().strip_prefix(':')?.split_once(':'))
        && level.trim_end().bytes().all(|b| b.is_ascii_lowercase())
    {
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    if let Some((stamp, after)) = rest.split_once(' ')
        && is_iso_time(stamp)
    {
        return after;
    }
    if let Some((stamp, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']'))
        && is_time(stamp)
    {
        rest = after;
        if let Some((caller, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']'))
            && is_caller(caller)
        {
            rest = after;
        }
        rest = rest.strip_prefix(' ').unwrap_or(rest);
    }
    rest
}

/// A whole log without what stands before its lines. Line numbers stay as they are; a text that was indented as a whole
/// by whoever pasted it is put back.
pub fn plain(text: &str) -> String {
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let common = text.lines().filter(|l| !l.trim().is_empty()).map(indent).min().unwrap_or(0);
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        out.push_str(body(line.get(common..).unwrap_or("")));
        out.push('\n');
    }
    out
}

/// `    0.000000`, `  +0.000000`, `    0.000000 <    0.000000>`, `Tue Nov 21 02:35:01 2023`, `Nov21 02:35`.
fn is_time(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b" .:+<>".contains(&b);
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    text.bytes().all(fits) && digits >= 2 && text.contains(['.', ':']) && !text.contains("0x")
}

/// `    T0` (a task), `    C1` (a processor).
fn is_caller(text: &str) -> bool {
    let number = text.trim_start().strip_prefix(['T', 'C']);
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// `2023-11-21T02:35:01,123456+01:00`.
fn is_iso_time(text: &str) -> bool {
    let date = |t: &str| t.len() == 10 && t.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let time = |t: &str| t.len() >= 8 && t.bytes().all(|b| b.is_ascii_digit() || b":,.+-Z".contains(&b));
    text.split_once('T').is_some_and(|(d, t)| date(d) && time(t))
}
