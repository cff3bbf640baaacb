//! One processor: its descriptor tables, its control registers, what it is.

use super::image;
use core::arch::x86_64::{__cpuid, __cpuid_count, _rdtsc};
use pagewright_addr::VirtAddr;
use pagewright_firmware::Cpus;
use pagewright_kernel::take::Take;
use x86_64::instructions::tables::{lidt, load_tss};
use x86_64::instructions::{hlt, interrupts};
use x86_64::registers::control::{Cr4, Cr4Flags};
use x86_64::registers::model_specific::{Efer, EferFlags, Msr};
use x86_64::registers::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::tss::TaskStateSegment;

/// Processors that the image has descriptor tables for.
pub(super) const LIMIT: usize = 16;
/// The stack (IST) that double faults, machine checks and non-maskable interrupts run on, counted from 1 as gates do.
const FAULT_STACK: u64 = 1;
/// Vectors that the processor itself raises on that stack.
const ON_FAULT_STACK: [usize; 3] = [2, 8, 18];
/// Bytes of an entry in `entry.s`.
const ENTRY: u64 = 16;

/// What the processor reads of a processor's own.
struct Own {
    gdt: GlobalDescriptorTable,
    tss: TaskStateSegment,
}

/// Tables for each processor, and those that the first one begins with: its stack for faults has no guard page below it yet.
static OWN: [Take<Own>; LIMIT + 1] =
    [const { Take::new(Own { gdt: GlobalDescriptorTable::new(), tss: TaskStateSegment::new() }) }; LIMIT + 1];
/// Where the tables are that the first processor begins with.
pub(super) const FIRST: usize = LIMIT;

unsafe extern "C" {
    fn vectors();
    static mut idt_table: [u64; 512];
}

/// Fills the table of interrupts, once.
///
/// # Safety
/// The table is in no use: called before any other processor runs, and before its page becomes read-only.
pub(super) unsafe fn fill_idt() {
    let first = vectors as *const () as u64;
    for vector in 0..256_usize {
        let handler = first + ENTRY * vector as u64;
        let stack = if ON_FAULT_STACK.contains(&vector) { FAULT_STACK } else { 0 };
        // Present, an interrupt gate: interrupts are off while it runs.
        let low = handler & 0xffff | 8 << 16 | stack << 32 | 0x8e << 40 | (handler >> 16 & 0xffff) << 48;
        // SAFETY: 256 gates of two words are the table; the caller's promise.
        unsafe { (&raw mut idt_table).cast::<[u64; 2]>().add(vector).write([low, handler >> 32]) };
    }
}

/// An address as the `x86_64` crate takes it, which knows those of four levels.
pub(super) fn virt(at: u64) -> x86_64::VirtAddr {
    // SAFETY: callers' addresses are mapped, so the processor takes them; nothing of the crate's is done with the value but to write it to
    // memory or to a register.
    unsafe { x86_64::VirtAddr::new_unsafe(at) }
}

/// Gives this processor the `n`th descriptor tables. False if it has none, or has them already.
///
/// # Safety
/// Nothing else uses that stack for faults, and the table of interrupts is filled.
pub(super) unsafe fn set_up(n: usize, fault_stack_top: VirtAddr) -> bool {
    let Some(own) = OWN.get(n).and_then(Take::take) else { return false };
    let Own { gdt, tss } = own;
    tss.interrupt_stack_table[FAULT_STACK as usize - 1] = virt(fault_stack_top.get());
    let tss: &'static TaskStateSegment = tss;
    // The image's code expects the order of `entry.s`: code is 8, data 16.
    let code = gdt.append(Descriptor::kernel_code_segment());
    let data = gdt.append(Descriptor::kernel_data_segment());
    let task = gdt.append(Descriptor::tss_segment(tss));
    let gdt: &'static GlobalDescriptorTable = gdt;
    gdt.load();
    // SAFETY: the table that has just been loaded has these entries, which live for good.
    unsafe {
        CS::set_reg(code);
        SS::set_reg(data);
        DS::set_reg(data);
        ES::set_reg(data);
        load_tss(task);
    }
    load_idt(VirtAddr::new(&raw const idt_table as u64));
    protect();
    true
}

/// Has the processor read the table of interrupts at an address.
pub(super) fn load_idt(at: VirtAddr) {
    let pointer = DescriptorTablePointer { limit: 0xfff, base: virt(at.get()) };
    // SAFETY: callers name the table's addresses, in the image or in the entry areas; it is filled.
    unsafe { lidt(&pointer) };
}

/// Switches on what the processor has against executing what is not text.
fn protect() {
    let has = |bit: u32| leaf(7).is_some_and(|l| l.ebx >> bit & 1 != 0);
    let mut cr4 = Cr4::read() | Cr4Flags::PAGE_GLOBAL;
    cr4.set(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, has(7));
    let umip = leaf(7).is_some_and(|l| l.ecx >> 2 & 1 != 0);
    cr4.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, umip);
    // SAFETY: no page that user code may reach is executed by the kernel, and there is no user code.
    unsafe { Cr4::write(cr4) };
}

/// Whether pages can be kept from being executed.
pub(super) fn has_no_execute() -> bool {
    Efer::read().contains(EferFlags::NO_EXECUTE_ENABLE)
}

/// A leaf of CPUID, if the processor has it.
fn leaf(n: u32) -> Option<core::arch::x86_64::CpuidResult> {
    (n <= __cpuid(n & 0x8000_0000).eax).then(|| __cpuid_count(n, 0))
}

/// Ticks of the processor's counter.
pub(super) fn time_stamp() -> u64 {
    // SAFETY: every processor with long mode has the counter.
    unsafe { _rdtsc() }
}

/// This processor's number among all: its local APIC's.
pub(crate) fn hardware_id() -> u64 {
    apic_id().into()
}

/// Waits for good: nothing interrupts.
pub(crate) fn park() {
    interrupts::disable();
    hlt();
}

/// The processor's local APIC.
pub(super) fn apic_id() -> u32 {
    __cpuid(1).ebx >> 24
}

/// What a boot is told of the processors: `possible` of them.
pub(super) fn describe(possible: u32) -> Cpus {
    let vendor = __cpuid(0);
    let is = |name: &[u8; 12]| {
        let words = [vendor.ebx, vendor.edx, vendor.ecx];
        words.iter().zip(name.chunks(4)).all(|(word, four)| word.to_le_bytes() == *four)
    };
    // Which processors do not have Meltdown is known by their maker, or they say so (IA32_ARCH_CAPABILITIES).
    let spared = is(b"AuthenticAMD") || is(b"HygonGenuine") || {
        let tells = leaf(7).is_some_and(|l| l.edx >> 29 & 1 != 0);
        // SAFETY: CPUID says that there is such a register.
        tells && unsafe { Msr::new(0x10a).read() } & 1 != 0
    };
    // SAFETY: every processor with long mode has IA32_APIC_BASE.
    let apic_base = unsafe { Msr::new(0x1b).read() };
    Cpus {
        possible,
        cache_line: 64,
        gbpages: leaf(0x8000_0001).is_some_and(|l| l.edx >> 26 & 1 != 0),
        debug_store: is(b"GenuineIntel"),
        meltdown: !spared,
        x2apic: apic_base >> 10 & 1 != 0,
        la57: image::five_levels(),
        phys_bits: leaf(0x8000_0008).map_or(36, |l| l.eax as u8),
        ..Cpus::default()
    }
}

/// The top of the boot processor's stack for faults.
pub(super) fn boot_fault_stack() -> VirtAddr {
    VirtAddr::new(image::START_KERNEL_MAP.wrapping_add(image::fault_stack_top().get()))
}
