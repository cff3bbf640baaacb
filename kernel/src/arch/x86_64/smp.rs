//! All processors: INIT and STARTUP bring them to the trampoline, each gets descriptor tables, two stacks, its own data and a
//! timer.

use super::console::CONSOLE;
use super::image;
use super::{apic, cpu, metal, tlb};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use pagewright::Boot;
use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_kernel::console::{Console, line};
use pagewright_kernel::direct_map::DirectMap;
use pagewright_kernel::metal::NewStack;
use pagewright_kernel::pages::Pages;
use pagewright_kernel::percpu::{self, CpuLocal};
use pagewright_kernel::service::{Masking, Processor};
use pagewright_kernel::stack::map_stack;
use pagewright_kernel::team::{Handlers, Locals, Team, arrives};
use pagewright_kernel::work::Post;
use pagewright_platform::Mutex;
use pagewright_platform::WithoutInterrupts;
use x86_64::instructions::{hlt, interrupts};
use x86_64::registers::model_specific::Msr;

/// IA32_GS_BASE. (The `x86_64` crate's own type for it takes addresses of four levels only.)
fn gs_base() -> Msr {
    Msr::new(0xc000_0101)
}

/// How long a processor may take to arrive, and to forget translations.
const PATIENCE_MICROS: u64 = 10_000_000;

/// Work for all.
static POST: Post = Post::new();
/// What interrupt handlers use.
static HANDLERS: Handlers = Handlers::new();
/// How many processors run.
static RUNNING: AtomicU32 = AtomicU32::new(1);
/// One processor at a time has the others forget; how many still have to.
static FLUSHING: Mutex<()> = Mutex::new(());
static TO_FLUSH: AtomicU32 = AtomicU32::new(0);

/// What a processor that is being started reads: CR3, its stack's top, its stack for faults, its [`CpuLocal`], its number, where it
/// reads the table of interrupts. They come one by one.
#[repr(C, align(64))]
pub(super) struct Record([AtomicU64; 6]);

pub(super) static RECORD: Record = Record([const { AtomicU64::new(0) }; 6]);

unsafe extern "C" {
    static trampoline: u8;
    static trampoline_cr3: u8;
    static trampoline_cr4: u8;
    static trampoline_gdt: u8;
    static trampoline_gdt_base: u8;
    static trampoline_long: u8;
    static trampoline_long_at: u8;
    static trampoline_end: u8;
}

/// What the page allocator asks of a processor.
pub(super) const PROCESSOR: Processor = Processor { current };

/// This processor's number. The one that boots has the first before it has data of its own; the others have data before they
/// are interrupted, and their number when they have arrived.
fn current() -> Option<u32> {
    local().map_or(Some(0), CpuLocal::cpu)
}

/// This processor's data. `None` before it has some.
fn local() -> Option<&'static CpuLocal> {
    // SAFETY: the register is there in long mode.
    let at = unsafe { gs_base().read() } as usize;
    // SAFETY: the register is 0 from `entry.s` on, or what `init_cpu` wrote: a reference that lives for good.
    unsafe { core::ptr::with_exposed_provenance::<CpuLocal>(at).as_ref() }
}

/// What every processor does once it has its stack: its data, its timer.
fn init_cpu(local: &'static CpuLocal) {
    let at = (&raw const *local).expose_provenance() as u64;
    // SAFETY: nothing is addressed by the segment but this data.
    unsafe { gs_base().write(at) };
    if apic::is_there() {
        apic::start_timer();
        interrupts::enable();
    }
}

/// Called for an interrupt, with interrupts masked. False for one that the image does not know.
pub(super) fn interrupt(vector: u8) -> bool {
    match vector {
        apic::TIMER => {
            if let Some(local) = local() {
                // SAFETY: `local` is of this processor.
                unsafe { HANDLERS.tick(local) };
            }
        }
        apic::FLUSH => {
            tlb::flush_here();
            TO_FLUSH.fetch_sub(1, Ordering::Release);
        }
        apic::CALL => {}
        apic::SPURIOUS => return true,
        _ => return false,
    }
    apic::end();
    true
}

/// Does something while no handler of another processor uses the page allocator or its metadata, and this one is not interrupted.
pub(super) fn with_all_memory<R>(work: impl FnOnce() -> R) -> R {
    let quietly = || {
        let _quiet = WithoutInterrupts::new(&Masking);
        work()
    };
    match HANDLERS.pages() {
        Some(pages) => pages.without_handlers(quietly),
        None => quietly(),
    }
}

/// Forgets all translations, on all processors.
///
/// # Panics
/// If a processor does not answer: its translations may be stale, so nobody may go on.
pub(super) fn flush_everywhere() {
    let others = RUNNING.load(Ordering::Acquire) - 1;
    if others == 0 {
        return tlb::flush_here();
    }
    // Interrupts stay as they are: whoever waits here can be told to forget as well.
    let _one = FLUSHING.lock();
    TO_FLUSH.store(others, Ordering::Relaxed);
    apic::interrupt_others(apic::FLUSH);
    tlb::flush_here();
    let begin = CONSOLE.micros();
    while TO_FLUSH.load(Ordering::Acquire) != 0 {
        let waited = CONSOLE.micros().wrapping_sub(begin);
        assert!(waited < PATIENCE_MICROS, "a processor does not forget its translations");
        core::hint::spin_loop();
    }
}

/// Waits for an interrupt, or a little.
pub(super) fn wait() {
    if apic::is_there() { hlt() } else { core::hint::spin_loop() }
}

/// Wakes those that wait.
pub(super) fn wake() {
    if RUNNING.load(Ordering::Relaxed) > 1 {
        apic::interrupt_others(apic::CALL);
    }
}

/// Gives this processor its data and its timer. It is the only one that runs until [`start_others`].
///
/// # Safety
/// `pages` stays where it is for good.
pub(super) unsafe fn start_first(boot: &Boot<'_>, pages: &Pages) -> Team {
    let mut locals = Locals::new();
    if let Some(first) = percpu::make(boot, pages.ram(), 0) {
        if apic::find(boot).is_none() {
            line(&CONSOLE, format_args!("pagewright: no local APIC that the image knows"));
        }
        first.arrive(0);
        locals.push(first);
        // SAFETY: the caller's.
        unsafe { HANDLERS.set(pages) };
        init_cpu(first);
    }
    Team::new(locals, &POST, wake, &CONSOLE)
}

/// Starts the others: `ids` are all local APICs'.
pub(super) fn start_others(
    team: &Team,
    boot: &Boot<'_>,
    pages: &Pages,
    ids: &[u32],
    stack: &mut NewStack<'_>,
) {
    let (me, idt) = (apic::id(), metal::idt(boot));
    let shared = share_kernel_half(boot, pages.ram());
    // The one that boots has the first number, the others follow in the table's order.
    let mut others = ids.iter().copied().filter(|id| shared.is_some() && *id != me);
    team.bring_up(boot, |cpu| {
        let id = others.next().filter(|_| (cpu as usize) < cpu::LIMIT)?;
        let started = start_one(boot, pages, (cpu, id), idt, stack);
        if started.is_ok() {
            RUNNING.fetch_add(1, Ordering::Release);
        }
        Some(started)
    });
}

/// Copies the trampoline to where a processor without paging reaches it. Returns its page.
fn place_trampoline(boot: &Boot<'_>, ram: &DirectMap) -> Option<u8> {
    // The part that stays writable: the kernel's own trampoline would be read-only up to there.
    let at = boot.real_mode?.checked_add(boot.machine.build.real_mode_ro.into())?;
    let first = &raw const trampoline as u64;
    let offset = |symbol: *const u8| (symbol as u64 - first) as usize;
    let len = offset(&raw const trampoline_end);
    let to = ram.pointer(at, len as u64)?;
    // SAFETY: the boot has reserved this memory for the trampoline; the image's text holds so many bytes of it.
    unsafe { to.as_ptr().copy_from_nonoverlapping(&raw const trampoline, len) };
    let put = |symbol: *const u8, value: u64| {
        // SAFETY: inside what was just copied.
        unsafe { to.as_ptr().add(offset(symbol)).cast::<u32>().write_unaligned(value as u32) };
    };
    put(&raw const trampoline_cr3, image::head_root().get());
    // PAE, PGE, LA57: as `entry.s` has set them.
    put(&raw const trampoline_cr4, 0xa0 | u64::from(image::five_levels()) << 12);
    put(&raw const trampoline_gdt_base, at.get() + offset(&raw const trampoline_gdt) as u64);
    put(&raw const trampoline_long_at, at.get() + offset(&raw const trampoline_long) as u64);
    u8::try_from(at.get() >> 12).ok()
}

/// Gives the head's tables, which have the first 4 GiB one to one, the kernel's half as it is now.
fn share_kernel_half(boot: &Boot<'_>, ram: &DirectMap) -> Option<()> {
    let (head, kernel) = (ram.words64(image::head_root(), 512)?, ram.words64(boot.pgtable?.root, 512)?);
    for (to, from) in head.iter().zip(kernel).skip(256) {
        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    Some(())
}

/// Starts one processor and waits for it.
fn start_one(
    boot: &Boot<'_>,
    pages: &Pages,
    (cpu, id): (u32, u32),
    idt: VirtAddr,
    stack: &mut NewStack<'_>,
) -> Result<&'static CpuLocal, &'static str> {
    if !apic::is_there() {
        return Err("no way to interrupt it");
    }
    let local = percpu::make(boot, pages.ram(), cpu).ok_or("no per-CPU area")?;
    let own = stack().ok_or("no stack")?.get();
    let faults = map_stack(boot, pages, u64::from(cpu) * 2 + 1).map_err(|_| "no stack")?;
    let faults = faults.last().get() + 1;
    let root = boot.pgtable.ok_or("no page tables")?.root;
    let page = place_trampoline(boot, pages.ram()).ok_or("no trampoline below 1 MiB")?;
    let values =
        [root.get(), own, faults, (&raw const *local).expose_provenance() as u64, cpu.into(), idt.get()];
    for (slot, value) in RECORD.0.iter().zip(values) {
        slot.store(value, Ordering::Release);
    }
    let arrived = |micros: u64| arrives(&CONSOLE, local, cpu, micros);
    // The times of the MultiProcessor Specification, appendix B.4.
    apic::reset(id);
    let _ = arrived(10_000);
    apic::start(id, page);
    if !arrived(200) {
        apic::start(id, page);
    }
    if arrived(PATIENCE_MICROS) { Ok(local) } else { Err("it does not arrive") }
}

/// Where `entry.s` goes on with a processor that was started, on its own stack.
pub(super) extern "C" fn secondary() -> ! {
    let [root, _, faults, local, number, idt] = RECORD.0.each_ref().map(|slot| slot.load(Ordering::Acquire));
    // SAFETY: the kernel's tables; the trampoline's map was the same in the kernel's half.
    unsafe { tlb::load(PhysAddr::new(root)) };
    tlb::flush_here();
    let n = number as usize;
    // SAFETY: this processor, whose stack for faults was made for it; the table of interrupts is long in use.
    if !unsafe { cpu::set_up(n, VirtAddr::new(faults)) } {
        loop {
            interrupts::disable();
            hlt();
        }
    }
    cpu::load_idt(VirtAddr::new(idt));
    // SAFETY: what `start_one` has put there lives for good.
    let local = unsafe { &*core::ptr::with_exposed_provenance::<CpuLocal>(local as usize) };
    init_cpu(local);
    let seen = POST.last();
    local.arrive(number as u32);
    POST.serve(number as u32, seen, wait)
}
