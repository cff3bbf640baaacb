//! All processors: PSCI starts them, each gets two stacks, its own data and a timer.

use super::exit::psci_method;
use super::gic;
use super::this::console::CONSOLE;
use super::this::{cpu, metal, secondary};
use core::sync::atomic::{AtomicU64, Ordering};
use pagewright::Boot;
use pagewright_addr::{PhysRange, VirtRange};
use pagewright_firmware::Firmware;
use pagewright_firmware::devicetree::DeviceTree;
use pagewright_kernel::console::line;
use pagewright_kernel::devices::PsciMethod;
use pagewright_kernel::metal::NewStack;
use pagewright_kernel::pages::Pages;
use pagewright_kernel::percpu::{self, CpuLocal};
use pagewright_kernel::service::Processor;
use pagewright_kernel::stack::{io_range, map_stack};
use pagewright_kernel::team::{HZ, Handlers, Locals, MAX_CPUS, Team, arrives};
use pagewright_kernel::work::Post;
use pagewright_pagetable::MapOptions;
use smccc::{Hvc, Smc};

/// How long a processor may take to arrive.
const ARRIVAL_MICROS: u64 = 10_000_000;
/// Windows for the interrupt controller's registers; the first may be the console's.
const DISTRIBUTOR_WINDOW: u64 = 1;
const PROCESSORS_WINDOW: u64 = 2;

/// Work for all.
static POST: Post = Post::new();
/// What interrupt handlers use.
static HANDLERS: Handlers = Handlers::new();
/// The number of the processor that is being started: they come one by one.
static STARTING: AtomicU64 = AtomicU64::new(0);

/// What a processor that is being started reads with the MMU off, past the caches.
#[repr(C, align(64))]
struct Record([AtomicU64; 8]);

static RECORD: Record = Record([const { AtomicU64::new(0) }; 8]);

unsafe extern "C" {
    /// See `entry.s`.
    fn secondary_entry();
}

/// What the page allocator asks of a processor.
pub(crate) const PROCESSOR: Processor = Processor { current };

/// This processor's number. The one that boots has the first before it has data of its own; the others have data before they
/// are interrupted, and their number when they have arrived.
fn current() -> Option<u32> {
    local().map_or(Some(0), CpuLocal::cpu)
}

/// This processor's data. `None` before it has some.
fn local() -> Option<&'static CpuLocal> {
    let at = core::ptr::with_exposed_provenance::<CpuLocal>(cpu::local());
    // SAFETY: the register is 0 from `entry.s` on, or what `init_cpu` wrote: a reference that lives for good.
    unsafe { at.as_ref() }
}

/// Maps registers in the kernel's tables, in a window of vmalloc space, for good.
pub(crate) fn map_registers(
    boot: &Boot<'_>,
    pages: &Pages,
    window: u64,
    registers: PhysRange,
) -> Option<VirtRange> {
    let window = io_range(boot, window).ok()?;
    let range = VirtRange::from_len(window.start, registers.len().min(window.len));
    let (tables, attr) = metal::device_mapping(boot)?;
    let mapped =
        tables.with(|tree| tree.map(range, registers.start, attr, &MapOptions::PAGES, &mut pages.tables()));
    cpu::publish();
    mapped.is_ok().then_some(range)
}

/// Maps the interrupt controller's registers.
fn map_gic(boot: &Boot<'_>, pages: &Pages, tree: &DeviceTree<'_>) -> Option<()> {
    let place = gic::find(tree)?;
    let distributor = map_registers(boot, pages, DISTRIBUTOR_WINDOW, place.distributor)?;
    let processors = map_registers(boot, pages, PROCESSORS_WINDOW, place.processors)?;
    // SAFETY: just mapped, as device memory, and nobody unmaps them.
    unsafe { gic::set(&place, distributor.start, processors.start, processors.len) };
    Some(())
}

/// What every processor does once it has its stack: its data, its timer.
fn init_cpu(local: &'static CpuLocal, first: bool) {
    cpu::set_local((&raw const *local).expose_provenance());
    if gic::is_there() {
        gic::init_cpu(first, cpu::hardware_id());
        cpu::start_timer((cpu::frequency() / HZ).max(1));
        cpu::unmask();
    }
}

/// Called for an interrupt, with interrupts masked.
pub(crate) fn interrupt() {
    while let Some(number) = gic::acknowledge() {
        if number == gic::VIRTUAL_TIMER {
            cpu::start_timer((cpu::frequency() / HZ).max(1));
            if let Some(local) = local() {
                // SAFETY: `local` is of this processor.
                unsafe { HANDLERS.tick(local) };
            }
        }
        gic::end(number);
    }
}

/// Waits for an interrupt, or a little. Without timer interrupts nothing would end the one for an interrupt.
fn wait() {
    if gic::is_there() { cpu::park() } else { cpu::wait_for_event() }
}

/// Gives this processor its data and its timer. It is the only one that runs until [`start_others`].
///
/// # Safety
/// `pages` stays where it is for good.
pub(crate) unsafe fn start_first(boot: &Boot<'_>, pages: &Pages) -> Team {
    let mut locals = Locals::new();
    if let (Some(first), Firmware::DeviceTree { tree, .. }) =
        (percpu::make(boot, pages.ram(), 0), &boot.machine.firmware)
    {
        if map_gic(boot, pages, tree).is_none() {
            line(&CONSOLE, format_args!("pagewright: no interrupt controller that the image knows"));
        }
        first.arrive(0);
        locals.push(first);
        // SAFETY: the caller's.
        unsafe { HANDLERS.set(pages) };
        init_cpu(first, true);
    }
    Team::new(locals, &POST, cpu::send_event, &CONSOLE)
}

/// Starts the others.
pub(crate) fn start_others(
    team: &Team,
    boot: &Boot<'_>,
    pages: &Pages,
    virt_offset: u64,
    stack: &mut NewStack<'_>,
) {
    let mut ids = [None; MAX_CPUS];
    if let Firmware::DeviceTree { tree, .. } = &boot.machine.firmware {
        tree.number_cpus_arm64(Some(cpu::hardware_id()), MAX_CPUS as u32, &mut |cpu, node| {
            ids[cpu as usize] = node.reg;
        });
    }
    team.bring_up(boot, |cpu| {
        let id = ids.get(cpu as usize).copied().flatten()?;
        Some(start_one(boot, pages, virt_offset, (cpu, id), stack))
    });
}

/// Starts one processor and waits for it.
fn start_one(
    boot: &Boot<'_>,
    pages: &Pages,
    virt_offset: u64,
    (number, id): (u32, u64),
    stack: &mut NewStack<'_>,
) -> Result<&'static CpuLocal, &'static str> {
    let local = percpu::make(boot, pages.ram(), number).ok_or("no per-CPU area")?;
    let own = stack().ok_or("no stack")?;
    let exceptions = map_stack(boot, pages, u64::from(number) * 2 + 1).map_err(|_| "no stack")?;
    let stacks = [own.get(), exceptions.last().get() + 1];
    cpu::publish();
    let [first, second] = secondary::tables(boot).ok_or("no page tables")?;
    let values = [
        first,
        second,
        secondary::switched(),
        stacks[0],
        stacks[1],
        (&raw const *local).expose_provenance() as u64,
    ];
    for (slot, value) in RECORD.0.iter().zip(values) {
        slot.store(value, Ordering::Relaxed);
    }
    STARTING.store(number.into(), Ordering::Release);
    let phys = |at: usize| (at as u64).wrapping_sub(virt_offset);
    let record = (&raw const RECORD) as usize;
    cpu::clean_line(record);
    let entry = phys(secondary_entry as *const () as usize);
    let started = match psci_method() {
        Some(PsciMethod::Hvc) => cpu::psci_on::<Hvc>(id, entry, phys(record)),
        Some(PsciMethod::Smc) => cpu::psci_on::<Smc>(id, entry, phys(record)),
        None => return Err("no PSCI"),
    };
    started.map_err(|_| "PSCI refuses")?;
    if arrives(&CONSOLE, local, number, ARRIVAL_MICROS) { Ok(local) } else { Err("it does not arrive") }
}

/// Where `entry.s` goes on with a processor that was started; `local` is its data.
pub(crate) extern "C" fn secondary_main(local: &'static CpuLocal) -> ! {
    secondary::settle();
    let number = STARTING.load(Ordering::Acquire) as u32;
    init_cpu(local, false);
    let seen = POST.last();
    local.arrive(number);
    POST.serve(number, seen, wait)
}
