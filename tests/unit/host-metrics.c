/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/metrics.h"
#include "store/base/io.h"
#include "tests/tap.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PAUSED "lamina_pause_step_seconds_bucket{step=\"pause\",success=\"true\",le="

static struct pause_report report;
static struct err err;
static char path[PATH_MAX];

static const struct metrics_image images[] = {
	{"memfile", 1 << 20, 1 << 16}, {"state", 0, 100},
};

static int add(void)
{
	return metrics_add(path, &(struct metrics_pause){&report, true, images, 2}, &err);
}

/* The value of a line; < 0: it is not there. */
static double value(const char *key)
{
	char *text = NULL, *at;
	double ret = -1;
	size_t len;

	if (io_read_file(AT_FDCWD, path, METRICS_FILE_MAX, &text, &len) < 0)
		return -2;
	at = strstr(text, key);
	if (at && at[strlen(key)] == ' ' && (at == text || at[-1] == '\n'))
		ret = strtod(at + strlen(key), NULL);
	free(text);
	return ret;
}

static void is_value(const char *key, double want)
{
	double got = value(key);

	ok(got > want - 1e-9 && got < want + 1e-9, "%s is %g, want %g", key, got, want);
}

static void test_one(void)
{
	struct stat st;

	report.step[PAUSE_PAUSE] = (struct pause_step){.outcome = PAUSE_DONE, .seconds = 0.02};
	report.step[PAUSE_COLLAPSE] = (struct pause_step){
		.outcome = PAUSE_TIMEOUT, .seconds = 10,
		.detail = json_pack("{s:i, s:i, s:i}", "collapsed", 5, "already_huge", 0,
				    "skipped", 2)};
	report.step[PAUSE_DRAIN].outcome = PAUSE_UNSUPPORTED;
	(void)umask(077);
	is_int(add(), 0, "a pause");
	is_int(stat(path, &st), 0, "makes a file");
	is_int(st.st_mode & 07777, 0644, "that all may read, whatever the umask");
	is_value(PAUSED "\"0.01\"}", 0);
	is_value(PAUSED "\"0.05\"}", 1);
	is_value(PAUSED "\"+Inf\"}", 1);
	is_value("lamina_pause_step_seconds_sum{step=\"pause\",success=\"true\"}", 0.02);
	is_value("lamina_pause_step_seconds_count{step=\"collapse\",success=\"false\"}", 1);
	is_value("lamina_pause_step_seconds_count{step=\"drain\",success=\"false\"}", -1);
	is_value("lamina_collapse_chunks_total{result=\"collapsed\"}", 5);
	is_value("lamina_collapse_chunks_total{result=\"already_huge\"}", 0);
	is_value("lamina_snapshot_diff_bytes_sum{image=\"memfile\"}", 65536);
	is_value("lamina_snapshot_diff_bytes_bucket{image=\"memfile\",le=\"65536\"}", 1);
	is_value("lamina_snapshot_diff_ratio_sum{image=\"memfile\"}", 0.0625);
	is_value("lamina_snapshot_diff_ratio_sum{image=\"state\"}", -1);
}

static void test_more(void)
{
	report.step[PAUSE_PAUSE].seconds = 0.5;
	is_int(add(), 0, "another one");
	is_value("lamina_pause_step_seconds_sum{step=\"pause\",success=\"true\"}", 0.52);
	is_value("lamina_pause_step_seconds_count{step=\"pause\",success=\"true\"}", 2);
	is_value(PAUSED "\"0.05\"}", 1);
	is_value("lamina_collapse_chunks_total{result=\"collapsed\"}", 10);
	is_value("lamina_snapshot_diff_bytes_count{image=\"state\"}", 2);
	is_value("lamina_pauses_total{success=\"true\"}", 2);
	is_value("lamina_pauses_total{success=\"false\"}", 0);
}

/* Many guests are paused at once, and one file has the sums. */
static void test_together(void)
{
	enum { N = 4, EACH = 5 };
	pid_t pids[N];

	(void)unlink(path);
	for (int i = 0; i < N; i++) {
		pids[i] = fork();
		for (int k = 0; pids[i] == 0 && k < EACH; k++)
			(void)add();
		if (pids[i] == 0)
			_exit(0);
	}
	for (int i = 0; i < N; i++)
		(void)waitpid(pids[i], NULL, 0);
	is_value("lamina_pause_step_seconds_count{step=\"pause\",success=\"true\"}", N * EACH);
}

static void is_refused(const char *text, const char *what)
{
	char *now = NULL;
	size_t len;

	(void)unlink(path);
	if (io_replace_file(AT_FDCWD, path, text, strlen(text)) < 0)
		bail("cannot write a file");
	is_int(add(), -EBADMSG, "%s", what);
	if (io_read_file(AT_FDCWD, path, METRICS_FILE_MAX, &now, &len) == 0)
		is_str(now, text, "is left as it is");
	free(now);
}

static void test_bad(void)
{
	const struct metrics_pause nothing = {&report, false, NULL, 0};

	is_refused("hello\n", "no metrics");
	is_refused("node_load1 1\n", "another one's");
	is_refused("lamina_collapse_chunks_total{result=\"collapsed\"} many\n", "no number");
	is_refused("lamina_collapse_chunks_total{result=\"collapsed\"} nan\n", "not finite");
	is_refused("lamina_collapse_chunks_total{result=\"collapsed\"} -1\n", "below 0");
	is_refused("lamina_collapse_chunks_totally 1\n", "a longer name");
	(void)unlink(path);
	(void)symlink("/etc/passwd", path);
	is_int(add(), -EBADMSG, "a symbolic link");
	(void)unlink(path);
	(void)mkfifo(path, 0600);
	is_int(add(), -EBADMSG, "a FIFO");
	(void)unlink(path);
	is_int(metrics_add("/nonexistent/x", &nothing, &err), -ENOENT, "no directory");
	is_int(metrics_add("/tmp/", &nothing, &err), -EINVAL, "no name");
}

int main(void)
{
	(void)snprintf(path, sizeof(path), "%s", tap_path("m.prom"));
	test_one();
	test_more();
	test_together();
	test_bad();
	json_decref(report.step[PAUSE_COLLAPSE].detail);
	return tap_done();
}
