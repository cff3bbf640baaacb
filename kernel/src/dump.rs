//! What a program on the host wants to have as it is in memory: `dump=device-tree`.

use crate::console::{Console, Out};
use core::fmt::Write;

/// Bytes of a line.
const LINE: usize = 32;

/// A device tree's bytes: a heading in the form of those above views, the number of bytes, then lines of offset and bytes, in hexadecimal digits.
/// Lines of zeroes are left out: most of a tree that a loader made room in is empty.
pub fn device_tree(console: &dyn Console, bytes: &[u8]) {
    let mut out = Out(console);
    // The console takes everything.
    let _ = write_bytes(&mut out, bytes);
}

fn write_bytes(out: &mut dyn Write, bytes: &[u8]) -> core::fmt::Result {
    writeln!(out, "==> dump/device-tree <==")?;
    writeln!(out, "bytes {:x}", bytes.len())?;
    for (n, line) in bytes.chunks(LINE).enumerate().filter(|(_, line)| line.iter().any(|b| *b != 0)) {
        write!(out, "{:x} ", n * LINE)?;
        line.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
        writeln!(out)?;
    }
    writeln!(out, "==> end <==")
}

#[cfg(test)]
mod tests {
    use super::write_bytes;
    use std::string::String;

    #[test]
    fn bytes_are_told_with_their_places_and_zeroes_left_out() {
        let mut bytes = [0; 70];
        (bytes[1], bytes[69]) = (0xd0, 7);
        let mut out = String::new();
        write_bytes(&mut out, &bytes).unwrap();
        let zeroes = "00".repeat(30);
        let text = std::format!(
            "==> dump/device-tree <==\nbytes 46\n0 00d0{zeroes}\n40 000000000007\n==> end <==\n"
        );
        assert_eq!(out, text);
    }
}
