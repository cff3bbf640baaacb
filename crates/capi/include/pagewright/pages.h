/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Linux 6.1's page allocator, served by libpagewright_capi.a. The functions are described in the documentation of the
 * Rust package pagewright-capi.
 *
 * The program
 *   - gives memory to memblock first (<pagewright/memblock.h>), all of it accessible at `physical address +
 *     virt_offset`, and reserves there what it needs itself; then calls pagewright_page_alloc_init once;
 *   - uses the allocator from one thread at a time, and not from inside a hook;
 *   - leaves the contents of struct page alone. Pointers to it may be counted up inside one block.
 *
 * What must not be freed (twice, with another order, a tail, with other references) is printed as "BUG: Bad page
 * state", counted in pagewright_bad_frees, and stays as it is.
 *
 * Link with -lpagewright_capi. 64-bit programs only.
 */
#ifndef PAGEWRIGHT_PAGES_H
#define PAGEWRIGHT_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef unsigned int gfp_t;

/* Opaque: only its size counts. */
struct page {
	uint64_t opaque[4];
} __attribute__((aligned(32)));

/* Set before pagewright_page_alloc_init. Page size and largest order are memblock's options. */
struct pagewright_page_options {
	uint64_t dma_limit;           /* addresses below are ZONE_DMA; 0 (at first): there is none */
	uint64_t dma32_limit;         /* addresses below are ZONE_DMA32; 0 (at first): there is none */
	unsigned int pageblock_order; /* 9 at first; at most max_order - 1 */
};

extern struct pagewright_page_options pagewright_page_options;
extern unsigned long pagewright_bad_frees;

/* 0, or -EBUSY, -EINVAL, -ENOMEM; memblock has all memory still then. */
int pagewright_page_alloc_init(void);
/* The n-th allocation from now on fails, 1 being the next; 0 ends it. */
void pagewright_page_alloc_fail_nth(unsigned int n);

#define __GFP_DMA 0x01u
#define __GFP_HIGHMEM 0x02u
#define __GFP_DMA32 0x04u
#define __GFP_MOVABLE 0x08u
#define __GFP_RECLAIMABLE 0x10u
#define __GFP_HIGH 0x20u
#define __GFP_IO 0x40u
#define __GFP_FS 0x80u
#define __GFP_ZERO 0x100u
#define __GFP_ATOMIC 0x200u
#define __GFP_DIRECT_RECLAIM 0x400u
#define __GFP_KSWAPD_RECLAIM 0x800u
#define __GFP_WRITE 0x1000u
#define __GFP_NOWARN 0x2000u
#define __GFP_RETRY_MAYFAIL 0x4000u
#define __GFP_NOFAIL 0x8000u
#define __GFP_NORETRY 0x10000u
#define __GFP_MEMALLOC 0x20000u
#define __GFP_COMP 0x40000u
#define __GFP_NOMEMALLOC 0x80000u
#define __GFP_HARDWALL 0x100000u
#define __GFP_THISNODE 0x200000u
#define __GFP_ACCOUNT 0x400000u
#define __GFP_ZEROTAGS 0x800000u

#define __GFP_RECLAIM (__GFP_DIRECT_RECLAIM | __GFP_KSWAPD_RECLAIM)
#define GFP_ATOMIC (__GFP_HIGH | __GFP_ATOMIC | __GFP_KSWAPD_RECLAIM)
#define GFP_KERNEL (__GFP_RECLAIM | __GFP_IO | __GFP_FS)
#define GFP_KERNEL_ACCOUNT (GFP_KERNEL | __GFP_ACCOUNT)
#define GFP_NOWAIT (__GFP_KSWAPD_RECLAIM)
#define GFP_NOIO (__GFP_RECLAIM)
#define GFP_NOFS (__GFP_RECLAIM | __GFP_IO)
#define GFP_USER (__GFP_RECLAIM | __GFP_IO | __GFP_FS | __GFP_HARDWALL)
#define GFP_DMA __GFP_DMA
#define GFP_DMA32 __GFP_DMA32
#define GFP_HIGHUSER (GFP_USER | __GFP_HIGHMEM)
#define GFP_HIGHUSER_MOVABLE (GFP_HIGHUSER | __GFP_MOVABLE)
#define GFP_TRANSHUGE_LIGHT                                                                                 \
	((GFP_HIGHUSER_MOVABLE | __GFP_COMP | __GFP_NOMEMALLOC | __GFP_NOWARN) & ~__GFP_RECLAIM)
#define GFP_TRANSHUGE (GFP_TRANSHUGE_LIGHT | __GFP_DIRECT_RECLAIM)

/* By struct page. A node that there is not gives NULL; NUMA_NO_NODE (-1) is the CPU's own. */
struct page *alloc_pages(gfp_t gfp, unsigned int order);
struct page *alloc_pages_node(int nid, gfp_t gfp, unsigned int order);
unsigned long alloc_pages_bulk_array(gfp_t gfp, unsigned long nr_pages, struct page **page_array);
void __free_pages(struct page *page, unsigned int order);
void split_page(struct page *page, unsigned int order);
void get_page(struct page *page);
void put_page(struct page *page);
int page_count(const struct page *page);
struct page *compound_head(const struct page *page);
unsigned int compound_order(const struct page *page);
int PageHead(const struct page *page);
int PageTail(const struct page *page);
int PageCompound(const struct page *page);

#define alloc_page(gfp) alloc_pages(gfp, 0)
#define __free_page(page) __free_pages((page), 0)

/* By address in the linear map. */
unsigned long __get_free_pages(gfp_t gfp, unsigned int order);
unsigned long get_zeroed_page(gfp_t gfp);
void free_pages(unsigned long addr, unsigned int order);
void *alloc_pages_exact(size_t size, gfp_t gfp);
void *alloc_pages_exact_nid(int nid, size_t size, gfp_t gfp);
void free_pages_exact(void *virt, size_t size);

#define __get_free_page(gfp) __get_free_pages((gfp), 0)
#define __get_dma_pages(gfp, order) __get_free_pages((gfp) | GFP_DMA, (order))
#define free_page(addr) free_pages((addr), 0)

/* From one name of a page to another. NULL, 0 or ULONG_MAX (page_to_pfn) for what is no page. */
unsigned long page_to_pfn(const struct page *page);
struct page *pfn_to_page(unsigned long pfn);
uint64_t page_to_phys(const struct page *page);
struct page *phys_to_page(uint64_t phys);
void *page_address(const struct page *page);
struct page *virt_to_page(const void *virt);

/* Free pages, those in the CPU's lists included; and what empties these. */
unsigned long nr_free_pages(void);
void drain_all_pages(void);

#ifdef __cplusplus
}
#endif

#endif
