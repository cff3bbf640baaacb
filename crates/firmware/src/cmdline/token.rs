//! Splitting a command line into parameters.

/// One parameter: `name` or `name=value`, without quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Param<'a> {
    /// What stands before the first `=`.
    pub name: &'a str,
    /// What stands after it; `None` without a `=`.
    pub value: Option<&'a str>,
}

impl Param<'_> {
    /// Whether this is the parameter called `name`; `-` and `_` are the same.
    pub fn is(&self, name: &str) -> bool {
        names_equal(self.name, name)
    }
}

/// Whether two parameter names are the same to the kernel: `-` and `_` count as equal.
pub fn names_equal(a: &str, b: &str) -> bool {
    let dash = |b: u8| if b == b'-' { b'_' } else { b };
    a.len() == b.len() && a.bytes().map(dash).eq(b.bytes().map(dash))
}

/// Yields the parameters of a command line, as the kernel's `parse_args` does.
///
/// Blanks separate, except between double quotes. Quotes around a whole parameter or a whole value are dropped,
/// others stay. A `=` in the first place belongs to the name. A bare `--` ends the kernel's parameters.
#[derive(Clone, Debug)]
pub struct ParamIter<'a> {
    rest: &'a str,
    /// `--` has been read.
    ended: bool,
}

impl<'a> ParamIter<'a> {
    /// Over this text.
    pub const fn new(text: &'a str) -> Self {
        Self { rest: text, ended: false }
    }

    /// What has not been read: after `--`, the arguments for init.
    pub fn rest(&self) -> &'a str {
        self.rest.trim_start_matches(is_space)
    }
}

/// What the kernel takes for a blank (of ASCII).
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

impl<'a> Iterator for ParamIter<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        let text = self.rest();
        if text.is_empty() || self.ended {
            self.rest = text;
            return None;
        }
        let (text, quoted) = match text.strip_prefix('"') {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let mut in_quotes = quoted;
        let end = text.find(|c: char| {
            in_quotes ^= c == '"';
            is_space(c) && !in_quotes
        });
        let (word, rest) = text.split_at(end.unwrap_or(text.len()));
        self.rest = rest;

        let equals = word.bytes().enumerate().skip(1).find(|(_, b)| *b == b'=').map(|(i, _)| i);
        let unquoted = if quoted { word.strip_suffix('"').unwrap_or(word) } else { word };
        let param = match equals {
            // The closing quote belongs to the whole parameter or to its value; both drop the last one only.
            Some(i) => {
                let value = &unquoted[(i + 1).min(unquoted.len())..];
                let value = match value.strip_prefix('"') {
                    Some(v) => {
                        if quoted {
                            v
                        } else {
                            v.strip_suffix('"').unwrap_or(v)
                        }
                    }
                    None => value,
                };
                Param { name: &word[..i], value: Some(value) }
            }
            None => Param { name: unquoted, value: None },
        };
        if param.value.is_none() && param.name == "--" {
            self.ended = true;
            return None;
        }
        Some(param)
    }
}
