/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a driver does with small objects: a cache of its own for 40-byte sessions at cache lines, used and ended.
 *
 *     cargo build --release -p pagewright-capi
 *     cc -I crates/capi/include crates/capi/examples/driver.c target/release/libpagewright_capi.a -o driver && ./driver
 *
 * crates/sim/examples/driver.rs is the same in Rust.
 */
#include <pagewright/memblock.h>
#include <pagewright/slab.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RAM (16UL << 20)
#define SESSIONS 100

bool movable_node_enabled;

struct session {
	unsigned long id;
	char peer[32];
};

int main(void)
{
	struct session *sessions[SESSIONS];
	struct kmem_cache *cache;
	/* A kernel's memory is its machine's; this program lends 16 MiB of its own. */
	void *ram = aligned_alloc(4UL << 20, RAM);
	unsigned long i;

	if (!ram || memblock_add((phys_addr_t)ram, RAM) || pagewright_page_alloc_init() || pagewright_slab_init())
		return 1;
	cache = KMEM_CACHE(session, SLAB_HWCACHE_ALIGN);
	if (!cache)
		return 2;
	for (i = 0; i < SESSIONS; i++) {
		sessions[i] = kmem_cache_zalloc(cache, GFP_KERNEL);
		if (!sessions[i] || (unsigned long)sessions[i] % 64)
			return 3;
		sessions[i]->id = i;
		memset(sessions[i]->peer, (int)i, sizeof(sessions[i]->peer));
	}
	for (i = 0; i < SESSIONS; i++) {
		if (sessions[i]->id != i || sessions[i]->peer[31] != (char)i)
			return 4;
		kmem_cache_free(cache, sessions[i]);
	}
	kmem_cache_destroy(cache);
	free(ram);
	if (pagewright_slab_findings())
		return 5;
	puts("100 sessions came and went");
	return 0;
}
