/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Linux 6.1's memblock interface, served by libpagewright_capi.a.
 *
 * A program that has Linux's own <linux/memblock.h> uses that one instead and takes the last part of this file,
 * the options, by defining PAGEWRIGHT_MEMBLOCK_OPTIONS_ONLY. The functions are described in the documentation of
 * the Rust package pagewright-capi.
 *
 * The program
 *   - defines `bool movable_node_enabled` (allocations avoid hot-pluggable memory);
 *   - uses memblock from one thread at a time, and not from inside a hook;
 *   - keeps `memblock.memory.regions` and `memblock.reserved.regions` apart, each with room for `max` initialised
 *     regions, sorted and without overlaps, of which the first `cnt` count;
 *   - has memory below the current limit accessible at `physical address + virt_offset` before it lets region
 *     arrays grow (memblock_allow_resize) or asks for zeroed memory.
 *
 * Link with -lpagewright_capi. 64-bit programs only.
 */
#ifndef PAGEWRIGHT_MEMBLOCK_H
#define PAGEWRIGHT_MEMBLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef PAGEWRIGHT_MEMBLOCK_OPTIONS_ONLY

typedef uint64_t phys_addr_t;

#define NUMA_NO_NODE (-1)

/* What is special about a region. */
enum memblock_flags {
	MEMBLOCK_NONE = 0x0,
	MEMBLOCK_HOTPLUG = 0x1,
	MEMBLOCK_MIRROR = 0x2,
	MEMBLOCK_NOMAP = 0x4,
	MEMBLOCK_DRIVER_MANAGED = 0x8
};

/* A range of physical addresses. Without CONFIG_NUMA the room of `nid` is padding. */
struct memblock_region {
	phys_addr_t base;
	phys_addr_t size;
	enum memblock_flags flags;
#ifdef CONFIG_NUMA
	int nid;
#endif
};

/* A sorted array of regions. An empty one has cnt 1 and a region of size 0. */
struct memblock_type {
	unsigned long cnt;
	unsigned long max;
	phys_addr_t total_size;
	struct memblock_region *regions;
	char *name;
};

struct memblock {
	bool bottom_up;
	phys_addr_t current_limit;
	struct memblock_type memory;
	struct memblock_type reserved;
};

extern struct memblock memblock;

extern unsigned long max_low_pfn;
extern unsigned long min_low_pfn;
extern unsigned long max_pfn;
extern unsigned long long max_possible_pfn;

/* Upper bounds with a meaning of their own. */
#define MEMBLOCK_ALLOC_ANYWHERE (~(phys_addr_t)0)
#define MEMBLOCK_ALLOC_ACCESSIBLE 0
#define MEMBLOCK_ALLOC_NOLEAKTRACE 1
#define MEMBLOCK_LOW_LIMIT 0
#ifndef ARCH_LOW_ADDRESS_LIMIT
#define ARCH_LOW_ADDRESS_LIMIT 0xffffffffUL
#endif

/* Changing the sets: 0, or a negative error number and nothing has changed. */
int memblock_add(phys_addr_t base, phys_addr_t size);
int memblock_add_node(phys_addr_t base, phys_addr_t size, int nid, enum memblock_flags flags);
int memblock_remove(phys_addr_t base, phys_addr_t size);
int memblock_reserve(phys_addr_t base, phys_addr_t size);
int memblock_phys_free(phys_addr_t base, phys_addr_t size);
void memblock_free(void *ptr, size_t size);
int memblock_mark_hotplug(phys_addr_t base, phys_addr_t size);
int memblock_clear_hotplug(phys_addr_t base, phys_addr_t size);
int memblock_mark_mirror(phys_addr_t base, phys_addr_t size);
int memblock_mark_nomap(phys_addr_t base, phys_addr_t size);
int memblock_clear_nomap(phys_addr_t base, phys_addr_t size);
int memblock_set_node(phys_addr_t base, phys_addr_t size, struct memblock_type *type, int nid);
void memblock_allow_resize(void);
void memblock_set_current_limit(phys_addr_t limit);
void memblock_trim_memory(phys_addr_t align);
void memblock_enforce_memory_limit(phys_addr_t limit);
void memblock_cap_memory_range(phys_addr_t base, phys_addr_t size);
void memblock_mem_limit_remove_map(phys_addr_t limit);

/* Allocating physical memory: its address, or 0. */
phys_addr_t memblock_phys_alloc_range(phys_addr_t size, phys_addr_t align, phys_addr_t start, phys_addr_t end);
phys_addr_t memblock_alloc_range_nid(phys_addr_t size, phys_addr_t align, phys_addr_t start, phys_addr_t end,
				     int nid, bool exact_nid);
phys_addr_t memblock_phys_alloc_try_nid(phys_addr_t size, phys_addr_t align, int nid);

/* Allocating memory by pointer: NULL if there is none. Zeroed, except for the raw ones. */
void *memblock_alloc_try_nid(phys_addr_t size, phys_addr_t align, phys_addr_t min_addr, phys_addr_t max_addr,
			     int nid);
void *memblock_alloc_try_nid_raw(phys_addr_t size, phys_addr_t align, phys_addr_t min_addr,
				 phys_addr_t max_addr, int nid);
void *memblock_alloc_exact_nid_raw(phys_addr_t size, phys_addr_t align, phys_addr_t min_addr,
				   phys_addr_t max_addr, int nid);

static inline phys_addr_t memblock_phys_alloc(phys_addr_t size, phys_addr_t align)
{
	return memblock_phys_alloc_range(size, align, 0, MEMBLOCK_ALLOC_ACCESSIBLE);
}

static inline void *memblock_alloc_node(phys_addr_t size, phys_addr_t align, int nid)
{
	return memblock_alloc_try_nid(size, align, MEMBLOCK_LOW_LIMIT, MEMBLOCK_ALLOC_ACCESSIBLE, nid);
}

static inline void *memblock_alloc(phys_addr_t size, phys_addr_t align)
{
	return memblock_alloc_node(size, align, NUMA_NO_NODE);
}

static inline void *memblock_alloc_raw(phys_addr_t size, phys_addr_t align)
{
	return memblock_alloc_try_nid_raw(size, align, MEMBLOCK_LOW_LIMIT, MEMBLOCK_ALLOC_ACCESSIBLE,
					  NUMA_NO_NODE);
}

static inline void *memblock_alloc_from(phys_addr_t size, phys_addr_t align, phys_addr_t min_addr)
{
	return memblock_alloc_try_nid(size, align, min_addr, MEMBLOCK_ALLOC_ACCESSIBLE, NUMA_NO_NODE);
}

static inline void *memblock_alloc_low(phys_addr_t size, phys_addr_t align)
{
	return memblock_alloc_try_nid(size, align, MEMBLOCK_LOW_LIMIT, ARCH_LOW_ADDRESS_LIMIT, NUMA_NO_NODE);
}

static inline void memblock_set_bottom_up(bool enable)
{
	memblock.bottom_up = enable;
}

static inline bool memblock_bottom_up(void)
{
	return memblock.bottom_up;
}

/* Questions. */
phys_addr_t memblock_phys_mem_size(void);
phys_addr_t memblock_reserved_size(void);
phys_addr_t memblock_start_of_DRAM(void);
phys_addr_t memblock_end_of_DRAM(void);
phys_addr_t memblock_get_current_limit(void);
bool memblock_is_memory(phys_addr_t addr);
bool memblock_is_map_memory(phys_addr_t addr);
bool memblock_is_region_memory(phys_addr_t base, phys_addr_t size);
bool memblock_is_reserved(phys_addr_t addr);
bool memblock_is_region_reserved(phys_addr_t base, phys_addr_t size);
unsigned long memblock_addrs_overlap(phys_addr_t base1, phys_addr_t size1, phys_addr_t base2, phys_addr_t size2);
bool memblock_overlaps_region(struct memblock_type *type, phys_addr_t base, phys_addr_t size);
int memblock_search_pfn_nid(unsigned long pfn, unsigned long *start_pfn, unsigned long *end_pfn);
void memblock_dump_all(void);

/* The end: free memory goes to a page allocator through the hooks in the options. */
void memblock_free_all(void);
void memblock_free_late(phys_addr_t base, phys_addr_t size);
void memblock_discard(void);

/*
 * Walks. The loop variable of the first kind is a uint64_t, that of the second an int; both are opaque. Output
 * pointers may be NULL. A range that is not in the second type never crosses regions of the first.
 */
void __next_mem_range(uint64_t *idx, int nid, enum memblock_flags flags, struct memblock_type *type_a,
		      struct memblock_type *type_b, phys_addr_t *out_start, phys_addr_t *out_end, int *out_nid);
void __next_mem_range_rev(uint64_t *idx, int nid, enum memblock_flags flags, struct memblock_type *type_a,
			  struct memblock_type *type_b, phys_addr_t *out_start, phys_addr_t *out_end,
			  int *out_nid);
void __next_mem_pfn_range(int *idx, int nid, unsigned long *out_start_pfn, unsigned long *out_end_pfn,
			  int *out_nid);

#define __for_each_mem_range(i, type_a, type_b, nid, flags, p_start, p_end, p_nid)                          \
	for ((i) = 0, __next_mem_range(&(i), nid, flags, type_a, type_b, p_start, p_end, p_nid);            \
	     (i) != UINT64_MAX;                                                                             \
	     __next_mem_range(&(i), nid, flags, type_a, type_b, p_start, p_end, p_nid))

#define __for_each_mem_range_rev(i, type_a, type_b, nid, flags, p_start, p_end, p_nid)                      \
	for ((i) = UINT64_MAX,                                                                              \
	    __next_mem_range_rev(&(i), nid, flags, type_a, type_b, p_start, p_end, p_nid);                  \
	     (i) != UINT64_MAX;                                                                             \
	     __next_mem_range_rev(&(i), nid, flags, type_a, type_b, p_start, p_end, p_nid))

/* Memory, except what is unmapped. */
#define for_each_mem_range(i, p_start, p_end)                                                               \
	__for_each_mem_range(i, &memblock.memory, NULL, NUMA_NO_NODE,                                       \
			     (enum memblock_flags)(MEMBLOCK_HOTPLUG | MEMBLOCK_DRIVER_MANAGED), p_start,    \
			     p_end, NULL)

#define for_each_mem_range_rev(i, p_start, p_end)                                                           \
	__for_each_mem_range_rev(i, &memblock.memory, NULL, NUMA_NO_NODE,                                   \
				 (enum memblock_flags)(MEMBLOCK_HOTPLUG | MEMBLOCK_DRIVER_MANAGED),         \
				 p_start, p_end, NULL)

#define for_each_reserved_mem_range(i, p_start, p_end)                                                      \
	__for_each_mem_range(i, &memblock.reserved, NULL, NUMA_NO_NODE, MEMBLOCK_NONE, p_start, p_end, NULL)

/* Memory that is not reserved. */
#define for_each_free_mem_range(i, nid, flags, p_start, p_end, p_nid)                                       \
	__for_each_mem_range(i, &memblock.memory, &memblock.reserved, nid, flags, p_start, p_end, p_nid)

#define for_each_free_mem_range_reverse(i, nid, flags, p_start, p_end, p_nid)                               \
	__for_each_mem_range_rev(i, &memblock.memory, &memblock.reserved, nid, flags, p_start, p_end, p_nid)

/* The whole frames of each memory region. */
#define for_each_mem_pfn_range(i, nid, p_start, p_end, p_nid)                                               \
	for ((i) = -1, __next_mem_pfn_range(&(i), nid, p_start, p_end, p_nid); (i) >= 0;                    \
	     __next_mem_pfn_range(&(i), nid, p_start, p_end, p_nid))

#define for_each_mem_region(region)                                                                         \
	for ((region) = memblock.memory.regions;                                                            \
	     (region) < memblock.memory.regions + memblock.memory.cnt; (region)++)

#define for_each_reserved_mem_region(region)                                                                \
	for ((region) = memblock.reserved.regions;                                                          \
	     (region) < memblock.reserved.regions + memblock.reserved.cnt; (region)++)

#endif /* PAGEWRIGHT_MEMBLOCK_OPTIONS_ONLY */

/*
 * The kernel configuration and the hooks. Set what differs from the defaults before the first call; hooks may
 * stay NULL.
 */
struct pagewright_memblock_options {
	bool numa;		 /* CONFIG_NUMA: true */
	bool debug;		 /* print memblock=debug lines: false */
	int max_numnodes;	 /* MAX_NUMNODES: 16 */
	unsigned int page_shift; /* 12, 14 or 16: 12 */
	unsigned int cache_line; /* SMP_CACHE_BYTES: 64 */
	unsigned int max_order;	 /* MAX_ORDER, one more than the largest order: 11 */
	unsigned long virt_offset;
	void (*print)(const char *text); /* NULL: printf */
	void (*free_pages)(unsigned long pfn, unsigned int order);
	void (*reserve_region)(uint64_t start, uint64_t end);
	bool (*slab_is_available)(void);
	void *(*slab_alloc)(size_t size, int nid);
};

extern struct pagewright_memblock_options pagewright_memblock_options;

/* kernelcore=mirror: memblock_mark_mirror has an effect. */
extern bool mirrored_kernelcore;

#ifdef __cplusplus
}
#endif

#endif /* PAGEWRIGHT_MEMBLOCK_H */
