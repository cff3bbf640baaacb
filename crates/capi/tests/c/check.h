/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the test programs share: checks that say where they are and what the library said, and what it said, kept until somebody asks. */
#pragma once
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(what)                                                                                         \
	do {                                                                                                \
		if (!(what)) {                                                                              \
			fprintf(stderr, "%s:%d: not so: %s\n%s", __FILE__, __LINE__, #what, said);          \
			exit(1);                                                                            \
		}                                                                                           \
	} while (0)

static char said[1 << 16];

static inline void keep(const char *text)
{
	if (strlen(said) + strlen(text) < sizeof(said))
		strcat(said, text);
}

/* It was said; forgets it. */
static inline bool told(const char *what)
{
	bool so = strstr(said, what);

	if (so)
		said[0] = 0;
	return so;
}

/* Each of these bytes is that one. */
static inline bool holds(const void *at, unsigned char byte, size_t len)
{
	const unsigned char *bytes = at;

	while (len--)
		if (*bytes++ != byte)
			return false;
	return true;
}
