/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A C program on any design of slabs: its argument is the design's number (enum pagewright_slab_design). What SLUB alone has, slab.c looks at.
 * Prints "ok" and returns 0, or stops at the first thing that is not as it should be.
 */
#define PAGEWRIGHT_SLAB_SITES
#include <pagewright/memblock.h>
#include <pagewright/slab.h>
#include "check.h"

bool movable_node_enabled;

#define PAGE 4096UL
#define PAGES 8192UL
#define MANY 2000

static unsigned int design;
static unsigned long findings;

static void make(void *object)
{
	memset(object, 0x5e, 56);
}

static void caches(void)
{
	static void *many[MANY];
	struct kmem_cache *s = kmem_cache_create("made", 56, 0, SLAB_HWCACHE_ALIGN, make), *other;
	char place[300];
	unsigned int i;

	CHECK(s && kmem_cache_size(s) == 56);
	for (i = 0; i < MANY; i++) {
		many[i] = i % 2 ? kmem_cache_alloc(s, GFP_KERNEL) : kmem_cache_alloc_node(s, GFP_KERNEL, 0);
		CHECK(many[i] && (unsigned long)many[i] % 64 == 0 && holds(many[i], 0x5e, 56));
		memset(many[i], (int)i, 56);
	}
	for (i = 0; i < MANY; i++) {
		CHECK(holds(many[i], (unsigned char)i, 56));
		memset(many[i], 0x5e, 56);
		if (i)
			kmem_cache_free(s, many[i]);
	}
	kmem_cache_destroy(s);
	CHECK(strstr(said, "Slab cache still has objects: 1 objects"));
	/* SLOB knows how many, not which. */
	CHECK(!strstr(said, "Object 0x") == (design == PAGEWRIGHT_SLOB));
	said[0] = 0;
	kmem_cache_free(s, many[0]);
	kmem_cache_destroy(s);
	CHECK(!said[0] && kmem_cache_size(s) == 0 && !kmem_cache_alloc(s, GFP_KERNEL));

	/* Equal caches are one with SLUB alone. */
	s = kmem_cache_create("one", 72, 0, 0, NULL);
	other = kmem_cache_create("two", 72, 0, 0, NULL);
	CHECK(s && other && (s == other) == (design == PAGEWRIGHT_SLUB));
	CHECK(kmem_cache_alloc_bulk(s, GFP_KERNEL | __GFP_ZERO, MANY, many) == MANY);
	for (i = 0; i < MANY; i++)
		CHECK(many[i] && holds(many[i], 0, 72));
	kmem_cache_free_bulk(s, MANY, many);
	pagewright_slab_fail_nth(1);
	CHECK(!kmem_cache_alloc(s, GFP_KERNEL) || design != PAGEWRIGHT_SLOB);
	pagewright_slab_fail_nth(0);
	kmem_cache_destroy(other);
	kmem_cache_destroy(s);
	said[0] = 0;

	/* Objects that keep their type while somebody reads. */
	s = kmem_cache_create("seen", 1024, 0, SLAB_TYPESAFE_BY_RCU, NULL);
	CHECK(s && kmem_cache_alloc_bulk(s, GFP_KERNEL, 64, many) == 64);
	memset(many[0], 77, 1024);
	other = many[0];
	pagewright_rcu_read_lock();
	kmem_cache_free_bulk(s, 64, many);
	kmem_cache_shrink(s);
	pagewright_slab_reap();
	CHECK(holds((char *)other + 512, 77, 500));
	/* Their cache ends when they have left. */
	kmem_cache_destroy(s);
	pagewright_slab_reap();
	CHECK(!said[0] && kmem_cache_size(s) == 1024);
	CHECK(pagewright_rcu_read_unlock());
	pagewright_slab_reap();
	CHECK(!said[0] && kmem_cache_size(s) == 0);

	/* Watched caches are SLUB's: the others do not look. */
	s = kmem_cache_create("watched", 100, 0, SLAB_RED_ZONE | SLAB_STORE_USER, NULL);
	CHECK(s);
	many[0] = kmem_cache_alloc(s, GFP_KERNEL);
	snprintf(place, sizeof(place), "Allocated in %s:%d age=", __FILE__, __LINE__ - 1);
	CHECK(many[0]);
	((char *)many[0])[100] = 1;
	kmem_cache_free(s, many[0]);
	CHECK(pagewright_slab_findings() == (design == PAGEWRIGHT_SLUB));
	CHECK(!strstr(said, place) == (design != PAGEWRIGHT_SLUB));
	CHECK(told("Right Redzone overwritten") == (design == PAGEWRIGHT_SLUB));
	findings = pagewright_slab_findings();
}

static void sizes(void)
{
	static const size_t sizes[] = { 1, 8, 31, 32, 96, 97, 192, 256, 1000, 4096, 4097, 8193, 100000 };
	unsigned char *p, *q;
	size_t i, size;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size = sizes[i];
		p = kmalloc(size, GFP_KERNEL);
		CHECK(p && ksize(p) >= size && kmalloc_size_roundup(size) >= size);
		CHECK(design == PAGEWRIGHT_SLOB || ksize(p) == kmalloc_size_roundup(size));
		CHECK(size & (size - 1) || (unsigned long)p % size == 0);
		memset(p, 0xaa, ksize(p));
		kfree_sensitive(p);
		p = kzalloc_node(size, GFP_KERNEL, 0);
		CHECK(p && holds(p, 0, size));
		memset(p, 0x33, size);
		q = krealloc(p, 2 * size, GFP_KERNEL);
		CHECK(q && holds(q, 0x33, size));
		CHECK(pagewright_may_copy(q, size));
		kfree(q);
		p = kvzalloc(size, GFP_KERNEL);
		CHECK(p && holds(p, 0, size));
		memset(p, 0x44, size);
		CHECK(kvrealloc(p, size, size / 2, GFP_KERNEL) == p);
		q = kvrealloc(p, size, 3 * size, GFP_KERNEL);
		CHECK(q && q != p && holds(q, 0x44, size));
		memset(q, 0x55, 3 * size);
		kvfree_sensitive(q, 3 * size);
		p = kvmalloc_node(size, GFP_KERNEL, 0);
		q = kvcalloc(3, size, GFP_KERNEL);
		CHECK(p && q && holds(q, 0, 3 * size) && !kvmalloc_array(SIZE_MAX, 2, GFP_KERNEL));
		kvfree(p);
		kvfree(q);
	}
	/* Least sizes: of a class, of a line's part, and of nothing but the alignment. */
	CHECK(kmalloc_size_roundup(9) == (design == PAGEWRIGHT_SLAB ? 32 : 16) && kmalloc_size_roundup(0) == 0);
	CHECK(kmalloc_size_roundup(97) == (design == PAGEWRIGHT_SLOB ? 104 : 128));
	CHECK(!kmalloc(SIZE_MAX, GFP_KERNEL) && kmalloc_size_roundup(SIZE_MAX) == SIZE_MAX);
	CHECK(kmalloc(0, GFP_KERNEL) == ZERO_SIZE_PTR && ksize(ZERO_SIZE_PTR) == 0 && ksize(NULL) == 0);
	CHECK(krealloc(kmalloc(9, GFP_KERNEL), 0, GFP_KERNEL) == ZERO_SIZE_PTR);
	kfree(ZERO_SIZE_PTR);
	kfree(NULL);
	CHECK(!said[0] && pagewright_slab_findings() == findings);
	kfree(&said);
	CHECK(pagewright_slab_findings() == findings + 1 && told("not allocated"));
}

int main(int argc, char **argv)
{
	unsigned char *ram = aligned_alloc(PAGE << 10, PAGES * PAGE);
	phys_addr_t base = (phys_addr_t)(uintptr_t)ram;
	unsigned long all;

	design = argc > 1 ? (unsigned int)atoi(argv[1]) : PAGEWRIGHT_SLUB;
	CHECK(ram);
	memset(ram, 0xaa, PAGES * PAGE);
#ifndef CONFIG_NUMA
	pagewright_memblock_options.numa = false;
#endif
	pagewright_memblock_options.print = keep;
	CHECK(memblock_add(base, PAGES * PAGE) == 0);
	CHECK(pagewright_page_alloc_init() == 0);
	all = nr_free_pages();

	/* A design that there is not, and one that watches nothing, leave everything as it was. */
	pagewright_slab_options.design = 3;
	CHECK(pagewright_slab_init() == -22);
	pagewright_slab_options.design = design;
	pagewright_slab_options.debug = "P";
	CHECK(design == PAGEWRIGHT_SLUB || pagewright_slab_init() == -22);
	pagewright_slab_options.debug = NULL;
	pagewright_page_alloc_fail_nth(1);
	CHECK(pagewright_slab_init() == -12);
	said[0] = 0;
	CHECK(nr_free_pages() == all && !slab_is_available());
	CHECK(pagewright_slab_init() == 0 && slab_is_available());

	caches();
	sizes();
	CHECK(pagewright_bad_frees == 0);
	pagewright_print_slabinfo();
	CHECK(strstr(said, "slabinfo - version: 2.1") && !strstr(said, "\nmade ") && !strstr(said, "\nseen "));
	CHECK(!strstr(said, "kmalloc-8k") == (design == PAGEWRIGHT_SLOB));
	CHECK(!strstr(said, "\nkmalloc-8 ") == (design != PAGEWRIGHT_SLUB));
	CHECK(!strstr(said, "\nalien_cache ") == (design != PAGEWRIGHT_SLAB));
	puts("ok");
	free(ram);
	return 0;
}
