//! Parameters that nothing in the kernel takes: they go to init.

use super::token::{Param, names_equal};
use arrayvec::ArrayVec;
use core::fmt;

/// How many the kernel passes on of each kind (CONFIG_INIT_ENV_ARG_LIMIT); with more it panics.
const LIMIT: usize = 32;

/// The unknown parameters of a command line, in the order in which the kernel lists them: those without a value, which
/// become init's arguments, then those with one, which become its environment.
///
/// A name with a dot is a module's and never unknown. Of two values for one name the later counts, in the earlier's
/// place. HOME and TERM replace what init gets anyway and are not listed. `init=` and `rdinit=` forget the arguments
/// before them.
///
/// Displayed as the kernel's message; empty without unknown parameters.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UnknownParams<'a> {
    arguments: ArrayVec<&'a str, LIMIT>,
    environment: ArrayVec<(&'a str, &'a str), { LIMIT - 1 }>,
    too_many: Option<&'a str>,
}

impl<'a> UnknownParams<'a> {
    pub(super) fn push(&mut self, param: &Param<'a>) {
        if param.name.contains('.') || self.too_many.is_some() {
            return;
        }
        let kept = match param.value {
            None => self.arguments.try_push(param.name).is_ok(),
            Some(_) if matches!(param.name, "HOME" | "TERM") => true,
            Some(value) => match self.environment.iter_mut().find(|(name, _)| *name == param.name) {
                Some(earlier) => {
                    earlier.1 = value;
                    true
                }
                None => self.environment.try_push((param.name, value)).is_ok(),
            },
        };
        if !kept {
            self.too_many = Some(param.name);
        }
    }

    pub(super) fn init_named(&mut self) {
        self.arguments.clear();
    }

    /// The parameters, as the kernel lists them.
    pub fn iter(&self) -> impl Iterator<Item = Param<'a>> + '_ {
        let arguments = self.arguments.iter().map(|name| Param { name, value: None });
        let environment = self.environment.iter();
        arguments.chain(environment.map(|(name, value)| Param { name, value: Some(value) }))
    }

    /// Whether the parameter called `name` is among them.
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|p| names_equal(p.name, name))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.arguments.is_empty() && self.environment.is_empty()
    }

    /// The first one that did not fit; the kernel panics over it once its console is up.
    pub const fn too_many(&self) -> Option<&'a str> {
        self.too_many
    }

    /// Bytes that the kernel allocates from memblock to put the message together (and frees again): each parameter
    /// with a blank before it, and a final zero byte. 0 if it prints none.
    pub fn message_bytes(&self) -> u64 {
        if self.is_empty() {
            return 0;
        }
        let lengths =
            self.iter().map(|p| 1 + p.name.len() as u64 + p.value.map_or(0, |v| 1 + v.len() as u64));
        1 + lengths.sum::<u64>()
    }
}

impl fmt::Display for UnknownParams<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return Ok(());
        }
        f.write_str("Unknown kernel command line parameters \"")?;
        for (i, param) in self.iter().enumerate() {
            let blank = if i == 0 { "" } else { " " };
            match param.value {
                Some(value) => write!(f, "{blank}{}={value}", param.name)?,
                None => write!(f, "{blank}{}", param.name)?,
            }
        }
        f.write_str("\", will be passed to user space.")
    }
}
