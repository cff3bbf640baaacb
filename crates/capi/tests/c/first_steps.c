/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A C program on memblock: its own memory, direct access to the global variable, walks, growing arrays, the
 * hand-over. Prints "ok" and returns 0, or stops at the first thing that is not as it should be.
 */
#include <pagewright/memblock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool movable_node_enabled;

#define CHECK(what)                                                                                         \
	do {                                                                                                \
		if (!(what)) {                                                                              \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);                  \
			exit(1);                                                                            \
		}                                                                                           \
	} while (0)

#define PAGE 4096UL
#define PAGES 1024UL

static unsigned long given;
static unsigned int announced;
static char last_line[256];

static void take_pages(unsigned long pfn, unsigned int order)
{
	(void)pfn;
	given += 1UL << order;
}

static void hear_reserved(uint64_t start, uint64_t end)
{
	announced += start < end;
}

static void keep_line(const char *text)
{
	strncpy(last_line, text, sizeof(last_line) - 1);
}

int main(void)
{
	static struct memblock_region own_regions[4];
	unsigned char *ram = aligned_alloc(PAGE, PAGES * PAGE);
	phys_addr_t base = (phys_addr_t)(uintptr_t)ram, start, end;
	unsigned long first, last;
	unsigned int ranges = 0;
	uint64_t i;
	int region, nid;

	CHECK(ram);
	memset(ram, 0xaa, PAGES * PAGE);
#ifndef CONFIG_NUMA
	pagewright_memblock_options.numa = false;
#endif
	CHECK(memblock.memory.max == 128 && memblock.memory.cnt == 1 && !memblock.bottom_up);
	CHECK(!strcmp(memblock.reserved.name, "reserved"));

	/* C may bring its own array. */
	memblock.reserved.regions = own_regions;
	memblock.reserved.max = 4;

	CHECK(memblock_add(base, PAGES * PAGE) == 0);
	CHECK(memblock.memory.regions[0].base == base && memblock.memory.total_size == PAGES * PAGE);
	CHECK(memblock_start_of_DRAM() == base && memblock_end_of_DRAM() == base + PAGES * PAGE);

	/* Zeroed memory from the top, raw memory from the bottom. */
	unsigned char *top = memblock_alloc(100, 64);
	CHECK(top == ram + PAGES * PAGE - 128 && top[0] == 0 && top[99] == 0 && top[100] == 0xaa);
	memblock_set_bottom_up(true);
	unsigned char *bottom = memblock_alloc_raw(PAGE, PAGE);
	CHECK(bottom == ram && bottom[0] == 0xaa);
	memblock.bottom_up = false;
	memblock_free(top, 100);
	CHECK(memblock.reserved.cnt == 1 && memblock_reserved_size() == PAGE);

	/* A limit that C sets directly. */
	memblock.current_limit = base + 8 * PAGE;
	CHECK(memblock_phys_alloc(PAGE, PAGE) == base + 7 * PAGE);
	memblock.current_limit = MEMBLOCK_ALLOC_ANYWHERE;
	CHECK(memblock_is_reserved(base + 7 * PAGE) && !memblock_is_reserved(base + 8 * PAGE));
	CHECK(memblock_overlaps_region(&memblock.reserved, base + 6 * PAGE, 2 * PAGE));
	CHECK(!memblock_overlaps_region(&memblock.reserved, base + 6 * PAGE, PAGE));

	for_each_free_mem_range(i, NUMA_NO_NODE, MEMBLOCK_NONE, &start, &end, &nid)
		ranges += start < end;
	CHECK(ranges == 2);
	for_each_free_mem_range_reverse(i, NUMA_NO_NODE, MEMBLOCK_NONE, &start, &end, NULL)
		ranges--;
	CHECK(ranges == 0 && start == base + PAGE && end == base + 7 * PAGE);
	for_each_mem_pfn_range(region, NUMA_NO_NODE, &first, &last, &nid)
		ranges++;
	CHECK(ranges == 1 && last - first == PAGES && nid == (pagewright_memblock_options.numa ? 16 : 0));
	for_each_reserved_mem_range(i, &start, &end)
		ranges++;
	CHECK(ranges == 3);

	/* A full array says so, and grows when it may: into the memory itself. */
	CHECK(memblock_reserve(base + 10 * PAGE, PAGE) == 0);
	CHECK(memblock_reserve(base + 12 * PAGE, PAGE) == 0);
	CHECK(memblock_reserve(base + 14 * PAGE, PAGE) < 0 && memblock.reserved.cnt == 4);
	memblock_allow_resize();
	pagewright_memblock_options.debug = true;
	pagewright_memblock_options.print = keep_line;
	CHECK(memblock_reserve(base + 14 * PAGE, PAGE) == 0);
	CHECK(memblock.reserved.max == 8 && memblock.reserved.cnt == 6);
	CHECK((unsigned char *)memblock.reserved.regions == ram + (PAGES - 1) * PAGE);
	CHECK(strstr(last_line, "memblock_reserve: [0x"));
	for (region = 0; region < 40; region++)
		CHECK(memblock_reserve(base + (100 + 2 * region) * PAGE, PAGE) == 0);
	CHECK(memblock.reserved.max == 64 && memblock.reserved.cnt == 46);
	pagewright_memblock_options.debug = false;

#ifdef CONFIG_NUMA
	CHECK(memblock_set_node(base, 16 * PAGE, &memblock.memory, 1) == 0);
	CHECK(memblock.memory.cnt == 2 && memblock.memory.regions[0].nid == 1);
	CHECK(memblock_search_pfn_nid(base / PAGE, &first, &last) == 1 && last - first == 16);
	CHECK(!memblock_alloc_exact_nid_raw(32 * PAGE, PAGE, 0, 0, 1));
#endif
	pagewright_memblock_options.free_pages = take_pages;
	pagewright_memblock_options.reserve_region = hear_reserved;
	memblock_free_all();
	CHECK(given == PAGES - memblock_reserved_size() / PAGE && announced == memblock.reserved.cnt);
	memblock_discard();
	CHECK(given > PAGES - 46 && memblock.reserved.cnt == 1 && memblock.reserved.max == 128);
	free(ram);
	puts("ok");
	return 0;
}
