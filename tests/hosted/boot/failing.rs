//! The n-th allocation from memblock fails: the boot goes without, or stops with an error that says so. Never a panic,
//! never something half made (the support checks memblock, and that nothing promised is free).

use crate::support::facts::Depth;
use crate::support::spec::{Spec, arm64, pc, pc_of};
use pagewright_firmware::config::Flavour;

/// Fails each allocation of a boot in turn; returns how many of them made a difference.
fn fail_each(spec: &Spec) -> u64 {
    let plain = spec.boot();
    let (mut stopped, mut went_without) = (0u64, 0u64);
    // Every allocation is at least one event: past that number none is left to fail.
    for n in 1..=plain.events.len() as u64 + 1 {
        let (result, _) = spec.boot_with(Depth::Allocator, |boot| boot.mb.fail_nth(Some(n)));
        match result {
            Err(e) => {
                assert!(!e.to_string().is_empty());
                stopped += 1;
            }
            Ok(facts) if facts.reserved == plain.reserved && facts.log == plain.log => {}
            Ok(_) => went_without += 1,
        }
    }
    assert!(stopped > 0, "not one allocation mattered");
    stopped + went_without
}

#[test]
fn an_arm64_boot_survives_the_failure_of_any_allocation() {
    let spec = arm64(64).cmdline("cma=8M crashkernel=8M rodata=on");
    assert!(fail_each(&spec) > 20);
}

#[test]
fn a_pc_boot_survives_the_failure_of_any_allocation() {
    let spec = pc(128).cmdline("crashkernel=16M log_buf_len=1M");
    assert!(fail_each(&spec) > 20);
}

#[test]
fn an_i386_boot_survives_the_failure_of_any_allocation() {
    assert!(fail_each(&pc_of(Flavour::I686, 128)) > 20);
}
