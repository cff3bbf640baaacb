/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A C program on the page allocator: its own memory, every function, every mistake, and all pages back at the end.
 * Prints "ok" and returns 0, or stops at the first thing that is not as it should be.
 */
#include <limits.h>
#include <pagewright/memblock.h>
#include <pagewright/pages.h>
#include "check.h"

bool movable_node_enabled;

#define PAGE 4096UL
#define PAGES 8192UL


/* What was to be refused was, by this name; forgets it. */
static bool refused(const char *why)
{
	bool found = pagewright_bad_frees == 1 && strstr(said, "BUG: Bad page state") && strstr(said, why);

	if (found) {
		pagewright_bad_frees = 0;
		said[0] = 0;
	}
	return found;
}

int main(void)
{
	static struct page *many[PAGES];
	unsigned char *ram = aligned_alloc(PAGE << 10, PAGES * PAGE);
	phys_addr_t base = (phys_addr_t)(uintptr_t)ram;
	unsigned long all, i, got, filled;
	unsigned int n;
	struct page *page, *other;
	unsigned char *room;

	CHECK(ram);
	memset(ram, 0xaa, PAGES * PAGE);
#ifndef CONFIG_NUMA
	pagewright_memblock_options.numa = false;
#endif
	pagewright_memblock_options.print = keep;
	CHECK(!alloc_pages(GFP_KERNEL, 0) && !__get_free_page(GFP_KERNEL) && !nr_free_pages());
	CHECK(pagewright_page_alloc_init() == -22 /* no memory at all */);
	CHECK(memblock_add(base, PAGES * PAGE) == 0);
	CHECK(memblock_reserve(base + 100 * PAGE, 50 * PAGE) == 0);
	CHECK(memblock_reserve(base + 2048 * PAGE, (PAGES - 2048 - 50) * PAGE) == 0);
	memblock_set_bottom_up(true);
	/* Nothing is lost where the tables find no room. */
	memblock.current_limit = base + 8 * PAGE;
	CHECK(pagewright_page_alloc_init() == -12 && memblock_reserved_size() == (PAGES - 2048) * PAGE);
	memblock.current_limit = MEMBLOCK_ALLOC_ANYWHERE;
	CHECK(memblock_phys_free(base + 2048 * PAGE, (PAGES - 2048 - 50) * PAGE) == 0);
	pagewright_page_options.pageblock_order = 12;
	CHECK(pagewright_page_alloc_init() == -22);
	pagewright_page_options.pageblock_order = 9;
	pagewright_page_options.dma_limit = base + 1024 * PAGE;
	CHECK(memblock_reserved_size() == 50 * PAGE);
	CHECK(pagewright_page_alloc_init() == 0 && pagewright_page_alloc_init() == -16);
	all = nr_free_pages();
	CHECK(all > PAGES - 50 - 400 && all < PAGES - 50);

	/* Every order, by page and by address; each is itself under all its names. */
	for (n = 0; n <= 10; n++) {
		page = alloc_pages(GFP_KERNEL, n);
		CHECK(page && page_to_pfn(page) % (1UL << n) == 0 && page_count(page) == 1);
		CHECK(pfn_to_page(page_to_pfn(page)) == page && phys_to_page(page_to_phys(page)) == page);
		CHECK(virt_to_page(page_address(page)) == page && page_to_phys(page) == page_to_pfn(page) * PAGE);
		room = page_address(page);
		CHECK(room >= ram && room + (PAGE << n) <= ram + PAGES * PAGE);
		memset(room, (int)n, PAGE << n);
		CHECK(virt_to_page(room + (PAGE << n) - 1) == page + (1UL << n) - 1);
		__free_pages(page, n);
		CHECK(nr_free_pages() == all);
		room = (unsigned char *)__get_free_pages(GFP_KERNEL | __GFP_HIGHMEM | __GFP_ZERO, n);
		CHECK(room && holds(room, 0, PAGE << n));
		memset(room, 0x55, PAGE << n);
		free_pages((unsigned long)room, n);
	}
	CHECK(!alloc_pages(GFP_KERNEL, 11) && !alloc_pages(GFP_KERNEL, 99) && !__get_free_pages(GFP_KERNEL, 99));
	CHECK(!alloc_pages(GFP_KERNEL | __GFP_DMA | __GFP_DMA32, 0));
	CHECK(page_to_pfn(NULL) == ULONG_MAX && !pfn_to_page(1) && !page_address(NULL));
	room = (unsigned char *)get_zeroed_page(GFP_KERNEL);
	CHECK(room && holds(room, 0, PAGE));
	free_page((unsigned long)room);
	free_page(0);
	__free_pages(NULL, 0);
	free_pages_exact(NULL, 1);
	page = alloc_pages_node(0, GFP_KERNEL, 1);
	CHECK(page);
	__free_pages(page, 1);

	/* Below the limit. */
	room = (unsigned char *)__get_dma_pages(GFP_KERNEL, 2);
	CHECK(room && room + 4 * PAGE <= ram + 1024 * PAGE);
	free_pages((unsigned long)room, 2);

	/* Exact sizes, each page of which may go by itself. */
	for (i = 1; i < 40 * PAGE; i += 3 * PAGE / 2) {
		room = alloc_pages_exact(i, GFP_KERNEL | __GFP_ZERO);
		CHECK(room && holds(room, 0, i) && nr_free_pages() == all - (i + PAGE - 1) / PAGE);
		memset(room, 0xee, i);
		free_pages_exact(room, i);
		CHECK(nr_free_pages() == all);
	}
	room = alloc_pages_exact_nid(0, 3 * PAGE, GFP_KERNEL);
	CHECK(room);
	free_page((unsigned long)room + PAGE);
	free_pages_exact(room, 3 * PAGE);
	CHECK(refused("double free") && nr_free_pages() == all - 2);
	free_page((unsigned long)room);
	free_page((unsigned long)room + 2 * PAGE);
	CHECK(!alloc_pages_exact(0, GFP_KERNEL) && !alloc_pages_exact(SIZE_MAX, GFP_KERNEL));

	/* A split block. */
	page = alloc_pages(GFP_KERNEL, 3);
	split_page(page, 3);
	for (i = 0; i < 8; i++)
		__free_page(page + 7 - i);
	CHECK(nr_free_pages() == all);

	/* A compound page, and its references. */
	page = alloc_pages(GFP_KERNEL | __GFP_COMP, 4);
	CHECK(PageHead(page) && !PageTail(page) && compound_order(page) == 4);
	for (i = 1; i < 16; i++)
		CHECK(PageTail(page + i) && PageCompound(page + i) && compound_head(page + i) == page);
	split_page(page, 4);
	CHECK(refused("compound page of order 4 is not split"));
	get_page(page + 9);
	CHECK(page_count(page) == 2 && page_count(page + 5) == 2);
	__free_pages(page, 4);
	CHECK(page_count(page) == 1 && nr_free_pages() == all - 16);
	put_page(page + 3);
	CHECK(nr_free_pages() == all && !PageHead(page) && !PageTail(page + 3));

	/* Mistakes are named, and change nothing. */
	page = alloc_pages(GFP_KERNEL, 2);
	__free_pages(page, 1);
	CHECK(refused("wrong order: allocated with 2, freed with 1"));
	__free_pages(page + 1, 0);
	CHECK(refused("free of a tail page"));
	put_page(page);
	CHECK(refused("wrong order"));
	__free_pages(page, 77);
	CHECK(refused("there is no order 77"));
	__free_pages((struct page *)((char *)page + 8), 2);
	CHECK(refused("is no struct page"));
	free_page((unsigned long)ram + 120 * PAGE);
	CHECK(refused("free of a reserved page"));
	free_page((unsigned long)ram - (PAGES << 12));
	CHECK(refused("no such frame"));
	__free_pages(page, 2);
	__free_pages(page, 2);
	CHECK(refused("double free"));
	drain_all_pages();
	__free_pages(page, 2);
	CHECK(refused("double free"));
	get_page(page);
	CHECK(refused("double free") && nr_free_pages() == all);

	/* Many at once, around those that are there. */
	many[3] = other = alloc_page(GFP_KERNEL);
	got = alloc_pages_bulk_array(GFP_KERNEL | __GFP_ZERO, 300, many);
	CHECK(got == 300 && many[3] == other && nr_free_pages() == all - 300);
	for (i = 0; i < 300; i++)
		CHECK(many[i] && page_count(many[i]) == 1 && (i == 3 || holds(page_address(many[i]), 0, PAGE)));
	/* All there is: what is refused in the end is said. */
	filled = 300;
	while ((got = alloc_pages_bulk_array(GFP_ATOMIC, PAGES, many)) > filled)
		filled = got;
	CHECK(filled > all - 1000 && strstr(said, "(C): page allocation failure: order:0, mode:0xa20(GFP_ATOMIC)"));
	CHECK(strstr(said, "Mem-Info:") && !strstr(strstr(said, "Mem-Info:") + 1, "Mem-Info:") && !many[filled]);
	said[0] = 0;
	CHECK(!alloc_page(GFP_KERNEL | __GFP_NOWARN) && !said[0]);
	for (i = 0; i < filled; i++)
		__free_page(many[i]);
	CHECK(nr_free_pages() == all && !pagewright_bad_frees);

	/* Each call that is made to fail fails, and takes nothing. */
	for (n = 1; n <= 6; n++) {
		void *found[6];

		memset(many, 0, 20 * sizeof(*many));
		pagewright_page_alloc_fail_nth(n);
		found[0] = alloc_pages(GFP_KERNEL, 2);
		found[1] = (void *)__get_free_pages(GFP_KERNEL, 1);
		found[2] = (void *)get_zeroed_page(GFP_KERNEL);
		found[3] = alloc_pages_exact(5 * PAGE, GFP_KERNEL);
		found[4] = alloc_pages(GFP_KERNEL | __GFP_COMP, 5);
		got = alloc_pages_bulk_array(GFP_KERNEL, 20, many);
		pagewright_page_alloc_fail_nth(0);
		found[5] = got == 20 ? many : NULL;
		for (i = 0; i < 6; i++)
			CHECK(!found[i] == (i + 1 == n));
		if (found[0])
			__free_pages(found[0], 2);
		free_pages((unsigned long)found[1], 1);
		free_page((unsigned long)found[2]);
		free_pages_exact(found[3], 5 * PAGE);
		if (found[4])
			put_page(found[4]);
		for (i = 0; i < got; i++)
			__free_page(many[i]);
		CHECK(nr_free_pages() == all);
	}
	CHECK(!pagewright_bad_frees && !said[0]);
	free(ram);
	puts("ok");
	return 0;
}
