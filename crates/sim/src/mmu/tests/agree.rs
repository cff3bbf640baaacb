//! The walker builds, the software MMU reads: both say the same about every address, and no CPU is ever left with
//! anything stale as long as the tokens are finished.

use super::machine::{arch, memory_for, phys_bits, tree};
use super::*;
use pagewright_addr::VirtRange;
use pagewright_pagetable::format::FormatKind;
use pagewright_pagetable::{
    Attr, AttrChange, AttrFlags, Format, Leaf, Level, Live, MapOptions, MemoryType, Shareability, TlbFlush,
};
use proptest::prelude::*;

/// One thing to do; numbers are reduced to what the format has.
#[derive(Clone, Debug)]
enum Op {
    Map { place: u64, pages: u64, phys: u64, attr: u64, options: u8 },
    Unmap { which: usize },
    Protect { which: usize, set: u16, clear: u16 },
    Access { which: usize, cpu: usize, offset: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    let map = || {
        (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u8>())
            .prop_map(|(place, pages, phys, attr, options)| Op::Map { place, pages, phys, attr, options })
    };
    prop_oneof![
        3 => map(),
        1 => any::<usize>().prop_map(|which| Op::Unmap { which }),
        1 => (any::<usize>(), any::<u16>(), any::<u16>())
            .prop_map(|(which, set, clear)| Op::Protect { which, set, clear }),
        5 => (any::<usize>(), 0..2usize, any::<u64>())
            .prop_map(|(which, cpu, offset)| Op::Access { which, cpu, offset }),
    ]
}

/// Attributes out of random bits: mostly such that some format has them.
fn attr(bits: u64) -> Attr {
    let mut flags = AttrFlags::from_bits_truncate(bits as u16) - AttrFlags::NON_SECURE - AttrFlags::GUARDED;
    if bits & (1 << 20) != 0 {
        flags |= AttrFlags::ACCESSED;
    }
    if bits & (1 << 21) != 0 {
        flags |= AttrFlags::ACCESSED | AttrFlags::DIRTY;
    }
    if bits & (1 << 22) != 0 {
        let exec = if flags.contains(AttrFlags::USER) { AttrFlags::USER_EXEC } else { AttrFlags::EXEC };
        flags = (flags - AttrFlags::EXEC - AttrFlags::USER_EXEC) | exec;
    }
    let memory = match (bits >> 23) & 15 {
        0 => MemoryType::WriteCombine,
        1 => MemoryType::StronglyOrdered,
        2 => MemoryType::Device,
        3 => MemoryType::WriteThrough,
        4 => MemoryType::UncachedMinus,
        5 => MemoryType::NormalTagged,
        6 => MemoryType::WriteProtect,
        _ => MemoryType::Normal,
    };
    Attr::normal(flags).with_memory(memory)
}

fn kind_of(memory: MemoryType) -> MemoryKind {
    match memory {
        MemoryType::Normal => MemoryKind::WriteBack,
        MemoryType::NormalTagged => MemoryKind::Tagged,
        MemoryType::WriteThrough => MemoryKind::WriteThrough,
        MemoryType::WriteProtect => MemoryKind::WriteProtect,
        MemoryType::WriteCombine => MemoryKind::WriteCombine,
        MemoryType::UncachedMinus => MemoryKind::UncachedMinus,
        MemoryType::StronglyOrdered => MemoryKind::StronglyOrdered,
        MemoryType::Device => MemoryKind::Device,
    }
}

/// What hardware has to make of a leaf: its rights, or `None` where software notes the first use.
fn expected(arch: Arch, level: Level, flags: AttrFlags) -> Option<Perms> {
    let has = |f| flags.contains(f);
    let user = has(AttrFlags::USER);
    let any_exec = flags.intersects(AttrFlags::EXEC | AttrFlags::USER_EXEC);
    let noted = matches!(arch, Arch::ArmShort | Arch::ArmLong);
    if noted && !has(AttrFlags::ACCESSED) {
        return None;
    }
    let write = has(AttrFlags::WRITE) && (!noted || has(AttrFlags::DIRTY));
    // One bit for both: x86, and arm's small pages.
    let one_bit = arch == Arch::X86 || (arch == Arch::ArmShort && level == Level::PTE);
    let (kernel_fetch, user_fetch) = if one_bit {
        (any_exec, any_exec && user)
    } else {
        (has(AttrFlags::EXEC), has(AttrFlags::USER_EXEC))
    };
    Some(Perms {
        kernel_read: true,
        kernel_write: write,
        kernel_fetch,
        user_read: user,
        user_write: user && write,
        user_fetch,
    })
}

/// The MMU's mapping and the walker's leaf are one thing.
fn same<F: Format>(
    kind: FormatKind,
    at: VirtAddr,
    found: (Leaf, Level, VirtAddr),
    seen: Result<Mapping, Fault>,
) {
    let (leaf, level, start) = found;
    let shape = F::SHAPE.level(level);
    let Some(perms) = expected(arch(kind), level, leaf.attr.flags) else {
        let fault = seen.unwrap_err();
        assert!(matches!(fault.kind, FaultKind::AccessFlag | FaultKind::Translation), "{fault}");
        return;
    };
    let m = seen.unwrap_or_else(|fault| panic!("{leaf:?} at {at:?}: {fault}"));
    assert_eq!((m.start, m.phys, m.bytes, m.level), (start, leaf.phys, shape.bytes(), level.get()));
    assert_eq!((m.perms, m.memory), (perms, kind_of(leaf.attr.memory)), "{at:?}: {leaf:?}");
    assert_eq!(m.global, leaf.attr.flags.contains(AttrFlags::GLOBAL));
    assert_eq!(m.group_bytes, if leaf.contiguous { shape.contiguous_bytes() } else { 0 });
    if m.memory == MemoryKind::WriteBack {
        let share = match leaf.attr.share {
            Shareability::None => Sharing::None,
            Shareability::Outer => Sharing::Outer,
            Shareability::Inner => Sharing::Inner,
        };
        assert_eq!(m.sharing, share);
    }
    let keys = arch(kind) == Arch::ArmShort || leaf.attr.flags.contains(AttrFlags::USER);
    assert!(!keys || m.key == leaf.attr.key);
}

/// A random piece of the window: mostly near a few places, so that pieces meet.
fn piece<F: Format>(format: &F, place: u64, pages: u64) -> VirtRange {
    let page = F::SHAPE.page_bytes();
    let parts = format.window().ranges();
    let part = parts[(place & 1) as usize % if parts[1].is_empty() { 1 } else { 2 }];
    let block = F::SHAPE.level(Level::PMD).bytes();
    let anchor = (place >> 1 & 7) * (part.len / 8);
    // Whole blocks, parts of blocks, or a few pages.
    let (offset, len) = match place >> 4 & 3 {
        0 => ((place >> 8 & 7) * block, (pages % 3 + 1) * block),
        1 => ((place >> 8 & 7) * block + (pages >> 8 & 63) * page, (pages % 40 + 1) * page),
        2 => ((place >> 8 & 7) * block, ((pages % 3) * block) + (pages >> 8 & 63) * page + page),
        _ => ((place >> 8 & 0xff) * page, (pages % 5 + 1) * page),
    };
    let start = part.start.get() + anchor + offset;
    VirtRange { start: VirtAddr::new(start), len: len.min(part.last().get() - start + 1) & !(page - 1) }
}

/// Under Miri, lending a large table costs as much as all else: only tables of 4 KiB are tried.
fn too_slow<F: Format>() -> bool {
    let shape = F::SHAPE;
    cfg!(miri) && (shape.page_shift() > 12 || shape.level(shape.top()).entries() > 1024)
}

fn run<F: Format>(kind: FormatKind, format: F, ops: &[Op]) {
    if too_slow::<F>() {
        return;
    }
    let memory = memory_for::<F>();
    let (mut tables, mut pages, registers) = tree(kind, format, &memory);
    let mmu = Mmu::new(&memory, 2, registers, Strictness::STRICT).unwrap();
    let page = F::SHAPE.page_bytes();
    let mut mapped: Vec<VirtRange> = Vec::new();
    for op in ops {
        match *op {
            Op::Map { place, pages: count, phys, attr: bits, options } => {
                let range = piece(&format, place, count);
                let size = page << (options >> 2 & 15);
                let top = (1u64 << (phys_bits::<F>(kind) - 1)) - 1;
                // Aligned as the addresses are, so that blocks fit, or to single pages.
                let phys = (phys & top & !(size.min(1 << 31) - 1)) | (range.start.get() & (size - 1));
                let options = MapOptions {
                    max_leaf: if options & 1 != 0 { Level::PGD } else { Level::PTE },
                    contiguous: options & 2 != 0,
                    ..MapOptions::default()
                };
                let phys = PhysAddr::new(phys & !(page - 1));
                let mut source = WatchedTables::new(&mmu, &mut pages, page);
                if tables.cursor().map(range, phys, attr(bits), &options, &mut source).is_ok() {
                    mapped.push(range);
                }
                // With PAE, new entries of the root are used once CR3 is written.
                for cpu in 0..2 {
                    mmu.set_registers(cpu, registers).unwrap();
                }
            }
            Op::Unmap { which } if !mapped.is_empty() => {
                let range = mapped.swap_remove(which % mapped.len());
                let pending = tables.cursor().unmap(range, &mut |_| ()).unwrap();
                let mut source = WatchedTables::new(&mmu, &mut pages, page);
                pending.finish(&&memory, &mut mmu.all_cpus(), &mut source);
            }
            Op::Protect { which, set, clear } if !mapped.is_empty() => {
                let range = mapped[which % mapped.len()];
                let allowed = AttrFlags::WRITE | AttrFlags::ACCESSED | AttrFlags::DIRTY;
                let change = AttrChange::flags(
                    AttrFlags::from_bits_truncate(set) & allowed,
                    AttrFlags::from_bits_truncate(clear) & allowed,
                );
                let mut all = mmu.all_cpus();
                if let Ok((_, pending)) = tables.cursor().protect(range, &change, Live::MayBreak(&mut all)) {
                    pending.finish(&&memory, &mut mmu.all_cpus(), &mut pages);
                }
            }
            Op::Access { which, cpu, offset } if !mapped.is_empty() => {
                let range = mapped[which % mapped.len()];
                // Beyond the range too.
                let inside = offset % (range.len + 2 * page);
                let at = VirtAddr::new(range.start.get().wrapping_add(inside).wrapping_sub(page));
                if !format.window().contains(at) {
                    continue;
                }
                match tables.leaf(at) {
                    Ok(found) => same::<F>(kind, at, found, registers.look_up(&memory, at, Access::READ)),
                    Err(_) => assert!(registers.look_up(&memory, at, Access::READ).is_err(), "{at:?}"),
                }
                for access in Access::ALL {
                    match mmu.access(cpu, at, access) {
                        Ok(hit) => assert_eq!(hit.phys, tables.translate(at).unwrap().phys),
                        Err(AccessError::Fault(_)) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            _ => {}
        }
        mmu.check().unwrap_or_else(|v| panic!("after {op:?}: {v}"));
    }
}

macro_rules! formats {
    ($($kind:ident: $format:ty,)*) => {
        $(
            proptest! {
                #![proptest_config(ProptestConfig {
                    cases: if cfg!(miri) { 1 } else { 96 },
                    failure_persistence: None,
                    ..ProptestConfig::default()
                })]
                #[test]
                #[allow(non_snake_case)]
                fn $kind(ops in proptest::collection::vec(op(), 1..if cfg!(miri) { 8 } else { 100 })) {
                    run(FormatKind::$kind, <$format>::default(), &ops);
                }
            }
        )*
    };
}

/// What the walker builds means the same to the software MMU, and finished tokens leave nothing stale.
mod the_walker_and_the_mmu_agree {
    use super::*;
    pagewright_pagetable::for_each_format!(formats);
}

/// A flush that does nothing: the property above fails without flushes, so it can fail.
struct Deaf;

impl TlbFlush for Deaf {
    fn flush(&mut self, _: &pagewright_pagetable::FlushScope) {}
}

struct Forgetting(FormatKind);

impl pagewright_pagetable::format::WithFormat for Forgetting {
    type Out = ();

    fn run<F: Format>(self, format: F) {
        if too_slow::<F>() {
            return;
        }
        let memory = memory_for::<F>();
        let (mut tables, mut pages, registers) = tree(self.0, format, &memory);
        let start = format.window().ranges()[0].start;
        let range = VirtRange { start, len: 2 * F::SHAPE.page_bytes() };
        let all =
            AttrFlags::WRITE | AttrFlags::GLOBAL | AttrFlags::ACCESSED | AttrFlags::DIRTY | AttrFlags::EXEC;
        let attr = Attr::normal(all);
        tables.cursor().map(range, PhysAddr::ZERO, attr, &MapOptions::PAGES, &mut pages).unwrap();
        let mmu = Mmu::new(&memory, 2, registers, Strictness::STRICT).unwrap();
        mmu.access(1, start, Access::WRITE).unwrap();
        let pending = tables.cursor().unmap(range, &mut |_| ()).unwrap();
        let mut source = WatchedTables::new(&mmu, &mut pages, F::SHAPE.page_bytes());
        pending.finish(&&memory, &mut Deaf, &mut source);
        let error = mmu.access(1, start, Access::READ).unwrap_err();
        let AccessError::Violation(violation) = error else { panic!("{error}") };
        assert_eq!((violation.va(), violation.missing()), (start, Missing::UnmapFlush));
        let in_use = |v: &Violation| matches!(v, Violation::TableInUse { cpu: 1, .. });
        assert!(mmu.violations().iter().any(in_use));
    }
}

#[test]
fn a_forgotten_flush_is_seen_in_every_format() {
    for kind in FormatKind::ALL {
        kind.with(Forgetting(*kind));
    }
}
