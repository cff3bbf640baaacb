use super::*;

const SLABINFO: &str = "slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
kmalloc-8           1024   1024      8  512    1 : tunables    0    0    0 : slabdata      2      2      0
a name of its own    0      0   2176   15    8 : tunables    0    0    0 : slabdata      0      0      0
";

#[test]
fn slabinfo_tells_the_geometry_of_each_cache() {
    let info = SlabInfo::parse(SLABINFO).unwrap();
    let line = |name: &str, size, objects, pages| CacheLine { name: name.to_owned(), size, objects, pages };
    assert_eq!(info.caches, [line("kmalloc-8", 8, 512, 1), line("a name of its own", 2176, 15, 8)]);
    assert!(SlabInfo::parse("slabinfo - version: 1.1\n").is_err());
    let fault = SlabInfo::parse("slabinfo - version: 2.1\nkmalloc-8 1 2 x 4 5 : tunables\n").unwrap_err();
    assert!(fault.to_string().contains("line 2"), "{fault}");
    assert!(
        SlabInfo::parse("slabinfo - version: 2.1\n1 2 3 4 5 : tunables\n").is_err(),
        "a line without a name"
    );
}

#[test]
fn attributes_of_kmalloc_have_seven_columns() {
    let file = SlubKmalloc::parse("# cache object_size\nkmalloc-8 8 8 512 0 120 5 8 \n").unwrap();
    assert_eq!(
        file.caches,
        [KmallocLine { name: "kmalloc-8".to_owned(), values: [8, 8, 512, 0, 120, 5, 8] }]
    );
    assert!(SlubKmalloc::parse("kmalloc-8 8 8 512 0 120 5\n").is_err());
}
