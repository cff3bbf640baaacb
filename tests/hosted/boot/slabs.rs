//! Slabs of a booted machine: in service for all CPUs, watched and merged as the command line says, gone to the page.

use pagewright::addr::{NodeId, PhysAddr, PhysRange};
use pagewright::firmware::cmdline::CommandLine;
use pagewright::firmware::config::{Flavour, KernelConfig, Slab};
use pagewright::firmware::e820::{E820Entry, E820Kind};
use pagewright::firmware::{Firmware, KernelImage, Machine, Pc};
use pagewright::memblock::{Event, Sink};
use pagewright::platform::{Carve, NoInterrupts};
use pagewright::slab::objects::Design;
use pagewright::slab::slabs::{CacheSpec, CreateError, Destroyed, Silent};
use pagewright::slab::{CacheFlags, CacheId, SlabSetup, StartSlabsError};
use pagewright::zone::Gfp;
use pagewright::zone::figures::ZoneSource;
use pagewright::{Boot, BootError, CpuRoom, EventSink, Level, Tables, Workspace, workspace_words};
use pagewright_sim::designs::with_booted_objects;
use pagewright_sim::pages::NoContents;
use pagewright_sim::pages::{Pages, with_service};
use pagewright_sim::slabs::{HostedSlabs, LinearRam, with_booted_slabs};
use pagewright_sim::with_page_allocator;
use std::cell::RefCell;
use std::fmt::Arguments;
use std::ptr::NonNull;

const CONFIG: KernelConfig = KernelConfig::debian(Flavour::Amd64);
const MIB: u64 = 1 << 20;
const CPUS: usize = 3;

#[derive(Default)]
struct Log(RefCell<String>);

impl Sink for Log {
    fn event(&self, _: &Event) {}
}

impl EventSink for Log {
    fn line(&self, _: Level, text: Arguments<'_>) {
        self.0.borrow_mut().push_str(&format!("{text}\n"));
    }
}

/// A PC with 64 MiB and three CPUs, its page allocator in service; returns its log.
fn serving(cmdline: &str, look: impl FnOnce(&Boot<'_>, &Pages<'_, '_, '_, '_, NoContents>)) -> String {
    serving_with(CONFIG, cmdline, look)
}

/// The same with another kernel.
fn serving_with(
    config: KernelConfig,
    cmdline: &str,
    look: impl FnOnce(&Boot<'_>, &Pages<'_, '_, '_, '_, NoContents>),
) -> String {
    let e820 = [E820Entry::new(0, 0x9_fc00, E820Kind::Ram), E820Entry::new(MIB, 63 * MIB, E820Kind::Ram)];
    let part = |start, len| PhysRange::from_len(PhysAddr::new(start), len);
    let image = KernelImage::plain(part(16 * MIB, 8 * MIB), part(24 * MIB, 4 * MIB));
    let mut machine = Machine::new(config, image, Firmware::Pc(Pc { e820: &e820, ..Pc::default() }));
    machine.cpus.possible = CPUS as u32;
    machine.cmdline = Some(CommandLine::new(cmdline));
    let (mut room, mut tables) = (vec![0; workspace_words(&config)], Box::new(Tables::new()));
    let workspace = Workspace::new(&config, &mut room, &mut tables).unwrap();
    let log = Log::default();
    let mut boot = Boot::new(&machine, workspace, &log).unwrap();
    boot.run().unwrap();
    with_page_allocator(&mut boot, |boot, running| {
        running.start_cpus(boot);
        with_service(boot, running, NoContents, |pages, _| look(boot, pages)).unwrap();
    })
    .unwrap();
    log.0.take()
}

/// With slabs, and places for eight caches of the test's.
fn with_slabs(cmdline: &str, look: impl FnOnce(&HostedSlabs<'_, '_, '_, '_, '_, '_, NoContents>)) -> String {
    serving(cmdline, |boot, pages| with_booted_slabs(boot, pages, 8, &Silent, look).unwrap())
}

fn free_pages(pages: &Pages<'_, '_, '_, '_, NoContents>) -> u64 {
    for cpu in 0..pages.cpus() {
        pages.on_cpu(cpu, |cx| pages.allocator.drain_local_pages(cx));
    }
    let zones: &dyn ZoneSource = &pages.allocator;
    zones.zones().map(|zone| zone.free).sum()
}

fn caches(m: &HostedSlabs<'_, '_, '_, '_, '_, '_, NoContents>) -> Vec<CacheId> {
    // SAFETY: nobody destroys caches here.
    unsafe { m.slabs.ids() }.collect()
}

#[test]
fn kmalloc_serves_all_cpus_and_every_page_comes_back() {
    with_slabs("", |m| {
        let before = free_pages(m.pages);
        let sizes = [1, 8, 60, 96, 192, 700, 4096, 8000, 40_000];
        let mut held = Vec::new();
        for cpu in 0..CPUS {
            m.on_cpu(cpu, |cx| {
                for (n, bytes) in sizes.into_iter().cycle().take(200).enumerate() {
                    let memory = m.slabs.kmalloc(cx, bytes, Gfp::GFP_KERNEL).unwrap();
                    assert!(m.slabs.ksize(memory) >= bytes);
                    // SAFETY: so many bytes were just allocated.
                    unsafe { memory.write_bytes(n as u8, bytes) };
                    held.push((memory, bytes, n as u8));
                }
            });
        }
        assert!(free_pages(m.pages) < before);
        m.on_cpu(1, |cx| {
            for (memory, bytes, with) in held {
                // SAFETY: allocated above, written whole, and not used again.
                unsafe {
                    let bytes = std::slice::from_raw_parts(memory.as_ptr(), bytes);
                    assert!(bytes.iter().all(|byte| *byte == with));
                    m.slabs.kfree(cx, memory);
                }
            }
        });
        (0..CPUS).for_each(|cpu| m.on_cpu(cpu, |cx| m.slabs.flush_cpu(cx)));
        m.on_cpu(0, |cx| {
            // The first is the one of the slabs' own.
            for cache in caches(m).into_iter().rev() {
                assert!(!m.slabs.shrink(cx, cache), "{:?}", m.slabs.figures(cache));
            }
        });
        assert_eq!(free_pages(m.pages), before);
    });
}

#[test]
fn the_command_line_says_which_caches_are_watched_and_what_it_says_in_vain_is_in_the_log() {
    let log = with_slabs("slub_debug=PZQ,kmalloc-64", |m| {
        for figures in caches(m).into_iter().filter_map(|cache| m.slabs.figures(cache)) {
            let watched = figures.flags.intersects(CacheFlags::DEBUG);
            assert_eq!(watched, figures.name.as_str() == "kmalloc-64", "{figures:?}");
            assert_eq!(figures.geometry.left_red_zone > 0, watched);
        }
    });
    assert_eq!(log.matches("slub_debug option 'Q' unknown. skipped").count(), 1, "{log}");
}

#[test]
fn caches_are_merged_unless_the_command_line_forbids_it() {
    for (cmdline, merged) in
        [("", true), ("slab_nomerge", false), ("slub_nomerge", false), ("slab_nomerge slab_merge", true)]
    {
        with_slabs(cmdline, |m| {
            let make = |name| m.slabs.create(&CacheSpec::new(name, 72, 0, CacheFlags::empty()));
            assert_eq!(make("one").unwrap() == make("two").unwrap(), merged, "{cmdline}");
        });
    }
}

#[test]
fn a_kernel_that_was_built_without_partial_slabs_watching_or_merging_has_none_of_it() {
    let with = |config: KernelConfig, cmdline: &str| {
        let (mut near, mut watched, mut merged) = (0, 0, false);
        serving_with(config, cmdline, |boot, pages| {
            with_booted_slabs(boot, pages, 8, &Silent, |m| {
                for figures in caches(m).into_iter().filter_map(|cache| m.slabs.figures(cache)) {
                    near += figures.geometry.cpu_partial;
                    watched += u32::from(figures.flags.intersects(CacheFlags::DEBUG));
                }
                let make = |name| m.slabs.create(&CacheSpec::new(name, 72, 0, CacheFlags::empty()));
                merged = make("one").unwrap() == make("two").unwrap();
                // A processor that keeps nothing takes every object from its slab.
                m.on_cpu(0, |cx| {
                    let object = m.slabs.kmalloc(cx, 100, Gfp::GFP_KERNEL).unwrap();
                    // SAFETY: allocated above, freed once.
                    unsafe { m.slabs.kfree(cx, object) };
                });
                assert_eq!(m.slabs.findings(), 0);
            })
            .unwrap();
        });
        (near > 0, watched, merged)
    };
    assert_eq!(with(CONFIG, "slub_debug=F,kmalloc-64"), (true, 1, true));
    assert_eq!(with(KernelConfig { slub_cpu_partial: false, ..CONFIG }, ""), (false, 0, true));
    let plain = KernelConfig { slub_debug: false, ..CONFIG };
    assert_eq!(with(plain, "slub_debug=F,kmalloc-64"), (true, 0, true));
    let apart = KernelConfig { slab_merge_default: false, ..CONFIG };
    assert_eq!(with(apart, ""), (true, 0, false));
    assert_eq!(with(apart, "slab_merge"), (true, 0, true));
}

#[test]
fn orders_of_slabs_follow_the_command_line() {
    let order = |cmdline: &str, name: &str| {
        let mut found = None;
        with_slabs(cmdline, |m| {
            let mut all = caches(m).into_iter().filter_map(|cache| m.slabs.figures(cache));
            found =
                all.find(|figures| figures.name.as_str() == name).map(|figures| figures.geometry.order.get());
        });
        found.unwrap()
    };
    assert_eq!((order("", "kmalloc-64"), order("", "kmalloc-8k")), (0, 3));
    assert_eq!((order("slub_min_order=1", "kmalloc-64"), order("slub_max_order=2", "kmalloc-8k")), (1, 2));
    assert_eq!(order("slub_min_objects=128", "kmalloc-64"), 1);
    assert_eq!(order("slub_min_order=-1", "kmalloc-4k"), 10, "no order of blocks: the largest");
}

#[test]
fn slub_says_by_what_it_decides_after_the_memory_line_and_the_other_designs_say_nothing() {
    let said = |slab: Slab, cmdline: &str| {
        let log = serving_with(KernelConfig { slab, ..CONFIG }, cmdline, |_, _| ());
        let mut lines = log.lines().skip_while(|line| !line.starts_with("Memory: ")).skip(1);
        lines.next().filter(|line| line.starts_with("SL")).map(str::to_owned)
    };
    let line = |rest: &str| Some(format!("SLUB: HWalign=64, Order={rest}, Nodes=1"));
    assert_eq!(said(Slab::Slub, ""), line("0-3, MinObjects=0, CPUs=3"));
    let orders = "slub_min_order=1 slub_max_order=2 slub_min_objects=9 numa=off nr_cpus=2";
    assert_eq!(said(Slab::Slub, orders), line("1-2, MinObjects=9, CPUs=2"));
    assert_eq!([Slab::Slab, Slab::Slob].map(|slab| said(slab, "")), [None, None]);
}

#[test]
fn a_machine_with_shorter_words_has_its_own_layouts_and_objects_that_keep_their_contents() {
    let words = KernelConfig::debian(Flavour::I686);
    serving_with(words, "slub_debug=FZ,kmalloc-64", |boot, pages| {
        let before = free_pages(pages);
        with_booted_slabs(boot, pages, 12, &Silent, |m| {
            let geometry = |cache| m.slabs.figures(cache).unwrap().geometry;
            let red =
                caches(m).into_iter().map(geometry).find(|g| g.object_size == 64 && g.left_red_zone > 0);
            assert_eq!(red.unwrap().inuse, 64 + 4, "a red zone of a word behind the object");
            let spec = |size, flags| CacheSpec::new("some", size, 0, flags).with_usercopy(0, 1);
            let behind = [CacheFlags::POISON, CacheFlags::STORE_USER, CacheFlags::TYPESAFE_BY_RCU];
            for flags in behind {
                let refused = m.slabs.create(&spec(64, flags));
                assert_eq!(refused, Err(CreateError::Word { wanted: 4, host: 8 }), "{flags:?}");
            }
            let sizes = [1, 4, 8, 12, 20, 24, 36, 100];
            let made = sizes.map(|size| m.slabs.create(&spec(size, CacheFlags::empty())).unwrap());
            for (&size, &cache) in sizes.iter().zip(&made) {
                assert_eq!(
                    Ok(geometry(cache)),
                    boot.slub().geometry(&spec(size, CacheFlags::empty()).object)
                );
                let mark = |n: usize| (n as u8).wrapping_mul(31) ^ size as u8;
                m.on_cpu(0, |cx| {
                    let fill = |n: usize| {
                        let object = m.slabs.alloc(cx, cache, Gfp::GFP_KERNEL).unwrap();
                        // SAFETY: it has so many bytes and was just allocated.
                        unsafe { object.write_bytes(mark(n), size as usize) };
                        object
                    };
                    // SAFETY: in use; freed once.
                    let end = |(n, object): (usize, NonNull<u8>)| unsafe {
                        let bytes = core::slice::from_raw_parts(object.as_ptr(), size as usize);
                        assert!(bytes.iter().all(|&byte| byte == mark(n)), "{size} bytes: {n}");
                        m.slabs.free(cx, cache, object);
                    };
                    let mut objects: Vec<_> = (0..900).map(|n| (n, fill(n))).collect();
                    // Every other one goes and comes again, from lists through free objects.
                    let (odd, even) = objects.drain(..).partition::<Vec<_>, _>(|(n, _)| n % 2 > 0);
                    odd.into_iter().for_each(end);
                    m.slabs.flush_cpu(cx);
                    objects.extend(even);
                    objects.extend((0..450).map(|n| (n, fill(n))));
                    m.slabs.validate(cache).unwrap();
                    objects.into_iter().for_each(end);
                });
            }
            m.on_cpu(0, |cx| m.slabs.flush_cpu(cx));
            assert_eq!(m.slabs.findings(), 0);
            for cache in made {
                m.slabs.validate(cache).unwrap();
                // SAFETY: nobody uses it.
                assert_eq!(m.on_cpu(0, |cx| unsafe { m.slabs.destroy(cx, cache) }), Ok(Destroyed::Gone));
            }
            m.on_cpu(0, |cx| assert!(!caches(m).into_iter().any(|cache| m.slabs.shrink(cx, cache))));
        })
        .unwrap();
        assert_eq!(free_pages(pages), before);
    });
}

#[test]
fn too_little_memory_for_slabs_is_an_error_whatever_is_missing() {
    serving("slub_debug=FZ", |boot, pages| {
        let map = *pages.base.map();
        let bytes = boot.slab_bytes(8, CPUS);
        let before = free_pages(pages);
        let try_with = |shared: u64, each_cpu: u64| {
            let words = |bytes: u64| vec![0_u64; bytes.div_ceil(8) as usize];
            let mut shared = words(shared);
            let mut rows: Vec<_> = (0..CPUS).map(|_| words(each_cpu)).collect();
            let rooms = rows.iter_mut().map(|rows| CpuRoom { node: NodeId::ZERO, memory: Carve::of(rows) });
            let memory = LinearRam::new(&map).unwrap();
            let setup = SlabSetup { caches: 8, ..SlabSetup::new(map, memory, NoInterrupts, 1) };
            boot.kmem_cache_init(setup, Carve::of(&mut shared), rooms).map(drop)
        };
        assert_eq!(try_with(bytes.shared, bytes.each_cpu), Ok(()));
        let small = |what| Err(StartSlabsError::Boot(BootError::Space { what }));
        assert_eq!(try_with(64, bytes.each_cpu), small("caches"));
        assert_eq!(try_with(bytes.shared, bytes.each_cpu - 128), small("CPUs' rows of objects"));
        // What alignment may cost is in the sum.
        for part in (0..bytes.shared - 512).step_by(997) {
            let why = try_with(part, bytes.each_cpu);
            assert!(matches!(why, Err(StartSlabsError::Boot(BootError::Space { .. }))), "{part}: {why:?}");
        }
        assert_eq!(free_pages(pages), before);
    });
}

#[test]
fn objects_are_served_by_the_design_that_was_configured() {
    for (slab, design) in [(Slab::Slub, Design::Slub), (Slab::Slab, Design::Slab), (Slab::Slob, Design::Slob)]
    {
        serving_with(KernelConfig { slab, ..CONFIG }, "", |boot, pages| {
            assert_eq!(boot.slab_design(), design);
            let before = free_pages(pages);
            with_booted_objects(boot, pages, 8, &Silent, |m| {
                let o = m.allocator();
                assert_eq!(o.design(), design);
                let cache = o.create(&CacheSpec::new("some", 72, 0, CacheFlags::empty())).unwrap();
                for cpu in 0..CPUS {
                    m.on_cpu(cpu, |cx| {
                        let object = o.alloc(cx, cache, Gfp::GFP_KERNEL).unwrap();
                        for bytes in [1, 30, 96, 700, 4096, 40_000] {
                            let memory = o.kmalloc(cx, bytes, Gfp::GFP_KERNEL, None).unwrap();
                            // SAFETY: so many bytes were just allocated; freed once.
                            unsafe {
                                memory.write_bytes(0x5a, bytes);
                                assert!(o.ksize(memory) >= bytes, "{design}");
                                o.kfree(cx, memory);
                            }
                        }
                        assert!(o.slab_pages(NodeId::ZERO).all() > 0, "{design}: it lies in one");
                        // SAFETY: freed once.
                        unsafe { o.free(cx, cache, object) };
                    });
                }
                assert_eq!(o.findings(), 0, "{design}");
                let mut least = u64::MAX;
                o.each_cache(&mut |_, row| {
                    if row.name.as_str().starts_with("kmalloc-") {
                        least = least.min(row.size);
                    }
                });
                let classes = match design {
                    Design::Slab => 32,
                    Design::Slob => u64::MAX,
                    _ => 8,
                };
                assert_eq!(least, classes, "{design}");
            })
            .unwrap();
            assert!(free_pages(pages) <= before);
        });
    }
}

#[test]
fn slabs_of_slab_are_as_large_as_memory_and_command_line_let_them() {
    let order = |cmdline: &str| {
        let mut order = 0;
        serving_with(KernelConfig { slab: Slab::Slab, ..CONFIG }, cmdline, |boot, _| {
            order = boot.slab_config().max_order.get();
        });
        order
    };
    assert_eq!(["", "slab_max_order=0", "slab_max_order=3", "slab_max_order=99"].map(order), [1, 0, 3, 10]);
}

#[test]
fn too_little_memory_for_any_design_is_an_error() {
    for slab in [Slab::Slab, Slab::Slob] {
        serving_with(KernelConfig { slab, ..CONFIG }, "", |boot, pages| {
            let map = *pages.base.map();
            let bytes = boot.object_bytes(8, CPUS);
            let before = free_pages(pages);
            let try_with = |shared: u64| {
                let words = |bytes: u64| vec![0_u64; bytes.div_ceil(8) as usize];
                let mut shared = words(shared);
                let mut rows: Vec<_> = (0..CPUS).map(|_| words(bytes.each_cpu)).collect();
                let rooms =
                    rows.iter_mut().map(|rows| CpuRoom { node: NodeId::ZERO, memory: Carve::of(rows) });
                let memory = LinearRam::new(&map).unwrap();
                let setup = SlabSetup { caches: 8, ..SlabSetup::new(map, memory, NoInterrupts, 1) };
                boot.objects_init(setup, Carve::of(&mut shared), rooms).map(drop)
            };
            assert_eq!(try_with(bytes.shared), Ok(()), "{slab:?}");
            for part in (0..bytes.shared.saturating_sub(512)).step_by(997) {
                let why = try_with(part);
                assert!(
                    matches!(why, Err(StartSlabsError::Boot(BootError::Space { .. }))),
                    "{part}: {why:?}"
                );
            }
            assert_eq!(free_pages(pages), before);
        });
    }
}
