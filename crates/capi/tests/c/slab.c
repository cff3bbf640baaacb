/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A C program on caches and kmalloc: every function, every mistake, and all pages back at the end. Prints "ok" and returns 0, or stops at
 * the first thing that is not as it should be.
 */
#include <pagewright/memblock.h>
#include <pagewright/slab.h>
#include "check.h"

bool movable_node_enabled;

#define PAGE 4096UL
#define PAGES 8192UL
#define MANY 3000

static unsigned long findings;

/* One thing more was found, by this name; forgets it. */
static bool found(const char *what)
{
	bool so = pagewright_slab_findings() == ++findings && strstr(said, what);

	if (so)
		said[0] = 0;
	return so;
}

struct session {
	unsigned long id;
	char peer[24];
	unsigned int made;
};

struct parts {
	char hidden[24];
	char shown[40];
};

/* Each object is made once, when its slab is. */
static void make_session(void *object)
{
	struct session *session = object;

	session->made = 0x5e55;
}

static void caches(void)
{
	static void *many[MANY];
	struct kmem_cache *s, *other, *alias;
	struct session *session;
	unsigned int i, made = 0;

	/* A driver's: 40 bytes, at cache lines or equal parts of them. */
	s = kmem_cache_create("session", sizeof(struct session), 0, SLAB_HWCACHE_ALIGN, make_session);
	CHECK(s && kmem_cache_size(s) == 40);
	for (i = 0; i < MANY; i++) {
		many[i] = session = kmem_cache_alloc(s, GFP_KERNEL);
		CHECK(session && (unsigned long)session % 64 == 0 && session->made == 0x5e55);
		session->id = i;
		memset(session->peer, (int)i, sizeof(session->peer));
	}
	for (i = 0; i < MANY; i++) {
		session = many[i];
		CHECK(session->id == i && holds(session->peer, (unsigned char)i, sizeof(session->peer)));
	}
	/* It does not end while one is in use, and says which. */
	for (i = 1; i < MANY; i++)
		kmem_cache_free(s, many[i]);
	kmem_cache_destroy(s);
	CHECK(told("kmem_cache_destroy session: Slab cache still has objects: 1 objects"));
	CHECK(kmem_cache_shrink(s) == 1);
	kmem_cache_free(s, many[0]);
	CHECK(kmem_cache_shrink(s) == 0);
	kmem_cache_destroy(s);
	CHECK(!said[0] && kmem_cache_size(s) == 0 && !kmem_cache_alloc(s, GFP_KERNEL));
	kmem_cache_destroy(s);
	CHECK(told("destroyed before"));
	kmem_cache_destroy((struct kmem_cache *)77);
	CHECK(told("is no cache"));
	kmem_cache_destroy(NULL);

	/* Caches that are merged have the size of the largest one's objects. */
	s = kmem_cache_create("less", 97, 0, 0, NULL);
	CHECK(s && kmem_cache_size(s) == 97);
	alias = kmem_cache_create("more", 100, 0, 0, NULL);
	CHECK(s == alias && kmem_cache_size(s) == 100);
	kmem_cache_destroy(alias);
	kmem_cache_destroy(s);

	/* Equal caches are one, for as many users as made it. */
	s = kmem_cache_create("one", 72, 0, 0, NULL);
	alias = kmem_cache_create("two", 68, 0, 0, NULL);
	CHECK(s && s == alias);
	kmem_cache_destroy(alias);
	many[0] = kmem_cache_zalloc(s, GFP_KERNEL);
	CHECK(many[0] && holds(many[0], 0, 72));
	kmem_cache_free(s, many[0]);
	kmem_cache_free(s, NULL);
	many[0] = kmem_cache_alloc_node(s, GFP_KERNEL, 0);
	many[1] = kmem_cache_alloc_node(s, GFP_KERNEL, -1);
	CHECK(many[0] && many[1]);
	kmem_cache_free_bulk(s, 2, many);
	CHECK(!many[0] && !many[1]);

	/* Many at once: all or none. */
	CHECK(kmem_cache_alloc_bulk(s, GFP_KERNEL | __GFP_ZERO, MANY, many) == MANY);
	for (i = 0; i < MANY; i++)
		CHECK(many[i] && holds(many[i], 0, 72));
	kmem_cache_free_bulk(s, MANY, many);
	pagewright_slab_fail_nth(MANY);
	made = (unsigned int)kmem_cache_alloc_bulk(s, GFP_KERNEL, MANY, many);
	pagewright_slab_fail_nth(0);
	CHECK(made == 0);
	CHECK(kmem_cache_alloc_bulk(s, GFP_KERNEL, 0, many) == 0);

	/* Mistakes are named, and change nothing. */
	other = kmem_cache_create("other", 200, 0, 0, NULL);
	many[0] = kmem_cache_alloc(s, GFP_KERNEL);
	memset(many[0], 0x11, 72);
	kmem_cache_free(other, many[0]);
	CHECK(found("BUG one: Object belongs to another cache"));
	many[0] = kmem_cache_alloc(s, GFP_KERNEL);
	kfree((char *)many[0] + 4);
	CHECK(found("BUG one: Invalid object pointer"));
	kmem_cache_free(s, many[0]);
	kmem_cache_free(s, many[0]);
	CHECK(found("BUG one: Object already free"));
	kfree(&many);
	CHECK(found("Address was not allocated"));
	kmem_cache_free((struct kmem_cache *)77, many[0]);
	CHECK(told("is no cache"));
	kmem_cache_destroy(s);
	kmem_cache_destroy(other);
	CHECK(!said[0]);

	/* What cannot be. */
	s = kmem_cache_create("plain", 76, 0, 0, NULL);
	CHECK(s && !kmem_cache_create("a name that is one byte too long!", 76, 0, 0, NULL) && told("a cache's name"));
	/* Caches that are traced, fail on purpose, or are nothing to look for leaks in are nobody else's. */
	other = kmem_cache_create("traced", 76, 0, SLAB_TRACE, NULL);
	CHECK(other && other != s);
	many[0] = kmem_cache_alloc(other, GFP_KERNEL);
	CHECK(many[0] && told("TRACE traced alloc"));
	kmem_cache_free(other, many[0]);
	CHECK(told("TRACE traced free"));
	kmem_cache_destroy(other);
	other = kmem_cache_create("silent", 76, 0, SLAB_NOLEAKTRACE, NULL);
	alias = kmem_cache_create("failing", 76, 0, SLAB_FAILSLAB, NULL);
	CHECK(other && alias && other != s && alias != s && alias != other);
	kmem_cache_destroy(alias);
	kmem_cache_destroy(other);
	kmem_cache_destroy(s);
	CHECK(!said[0]);
	CHECK(!kmem_cache_create("flags", 8, 0, 0x40000000, NULL) && told("no such flags: 0x40000000"));
	CHECK(!kmem_cache_create("", 8, 0, 0, NULL) && told("a cache's name"));
	CHECK(!kmem_cache_create(NULL, 8, 0, 0, NULL) && told("a cache's name"));
	CHECK(!kmem_cache_create("none", 0, 0, 0, NULL) && told("Failed to create slab 'none'"));
	CHECK(!kmem_cache_create("far", 64, 8388608, 0, NULL) && told("more than the 4194304 bytes"));

	/* A part that is not inside an object is none. */
	s = kmem_cache_create_usercopy("outside", 64, 0, 0, 60, 8, NULL);
	CHECK(s && told("not inside an object"));
	many[0] = kmem_cache_alloc_lru(s, NULL, GFP_KERNEL);
	CHECK(many[0] && !pagewright_may_copy((char *)many[0] + 60, 1));
	kmem_cache_free(s, many[0]);
	kmem_cache_destroy(s);
	s = KMEM_CACHE_USERCOPY(parts, 0, shown);
	many[0] = kmem_cache_alloc(s, GFP_KERNEL);
	CHECK(pagewright_may_copy((char *)many[0] + 24, 40) && !pagewright_may_copy(many[0], 1));
	kmem_cache_free(s, many[0]);
	kmem_cache_destroy(s);

	/* A part that users may be given. */
	s = kmem_cache_create_usercopy("copied", 64, 0, SLAB_PANIC, 16, 32, NULL);
	many[0] = kmem_cache_alloc(s, GFP_KERNEL);
	CHECK(pagewright_may_copy((char *)many[0] + 16, 32) && !pagewright_may_copy((char *)many[0] + 16, 33));
	CHECK(!pagewright_may_copy((char *)many[0] + 15, 4) && !pagewright_may_copy(NULL, 1));
	kmem_cache_free(s, many[0]);
	kmem_cache_destroy(s);
}

/* Objects that keep their type while somebody reads. */
static void typesafe(void)
{
	static void *many[64];
	struct kmem_cache *s = kmem_cache_create("seen", 1024, 0, SLAB_TYPESAFE_BY_RCU, NULL);
	unsigned long before, all;
	char *first;

	CHECK(s && kmem_cache_alloc_bulk(s, GFP_KERNEL, 64, many) == 64);
	first = many[0];
	first[1000] = 77;
	before = nr_free_pages();
	pagewright_rcu_read_lock();
	pagewright_rcu_read_lock();
	kmem_cache_free_bulk(s, 64, many);
	CHECK(kmem_cache_shrink(s) == 0);
	CHECK(pagewright_rcu_read_unlock());
	pagewright_slab_reap();
	CHECK(nr_free_pages() <= before && first[1000] == 77);
	/* A cache that is destroyed meanwhile ends when they have left. */
	kmem_cache_destroy(s);
	CHECK(!said[0] && kmem_cache_size(s) == 1024);
	kmem_cache_destroy(s);
	CHECK(told("destroyed before"));
	pagewright_slab_reap();
	CHECK(kmem_cache_size(s) == 1024 && nr_free_pages() <= before && first[1000] == 77);
	CHECK(pagewright_rcu_read_unlock() && !pagewright_rcu_read_unlock());
	pagewright_slab_reap();
	all = nr_free_pages();
	CHECK(!said[0] && all > before + 10 && kmem_cache_size(s) == 0);
	/* One that begins later does not keep what was freed before. */
	s = kmem_cache_create("seen", 1024, 0, SLAB_TYPESAFE_BY_RCU, NULL);
	CHECK(s && kmem_cache_alloc_bulk(s, GFP_KERNEL, 64, many) == 64);
	kmem_cache_free_bulk(s, 64, many);
	kmem_cache_shrink(s);
	pagewright_rcu_read_lock();
	kmem_cache_destroy(s);
	pagewright_rcu_read_unlock();
	CHECK(!said[0] && kmem_cache_size(s) == 0 && nr_free_pages() > before + 10);
}

/* What watched caches see. */
static void watched(void)
{
	struct kmem_cache *s = kmem_cache_create("watched", 100, 0, SLAB_POISON | SLAB_RED_ZONE | SLAB_STORE_USER, NULL);
	char *object = kmem_cache_alloc(s, GFP_KERNEL), *next;

	CHECK(object);
	kmem_cache_free(s, object);
	object[50] = 1;
	next = kmem_cache_alloc(s, GFP_KERNEL);
	CHECK(found("Poison overwritten") && next && next != object);
	next[100] = 1;
	kmem_cache_free(s, next);
	CHECK(found("Right Redzone overwritten"));
	/* What is damaged is used no more, and its cache stays. */
	kmem_cache_destroy(s);
	CHECK(told("kmem_cache_destroy watched: Slab cache still has objects"));
}

static void sizes(void)
{
	static void *many[100];
	static const size_t sizes[] = { 1, 8, 9, 96, 97, 192, 193, 256, 1000, 4097, 8192, 8193, 100000, 4194304 };
	unsigned char *p, *q;
	size_t i, n, size;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size = sizes[i];
		p = kmalloc(size, GFP_KERNEL);
		CHECK(p && ksize(p) >= size && (size & (size - 1) || (unsigned long)p % size == 0));
		memset(p, 0xaa, ksize(p));
		kfree_sensitive(p);
		p = kzalloc(size, GFP_KERNEL);
		CHECK(p && holds(p, 0, size));
		memset(p, 0x33, size);
		q = krealloc(p, size / 2 + 1, GFP_KERNEL);
		CHECK(q == p && holds(q, 0x33, size));
		if (size < 4194304) {
			q = krealloc(p, 2 * size, GFP_KERNEL);
			CHECK(q && holds(q, 0x33, size));
			p = q;
			/* One that fails leaves everything as it was. */
			pagewright_slab_fail_nth(1);
			q = krealloc(p, 4000000, GFP_KERNEL);
			pagewright_slab_fail_nth(0);
			CHECK(!q && holds(p, 0x33, size));
		} else {
			CHECK(!krealloc(p, size + 1, GFP_KERNEL) && holds(p, 0x33, size));
		}
		kfree(p);
		kfree(kzalloc_node(size, GFP_KERNEL, 0));
		kfree(kmalloc_node(size, GFP_KERNEL | __GFP_RECLAIMABLE, -1));
	}
	CHECK(!kmalloc(4194305, GFP_KERNEL) && !kmalloc(SIZE_MAX, GFP_KERNEL));
	CHECK(!kmalloc_array(SIZE_MAX / 2, 3, GFP_KERNEL) && !krealloc_array(NULL, SIZE_MAX, 2, GFP_KERNEL));
	p = kcalloc(100, 7, GFP_KERNEL);
	CHECK(p && holds(p, 0, 700));
	p = krealloc_array(p, 200, 7, GFP_KERNEL);
	CHECK(p && holds(p, 0, 700));
	CHECK(krealloc(p, 0, GFP_KERNEL) == ZERO_SIZE_PTR);
	CHECK(kmalloc(0, GFP_KERNEL) == ZERO_SIZE_PTR && ksize(ZERO_SIZE_PTR) == 0 && ksize(NULL) == 0);
	kfree(ZERO_SIZE_PTR);
	kfree_sensitive(ZERO_SIZE_PTR);
	kfree(NULL);
	p = krealloc(NULL, 10, GFP_KERNEL);
	CHECK(p);
	kfree(p);
	p = (unsigned char *)kstrdup("a text", GFP_KERNEL);
	CHECK(p && !strcmp((char *)p, "a text") && !kstrdup(NULL, GFP_KERNEL));
	q = kmemdup(p, 7, GFP_ATOMIC);
	CHECK(q && !memcmp(p, q, 7));
	kfree(q);
	q = (unsigned char *)kstrndup((char *)p, 3, GFP_KERNEL);
	CHECK(q && !strcmp((char *)q, "a t") && !kstrndup(NULL, 3, GFP_KERNEL));
	kfree(q);
	q = (unsigned char *)kstrndup((char *)p, 100, GFP_KERNEL);
	CHECK(q && !strcmp((char *)q, "a text"));
	kfree(q);
	q = (unsigned char *)kmemdup_nul((char *)p, 2, GFP_KERNEL);
	CHECK(q && !strcmp((char *)q, "a "));
	kfree(q);
	q = (unsigned char *)kstrdup_const((char *)p, GFP_KERNEL);
	CHECK(q && !strcmp((char *)q, "a text"));
	kfree_const(q);
	kfree(p);
	p = kmalloc_track_caller(10, GFP_KERNEL);
	CHECK(p);
	kfree(p);
	p = kcalloc_node(10, 30, GFP_KERNEL, 0);
	CHECK(p && holds(p, 0, 300) && !kmalloc_array_node(SIZE_MAX / 2, 3, GFP_KERNEL, -1));
	kfree(p);
	CHECK(kmalloc_size_roundup(0) == 0 && kmalloc_size_roundup(1) == 8 && kmalloc_size_roundup(97) == 128);
	CHECK(kmalloc_size_roundup(8193) == 16384 && kmalloc_size_roundup(SIZE_MAX) == SIZE_MAX);
	CHECK(kmalloc_size_roundup(KMALLOC_MAX_CACHE_SIZE) == 2 * PAGE && kmalloc_size_roundup(1) == ARCH_KMALLOC_MINALIGN);
	CHECK(kmalloc_size_roundup(KMALLOC_MAX_SIZE) == KMALLOC_MAX_SIZE && !kmalloc(KMALLOC_MAX_SIZE + 1, GFP_KERNEL));
	p = kmalloc(KMALLOC_MAX_SIZE, GFP_KERNEL);
	CHECK(p);
	kfree(p);
	for (n = 0; n < 100; n++)
		many[n] = n % 7 ? kmalloc(n * n, GFP_KERNEL) : NULL;
	kfree_bulk(100, many);
	/* DMA memory lies below the zone's limit. */
	p = kmalloc(500, GFP_KERNEL | __GFP_DMA);
	CHECK(p && (uint64_t)p < pagewright_page_options.dma_limit);
	kfree(p);
	CHECK(!said[0] && pagewright_slab_findings() == findings);
}

int main(void)
{
	unsigned char *ram = aligned_alloc(PAGE << 10, PAGES * PAGE);
	phys_addr_t base = (phys_addr_t)(uintptr_t)ram;
	unsigned long all, taken;
	struct kmem_cache *s;
	void *objects[100];

	CHECK(ram);
	memset(ram, 0xaa, PAGES * PAGE);
#ifndef CONFIG_NUMA
	pagewright_memblock_options.numa = false;
#endif
	pagewright_memblock_options.print = keep;
	/* Nothing is there before it begins. */
	pagewright_slab_reap();
	CHECK(!slab_is_available() && pagewright_slab_init() == -22 && !kmalloc(8, GFP_KERNEL));
	CHECK(!kmem_cache_create("early", 8, 0, 0, NULL) && told("there are no slabs yet"));
	CHECK(memblock_add(base, PAGES * PAGE) == 0);
	pagewright_page_options.dma_limit = base + 1024 * PAGE;
	CHECK(pagewright_page_alloc_init() == 0);
	all = nr_free_pages();

	/* What makes no sense, and what has no room, leaves everything as it was. */
	pagewright_slab_options.caches = 20;
	CHECK(pagewright_slab_init() == -22);
	pagewright_slab_options.caches = 200;
	pagewright_slab_options.min_size = 24;
	CHECK(pagewright_slab_init() == -22);
	pagewright_slab_options.min_size = 8;
	pagewright_slab_options.debug = "QP,nobody";
	pagewright_page_alloc_fail_nth(1);
	CHECK(pagewright_slab_init() == -12 && told("slub_debug option 'Q' unknown. skipped"));
	said[0] = 0;
	CHECK(nr_free_pages() == all && !slab_is_available());
	CHECK(pagewright_slab_init() == 0 && pagewright_slab_init() == -16 && slab_is_available());
	CHECK(told("slub_debug option 'Q' unknown. skipped"));
	taken = all - nr_free_pages();
	CHECK(taken > 0 && taken < 64);

	caches();
	typesafe();
	watched();
	sizes();
	CHECK(pagewright_bad_frees == 0);
	/* slabinfo has every cache, and none that ended. */
	pagewright_print_slabinfo();
	CHECK(strstr(said, "slabinfo - version: 2.1") && strstr(said, "kmalloc-8k") && strstr(said, "dma-kmalloc-512"));
	CHECK(strstr(said, "\nwatched ") && !strstr(said, "\nsession ") && !strstr(said, "\none "));
	said[0] = 0;

	/* Page for page: what one more cache took is free again. */
	s = kmem_cache_create("last", 3000, 0, 0, NULL);
	kmem_cache_free(s, kmem_cache_alloc(s, GFP_KERNEL));
	CHECK(kmem_cache_shrink(s) == 0);
	all = nr_free_pages();
	CHECK(kmem_cache_alloc_bulk(s, GFP_KERNEL, 100, objects) == 100 && nr_free_pages() < all - 70);
	kmem_cache_destroy(s);
	CHECK(told("100 objects are still in use"));
	kmem_cache_free_bulk(s, 100, objects);
	/* What nobody needs between two calls goes back without anybody asking for it by name. */
	pagewright_slab_reap();
	taken = nr_free_pages();
	pagewright_slab_reap();
	CHECK(nr_free_pages() > taken && nr_free_pages() <= all);
	CHECK(kmem_cache_shrink(s) == 0 && nr_free_pages() == all);
	kmem_cache_destroy(s);
	CHECK(!said[0]);
	puts("ok");
	free(ram);
	return 0;
}
