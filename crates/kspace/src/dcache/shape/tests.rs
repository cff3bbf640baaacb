//! Shapes as processors have them.

use super::{CacheKind, CacheShape, CacheShapeError};
use std::string::ToString;

fn shape(text: &str) -> CacheShape {
    text.parse().unwrap()
}

#[test]
fn a_way_that_is_larger_than_a_page_makes_colours() {
    // ARM1136: 32 KiB in four ways of 8 KiB. With 16 KiB there is no problem.
    let arm1136 = shape("vipt,32K,4,32");
    assert_eq!((arm1136.sets(), arm1136.way_bytes()), (256, 8192));
    assert_eq!((arm1136.aliases(4096), arm1136.colours(4096)), (true, 2));
    assert!(!shape("vipt,16K,4,32").aliases(4096));
    assert_eq!((arm1136.aliases(16384), arm1136.colours(16384)), (false, 1));
    let large = shape("VIPT, 64k, 4, 64");
    assert_eq!((large.aliases(4096), large.colours(4096)), (true, 4));
}

#[test]
fn virtual_tags_alias_always_and_physical_indices_never() {
    assert!(shape("vivt,8K,64,32").aliases(4096));
    assert_eq!(shape("vivt,8K,64,32").colours(4096), 1);
    assert_eq!((shape("pipt,64K,2,64").aliases(4096), shape("pipt,64K,2,64").colours(4096)), (false, 1));
}

#[test]
fn what_is_no_cache_is_refused_with_the_number() {
    let refused = |text: &str| text.parse::<CacheShape>().unwrap_err();
    for text in [
        "",
        "vipt",
        "vipt,32K",
        "vipt,32K,4",
        "mesi,32K,4,32",
        "vipt,32K,4,32,1",
        "vipt,xK,4,32",
        "vipt,K,4,32",
    ] {
        assert_eq!(refused(text), CacheShapeError::Syntax, "{text}");
    }
    assert_eq!(refused("vipt,32K,4,48"), CacheShapeError::Line(48));
    assert_eq!(refused("vipt,32K,0,32"), CacheShapeError::Ways(0));
    assert_eq!(refused("vipt,24K,4,32"), CacheShapeError::Size(24 << 10));
    assert_eq!(refused("vipt,0,4,32"), CacheShapeError::Size(0));
    assert_eq!(refused("pipt,4000M,4,32"), CacheShapeError::Size(4000 << 20));
    // Three ways of a power of two are a cache.
    assert_eq!(shape("pipt,48K,3,64").sets(), 256);
}

#[test]
fn shapes_print_in_words() {
    assert_eq!(shape("vipt,32K,4,32").to_string(), "VIPT 32 KiB, 4 ways, lines of 32 bytes");
    assert_eq!(
        CacheShape::new(CacheKind::Vivt, 512, 1, 16).unwrap().to_string(),
        "VIVT 512 bytes, 1 ways, lines of 16 bytes"
    );
}
