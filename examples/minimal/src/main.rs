//! The least kernel with a page allocator in it, for arm64 (QEMU's `virt`): `docs/embedding.md` goes through it part by part.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use core::fmt::{self, Write};
use pagewright::addr::{Order, PhysAddr, PhysRange};
use pagewright::firmware::config::{Flavour, KernelConfig};
use pagewright::firmware::devicetree::DeviceTree;
use pagewright::firmware::{Firmware, KernelImage, Machine};
use pagewright::platform::{DirectMap, Take};
use pagewright::{Boot, Stopped, Tables, Workspace, start_allocator, workspace_words};
use pagewright_view::log::{LogOptions, LogSink};
use pagewright_view::{State, Views};

/// The kernel that this is: page size, zones, limits of all kinds.
const CONFIG: KernelConfig = KernelConfig::debian(Flavour::Arm64);

// What the boot borrows before there is memory to take.
static ROOM: Take<[u64; workspace_words(&CONFIG)]> = Take::new([0; workspace_words(&CONFIG)]);
static TABLES: Take<Tables> = Take::new(Tables::new());

/// Every gigabyte up to 512 where it is: the first holds devices, the others are memory that is cached and shared. `image.ld` aligns it.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.identity")]
static IDENTITY: [u64; 512] = {
    let mut table = [0; 512];
    let mut n = 0;
    while n < 512 {
        table[n] = (n as u64) << 30 | if n == 0 { 0x405 } else { 0x701 };
        n += 1;
    }
    table
};

// The header of an arm64 `Image`; then MMU and caches on, bss cleared, a stack, and on with the device tree's address in x0.
global_asm!(
    ".section .head, \"ax\"; .global _start",
    "_start: b 1f; .word 0; .quad 0, _end - _start, 0xa, 0, 0, 0; .ascii \"ARM\\x64\"; .word 0",
    "1: adrp x1, IDENTITY; msr ttbr0_el1, x1",
    "mov x1, #0xff; msr mair_el1, x1",        // Type 0 is cached memory, type 1 a device.
    "ldr x1, =0x200803519; msr tcr_el1, x1; isb", // 39 bits from TTBR0, 4 KiB pages, cached walks, nothing from TTBR1.
    "mrs x1, sctlr_el1; mov x2, #0x1005; orr x1, x1, x2; msr sctlr_el1, x1; isb",
    "adrp x1, _bss; add x1, x1, :lo12:_bss; adrp x2, _end; mov sp, x2",
    "2: str xzr, [x1], #8; cmp x1, x2; b.lo 2b",
    "bl {main}",
    main = sym main,
);

unsafe extern "C" {
    static _text: u8;
    static _data: u8;
    static _end: u8;
}

/// The UART of QEMU's `virt`.
struct Uart;

impl Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: the data register of a PL011 that the first gigabyte's entry maps as a device.
            unsafe { core::ptr::with_exposed_provenance_mut::<u32>(0x900_0000).write_volatile(byte.into()) };
        }
        Ok(())
    }
}

extern "C" fn main(dtb: u64) -> ! {
    let dtb = PhysAddr::new(dtb);
    // SAFETY: RAM that the boot loader filled, mapped where it is; nobody writes it.
    let blob = unsafe { DirectMap::new([PhysRange::from_len(dtb, 2 << 20)], 0) };
    // SAFETY: the same.
    let tree = DeviceTree::load(|len| unsafe { blob.bytes(dtb, len) }).expect("no device tree");
    // SAFETY: the identity map has all RAM, for good.
    let ram = unsafe { DirectMap::new(tree.memory_banks().map(|bank| bank.range), 0) };
    let at = |symbol: *const u8| PhysAddr::new(symbol as u64);
    let (text, data, end) = (at(&raw const _text), at(&raw const _data), at(&raw const _end));
    let image = KernelImage::plain(PhysRange::new(text, data), PhysRange::new(data, end));
    let machine = Machine::new(CONFIG, image, Firmware::device_tree(tree, dtb));

    let (room, tables) = (ROOM.take().expect("once"), TABLES.take().expect("once"));
    let workspace = Workspace::new(&CONFIG, room, tables).expect("room for all of it");
    let log = LogSink::new(Uart, LogOptions::of(&machine.command_line().parse_for(&CONFIG).0));
    let mut boot = Boot::new(&machine, workspace, &log).expect("no such machine");
    if let Err(e) = boot.run() {
        panic!("{}", Stopped::new(&boot, e));
    }
    // SAFETY: memblock has just given this memory to nobody else.
    let pages = start_allocator(&mut boot, |range| unsafe { ram.carve(range) });
    let mut pages = pages.unwrap_or_else(|e| panic!("{e}"));
    pages.start_cpus(&mut boot);

    let views = Views::parse("memblock/memory,buddyinfo").expect("views that there are");
    views.write(&mut Uart, &State::new(&boot, &pages)).expect("a UART takes all");
    let block = pages.alloc(Order::ZERO).expect("a free page");
    let range = pages.range(&block, CONFIG.page_shift);
    // SAFETY: the block is ours until it is freed.
    let numbers = unsafe { ram.carve(range) }.and_then(|mut memory| memory.slice(512, || 7_u64));
    let sum: u64 = numbers.expect("the direct map has all RAM").iter().sum();
    pages.free(block);
    let _ = writeln!(Uart, "minimal: a page at {:#x} held {sum}", range.start);
    power_off()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(Uart, "minimal: {}", info.message());
    power_off()
}

/// PSCI's SYSTEM_OFF.
fn power_off() -> ! {
    // SAFETY: a call of the firmware that does not return.
    unsafe { asm!("hvc #0", in("x0") 0x8400_0008_u64, options(noreturn)) }
}
