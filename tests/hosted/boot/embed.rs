//! What an embedder calls: the boot's memory out of one piece, the page allocator's tables from memblock.

use pagewright::addr::{NodeId, Order, PhysAddr, PhysRange};
use pagewright::firmware::config::{Flavour, KernelConfig};
use pagewright::firmware::e820::{E820Entry, E820Kind};
use pagewright::firmware::{Firmware, KernelImage, Machine, Pc};
use pagewright::memblock::Set;
use pagewright::platform::Carve;
use pagewright::{Boot, Quiet, StartError, Tables, Workspace, start_allocator, workspace_words};

const CONFIG: KernelConfig = KernelConfig::debian(Flavour::Amd64);
const MIB: u64 = 1 << 20;

/// A PC with 64 MiB, its boot over.
fn booted(look: impl FnOnce(&mut Boot<'_>)) {
    let e820 = [E820Entry::new(0, 0x9_fc00, E820Kind::Ram), E820Entry::new(MIB, 63 * MIB, E820Kind::Ram)];
    let part = |start, len| PhysRange::from_len(PhysAddr::new(start), len);
    let image = KernelImage::plain(part(16 * MIB, 8 * MIB), part(24 * MIB, 4 * MIB));
    let mut machine = Machine::new(CONFIG, image, Firmware::Pc(Pc { e820: &e820, ..Pc::default() }));
    machine.cpus.possible = 3;
    let (mut room, mut tables) = (vec![0; workspace_words(&CONFIG)], Box::new(Tables::new()));
    let workspace = Workspace::new(&CONFIG, &mut room, &mut tables).unwrap();
    let mut boot = Boot::new(&machine, workspace, &Quiet).unwrap();
    boot.run().unwrap();
    look(&mut boot);
}

fn reserved(boot: &Boot<'_>) -> u64 {
    boot.mb.regions(Set::Reserved).iter().map(|r| r.size()).sum()
}

fn words(range: PhysRange) -> &'static mut [u64] {
    vec![0; range.len() as usize / 8].leak()
}

#[test]
fn less_memory_than_a_workspace_takes_is_refused() {
    let mut room = vec![0; workspace_words(&CONFIG) / 2];
    assert!(Workspace::new(&CONFIG, &mut room, &mut Tables::new()).is_none());
}

#[test]
fn the_page_allocators_tables_come_from_memblock_and_are_never_given_out() {
    booted(|boot| {
        let mut taken = None;
        let mut pages = start_allocator(boot, |range| {
            taken = Some(range);
            Some(Carve::of(words(range)))
        })
        .unwrap();
        pages.start_cpus(boot);
        let taken = taken.unwrap();
        // 32 bytes for each of the frames, and little more.
        let frames = 64 * MIB / 4096;
        assert!((32 * frames..40 * frames).contains(&taken.len()), "{taken:?}");
        let mut held = Vec::new();
        while let Ok(page) = pages.alloc(Order::ZERO) {
            assert!(!pages.range(&page, CONFIG.page_shift).overlaps(&taken));
            held.push(page);
        }
        assert!(held.len() as u64 > frames / 2);
        held.into_iter().for_each(|page| pages.free(page));
        pages.buddy.validate().unwrap();
        assert!(pages.alloc(Order::new(5).unwrap()).is_ok());
    });
}

#[test]
fn memory_that_cannot_be_reached_goes_back_to_memblock() {
    booted(|boot| {
        let before = reserved(boot);
        let error = start_allocator(boot, |_| None).err().unwrap();
        assert!(matches!(error, StartError::Unreachable(range) if !range.is_empty()), "{error:?}");
        assert_eq!(reserved(boot), before);
        assert!(start_allocator(boot, |range| Some(Carve::of(words(range)))).is_ok());
    });
}

#[test]
fn too_little_memory_for_metadata_is_told_in_bytes() {
    booted(|boot| {
        // All but the last 64 KiB of each free range.
        let free: Vec<PhysRange> = boot.mb.free_ranges(None, Default::default()).map(|(r, _)| r).collect();
        for range in free {
            let keep = range.end.saturating_sub(64 << 10).max(range.start);
            boot.mb.reserve(PhysRange::new(range.start, keep)).unwrap();
        }
        let before = reserved(boot);
        let error = start_allocator(boot, |range| Some(Carve::of(words(range)))).err().unwrap();
        let StartError::Metadata { needed, largest } = error else { panic!("{error:?}") };
        assert!(largest <= 64 << 10 && needed > 400 << 10, "{error}");
        assert!(error.to_string().ends_with(&format!("{} bytes short", needed - largest)), "{error}");
        assert_eq!(reserved(boot), before);
    });
}

#[test]
fn processors_are_counted_where_their_memory_is() {
    booted(|boot| {
        let cpus = boot.online_by_node();
        assert_eq!(
            (cpus.online, cpus.on_node(NodeId::ZERO), cpus.on_node(NodeId::new(1).unwrap())),
            (3, 3, 0)
        );
        assert_eq!((boot.node_of_cpu(2), boot.node_of_cpu(500)), (NodeId::ZERO, NodeId::ZERO));
        assert_eq!(cpus.with(|zone| (zone.online, (zone.on_node)(NodeId::ZERO))), (3, 3));
    });
}
