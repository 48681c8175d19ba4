/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The QMP client and a scripted peer: one function a case, on a thread of its own. */
#include "src/host/qmp.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "store/base/clock.h"
#include "store/base/fmt.h"
#include "tests/tap.h"

#define PATIENT_MS 30000
#define HASTY_MS 300
#define GREETING \
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, " \
	"\"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n"

static struct err err;
static char path[108];
static int listener;
static pthread_t thread;
static void (*script)(int fd);
static atomic_bool stop;

static bool stopped(void)
{
	return stop;
}

static struct hyper_target to = {.socket = path, .timeout_ms = PATIENT_MS, .stopped = stopped};

/* ---- the peer ---- */

static void say(int fd, const char *text)
{
	size_t len = strlen(text);

	while (len) {
		ssize_t sent = send(fd, text, len, MSG_NOSIGNAL);

		if (sent < 0)
			return;
		text += sent;
		len -= (size_t)sent;
	}
}

/* A command's id; its line is in `heard`. */
static char heard[2 << 20];
static int heard_fd;	/* that came with it, or -1 */

static ssize_t hear_byte(int fd, char *c)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec io = {c, 1};
	struct msghdr msg = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t got = recvmsg(fd, &msg, 0);
	struct cmsghdr *head = got > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

	if (head && head->cmsg_type == SCM_RIGHTS)
		memcpy(&heard_fd, CMSG_DATA(head), sizeof(int));
	return got;
}

static int hear(int fd)
{
	const char *id;
	size_t len = 0;

	heard_fd = -1;
	while (len < sizeof(heard) - 1 && hear_byte(fd, heard + len) == 1 && heard[len] != '\n')
		len++;
	heard[len] = '\0';
	id = strstr(heard, "\"id\":");
	return id ? atoi(id + 5) : 0;
}

static void answer(int fd, int id, const char *value)
{
	char text[512];

	(void)snprintf(text, sizeof(text), "{\"return\": %s, \"id\": %d}\r\n", value, id);
	say(fd, text);
}

static void greet(int fd)
{
	say(fd, GREETING);
	answer(fd, hear(fd), "{}");
}

/* Until the client has hung up. */
static void linger(int fd)
{
	char c;

	while (recv(fd, &c, 1, 0) > 0)
		;
}

static void *serve(void *arg)
{
	int fd = accept(listener, NULL, NULL);

	(void)arg;
	script(fd);
	(void)close(fd);
	return NULL;
}

static void begin(void (*fn)(int fd))
{
	script = fn;
	if (pthread_create(&thread, NULL, serve, NULL) != 0)
		bail("no thread");
}

static void end(struct qmp *q)
{
	qmp_close(q);
	(void)pthread_join(thread, NULL);
}

/* Opens a client of a peer that greets and then does `fn`. */
static struct qmp *open_with(void (*fn)(int fd))
{
	struct qmp *q = NULL;

	begin(fn);
	if (qmp_open(&to, &q, &err) < 0)
		bail("not greeted: %s", err.text);
	return q;
}

/* ---- answers ---- */

static void with_events(int fd)
{
	int id;

	greet(fd);
	id = hear(fd);
	say(fd, "{\"event\": \"STOP\", \"data\": {}}\r\n");
	say(fd, "{\"timestamp\": {}, \"event\": \"RESUME\"}\n");
	answer(fd, id - 1, "{\"status\": \"of an earlier one\"}");
	say(fd, "{\"return\": {\"sta");
	say(fd, "tus\": \"run");
	say(fd, "ning\"}, \"id\": 2}\r\n{\"event\":\"LATER\"}\r\n");
	answer(fd, hear(fd), "[]");
	linger(fd);
}

static void test_answers(void)
{
	struct qmp *q = open_with(with_events);
	json_t *got = NULL;

	is_str(qmp_version(q), "7.2.22", "the version is the greeting's");
	is_int(qmp_pid(q), getpid(), "the peer's process is known");
	is_int(qmp_ask(q, "query-status", NULL, &got, &err), 0, "an answer between events");
	is_str(json_string_value(json_object_get(got, "status")), "running", "is this command's");
	is_str(heard, "{\"execute\":\"query-status\",\"id\":2}", "which was sent so");
	json_decref(got);
	is_int(qmp_ask(q, "stop", json_pack("{s:b}", "x", 1), NULL, &err), 0, "the next one");
	is_str(heard, "{\"execute\":\"stop\",\"id\":3,\"arguments\":{\"x\":true}}",
	       "with arguments");
	end(q);
}

/* As a monitor with pretty=on, in pieces that end anywhere. */
static void with_lines(int fd)
{
	int id;

	say(fd, "{\n    \"QMP\": {\n        \"version\": {\n            \"qemu\": {\n");
	say(fd, "                \"micro\": 22,\n                \"minor\": 2,\n");
	say(fd, "                \"major\": 7\n            },\n            \"package\": \"\"\n");
	say(fd, "        },\n        \"capabilities\": [\n        ]\n    }\n}\r\n");
	answer(fd, hear(fd), "{\n    }");
	id = hear(fd);
	say(fd, "{\n    \"event\": \"}{\\\"}\\\\\"\n}\r\n{\n    \"event\": \"B\"\n}\r\n");
	answer(fd, id, "{\n        \"status\": \"a } b { c \\\" d \\\\\"\n    }");
	answer(fd, hear(fd), "[\n    ]");
	linger(fd);
}

static void test_pretty(void)
{
	struct qmp *q = open_with(with_lines);
	json_t *got = NULL;

	is_str(qmp_version(q), "7.2.22", "a greeting of several lines");
	is_int(qmp_ask(q, "query-status", NULL, &got, &err), 0, "and an answer");
	is_str(json_string_value(json_object_get(got, "status")), "a } b { c \" d \\",
	       "whose texts may have braces");
	json_decref(got);
	is_int(qmp_ask(q, "stop", NULL, NULL, &err), 0, "the next one");
	end(q);
}

static void with_errors(int fd)
{
	char text[256];

	greet(fd);
	(void)snprintf(text, sizeof(text), "{\"id\": %d, \"error\": {\"class\": \"GenericError\", "
		       "\"desc\": \"no such thing\"}}\n", hear(fd));
	say(fd, text);
	(void)snprintf(text, sizeof(text), "{\"id\": %d, \"error\": "
		       "{\"class\": \"CommandNotFound\", \"desc\": \"no such command\"}}\n",
		       hear(fd));
	say(fd, text);
	(void)hear(fd);
	say(fd, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"not understood\"}}\n");
	(void)snprintf(text, sizeof(text), "{\"id\": %d, \"error\": 7}\n", hear(fd));
	say(fd, text);
	(void)snprintf(text, sizeof(text), "{\"id\": %d}\n", hear(fd));
	say(fd, text);
	linger(fd);
}

static void test_errors(void)
{
	struct qmp *q = open_with(with_errors);

	is_err(qmp_ask(q, "cont", NULL, NULL, &err), &err, -EREMOTEIO,
	       "QEMU at '%s' refused 'cont': no such thing", path);
	is_err(qmp_ask(q, "x", NULL, NULL, &err), &err, -ENOTSUP,
	       "QEMU 7.2.22 at '%s' has no command 'x'", path);
	is_err(qmp_ask(q, "y", NULL, NULL, &err), &err, -EREMOTEIO,
	       "QEMU at '%s' refused 'y': not understood", path);
	is_err(qmp_ask(q, "z", NULL, NULL, &err), &err, -EREMOTEIO,
	       "QEMU at '%s' refused 'z': it does not say why", path);
	is_err(qmp_ask(q, "w", NULL, NULL, &err), &err, -EPROTO, "what answers at '%s' is not "
	       "QEMU: its answer to 'w' makes no sense", path);
	end(q);
}

static void with_fd(int fd)
{
	int id;

	greet(fd);
	id = hear(fd);
	if (heard_fd < 0)
		answer(fd, id, "false");
	else
		answer(fd, id, write(heard_fd, "hello", 5) == 5 ? "true" : "false");
	(void)close(heard_fd);
	linger(fd);
}

static void test_descriptor(void)
{
	struct qmp *q = open_with(with_fd);
	char got[6] = "";
	json_t *went = NULL;
	int fd[2];

	if (pipe(fd) < 0)
		bail("pipe");
	is_int(qmp_ask_fd(q, "getfd", json_pack("{s:s}", "fdname", "x"), fd[1], &went, &err), 0,
	       "a descriptor goes with a command");
	ok(json_is_true(went), "it has come");
	json_decref(went);
	is_int(read(fd[0], got, 5), 5, "and is the one that was sent");
	is_str(got, "hello", "it was written to");
	(void)close(fd[0]);
	(void)close(fd[1]);
	end(q);
}

static void with_patience(int fd)
{
	int id;

	greet(fd);
	id = hear(fd);
	answer(fd, id, strlen(heard) > 1 << 20 ? "true" : "false");
	linger(fd);
}

static void test_long_command(void)
{
	struct qmp *q = open_with(with_patience);
	char *text = malloc((1 << 20) + 1);
	json_t *all = NULL;

	memset(text, 'x', 1 << 20);
	text[1 << 20] = '\0';
	is_int(qmp_ask(q, "x", json_pack("{s:s}", "long", text), &all, &err), 0,
	       "a command that does not fit the socket is sent");
	ok(json_is_true(all), "all of it");
	json_decref(all);
	free(text);
	end(q);
}

/* ---- what is no QEMU ---- */

static const char *words;

static void with_words(int fd)
{
	say(fd, words);
	linger(fd);
}

static void test_strangers(void)
{
	static const char *const said[] = {
		"SSH-2.0-OpenSSH_9.2\r\n", "login: ", "\n", "[1, 2]\n", "{}\n", "{\"QMP\": 7}\n",
		"{\"QMP\": {\"version\": {\"qemu\": {\"major\": \"7\"}}}}\n", "{\"QMP\": \xff}\n",
	};
	struct qmp *q = NULL;

	for (size_t i = 0; i < sizeof(said) / sizeof(*said); i++) {
		words = said[i];
		begin(with_words);
		is_err(qmp_open(&to, &q, &err), &err, -EPROTO, "what answers at '%s' is not QEMU: "
		       "it does not speak QMP, which was expected there", path);
		end(NULL);
	}
}

static void with_flood(int fd)
{
	static char much[1 << 16];

	greet(fd);
	(void)hear(fd);
	say(fd, "{");
	memset(much, ' ', sizeof(much));
	while (send(fd, much, sizeof(much), MSG_NOSIGNAL) > 0)
		;
}

static void with_events_only(int fd)
{
	static const char event[] = "{\"event\": \"TICK\"}\r\n";

	greet(fd);
	(void)hear(fd);
	while (send(fd, event, sizeof(event) - 1, MSG_NOSIGNAL) > 0)
		;
}

static void test_many_events(void)
{
	struct qmp *q = open_with(with_events_only);
	char time[FMT_SIZE_LEN];

	to.timeout_ms = HASTY_MS;
	is_err(qmp_ask(q, "x", NULL, NULL, &err), &err, -ETIMEDOUT,
	       "QEMU at '%s' has not answered 'x' within %s", path,
	       fmt_duration(time, HASTY_MS / 1e3));
	to.timeout_ms = PATIENT_MS;
	end(q);
}

static void with_blanks(int fd)
{
	greet(fd);
	(void)hear(fd);
	while (send(fd, "\r\n\r\n", 4, MSG_NOSIGNAL) > 0)
		;
}

static void test_blanks(void)
{
	struct qmp *q = open_with(with_blanks);

	is_err(qmp_ask(q, "x", NULL, NULL, &err), &err, -EPROTO, "what answers at '%s' is not "
	       "QEMU: it does not speak QMP, which was expected there", path);
	end(q);
}

static void test_huge_line(void)
{
	struct qmp *q = open_with(with_flood);

	is_err(qmp_ask(q, "x", NULL, NULL, &err), &err, -EPROTO, "what answers at '%s' is not "
	       "QEMU: it does not speak QMP, which was expected there", path);
	end(q);
}

/* ---- who goes, and who says nothing ---- */

static void with_hangup(int fd)
{
	greet(fd);
	(void)hear(fd);
	say(fd, "{\"return\": {}");
}

static void leaves(int fd)
{
	say(fd, "{\"QMP\": ");
}

static void test_hangup(void)
{
	struct qmp *q;

	begin(leaves);
	is_err(qmp_open(&to, &q, &err), &err, -ECONNRESET,
	       "QEMU at '%s' ended the connection", path);
	end(NULL);
	q = open_with(with_hangup);
	is_err(qmp_ask(q, "x", NULL, NULL, &err), &err, -ECONNRESET,
	       "QEMU at '%s' ended the connection", path);
	is_err(qmp_ask(q, "x", NULL, NULL, &err), &err, -ECONNRESET,
	       "QEMU at '%s' ended the connection", path);
	end(q);
}

/* The first command is answered when the second has come. */
static void with_delay(int fd)
{
	int first;

	greet(fd);
	first = hear(fd);
	(void)hear(fd);
	answer(fd, first, "\"late\"");
	answer(fd, first + 1, "\"in time\"");
	linger(fd);
}

static void test_silence(void)
{
	char time[FMT_SIZE_LEN];
	json_t *got = NULL;
	struct qmp *q;

	to.timeout_ms = HASTY_MS;
	begin(linger);
	is_err(qmp_open(&to, &q, &err), &err, -ETIMEDOUT, "'%s' has sent no greeting of QMP within "
	       "%s: QEMU serves one client at a time, and another may hold it; or it hangs, or is "
	       "no QEMU", path, fmt_duration(time, HASTY_MS / 1e3));
	end(NULL);
	to.timeout_ms = PATIENT_MS;
	q = open_with(with_delay);
	to.timeout_ms = HASTY_MS;
	is_err(qmp_ask(q, "x", NULL, NULL, &err), &err, -ETIMEDOUT,
	       "QEMU at '%s' has not answered 'x' within %s", path,
	       fmt_duration(time, HASTY_MS / 1e3));
	to.timeout_ms = PATIENT_MS;
	is_int(qmp_ask(q, "y", NULL, &got, &err), 0, "the next command is answered");
	is_str(json_string_value(got), "in time", "by its own answer");
	json_decref(got);
	end(q);
}

static void with_undo(int fd)
{
	greet(fd);
	(void)hear(fd);
	answer(fd, hear(fd), "{}");
	linger(fd);
}

static void test_stopped(void)
{
	struct qmp *q = open_with(with_undo);

	stop = true;
	is_err(qmp_ask(q, "x", NULL, NULL, &err), &err, -ECANCELED,
	       "stopped while QEMU at '%s' was asked for 'x'", path);
	is_int(qmp_rest(q, PATIENT_MS, -1, 0), -ECANCELED, "nor does it rest");
	qmp_undo(q, "undo", NULL);
	ok(strstr(heard, "\"undo\""), "what was begun is undone even so");
	is_err(qmp_ask(q, "x", NULL, NULL, &err), &err, -ECANCELED,
	       "stopped while QEMU at '%s' was asked for 'x'", path);
	stop = false;
	is_int(qmp_rest(q, 1, -1, 0), 0, "it rests");
	end(q);
}

static void test_nobody(void)
{
	struct hyper_target other = {.socket = "/nonexistent/qmp"};
	struct qmp *q;

	is_err(qmp_open(&other, &q, &err), &err, -ENOENT, "there is no socket '/nonexistent/qmp'");
	(void)close(listener);
	is_err(qmp_open(&to, &q, &err), &err, -ECONNREFUSED, "nobody listens on '%s'", path);
}

int main(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	(void)snprintf(path, sizeof(path), "/tmp/lamina-qmp-%d", (int)getpid());
	strcpy(addr.sun_path, path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(listener, 1) < 0)
		bail("cannot listen on '%s'", path);
	test_answers();
	test_pretty();
	test_errors();
	test_descriptor();
	test_long_command();
	test_strangers();
	test_huge_line();
	test_blanks();
	test_many_events();
	test_hangup();
	test_silence();
	test_stopped();
	test_nobody();
	(void)unlink(path);
	return tap_done();
}
