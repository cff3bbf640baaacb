//! The steps from a machine's description to the verdict, as every image takes them.

use super::end::{print, stop};
use super::this::console::CONSOLE;
use super::this::exit::exit;
use super::this::image::CONFIG;
use pagewright::pgtable::TableEvent;
use pagewright::{Boot, Running, Tables, Workspace};
use pagewright_addr::VirtAddr;
use pagewright_firmware::Machine;
use pagewright_firmware::config::KernelConfig;
use pagewright_kernel::bench::steps::Steps;
use pagewright_kernel::boot::{StartError, Stopped, initcalls, start_allocator};
use pagewright_kernel::carve::Carve;
use pagewright_kernel::console::Log;
use pagewright_kernel::direct_map::DirectMap;
use pagewright_kernel::exit::Exit;
use pagewright_kernel::metal::Metal;
use pagewright_kernel::objects::{ImageHeap, Objects, REAPED};
use pagewright_kernel::options::Options;
use pagewright_kernel::pages::Pages;
use pagewright_kernel::run::{closing, run, show};
use pagewright_kernel::service::Processor;
use pagewright_kernel::stack::map_stack;
use pagewright_kernel::take::Take;
use pagewright_kernel::workspace::{workspace, workspace_bytes};
use pagewright_view::log::LogOptions;

const ROOM_WORDS: usize = workspace_bytes(&CONFIG).div_ceil(8) as usize;
static ROOM: Take<[u64; ROOM_WORDS]> = Take::new([0; ROOM_WORDS]);
static TABLES: Take<Tables> = Take::new(Tables::new());

unsafe extern "C" {
    /// See `entry.s`.
    fn on_stack(work: usize, argument: usize, top: usize) -> !;
}

/// Rust's allocator, from when the slabs serve.
#[global_allocator]
static HEAP: ImageHeap = ImageHeap::new();

/// The memory that the boot borrows, for the first who asks.
fn lent<'a>(config: &KernelConfig) -> Workspace<'a> {
    let (Some(room), Some(tables)) = (ROOM.take(), TABLES.take()) else { exit(Exit::BootFailed) };
    match workspace(config, &mut Carve::of(room), tables) {
        Some(workspace) => workspace,
        None => stop(Exit::BootFailed, format_args!("the boot's workspace is too small")),
    }
}

/// The log of a machine's boot. `steps` is told of phases; `hook` loads the registers that page tables are told to the processor by.
pub(super) fn log<'h>(machine: &Machine<'_>, steps: &'h Steps, hook: &'h dyn Fn(TableEvent)) -> Log<'h> {
    let params = machine.command_line().parse_for(&machine.config).0;
    Log::new(&CONSOLE, LogOptions::of(&params), steps, hook)
}

/// Runs the boot sequence, with its tables in `ram`. `prepare` is what the architecture has to say first.
pub(super) fn boot<'a>(
    machine: &'a Machine<'a>,
    ram: &'a DirectMap,
    log: &'a Log<'a>,
    prepare: impl FnOnce(&mut Boot<'a>),
) -> Boot<'a> {
    let mut boot = match Boot::new(machine, lent(&machine.config), log) {
        Ok(boot) => boot,
        Err(e) => stop(Exit::BootFailed, format_args!("the boot stopped: {e}")),
    };
    boot.set_table_memory(ram);
    prepare(&mut boot);
    if let Err(e) = boot.run() {
        stop(Exit::BootFailed, format_args!("the boot stopped: {}", Stopped::new(&boot, e)));
    }
    boot
}

/// Starts the page allocator, does what the kernel does as soon as there is one, and shows what the command line asks to see.
pub(super) fn allocator(
    boot: &mut Boot<'_>,
    ram: &DirectMap,
    options: &Options<'_>,
    steps: &Steps,
) -> Running<'static, 'static, 'static> {
    steps.begin("hand_over");
    let mut running = match start_allocator(boot, ram) {
        Ok(running) => running,
        Err(e @ StartError::Metadata { .. }) => {
            stop(Exit::BootFailed, format_args!("too little memory: {e}"))
        }
        Err(e) => stop(Exit::BootFailed, format_args!("{e}")),
    };
    initcalls(boot, &mut running);
    steps.end();
    if let Err(how) = show(&CONSOLE, boot, &running, options) {
        print(format_args!("{how}"));
        exit(how)
    }
    running
}

/// Puts the page allocator in service for all processors.
///
/// # Safety
/// What [`Processor`] says holds for `processor`.
pub(super) unsafe fn serve(
    boot: &Boot<'_>,
    running: Running<'static, 'static, 'static>,
    ram: DirectMap,
    processor: Processor,
) -> Pages {
    // SAFETY: the caller's promise.
    match unsafe { Pages::serve(boot, running, ram, processor) } {
        Ok(pages) => pages,
        Err(e) => stop(Exit::BootFailed, format_args!("the page allocator does not serve: {e}")),
    }
}

/// Makes the `n`th stack; returns its top.
pub(super) fn stack(boot: &Boot<'_>, pages: &Pages, n: u64) -> VirtAddr {
    match map_stack(boot, pages, n) {
        Ok(stack) => VirtAddr::new(stack.last().get() + 1),
        Err(e) => stop(Exit::BootFailed, format_args!("{e}")),
    }
}

/// Goes on with `work` on another stack, and never comes back.
///
/// # Safety
/// The stack is mapped and nobody else's.
pub(super) unsafe fn go_on<K>(top: VirtAddr, kernel: &K, work: extern "C" fn(&K) -> !) -> ! {
    // SAFETY: the caller's; what `kernel` refers to is on the first stack, to which nobody returns.
    unsafe { on_stack(work as *const () as usize, (&raw const *kernel) as usize, top.get() as usize) }
}

/// Runs what the command line asks for, to the end.
pub(super) fn finish(
    metal: &dyn Metal,
    boot: &Boot<'_>,
    pages: &Pages,
    options: &Options<'_>,
    steps: &Steps,
) -> ! {
    let objects = match Objects::serve(boot, pages) {
        Ok(objects) => objects,
        Err(why) => stop(Exit::BootFailed, format_args!("the slabs do not serve: {why}")),
    };
    // SAFETY: this function never returns, nor do its callers, so what they have stays where it is.
    unsafe {
        HEAP.set(&objects);
        REAPED.set(&objects);
    }
    let how = run(metal, boot, &objects, options, steps);
    closing(metal, how);
    exit(how)
}
