//! Parts of the kernel's image that go to the page allocator once they have served.

use crate::support::KIB;
use crate::support::facts::Facts;
use crate::support::spec::{Spec, arm64, pc, pc_of};
use pagewright_addr::PhysRange;
use pagewright_firmware::config::Flavour;

fn managed(facts: &Facts) -> u64 {
    facts.after.managed.iter().map(|(.., pages)| pages).sum()
}

/// The machine without one of its image's parts.
fn without(mut spec: Spec, part: impl Fn(&mut Spec) -> &mut PhysRange) -> Facts {
    *part(&mut spec) = PhysRange::default();
    spec.boot()
}

#[test]
fn a_pc_frees_what_is_left_of_its_decrypted_data() {
    let facts = pc(256).boot();
    facts.expect("Freeing unused decrypted memory: 512K");
    let kept = without(pc(256), |s| &mut s.image.decrypted_unused);
    assert!(!kept.said("decrypted"));
    assert_eq!(managed(&facts) - managed(&kept), 512 * KIB / 4096);
}

#[test]
fn lock_prefixes_are_freed_where_no_processor_may_come() {
    let facts = pc(256).boot();
    facts.expect("Freeing SMP alternatives memory: 32K");
    let kept = without(pc(256), |s| &mut s.image.smp_locks);
    assert_eq!(managed(&facts) - managed(&kept), 32 * KIB / 4096);
    assert!(pc_of(Flavour::I686, 256).boot().said("Freeing SMP alternatives memory: 32K"));
    assert!(pc(256).cpus(2).boot().said("SMP alternatives"));
}

#[test]
fn a_lone_processor_keeps_its_lock_prefixes_for_those_that_may_come() {
    let spec = || pc(256).cpus(2);
    assert!(!spec().tables(|pc| pc.hotplug_cpus = 1).boot().said("SMP alternatives"));
    assert!(!spec().cmdline("maxcpus=1").boot().said("SMP alternatives"));
    // Without others to come it is the only one there will be.
    assert!(spec().cmdline("nosmp").boot().said("SMP alternatives"));
    assert!(spec().cmdline("maxcpus=2").boot().said("SMP alternatives"));
}

#[test]
fn each_architecture_names_the_init_sections_that_it_frees() {
    pc(256).boot().expect("Freeing unused kernel image (initmem) memory: 2048K");
    arm64(256).boot().expect("Freeing unused kernel memory: 2048K");
}

#[test]
fn the_alignment_of_permissions_leaves_gaps_that_are_freed() {
    let gaps = |spec: Spec| {
        let mut spec = spec;
        let image = &mut spec.image;
        image.text_end = image.text_end.saturating_sub(64 * KIB);
        image.rodata_end = image.rodata_end.saturating_sub(128 * KIB);
        // Data comes after the init sections here: the gap is what lies between, less those.
        image.data_start = image.init_begin;
        image.init_begin = image.data_end.saturating_sub(256 * KIB);
        (image.inittext_end, image.init_end) = (image.data_end, image.data_end);
        image.data_end = image.init_begin;
        spec.boot()
    };
    let facts = gaps(pc(256));
    facts.expect("Freeing unused kernel image (text/rodata gap) memory: 64K");
    facts.expect("Freeing unused kernel image (rodata/data gap) memory: 128K");
    assert!(!gaps(pc(256).config(|c| c.strict_kernel_rwx = false)).said("gap) memory"));
}
