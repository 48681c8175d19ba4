/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel believes for ever what attr.h lets it believe.  That is right for
 * whatever a layer's id determines; the rest is invalidated here: the link
 * count and times of layers/, tags/ and live/, and the names of removed layers, whose
 * cached pages go with them once nobody has them open.
 *
 * Telling the kernel may wait for a lookup that is under way in the same
 * directory, so no lock is held then, and never is it done by a thread that
 * serves requests.
 */
#include "config.h"

#include "fuse/watch.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "fuse/live-hold.h"
#include "fuse/lowlevel.h"
#include "store/base/fmt.h"
#include "store/base/log.h"
#include "store/base/vec.h"
#include "store/decide.h"
#include "store/pack.h"

#define BUSY_LINES 10

/* --- changes --- */

struct present {
	struct server *server;
	VEC(struct digest) ids;
};

static int add_present(void *ctx, const struct index_layer *layer)
{
	struct present *p = ctx;

	return vec_push(&p->ids, layer->id);
}

static int compare_ids(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct digest));
}

static int forget_if_gone(void *ctx, const struct digest *id)
{
	struct present *p = ctx;
	struct server *s = p->server;
	char name[DIGEST_HEX_LEN];

	if (p->ids.n && bsearch(id, p->ids.v, p->ids.n, sizeof(*id), compare_ids))
		return 0;
	fmt_hex(name, id->b, DIGEST_LEN);
	if (fuse_lowlevel_notify_inval_entry(s->session,
					     tree_nodeid(s->tree, tree_layers(s->tree)), name,
					     strlen(name)) == 0)
		stats_add(&s->stats, STATS_INVALIDATIONS, 1);
	return 0;
}

/* Attributes only: a negative offset leaves the contents. */
static void forget_attributes(struct server *s, const struct node *node)
{
	(void)fuse_lowlevel_notify_inval_inode(s->session, tree_nodeid(s->tree, node), -1, 0);
}

static void tell_kernel(struct server *s, struct present *p)
{
	if (p->ids.n)
		qsort(p->ids.v, p->ids.n, sizeof(struct digest), compare_ids);
	if (tree_each_layer(s->tree, forget_if_gone, p) < 0)
		log_error("out of memory: removed layers stay visible for now");
	forget_attributes(s, tree_layers(s->tree));
	forget_attributes(s, tree_tags(s->tree));
	forget_attributes(s, tree_lives(s->tree));
}

static int count_live(void *ctx, const struct live_row *row)
{
	(void)row;
	++*(uint64_t *)ctx;
	return 0;
}

/* The version is read first: what changes after it is seen the next time. */
static int look(struct watch *w, bool tell, struct err *err)
{
	struct server *s = w->server;
	struct present p = {.server = s};
	uint64_t version, nlives = 0;
	int rc;

	rc = index_data_version(s->store->index, &version);
	if (rc < 0)
		return err_sys(err, rc, "cannot ask the index for changes");
	if (version == w->version)
		return 0;
	packs_forget_gone(s->store->packs);	/* a gc may have unlinked some: free their space */
	rc = decide_layer_each(s->store, add_present, &p, err);
	if (rc == 0)
		rc = live_row_each(s->store, count_live, &nlives, err);
	if (rc == 0) {
		w->version = version;
		w->fold = true;
		__atomic_store_n(&s->nlives, nlives, __ATOMIC_RELAXED);
		__atomic_store_n(&s->nlayers, p.ids.n, __ATOMIC_RELAXED);
		__atomic_store_n(&s->changed, time(NULL), __ATOMIC_RELAXED);
		if (tell)
			tell_kernel(s, &p);
	}
	vec_fini(&p.ids);
	return rc;
}

int watch_look(struct watch *w, struct err *err)
{
	w->version = UINT64_MAX;
	return look(w, false, err);
}

/* --- live images --- */

static int fold_one(void *ctx, struct lives_item *item)
{
	struct watch *w = ctx;
	struct err err = {""};

	if (live_hold_fold(item, &err) < 0) {
		damage_log(&w->server->damage, err.text);
		w->fold = true;
	}
	return 0;
}

/* Whoever committed may have died before he told us, or not have known of us. */
static void fold(struct watch *w)
{
	if (!w->fold)
		return;
	w->fold = false;
	if (tree_each_live(w->server->tree, fold_one, w) < 0)
		w->fold = true;
}

/* --- signals --- */

static void unmount_busy(struct watch *w, const char *why)
{
	size_t n = file_log_open(w->server, BUSY_LINES);
	struct err err = {""};

	if (mountpoint_unmount(w->mountpoint, true, &err) < 0)
		log_error("%s", err.text);
	else
		log_warn("%s: taken out of sight, and served until nobody uses it "
			 "(open files: %zu)", why, n);
}

static void unmount(struct watch *w)
{
	struct err err = {""};
	int rc = mountpoint_unmount(w->mountpoint, false, &err);

	if (rc == -EBUSY)
		unmount_busy(w, err.text);
	else if (rc < 0)
		log_error("%s", err.text);
}

static void take_signal(struct watch *w)
{
	struct signalfd_siginfo info;

	if (read(w->signal_fd, &info, sizeof(info)) != sizeof(info) || info.ssi_signo == SIGHUP)
		return;
	if (w->signals++ == 0) {
		unmount(w);
		return;
	}
	log_warn("asked to end twice: whoever uses it loses it now (open files: %llu)",
		 (unsigned long long)stats_get(&w->server->stats, STATS_OPEN_FILES));
	daemonize_end(w->daemonize);
	_exit(EXIT_FAILURE);
}

/* --- the thread --- */

static void *run(void *arg)
{
	struct watch *w = arg;
	struct pollfd fds[] = {{w->signal_fd, POLLIN, 0}, {w->stop_fd, POLLIN, 0}};

	for (;;) {
		struct err err = {""};

		if (poll(fds, 2, WATCH_PERIOD_MS) < 0 && errno != EINTR)
			break;
		if (fds[1].revents)
			break;
		if (fds[0].revents)
			take_signal(w);
		if (look(w, true, &err) < 0)
			damage_log(&w->server->damage, err.text);
		fold(w);
	}
	return NULL;
}

int watch_init(struct watch *w, struct server *server, struct mountpoint *mountpoint,
	       struct daemonize *daemonize, struct err *err)
{
	sigset_t set;

	*w = (struct watch){server, mountpoint, daemonize, .signal_fd = -1, .stop_fd = -1};
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	w->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (w->signal_fd >= 0)
		w->stop_fd = eventfd(0, EFD_CLOEXEC);
	return w->stop_fd < 0 ? err_sys(err, -errno, "cannot wait for signals") : 0;
}

void watch_fini(struct watch *w)
{
	if (w->signal_fd >= 0)
		close(w->signal_fd);
	if (w->stop_fd >= 0)
		close(w->stop_fd);
}

int watch_start(struct watch *w, struct err *err)
{
	int rc = -pthread_create(&w->thread, NULL, run, w);

	return rc < 0 ? err_sys(err, rc, "cannot start a thread") : 0;
}

void watch_stop(struct watch *w)
{
	uint64_t one = 1;

	(void)!write(w->stop_fd, &one, sizeof(one));
	pthread_join(w->thread, NULL);
}
