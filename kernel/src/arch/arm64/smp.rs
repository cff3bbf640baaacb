//! All processors: PSCI starts them, each gets a stack, its own data and a timer.

use super::console::CONSOLE;
use super::exit::psci_method;
use super::image::Loaded;
use super::{gic, tlb};
use aarch64_cpu::registers::{
    CNTFRQ_EL0, CNTV_CTL_EL0, CNTV_TVAL_EL0, DAIF, MPIDR_EL1, Readable, TPIDR_EL1, Writeable,
};
use arrayvec::ArrayVec;
use core::arch::asm;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use pagewright::Boot;
use pagewright::pgtable::arm64::Places;
use pagewright_addr::VirtRange;
use pagewright_firmware::devicetree::DeviceTree;
use pagewright_kernel::console::{Console, line};
use pagewright_kernel::devices::PsciMethod;
use pagewright_kernel::pages::Pages;
use pagewright_kernel::percpu::{self, CpuLocal};
use pagewright_kernel::stack::{STACKS, io_range, map_stack};
use pagewright_kernel::work::Post;
use pagewright_pagetable::MapOptions;
use smccc::{Hvc, Smc, psci};

/// Processors that the image starts, at most: two stacks each.
pub(super) const MAX_CPUS: usize = STACKS as usize / 2;
/// Timer interrupts each second.
const HZ: u64 = 100;
/// How long a processor may take to arrive.
const ARRIVAL_MICROS: u64 = 10_000_000;

/// The empty table, for the lower half without a process.
static RESERVED: AtomicU64 = AtomicU64::new(0);
/// Work for all.
pub(super) static POST: Post = Post::new();
/// The page allocator, for interrupt handlers.
static PAGES: AtomicPtr<Pages> = AtomicPtr::new(null_mut());

/// What `secondary_entry` reads with the MMU off: TTBR0, TTBR1, where to go on, the stack's top, the exception stack's top, the
/// address of its [`CpuLocal`].
#[repr(C, align(64))]
struct Record([AtomicU64; 6]);

/// The number of the processor that is being started: they come one by one.
static STARTING: AtomicU64 = AtomicU64::new(0);
static RECORD: Record = Record([const { AtomicU64::new(0) }; 6]);

unsafe extern "C" {
    fn secondary_entry();
    fn secondary_switched();
}

/// The affinity fields of this processor's MPIDR.
pub(super) fn hardware_id() -> u64 {
    MPIDR_EL1.get() & 0xff_00ff_ffff
}

/// This processor's data. `None` before it has some.
fn local() -> Option<&'static CpuLocal> {
    let at = core::ptr::with_exposed_provenance::<CpuLocal>(TPIDR_EL1.get() as usize);
    // SAFETY: the register is 0 from `start` on, or what `init_cpu` wrote: a reference that lives for good.
    unsafe { at.as_ref() }
}

/// Masks interrupts; tells how it was.
pub(super) fn mask() -> usize {
    let before = DAIF.get();
    // SAFETY: taking no interrupts changes nothing else. (It orders memory accesses around it for the compiler.)
    unsafe { asm!("msr daifset, #2", options(nostack, preserves_flags)) };
    before as usize
}

/// As it was.
pub(super) fn restore(before: usize) {
    // SAFETY: a value of the register's own; nothing depends on interrupts being masked any more.
    unsafe { asm!("msr daif, {}", in(reg) before as u64, options(nostack, preserves_flags)) };
}

/// Maps the interrupt controller's registers.
fn map_gic(boot: &Boot<'_>, pages: &Pages, tree: &DeviceTree<'_>) -> Option<()> {
    let place = gic::find(tree)?;
    let tables = boot.pgtable?;
    let map = |n, registers: pagewright_addr::PhysRange| {
        let window = io_range(boot, n).ok()?;
        let len = registers.len().min(window.len);
        let range = VirtRange::from_len(window.start, len);
        let mapped = tables.with(|tree| {
            tree.map(range, registers.start, super::start::DEVICE, &MapOptions::PAGES, &mut pages.tables())
        });
        mapped.is_ok().then_some(range)
    };
    let (distributor, processors) = (map(0, place.distributor)?, map(1, place.processors)?);
    tlb::publish();
    // SAFETY: just mapped, as device memory, and nobody unmaps them.
    unsafe { gic::set(&place, distributor.start, processors.start, processors.len) };
    Some(())
}

/// What every processor does once it has its stack: its data, its timer.
fn init_cpu(local: &'static CpuLocal, first: bool) {
    TPIDR_EL1.set(&raw const *local as u64);
    if gic::is_there() {
        let id = hardware_id();
        gic::init_cpu(first, (id >> 8 & 0xff00_0000) as u32 | id as u32 & 0xff_ffff);
        arm_timer();
        CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET);
        // SAFETY: vectors, stack and handler are in place.
        unsafe { asm!("msr daifclr, #2", options(nostack, preserves_flags)) };
    }
}

fn arm_timer() {
    CNTV_TVAL_EL0.set((CNTFRQ_EL0.get() / HZ).max(1));
}

/// Called for an interrupt, with interrupts masked.
pub(super) fn interrupt() {
    while let Some(number) = gic::acknowledge() {
        if number == gic::VIRTUAL_TIMER {
            arm_timer();
            if let Some(local) = local() {
                // SAFETY: set to a reference that lives for good.
                let pages = unsafe { PAGES.load(Ordering::Acquire).as_ref() };
                // Whoever has the allocator has masked interrupts, so this does not wait for the code that it interrupted.
                local.tick(pages.is_some_and(|pages| pages.touch(local.cpu().unwrap_or(0) as usize)));
            }
        }
        gic::end(number);
    }
}

/// Waits for an interrupt, or a little.
pub(super) fn wait() {
    // SAFETY: waiting changes nothing. Without timer interrupts nothing would end `wfi`.
    unsafe {
        if gic::is_there() {
            asm!("wfi", options(nomem, nostack, preserves_flags));
        } else {
            asm!("wfe", options(nomem, nostack, preserves_flags));
        }
    }
}

/// Wakes those that wait without a timer.
pub(super) fn wake() {
    // SAFETY: an event changes nothing.
    unsafe { asm!("dsb ishst", "sev", options(nostack, preserves_flags)) };
}

/// Data of the processors that run, by their numbers.
pub(super) type Locals = ArrayVec<&'static CpuLocal, MAX_CPUS>;

/// Gives this processor its data and its timer, and starts the others. The processors that run are those up to the first that
/// did not come.
///
/// # Safety
/// `pages` stays where it is for good.
pub(super) unsafe fn start_all(
    boot: &Boot<'_>,
    pages: &Pages,
    image: &Loaded,
    tree: &DeviceTree<'_>,
) -> Locals {
    let mut locals = Locals::new();
    let Some(first) = percpu::make(boot, pages.ram(), 0) else { return locals };
    if map_gic(boot, pages, tree).is_none() {
        line(&CONSOLE, format_args!("pagewright: no interrupt controller that the image knows"));
    }
    first.arrive(0);
    locals.push(first);
    PAGES.store((&raw const *pages).cast_mut(), Ordering::Release);
    init_cpu(first, true);

    RESERVED.store(image.reserved_pg_dir().get(), Ordering::Relaxed);
    let mut ids = [None; MAX_CPUS];
    tree.number_cpus_arm64(Some(hardware_id()), MAX_CPUS as u32, &mut |cpu, node| {
        ids[cpu as usize] = node.reg;
    });
    line(&CONSOLE, format_args!("smp: Bringing up secondary CPUs ..."));
    for cpu in boot.online_cpus().skip(1) {
        let Some(id) = ids.get(cpu as usize).copied().flatten() else { break };
        match start_one(boot, pages, image, cpu, id) {
            Ok(local) => locals.push(local),
            Err(why) => {
                line(&CONSOLE, format_args!("CPU{cpu}: failed to come online: {why}"));
                break;
            }
        }
    }
    let (nodes, cpus) = (boot.nodes_online.len(), locals.len());
    let (s, all) = (if nodes == 1 { "" } else { "s" }, if cpus == 1 { "" } else { "s" });
    line(&CONSOLE, format_args!("smp: Brought up {nodes} node{s}, {cpus} CPU{all}"));
    locals
}

/// Starts one processor and waits for it.
fn start_one(
    boot: &Boot<'_>,
    pages: &Pages,
    image: &Loaded,
    cpu: u32,
    id: u64,
) -> Result<&'static CpuLocal, &'static str> {
    let local = percpu::make(boot, pages.ram(), cpu).ok_or("no per-CPU area")?;
    let stack = |n| map_stack(boot, pages, n).map(|r| r.last().get() + 1).map_err(|_| "no stack");
    let (own, exceptions) = (stack(u64::from(cpu) * 2)?, stack(u64::from(cpu) * 2 + 1)?);
    tlb::publish();
    let swapper = boot.pgtable.ok_or("no page tables")?.root;
    let values = [
        Places::of(boot.machine).idmap.get(),
        swapper.get(),
        secondary_switched as *const () as u64,
        own,
        exceptions,
        &raw const *local as u64,
    ];
    for (slot, value) in RECORD.0.iter().zip(values) {
        slot.store(value, Ordering::Relaxed);
    }
    STARTING.store(cpu.into(), Ordering::Release);
    let record = &raw const RECORD as u64;
    // SAFETY: cleaning a line of the image's own; the other processor reads it past the caches.
    unsafe { asm!("dc cvac, {}", "dsb sy", in(reg) record, options(nostack, preserves_flags)) };
    let phys = |at: u64| at.wrapping_sub(image.virt_offset());
    let (entry, record) = (phys(secondary_entry as *const () as u64), phys(record));
    let started = match psci_method() {
        Some(PsciMethod::Hvc) => psci::cpu_on::<Hvc>(id, entry, record),
        Some(PsciMethod::Smc) => psci::cpu_on::<Smc>(id, entry, record),
        None => return Err("no PSCI"),
    };
    started.map_err(|_| "PSCI refuses")?;
    let begin = CONSOLE.micros();
    while local.cpu() != Some(cpu) {
        if CONSOLE.micros().wrapping_sub(begin) > ARRIVAL_MICROS {
            return Err("it does not arrive");
        }
        core::hint::spin_loop();
    }
    Ok(local)
}

/// Where `entry.s` goes on with a processor that was started; `local` is its data.
pub(super) extern "C" fn secondary(local: &'static CpuLocal) -> ! {
    // SAFETY: the identity map is not used any more; the kernel's lower half is empty.
    unsafe { tlb::set_ttbr0(RESERVED.load(Ordering::Relaxed)) };
    let cpu = STARTING.load(Ordering::Acquire) as u32;
    init_cpu(local, false);
    local.arrive(cpu);
    POST.serve(cpu, wait)
}
