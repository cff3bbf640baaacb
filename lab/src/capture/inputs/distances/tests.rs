use super::DistanceLog;
use crate::capture::inputs::pc::PcLog;

const E820: &str = "BIOS-e820: [mem 0x0000000000100000-0x00000000ffffffff] usable\n";
const SRAT: &str = "\
SRAT: PXM 0 -> APIC 0x00 -> Node 0
SRAT: PXM 2 -> APIC 0x01 -> Node 1
ACPI: SRAT: Node 0 PXM 0 [mem 0x00000000-0x7fffffff]
ACPI: SRAT: Node 1 PXM 2 [mem 0x80000000-0xffffffff]
";
const TABLE: &str = "NUMA: Initialized distance table, cnt=2\n";
const FAKING: &str = "Faking node 0 at [mem 0x0000000000000000-0x000000007fffffff] (2048MB)\n";

fn read(lines: &[&str]) -> (Option<(u32, Vec<u8>)>, DistanceLog) {
    let log = PcLog::read(&([&[E820], lines].concat().concat())).unwrap();
    (log.pc.slit, log.distances)
}

#[test]
fn a_distance_table_in_the_log_implies_a_slit_over_its_domains() {
    // Three domains of which the middle one is no node.
    let (slit, _) = read(&[SRAT, TABLE]);
    assert_eq!(slit, Some((3, vec![10, 20, 20, 20, 10, 20, 20, 20, 10])));
    assert_eq!(read(&[SRAT]).0, None);
}

#[test]
fn distances_that_the_kernel_told_stand_at_their_nodes_domains() {
    let (_, distances) = read(&[SRAT, TABLE]);
    let known = |from, to| Some(if from == to { 10 } else { 30 + u64::from(from) });
    assert_eq!(distances.slit(known), Some((3, vec![10, 20, 30, 20, 10, 20, 31, 20, 10])));
}

#[test]
fn distances_that_would_make_linux_refuse_the_table_are_not_taken() {
    let (slit, distances) = read(&[SRAT, TABLE]);
    for wrong in [9, 10, 256] {
        let known = |from, to| Some(if from == to { 11 } else { wrong });
        assert_eq!(distances.slit(known), slit, "{wrong}");
    }
}

#[test]
fn a_table_for_made_up_nodes_is_no_slit_and_their_distances_are_not_the_firmwares() {
    assert_eq!(read(&[SRAT, FAKING, TABLE]).0, None);
    let (slit, distances) = read(&[SRAT, TABLE, FAKING, TABLE]);
    assert!(slit.is_some());
    assert_eq!(distances.slit(|_, _| Some(40)), slit);
}

#[test]
fn a_domain_that_no_kernel_keeps_makes_no_giant_matrix() {
    let wild = SRAT.replace("PXM 2", "PXM 4294967295");
    assert_eq!(read(&[&wild, TABLE]).0, Some((1, vec![10])));
}

#[test]
fn two_nodes_have_one_order_and_three_need_distances() {
    let two = DistanceLog::read(&[SRAT, TABLE].concat());
    assert!(two.is_enough(|_, _| None));
    let third = "ACPI: SRAT: Node 2 PXM 3 [mem 0x100000000-0x17fffffff]\n";
    let three = DistanceLog::read(&[SRAT, third, TABLE].concat());
    assert!(!three.is_enough(|_, _| None) && three.is_enough(|_, _| Some(20)));
    assert!(!three.is_enough(|from, _| (from != 1).then_some(20)));
    assert!(DistanceLog::read(&[SRAT, third].concat()).is_enough(|_, _| None));
    let faked = DistanceLog::read(&[SRAT, third, TABLE, FAKING].concat());
    assert!(!faked.is_enough(|_, _| Some(20)));
}
