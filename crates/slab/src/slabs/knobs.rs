//! What can be changed of a SLUB cache while it is used, by writing to its attributes.
//!
//! Source: what 6.1 lets one write below `/sys/kernel/slab` (mm/slub's attributes as Documentation/ABI/testing/sysfs-kernel-slab describes them).

use super::Slabs;
use super::cache::CacheId;
use super::cpu::{Requests, SlabContext};
use crate::CacheFlags;
use crate::memory::SlabMemory;
use crate::objects::CacheTable;
use crate::slub::Geometry;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use pagewright_platform::Interrupts;

/// How much is kept near processors and nodes, and how readily other nodes' slabs are used. Figures by themselves: whoever reads one may see the old or the new.
#[derive(Debug)]
pub(crate) struct Knobs {
    cpu_partial: AtomicU32,
    cpu_partial_slabs: AtomicU32,
    min_partial: AtomicU32,
    remote_node_defrag_ratio: AtomicU32,
    failslab: AtomicBool,
}

impl Knobs {
    /// As a cache begins.
    pub(crate) const fn new(geometry: &Geometry, flags: CacheFlags) -> Self {
        Self {
            cpu_partial: AtomicU32::new(geometry.cpu_partial),
            cpu_partial_slabs: AtomicU32::new(geometry.cpu_partial_slabs),
            min_partial: AtomicU32::new(geometry.min_partial),
            remote_node_defrag_ratio: AtomicU32::new(100),
            failslab: AtomicBool::new(flags.contains(CacheFlags::FAILSLAB)),
        }
    }

    /// How many objects a processor keeps: in its row, or free in its partial slabs.
    pub(crate) fn cpu_partial(&self) -> u32 {
        self.cpu_partial.load(Relaxed)
    }

    /// How many partial slabs that are.
    pub(crate) fn cpu_partial_slabs(&self) -> u32 {
        self.cpu_partial_slabs.load(Relaxed)
    }

    /// How many partial slabs a node keeps though they are empty.
    pub(crate) fn min_partial(&self) -> u64 {
        self.min_partial.load(Relaxed).into()
    }

    /// How often of a hundred times another node's partial slab is taken before a new one is made.
    pub(crate) fn remote_node_defrag_ratio(&self) -> u32 {
        self.remote_node_defrag_ratio.load(Relaxed)
    }

    /// Whether its allocations are among those that fail where only some are to.
    pub(crate) fn fails(&self) -> bool {
        self.failslab.load(Relaxed)
    }

    /// Whether another node's slab is to be taken this time: of 1024 times ten for each hundredth.
    pub(crate) fn goes_elsewhere(&self, random: u64) -> bool {
        let ratio = 10 * u64::from(self.remote_node_defrag_ratio());
        ratio > 0 && random % 1024 <= ratio
    }
}

/// Why an attribute is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttributeError {
    /// The cache was destroyed before.
    Stale,
    /// There is none of that name.
    Unknown,
    /// It can only be read (-EIO).
    ReadOnly,
    /// It cannot be that (-EINVAL, -ERANGE).
    Value,
}

impl fmt::Display for AttributeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stale => "the cache was destroyed before",
            Self::Unknown => "no such attribute",
            Self::ReadOnly => "the attribute can only be read",
            Self::Value => "the attribute cannot have that value",
        })
    }
}

impl core::error::Error for AttributeError {}

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// Writes an attribute, as a number, with a line's end behind it or not:
    ///
    /// | name | what it does |
    /// |---|---|
    /// | `cpu_partial` | how many objects a processor keeps; 0 for none. This processor gives up what it has, others when they come by. Only 0 for caches that are watched |
    /// | `min_partial` | how many empty slabs a node keeps, from now on |
    /// | `remote_node_defrag_ratio` | 0 to 100: how often of a hundred times another node's slab is taken before a new one is made |
    /// | `failslab` | 1 or 0: whether its allocations are among those that [`Self::fail_marked`] has fail; not for caches that several share |
    /// | `shrink` | 1: as [`Self::shrink`] |
    /// | `validate` | 1, for watched caches: as [`Self::validate_objects`] |
    ///
    /// # Errors
    /// [`AttributeError`]; nothing has changed then.
    pub fn set_attribute(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        name: &str,
        text: &str,
    ) -> Result<(), AttributeError> {
        let mut done = Err(AttributeError::Stale);
        self.holding(cx, cache.index(), &mut |living, _| {
            if living == cache {
                done = self.set_held(cx, cache, name, text);
            }
        });
        done
    }

    fn set_held(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        name: &str,
        text: &str,
    ) -> Result<(), AttributeError> {
        let info = self.info(cache).ok_or(AttributeError::Stale)?;
        let knobs = &info.knobs;
        let number =
            || text.strip_suffix('\n').unwrap_or(text).parse::<u32>().map_err(|_| AttributeError::Value);
        let asked = || if text.starts_with('1') { Ok(()) } else { Err(AttributeError::Value) };
        match name {
            "cpu_partial" => {
                let objects = number()?;
                if objects > 0 && info.is_watched() {
                    return Err(AttributeError::Value);
                }
                // Half full, as they are on average.
                let slabs = (2 * u64::from(objects)).div_ceil(info.geometry.objects.into());
                knobs.cpu_partial.store(objects, Relaxed);
                knobs.cpu_partial_slabs.store(slabs.min(u32::MAX.into()) as u32, Relaxed);
                // Who takes the request sees the figures.
                self.cpus.iter().for_each(|cpu| cpu.requests().post(Requests::FLUSH));
                self.poll(cx);
            }
            "min_partial" => knobs.min_partial.store(number()?, Relaxed),
            "remote_node_defrag_ratio" => {
                let ratio = number()?;
                if ratio > 100 {
                    return Err(AttributeError::Value);
                }
                knobs.remote_node_defrag_ratio.store(ratio, Relaxed);
            }
            "failslab" => {
                if info.users.load(Relaxed) > 1 {
                    return Err(AttributeError::Value);
                }
                knobs.failslab.store(asked().is_ok(), Relaxed);
            }
            "shrink" => {
                asked()?;
                self.shrink(cx, cache);
            }
            "validate" => {
                asked()?;
                if !info.is_watched() {
                    return Err(AttributeError::Value);
                }
                self.validate_objects(cache);
            }
            name if super::attributes::NAMES.contains(&name) => return Err(AttributeError::ReadOnly),
            _ => return Err(AttributeError::Unknown),
        }
        Ok(())
    }
}
