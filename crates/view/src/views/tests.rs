use super::*;
use std::string::ToString;
use std::vec::Vec;

#[test]
fn every_view_is_found_by_its_name_and_no_name_is_given_twice() {
    for view in View::ALL {
        assert_eq!(View::named(view.name()), Some(view));
        let same = View::ALL.iter().filter(|v| v.name() == view.name());
        assert_eq!(same.count(), 1, "{view}");
        // Names stand between commas.
        assert!(!view.name().contains([',', ' ']), "{view}");
    }
}

#[test]
fn a_list_keeps_its_order_and_counts_a_view_once() {
    let views = Views::parse("vmstat,zoneinfo,vmstat,memblock/reserved").unwrap();
    let expected = [View::Vmstat, View::Zoneinfo, View::MemblockReserved];
    assert_eq!(views.iter().collect::<Vec<_>>(), expected);
    assert_eq!(Views::parse("").unwrap(), Views::default());
    let all = View::ALL.map(View::name).join(",");
    assert!(Views::parse(&all).unwrap().iter().eq(View::ALL));
}

#[test]
fn a_view_that_is_taken_out_leaves_the_others_in_their_order() {
    let mut views = Views::parse("vmstat,slabinfo,zoneinfo").unwrap();
    assert!(views.take(View::Slabinfo) && !views.take(View::Slabinfo));
    assert!(views.iter().eq([View::Vmstat, View::Zoneinfo]));
}

#[test]
fn a_name_that_is_no_views_is_told_with_all_that_are() {
    for (list, name) in [("slabs", "slabs"), ("zoneinfo,Vmstat", "Vmstat"), ("zoneinfo,", "")] {
        let fault = Views::parse(list).unwrap_err();
        assert_eq!(fault, UnknownView { name });
        let text = fault.to_string();
        assert!(text.starts_with(&std::format!("no view `{name}`; expected one of zoneinfo, ")), "{text}");
        assert!(View::ALL.iter().all(|v| text.contains(v.name())), "{text}");
    }
}
