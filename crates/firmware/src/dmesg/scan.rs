//! Small pieces that log lines are made of: numbers and ranges.

use pagewright_addr::{PhysAddr, PhysRange};

/// A cursor over the rest of a line. Every method moves past what it read, and leaves the cursor alone on `None`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scan<'a> {
    rest: &'a str,
}

impl<'a> Scan<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// What has not been read.
    pub(crate) const fn rest(&self) -> &'a str {
        self.rest
    }

    pub(crate) fn literal(&mut self, text: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    pub(crate) fn spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// The text up to `end`, which is read as well.
    pub(crate) fn until(&mut self, end: &str) -> Option<&'a str> {
        let (text, rest) = self.rest.split_once(end)?;
        self.rest = rest;
        Some(text)
    }

    /// A decimal number.
    pub(crate) fn decimal(&mut self) -> Option<u64> {
        self.digits(10)
    }

    /// A hexadecimal number, with or without `0x`.
    pub(crate) fn hex(&mut self) -> Option<u64> {
        let mut ahead = *self;
        let _ = ahead.literal("0x");
        let value = ahead.digits(16)?;
        *self = ahead;
        Some(value)
    }

    fn digits(&mut self, radix: u32) -> Option<u64> {
        let len = self.rest.find(|c: char| !c.is_digit(radix)).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(len);
        let value = u64::from_str_radix(digits, radix).ok()?;
        self.rest = rest;
        Some(value)
    }

    /// `0xFIRST-0xLAST`, both inside the range, as the pair of both.
    pub(crate) fn first_last(&mut self) -> Option<(u64, u64)> {
        let mut ahead = *self;
        let first = ahead.hex()?;
        ahead.literal("-")?;
        let last = ahead.hex()?;
        *self = ahead;
        Some((first, last))
    }

    /// `[mem 0xFIRST-0xLAST]` as the kernel prints resources. A range whose last byte is the last of the address
    /// space, or that ends before it starts, is not one.
    pub(crate) fn mem(&mut self) -> Option<PhysRange> {
        let mut ahead = *self;
        ahead.literal("[mem ")?;
        let (first, last) = ahead.first_last()?;
        ahead.literal("]")?;
        *self = ahead;
        range(first, last)
    }
}

/// The range with these first and last bytes.
pub(crate) fn range(first: u64, last: u64) -> Option<PhysRange> {
    let end = last.checked_add(1)?;
    (first < end).then(|| PhysRange::new(PhysAddr::new(first), PhysAddr::new(end)))
}
