//! What an image does once its page allocator serves: its tests, the views and benchmarks that were asked for, the verdict.

use crate::bench::{self, steps::Steps};
use crate::console::{Console, Out, line};
use crate::dump;
use crate::dynamic::{Space, Units};
use crate::exit::Exit;
use crate::fault::explained;
use crate::metal::Metal;
use crate::objects::Objects;
use crate::options::{Options, Trigger};
use crate::pages::Pages;
use crate::selftest::{self, Subject};
use crate::space::{on, with_space};
use crate::stack::{STACK_BYTES, scratch_range};
use arrayvec::ArrayVec;
use core::fmt::Write;
use pagewright::vmalloc::{Gaps, Seen, VmRequest};
use pagewright::{Boot, Running};
use pagewright_addr::{NodeId, VirtAddr, VirtRange};
use pagewright_firmware::Firmware;
use pagewright_hot::{On, RegionView};
use pagewright_kspace::stacks::StackShape;
use pagewright_slab::objects::ObjectAllocator;
use pagewright_view::vmallocinfo::{Areas, Shown};
use pagewright_view::{Live, State, View, Views};

/// Views of what serves later.
const LATER: [View; 3] = [View::Slabinfo, View::Vmallocinfo, View::VmallocMap];
/// What stands above `meminfo` when it is printed again: what it counts serves then, slabs and vmalloc among it.
const MEMINFO_IN_SERVICE: &str = "==> meminfo, in service <==";

/// Prints the views that the command line asks for, and the device tree. Called right after the initcalls, before the image takes memory
/// or maps anything for itself: what is shown is what a hosted boot of the same machine shows.
///
/// # Errors
/// How the image ends, where there is no such view; the line that says so is printed.
pub fn show(
    console: &dyn Console,
    boot: &Boot<'_>,
    running: &Running<'_, '_, '_>,
    options: &Options<'_>,
) -> Result<(), Exit> {
    let refuse = |why: &dyn core::fmt::Display| {
        line(console, format_args!("pagewright: show=: {why}"));
        Err(Exit::Usage)
    };
    match Views::parse(options.show.unwrap_or("")) {
        Ok(mut views) => {
            // There are no slabs yet, and no vmalloc: `run` prints those, and again what counts them.
            for later in LATER {
                views.take(later);
            }
            if let Err(e) = views.write(&mut Out(console), &State::new(boot, running)) {
                return refuse(&e);
            }
        }
        Err(e) => return refuse(&e),
    }
    if options.dump {
        let Firmware::DeviceTree { tree, .. } = &boot.machine.firmware else {
            line(console, format_args!("pagewright: dump=device-tree: this machine has none"));
            return Err(Exit::Usage);
        };
        dump::device_tree(console, tree.bytes());
    }
    Ok(())
}

/// Runs what the command line asks for. The caller ends the machine with the verdict ([`closing`]).
pub fn run(
    metal: &dyn Metal,
    boot: &Boot<'_>,
    objects: &Objects<'_>,
    options: &Options<'_>,
    steps: &Steps,
) -> Exit {
    let (console, pages) = (metal.console(), objects.pages());
    if let Some(unknown) = selftest::unknown(options) {
        line(console, format_args!("pagewright: test={unknown}: there is no such test"));
        return Exit::Usage;
    }
    if let Some(unknown) = bench::unknown(options) {
        line(console, format_args!("pagewright: bench={unknown}: expected some of {}", bench::NAMES));
        return Exit::Usage;
    }
    if let Some(e) = boot.table_error {
        line(console, format_args!("pagewright: page tables: {e}"));
        return Exit::BootFailed;
    }
    let Some(tables) = boot.pgtable else {
        line(console, format_args!("pagewright: no page tables"));
        return Exit::BootFailed;
    };
    let asked =
        |view: View| options.show.is_some_and(|names| names.split(',').any(|name| name == view.name()));
    if asked(View::Slabinfo) {
        // The console takes everything.
        let _ = View::Slabinfo.write_heading(&mut Out(console));
        let _ = write!(Out(console), "{}", objects.slabs().slabinfo());
    }
    let units = Units::of(boot, pages.ram());
    let units = units.as_ref();
    let (mut measured, mut passed, mut failed) = (true, 0, 0);
    let served = with_space(metal, boot, pages, tables, &mut |area| {
        let space = Space { area, metal };
        start_others(space, boot, pages);
        let stack_pages = area.area().nr_pages();
        for view in
            [View::Meminfo, View::Vmallocinfo, View::VmallocMap].into_iter().filter(|view| asked(*view))
        {
            show_area(space, boot, objects, view);
        }
        // Before the tests: on memory as the boot left it.
        let subject = bench::Subject {
            pages,
            objects,
            metal,
            space,
            units,
            #[cfg(feature = "bench")]
            windows: boot.kmap_windows().map(|windows| bench::kmap::Windows { pages, tables, windows }),
            steps,
        };
        measured = bench::run(subject, options);
        let (scratch, windows) = (scratch_range(boot), boot.module_windows());
        let highmem = boot.kmap_windows();
        let subject =
            Subject { pages, objects, metal, tables, units, space, stack_pages, scratch, windows, highmem };
        explained(area, || {
            (passed, failed) = selftest::run(&subject, options);
            if options.trigger == Some(Trigger::Overrun) {
                overrun(space, pages);
            }
        });
    });
    if let Err(why) = served {
        line(console, format_args!("pagewright: vmalloc does not serve: {why}"));
        return Exit::BootFailed;
    }
    match options.trigger {
        Some(how @ (Trigger::Fault | Trigger::Console)) => {
            // Nothing is mapped in the first page, in any of the images.
            let at = core::hint::black_box(core::ptr::without_provenance::<u8>(8));
            if how == Trigger::Console {
                console.hold(&mut || trigger_fault(at));
            }
            trigger_fault(at);
            line(console, format_args!("pagewright: reading {:#x} does not fault", VirtAddr::new(8)));
            return Exit::TestFailed;
        }
        Some(Trigger::Overflow) => {
            let depth = overflow(core::hint::black_box(1));
            line(console, format_args!("pagewright: the stack holds {depth} frames and has no end"));
            return Exit::TestFailed;
        }
        Some(Trigger::Overrun) => {
            line(console, format_args!("pagewright: reading behind an area does not fault"));
            return Exit::TestFailed;
        }
        Some(Trigger::Panic) => panic!("as the command line asked for"),
        None => {}
    }
    match (passed, failed) {
        (_, 1..) => Exit::TestFailed,
        _ if !measured => Exit::TestFailed,
        (0, 0) if options.all_tests() => Exit::TestFailed,
        _ => Exit::Passed,
    }
}

/// Starts the other processors, each on a stack in vmalloc space that it keeps for good.
fn start_others(space: Space<'_>, boot: &Boot<'_>, pages: &Pages) {
    let Space { area, metal } = space;
    let shape = StackShape { bytes: STACK_BYTES, align: pages.page_shift().bytes() };
    metal.start_others(boot, pages, &mut || {
        let made = on(pages, metal, |on| area.alloc_stack(on, shape));
        made.and_then(Result::ok).map(|stack| stack.top())
    });
}

/// A region, and the processor that looks at it.
struct Looked<'r, 'c, 'z> {
    area: &'r dyn RegionView,
    on: &'r On<'c, 'z>,
}

impl Areas for Looked<'_, '_, '_> {
    fn range(&self) -> VirtRange {
        self.area.range()
    }

    fn name(&self) -> &'static str {
        self.area.name()
    }

    fn next_area(&self, from: VirtAddr) -> Option<Seen> {
        self.area.next_area(from)
    }

    fn pages_by_node(&self, addr: VirtAddr, see: &mut dyn FnMut(NodeId, u64)) {
        self.area.pages_by_node(self.on, addr, see);
    }

    fn gaps(&self) -> Gaps {
        self.area.gaps()
    }

    fn nr_pages(&self) -> u64 {
        self.area.nr_pages()
    }
}

/// Prints a view of the regions, or one in which they are counted.
fn show_area(space: Space<'_>, boot: &Boot<'_>, objects: &Objects<'_>, view: View) {
    let (Space { area, metal }, pages) = (space, objects.pages());
    let out = &mut Out(metal.console());
    on(pages, metal, |on| {
        let mut looked: ArrayVec<Looked<'_, '_, '_>, 2> = ArrayVec::new();
        looked.push(Looked { area: area.area(), on });
        looked.extend(area.modules().map(|area| Looked { area, on }));
        looked.sort_unstable_by_key(|region| region.range().start);
        let regions: ArrayVec<&dyn Areas, 2> = looked.iter().map(|region| region as &dyn Areas).collect();
        let shown = Shown::new(boot, &regions);
        // What processors' lists have counted is in none of these views.
        let live = Live { lists: &|_, _| None, areas: &|_| None };
        let slab_pages = |nid| objects.slabs().slab_pages(nid);
        let state = State::live(boot, pages.running(), pages.allocator(), live);
        let state = state.with_slab_pages(&slab_pages).with_vmalloc(&shown);
        // The console takes everything.
        let _ = match view {
            View::Meminfo => writeln!(out, "{MEMINFO_IN_SERVICE}"),
            _ => view.write_heading(out),
        };
        let _ = view.write(out, &state);
    });
}

/// Reads the page behind an area.
fn overrun(space: Space<'_>, pages: &Pages) {
    let Space { area, metal } = space;
    let page = pages.page_shift().bytes();
    let taken = on(pages, metal, |on| area.vmalloc(on, &VmRequest::new(100)));
    if let Some(Ok(at)) = taken {
        trigger_fault(core::ptr::with_exposed_provenance((at.get() + page + 8) as usize));
    }
}

/// Reads an address at which nothing is mapped.
#[inline(never)]
fn trigger_fault(at: *const u8) {
    // SAFETY: no address of the image's own: the processor faults, which is what is asked for; nothing is written.
    core::hint::black_box(unsafe { at.read_volatile() });
}

/// Calls itself until the stack ends.
#[inline(never)]
fn overflow(depth: u64) -> u64 {
    let frame = core::hint::black_box([depth; 64]);
    if depth == u64::MAX {
        return depth;
    }
    overflow(frame[depth as usize % 64] + 1) + core::hint::black_box(frame[0])
}

/// The last line that an image prints.
pub fn closing(metal: &dyn Metal, how: Exit) {
    // The console takes everything.
    let _ = writeln!(Out(metal.console()), "{how}");
}
