//! Allocations that fail on purpose, by the attributes of Linux's `fail_page_alloc`.

use crate::gfp::Gfp;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use pagewright_addr::Order;

/// The attributes, by their names in debugfs. All can change while allocations run.
#[derive(Debug)]
pub struct FaultAttr {
    probability: AtomicU32,
    interval: AtomicU32,
    times: AtomicI64,
    space: AtomicI64,
    min_order: AtomicU32,
    ignore_gfp_wait: AtomicBool,
    ignore_gfp_highmem: AtomicBool,
    count: AtomicU32,
    random: AtomicU64,
}

/// Text is no set of attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultAttrError {
    /// Which of the four numbers is none, the first being 0; 4 if there are more.
    pub field: usize,
}

impl fmt::Display for FaultAttrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fault attributes are <interval>,<probability>,<space>,<times>: field {} is wrong",
            self.field
        )
    }
}

impl core::error::Error for FaultAttrError {}

impl FaultAttr {
    /// Nothing fails yet. One allocation in `interval` 1 with probability 0 would, once; only blocks of order 1 and more, that
    /// neither may be high memory nor may wait: Linux's defaults. `seed` decides the random numbers.
    pub const fn new(seed: u64) -> Self {
        Self {
            probability: AtomicU32::new(0),
            interval: AtomicU32::new(1),
            times: AtomicI64::new(1),
            space: AtomicI64::new(0),
            min_order: AtomicU32::new(1),
            ignore_gfp_wait: AtomicBool::new(true),
            ignore_gfp_highmem: AtomicBool::new(true),
            count: AtomicU32::new(0),
            random: AtomicU64::new(seed | 1),
        }
    }

    /// Reads `fail_page_alloc=<interval>,<probability>,<space>,<times>` of a command line.
    ///
    /// # Errors
    /// [`FaultAttrError`]; nothing has changed then.
    pub fn setup(&self, text: &str) -> Result<(), FaultAttrError> {
        let mut fields = [0_i64; 4];
        let mut parts = text.split(',');
        for (field, value) in fields.iter_mut().enumerate() {
            let wrong = FaultAttrError { field };
            *value = parts.next().and_then(|part| part.trim().parse().ok()).ok_or(wrong)?;
            // A negative number of times is without end; the rest counts something.
            let limits =
                if field < 2 { 0..=i64::from(u32::MAX) } else { i64::from(i32::MIN)..=i64::from(i32::MAX) };
            if !limits.contains(value) {
                return Err(wrong);
            }
        }
        if parts.next().is_some() {
            return Err(FaultAttrError { field: 4 });
        }
        let [interval, probability, space, times] = fields;
        self.set_interval(interval as u32);
        self.set_probability(probability as u32);
        self.set_space(space);
        self.set_times(times);
        Ok(())
    }

    /// How many of a hundred fail; from 100 on all.
    pub fn set_probability(&self, percent: u32) {
        self.probability.store(percent, Relaxed);
    }

    /// Only each so manieth can fail.
    pub fn set_interval(&self, interval: u32) {
        self.interval.store(interval, Relaxed);
    }

    /// At most so many fail; -1 is without end.
    pub fn set_times(&self, times: i64) {
        self.times.store(times, Relaxed);
    }

    /// So many pages are allocated before the first fails.
    pub fn set_space(&self, pages: i64) {
        self.space.store(pages, Relaxed);
    }

    /// Smaller blocks do not fail.
    pub fn set_min_order(&self, order: u8) {
        self.min_order.store(order.into(), Relaxed);
    }

    /// Whether allocations that may reclaim are left alone ("ignore-gfp-wait").
    pub fn set_ignore_gfp_wait(&self, ignore: bool) {
        self.ignore_gfp_wait.store(ignore, Relaxed);
    }

    /// Whether those that may be high memory are left alone ("ignore-gfp-highmem").
    pub fn set_ignore_gfp_highmem(&self, ignore: bool) {
        self.ignore_gfp_highmem.store(ignore, Relaxed);
    }

    /// How many may still fail; negative is without end.
    pub fn times(&self) -> i64 {
        self.times.load(Relaxed)
    }

    /// Whether an allocation is to fail.
    pub fn should_fail(&self, gfp: Gfp, order: Order) -> bool {
        let left_alone = u32::from(order.get()) < self.min_order.load(Relaxed)
            || gfp.contains(Gfp::NOFAIL)
            || gfp.contains(Gfp::HIGHMEM) && self.ignore_gfp_highmem.load(Relaxed)
            || gfp.contains(Gfp::DIRECT_RECLAIM) && self.ignore_gfp_wait.load(Relaxed);
        !left_alone && self.happens(order.pages() as i64)
    }

    fn happens(&self, size: i64) -> bool {
        let probability = self.probability.load(Relaxed);
        if probability == 0 || self.times() == 0 {
            return false;
        }
        if self.space.load(Relaxed) > size {
            self.space.fetch_sub(size, Relaxed);
            return false;
        }
        let interval = self.interval.load(Relaxed);
        if interval > 1 && !(self.count.fetch_add(1, Relaxed) + 1).is_multiple_of(interval) {
            return false;
        }
        if probability <= self.percent() {
            return false;
        }
        // Of two CPUs that see the last time, one has it.
        let take = |times: i64| if times > 0 { Some(times - 1) } else { (times < 0).then_some(times) };
        self.times.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    /// A random number below 100.
    fn percent(&self) -> u32 {
        let step = |mut x: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^ x << 17
        };
        let old = self.random.fetch_update(Relaxed, Relaxed, |x| Some(step(x))).unwrap_or(1);
        (step(old) >> 33) as u32 % 100
    }
}
