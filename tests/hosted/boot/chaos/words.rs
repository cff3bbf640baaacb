//! Numbers that addresses and sizes go wrong with, and command lines made of them.

use crate::support::MIB;
use crate::support::spec::RAM;
use pagewright_addr::{PhysAddr, PhysRange};
use proptest::collection::vec;
use proptest::prelude::*;

/// Numbers that addresses and sizes go wrong with.
pub(super) fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0_u64..4096).prop_map(|m| m * MIB),
        2 => (0_u32..64, -1_i64..=1).prop_map(|(bit, off)| (1_u64 << bit).wrapping_add_signed(off)),
        1 => (0_u32..64, 0_u64..3).prop_map(|(bit, n)| (1_u64 << bit).wrapping_sub(n * 4096)),
        1 => (0_u64..5).prop_map(|n| u64::MAX - n),
        1 => any::<u64>(),
        1 => any::<u32>().prop_map(u64::from),
        1 => (0_u64..1 << 20).prop_map(|n| n * 4096),
    ]
}

/// Sizes of banks: mostly such that a boot is quick.
pub(super) fn size() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => (0_u64..2048).prop_map(|m| m * MIB),
        2 => 0_u64..16 * MIB,
        1 => (0_u32..38, -1_i64..=1).prop_map(|(bit, off)| (1_u64 << bit).wrapping_add_signed(off)),
        1 => prop_oneof![Just(0), Just(1), Just(4095), Just(u64::MAX), Just(1 << 44), Just(1 << 62)],
    ]
}

/// Places of banks.
pub(super) fn place() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => (0_u64..64).prop_map(|m| m * 256 * MIB),
        3 => (0_u64..2048).prop_map(|m| RAM + m * MIB),
        1 => word(),
    ]
}

/// A number as a command line writes it.
fn number() -> impl Strategy<Value = String> {
    (word(), 0..6).prop_map(|(n, form)| match form {
        0 => format!("{n}"),
        1 => format!("{n:#x}"),
        2 => format!("{}M", n >> 20),
        3 => format!("{}G", n >> 30),
        4 => format!("{}K", n >> 10),
        _ => format!("{}", n % 1100),
    })
}

/// One parameter.
fn parameter() -> impl Strategy<Value = String> {
    let with_one = prop::sample::select(vec![
        "mem=",
        "cma=",
        "cma_pernuma=",
        "crashkernel=",
        "kernelcore=",
        "movablecore=",
        "numa=fake=",
        "hugepagesz=",
        "default_hugepagesz=",
        "hugepages=",
        "hugetlb_cma=",
        "log_buf_len=",
        "swiotlb=",
        "vmalloc=",
        "highmem=",
        "dhash_entries=",
        "ihash_entries=",
        "nr_cpus=",
        "memmap=",
        "reservetop=",
    ]);
    let plain = prop::sample::select(vec![
        "memmap=exactmap",
        "movable_node",
        "numa=off",
        "kernelcore=mirror",
        "memtest=2",
        "rodata=off",
        "rodata=full",
        "nokaslr",
        "hugepagesz=1G hugepages=2",
        "hugepagesz=2M hugepages=0:3,1:4",
        "keepinitrd",
        "memblock=debug",
        "swiotlb=force",
        "numa=fake=4U",
        "add_efi_memmap",
        "what=ever",
    ]);
    prop_oneof![
        3 => (with_one, number()).prop_map(|(name, n)| format!("{name}{n}")),
        2 => plain.prop_map(str::to_owned),
        1 => (number(), number()).prop_map(|(a, b)| format!("cma={a}@{b}")),
        1 => (number(), number(), number()).prop_map(|(a, b, c)| format!("cma={a}@{b}-{c}")),
        1 => (number(), number()).prop_map(|(a, b)| format!("mem={a}@{b}")),
        1 => (number(), number()).prop_map(|(a, b)| format!("crashkernel={a}@{b}")),
        1 => (number(), prop::sample::select(vec!["high", "low"]))
            .prop_map(|(a, s)| format!("crashkernel={a},{s}")),
        1 => (number(), number(), number()).prop_map(|(a, b, c)| format!("crashkernel={a}-{b}:{c}")),
        1 => (number(), number(), prop::sample::select(vec!['@', '#', '$', '!']))
            .prop_map(|(a, b, c)| format!("memmap={a}{c}{b}")),
        1 => (number(), number(), 0..14, 0..14).prop_map(|(a, b, c, d)| format!("memmap={a}%{b}-{c}+{d}")),
        1 => (0_u64..200).prop_map(|p| format!("movablecore={p}%")),
        1 => number().prop_map(|p| format!("kernelcore={p}%")),
        1 => (number(), number()).prop_map(|(a, b)| format!("hugetlb_cma=0:{a},1:{b}")),
        1 => (0_u64..70, number()).prop_map(|(n, d)| format!("numa=fake={n}:{d},20,10")),
        1 => (number(), number()).prop_map(|(a, b)| format!("hugepagesz=1G hugepages=0:{a},1:{b}")),
    ]
}

pub(super) fn cmdline() -> impl Strategy<Value = String> {
    vec(parameter(), 0..5).prop_map(|words| words.join(" "))
}

/// Ranges.
pub(super) fn extent() -> impl Strategy<Value = PhysRange> {
    (place(), size()).prop_map(|(start, len)| PhysRange::from_len(PhysAddr::new(start), len))
}
