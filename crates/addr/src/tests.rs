use super::*;

const K4: PageShift = PageShift::SHIFT_4K;

#[test]
fn frames_inside_are_whole_and_frames_touched_cover_everything() {
    let r = PhysRange::new(PhysAddr::new(0x1801), PhysAddr::new(0x4001));
    assert_eq!(r.frames_inside(K4), PfnRange::new(Pfn::new(2), Pfn::new(4)));
    assert_eq!(r.frames_touched(K4), PfnRange::new(Pfn::new(1), Pfn::new(5)));
}

#[test]
fn a_range_that_ends_before_it_starts_is_empty_everywhere() {
    let r = PhysRange::new(PhysAddr::new(9), PhysAddr::new(3));
    assert!(r.is_empty());
    assert_eq!(r.len(), 0);
    assert!(!r.contains(PhysAddr::new(5)));
    assert!(!r.overlaps(&PhysRange::new(PhysAddr::ZERO, PhysAddr::MAX)));
}

#[test]
fn rounding_up_at_the_top_of_the_address_space_stays_aligned() {
    let a = PhysAddr::new(u64::MAX - 3).align_up(0x1000);
    assert!(a.is_aligned(0x1000));
    assert_eq!(a.get(), !0xfff);
}

#[test]
fn frame_numbers_without_an_address_are_held_at_the_last_page() {
    assert_eq!(Pfn::MAX.phys(K4).get(), !0xfff);
    assert_eq!(PhysAddr::MAX.pfn_up(K4).get(), 1 << 52);
}

#[test]
fn orders_and_nodes_refuse_what_no_kernel_has() {
    assert!(Order::new(15).is_some() && Order::new(16).is_none());
    assert!(NodeId::new(1023).is_some() && NodeId::new(1024).is_none());
}

#[test]
fn virtual_ranges_reach_the_last_byte_of_the_address_space() {
    let top = VirtRange::from_len(VirtAddr::new(u64::MAX - 0xfff), 0x2000);
    assert_eq!(top.len, 0x1000);
    assert_eq!(top.last(), VirtAddr::MAX);
    assert!(top.contains(VirtAddr::MAX) && !top.contains(VirtAddr::ZERO));
    assert!(top.contains_range(&VirtRange::from_len(VirtAddr::MAX, 1)));
    assert!(!top.overlaps(&VirtRange::from_len(VirtAddr::ZERO, u64::MAX - 0xfff)));
    assert!(top.overlaps(&VirtRange::from_len(VirtAddr::ZERO, u64::MAX)));
}
