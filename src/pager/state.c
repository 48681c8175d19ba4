/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A state is made in two steps, and each may be cut short by a kill -9:
 *
 * state_new() writes the head of a memfd that nobody else has yet.
 *
 * state_begin() enlarges the file, maps the page bytes, writes the regions and
 * their sums, and last of all the phase.  As long as that says "waiting" nothing
 * that it wrote counts: the file may be longer than it need be, regions and
 * sums may be any, and a next state_begin() starts over.  The page bytes are
 * zeros (missing) until then, for nobody writes to them.
 *
 * The file never shrinks (it is sealed), so no mapping of it can raise SIGBUS.
 *
 * The page bytes are a sparse file.  Even reading a hole through the mapping
 * would make the kernel allocate it; state_next() asks for holes by lseek()
 * and takes them for zeros unread.
 */
#include "src/pager/state.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HOLE_UNIT 4096u		/* holes begin and end at multiples of it */

static const char magic[8] = {'l', 'a', 'm', 'i', 'n', 'a', 'P', 'S'};

_Static_assert(sizeof(struct state_head) <= STATE_HEAD_LEN, "the head fits");

static uint64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t now_boot_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Where huge pages are the rule for shared memory, one byte would cost 2 MiB. */
static void *map(int fd, uint64_t off, uint64_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		       (off_t)off);

	if (p == MAP_FAILED)
		return NULL;
	(void)madvise(p, len, MADV_NOHUGEPAGE);
	return p;
}

/* Takes `fd`, if it succeeds. */
static int open_head(int fd, struct state **ret, struct err *err)
{
	struct state *state = calloc(1, sizeof(*state));
	int rc;

	if (!state)
		return err_set(err, -ENOMEM, "no memory for a session's state");
	state->head = map(fd, 0, STATE_HEAD_LEN);
	if (!state->head) {
		rc = -errno;
		free(state);
		return err_sys(err, rc, "cannot map a session's state");
	}
	state->fd = fd;
	*ret = state;
	return 0;
}

static void unmap(struct state *state)
{
	if (state->page)
		(void)munmap((void *)state->page, state->head->npages);
	(void)munmap(state->head, STATE_HEAD_LEN);
	free(state);
}

void state_close(struct state *state)
{
	int fd;

	if (!state)
		return;
	fd = state->fd;
	unmap(state);
	close(fd);
}

/* ---- a new one ---- */

/* A memfd of the head's length, or -errno. */
static int make_file(void)
{
	int fd = memfd_create("lamina-session", MFD_CLOEXEC | MFD_ALLOW_SEALING), rc;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)STATE_HEAD_LEN) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

static void fill_head(struct state_head *head, const char *id, const char *config)
{
	head->layout = STATE_LAYOUT;
	head->head_size = sizeof(*head);
	strcpy(head->id, id);
	strcpy(head->config, config);
	head->config_len = (uint32_t)strlen(config);
	atomic_store(&head->phase, STATE_WAITING);
	atomic_store(&head->created_ms, now_ms());
	memcpy(head->magic, magic, sizeof(magic));
}

int state_new(const char *id, const char *config, struct state **ret, struct err *err)
{
	struct state *state;
	int fd, rc;

	if (strlen(id) >= STATE_ID_MAX)
		return err_set(err, -EINVAL, "the session's id has %zu bytes, at most %d fit",
			       strlen(id), STATE_ID_MAX - 1);
	if (strlen(config) >= STATE_CONFIG_MAX)
		return err_set(err, -EINVAL,
			       "session '%s': its configuration has %zu bytes, at most %d fit",
			       id, strlen(config), STATE_CONFIG_MAX - 1);
	fd = make_file();
	if (fd < 0)
		return err_sys(err, fd, "session '%s': cannot make its state", id);
	rc = open_head(fd, &state, err);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	fill_head(state->head, id, config);
	*ret = state;
	return 0;
}

/* ---- one that was kept ---- */

static int check_kind(const struct state_head *head, struct err *err)
{
	if (memcmp(head->magic, magic, sizeof(magic)) != 0)
		return err_set(err, -EMEDIUMTYPE, "this is no session's state");
	if (head->layout != STATE_LAYOUT)
		return err_set(err, -EPROTONOSUPPORT,
			       "the session's state has layout %" PRIu32 ", this program knows %d",
			       head->layout, STATE_LAYOUT);
	if (head->head_size != sizeof(*head))
		return err_set(err, -EPROTONOSUPPORT,
			       "the session's state has a head of %" PRIu32
			       " bytes, this program's has %zu",
			       head->head_size, sizeof(*head));
	return 0;
}

static bool is_text(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

static int check_texts(const struct state_head *head, struct err *err)
{
	if (!is_text(head->id, sizeof(head->id)))
		return err_set(err, -EBADMSG, "the session's state has an id without an end");
	if (!is_text(head->reason, sizeof(head->reason)))
		return err_set(err, -EBADMSG, "session '%s': its reason has no end", head->id);
	if (!is_text(head->memfile, sizeof(head->memfile)))
		return err_set(err, -EBADMSG, "session '%s': its memfile's path has no end",
			       head->id);
	if (!is_text(head->config, sizeof(head->config)) ||
	    strlen(head->config) != head->config_len)
		return err_set(err, -EBADMSG, "session '%s': its configuration is not %" PRIu32
			       " bytes long", head->id, head->config_len);
	return 0;
}

static int check_phase(const struct state_head *head, struct err *err)
{
	uint32_t phase = atomic_load(&head->phase);

	if (phase >= STATE_NPHASES)
		return err_set(err, -EBADMSG, "session '%s': there is no phase %" PRIu32,
			       head->id, phase);
	if (head->nregions == 0 && (phase == STATE_SERVING || phase == STATE_COMPLETING))
		return err_set(err, -EBADMSG, "session '%s' is %s without regions", head->id,
			       state_phase_name(phase));
	return 0;
}

/* The handoff, or the part of it that was done, does not count yet. */
static bool is_waiting(const struct state_head *head)
{
	return atomic_load(&head->phase) == STATE_WAITING;
}

static uint64_t count_pages(const struct region *regions, unsigned n)
{
	return regions[n - 1].first + region_pages(&regions[n - 1]);
}

static int check_regions(const struct state_head *head, uint64_t size, struct err *err)
{
	uint64_t pages;
	int rc;

	if (is_waiting(head) || head->nregions == 0)
		return 0;
	rc = regions_check(head->regions, head->nregions, head->memfile_size, err);
	if (rc < 0)
		return err_wrap(err, -EBADMSG, "session '%s'", head->id);
	pages = count_pages(head->regions, head->nregions);
	if (head->npages != pages)
		return err_set(err, -EBADMSG, "session '%s' has %" PRIu64 " pages, its regions"
			       " %" PRIu64, head->id, head->npages, pages);
	if (size - STATE_HEAD_LEN < pages)
		return err_set(err, -EBADMSG, "session '%s': its state is cut short: %" PRIu64
			       " bytes for %" PRIu64 " pages",
			       head->id, size, pages);
	return 0;
}

static int check_head(const struct state_head *head, uint64_t size, struct err *err)
{
	int rc = check_kind(head, err);

	if (rc == 0)
		rc = check_texts(head, err);
	if (rc == 0)
		rc = check_phase(head, err);
	return rc == 0 ? check_regions(head, size, err) : rc;
}

static int map_pages(struct state *state, uint64_t npages, struct err *err)
{
	_Atomic uint8_t *page = map(state->fd, STATE_HEAD_LEN, npages);

	if (!page)
		return err_sys(err, -errno, "session '%s': cannot map the state of %" PRIu64
			       " pages", state->head->id, npages);
	state->page = page;
	return 0;
}

static int file_size(int fd, uint64_t *ret, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, -errno, "cannot look at a session's state");
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EMEDIUMTYPE, "this is no session's state");
	*ret = (uint64_t)st.st_size;
	return 0;
}

int state_adopt(int fd, struct state **ret, struct err *err)
{
	struct state *state;
	uint64_t size = 0;
	int rc = file_size(fd, &size, err);

	if (rc < 0)
		return rc;
	if (size < STATE_HEAD_LEN)
		return err_set(err, -EBADMSG, "a session's state is cut short: %" PRIu64
			       " bytes, its head alone has %" PRIu64, size, STATE_HEAD_LEN);
	rc = open_head(fd, &state, err);
	if (rc < 0)
		return rc;
	rc = check_head(state->head, size, err);
	if (rc == 0 && is_waiting(state->head))
		state->head->nregions = 0;
	if (rc == 0 && state->head->nregions == 0)
		state->head->npages = 0;
	if (rc == 0 && state->head->npages > 0)
		rc = map_pages(state, state->head->npages, err);
	if (rc < 0) {
		unmap(state);
		return rc;
	}
	*ret = state;
	return 0;
}

/* ---- its life ---- */

/* An earlier try, cut short, may have made it longer; it cannot shrink and need not. */
static int grow(struct state *state, uint64_t size, struct err *err)
{
	uint64_t now = 0;
	int rc = file_size(state->fd, &now, err);

	if (rc == 0 && now < size && ftruncate(state->fd, (off_t)size) < 0)
		return err_sys(err, -errno, "session '%s': cannot enlarge its state to %" PRIu64
			       " bytes", state->head->id, size);
	return rc;
}

int state_begin(struct state *state, const struct region *regions, unsigned n,
		uint64_t memfile_size, struct err *err)
{
	struct state_head *head = state->head;
	uint64_t pages;
	int rc;

	if (!is_waiting(head))
		return err_set(err, -EINVAL, "session '%s' is %s, not waiting", head->id,
			       state_phase_name(atomic_load(&head->phase)));
	rc = regions_check(regions, n, memfile_size, err);
	if (rc < 0)
		return rc;
	pages = count_pages(regions, n);
	rc = grow(state, STATE_HEAD_LEN + pages, err);
	if (rc == 0)
		rc = map_pages(state, pages, err);
	if (rc < 0)
		return rc;
	memcpy(head->regions, regions, n * sizeof(*regions));
	head->npages = pages;
	head->memfile_size = memfile_size;
	head->nregions = n;
	atomic_store(&head->handoff_ms, now_ms());
	atomic_store(&head->handoff_boot_ns, now_boot_ns());
	atomic_store(&head->phase, STATE_SERVING);
	return 0;
}

static bool is_end(enum state_phase phase)
{
	return phase == STATE_GRADUATED || phase == STATE_FAILED || phase == STATE_GONE;
}

void state_end(struct state *state, enum state_phase phase, const char *reason)
{
	struct state_head *head = state->head;

	if (reason)
		(void)snprintf(head->reason, sizeof(head->reason), "%s", reason);
	if (is_end(phase)) {
		atomic_store(&head->ended_ms, now_ms());
		atomic_store(&head->ended_boot_ns, now_boot_ns());
	}
	atomic_store_explicit(&head->phase, phase, memory_order_release);
}

void state_give_back(struct state *state)
{
	uint64_t len = (state->head->npages + HOLE_UNIT - 1) / HOLE_UNIT * HOLE_UNIT;

	if (len > 0)
		(void)fallocate(state->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				(off_t)STATE_HEAD_LEN, (off_t)len);
}

const char *state_phase_name(enum state_phase phase)
{
	static const char *const name[STATE_NPHASES] = {
		[STATE_WAITING] = "waiting",
		[STATE_SERVING] = "serving",
		[STATE_COMPLETING] = "completing",
		[STATE_GRADUATED] = "graduated",
		[STATE_FAILED] = "failed",
		[STATE_GONE] = "gone",
	};

	return phase < STATE_NPHASES ? name[phase] : "unknown";
}

/* ---- pages ---- */

/* The pages of `r` that lie wholly within [start, end). */
static uint64_t remove_in(struct state *state, const struct region *r, uint64_t start,
			  uint64_t end)
{
	uint64_t from = start > r->addr ? start - r->addr : 0;
	uint64_t to = end < r->addr + r->size ? end - r->addr : r->size;
	uint64_t newly = 0, dropped = 0;

	from = from / r->page_size + (from % r->page_size != 0);
	to /= r->page_size;
	for (uint64_t page = r->first + from; page < r->first + to; page++) {
		uint8_t before = state_get(state, page) & STATE_PAGE;

		newly += before != STATE_REMOVED;
		dropped += before == STATE_PRESENT;
		state_set(state, page, STATE_REMOVED);
	}
	state_add(&state->head->count.dropped, dropped);
	return newly;
}

uint64_t state_remove(struct state *state, uint64_t start, uint64_t end)
{
	const struct state_head *head = state->head;
	uint64_t newly = 0;

	for (unsigned i = 0; i < head->nregions; i++) {
		const struct region *r = &head->regions[i];

		if (start < r->addr + r->size && r->addr < end)
			newly += remove_in(state, r, start, end);
	}
	state_add(&state->head->count.removed, newly);
	return newly;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Where the hole that begins at `page` ends, at most `to`; `page` if none begins there. */
static uint64_t hole_end(const struct state *state, uint64_t page, uint64_t to)
{
	off_t data;

	if (page % HOLE_UNIT != 0)
		return page;
	data = lseek(state->fd, (off_t)(STATE_HEAD_LEN + page), SEEK_DATA);
	if (data < 0)
		return errno == ENXIO ? to : page;
	return least((uint64_t)data - STATE_HEAD_LEN, to);
}

/* The first page from `page` on that is wanted, or is not: as `wanted` says; or `to`. */
static uint64_t seek(const struct state *state, uint64_t page, uint64_t to,
		     struct state_want want, bool wanted)
{
	while (page < to) {
		uint64_t data = hole_end(state, page, to);
		uint64_t stop = least(to, data - data % HOLE_UNIT + HOLE_UNIT);

		if (data > page && (want.value == 0) == wanted)
			return page;
		for (page = data; page < stop; page++)
			if (((state_get(state, page) & want.mask) == want.value) == wanted)
				return page;
	}
	return to;
}

uint64_t state_next(const struct state *state, uint64_t from, uint64_t to,
		    struct state_want want, uint64_t *ret_n)
{
	uint64_t page = seek(state, from, to, want, true);
	uint64_t end = seek(state, page, page + least(want.max, to - page), want, false);

	*ret_n = end - page;
	return page;
}
