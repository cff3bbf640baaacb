// x86_64: from QEMU's jump to Rust, and what only instructions can do.

// The note by which a loader knows that the image starts by Xen's PVH, and where (XEN_ELFNOTE_PHYS32_ENTRY).
.section .note.Xen, "a", @note
    .balign 4
    .long 4, 8, 18
    .asciz "Xen"
    .quad pvh_entry_phys

.set KERNEL, 0xffffffff80000000
.set pvh_entry_phys, pvh_entry - KERNEL
.globl pvh_entry_phys

// The data segments of code at its linked address.
.macro data_segments
    mov eax, 16
    mov ss, eax
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
.endm

// The first bytes of the image, which every machine has that runs any of it.
.section .text.head, "ax"
.code32
// 32-bit code without paging, at the physical address; ebx is that of the start information.
pvh_entry:
    cli
    cld
    mov esi, ebx
    rdtsc
    mov [entry_ticks - KERNEL], eax
    mov [entry_ticks - KERNEL + 4], edx

    // Stacks, tables and bss have to be RAM, which a loader does not say, and does not see to: what lies outside is lost without a
    // word. The memory map's entry with the image's first byte reaches as far as ebp. What is no such map is refused later, in words.
    cmp dword ptr [ebx + 4], 0  // version 0 has no map
    je begin
    mov edi, [ebx + 40]
    mov ecx, [ebx + 48]
    mov edx, offset _text - KERNEL
0:  test ecx, ecx
    jz begin
    cmp dword ptr [edi + 16], 1
    jne 1f
    cmp dword ptr [edi + 4], 0
    jne 1f
    mov ebp, [edi]
    cmp ebp, edx
    ja 1f
    add ebp, [edi + 8]
    jc begin
    cmp dword ptr [edi + 12], 0
    jne begin
    cmp ebp, edx
    ja 2f
1:  add edi, 24
    dec ecx
    jmp 0b
2:  mov ebx, offset __brk_limit - KERNEL
    sub ebx, ebp
    ja too_little
begin:
    mov eax, offset init_entry - KERNEL
    jmp eax

// Prints the byte in al at the first serial port. Uses ah, ecx, edx.
.macro put
    mov ah, al
    mov ecx, 100000
    mov edx, 0x3fd
98: in al, dx
    test al, 0x20
    loopz 98b
    mov al, ah
    mov edx, 0x3f8
    out dx, al
.endm

// Says that ebx bytes are missing, and ends with 3. There is no stack.
too_little:
    mov esi, offset missing - KERNEL
0:  lodsb
    test al, al
    jz 4f
    cmp al, 1
    je 1f
    put
    jmp 0b
1:  mov edi, offset powers - KERNEL
    xor ebp, ebp
2:  mov ecx, [edi]
    test ecx, ecx
    jz 0b
    mov eax, ebx
    xor edx, edx
    div ecx
    mov ebx, edx
    or ebp, eax
    jz 3f                       // no zeroes in front
    add al, 48
    put
3:  add edi, 4
    jmp 2b
4:  mov eax, {TOO_LITTLE}
    mov edx, {EXIT_PORT}
    out dx, eax
5:  hlt
    jmp 5b
missing:
    .ascii "pagewright: too little memory: the image is "
    .byte 1
    .asciz " bytes short\r\npagewright: end: the boot stopped (3)\r\n"
.balign 4
powers:
    .long 1000000000, 100000000, 10000000, 1000000, 100000, 10000, 1000, 100, 10, 1, 0

.section .init.text, "ax"
init_entry:
    // Nothing of bss comes with the file.
    mov edi, offset __bss_start - KERNEL
    mov ecx, offset _end - KERNEL
    sub ecx, edi
    shr ecx, 2
    xor eax, eax
    rep stosd

    // The first 4 GiB one to one, where the direct map will be, and the first of them where the image is linked.
    mov edi, offset head_tables - KERNEL
    lea eax, [edi + 0x1000 + 3]
    mov [edi], eax
    mov [edi + {PAGE_OFFSET_INDEX} * 8], eax
    lea eax, [edi + 0x6000 + 3]
    mov [edi + 511 * 8], eax
    lea eax, [edi + 0x2000 + 3]
    mov [edi + 0x6000 + 510 * 8], eax
    mov [edi + 0x1000], eax
    add eax, 0x1000
    mov [edi + 0x1000 + 8], eax
    add eax, 0x1000
    mov [edi + 0x1000 + 16], eax
    add eax, 0x1000
    mov [edi + 0x1000 + 24], eax
    lea edx, [edi + 0x2000]
    mov eax, 0x83
    mov ecx, 2048
0:  mov [edx], eax
    add eax, 0x200000
    add edx, 8
    dec ecx
    jnz 0b

    // A fifth level where the processor has one and the command line does not forbid it (`no5lvl`): one table more on top, which
    // has the others for the lowest addresses, for those of the direct map and for the highest.
    mov ebp, 1 << 5 | 1 << 7    // PAE, PGE
    xor eax, eax
    cpuid
    cmp eax, 7
    jb 5f
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ecx, 16
    jnc 5f
    mov edx, [esi + 24]
    test edx, edx
    jz 4f
    cmp dword ptr [esi + 28], 0
    jne 4f
    // edx is at a word's first letter.
2:  cmp dword ptr [edx], 0x6c356f6e
    jne 3f
    cmp word ptr [edx + 4], 0x6c76
    jne 3f
    cmp byte ptr [edx + 6], 32
    jbe 5f
3:  mov al, [edx]
    inc edx
    test al, al
    jz 4f
    cmp al, 32
    ja 3b
    jmp 2b
4:  lea eax, [edi + 3]
    add edi, 0x7000
    mov [edi], eax
    mov [edi + {PAGE_OFFSET_INDEX} * 8], eax
    mov [edi + 511 * 8], eax
    or ebp, 1 << 12             // LA57
5:  mov eax, cr4
    or eax, ebp
    mov cr4, eax
    mov cr3, edi
    // No-execute where there is such a bit: without it every page table of the kernel would be refused.
    mov eax, 0x80000001
    cpuid
    mov edi, edx
    mov ecx, 0xc0000080
    rdmsr
    or eax, 1 << 8              // LME
    bt edi, 20
    jnc 1f
    or eax, 1 << 11             // NXE
1:  wrmsr
    mov eax, 0x80010033         // PG, WP, NE, ET, MP, PE
    mov cr0, eax
    lgdt [head_gdt_pointer - KERNEL]
    // Far jumps in 32-bit code have their own syntax in every assembler: the bytes are the same everywhere.
    .byte 0xea
    .long head_64 - KERNEL
    .word 8

.code64
head_64:
    movabs rax, offset head_linked
    jmp rax

.balign 8
head_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
head_gdt_pointer:
    .word 23
    .long head_gdt - KERNEL

.section .text.entry, "ax"
// At the linked address.
head_linked:
    data_segments
    mov rsp, offset init_stack_top
    xor ebp, ebp
    mov edi, esi
    call {main}
    ud2

// Where a processor that was started is at the linked address for the first time, on tables that the trampoline loaded.
secondary_linked:
    data_segments
    mov rsp, [{record} + 8]
    xor ebp, ebp
    call {secondary}
    ud2

// Goes on with rdi(rsi) on the stack whose top is rdx; does not return.
.globl on_stack
on_stack:
    xor ebp, ebp
    mov rsp, rdx
    mov rax, rdi
    mov rdi, rsi
    call rax
    ud2

// Reads a byte at rdi (rsi = 0), writes the byte that is there (1), or calls it (2). Returns 0, or 1 if that faulted: the handler then goes on at
// probe_fault.
.globl probe
probe:
    push rbp
    mov rbp, rsp
    cmp esi, 1
    jb probe_read
    je probe_write
    call rdi
.globl probe_called
probe_called:
    jmp 1f
.globl probe_read
probe_read:
    mov al, [rdi]
    jmp 1f
.globl probe_write
probe_write:
    lock or byte ptr [rdi], 0
1:  xor eax, eax
    pop rbp
    ret
.globl probe_fault
probe_fault:
    mov eax, 1
    pop rbp
    ret

// Whether rdi and rsi are two addresses of the same word: a bit that no page-table entry uses is changed at the one and looked for at
// the other, then changed back. Touches nothing else in between. Returns 1 or 0.
.globl same_word
same_word:
    mov rax, 1 << 55
    mov rcx, [rdi]
    mov rdx, [rsi]
    lock xor [rdi], rax
    mov rdx, [rsi]
    lock xor [rdi], rax
    xor rdx, rcx
    cmp rdx, rax
    sete al
    movzx eax, al
    ret

// Code that returns, where it may run and where it must not.
.globl ret_in_text
ret_in_text:
    ret

.section .rodata.ret, "a"
.globl ret_in_rodata
ret_in_rodata:
    ret

.section .data.ret, "aw"
.globl ret_in_data
ret_in_data:
    ret

.section .data.entry, "aw"
.balign 8
.globl entry_ticks
entry_ticks:
    .quad 0

.section .text.vectors, "ax"
// One entry for each vector, 16 bytes apart: the vector's number, above an error code that the processor has pushed for some.
.balign 16
.globl vectors
vectors:
    .set vector, 0
    .rept 256
    .balign 16
    .if vector == 8 || vector == 17 || vector == 21 || vector == 29 || vector == 30 || (vector >= 10 && vector <= 14)
    .else
    push 0
    .endif
    push vector
    jmp trap_entry
    .set vector, vector + 1
    .endr

trap_entry:
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp
    call {trap}
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    add rsp, 16
    iretq

.section .rodata.trampoline, "a"
// Copied to a page of the first megabyte, where a processor begins in 16-bit mode with that page in cs. Its map has the
// first 4 GiB one to one and the kernel's half.
.balign 16
.globl trampoline, trampoline_cr3, trampoline_cr4, trampoline_gdt, trampoline_gdt_base, trampoline_long, trampoline_long_at, trampoline_end
.code16
trampoline:
    cli
    cld
    mov ax, cs
    mov ds, ax
    mov eax, cr4
    // or eax, [trampoline_cr4]
    .byte 0x66, 0x0b, 0x06
    .word trampoline_cr4 - trampoline
    mov cr4, eax
    // mov eax, [trampoline_cr3]
    .byte 0x66, 0xa1
    .word trampoline_cr3 - trampoline
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x900               // LME, NXE: the first processor has it
    wrmsr
    // lgdt with a base of 32 bits.
    .byte 0x66, 0x0f, 0x01, 0x16
    .word trampoline_gdt_pointer - trampoline
    mov eax, 0x80010033         // PG, WP, NE, ET, MP, PE: long mode at once
    mov cr0, eax
    .byte 0x66, 0xea
trampoline_long_at:
    .long 0
    .word 8
.code64
trampoline_long:
    movabs rax, offset secondary_linked
    jmp rax
.balign 8
trampoline_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
trampoline_gdt_pointer:
    .word 23
trampoline_gdt_base:
    .long 0
trampoline_cr3:
    .long 0
trampoline_cr4:
    .long 0
trampoline_end:
