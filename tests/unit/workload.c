/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* capture and workload: commands are run, heard and ended. */
#include "src/cli/workload.h"

#include <fcntl.h>
#include <signal.h>

#include "src/cli/capture.h"
#include "store/base/clock.h"
#include "tests/tap.h"

static struct err err;
static int asked;

static bool at_third(void)
{
	return ++asked > 2;
}

static unsigned kill_ms;

static int sh(char *command, bool (*stopped)(void), struct capture *ret)
{
	char shell[] = "/bin/sh", flag[] = "-c";
	char *argv[] = {shell, flag, command, NULL};
	const struct capture_stop stop = {stopped, kill_ms};

	asked = 0;
	return capture_run(argv, &stop, ret, &err);
}

static void test_capture(void)
{
	char both[] = "echo one; echo two >&2; echo more >&2; echo three; exit 5";
	char large[] = "head -c 300000 /dev/zero | tr '\\0' x";
	char killed[] = "kill -9 $$", input[] = "cat; echo end";
	char none[] = "/nowhere/program", *argv[] = {none, NULL};
	const struct capture_stop never = {NULL, 0};
	struct capture c;

	is_int(sh(both, NULL, &c), 0, "a command is run");
	is_str(c.out, "one\nthree\n", "what it prints is kept");
	is_str(c.why, "two", "and the first line of its errors");
	is_int(c.status, 5, "and its status");
	capture_fini(&c);
	is_int(sh(large, NULL, &c), 0, "one that prints much");
	is_int(c.len, 300000, "is heard to its end");
	capture_fini(&c);
	is_int(sh(killed, NULL, &c), 0, "one that is killed");
	is_int(c.status, 128 + SIGKILL, "tells by what");
	capture_fini(&c);
	is_int(sh(input, NULL, &c), 0, "one that reads");
	is_str(c.out, "end\n", "has nothing to read");
	capture_fini(&c);
	is_int(capture_run(argv, &never, &c, &err), 0, "one that is not there");
	is_int(c.status, 127, "fails");
	is_str(c.why, "cannot run '/nowhere/program': No such file or directory", "and says so");
	capture_fini(&c);
}

/* A number that cannot be read is nobody's: 0 would be our own process group. */
static pid_t pid_in(const char *file)
{
	FILE *f = fopen(file, "r");
	int pid;

	if (!f || fscanf(f, "%d", &pid) != 1 || pid <= 1)
		bail("no pid in %s", file);
	(void)fclose(f);
	return pid;
}

static void test_stopped(void)
{
	char trap[] = "trap 'echo ended >ended; exit 1' TERM; while :; do sleep 0.05; done";
	char left[] = "sleep 1000 & echo $!", noise[] = "yes & echo $! >noisy";
	char silent[] = "exec sleep 1000 >&- 2>&-";
	char deaf[] = "trap '' TERM; exec sleep 1000";
	struct capture c;

	if (chdir(tap_tmpdir()) < 0)
		bail("no directory");
	is_int(sh(trap, at_third, &c), -ECANCELED, "one that is to stop");
	is_int(access("ended", F_OK), 0, "is told, and waited for");
	is_int(sh(left, NULL, &c), 0, "one that leaves another behind, which has its stdout");
	is_int(c.status, 0, "is not waited for longer than itself");
	ok(kill(atoi(c.out), SIGKILL) == 0, "what it has left goes on");
	capture_fini(&c);
	is_int(sh(noise, NULL, &c), 0, "nor is one whose child writes without end");
	ok(kill(pid_in("noisy"), SIGKILL) == 0, "which goes on, too");
	capture_fini(&c);
	is_int(sh(silent, at_third, &c), -ECANCELED, "one without stdout can be stopped");
	kill_ms = 1;
	is_int(sh(deaf, at_third, &c), -ECANCELED, "one that hears no SIGTERM can be killed");
	kill_ms = 0;
}

static void test_table(void)
{
	const struct workload_means none = {.guest = "web"}, run = {.run = "%s", .guest = "web"};
	const struct workload_means own = {.command = "true", .guest = "web"};

	is_str(workload_find("64k")->name, "64k", "one is found by its name");
	ok(!workload_find("65k"), "another is not");
	is_int(workload_find("pauses")->pauses, 10, "ten pauses are ten");
	is_int(workload_find("5s")->wait_ms, 5000, "five seconds are five");
	ok(!workload_lacks(workload_find("idle"), &none), "idle needs nothing");
	is_str(workload_lacks(workload_find("64k"), &none),
	       "there is no way to run a command in the guest: say --run", "64k needs a way in");
	ok(!workload_lacks(workload_find("64k"), &run), "and has it");
	is_str(workload_lacks(workload_find("command"), &run),
	       "there is no command: say --workload-command", "a command needs one");
	ok(!workload_lacks(workload_find("command"), &own), "and has it");
}

static void test_run(void)
{
	struct workload_means means = {.run = "sh -c %s", .guest = "web-7",
				       .command = "echo $LAMINA_GUEST >guest"};
	static const struct workload inside = {"x", "", 0, "echo 'in side' >file", 1, false};
	static const struct workload waits = {"w", "", 60000, NULL, 1, false};
	char text[64] = "";
	uint64_t began;
	int fd;

	is_int(workload_run(&inside, &means, &err), 0, "a command in the guest");
	fd = open("file", O_RDONLY);
	is_int(read(fd, text, 32), 8, "is run");
	is_str(text, "in side\n", "as it is");
	close(fd);
	is_int(workload_run(workload_find("command"), &means, &err), 0, "one of the user's");
	memset(text, 0, sizeof(text));
	fd = open("guest", O_RDONLY);
	is_int(read(fd, text, 32), 6, "is run");
	is_str(text, "web-7\n", "and knows the guest");
	close(fd);
	means.command = "echo bad luck >&2; exit 3";
	is_err(workload_run(workload_find("command"), &means, &err), &err, -EREMOTEIO,
	       "'echo bad luck >&2; exit 3' failed with status 3: bad luck");
	asked = 0;
	means.stopped = at_third;
	began = clock_ms();
	is_int(workload_run(&waits, &means, &err), -ECANCELED, "who waits can be stopped");
	ok(clock_ms() - began < 50000, "before the time is over");
	means.stopped = NULL;
	began = clock_ms();
	is_int(workload_run(workload_find("2s"), &means, &err), 0, "two seconds");
	ok(clock_ms() - began >= 2000, "are not less");
}

int main(void)
{
	test_capture();
	test_stopped();
	test_table();
	test_run();
	return tap_done();
}
