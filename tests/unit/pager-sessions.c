/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/sessions.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "src/pager/dispatch.h"
#include "src/pager/facts.h"
#include "src/pager/tally.h"
#include "store/base/log.h"
#include "tests/tap.h"

static struct session_env env;
static struct sessions *table;
static struct err err;

static struct setup setup(const char *id, const char *more)
{
	struct setup ret = {0};
	char text[8192];
	json_t *json;

	(void)snprintf(text, sizeof(text), "{\"id\":\"%s\",\"memfile\":\"%s\"%s}", id,
		       tap_path("memfile"), more);
	json = json_loads(text, 0, NULL);
	if (!json || setup_from_json(json, env.runtime_dir, &ret, &err) < 0)
		bail("%s: %s", text, err.text);
	json_decref(json);
	return ret;
}

/* 0 or -errno; `err` has the sentence. */
static int create(const char *id, const char *more)
{
	struct setup su = setup(id, more);
	struct session *s = NULL;
	int rc = sessions_create(table, &su, &s, &err);

	session_unref(s);
	setup_fini(&su);
	return rc;
}

static uint32_t phase(const char *id)
{
	struct session *s = sessions_by_id(table, id);
	uint32_t ret = s ? s->state->head->phase : STATE_NPHASES;

	session_unref(s);
	return ret;
}

static const char *socket_of(const char *id)
{
	static char path[8192];

	(void)snprintf(path, sizeof(path), "%s/%s.sock", env.runtime_dir, id);
	return path;
}

static int connect_to(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		bail("connect: %s", strerror(errno));
	return fd;
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_create(void)
{
	struct session *s, *same;
	char more[8192];

	is_int(create("a", ""), 0, "a session");
	is_err(create("a", ""), &err, -EEXIST, "session 'a' exists");
	(void)snprintf(more, sizeof(more), ",\"socket\":\"%s\"", socket_of("a"));
	is_err(create("b", more), &err, -EADDRINUSE, "cannot listen on '%s': %s", socket_of("a"),
	       strerror(EADDRINUSE));
	usleep(50000);
	is_int(phase("a"), STATE_WAITING, "whose socket it is waits still");
	is_int(sessions_count(table), 1, "there is one");
	s = sessions_by_id(table, "a");
	same = sessions_by_bag(table, s->bag);
	ok(same == s, "it is found by its number");
	is_int(s->pid, 0, "nobody has connected to it");
	session_unref(s);
	session_unref(same);
	ok(!sessions_by_id(table, "b") && !sessions_by_bag(table, 999), "others are not");
	is_err(sessions_close(table, "b", false, &err), &err, -ENOENT, "there is no session 'b'");
	is_int(sessions_close(table, "a", false, &err), 0, "one that waits can be closed");
	is_int(access(socket_of("a"), F_OK), -1, "its socket is gone");
	ok(!sessions_by_id(table, "a"), "and it");
}

static void hang_up(const char *id)
{
	close(connect_to(socket_of(id)));
	for (int i = 0; i < 1000 && phase(id) == STATE_WAITING; i++)
		usleep(10000);
}

/* What has ended stays until its id is used again. */
static void test_ended(void)
{
	size_t n = 0;
	struct session **all;
	struct session *s;

	is_int(create("c", ""), 0, "a session");
	hang_up("c");
	is_int(phase("c"), STATE_FAILED, "that fails");
	is_int(sessions_count(table), 0, "is over");
	is_int(create("c", ""), 0, "its id is free");
	is_int(phase("c"), STATE_WAITING, "and means the new one");
	all = sessions_all(table, &n);
	is_int(n, 1, "the old one is forgotten");
	session_unref(all[0]);
	free(all);
	s = sessions_by_id(table, "c");
	is_int(sessions_close(table, "c", false, &err), 0, "closed");
	ok(s->ended, "whoever still holds it sees that");
	session_unref(s);
}

/* While its owner is busy, and hears nobody. */
static void test_busy(void)
{
	struct facts_want want = {.histogram = false};
	struct session *s;
	json_t *json, *completion;

	is_int(create("busy", ""), 0, "a session");
	s = sessions_by_id(table, "busy");
	session_enter(s);
	s->state->head->phase = STATE_COMPLETING;
	s->state->head->count.completed = 7;
	facts_until(&want, 10);
	json = facts_json(s, &want);
	s->state->head->phase = STATE_WAITING;
	session_leave(s);
	completion = json_object_get(json, "completion");
	is_str(json_string_value(json_object_get(json, "state")), "completing", "that graduates");
	is_int(json_integer_value(json_object_get(completion, "pages")), 7, "says how far it came");
	ok(json_is_null(json_object_get(completion, "position_bytes")) &&
	   json_is_null(json_object_get(completion, "held")), "but what only its owner knows");
	json_decref(json);
	session_unref(s);
	is_int(sessions_close(table, "busy", false, &err), 0, "closed");
}

/* A socket that nobody listens on is no obstacle; a file that is none is. */
static void test_leftovers(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", socket_of("d"));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		bail("bind");
	is_int(create("d", ""), -EADDRINUSE, "a name that somebody is bound to");
	close(fd);
	is_int(create("d", ""), 0, "and nobody any more");
	is_int(sessions_close(table, "d", false, &err), 0, "closed");
	close(open(socket_of("d"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	is_int(create("d", ""), -EADDRINUSE, "a file that is no socket");
	is_int(access(socket_of("d"), F_OK), 0, "is left alone");
	(void)unlink(socket_of("d"));
}

/* As a worker gets it from the keeper. */
static struct keep_msg bag_of(struct session *s, uint32_t bag)
{
	struct keep_msg msg = {.word = KEEP_BAG, .bag = bag};

	msg.role[msg.n] = KEEP_STATE;
	msg.fd[msg.n++] = fcntl(s->state->fd, F_DUPFD_CLOEXEC, 0);
	msg.role[msg.n] = KEEP_LISTEN;
	msg.fd[msg.n++] = fcntl(s->fd[SESSION_LISTEN], F_DUPFD_CLOEXEC, 0);
	return msg;
}

static void test_adopt(void)
{
	unsigned before = open_fds();
	struct session_env after = env;
	struct sessions *first = table, *next = sessions_new(&after);
	struct session *s;
	struct keep_msg msg;

	if (loop_new(2, &dispatch_ops, next, &after.loop, &err) < 0)
		bail("%s", err.text);
	is_int(create("e", ",\"detachable\":true"), 0, "a session of a worker");
	s = sessions_by_id(table, "e");
	loop_unwatch(env.loop, s->fd[SESSION_LISTEN]);	/* that does nothing any more */
	msg = bag_of(s, 7);
	table = next;
	is_int(sessions_adopt(next, &msg, &err), 0, "is taken up by the next");
	sessions_start(next);
	is_int(phase("e"), STATE_WAITING, "and waits on");
	is_int(create("f", ""), 0, "a new one there");
	session_unref(s);
	s = sessions_by_id(next, "f");
	ok(s->bag > 7, "has a number that was never used");
	session_unref(s);
	is_int(sessions_close(next, "f", false, &err), 0, "closed");
	s = sessions_by_id(next, "e");
	ok(s && s->setup.detachable, "what it was made with is known");
	session_unref(s);
	hang_up("e");
	is_int(phase("e"), STATE_FAILED, "its hypervisor is heard");
	is_int(sessions_close(next, "e", false, &err), 0, "forgotten");
	table = first;
	is_int(sessions_close(first, "e", false, &err), 0, "in the old one, too");
	loop_free(after.loop);
	sessions_free(next);
	is_int(open_fds(), before, "nothing is left open");
}

/* A worker that was killed when the end had been written and nothing been closed. */
static void test_adopt_ended(void)
{
	unsigned before = open_fds();
	struct sessions *first = table, *next = sessions_new(&env);
	struct session *s;
	struct keep_msg msg;

	is_int(create("g", ""), 0, "a session");
	s = sessions_by_id(table, "g");
	msg = bag_of(s, 8);
	state_end(s->state, STATE_GONE, "gone");
	session_unref(s);
	is_int(sessions_adopt(next, &msg, &err), 0, "that had ended");
	sessions_start(next);
	s = sessions_by_id(next, "g");
	ok(s->ended, "has ended");
	is_int(s->fd[SESSION_LISTEN], -1, "its descriptors are closed now");
	is_int(access(socket_of("g"), F_OK), -1, "its socket is gone");
	session_unref(s);
	is_int(sessions_count(next), 0, "it does not count");
	is_int(sessions_close(next, "g", false, &err), 0, "forgotten");
	is_int(sessions_close(first, "g", false, &err), 0, "in the old one, too");
	sessions_free(next);
	is_int(open_fds(), before, "nothing is left open");
}

static uint64_t faults(struct sessions *t)
{
	struct metrics m;

	if (sessions_measure(t, &m) < 0)
		bail("no memory");
	return m.count[0];
}

static uint32_t bag_of_id(struct sessions *t, const char *id)
{
	struct session *s = sessions_by_id(t, id);
	uint32_t bag = s->bag;

	session_unref(s);
	return bag;
}

/* As two workers have it, one after the other. */
static void share_tally(struct sessions *a, struct sessions *b)
{
	struct tally *tally;
	int fd;

	if (tally_new(&tally, &err) < 0)
		bail("%s", err.text);
	fd = fcntl(tally_fd(tally), F_DUPFD_CLOEXEC, 3);
	if (sessions_adopt_tally(a, fd, &err) < 0)
		bail("%s", err.text);
	fd = fcntl(tally_fd(tally), F_DUPFD_CLOEXEC, 3);
	is_int(sessions_adopt_tally(b, fd, &err), 0, "a tally of former workers");
	tally_close(tally);
}

/* A session of the first worker, with 7 faults; as the keeper has it. */
static struct keep_msg with_faults(struct sessions *first)
{
	struct session *s;
	struct keep_msg msg;

	table = first;
	is_int(create("t", ""), 0, "a session");
	s = sessions_by_id(first, "t");
	state_add(&s->state->head->count.faults, 7);
	msg = bag_of(s, s->bag);
	session_unref(s);
	return msg;
}

/* A worker that was killed while it forgot a session: the keeper has it still. */
static void test_adopt_forgotten(void)
{
	unsigned before = open_fds();
	struct sessions *own = table, *first = sessions_new(&env), *next = sessions_new(&env);
	struct keep_msg msg;
	uint32_t bag;

	share_tally(first, next);
	msg = with_faults(first);
	is_int(faults(first), 7, "that counts");
	bag = bag_of_id(first, "t");
	is_int(sessions_close(first, "t", false, &err), 0, "it is closed");
	is_int(faults(first), 7, "what it counted stays");
	is_int(sessions_adopt(next, &msg, &err), 0, "the next worker finds it");
	sessions_start(next);
	ok(!sessions_by_id(next, "t"), "and forgets it");
	is_int(faults(next), 7, "but not what it counted, once");
	table = next;
	is_int(create("u", ""), 0, "a new one");
	ok(bag_of_id(next, "u") > bag, "has a number that no worker gave");
	is_int(sessions_close(next, "u", false, &err), 0, "closed");
	is_int(sessions_drain(first, false), 0, "the former drains");
	ok(sessions_draining(next), "and so does the next");
	is_err(create("v", ""), &err, -ESHUTDOWN, "this pager takes no new sessions");
	table = own;
	sessions_free(first);
	sessions_free(next);
	is_int(open_fds(), before, "nothing is left open");
}

static void test_adopt_garbage(void)
{
	struct keep_msg msg = {.word = KEEP_BAG, .bag = 9, .n = 1, .role = {KEEP_CONN}};
	unsigned before = open_fds();

	msg.fd[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	is_err(sessions_adopt(table, &msg, &err), &err, -ENOENT, "bag 9 has no state");
	msg.role[0] = KEEP_STATE;
	msg.n = 1;
	msg.fd[0] = memfd_create("no-state", MFD_CLOEXEC);
	is_int(sessions_adopt(table, &msg, &err), -EBADMSG, "a bag whose state is none");
	is_int(open_fds(), before, "nothing is left open");
}

static void test_drain(void)
{
	is_int(create("z", ""), 0, "a session");
	ok(!sessions_draining(table), "before");
	is_int(sessions_drain(table, false), 1, "one is left");
	ok(sessions_draining(table), "from now on");
	is_err(create("y", ""), &err, -ESHUTDOWN, "this pager takes no new sessions");
	is_int(sessions_close(table, "z", false, &err), 0, "it is closed");
	is_int(sessions_drain(table, false), 0, "none is left");
}

int main(void)
{
	FILE *f;
	unsigned before;

	log_init("test", LOG_LEVEL_ERROR);
	env.runtime_dir = strdup(tap_tmpdir());
	f = fopen(tap_path("memfile"), "we");
	if (!f || ftruncate(fileno(f), 1 << 20) < 0 || fclose(f) != 0)
		bail("no memfile");
	table = sessions_new(&env);
	if (loop_new(2, &dispatch_ops, table, &env.loop, &err) < 0)
		bail("%s", err.text);
	before = open_fds();
	test_create();
	test_ended();
	test_busy();
	test_leftovers();
	test_adopt_ended();
	test_adopt_forgotten();
	test_adopt_garbage();
	is_int(open_fds(), before, "nothing is left open");
	test_adopt();
	test_drain();
	loop_free(env.loop);
	sessions_free(table);
	free((char *)env.runtime_dir);
	return tap_done();
}
