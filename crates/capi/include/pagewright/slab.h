/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Linux 6.1's small objects (SLUB, SLAB or SLOB), served by libpagewright_capi.a: caches of equal objects, and kmalloc. The functions are described in the
 * documentation of the Rust package pagewright-capi.
 *
 * The program
 *   - starts the page allocator (<pagewright/pages.h>), with `virt_offset` a multiple of the largest block's size, then calls
 *     pagewright_slab_init once;
 *   - uses objects from one thread at a time, and not from inside a hook;
 *   - takes a struct kmem_cache pointer for a name, behind which nothing lies;
 *   - gives caches names of 1 to 32 bytes, which are copied: no others are made.
 *
 * What is found to be wrong with an object (freed twice, no object's address, another cache's, written while it was free) is printed
 * as SLUB prints it, counted by pagewright_slab_findings, and not done or not handed out. Caches are watched closely by SLAB_POISON,
 * SLAB_RED_ZONE, SLAB_STORE_USER and SLAB_CONSISTENCY_CHECKS, or by the options' `debug`.
 *
 * In caches that are not watched, an address inside an object is recognised when it is freed only if no object could begin at such an
 * address. One that is aligned as objects are (8 bytes into an object of 40, 32 bytes into one of kmalloc-96) is kept as a free object
 * until it goes back to its slab, where it is recognised, and may be handed out before. Linux does not look at all there.
 *
 * Link with -lpagewright_capi. 64-bit programs only.
 */
#ifndef PAGEWRIGHT_SLAB_H
#define PAGEWRIGHT_SLAB_H

#include <pagewright/memblock.h>
#include <pagewright/pages.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef unsigned int slab_flags_t;
struct kmem_cache;

/*
 * SLAB and SLOB merge no caches and watch none: the flags for that mean nothing, and `debug` must be NULL. With SLOB, kfree frees no objects of caches, ksize
 * wants memory of kmalloc, and a cache that does not end tells how many objects are in use, not which.
 */
enum pagewright_slab_design {
	PAGEWRIGHT_SLUB,
	PAGEWRIGHT_SLAB,
	PAGEWRIGHT_SLOB,
};

/* Set before pagewright_slab_init. */
struct pagewright_slab_options {
	unsigned int caches;   /* how many there can be at once, kmalloc's included; 256 at first */
	unsigned int min_size; /* ARCH_KMALLOC_MINALIGN: kmalloc's least size and alignment; 8 at first */
	bool accounted;        /* whether __GFP_ACCOUNT has caches of its own; false at first */
	const char *debug;     /* what stands behind slub_debug=, or NULL (at first); it must stay. Unknown letters are skipped, and printed */
	uint64_t seed;         /* what free pointers and orders are mixed with; any number but 0 */
	unsigned int design;   /* enum pagewright_slab_design; SLUB at first */
};

extern struct pagewright_slab_options pagewright_slab_options;

/* 0, or -EBUSY, -EINVAL, -ENOMEM. */
int pagewright_slab_init(void);
bool slab_is_available(void);
/* How often something was found to be wrong. */
unsigned long pagewright_slab_findings(void);
/* The n-th allocation of an object from now on fails, 1 being the next; 0 ends it. */
void pagewright_slab_fail_nth(unsigned int n);
/*
 * Gives back what is kept at hand and was not needed since the last call, as Linux does every two seconds: from a timer, or whenever there
 * is time. Nobody else calls it, so without it free objects stay where they are until kmem_cache_shrink or the end of their cache.
 */
void pagewright_slab_reap(void);
/* Prints /proc/slabinfo. */
void pagewright_print_slabinfo(void);
/* Whether user space may be given n bytes at p: see useroffset and usersize. */
bool pagewright_may_copy(const void *p, size_t n);

#define SLAB_CONSISTENCY_CHECKS 0x00000100u
#define SLAB_RED_ZONE 0x00000400u
#define SLAB_POISON 0x00000800u
#define SLAB_HWCACHE_ALIGN 0x00002000u
#define SLAB_CACHE_DMA 0x00004000u
#define SLAB_CACHE_DMA32 0x00008000u
#define SLAB_STORE_USER 0x00010000u
#define SLAB_RECLAIM_ACCOUNT 0x00020000u
#define SLAB_PANIC 0x00040000u
#define SLAB_TYPESAFE_BY_RCU 0x00080000u /* see pagewright_rcu_read_lock */
#define SLAB_ACCOUNT 0x04000000u
#define SLAB_TRACE 0x00200000u /* every allocation and free is printed */
#define SLAB_FAILSLAB 0x02000000u
#define SLAB_NOLEAKTRACE 0x00800000u /* merged with no other */
/* These mean nothing here. */
#define SLAB_MEM_SPREAD 0x00100000u
#define SLAB_DEBUG_OBJECTS 0x00400000u
#define SLAB_KASAN 0x08000000u
#define SLAB_NO_USER_FLAGS 0x10000000u

/* Known when the program runs: all three follow from the options. */
#define KMALLOC_MAX_SIZE                                                                                    \
	(1UL << (pagewright_memblock_options.page_shift + pagewright_memblock_options.max_order - 1))
#define KMALLOC_MAX_CACHE_SIZE (1UL << (pagewright_memblock_options.page_shift + 1))
#define ARCH_KMALLOC_MINALIGN (pagewright_slab_options.min_size)

/* Where memory of no bytes lies. */
#define ZERO_SIZE_PTR ((void *)16)
#define ZERO_OR_NULL_PTR(p) ((unsigned long)(p) <= (unsigned long)ZERO_SIZE_PTR)

struct kmem_cache *kmem_cache_create(const char *name, unsigned int size, unsigned int align, slab_flags_t flags,
				     void (*ctor)(void *));
struct kmem_cache *kmem_cache_create_usercopy(const char *name, unsigned int size, unsigned int align,
					      slab_flags_t flags, unsigned int useroffset,
					      unsigned int usersize, void (*ctor)(void *));
void kmem_cache_destroy(struct kmem_cache *s);
int kmem_cache_shrink(struct kmem_cache *s);
unsigned int kmem_cache_size(struct kmem_cache *s);
void *kmem_cache_alloc(struct kmem_cache *s, gfp_t gfp);
void *kmem_cache_zalloc(struct kmem_cache *s, gfp_t gfp);
void *kmem_cache_alloc_node(struct kmem_cache *s, gfp_t gfp, int nid);
struct list_lru;
void *kmem_cache_alloc_lru(struct kmem_cache *s, struct list_lru *lru, gfp_t gfp);
void kmem_cache_free(struct kmem_cache *s, void *object);
int kmem_cache_alloc_bulk(struct kmem_cache *s, gfp_t gfp, size_t size, void **p);
void kmem_cache_free_bulk(struct kmem_cache *s, size_t size, void **p);

/* A cache for a struct, by its name. */
#define KMEM_CACHE(type, flags)                                                                             \
	kmem_cache_create(#type, sizeof(struct type), __alignof__(struct type), (flags), NULL)

/* The same, of which users may be given one field. */
#define KMEM_CACHE_USERCOPY(type, flags, field)                                                             \
	kmem_cache_create_usercopy(#type, sizeof(struct type), __alignof__(struct type), (flags),           \
				   __builtin_offsetof(struct type, field), sizeof(((struct type *)0)->field), NULL)

/*
 * Objects of caches with SLAB_TYPESAFE_BY_RCU may be looked at in a section after they were freed: they may be somebody else's, but are objects of
 * that cache, whose memory goes only when the section has ended. Sections may lie inside each other. A cache that is destroyed before ends with the first
 * pagewright_slab_reap or kmem_cache_create after that.
 */
void pagewright_rcu_read_lock(void);
/* Whether a section was open. */
bool pagewright_rcu_read_unlock(void);

void *kmalloc(size_t size, gfp_t gfp);
void *kmalloc_node(size_t size, gfp_t gfp, int nid);
void *kzalloc(size_t size, gfp_t gfp);
void *kzalloc_node(size_t size, gfp_t gfp, int nid);
void *kmalloc_array(size_t n, size_t size, gfp_t gfp);
void *kcalloc(size_t n, size_t size, gfp_t gfp);
void *kmalloc_array_node(size_t n, size_t size, gfp_t gfp, int nid);
void *kcalloc_node(size_t n, size_t size, gfp_t gfp, int nid);
#define kmalloc_track_caller(size, gfp) kmalloc((size), (gfp))
size_t kmalloc_size_roundup(size_t size);
void *krealloc(const void *p, size_t size, gfp_t gfp);
void *krealloc_array(void *p, size_t n, size_t size, gfp_t gfp);
void kfree(const void *p);
void kfree_sensitive(const void *p);
void kfree_bulk(size_t size, void **p);
size_t ksize(const void *p);
/* Over kmalloc alone: there is no vmalloc, so large sizes want pages that lie side by side, and none is above KMALLOC_MAX_SIZE. */
void *kvmalloc(size_t size, gfp_t gfp);
void *kvmalloc_node(size_t size, gfp_t gfp, int nid);
void *kvzalloc(size_t size, gfp_t gfp);
void *kvzalloc_node(size_t size, gfp_t gfp, int nid);
void *kvmalloc_array(size_t n, size_t size, gfp_t gfp);
void *kvcalloc(size_t n, size_t size, gfp_t gfp);
void *kvrealloc(const void *p, size_t old_size, size_t new_size, gfp_t gfp);
void kvfree(const void *p);
void kvfree_sensitive(const void *p, size_t len);
void *kmemdup(const void *src, size_t len, gfp_t gfp);
char *kstrdup(const char *s, gfp_t gfp);
char *kstrndup(const char *s, size_t max, gfp_t gfp);
char *kmemdup_nul(const char *s, size_t len, gfp_t gfp);
/* Which texts are constants is not known here: this is always a copy. */
const char *kstrdup_const(const char *s, gfp_t gfp);
void kfree_const(const void *p);

/*
 * What is recorded of watched objects (SLAB_STORE_USER, `debug` with U or T) names lines of the library, unless the program says where it calls: it defines
 * PAGEWRIGHT_SLAB_SITES before this header, which makes macros of the functions. Of calls in the arguments of others the outer one's line is not known.
 */
void pagewright_slab_from(const char *file, unsigned int line); /* of the next call that does something; file must stay */
#ifdef PAGEWRIGHT_SLAB_SITES
#define PAGEWRIGHT_SLAB_AT(call) (pagewright_slab_from(__FILE__, __LINE__), call)
#define kmem_cache_alloc(s, gfp) PAGEWRIGHT_SLAB_AT(kmem_cache_alloc(s, gfp))
#define kmem_cache_zalloc(s, gfp) PAGEWRIGHT_SLAB_AT(kmem_cache_zalloc(s, gfp))
#define kmem_cache_alloc_node(s, gfp, nid) PAGEWRIGHT_SLAB_AT(kmem_cache_alloc_node(s, gfp, nid))
#define kmem_cache_alloc_lru(s, lru, gfp) PAGEWRIGHT_SLAB_AT(kmem_cache_alloc_lru(s, lru, gfp))
#define kmem_cache_free(s, object) PAGEWRIGHT_SLAB_AT(kmem_cache_free(s, object))
#define kmem_cache_alloc_bulk(s, gfp, size, p) PAGEWRIGHT_SLAB_AT(kmem_cache_alloc_bulk(s, gfp, size, p))
#define kmem_cache_free_bulk(s, size, p) PAGEWRIGHT_SLAB_AT(kmem_cache_free_bulk(s, size, p))
#define kmalloc(size, gfp) PAGEWRIGHT_SLAB_AT(kmalloc(size, gfp))
#define kmalloc_node(size, gfp, nid) PAGEWRIGHT_SLAB_AT(kmalloc_node(size, gfp, nid))
#define kzalloc(size, gfp) PAGEWRIGHT_SLAB_AT(kzalloc(size, gfp))
#define kzalloc_node(size, gfp, nid) PAGEWRIGHT_SLAB_AT(kzalloc_node(size, gfp, nid))
#define kmalloc_array(n, size, gfp) PAGEWRIGHT_SLAB_AT(kmalloc_array(n, size, gfp))
#define kcalloc(n, size, gfp) PAGEWRIGHT_SLAB_AT(kcalloc(n, size, gfp))
#define kmalloc_array_node(n, size, gfp, nid) PAGEWRIGHT_SLAB_AT(kmalloc_array_node(n, size, gfp, nid))
#define kcalloc_node(n, size, gfp, nid) PAGEWRIGHT_SLAB_AT(kcalloc_node(n, size, gfp, nid))
#define krealloc(p, size, gfp) PAGEWRIGHT_SLAB_AT(krealloc(p, size, gfp))
#define krealloc_array(p, n, size, gfp) PAGEWRIGHT_SLAB_AT(krealloc_array(p, n, size, gfp))
#define kfree(p) PAGEWRIGHT_SLAB_AT(kfree(p))
#define kfree_sensitive(p) PAGEWRIGHT_SLAB_AT(kfree_sensitive(p))
#define kfree_bulk(size, p) PAGEWRIGHT_SLAB_AT(kfree_bulk(size, p))
#define kvmalloc(size, gfp) PAGEWRIGHT_SLAB_AT(kvmalloc(size, gfp))
#define kvmalloc_node(size, gfp, nid) PAGEWRIGHT_SLAB_AT(kvmalloc_node(size, gfp, nid))
#define kvzalloc(size, gfp) PAGEWRIGHT_SLAB_AT(kvzalloc(size, gfp))
#define kvzalloc_node(size, gfp, nid) PAGEWRIGHT_SLAB_AT(kvzalloc_node(size, gfp, nid))
#define kvmalloc_array(n, size, gfp) PAGEWRIGHT_SLAB_AT(kvmalloc_array(n, size, gfp))
#define kvcalloc(n, size, gfp) PAGEWRIGHT_SLAB_AT(kvcalloc(n, size, gfp))
#define kvrealloc(p, old_size, new_size, gfp) PAGEWRIGHT_SLAB_AT(kvrealloc(p, old_size, new_size, gfp))
#define kvfree(p) PAGEWRIGHT_SLAB_AT(kvfree(p))
#define kvfree_sensitive(p, len) PAGEWRIGHT_SLAB_AT(kvfree_sensitive(p, len))
#define kmemdup(src, len, gfp) PAGEWRIGHT_SLAB_AT(kmemdup(src, len, gfp))
#define kstrdup(s, gfp) PAGEWRIGHT_SLAB_AT(kstrdup(s, gfp))
#define kstrndup(s, max, gfp) PAGEWRIGHT_SLAB_AT(kstrndup(s, max, gfp))
#define kmemdup_nul(s, len, gfp) PAGEWRIGHT_SLAB_AT(kmemdup_nul(s, len, gfp))
#define kstrdup_const(s, gfp) PAGEWRIGHT_SLAB_AT(kstrdup_const(s, gfp))
#define kfree_const(p) PAGEWRIGHT_SLAB_AT(kfree_const(p))
#endif

#ifdef __cplusplus
}
#endif

#endif
