//! Tests of this module.

mod crash;
mod fuzzed;
mod numbers;
mod unknown;
mod values;

use super::*;
use crate::config::Flavour;
use std::string::ToString;
use std::vec::Vec;

fn split(text: &str) -> Vec<(&str, Option<&str>)> {
    CommandLine::new(text).params().map(|p| (p.name, p.value)).collect()
}

fn parse(arch: Arch, text: &str) -> Params<'_> {
    CommandLine::new(text).parse(arch).0
}

/// The messages about a command line.
fn messages(arch: Arch, text: &str) -> Vec<std::string::String> {
    CommandLine::new(text).parse(arch).1.iter().map(ToString::to_string).collect()
}

#[test]
fn blanks_separate_parameters() {
    assert_eq!(split("  a b=1\tc=\n d "), [("a", None), ("b", Some("1")), ("c", Some("")), ("d", None)]);
    assert_eq!(split(""), []);
    assert_eq!(split(" \t "), []);
}

#[test]
fn quotes_keep_blanks_and_vanish_around_values_and_parameters() {
    assert_eq!(split(r#"a="b c" d"#), [("a", Some("b c")), ("d", None)]);
    assert_eq!(split(r#""a=b c" d"#), [("a", Some("b c")), ("d", None)]);
    assert_eq!(split(r#""a b" c"#), [("a b", None), ("c", None)]);
    // Quotes elsewhere stay.
    assert_eq!(split(r#"a=b"c d"e"#), [("a", Some(r#"b"c d"e"#))]);
    // An open quote reaches to the end.
    assert_eq!(split(r#"a="b c"#), [("a", Some("b c"))]);
    assert_eq!(split(r#"""#), [("", None)]);
    assert_eq!(split(r#"a=""#), [("a", Some(""))]);
    assert_eq!(split(r#"a="""#), [("a", Some(""))]);
}

#[test]
fn only_the_first_equals_sign_separates_and_not_in_the_first_place() {
    assert_eq!(split("a=b=c"), [("a", Some("b=c"))]);
    assert_eq!(split("=a"), [("=a", None)]);
    assert_eq!(split("=a=b"), [("=a", Some("b"))]);
}

#[test]
fn two_dashes_end_the_kernels_parameters() {
    let mut params = CommandLine::new("mem=1G -- cma=64M x").params();
    assert_eq!(params.by_ref().count(), 1);
    assert_eq!(params.rest(), "cma=64M x");
    assert_eq!(params.next(), None);
    assert_eq!(parse(Arch::Arm64, "mem=1G -- cma=64M").cma, None);
    // With a value it is a name like any other.
    assert_eq!(split("--=1 a").len(), 2);
}

#[test]
fn dashes_and_underscores_in_names_are_the_same() {
    assert!(names_equal("log-buf_len", "log_buf-len") && !names_equal("log", "log_"));
    assert_eq!(parse(Arch::X86_64, "log-buf-len=1M").log_buf_len, Some(1 << 20));
    assert!(Param { name: "init-on_alloc", value: None }.is("init_on_alloc"));
}
