//! `slub_debug=`: which caches are watched, and for what.

use crate::CacheFlags;
use crate::slub::{ObjectSpec, Slub};
use core::fmt;

/// What the command line asks for: `slub_debug=FZPU,kmalloc-*,dentry;F,inode_cache`.
///
/// Blocks are separated by `;`, the last one first: letters, then names of caches, if it is not for all. A name may end with `*`. Source:
/// Documentation/mm/slub.rst.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DebugOptions<'o> {
    text: Option<&'o str>,
}

/// A letter that means nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadOption(
    /// The letter.
    pub char,
);

impl fmt::Display for BadOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slub_debug option '{}' unknown: letters are F, Z, P, U, T, A, O and -", self.0)
    }
}

impl core::error::Error for BadOption {}

/// What one block's letters say.
struct Block<'o> {
    flags: CacheFlags,
    /// O: what needs room beside objects is not for caches whose objects would need larger slabs by it.
    unless_larger: bool,
    names: Option<&'o str>,
}

impl<'o> DebugOptions<'o> {
    /// Nothing is watched.
    pub const NONE: Self = Self { text: None };

    /// What stands behind `slub_debug=`; no text (`slub_debug` alone) asks for everything.
    ///
    /// # Errors
    /// [`BadOption`].
    pub fn parse(text: &'o str) -> Result<Self, BadOption> {
        let mut bad = None;
        let options = Self::skipping(text, |letter| _ = bad.get_or_insert(letter));
        bad.map_or(Ok(options), Err)
    }

    /// The same from a machine's command line, by which nothing shall fail: letters that mean nothing are passed to `skipped`, and
    /// skipped.
    pub fn skipping(text: &'o str, mut skipped: impl FnMut(BadOption)) -> Self {
        split(text).for_each(|block| _ = Self::block(block, &mut skipped));
        Self { text: Some(text) }
    }

    fn block<'b>(text: &'b str, skipped: &mut impl FnMut(BadOption)) -> Block<'b> {
        let (letters, names) = match text.split_once(',') {
            Some((letters, names)) => (letters, Some(names)),
            None => (text, None),
        };
        let mut block = Block { flags: CacheFlags::empty(), unless_larger: false, names };
        if letters.is_empty() {
            block.flags = CacheFlags::DEBUG;
        }
        for letter in letters.chars() {
            block.flags |= match letter.to_ascii_lowercase() {
                'f' => CacheFlags::CONSISTENCY_CHECKS,
                'z' => CacheFlags::RED_ZONE,
                'p' => CacheFlags::POISON,
                'u' => CacheFlags::STORE_USER,
                't' => CacheFlags::TRACE,
                'a' => CacheFlags::FAILSLAB,
                'o' => {
                    block.unless_larger = true;
                    continue;
                }
                '-' => {
                    block.flags = CacheFlags::empty();
                    continue;
                }
                _ => {
                    skipped(BadOption(letter));
                    continue;
                }
            };
        }
        block
    }

    /// Whether O stands in any block: then POISON, RED_ZONE and STORE_USER are not for caches whose objects need larger slabs by it, whoever asks.
    pub fn spares_larger(&self) -> bool {
        self.blocks().any(|block| block.unless_larger)
    }

    fn blocks(&self) -> impl Iterator<Item = Block<'o>> + use<'o> {
        self.text.into_iter().flat_map(split).map(|block| Self::block(block, &mut |_| ()))
    }

    /// What a cache of that name is watched for.
    pub fn flags(&self, name: &str) -> CacheFlags {
        let matches = |pattern: &str| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        };
        // A block that names the cache counts, else the last one for all.
        let named = self.blocks().find(|b| b.names.is_some_and(|names| names.split(',').any(matches)));
        let block = named.or_else(|| self.blocks().filter(|b| b.names.is_none()).last());
        block.map_or(CacheFlags::empty(), |block| block.flags)
    }

    /// What a cache of that name is laid out for: what its creator asks for, and what these options ask of such a cache. With O they
    /// take back, from either, what needs room beside objects, where objects would need larger slabs by it.
    pub fn watched(&self, slub: &Slub, name: &str, object: ObjectSpec) -> ObjectSpec {
        let mut flags = object.flags | self.flags(name);
        // The least order of an object, not the order that suits a slab.
        let least = |flags| slub.geometry(&ObjectSpec { flags, ..object }).map(|g| g.least.0).ok();
        if self.spares_larger() && least(flags) > slub.order_for(object.size) {
            flags -= CacheFlags::POISON | CacheFlags::RED_ZONE | CacheFlags::STORE_USER;
        }
        ObjectSpec { flags, ..object }
    }
}

/// The blocks of a text: what has nothing between its `;` is none, but no text at all is one that asks for everything.
fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').filter(move |block| !block.is_empty() || text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: CacheFlags = CacheFlags::DEBUG;

    fn flags(text: &str, name: &str) -> CacheFlags {
        DebugOptions::parse(text).unwrap().flags(name)
    }

    #[test]
    fn no_letters_are_all_of_them() {
        assert_eq!(flags("", "anything"), ALL);
        assert_eq!(flags(",dentry", "dentry"), ALL);
        assert_eq!(flags(",dentry", "inode"), CacheFlags::empty());
        assert_eq!(DebugOptions::NONE.flags("anything"), CacheFlags::empty());
    }

    #[test]
    fn names_and_patterns_choose_caches() {
        let text = "PZ,kmalloc-*,dentry;F";
        assert_eq!(flags(text, "kmalloc-64"), CacheFlags::POISON | CacheFlags::RED_ZONE);
        assert_eq!(flags(text, "dentry"), CacheFlags::POISON | CacheFlags::RED_ZONE);
        assert_eq!(flags(text, "inode_cache"), CacheFlags::CONSISTENCY_CHECKS);
        assert_eq!(flags("-", "inode_cache"), CacheFlags::empty());
        assert_eq!(flags("F,dentry;", "inode_cache"), CacheFlags::empty(), "nothing is no block");
        assert_eq!(flags(";;F", "inode_cache"), CacheFlags::CONSISTENCY_CHECKS);
        assert_eq!(flags("fzpu", "inode_cache"), ALL);
        assert_eq!(flags("tA,dentry", "dentry"), CacheFlags::TRACE | CacheFlags::FAILSLAB);
    }

    #[test]
    fn o_is_for_the_whole_machine() {
        let options = DebugOptions::parse("OFZ,dentry;P").unwrap();
        assert!(options.spares_larger() && !DebugOptions::parse("FZ").unwrap().spares_larger());
        assert_eq!(options.flags("dentry"), CacheFlags::CONSISTENCY_CHECKS | CacheFlags::RED_ZONE);
    }

    #[test]
    fn letters_that_mean_nothing_can_be_skipped() {
        let mut skipped = [None; 2];
        let mut places = skipped.iter_mut();
        let options = DebugOptions::skipping("FQ,dentry;xP", |letter| {
            *places.next().expect("two of them") = Some(letter.0);
        });
        assert_eq!(skipped, [Some('Q'), Some('x')]);
        assert_eq!(options.flags("dentry"), CacheFlags::CONSISTENCY_CHECKS);
        assert_eq!(options.flags("anything"), CacheFlags::POISON);
    }

    #[test]
    fn a_letter_that_means_nothing_is_an_error() {
        assert_eq!(DebugOptions::parse("FQ"), Err(BadOption('Q')));
        assert_eq!(DebugOptions::parse("F;x,dentry"), Err(BadOption('x')));
    }
}
