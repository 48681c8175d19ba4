/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whoever is killed: the descriptors are there afterwards, all of them and no others. */
#include <sys/un.h>

#include "tests/pager/rig.h"

#define BAGS 20
#define WORKER_KILLS 1000
#define KEEPER_KILLS 30

static ino_t known[BAGS + 1];

static void fill(struct rig *rig)
{
	char text[32];
	int bad = 0, fd;

	for (uint32_t bag = 1; bag <= BAGS; bag++) {
		(void)snprintf(text, sizeof(text), "of bag %u", bag);
		fd = rig_pipe(text);
		known[bag] = rig_inode(fd);
		bad += rig_put(rig, bag, KEEP_CONN, fd) != 0;
		close(fd);
	}
	is_int(bad, 0, "%d bags are put", BAGS);
}

static bool is_intact(const struct rig *rig)
{
	struct keep_table t;
	bool good;

	rig_dump(rig, &t);
	good = t.n == BAGS + 1;
	for (uint32_t bag = 1; bag <= BAGS; bag++) {
		const struct keep_bag *b = keep_table_find(&t, bag);

		good = good && b && b->n == 1 && rig_inode(keep_bag_fd(b, KEEP_CONN)) == known[bag];
	}
	keep_table_fini(&t);
	return good;
}

static void read_pipes(const struct keep_table *t)
{
	char text[32], got[32];
	int bad = 0;

	for (uint32_t bag = 1; bag <= BAGS; bag++) {
		int fd = keep_bag_fd(keep_table_find(t, bag), KEEP_CONN);
		int len = snprintf(text, sizeof(text), "of bag %u", bag);

		bad += read(fd, got, sizeof(got)) != len || memcmp(got, text, (size_t)len) != 0;
		bad += read(fd, got, sizeof(got)) != 0;
	}
	is_int(bad, 0, "every pipe has its bytes and then its end");
}

/* A spare that is being started has descriptors for a moment. */
static int settled_fds(pid_t pid)
{
	int n = rig_count_fds(pid), same = 0, now;

	for (int i = 0; i < 30000 && same < 100; i++) {
		rig_nap();
		now = rig_count_fds(pid);
		same = now == n ? same + 1 : 0;
		n = now;
	}
	return n;
}

static void test_worker_kills(struct rig *rig)
{
	int before = settled_fds(rig->pid), torn = 0, same = 0;
	pid_t pid = rig_worker_pid(rig), next;
	int worker_before = rig_count_fds(pid);

	for (int i = 0; i < WORKER_KILLS; i++) {
		rig_kill(pid);
		next = rig_worker_pid(rig);
		same += next == pid;
		pid = next;
		if (i % 50 == 0)
			torn += !is_intact(rig);
	}
	is_int(same, 0, "%d workers were killed, and another one came each time", WORKER_KILLS);
	is_int(torn, 0, "each with all bags");
	is_int(settled_fds(rig->pid), before, "the keeper has no more descriptors than before");
	is_int(rig_count_fds(pid), worker_before, "nor has the worker");
}

static void test_keeper_kills(struct rig *rig)
{
	pid_t worker = rig_worker_pid(rig), keeper = rig_kill_keeper(rig);
	int before = settled_fds(keeper), worker_before = rig_count_fds(worker);
	int other = 0, torn = 0;

	for (int i = 0; i < KEEPER_KILLS; i++) {
		keeper = rig_kill_keeper(rig);
		other += rig_worker_pid(rig) != worker;
		torn += !is_intact(rig);
	}
	is_int(other, 0, "%d keepers were killed, and the worker served on", KEEPER_KILLS);
	is_int(torn, 0, "with all bags");
	is_int(rig_worker_pid(rig), worker, "it answers");
	is_int(settled_fds(keeper), before, "the last one has as many descriptors as the first");
	is_int(rig_count_fds(worker), worker_before, "and the worker as many as before");
	rig_kill(worker);
	ok(rig_worker_pid(rig) != worker, "then the worker is killed, and another one comes");
	ok(is_intact(rig), "it has what the heir was given");
}

static void test_mixed_kills(struct rig *rig)
{
	int torn = 0;

	for (int i = 0; i < 30; i++) {
		rig_kill(rig_worker_pid(rig));
		(void)rig_worker_pid(rig);
		(void)rig_kill_keeper(rig);
		torn += !is_intact(rig);
	}
	is_int(torn, 0, "worker and keeper are killed by turns, and nothing is lost");
}

static void test_spare(struct rig *rig)
{
	pid_t keeper = rig_keeper_pid(rig), spare = 0, next = 0;
	pid_t worker = rig_worker_pid(rig);

	for (int i = 0; i < 30000 && spare == 0; i++) {
		spare = rig_child(keeper, "pager-spare");
		rig_nap();
	}
	ok(spare > 0, "there is a spare keeper");
	rig_kill(spare);
	for (int i = 0; i < 30000 && (next == 0 || next == spare); i++) {
		next = rig_child(keeper, "pager-spare");
		rig_nap();
	}
	ok(next > 0 && next != spare, "it is killed, and there is another one");
	(void)rig_worker_pid(rig);
	is_int(rig_kill_keeper(rig), next, "the keeper is killed, and that is the keeper now");
	is_int(rig_worker_pid(rig), worker, "the worker served on");
	ok(is_intact(rig), "with all bags");
}

/* Requests that are under way when the keeper dies are done once. */
static void test_requests(struct rig *rig)
{
	int bad = 0, fd = rig_pipe("x");
	struct keep_table t;

	for (int i = 0; i < 30; i++) {
		struct keep_msg msg = {.word = KEEP_PUT, .bag = 99, .n = 1, .role = {KEEP_HOLD},
				       .fd = {fd}}, answer;
		pid_t keeper = rig_keeper_pid(rig);

		bad += keep_send(rig->ctl, &msg) < 0;
		rig_kill(keeper);
		bad += keep_recv(rig->ctl, &answer) != 1 || answer.word != KEEP_OK;
		while (rig_keeper_pid(rig) == 0 || rig_keeper_pid(rig) == keeper)
			rig_nap();
	}
	is_int(bad, 0, "a keeper dies while it is asked, and the answer comes");
	rig_kill(rig_worker_pid(rig));
	rig_dump(rig, &t);
	is_int(keep_table_find(&t, 99)->n, 30, "each descriptor was taken once");
	keep_table_fini(&t);
	is_int(rig_drop(rig, 99), 0, "they are dropped");
	is_int(rig_drop(rig, 99), -ENOENT, "but once");
	is_int(rig_drop(rig, KEEP_BAG_PAGER), -EINVAL, "the pager's own bag is not dropped");
	close(fd);
	ok(is_intact(rig), "the others stay");
}

static void test_sick(struct rig *rig)
{
	char path[PATH_MAX];
	int guest = rig_pipe("guest"), conn[2], fd;

	if (keep_pair(conn) < 0)
		bail("no pair");
	(void)snprintf(path, sizeof(path), "%s/sick", rig->dir);
	is_int(rig_put(rig, 50, KEEP_UFFD, guest), 0, "a guest is served");
	is_int(rig_put(rig, 50, KEEP_CONN, conn[0]), 0, "over a connection");
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	rig_kill(rig_worker_pid(rig));
	for (int i = 0; i < 200; i++)
		rig_nap();
	(void)unlink(path);
	ok(rig_worker_pid(rig) > 0, "a worker that cannot start is tried until it can");
	is_int(rig_drop(rig, 50), 0, "the guest ends");
	ok(is_intact(rig), "with all bags");
	close(fd);
	close(guest);
	close(conn[0]);
	close(conn[1]);
}

static void test_takeover_accepted(struct rig *rig)
{
	int before = rig_count_fds(getpid());
	pid_t worker = rig_worker_pid(rig), keeper = rig_keeper_pid(rig);
	struct keep_table t = {0};
	struct rig next = *rig;
	struct err err = {""};
	int rc = takeover_take(rig->dir, &t, &err);

	is_int(rc, 0, "a new keeper takes over %s", err.text);
	is_int(t.n, BAGS + 1, "it has all bags");
	ok(kill(worker, 0) < 0, "the old worker is gone");
	for (int i = 0; i < 30000 && kill(keeper, 0) == 0; i++) {
		(void)waitpid(keeper, NULL, WNOHANG);
		rig_nap();
	}
	ok(kill(keeper, 0) < 0, "and the old keeper");
	is_int(takeover_take(rig->dir, &t, &err), -ENOENT, "there is nobody to take over from");
	rig_start_with(&next, &t);
	ok(rig_is_ready(&next), "the new one starts a worker");
	*rig = next;
	ok(is_intact(rig), "which has them all");
	is_int(rig_count_fds(getpid()), before, "and this process none of them");
}

static int memfd_with(const char *bytes, size_t len)
{
	int fd = memfd_create("state", MFD_CLOEXEC);

	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
		bail("no memfd");
	return fd;
}

static void test_takeover_refused(struct rig *rig)
{
	int before = rig_count_fds(getpid()), fd = memfd_with("laminaPS of tomorrow", 20);
	pid_t keeper = rig_keeper_pid(rig);
	struct keep_table t = {0};
	struct err err = {""};
	int rc;

	is_int(rig_put(rig, 60, KEEP_STATE, fd), 0, "a session has a state of another time");
	close(fd);
	rc = takeover_take(rig->dir, &t, &err);
	ok(rc < 0 && rc != -ENOENT, "a keeper that does not know it refuses");
	ok(strncmp(err.text, "session 60: ", 12) == 0, "with a sentence: %s", err.text);
	is_int(t.n, 0, "it has nothing");
	is_int(rig_keeper_pid(rig), keeper, "the old one goes on");
	is_int(rig_drop(rig, 60), 0, "and its worker answers");
	ok(is_intact(rig), "with all bags");
	is_int(rig_count_fds(getpid()), before, "nothing is left open here");
}

static int call(const struct rig *rig, int64_t version)
{
	char path[PATH_MAX];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/keeper.sock", rig->dir);
	fd = unixsock_connect(path, SOCK_SEQPACKET);
	if (fd < 0 || keep_timeout(fd, 30000) < 0 || keep_say(fd, KEEP_TAKE, version) < 0)
		bail("cannot call the keeper");
	return fd;
}

static void test_takeover_broken(struct rig *rig)
{
	pid_t worker = rig_worker_pid(rig);
	struct keep_table t = {0};
	struct keep_msg msg;
	struct err err = {""};
	int fd = call(rig, KEEP_VERSION + 1), other;

	ok(keep_recv(fd, &msg) == 1 && msg.word == KEEP_NO && msg.arg == EPROTONOSUPPORT,
	   "another version of the protocol is refused");
	close(fd);
	is_int(rig_worker_pid(rig), worker, "and the worker not even ended");

	fd = call(rig, KEEP_VERSION);
	is_int(keep_table_recv(&t, fd), 0, "somebody gets all bags");
	other = takeover_take(rig->dir, &t, &err);
	is_err(other, &err, -EBUSY, "the other pager is being taken over already");
	close(fd);
	keep_table_fini(&t);
	ok(rig_worker_pid(rig) != worker, "and dies: there is a worker again");
	ok(is_intact(rig), "with all bags");

	worker = rig_worker_pid(rig);
	fd = call(rig, KEEP_VERSION);
	close(fd);
	rig_wait_for_other(rig, worker);
	ok(is_intact(rig), "or dies at once");
}

static int visit(const struct rig *rig)
{
	char path[PATH_MAX];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/keeper.sock", rig->dir);
	fd = unixsock_connect(path, SOCK_SEQPACKET);
	if (fd < 0)
		bail("cannot visit the keeper");
	return fd;
}

/* Both wait when the keeper comes to look. */
static void test_takeover_beside_a_visit(struct rig *rig)
{
	pid_t keeper = rig_keeper_pid(rig), worker = rig_worker_pid(rig);
	struct keep_table t = {0};
	int fd, visitor;

	(void)kill(keeper, SIGSTOP);
	fd = call(rig, KEEP_VERSION);
	visitor = visit(rig);
	(void)kill(keeper, SIGCONT);
	is_int(keep_table_recv(&t, fd), 0, "who asked for all bags gets them, whoever looks in");
	keep_table_fini(&t);
	close(visitor);
	close(fd);
	rig_wait_for_other(rig, worker);
	ok(is_intact(rig), "and leaves them there");
}

static pid_t start_guest(int *ret_pidfd)
{
	pid_t pid = fork();

	if (pid == 0) {
		pause();
		_exit(0);
	}
	*ret_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	return pid;
}

static void test_stop_signal(void)
{
	struct rig rig = {.dir = tap_path("signal"), .stop_signal = SIGUSR1};
	struct keep_msg stop = {.word = KEEP_STOP, .bag = 1, .text = "vm-1"};
	int pidfd, status;
	pid_t guest;

	(void)mkdir(rig.dir, 0700);
	rig_start(&rig);
	guest = start_guest(&pidfd);
	stop.arg = guest;
	is_int(rig_tell(&rig, &stop), -EOPNOTSUPP, "nothing stops a guest without a pidfd");
	is_int(rig_put(&rig, 1, KEEP_PIDFD, pidfd), 0, "the guest's pidfd is kept");
	is_int(rig_tell(&rig, &stop), 0, "it is stopped");
	ok(waitpid(guest, &status, 0) == guest && WIFSIGNALED(status) &&
	   WTERMSIG(status) == SIGUSR1, "by the signal");
	is_int(rig_tell(&rig, &stop), -ESRCH, "and then it is gone");
	memcpy(stop.text, "a;b", 4);
	is_int(rig_tell(&rig, &stop), -EINVAL, "an id is no shell text");
	close(pidfd);
	is_int(rig_drop(&rig, 1), 0, "the session ends");
	(void)kill(rig.pid, SIGTERM);
	is_int(rig_status(&rig), 0, "the keeper ends when it is told");
	close(rig.ctl);
}

static void test_stop_command(void)
{
	struct rig rig = {.dir = tap_path("command")};
	struct keep_msg stop = {.word = KEEP_STOP, .bag = 1, .arg = 12345, .text = "vm-1"};
	char command[PATH_MAX * 2 + 64], got[256] = "";
	int fd = -1;

	(void)mkdir(rig.dir, 0700);
	(void)snprintf(command, sizeof(command),
		       "env | grep -v '^_\\|^PWD\\|^SHLVL' | sort >%s/o; mv %s/o %s/out", rig.dir,
		       rig.dir, rig.dir);
	rig.stop_command = command;
	rig_start(&rig);
	is_int(rig_tell(&rig, &stop), 0, "a stop command is started");
	for (int i = 0; i < 30000 && fd < 0; i++) {
		char path[PATH_MAX];

		(void)snprintf(path, sizeof(path), "%s/out", rig.dir);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		rig_nap();
	}
	(void)!read(fd, got, sizeof(got) - 1);
	close(fd);
	ok(strncmp(got, "LAMINA_PID=12345\nLAMINA_SESSION=vm-1\nPATH=", 42) == 0,
	   "it is told whom to stop, and nothing else");
	rig_stop(&rig);
}

static void test_end(void)
{
	struct rig rig = {.dir = tap_path("end")};
	int pidfd, uffd = rig_pipe("x");
	pid_t guest, worker;

	(void)mkdir(rig.dir, 0700);
	rig_start(&rig);
	guest = start_guest(&pidfd);
	is_int(rig_put(&rig, 1, KEEP_UFFD, uffd), 0, "a guest is served");
	is_int(rig_put(&rig, 1, KEEP_PIDFD, pidfd), 0, "and lives");
	(void)kill(rig.pid, SIGTERM);
	for (int i = 0; i < 50; i++)
		rig_nap();
	worker = rig_worker_pid(&rig);
	is_int(rig_keeper_pid(&rig), rig.pid, "SIGTERM does not end a keeper that serves a guest");
	(void)kill(rig.pid, SIGTERM);
	is_int(rig_status(&rig), 0, "the second one does");
	ok(kill(worker, 0) < 0, "the worker ended before");
	is_int(rig_keeper_pid(&rig), 0, "its socket is removed");
	close(rig.ctl);
	rig_start(&rig);
	is_int(rig_put(&rig, 1, KEEP_UFFD, uffd), 0, "a guest is served");
	is_int(rig_put(&rig, 1, KEEP_PIDFD, pidfd), 0, "and lives");
	rig_kill(guest);
	(void)kill(rig.pid, SIGTERM);
	is_int(rig_status(&rig), 0, "one that has died keeps nobody");
	close(pidfd);
	close(uffd);
	close(rig.ctl);
}

/* A socket of systemd's that takes nothing more: a keeper that ends waits for it. */
static int deaf_systemd(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int to = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (fd < 0 || to < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    connect(to, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		bail("no socket");
	while (send(to, "x", 1, 0) == 1)
		;
	close(to);
	return fd;
}

static void test_visit_at_the_end(void)
{
	struct rig rig = {.dir = tap_path("visit")};
	int systemd, visitor;
	pid_t worker;

	(void)mkdir(rig.dir, 0700);
	systemd = deaf_systemd(tap_path("visit/notify"));
	(void)setenv("NOTIFY_SOCKET", tap_path("visit/notify"), 1);
	rig_start(&rig);
	(void)unsetenv("NOTIFY_SOCKET");
	worker = rig_worker_pid(&rig);
	visitor = visit(&rig);
	(void)kill(rig.pid, SIGTERM);
	while (kill(worker, 0) == 0)
		rig_nap();
	close(visitor);
	is_int(rig_status(&rig), 0, "a keeper that was told to end does, whoever looked in");
	close(systemd);
	close(rig.ctl);
}

static void test_hopeless(void)
{
	struct rig rig = {.dir = tap_path("hopeless")};
	struct keep_table none = {0};

	(void)mkdir(rig.dir, 0700);
	close(open(tap_path("hopeless/sick"), O_CREAT | O_WRONLY, 0600));
	rig_start_with(&rig, &none);
	ok(!rig_is_ready(&rig), "a worker that cannot start at all");
	is_int(rig_status(&rig), 1, "is an error of the start");
	close(rig.ctl);
}

int main(void)
{
	static char dir[PATH_MAX];
	struct rig rig = {.dir = dir};

	(void)signal(SIGPIPE, SIG_IGN);
	(void)snprintf(dir, sizeof(dir), "%s", tap_path("main"));
	(void)mkdir(rig.dir, 0700);
	rig_start(&rig);
	fill(&rig);
	test_worker_kills(&rig);
	test_keeper_kills(&rig);
	test_mixed_kills(&rig);
	test_spare(&rig);
	test_requests(&rig);
	test_sick(&rig);
	test_takeover_refused(&rig);
	test_takeover_broken(&rig);
	test_takeover_beside_a_visit(&rig);
	test_takeover_accepted(&rig);
	{
		struct keep_table t;

		rig_dump(&rig, &t);
		read_pipes(&t);
		keep_table_fini(&t);
	}
	rig_stop(&rig);
	test_stop_signal();
	test_stop_command();
	test_end();
	test_visit_at_the_end();
	test_hopeless();
	rig_leave_nobody();
	return tap_done();
}
