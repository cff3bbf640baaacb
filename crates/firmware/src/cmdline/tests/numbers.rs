//! Numbers.

use super::*;

#[test]
fn sizes_have_a_base_and_a_suffix() {
    assert_eq!(memparse("64M"), (64 << 20, ""));
    assert_eq!(memparse("0x10k@"), (16 << 10, "@"));
    assert_eq!(memparse("010"), (8, ""));
    assert_eq!(memparse("1G-3G"), (1 << 30, "-3G"));
    assert_eq!(memparse("2T,"), (2 << 40, ","));
    assert_eq!(memparse("1p"), (1 << 50, ""));
    assert_eq!(memparse("1E"), (1 << 60, ""));
    assert_eq!(memparse("1KM"), (1 << 10, "M"));
}

#[test]
fn text_without_a_number_is_nothing_read() {
    assert_eq!(memparse("abc"), (0, "abc"));
    assert_eq!(memparse(""), (0, ""));
    assert_eq!(memparse("-1"), (0, "-1"));
    assert_eq!(strtoull("0x"), (0, "x"));
    assert_eq!(strtoull("0xg"), (0, "xg"));
    assert_eq!(strtoull("089"), (0, "89"));
}

#[test]
fn numbers_past_64_bits_wrap_around() {
    assert_eq!(memparse("18446744073709551616"), (0, ""));
    assert_eq!(memparse("18446744073709551617"), (1, ""));
    assert_eq!(memparse("16E"), (0, ""));
    assert_eq!(memparse("17E"), (1 << 60, ""));
}

#[test]
fn switches_look_at_the_first_letters_only() {
    for yes in ["1", "y", "Y", "yes", "true", "on", "ON", "1234"] {
        assert_eq!(parse_bool(yes), Some(true), "{yes}");
    }
    for no in ["0", "n", "no", "false", "off", "oFfice"] {
        assert_eq!(parse_bool(no), Some(false), "{no}");
    }
    for neither in ["", "o", "2", "ox", "é"] {
        assert_eq!(parse_bool(neither), None, "{neither}");
    }
}

#[test]
fn integers_may_be_negative_and_are_cut_to_32_bits() {
    assert_eq!(parse_integer("-1,x"), Some(Integer { value: -1, rest: ",x" }));
    assert_eq!(parse_integer("0x1f"), Some(Integer { value: 31, rest: "" }));
    assert_eq!(parse_integer("4294967297").map(|i| i.value), Some(1));
    assert_eq!(parse_integer("x"), None);
    assert_eq!(parse_integer("-"), None);
}
