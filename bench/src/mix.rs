//! A recorded mix of sizes: the objects that a machine had after its boot, and the same requests in the same order for every design.

use crate::loops::{next, shuffle};

/// Caches of a captured machine (x86_64 with 2 GiB, Linux 6.1, from its slabinfo), without kmalloc's: bytes of an object, and objects in use.
pub const CACHES: [(u32, u32); 54] = [
    (1216, 13),
    (960, 8),
    (1024, 8),
    (664, 12),
    (320, 36),
    (832, 19),
    (256, 16),
    (4096, 48),
    (2048, 8),
    (1024, 8),
    (2112, 15),
    (1088, 15),
    (832, 19),
    (192, 21),
    (512, 8),
    (256, 16),
    (192, 273),
    (40, 102),
    (712, 22),
    (120, 34),
    (80, 51),
    (1600, 10),
    (784, 380),
    (128, 10336),
    (320, 36),
    (256, 16),
    (640, 9900),
    (192, 10290),
    (4096, 8),
    (32, 10368),
    (24, 170),
    (72, 56),
    (152, 52),
    (704, 11),
    (1152, 70),
    (2112, 60),
    (8448, 52),
    (192, 63),
    (64, 64),
    (104, 39),
    (128, 64),
    (72, 1624),
    (80, 51),
    (48, 340),
    (272, 15),
    (1232, 13),
    (96, 1344),
    (56, 3285),
    (256, 64),
    (584, 238),
    (1152, 14),
    (64, 192),
    (64, 192),
    (256, 160),
];

/// kmalloc's caches of the same machine, all kinds together: bytes of the class, and objects in use.
pub const CLASSES: [(u32, u32); 13] = [
    (8, 2048),
    (16, 1280),
    (32, 742),
    (64, 1920),
    (96, 462),
    (128, 384),
    (192, 336),
    (256, 432),
    (512, 264),
    (1024, 272),
    (2048, 128),
    (4096, 40),
    (8192, 12),
];

/// What an object is asked of.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// The cache of a number.
    Cache(usize),
    /// kmalloc, with so many bytes.
    Bytes(usize),
}

/// A step.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Allocates the object of a number.
    Get(usize, Kind),
    /// Frees it.
    Put(usize, Kind),
}

/// The steps up to the peak, and those back to nothing.
#[derive(Debug)]
pub struct Mix {
    /// Up to the peak. A third as many objects as there are then come and go on the way.
    pub up: Vec<Step>,
    /// All of them are freed.
    pub down: Vec<Step>,
    /// How many objects there are at the peak.
    pub objects: usize,
    /// How many bytes were asked for then.
    pub bytes: u64,
}

impl Mix {
    /// The mix, in an order that depends on the seed only. Requests of kmalloc have any size of their class.
    pub fn new(seed: u64) -> Self {
        let mut state = seed | 1;
        let mut kinds = vec![];
        for (cache, &(_, count)) in CACHES.iter().enumerate() {
            kinds.extend((0..count).map(|_| Kind::Cache(cache)));
        }
        let mut below = 0;
        for &(class, count) in &CLASSES {
            let sizes = u64::from(class - below);
            kinds
                .extend((0..count).map(|_| {
                    Kind::Bytes((u64::from(below) + 1 + (next(&mut state) >> 16) % sizes) as usize)
                }));
            below = class;
        }
        shuffle(&mut kinds, seed);
        let mut up = vec![];
        let mut away: Vec<usize> = vec![];
        for (n, &kind) in kinds.iter().enumerate() {
            up.push(Step::Get(n, kind));
            let pick = (next(&mut state) >> 16) as usize;
            if pick.is_multiple_of(3) {
                let other = pick / 3 % (n + 1);
                if !away.contains(&other) {
                    up.push(Step::Put(other, kinds[other]));
                    away.push(other);
                }
            }
            if away.len() > 500 || n + 1 == kinds.len() {
                up.extend(away.drain(..).map(|other| Step::Get(other, kinds[other])));
            }
        }
        let mut down: Vec<Step> = kinds.iter().enumerate().map(|(n, &kind)| Step::Put(n, kind)).collect();
        shuffle(&mut down, seed ^ 0x5eed);
        let bytes = kinds.iter().map(|kind| match *kind {
            Kind::Cache(cache) => u64::from(CACHES[cache].0),
            Kind::Bytes(bytes) => bytes as u64,
        });
        Self { up, down, objects: kinds.len(), bytes: bytes.sum() }
    }
}
