/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/fc.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/host/errand.h"
#include "src/rpc/address.h"
#include "src/rpc/http.h"
#include "store/base/clock.h"
#include "store/base/fmt.h"
#include "store/base/io.h"

#define POLL_FIRST_MS 5
#define POLL_MAX_MS 50
#define LATE_MS 1000		/* how long hinting's status and stop may take */
#define ENDLESS (-1)
#define PAGE_BYTES 4096
#define MAX_PROC_IO 4096

/* What GET / says, and who says it. */
struct instance {
	struct hyper_facts facts;
	struct fc_version version;
};

/* ---- one request ---- */

struct call {
	const char *method;
	const char *path;
	const char *what;	/* "pause the guest", for the sentence */
	json_t *body;		/* taken; NULL: none */
	int timeout_ms;		/* 0: the target's */
	int fd;			/* connected; 0: none yet */
	bool unstoppable;
};

#define GET(path_, what_) .method = "GET", .path = path_, .what = what_
#define PUT(path_, what_) .method = "PUT", .path = path_, .what = what_
#define PATCH(path_, what_) .method = "PATCH", .path = path_, .what = what_

/* What is expected there is in the sentence. */
static int not_firecracker(const struct hyper_target *to, const struct call *call, struct err *err)
{
	return err_set(err, -EPROTO, "what answers on '%s' is not firecracker: its answer to "
		       "'%s %s' is none of the HTTP API that was expected there", to->socket,
		       call->method, call->path);
}

static int timeout_of(const struct hyper_target *to, const struct call *call)
{
	int ms = call->timeout_ms ? call->timeout_ms : to->timeout_ms;

	return ms ? ms : HTTP_TIMEOUT_MS;
}

/* Of a request that was not answered. */
static int unanswered(const struct hyper_target *to, const struct call *call, int rc,
		      struct err *err)
{
	char time[FMT_SIZE_LEN];

	switch (rc) {
	case -EBADMSG:
		return not_firecracker(to, call, err);
	case -ECANCELED:
		return err_set(err, rc, "stopped while firecracker on '%s' was to %s", to->socket,
			       call->what);
	case -ETIMEDOUT:
		return err_set(err, rc, "firecracker on '%s' did not %s within %s", to->socket,
			       call->what, fmt_duration(time, timeout_of(to, call) / 1e3));
	default:
		return err_wrap(err, rc, "firecracker");
	}
}

static int exchange(const struct hyper_target *to, const struct call *call,
		    struct http_answer *answer, struct err *err)
{
	struct http_target target = {
		.socket = call->fd > 0 ? NULL : to->socket,
		.name = to->socket,
		.fd = call->fd,
		.timeout_ms = timeout_of(to, call),
		.stopped = call->unstoppable ? NULL : to->stopped,
	};
	int rc = http_request(&target, call->method, call->path, call->body, answer, err);

	json_decref(call->body);
	return rc < 0 ? unanswered(to, call, rc, err) : 0;
}

static json_t *json_of(const struct http_answer *answer)
{
	return answer->json ? json_incref(answer->json) :
		json_loadb(answer->text, answer->len, 0, NULL);
}

/* The HTTP status, with the answer's JSON (NULL: it has none) for the caller to put. */
static int ask_status(const struct hyper_target *to, const struct call *call, json_t **ret,
		      struct err *err)
{
	struct http_answer answer;
	int rc = exchange(to, call, &answer, err);

	if (rc < 0)
		return rc;
	rc = answer.status;
	*ret = json_of(&answer);
	http_answer_fini(&answer);
	return rc;
}

/* Where it has too many connections, it says that before it looks at the request. */
static int refused(const struct hyper_target *to, const struct call *call, int status,
		   const json_t *json, struct err *err)
{
	const char *member = status == 503 ? "error" : "fault_message";
	const char *why = json_string_value(json_object_get(json, member));

	if (!why)
		return not_firecracker(to, call, err);
	return err_set(err, -EREMOTEIO, "firecracker on '%s' refuses to %s: %s", to->socket,
		       call->what, why);
}

/* `ret` is NULL where no answer is wanted; else it is an object, for the caller to put. */
static int ask(const struct hyper_target *to, const struct call *call, json_t **ret,
	       struct err *err)
{
	json_t *json = NULL;
	int rc = ask_status(to, call, &json, err);

	if (rc >= 0) {
		if (rc < 200 || rc > 299)
			rc = refused(to, call, rc, json, err);
		else if (ret ? !json_is_object(json) : rc != 204)
			rc = not_firecracker(to, call, err);
		else
			rc = 0;
	}
	if (rc == 0 && ret)
		*ret = json_incref(json);
	json_decref(json);
	return rc;
}

/* ---- what it is ---- */

static void learn_peer(int fd, struct hyper_facts *ret)
{
	struct ucred peer = {.uid = (uid_t)-1};

	(void)address_peer(fd, &peer);
	ret->pid = peer.pid > 0 ? peer.pid : 0;
	ret->uid = peer.uid;
}

/* By a connection of which the peer is known. */
static int ask_instance_by(const struct hyper_target *to, int fd, struct instance *ret,
			   struct err *err)
{
	const struct call call = {GET("/", "say what it is"), .fd = fd};
	json_t *json = NULL;
	int rc = ask(to, &call, &json, err);

	learn_peer(fd, &ret->facts);
	if (rc == 0 && fc_parse_instance(json, &ret->facts) < 0)
		rc = not_firecracker(to, &call, err);
	if (rc == 0)
		(void)fc_parse_version(ret->facts.version, &ret->version);
	json_decref(json);
	return rc;
}

static int ask_instance(const struct hyper_target *to, struct instance *ret, struct err *err)
{
	const struct http_target target = {
		.socket = to->socket, .timeout_ms = to->timeout_ms, .stopped = to->stopped,
	};
	const struct call call = {GET("/", "take a connection")};
	struct instance instance = {0};
	int fd = http_connect(&target, err), rc;

	if (fd < 0)
		return unanswered(to, &call, fd, err);
	rc = ask_instance_by(to, fd, &instance, err);
	if (rc == 0)
		*ret = instance;
	close(fd);
	return rc;
}

static int ask_memory(const struct hyper_target *to, struct fc_memory *ret, struct err *err)
{
	const struct call call = {GET("/vm/config", "say how it is set up")};
	json_t *json = NULL;
	int rc = ask(to, &call, &json, err);

	if (rc == 0 && fc_parse_memory(json, ret) < 0)
		rc = not_firecracker(to, &call, err);
	json_decref(json);
	return rc;
}

static int ask_balloon(const struct hyper_target *to, struct hyper_facts *ret, struct err *err)
{
	const struct call call = {GET("/balloon", "describe its balloon")};
	json_t *json = NULL;
	int rc = ask_status(to, &call, &json, err);

	if (rc == 200 || rc == 400) {	/* 400: there is none */
		ret->balloon = rc == 200;
		ret->hinting = json_is_true(json_object_get(json, "free_page_hinting"));
		rc = json_is_object(json) ? 0 : not_firecracker(to, &call, err);
	} else if (rc >= 0) {
		rc = refused(to, &call, rc, json, err);
	}
	json_decref(json);
	return rc;
}

static int facts(struct hyper *h, struct hyper_facts *ret, struct err *err)
{
	struct instance instance;
	struct fc_memory memory;
	int rc = ask_instance(h->to, &instance, err);

	if (rc == 0)
		rc = ask_balloon(h->to, &instance.facts, err);
	if (rc == 0)
		rc = ask_memory(h->to, &memory, err);
	if (rc < 0)
		return rc;
	instance.facts.dirty = fc_can_diff(&instance.version, &memory);
	instance.facts.memory = memory.size;
	instance.facts.fills = true;
	instance.facts.opens = true;
	*ret = instance.facts;
	return 0;
}

/* ---- pause, resume ---- */

static int set_state(struct hyper *h, const char *state, const char *what, struct err *err)
{
	const struct call call = {
		PATCH("/vm", what), .body = json_pack("{s:s}", "state", state),
	};

	return ask(h->to, &call, NULL, err);
}

static int pause_guest(struct hyper *h, struct err *err)
{
	return set_state(h, "Paused", "pause the guest", err);
}

static int resume_guest(struct hyper *h, struct err *err)
{
	return set_state(h, "Resumed", "resume the guest", err);
}

/* ---- drain ---- */

static int need_hinting(const struct hyper_target *to, struct err *err)
{
	struct hyper_facts facts = {.balloon = false};
	int rc = ask_balloon(to, &facts, err);

	if (rc < 0 || facts.hinting)
		return rc;
	return err_set(err, -ENOTSUP, facts.balloon ?
		       "firecracker on '%s': its balloon was set up without free_page_hinting" :
		       "firecracker on '%s' has no balloon", to->socket);
}

static int begin_hinting(const struct hyper_target *to, struct err *err)
{
	const struct call call = {
		PATCH("/balloon/hinting/start", "begin free page hinting"),
		.body = json_pack("{s:b}", "acknowledge_on_stop", 1),
	};

	return ask(to, &call, NULL, err);
}

/* Whatever happens, also where the caller wants no more: else the guest goes on with it. */
static int end_hinting(const struct hyper_target *to, struct err *err)
{
	const struct call call = {
		PATCH("/balloon/hinting/stop", "end free page hinting"),
		.timeout_ms = LATE_MS,
		.unstoppable = true,
	};

	return ask(to, &call, NULL, err);
}

/* 1: it has ended. */
static int hinting_status(const struct hyper_target *to, struct err *err)
{
	const struct call call = {
		GET("/balloon/hinting/status", "say how free page hinting goes"),
		.timeout_ms = LATE_MS,
	};
	json_t *json = NULL;
	int rc = ask(to, &call, &json, err);

	if (rc == 0) {
		rc = fc_parse_hinting(json);
		rc = rc < 0 ? not_firecracker(to, &call, err) : rc;
	}
	json_decref(json);
	return rc;
}

static int await_hinting(const struct hyper_target *to, int ms, struct err *err)
{
	uint64_t end = clock_ms() + (uint64_t)(ms > 0 ? ms : 0), now;
	int nap = POLL_FIRST_MS, rc = 0;

	while (rc == 0) {
		now = clock_ms();
		if (now >= end)
			return 0;
		if (to->stopped && to->stopped())
			return err_set(err, -ECANCELED, "firecracker on '%s': cancelled",
				       to->socket);
		(void)poll(NULL, 0, end - now < (uint64_t)nap ? (int)(end - now) : nap);
		nap = 2 * nap < POLL_MAX_MS ? 2 * nap : POLL_MAX_MS;
		rc = hinting_status(to, err);
	}
	return rc;
}

static int drain(struct hyper *h, int ms, struct hyper_drained *ret, struct err *err)
{
	int rc = need_hinting(h->to, err), end;

	if (rc == 0)
		rc = begin_hinting(h->to, err);
	if (rc < 0)
		return rc;
	rc = await_hinting(h->to, ms, err);
	if (rc <= 0) {
		end = end_hinting(h->to, rc < 0 ? NULL : err);
		rc = rc < 0 ? rc : end;
	}
	if (rc >= 0)
		*ret = (struct hyper_drained){.whole = rc > 0};
	return rc < 0 ? rc : 0;
}

/* ---- snapshot ---- */

/* In a child: the files may be on a mount whose daemon does not answer. */
static int look_at_files(struct errand *e, struct err *err)
{
	const struct hyper_snapshot *what = e->arg;
	const char *const paths[] = {what->memfile, what->state};
	struct stat st;

	for (int i = 0; i < 2; i++) {
		if (stat(paths[i], &st) < 0)
			return err_sys(err, -errno, "cannot look at '%s'", paths[i]);
		e->count[i] = (uint64_t)st.st_size;
	}
	return 0;
}

struct sizes {
	uint64_t memory;
	uint64_t state;
};

static int read_sizes(const struct hyper_target *to, const struct hyper_snapshot *what,
		      struct sizes *ret, struct err *err)
{
	struct hyper_snapshot copy = *what;
	struct errand e = {.fn = look_at_files, .arg = &copy, .path = what->memfile,
			   .idle_ms = to->timeout_ms, .stopped = to->stopped};
	int rc = errand_run(&e, err);

	if (rc == 0)
		*ret = (struct sizes){e.count[0], e.count[1]};
	return rc;
}

/* How a snapshot is taken. */
struct plan {
	struct instance instance;
	struct fc_memory memory;
	bool diff;
	const char *memfile;	/* as they are called in its jail */
	const char *state;
};

/* Firecracker empties a memory file of another size: what a diff leaves out would be lost. */
static int check_size(const struct hyper_target *to, const struct hyper_snapshot *what,
		      struct plan *plan, struct err *err)
{
	struct sizes sizes;
	int rc = read_sizes(to, what, &sizes, err);

	if (rc < 0)
		return rc;
	if (sizes.memory && sizes.memory != plan->memory.size)
		return err_set(err, -EINVAL, "'%s' has %" PRIu64 " bytes and the guest of "
			       "firecracker on '%s' %" PRIu64 ": its snapshot needs a file of that "
			       "size, or an empty one", what->memfile, sizes.memory, to->socket,
			       plan->memory.size);
	plan->diff = sizes.memory && !what->full &&
		     fc_can_diff(&plan->instance.version, &plan->memory);
	return 0;
}

/* What the process has handed to write(2) so far; 0: not known. */
static uint64_t written_by(pid_t pid)
{
	uint64_t written = 0;
	char path[64], *text, *at;

	if (pid <= 0)
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/%d/io", (int)pid);
	if (io_read_file(AT_FDCWD, path, MAX_PROC_IO, &text, NULL) < 0)
		return 0;
	at = strstr(text, "wchar: ");
	if (at)
		written = strtoull(at + strlen("wchar: "), NULL, 10);
	free(text);
	return written;
}

static int make_plan(const struct hyper_target *to, const struct hyper_snapshot *what,
		     struct plan *ret, struct err *err)
{
	int rc = hyper_path(to, what->memfile, &ret->memfile, err);

	if (rc == 0)
		rc = hyper_path(to, what->state, &ret->state, err);
	if (rc == 0)
		rc = ask_instance(to, &ret->instance, err);
	if (rc == 0)
		rc = ask_memory(to, &ret->memory, err);
	return rc < 0 ? rc : check_size(to, what, ret, err);
}

static int create_snapshot(const struct hyper_target *to, const struct plan *plan,
			   struct err *err)
{
	struct call call = {
		PUT("/snapshot/create", "take a snapshot"),
		.body = json_pack("{s:s, s:s, s:s}", "snapshot_type", plan->diff ? "Diff" : "Full",
				  "snapshot_path", plan->state, "mem_file_path", plan->memfile),
		.timeout_ms = to->timeout_ms ? to->timeout_ms : ENDLESS,
	};

	if (!call.body)
		return err_set(err, -EINVAL, "'%s' or '%s' is not UTF-8", plan->memfile,
			       plan->state);
	return ask(to, &call, NULL, err);
}

/* Of a diff: what was written in all, without the state; log lines count until a page is full. */
static uint64_t data_of(const struct plan *plan, uint64_t before, uint64_t state)
{
	uint64_t after = written_by(plan->instance.facts.pid);

	if (!plan->diff)
		return plan->memory.size;
	if (!before || after < before + state)
		return 0;
	return (after - before - state) / PAGE_BYTES * PAGE_BYTES;
}

static int snapshot(struct hyper *h, const struct hyper_snapshot *what, struct hyper_saved *ret,
		    struct err *err)
{
	struct plan plan;
	struct sizes sizes;
	uint64_t before;
	int rc = make_plan(h->to, what, &plan, err);

	if (rc < 0)
		return rc;
	before = written_by(plan.instance.facts.pid);
	rc = create_snapshot(h->to, &plan, err);
	if (rc == 0)
		rc = read_sizes(h->to, what, &sizes, err);
	if (rc < 0)
		return rc;
	*ret = (struct hyper_saved){
		.memory = data_of(&plan, before, sizes.state),
		.state = sizes.state,
		.diff = plan.diff,
	};
	return 0;
}

/* ---- load ---- */

static json_t *load_body(const struct hyper_load *what, const struct instance *instance)
{
	const char *track = fc_since(&instance->version, 1, 13) ?
		"track_dirty_pages" : "enable_diff_snapshots";

	return json_pack("{s:s, s:{s:s, s:s}, s:b, s:b}", "snapshot_path", what->state,
			 "mem_backend", "backend_type", what->uffd ? "Uffd" : "File",
			 "backend_path", what->uffd ? what->uffd : what->memfile, track,
			 what->track_dirty, "resume_vm", what->run);
}

/* The paths as they are called in its jail. */
static int jail_paths(const struct hyper_target *to, struct hyper_load *what, struct err *err)
{
	int rc = hyper_path(to, what->state, &what->state, err);

	if (rc < 0)
		return rc;
	if (what->uffd)
		return hyper_path(to, what->uffd, &what->uffd, err);
	return hyper_path(to, what->memfile, &what->memfile, err);
}

static int load(struct hyper *h, const struct hyper_load *what, struct err *err)
{
	const struct hyper_target *to = h->to;
	struct hyper_load jailed = *what;
	struct call call = {
		PUT("/snapshot/load", "load the snapshot"),
		.timeout_ms = to->timeout_ms ? to->timeout_ms : ENDLESS,
	};
	struct instance instance;
	int rc = jail_paths(to, &jailed, err);

	if (rc == 0)
		rc = ask_instance(to, &instance, err);
	if (rc < 0)
		return rc;
	if (!fc_since(&instance.version, 1, 1))
		return err_set(err, -ENOTSUP, "firecracker %s on '%s' has no memory backends: "
			       "1.1 has", instance.facts.version, to->socket);
	call.body = load_body(&jailed, &instance);
	if (!call.body)
		return err_set(err, -EINVAL, "'%s' or '%s' is not UTF-8", what->state,
			       what->uffd ? what->uffd : what->memfile);
	return ask(to, &call, NULL, err);
}

/* ---- the vtable ---- */

static int open_fc(const struct hyper_target *to, struct hyper **ret, struct err *err)
{
	struct hyper *h = calloc(1, sizeof(*h));

	if (!h)
		return err_sys(err, -ENOMEM, "firecracker on '%s'", to->socket);
	*h = (struct hyper){&fc_ops, to};
	*ret = h;
	return 0;
}

static void close_fc(struct hyper *h)
{
	free(h);
}

const struct hyper_ops fc_ops = {
	.name = "firecracker",
	.open = open_fc,
	.close = close_fc,
	.facts = facts,
	.pause = pause_guest,
	.resume = resume_guest,
	.drain = drain,
	.snapshot = snapshot,
	.load = load,
};
