//! The names that Debian's 6.1 kernels register, apart from those that depend on a configuration symbol modelled here.
//!
//! Taken from the tables in the kernel images: early options and core parameters are known by their exact name, late
//! ones by how they start.

use super::Kind;

/// Architectures as a set of bits.
pub(super) type Arches = u8;

pub(super) const X86_64: Arches = 1;
pub(super) const I386: Arches = 2;
pub(super) const ARM64: Arches = 4;
pub(super) const ARM: Arches = 8;
const X86: Arches = X86_64 | I386;
const ALL: Arches = X86 | ARM64 | ARM;

/// Names separated by blanks, with `_` for `-`.
pub(super) struct Group {
    pub(super) kind: Kind,
    pub(super) arches: Arches,
    pub(super) names: &'static str,
}

const fn exact(arches: Arches, names: &'static str) -> Group {
    Group { kind: Kind::Exact, arches, names }
}

const fn late(arches: Arches, names: &'static str) -> Group {
    Group { kind: Kind::Late, arches, names }
}

pub(super) const GROUPS: &[Group] = &[
    exact(
        ALL,
        "boot_delay bootconfig debug debug_boot_weak_hash debugfs early_ioremap_debug early_page_ext \
         earlycon efi fw_devlink fw_devlink.strict hostname ignore_loglevel init_on_alloc init_on_free \
         initrd initrdmem iommu.passthrough iommu.strict ipcmni_extend keep_bootcon kernelcore lockdown \
         log_buf_len loglevel mem memblock mitigations mminit_loglevel movablecore no_hash_pointers noefi \
         oops page_poison panic_on_taint pci percpu_alloc proc_mem.force_override quiet \
         random.trust_bootloader random.trust_cpu sched_verbose skew_tick stack_depot_disable swiotlb \
         threadirqs",
    ),
    exact(X86_64 | ARM64 | ARM, "coherent_pool rcu_nocb_poll"),
    exact(
        X86_64 | I386 | ARM64,
        "acpi acpi_apic_instance acpi_force_32bit_fadt_addr acpi_force_table_verification \
         acpi_no_static_ssdt acpi_rsdp iommu.forcedac no_steal_acc nohugeiomap randomize_kstack_offset",
    ),
    exact(ARM64 | ARM, "clocksource.arm_arch_timer.evtstrm irqchip.gicv2_force_probe irqchip.gicv3_nolpi"),
    exact(I386 | ARM, "vmalloc"),
    exact(X86_64 | ARM64, "nohugevmalloc"),
    exact(
        X86,
        "acpi_sci acpi_skip_timer_override acpi_use_timer_override add_efi_memmap alloc_mptable \
         amd_pstate apic apic_extnmi bgrt_disable cpu_init_udelay disable_cpu_apicid disable_mtrr_cleanup \
         disable_mtrr_trim disable_timer_pin_1 disableapic earlyprintk efi_no_storage_paranoia \
         enable_mtrr_cleanup gather_data_sampling gbpages idle indirect_target_selection intel_pstate \
         io_delay iommu l1d_flush l1tf lapic lapic_timer_c2_ok mds memmap mmio_stale_data mtrr_chunk_size \
         mtrr_cleanup_debug mtrr_gran_size mtrr_spare_reg_nr no_kvmapf no_kvmclock no_kvmclock_vsyscall \
         no_vmw_sched_clock noapic noapictimer nogbpages noinvpcid nolapic nolapic_timer nopat nopv \
         nopvspin nosgx nosmt nospectre_v1 rdrand reg_file_data_sampling retbleed spec_rstack_overflow \
         spectre_bhi srbds tsa tsc_early_khz tsx_async_abort update_mptable userpte vmscape \
         xen_emul_unplug xen_legacy_crash xen_no_vector_callback xen_nopv xen_nopvspin xen_timer_slop",
    ),
    exact(
        ARM64,
        "allow_mismatched_32bit_el0 kvm_arm.mode kvm_arm.vgic_v3_common_trap kvm_arm.vgic_v3_group0_trap \
         kvm_arm.vgic_v3_group1_trap kvm_arm.vgic_v4_enable lsmsi nodebugmon nospectre_bhb nospectre_v2 \
         ssbd",
    ),
    exact(I386, "reservetop"),
    exact(ARM, "cachepolicy ecc nocache nowb"),
    exact(
        X86_64,
        "gart_fix_e820 hv_nopvspin intremap nointremap nopcid nox2apic vsyscall x2apic_phys xen_msr_safe",
    ),
    late(
        ALL,
        "TOMOYO_loader= TOMOYO_trigger= alloc_snapshot apparmor= audit= audit_backlog_limit= ca_keys= \
         cgroup_debug cgroup_disable= cgroup_no_v1= checkreqprot= clk_ignore_unused clock= clocksource= \
         console= console_msg_format= coredump_filter= deferred_probe_timeout= delayacct devtmpfs.mount= \
         dhash_entries= driver_async_probe= dyndbg= elevator= enforcing= evm= fb_tunnels= fbcon= fips= \
         ftrace= ftrace_boot_snapshot ftrace_dump_on_oops ftrace_filter= ftrace_graph_filter= \
         ftrace_graph_max_depth= ftrace_graph_notrace= ftrace_notrace= gpt hardened_usercopy= hibernate= \
         highres= ihash_entries= ima_appraise_tcb ima_canonical_fmt ima_hash= ima_policy= ima_tcb \
         ima_template= ima_template_fmt= init= initcall_blacklist= initramfs_async= initramfs_options= \
         integrity_audit= iomem= irqaffinity= irqfixup irqpoll isolcpus= kprobe_event= load_ramdisk= lpj= \
         lsm.debug lsm= mem_sleep_default= mhash_entries= mphash_entries= no_console_suspend no_file_caps \
         noautogroup nohibernate nohz_full= noinitrd noirqdebug nomodeset norandmaps noresume \
         nosoftlockup nowatchdog ntp_tick_adj= pcie_aspm= pcie_pme= pcie_port_pm= pcie_ports= \
         pd_ignore_unused pm_debug_messages print_fatal_signals= printk.devkmsg= profile= psi= ras \
         rdinit= reboot= relax_domain_level= resched_latency_warn_ms= reserve= reset_devices resume= \
         resume_offset= resumedelay= resumewait retain_initrd ro root= rootdelay= rootflags= rootfstype= \
         rootwait rw sched_thermal_decay_shift= schedstats= security= slab_merge slab_nomerge \
         softlockup_panic= stack_guard_gap= stacktrace sysrq_always_enabled tcpmhash_entries= \
         thash_entries= tp_printk tp_printk_stop_on_boot trace_buf_size= trace_clock= trace_event= \
         trace_options= traceoff_on_warning tracing_thresh= uhash_entries= video= watchdog_thresh=",
    ),
    late(X86_64 | ARM64 | ARM, "nohz= rcu_nocbs"),
    late(
        X86_64 | I386 | ARM64,
        "acpi_backlight= acpi_enforce_resources= acpi_irq_balance acpi_irq_isa= acpi_irq_nobalance \
         acpi_irq_pci= acpi_mask_gpe= acpi_no_auto_serialize acpi_no_watchdog acpi_os_name= acpi_osi= \
         acpica_no_return_repair bert_disable efivar_ssdt= erst_disable hest_disable pnp_reserve_dma= \
         pnp_reserve_io= pnp_reserve_irq= pnp_reserve_mem= pnpacpi=",
    ),
    late(ARM64 | ARM, "earlycon earlyprintk hlt keepinitrd nohlt"),
    late(
        X86,
        "acpi_pm_good acpi_rev_override acpi_sleep= agp= clearcpuid= cpu0_hotplug debug_alternative \
         debugpat dump_apple_properties hpet= hpet_mmap= int_pln_enable mce nmi_watchdog= \
         no_ipi_broadcast= no_scroll no_timer_check nofsgsbase nohpet nomce nonmi_ipi noreplace_smp notsc \
         pmtmr= preempt= rdt ring3mwait=disable show_lapic= strict_sas_size tsc= unknown_nmi_panic \
         vdso32= vdso=",
    ),
    late(
        I386,
        "cachesize= ether= forcepae isapnp= netdev= noisapnp olpc_ec_timeout= pirq= pnpbios= serialnumber",
    ),
    late(ARM, "apm= noalign"),
    late(
        X86_64,
        "acpi_no_memhotplug align_va_addr= amd_iommu= amd_iommu_dump amd_iommu_intr= apicpmtimer \
         init_pkru= intel_iommu= ivrs_acpihid ivrs_hpet ivrs_ioapic noexec32= nopku sev=",
    ),
    exact(
        ALL,
        "consoleblank crash_kexec_post_notifiers ignore_rlimit_data ima_appraise initcall_debug \
         module_blacklist nomodule panic panic_on_warn panic_print pause_on_oops xen_scrub_pages",
    ),
    exact(ARM64 | ARM, "irqtime"),
    exact(ARM, "alignment"),
];
