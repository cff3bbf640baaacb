// arm: from the boot loader's jump to Rust.
//
//   r8   PHYS_OFFSET
//   r9   what physical addresses are ahead of linked ones
//   r10  the device tree's physical address

.arch_extension virt

// Goes on in SVC mode, from HYP if that is where the loader was, with interrupts masked. Uses r0, r1.
.macro to_svc
    mrs r0, cpsr
    and r1, r0, #0x1f
    cmp r1, #0x1a
    bne 99f
    bic r0, r0, #0x1f
    orr r0, r0, #0xd3
    msr spsr_cxsf, r0
    adr r1, 99f
    msr elr_hyp, r1
    eret
99: cpsid aif, #0x13
.endm

// The stacks of a processor's modes: SVC's, aborts', interrupts', of undefined instructions and fast interrupts. And the vectors, no data of
// its own yet, and an empty first frame for backtraces. Uses r0.
.macro modes own, aborts, interrupts, undefined
    cps #0x17
    mov sp, \aborts
    cps #0x12
    mov sp, \interrupts
    cps #0x1b
    mov sp, \undefined
    cps #0x11
    mov sp, \undefined
    cps #0x13
    mov sp, \own
    ldr r0, =vectors
    mcr p15, 0, r0, c12, c0, 0  // VBAR
    mov r0, #0
    mcr p15, 0, r0, c13, c0, 4  // TPIDRPRW
    isb
    mov r11, #0
    mov lr, #0
.endm

.section .head.text, "ax"
.globl _head
_head:
    mrrc p15, 1, r4, r5, c14    // the counter at the first instructions
    mov r10, r2
    to_svc
    adr r8, _head
    ldr r0, =_text
    sub r9, r8, r0
    ldr r0, ={PAGE_OFFSET}
    add r8, r0, r9
    ldr r0, =entry_ticks
    add r0, r0, r9
    stm r0, {{r4, r5}}

    // Nothing of bss comes with the file.
    ldr r0, =__bss_start
    add r0, r0, r9
    ldr r1, =_end
    add r1, r1, r9
    mov r2, #0
    mov r3, #0
1:  stm r0!, {{r2, r3}}
    cmp r0, r1
    blo 1b

    // The first tables: low memory where it will stay, and the code here and at the beginning of text one to one.
    ldr r4, =early_pg_dir
    add r4, r4, r9
    ldr r1, ={SECTION}
    orr r1, r1, r8
    mov r6, r1
    ldr r3, ={SECTIONS}
.if {LPAE}
    mov r0, r4
    add r5, r4, #0x1000
    orr r7, r5, #3
    mov r12, #4
2:  stm r0!, {{r7}}
    stm r0!, {{r2}}
    add r7, r7, #0x1000
    subs r12, r12, #1
    bne 2b
    ldr r0, =({PAGE_OFFSET} >> 21) * 8
    add r0, r0, r5
3:  stm r0!, {{r1, r2}}
    add r1, r1, #0x200000
    subs r3, r3, #1
    bne 3b
    lsr r0, r8, #21
    add r0, r5, r0, lsl #3
    add r7, r6, #0x200000
    stm r0!, {{r6}}
    stm r0!, {{r2}}
    stm r0!, {{r7}}
    str r2, [r0]
.else
    ldr r0, =({PAGE_OFFSET} >> 20) * 4
    add r0, r0, r4
3:  str r1, [r0], #4
    add r1, r1, #0x100000
    subs r3, r3, #1
    bne 3b
    lsr r0, r8, #20
    add r0, r4, r0, lsl #2
    add r7, r6, #0x100000
    stm r0, {{r6, r7}}
.endif

    ldr r0, ={TTBR_FLAGS}
    orr r4, r4, r0
    ldr r7, =switched
    b enable_mmu
.ltorg

// In text from here on, at its beginning: the head's memory is free once the page allocator serves, and other processors come later.
.section .text.entry, "ax"

// Turns the MMU on with TTBR0 = r4 and jumps to r7. Uses r0, r1, r5.
enable_mmu:
    mov r0, #0
    mcr p15, 0, r0, c8, c7, 0   // TLBIALL
    mcr p15, 0, r0, c7, c5, 0   // ICIALLU
    mcr p15, 0, r0, c7, c5, 6   // BPIALL
    dsb
    isb
    ldr r0, ={TTBCR}
    mcr p15, 0, r0, c2, c0, 2
    isb
    mov r5, #0
.if {LPAE}
    mcrr p15, 0, r4, r5, c2
.else
    mcr p15, 0, r4, c2, c0, 0
.endif
    mov r0, #0x55               // domains 0 to 3: what the entries say
    mcr p15, 0, r0, c3, c0, 0
    ldr r0, ={PRRR}
    mcr p15, 0, r0, c10, c2, 0
    ldr r0, ={NMRR}
    mcr p15, 0, r0, c10, c2, 1
    isb
    mrc p15, 0, r0, c1, c0, 0
    ldr r1, ={SCTLR_CLEAR}
    bic r0, r0, r1
    ldr r1, ={SCTLR_SET}
    orr r0, r0, r1
    mcr p15, 0, r0, c1, c0, 0
    isb
    bx r7

// A processor that PSCI has started: r0 is the physical address of its record (see smp.rs), of words of 64 bits: the first
// tables, the kernel's, where to go on, the stack's top, that of the exceptions' stacks, the argument.
.globl secondary_entry
secondary_entry:
    mov r10, r0
    to_svc
    ldr r4, [r10]
    ldrd r8, r9, [r10, #8]
    ldr r7, [r10, #16]
    ldr r6, [r10, #24]
    ldr r11, [r10, #32]
    ldr r10, [r10, #40]
    b enable_mmu
.ltorg

switched:
    // Linked addresses from here on.
    ldr r1, =init_stack_top
    ldr r2, =abort_stack_top
    ldr r3, =interrupt_stack_top
    ldr r4, =undefined_stack_top
    modes r1, r2, r3, r4
    mov r0, r8
    mov r1, r10
    bl {main}
    b .

// Where a secondary processor is in the kernel's addresses for the first time: no code is mapped one to one in the kernel's
// tables, which its stacks are in.
.globl secondary_switched
secondary_switched:
    dsb
.if {LPAE}
    mcrr p15, 0, r8, r9, c2
.else
    mcr p15, 0, r8, c2, c0, 0
.endif
    isb
    mov r0, #0
    mcr p15, 0, r0, c8, c7, 0   // TLBIALL
    mcr p15, 0, r0, c7, c5, 6   // BPIALL
    dsb
    isb
    // Of the 64 KiB of the exceptions' stack.
    mov r1, r6
    mov r2, r11
    sub r3, r2, #0x5000
    sub r4, r3, #0x6000
    modes r1, r2, r3, r4
    mov r0, r10
    bl {secondary_main}
    b .
.ltorg

// Goes on with r0(r1) on the stack whose top is r2; does not return.
.globl on_stack
on_stack:
    mov r11, #0
    mov lr, #0
    mov sp, r2
    mov r3, r0
    mov r0, r1
    blx r3
    b .

// Reads a byte at r0 (r1 = 0), writes there what is there (1), or calls it (2). Returns 0, or a status if that faulted: the handler then goes
// on at probe_fault, with the status in r0.
.globl probe
probe:
    push {{r11, lr}}
    mov r11, sp
    cmp r1, #1
    blo probe_read
    beq probe_write_old
    blx r0
.globl probe_called
probe_called:
    b 1f
.globl probe_read
probe_read:
    ldrb r2, [r0]
    b 1f
.globl probe_write_old
probe_write_old:
    ldrb r2, [r0]
.globl probe_write
probe_write:
    strb r2, [r0]
1:  mov r0, #0
.globl probe_fault
probe_fault:
    pop {{r11, pc}}

// Semihosting: operation r0 with parameter r1. Where nobody listens it is a system call, which comes back.
.globl semihosting
semihosting:
    push {{r11, lr}}
    svc #0x123456
    pop {{r11, pc}}

// Code that returns at once, where code is, and where it is not.
.globl ret_in_text
ret_in_text:
    bx lr
.section .rodata.ret, "a"
.balign 8
.globl ret_in_rodata
ret_in_rodata:
    .word 0xe12fff1e
.section .data.ret, "aw"
.balign 8
.globl ret_in_data
ret_in_data:
    .word 0xe12fff1e
.section .data.entry, "aw"
.balign 8
.globl entry_ticks
entry_ticks:
    .quad 0
.section .text.entry, "ax"

// What the compiler calls to fill memory, by the names of Arm's ABI (r0: where, r1: how many, r2: the byte) and by the C library's (r1 and
// r2 the other way round): page metadata, stacks and tables are zeroed 64 bytes at a time.
.globl __aeabi_memclr, __aeabi_memclr4, __aeabi_memclr8
__aeabi_memclr:
__aeabi_memclr4:
__aeabi_memclr8:
    mov r2, #0
.globl __aeabi_memset, __aeabi_memset4, __aeabi_memset8
__aeabi_memset:
__aeabi_memset4:
__aeabi_memset8:
    mov r3, r1
    mov r1, r2
    mov r2, r3
.globl memset
memset:
    push {{r0, r4, r5, lr}}
    and r1, r1, #0xff
    orr r1, r1, r1, lsl #8
    orr r1, r1, r1, lsl #16
1:  cmp r2, #0                  // bytes up to a word
    beq 7f
    tst r0, #3
    beq 2f
    strb r1, [r0], #1
    sub r2, r2, #1
    b 1b
2:  mov r3, r1
    mov r4, r1
    mov r5, r1
3:  cmp r2, #64
    blo 4f
    stm r0!, {{r1, r3, r4, r5}}
    stm r0!, {{r1, r3, r4, r5}}
    stm r0!, {{r1, r3, r4, r5}}
    stm r0!, {{r1, r3, r4, r5}}
    sub r2, r2, #64
    b 3b
4:  cmp r2, #4
    blo 6f
    str r1, [r0], #4
    sub r2, r2, #4
    b 4b
6:  cmp r2, #0
    beq 7f
    strb r1, [r0], #1
    sub r2, r2, #1
    b 6b
7:  pop {{r0, r4, r5, pc}}

// What the compiler calls to copy whole words (r0: to, r1: from, r2: how many bytes), 32 bytes at a time where its own takes five instructions for four: so the addresses of
// objects go between processors' rows and nodes' barns. It begins below, so what is copied may also overlap what lies before it.
.globl __aeabi_memcpy4, __aeabi_memcpy8
__aeabi_memcpy4:
__aeabi_memcpy8:
    subs r2, r2, #32
    blo 2f
    push {{r4, r5, r6, r7, r8, lr}}
1:  ldm r1!, {{r3, r4, r5, r6, r7, r8, r12, lr}}
    stm r0!, {{r3, r4, r5, r6, r7, r8, r12, lr}}
    subs r2, r2, #32
    bhs 1b
    pop {{r4, r5, r6, r7, r8, lr}}
2:  adds r2, r2, #28            // words
    blo 4f
3:  ldr r3, [r1], #4
    str r3, [r0], #4
    subs r2, r2, #4
    bhs 3b
4:  adds r2, r2, #4             // bytes
    bxeq lr
5:  ldrb r3, [r1], #1
    strb r3, [r0], #1
    subs r2, r2, #1
    bne 5b
    bx lr

// The same where both may overlap.
.globl __aeabi_memmove4, __aeabi_memmove8
__aeabi_memmove4:
__aeabi_memmove8:
    sub r3, r0, r1              // huge for what moves down
    cmp r3, r2
    bhs __aeabi_memcpy4
    add r0, r0, r2
    add r1, r1, r2
1:  tst r2, #3                  // bytes behind the last word
    beq 2f
    ldrb r3, [r1, #-1]!
    strb r3, [r0, #-1]!
    sub r2, r2, #1
    b 1b
2:  subs r2, r2, #4
    bxlo lr
    ldr r3, [r1, #-4]!
    str r3, [r0, #-4]!
    b 2b

// What the exception's mode has as link register, less `back`, is where it was.
.macro vector kind, back
    sub lr, lr, #\back
    sub sp, sp, #80
    stm sp, {{r0-r12}}
    mov r0, #\kind
    b trap_entry
.endm

.balign 32
vectors:
    b .
    b 1f
    movs pc, lr                 // a system call: semihosting, where nobody listens
    b 3f
    b 4f
    b .
    b 6f
    b 7f
1:  vector 1, 4
3:  vector 3, 4
4:  vector 4, 8
6:  vector 6, 4
7:  vector 7, 4

trap_entry:
    mrs r2, spsr
    str lr, [sp, #60]
    str r2, [sp, #64]
    mrs r2, cpsr
    cps #0x13
    mov r3, sp
    mov r4, lr
    msr cpsr_c, r2
    str r3, [sp, #52]
    str r4, [sp, #56]
    cmp r0, #3
    mrceq p15, 0, r3, c5, c0, 1 // IFSR, IFAR
    mrceq p15, 0, r4, c6, c0, 2
    mrcne p15, 0, r3, c5, c0, 0 // DFSR, DFAR
    mrcne p15, 0, r4, c6, c0, 0
    str r3, [sp, #68]
    str r4, [sp, #72]
    mov r1, sp
    mov r11, #0
    bl {trap}
    ldr r0, [sp, #64]
    msr spsr_cxsf, r0
    ldr lr, [sp, #60]
    clrex                       // what was reserved before is not any more
    ldm sp, {{r0-r12}}
    add sp, sp, #80
    movs pc, lr
