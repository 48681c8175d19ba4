/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * state: all that a session is, in a memfd that outlives the worker: its
 * configuration, phase, regions, counters, the messages that were read but not
 * yet acted upon, and a byte for each page.  The keeper holds the descriptor; a
 * new worker (or a newer version of the program) maps it and goes on.
 *
 * Layout: `struct state_head` in the first STATE_HEAD_LEN bytes, the page
 * bytes behind it.  A head of another layout or size is refused.
 *
 * Threads: phase, counters and times may be read by anybody; everything else
 * belongs to the session's owner (session.h).  What is stored before a system
 * call is there after a kill -9 between the two: the mapping is shared memory.
 */
#ifndef LAMINA_PAGER_STATE_H
#define LAMINA_PAGER_STATE_H

#include <linux/userfaultfd.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/pager/hist.h"
#include "src/pager/regions.h"
#include "src/pager/source.h"
#include "store/base/err.h"

#ifndef STATE_LAYOUT
#define STATE_LAYOUT 2
#endif
#define STATE_HEAD_LEN (UINT64_C(128) << 10)
#define STATE_CONFIG_MAX 32768
#define STATE_ID_MAX 128	/* with its NUL */
#define STATE_PATH_MAX 4096	/* with its NUL */
#define STATE_SLOTS 4		/* messages a turn */

enum state_phase {
	STATE_WAITING,		/* for the hypervisor's handoff */
	STATE_SERVING,
	STATE_COMPLETING,	/* graduation is under way; still serving */
	STATE_GRADUATED,
	STATE_FAILED,		/* reason says why */
	STATE_GONE,		/* the guest is gone */
	STATE_NPHASES
};

/* The low two bits of a page's byte. */
enum state_page {
	STATE_MISSING,
	STATE_FILLING,		/* stored before the COPY: maybe there, maybe not */
	STATE_PRESENT,		/* installed once; from here on only zeros or a WAKE */
	STATE_REMOVED,		/* by the guest; zero from here on */
};
#define STATE_PAGE 0x03
/* Flags beside them. */
#define STATE_HOLE 0x04		/* the memfile has a hole here */
#define STATE_CANARY 0x08	/* left out of a window on purpose (window.h) */
#define STATE_AHEAD 0x10	/* installed (or being so) before anybody asked */
#define STATE_POISONED 0x20	/* touching it is SIGBUS; a COPY heals it */
#define STATE_TRACED 0x40	/* the session's trace has it */
#define STATE_BACK 0x80		/* removed, and there again: zeros */

/* Monotonic; for people and Prometheus.  Names are those of the API. */
struct state_counters {
	_Atomic uint64_t faults;	/* messages of the kind */
	_Atomic uint64_t write_faults;
	_Atomic uint64_t unanswered;	/* of these, faults that are left to wait */
	_Atomic uint64_t removes;	/* messages of the kind */
	_Atomic uint64_t present;	/* pages installed from the memfile, now or ever */
	_Atomic uint64_t zeroed;	/* pages installed as zeros */
	_Atomic uint64_t removed;	/* pages that are removed now */
	_Atomic uint64_t dropped;	/* of these, pages that had been installed */
	_Atomic uint64_t demand;	/* pages installed because they were asked for */
	_Atomic uint64_t ahead;		/* ... by a window */
	_Atomic uint64_t replayed;	/* ... by a trace */
	_Atomic uint64_t completed;	/* ... by graduation */
	_Atomic uint64_t completed_bytes;
	_Atomic uint64_t ahead_used;	/* canaries that were asked for */
	_Atomic uint64_t ahead_unused;	/* canaries that were not */
	_Atomic uint64_t retries;	/* reads of the memfile that failed */
	_Atomic uint64_t poisoned;	/* pages */
	_Atomic uint64_t copied_bytes;
	_Atomic uint64_t read_bytes;
	_Atomic uint64_t workers;	/* that served it, one after the other */
};

/* Of a session that has graduated, or tries to: what all attempts came to. */
struct state_graduation {
	_Atomic uint32_t unregistering;	/* all is populated: what follows is to be finished */
	_Atomic uint32_t durable;	/* that it has graduated need not be written any more */
	uint64_t pages;			/* populated; counts, as bytes and holes, at the end */
	uint64_t bytes;
	uint64_t zero;			/* pages that were found to be zeros */
	uint64_t holes;			/* pages that stay away */
	uint64_t ns;			/* that attempts have taken */
	uint64_t unregister_ns;
};

/* A file into which the recording was written; ino 0: none. */
struct state_file {
	uint64_t dev;
	uint64_t ino;
};

struct state_head {
	char magic[8];			/* "laminaPS" */
	uint32_t layout;		/* STATE_LAYOUT */
	uint32_t head_size;		/* sizeof(struct state_head) */
	_Atomic uint32_t phase;
	uint32_t nregions;		/* 0 before the handoff */
	uint64_t npages;		/* of all regions */
	_Atomic uint64_t created_ms;	/* since 1970 */
	_Atomic uint64_t handoff_ms;
	_Atomic uint64_t ended_ms;
	_Atomic uint64_t handoff_boot_ns;	/* CLOCK_BOOTTIME, which nobody sets */
	_Atomic uint64_t ended_boot_ns;
	uint64_t memfile_size;
	struct source_id memfile_id;
	char memfile[STATE_PATH_MAX];	/* its path without links */
	struct state_file recording[2];	/* the last ones, the last one last (touch.c) */
	char id[STATE_ID_MAX];
	char reason[512];		/* of the end; written before the phase that is one */
	struct region regions[REGIONS_MAX];
	struct uffd_msg slots[STATE_SLOTS];	/* .event 0: empty */
	struct state_counters count;
	struct hist latency;		/* from reading a fault to waking its thread */
	struct state_graduation graduation;
	uint32_t config_len;
	char config[STATE_CONFIG_MAX];	/* JSON, NUL-terminated */
};

struct state {
	int fd;
	struct state_head *head;
	_Atomic uint8_t *page;		/* head->npages of them; NULL before the handoff */
};

/* A new one, waiting.  `id` and `config` (JSON text) are copied.  -EINVAL when too long. */
int state_new(const char *id, const char *config, struct state **ret, struct err *err);

/*
 * One that was kept.  Takes `fd` on success.  -EMEDIUMTYPE for what is no state,
 * -EPROTONOSUPPORT for another layout, -EBADMSG for a head that contradicts
 * itself or its file's size.
 */
int state_adopt(int fd, struct state **ret, struct err *err);
void state_close(struct state *state);

/*
 * After the handoff: sizes and maps the page bytes (sparse: what is not touched costs
 * nothing), and from then on it is serving.  Only while it is waiting: -EINVAL.
 */
int state_begin(struct state *state, const struct region *regions, unsigned n,
		uint64_t memfile_size, struct err *err);

/*
 * Writes the reason (NULL: what stands there stays), the time if it is an end, and then
 * the phase.
 */
void state_end(struct state *state, enum state_phase phase, const char *reason);
/* After the end: returns the memory of the page bytes, which read missing then. */
void state_give_back(struct state *state);

static inline uint8_t state_get(const struct state *state, uint64_t page)
{
	return atomic_load_explicit(&state->page[page], memory_order_relaxed);
}

static inline void state_set(struct state *state, uint64_t page, uint8_t value)
{
	atomic_store_explicit(&state->page[page], value, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

/* Whether a page with this byte is still to come from the memfile. */
static inline bool state_is_missing(uint8_t value)
{
	return (value & STATE_PAGE) == STATE_MISSING || (value & STATE_PAGE) == STATE_FILLING;
}

/*
 * Marks the pages that lie wholly within [start, end) removed (flags go) and counts
 * them.  Addresses in no region are passed over.  Returns how many are newly removed.
 */
uint64_t state_remove(struct state *state, uint64_t start, uint64_t end);

/*
 * The next stretch of pages in [from, to) whose byte, under `mask`, is `value`: its
 * first page, and in *ret_n how many, at most `max`.  `to` and 0 when there is none.
 * Pages whose byte was never written are not looked at: that would cost memory.
 */
struct state_want {
	uint8_t mask;
	uint8_t value;
	uint64_t max;
};
uint64_t state_next(const struct state *state, uint64_t from, uint64_t to,
		    struct state_want want, uint64_t *ret_n);

static inline void state_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

const char *state_phase_name(enum state_phase phase);

#endif
