use super::*;

type Form = fn(Level, u64, Option<u64>) -> Says;
/// Those of every architecture.
const FORMS: [Form; 6] = [
    x86,
    |_, word, _| arm64(word, &TAGGED),
    |_, word, _| arm64(word, &TAGGED_WITH_GRE),
    |_, word, _| arm64(word, &DEVICE_FIRST),
    arm_short,
    arm_lpae,
];

#[test]
fn no_entry_says_more_than_there_is_room_for() {
    for says in FORMS {
        for level in [Level::PTE, Level::PMD] {
            // All bits that names come from, at both ends of the word and in both of arm's words.
            for low in 0..1 << 12 {
                for high in [0, u64::MAX << 48, 0x0fff_0000_0000_0000] {
                    let linux = low << 32;
                    for word in [high | low, !(high | low), linux, low | linux] {
                        assert!(says(level, word, Some(word)).remaining_capacity() > 0, "{word:#x}");
                    }
                }
            }
        }
    }
}

#[test]
fn x86_keeps_the_columns_of_what_is_not_set() {
    assert_eq!(&x86(Level::PTE, (1 << 63) | (1 << 8) | 0b11, None), "    RW                 GLB NX ");
    assert_eq!(&x86(Level::PMD, (1 << 7) | (1 << 12) | 1, None), "    ro         PSE PAT     x  ");
    assert_eq!(&x86(Level::PTE, 0b1001_1101, None), "USR ro PWT PCD     PAT     x  ");
}

#[test]
fn arms_pages_have_the_domain_of_their_table() {
    let linux = (1 << 9) | (7 << 2) | 0b11;
    let page = arm_short(Level::PTE, (linux << 32) | 2, Some(1));
    assert_eq!(&page, " KERNEL      RW NX     MEM/CACHED/WBWA");
    assert_eq!(&arm_short(Level::PTE, 2, Some((3 << 5) | 1))[..8], " VECTORS");
    assert_eq!(&arm_short(Level::PMD, (2 << 5) | 2, Some(0))[..8], " IO     ");
}
