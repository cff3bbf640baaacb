// arm64: from the boot loader's jump to Rust.
//
// x19 to x28 keep what outlives calls:
//   x20  the counter at the first instructions, until it is noted
//   x21  the device tree's physical address
//   x22  what the image's addresses are ahead of its link addresses while the MMU is off (physical - linked)
//   x23  TTBR0
//   x24  TTBR1
//   x25  what the head left, at its linked address

// The stack of exceptions, the stack of everything else, and the vectors; the first frame of a backtrace is empty.
.macro stacks exceptions, own
    msr spsel, #1
    mov sp, \exceptions
    msr spsel, #0
    mov sp, \own
    adrp x0, vectors
    add x0, x0, :lo12:vectors
    msr vbar_el1, x0
    isb
    mov x29, xzr
    mov x30, xzr
.endm

// The same with the stacks of the image, at the addresses where the code runs.
.macro first_stacks
    adrp x0, exception_stack_top
    adrp x1, init_stack_top
    stacks x0, x1
.endm

// Saves or restores x2 to x29 in a frame.
.macro frame_pairs op
    \op x2, x3, [sp, #16]
    \op x4, x5, [sp, #32]
    \op x6, x7, [sp, #48]
    \op x8, x9, [sp, #64]
    \op x10, x11, [sp, #80]
    \op x12, x13, [sp, #96]
    \op x14, x15, [sp, #112]
    \op x16, x17, [sp, #128]
    \op x18, x19, [sp, #144]
    \op x20, x21, [sp, #160]
    \op x22, x23, [sp, #176]
    \op x24, x25, [sp, #192]
    \op x26, x27, [sp, #208]
    \op x28, x29, [sp, #224]
.endm

.section .head.text, "ax"
    b primary_entry
    .long 0
    .quad 0                     // text_offset
    .quad _kernel_size          // image_size, bss included
    .quad 0b1010                // little-endian, 4 KiB pages, anywhere in memory
    .quad 0, 0, 0
    .ascii "ARM\x64"
    .long 0

.section .init.text, "ax"
primary_entry:
    mrs x20, cntvct_el0
    mov x21, x0
    bl enter_el1
    adrp x0, entry_ticks
    str x20, [x0, :lo12:entry_ticks]

    // Nothing of bss comes with the file; the file is followed by whatever was in memory.
    adrp x0, __bss_start
    adrp x1, _end
    add x1, x1, :lo12:_end
0:  stp xzr, xzr, [x0]          // both ends are those of pages
    stp xzr, xzr, [x0, #16]
    stp xzr, xzr, [x0, #32]
    stp xzr, xzr, [x0, #48]
    add x0, x0, #64
    cmp x0, x1
    b.lo 0b

    adrp x0, _text
    ldr x1, ={KIMAGE_VADDR}
    sub x22, x0, x1
    mov x0, x22
    bl relocate

    first_stacks

    // Tables for both halves, filled by the library while addresses are physical.
    adrp x0, _text
    mov x1, x21
    bl {head}
    cbz x0, 9f
    ldp x23, x24, [x0]
    sub x25, x0, x22            // its linked address

    // Lines that were fetched before the MMU is on know nothing of what was written past the caches.
    adrp x0, _text
    adrp x1, _end
    bl invalidate_data

    mov x0, x23
    mov x1, x24
    adr x2, primary_switched
    sub x2, x2, x22
    b enable_mmu

    // The head has no console yet.
9:  mov x0, #1
    bl {exit_early}
    b .

primary_switched:
    // Linked addresses from here on.
    neg x0, x22
    bl relocate
    first_stacks
    msr tpidr_el1, xzr
    ldr x0, ={KIMAGE_VADDR}
    add x0, x0, x22
    mov x1, x21
    mov x2, x25
    bl {main}
    b .

// Adds x0 to every address in the image's data (RELR: a word with an address, then words with 63 bits each).
relocate:
    adrp x1, __relr_start
    add x1, x1, :lo12:__relr_start
    adrp x2, __relr_end
    add x2, x2, :lo12:__relr_end
    adrp x5, _text
    ldr x6, ={KIMAGE_VADDR}
    sub x5, x5, x6              // where the words are, from their linked addresses
0:  cmp x1, x2
    b.hs 5f
    ldr x3, [x1], #8
    tbnz x3, #0, 1f
    add x4, x3, x5
    ldr x6, [x4]
    add x6, x6, x0
    str x6, [x4], #8
    b 0b
1:  mov x7, x4
2:  lsr x3, x3, #1
    cbz x3, 4f
    tbz x3, #0, 3f
    ldr x6, [x7]
    add x6, x6, x0
    str x6, [x7]
3:  add x7, x7, #8
    b 2b
4:  add x4, x4, #(63 * 8)
    b 0b
5:  ret

// Drops the data cache's lines from x0 up to x1.
invalidate_data:
    mrs x2, ctr_el0
    ubfx x2, x2, #16, #4
    mov x3, #4
    lsl x3, x3, x2
0:  dc ivac, x0
    add x0, x0, x3
    cmp x0, x1
    b.lo 0b
    dsb sy
    ret

.section .idmap.text, "ax"
// Leaves EL2, if that is where the boot loader was, and puts EL1 into a known state with the MMU off.
enter_el1:
    mrs x0, CurrentEL
    cmp x0, #(2 << 2)
    b.ne 0f
    mov x0, #(1 << 31)          // EL1 is 64-bit
    msr hcr_el2, x0
    mov x0, #3                  // EL1 reads the counter and has its timer
    msr cnthctl_el2, x0
    msr cntvoff_el2, xzr
    mrs x0, midr_el1
    msr vpidr_el2, x0
    mrs x0, mpidr_el1
    msr vmpidr_el2, x0
    mov x0, #0x33ff             // no traps of floating point
    msr cptr_el2, x0
    msr hstr_el2, xzr
    msr vttbr_el2, xzr
    mrs x0, id_aa64pfr0_el1
    ubfx x0, x0, #24, #4
    cbz x0, 1f
    mrs x0, s3_4_c12_c9_5       // ICC_SRE_EL2: EL1 has the interrupt controller's registers
    orr x0, x0, #1
    orr x0, x0, #8
    msr s3_4_c12_c9_5, x0
    isb
1:  ldr x0, ={SCTLR_MMU_OFF}
    msr sctlr_el1, x0
    mov x0, #0x3c5              // EL1h, everything masked
    msr spsr_el2, x0
    msr elr_el2, x30
    eret
0:  ldr x0, ={SCTLR_MMU_OFF}
    msr sctlr_el1, x0
    isb
    ret

// Turns the MMU on with TTBR0 = x0 and TTBR1 = x1, and jumps to x2.
.globl enable_mmu
enable_mmu:
    ldr x3, ={MAIR}
    msr mair_el1, x3
    ldr x3, ={TCR}
    mrs x4, id_aa64mmfr0_el1
    ubfx x4, x4, #0, #3         // PARange: TCR.IPS has the same values, up to 48 bits
    cmp x4, #5
    mov x5, #5
    csel x4, x4, x5, lo
    bfi x3, x4, #32, #3
    mrs x4, id_aa64mmfr1_el1
    ubfx x4, x4, #0, #4         // HAFDBS: 1 has the access flag, 2 dirty state too
    cbz x4, 0f
    orr x3, x3, #(1 << 39)
    cmp x4, #2
    b.lo 0f
    orr x3, x3, #(1 << 40)
0:  msr tcr_el1, x3
    msr ttbr0_el1, x0
    msr ttbr1_el1, x1
    isb
    tlbi vmalle1
    dsb nsh
    ic iallu
    dsb nsh
    isb
    ldr x3, ={SCTLR_MMU_ON}
    msr sctlr_el1, x3
    isb
    br x2

// Exchanges TTBR1 for x0 without two kernel halves in the TLB at any time. Called at its physical address, with
// TTBR0 mapping it; x1 is the physical address of an empty table. Nothing of the kernel's half is touched between.
.globl replace_ttbr1
replace_ttbr1:
    msr ttbr1_el1, x1
    isb
    tlbi vmalle1
    dsb nsh
    isb
    msr ttbr1_el1, x0
    isb
    ret

// A processor that PSCI has started: x0 is the physical address of its record (see smp.rs).
.globl secondary_entry
secondary_entry:
    mov x21, x0
    bl enter_el1
    mov x0, x21
    ldp x23, x24, [x0]          // TTBR0, TTBR1
    ldp x25, x26, [x0, #16]     // where to go on, the stack's top
    ldp x27, x28, [x0, #32]     // the exception stack's top, the argument
    mov x0, x23
    mov x1, x24
    mov x2, x25
    b enable_mmu

.section .data.entry, "aw"
.balign 8
.globl entry_ticks
entry_ticks:
    .quad 0

.section .text.entry, "ax"
// Where a secondary processor is in the kernel's half for the first time.
.globl secondary_switched
secondary_switched:
    stacks x27, x26
    msr tpidr_el1, xzr
    mov x0, x28
    bl {secondary_main}
    b .

// Goes on with x0(x1) on the stack whose top is x2; does not return.
.globl on_stack
on_stack:
    mov x29, xzr
    mov x30, xzr
    mov sp, x2
    mov x3, x0
    mov x0, x1
    blr x3
    b .

// Reads a byte at x0 (x1 = 0), writes x2 there (1), or calls it (2). Returns 0, or ESR if that faulted: the handler then goes on at
// probe_fault, with ESR in x0.
.globl probe
probe:
    stp x29, x30, [sp, #-16]!
    mov x29, sp
    cmp x1, #1
    b.lo probe_read
    b.eq probe_write
    b probe_call
.globl probe_read
probe_read:
    ldrb w2, [x0]
    b 1f
.globl probe_write
probe_write:
    strb w2, [x0]
    b 1f
probe_call:
    blr x0
.globl probe_called
probe_called:
1:  mov x0, xzr
.globl probe_fault
probe_fault:
    ldp x29, x30, [sp], #16
    ret

// Semihosting: operation x0 with parameter x1. Where nobody listens the instruction is undefined, and the handler goes on behind it.
.globl semihosting
semihosting:
.globl semihosting_hlt
semihosting_hlt:
    hlt #0xf000
    ret

// The C library's memset, which the compiler calls: page metadata, stacks and tables are zeroed a cache line at a time, which takes
// an eighth of the instructions of its generic one. x0: where, w1: the byte, x2: how many; returns x0. While the MMU is
// off, memory has no lines to zero.
.globl memset
memset:
    mov x3, x0
    and x1, x1, #0xff
    cbnz x1, 2f
    cmp x2, #1024
    b.lo 2f
    mrs x4, sctlr_el1
    tbz x4, #0, 2f
    mrs x4, dczid_el0
    tbnz x4, #4, 2f
    and x4, x4, #0xf
    mov x5, #4
    lsl x5, x5, x4              // bytes that one instruction zeroes
    sub x6, x5, #1
0:  tst x3, x6
    b.eq 1f
    strb wzr, [x3], #1
    sub x2, x2, #1
    b 0b
1:  lsl x6, x5, #2
7:  cmp x2, x6                  // four lines at a time
    b.lo 8f
    dc zva, x3
    add x3, x3, x5
    dc zva, x3
    add x3, x3, x5
    dc zva, x3
    add x3, x3, x5
    dc zva, x3
    add x3, x3, x5
    sub x2, x2, x6
    b 7b
8:  cmp x2, x5
    b.lo 2f
    dc zva, x3
    add x3, x3, x5
    sub x2, x2, x5
    b 8b
2:  mov x4, #0x0101010101010101
    mul x4, x1, x4
3:  cbz x2, 6f                  // bytes up to a word
    tst x3, #7
    b.eq 4f
    strb w4, [x3], #1
    sub x2, x2, #1
    b 3b
4:  cmp x2, #16
    b.lo 5f
    stp x4, x4, [x3], #16
    sub x2, x2, #16
    b 4b
5:  cbz x2, 6f
    strb w4, [x3], #1
    sub x2, x2, #1
    b 5b
6:  ret

// Code that returns at once, where code is, and where it is not.
.globl ret_in_text
ret_in_text:
    ret
.section .rodata.ret, "a"
.balign 8
.globl ret_in_rodata
ret_in_rodata:
    ret
.section .data.ret, "aw"
.balign 8
.globl ret_in_data
ret_in_data:
    ret
.section .text.entry, "ax"

.macro vector kind
    .balign 128
    sub sp, sp, #288
    stp x0, x1, [sp]
    mov x0, #\kind
    b trap_entry
.endm

.balign 2048
vectors:
    .set kind, 0
    .rept 16
    vector kind
    .set kind, kind + 1
    .endr

trap_entry:
    frame_pairs stp
    mrs x1, elr_el1
    stp x30, x1, [sp, #240]
    mrs x1, spsr_el1
    mrs x2, esr_el1
    stp x1, x2, [sp, #256]
    mrs x1, far_el1
    str x1, [sp, #272]
    mov x1, sp
    mov x29, xzr
    bl {trap}
    ldr x1, [sp, #256]
    msr spsr_el1, x1
    ldp x30, x1, [sp, #240]
    msr elr_el1, x1
    frame_pairs ldp
    ldp x0, x1, [sp]
    add sp, sp, #288
    eret
