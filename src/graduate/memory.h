/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory: what the controller remembers from one scan to the next: the
 * completions it is running, and those that have ended and when: whoever is still
 * there then is not tried again at once.  Of the pagers it remembers nothing:
 * they are asked anew each time.
 *
 * A session is known by its pager's socket, its id and its number: another
 * session of the same id has another number.
 */
#ifndef LAMINA_GRADUATE_MEMORY_H
#define LAMINA_GRADUATE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct memory_key {
	const char *pager;	/* the socket */
	const char *id;
	uint64_t number;
};

struct memory_entry {
	char *pager;
	char *id;
	uint64_t number;
	pid_t pid;		/* of the hypervisor; 0: not known */
	bool running;
	uint64_t ended_ns;	/* when it did, unless it is running */
};

/* {0} is empty. */
struct memory {
	struct memory_entry *v;
	size_t n;
	size_t cap;
};

void memory_fini(struct memory *m);

/* A completion begins.  -EEXIST: it is under way; -ENOMEM. */
int memory_begin(struct memory *m, const struct memory_key *key, pid_t pid);

/* It has ended, now. */
void memory_end(struct memory *m, const struct memory_key *key, uint64_t now_ns);

/* Forgets those that ended `backoff_ns` ago or earlier. */
void memory_expire(struct memory *m, uint64_t now_ns, uint64_t backoff_ns);

/* NULL: nothing is remembered.  Until the next call that changes the memory. */
const struct memory_entry *memory_find(const struct memory *m, const struct memory_key *key);

/* Completions under way. */
size_t memory_running(const struct memory *m);

#endif
