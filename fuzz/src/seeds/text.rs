//! Seeds that are text: boot logs, command lines, kernel configurations.

pub(super) fn all() -> Vec<(&'static str, &'static str, &'static str)> {
    vec![
        ("dmesg", "e820", E820),
        ("dmesg", "e820-odd", E820_ODD),
        ("dmesg", "efi", EFI),
        ("dmesg", "numa", NUMA),
        ("dmesg", "pc", PC),
        (
            "cmdline",
            "sizes",
            "mem=1G mem=512M@0x40000000 memmap=64M$0x30000000 memmap=1G@4G,2M#16M,4K!1T memmap=exactmap",
        ),
        (
            "cmdline",
            "areas",
            "cma=128M@1G-3G cma=64M@0x10000000 crashkernel=512M-2G:64M,2G-:128M@16M crashkernel=256M,high crashkernel=72M,low",
        ),
        (
            "cmdline",
            "zones",
            "kernelcore=25% movablecore=2G kernelcore=mirror movable_node numa=fake=4 numa=fake=2G numa=fake=2U",
        ),
        (
            "cmdline",
            "pools",
            "default_hugepagesz=1G hugepagesz=2M hugepages=0:16,1:32 hugepagesz=1G hugepages=2 hugetlb_cma=0:1G,2:512M",
        ),
        (
            "cmdline",
            "quotes",
            "dyndbg=\"file a +p\" a=\"b c\" \"quoted name=1\" init_on_alloc=1 foo-bar foo_bar -- mem=1 \"unclosed",
        ),
        (
            "cmdline",
            "rest",
            "vmalloc=256M highmem=512M memtest=4 memblock=debug nokaslr rodata=full log_buf_len=4M percpu_alloc=page swiotlb=65536,force min_free_kbytes=8192",
        ),
        (
            "cmdline",
            "edges",
            "mem=0xffffffffffffffff mem=18446744073709551615E mem=-1 mem= cma=@- crashkernel=:,@ hugepages=99999999999 memmap=%-+",
        ),
        ("kernel_config", "arm64", ARM64),
        ("kernel_config", "arm", ARM),
        ("kernel_config", "odd", ODD),
        ("workload", "steady", STEADY),
        ("workload", "parts", PARTS),
        ("workload", "masks", MASKS),
    ]
}

const E820: &str = "\
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
[    0.000000] BIOS-e820: [mem 0x000000000009fc00-0x000000000009ffff] reserved
BIOS-e820: [mem 0x0000000000100000-0x000000007ffd7fff] usable
<6>[    0.000000] BIOS-e820: [mem 0x000000007ffd8000-0x000000007fffffff] ACPI data
[    0.000000] BIOS-e820: [mem 0x0000000100000000-0x000000017fffffff] persistent (type 7)
[    0.000000] Command line: root=/dev/sda1 crashkernel=128M
[    0.000000] RAMDISK: [mem 0x7f000000-0x7fffffff]
[    0.000000] found SMP MP-table at [mem 0x000f5ba0-0x000f5baf]
";

const E820_ODD: &str = "\
BIOS-e820: [mem 0x0000000000001000-0x0000000000000fff] usable
BIOS-e820: [mem 0x0000000000000000-0xffffffffffffffff] usable
BIOS-e820: [mem 0xfffffffffffff000-0xffffffffffffffff] reserved
BIOS-e820: [mem 0x0000000000000000-0x0000000000000000] type 99
user: [mem 0x0000000000000000-0x000000000009ffff] usable
BIOS-e820: [mem garbage
";

const EFI: &str = "\
[    0.000000] efi: mem00: [Conventional|   |  |  |  |  |  |  |  |  |   |WB|WT|WC|UC] range=[0x0000000000000000-0x0000000000000fff] (0MB)
[    0.000000] efi: mem01: [Boot Data   |RUN|  |XP|  |  |  |MR|  |  |   |WB|WT|WC|UC] range=[0x0000000040000000-0x00000000ffffffff] (3072MB)
efi: mem02: [attr=0x800000000000000f] range=[0x0000000100000000-0x00000000ffffffff] (0MB)
";

const NUMA: &str = "\
[    0.000000] Linux version 6.1.0-50-amd64 (a@b) #1 SMP
[    0.010000] SRAT: PXM 0 -> APIC 0x00 -> Node 0
[    0.010000] ACPI: SRAT: Node 0 PXM 0 [mem 0x00000000-0x0009ffff]
[    0.010000] ACPI: SRAT: Node 1 PXM 1 [mem 0x100000000-0x1ffffffff] hotplug non-volatile
[    0.010000] ACPI: Reserving FACP table memory at [mem 0x7ffe1a2d-0x7ffe1b20]
[    0.020000] smpboot: Allowing 4 CPUs, 0 hotplug CPUs
[    0.030000] Memory: 3997000K/4193764K available (14342K kernel code, 2335K rwdata, 9060K rodata, 2804K init, 17372K bss, 196508K reserved, 0K cma-reserved)
";

const ARM64: &str = "\
CONFIG_ARM64=y
CONFIG_ARM64_4K_PAGES=y
CONFIG_ARM64_VA_BITS_48=y
CONFIG_ARM64_VA_BITS=48
CONFIG_NR_CPUS=256
CONFIG_NODES_SHIFT=4
CONFIG_SPARSEMEM_VMEMMAP=y
CONFIG_CMA_SIZE_MBYTES=64
CONFIG_CMA_ALIGNMENT=8
# CONFIG_DEFERRED_STRUCT_PAGE_INIT is not set
CONFIG_LOCALVERSION=\"-50-arm64\"
";

const ARM: &str = "\
CONFIG_ARM=y
CONFIG_ARM_LPAE=y
CONFIG_VMSPLIT_3G_OPT=y
CONFIG_HIGHMEM=y
CONFIG_FLATMEM=y
CONFIG_THUMB2_KERNEL=y
CONFIG_SLOB=y
";

const ODD: &str = "\
CONFIG_NR_CPUS=99999999999999999999
CONFIG_NODES_SHIFT=-1
CONFIG_CMA_ALIGNMENT=
CONFIG_=y
=y
CONFIG_X86_PAE=y
CONFIG_KASAN=y
CONFIG_ARM64_64K_PAGES=y
CONFIG_ARM64_VA_BITS_52=y
# CONFIG_ is not set
";

/// A whole small PC with two nodes, so that a mutated line changes a boot that goes all the way.
const PC: &str = "\
[    0.000000] Command line: crashkernel=64M movablecore=256M hugepages=8 memblock=debug
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
[    0.000000] BIOS-e820: [mem 0x000000000009fc00-0x000000000009ffff] reserved
[    0.000000] BIOS-e820: [mem 0x00000000000f0000-0x00000000000fffff] reserved
[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x000000005ffdffff] usable
[    0.000000] BIOS-e820: [mem 0x000000005ffe0000-0x000000005fffefff] ACPI data
[    0.000000] BIOS-e820: [mem 0x000000005ffff000-0x000000005fffffff] ACPI NVS
[    0.000000] BIOS-e820: [mem 0x00000000b0000000-0x00000000bfffffff] reserved
[    0.000000] BIOS-e820: [mem 0x0000000100000000-0x000000013fffffff] usable
[    0.000000] last_pfn = 0x140000 max_arch_pfn = 0x400000000
[    0.000000] found SMP MP-table at [mem 0x000f5ba0-0x000f5baf]
[    0.000000] Using GB pages for direct mapping
[    0.000000] RAMDISK: [mem 0x5f000000-0x5f7fffff]
[    0.000000] ACPI: Reserving FACP table memory at [mem 0x5ffe1a2d-0x5ffe1b20]
[    0.010000] SRAT: PXM 0 -> APIC 0x00 -> Node 0
[    0.010000] SRAT: PXM 1 -> APIC 0x01 -> Node 1
[    0.010000] ACPI: SRAT: Node 0 PXM 0 [mem 0x00000000-0x0009ffff]
[    0.010000] ACPI: SRAT: Node 0 PXM 0 [mem 0x00100000-0x5fffffff]
[    0.010000] ACPI: SRAT: Node 1 PXM 1 [mem 0x100000000-0x13fffffff] hotplug
[    0.020000] smpboot: Allowing 2 CPUs, 0 hotplug CPUs
";

const STEADY: &str = "\
operations = 300000
fill = 50%
orders = 0:80 1:8 2:6 3:5 5:1
mobility = movable:60 unmovable:25 reclaimable:15
";

const PARTS: &str = "\
seed = 7; cpus=2; threads = yes # all at once
[fill]
ops=10; fill = 80%
orders=0:9, 9:1
[drain]
fill=5%; lifetime = oldest; pinned=2%; stay = 1; period=9; swing = 4%
";

const MASKS: &str = "\
gfp=GFP_ATOMIC|__GFP_COMP:2 GFP_USER GFP_KERNEL|0x100:3
sizes = 1:1 4K:2 5K:3 64K:4 2M:5
";
