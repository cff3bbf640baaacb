//! arm64: what of the described memory the kernel takes.

use crate::support::spec::{RAM, arm64};

#[test]
fn a_plain_machine_keeps_all_its_memory() {
    let facts = arm64(256).boot();
    assert_eq!(facts.ram_mib(), [(1024, 1280)]);
    assert_eq!(facts.memstart.get(), RAM);
}
