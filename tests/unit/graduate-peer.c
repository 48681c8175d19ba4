/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/graduate/peer.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "tests/unit/wire.h"

static struct err err;
static const char *decisions;

static void get_decisions(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	httpd_text(call, 200, "application/json", decisions);
}

static const struct httpd_route routes[] = {{"GET", "/decisions", get_decisions}, {0}};

static void test_lock(void)
{
	const char *dir = tap_tmpdir();
	int fd, child;

	ok(!peer_runs(tap_path("none")), "where there is no directory nobody runs");
	ok(!peer_runs(dir), "nobody runs");
	is_int(access(tap_path("graduator.lock"), F_OK), -1, "to look makes no file");
	fd = peer_lock(dir, &err);
	ok(fd >= 0, "the lock is taken");
	ok(peer_runs(dir), "which can be seen");
	is_err(peer_lock(dir, &err), &err, -EBUSY, "another lamina-graduator runs for '%s'", dir);
	child = fork();
	if (child == 0)
		_exit(peer_runs(dir) && peer_lock(dir, &err) == -EBUSY ? 0 : 1);
	ok(waitpid(child, &child, 0) > 0 && child == 0, "by a child, too, which cannot have it");
	close(fd);
	ok(!peer_runs(dir), "it goes with its descriptor");
	fd = peer_lock(dir, &err);
	ok(fd >= 0, "and can be taken again");
	close(fd);
	is_err(peer_lock(tap_path("none"), &err), &err, -ENOENT,
	       "cannot open '%s/none/graduator.lock': No such file or directory", dir);
}

static size_t begun(const struct served *s, int want, const char *text)
{
	static const struct rules_pager pager = {"/p.sock", "1.0", false};
	struct rules_session v[] = {
		{.pager = &pager, .id = "a", .number = 1, .state = RULES_COMPLETING, .pid = 5},
		{.pager = &pager, .id = "b", .number = 2, .state = RULES_SERVING},
		{.pager = &pager, .id = "c", .number = 3, .state = RULES_COMPLETING},
	};
	const struct scan scan = {.sessions = {.v = v, .n = 3}};
	struct memory memory = {0};
	size_t n;

	decisions = text;
	is_int(peer_ask(s->path, 20000, &scan, &memory, &err), want, "%s", text);
	n = memory_running(&memory);
	if (n == 1)
		ok(!strcmp(memory.v[0].id, "a") && memory.v[0].pid == 5, "it is the one");
	memory_fini(&memory);
	return n;
}

#define D(pager, id, number, reason) \
	"{\"pager\":\"" pager "\",\"session\":\"" id "\",\"number\":" number \
	",\"reason\":\"" reason "\"}"

static void test_ask(void)
{
	struct served s;
	struct memory memory = {0};
	const struct scan none = {0};

	wire_make(&s, routes, NULL);
	wire_start(&s);
	is_int(begun(&s, 0, "{\"decisions\":[]}"), 0, "nothing");
	is_int(begun(&s, 0, "{\"decisions\":[" D("/p.sock", "a", "1", "running") "]}"), 1,
	       "what runs");
	is_int(begun(&s, 0, "{\"decisions\":[" D("/p.sock", "a", "1", "graduate") ","
		     D("/p.sock", "b", "2", "graduate") "]}"), 1,
	       "what was about to, if it is on its way");
	is_int(begun(&s, 0, "{\"decisions\":[" D("/q.sock", "a", "1", "running") ","
		     D("/p.sock", "a", "4", "running") "," D("/p.sock", "c", "1", "running") ","
		     D("/p.sock", "c", "3", "completing") ",7,{}]}"), 0,
	       "neither other sessions nor what others asked for");
	is_int(begun(&s, -EPROTO, "{}"), 0, "no decisions");
	is_int(begun(&s, -EPROTO, "[]"), 0, "no object");
	is_int(begun(&s, -EPROTO, "{"), 0, "no JSON");
	wire_stop(&s);
	wire_free(&s);
	is_err(peer_ask(s.path, 20000, &none, &memory, &err), &err, -ECONNREFUSED,
	       "nobody listens on '%s'", s.path);
}

int main(void)
{
	test_lock();
	test_ask();
	return tap_done();
}
