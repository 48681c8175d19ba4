/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/metrics.h"

#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/clock.h"
#include "store/base/io.h"
#include "store/base/vec.h"

#define SAMPLES_MAX 4096
#define VALUE_MAX 9007199254740992.0	/* 2^53: beyond it one more is none */
#define KEY_MAX 200

static const double seconds[] = {0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
static const double bytes[] = {65536, 262144, 1048576, 4194304, 16777216, 67108864, 268435456,
			       1073741824, 4294967296, 17179869184};
static const double ratios[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1};

#define BOUNDS(array) (array), sizeof(array) / sizeof((array)[0])

struct family {
	const char *name;
	const char *help;
	const double *bounds;	/* NULL: a counter */
	size_t nbounds;
};

enum { PAUSES, STEP_SECONDS, COLLAPSE_CHUNKS, DIFF_BYTES, DIFF_RATIO, NFAMILIES };

static const struct family families[NFAMILIES] = {
	{"lamina_pauses_total", "Pauses, also those that failed before their first step.", NULL, 0},
	{"lamina_pause_step_seconds", "How long the steps of a pause took.", BOUNDS(seconds)},
	{"lamina_collapse_chunks_total", "What became of windows of 2 MiB that collapse looked at.",
	 NULL, 0},
	{"lamina_snapshot_diff_bytes", "What a layer has that its parent has not.", BOUNDS(bytes)},
	{"lamina_snapshot_diff_ratio", "The same as a part of the image's size.", BOUNDS(ratios)},
};

/* A line of the file, but for its value. */
struct sample {
	char key[KEY_MAX];
	double value;
};

struct file {
	VEC(struct sample) samples;
	bool no_memory;
};

/* ---- samples ---- */

static int family_of(const char *key)
{
	static const char *const ends[] = {"", "_bucket", "_sum", "_count"};
	char name[KEY_MAX];

	for (int f = 0; f < NFAMILIES; f++)
		for (size_t i = families[f].bounds ? 1 : 0; i < (families[f].bounds ? 4 : 1); i++) {
			(void)snprintf(name, sizeof(name), "%s%s", families[f].name, ends[i]);
			if (strlen(name) == strcspn(key, "{") && !strncmp(key, name, strlen(name)))
				return f;
		}
	return -1;
}

static void bump(struct file *file, const char *key, double by)
{
	struct sample fresh = {.value = by};

	for (size_t i = 0; i < file->samples.n; i++)
		if (!strcmp(file->samples.v[i].key, key)) {
			file->samples.v[i].value += by;
			return;
		}
	(void)snprintf(fresh.key, sizeof(fresh.key), "%s", key);
	if (vec_push(&file->samples, fresh) < 0)
		file->no_memory = true;
}

/* `labels`: "step=\"pause\",success=\"true\"". */
static void observe(struct file *file, int f, const char *labels, double value)
{
	const struct family *fam = &families[f];
	char key[KEY_MAX];

	for (size_t i = 0; i < fam->nbounds; i++) {
		(void)snprintf(key, sizeof(key), "%s_bucket{%s,le=\"%.12g\"}", fam->name, labels,
			       fam->bounds[i]);
		bump(file, key, value <= fam->bounds[i] ? 1 : 0);
	}
	(void)snprintf(key, sizeof(key), "%s_bucket{%s,le=\"+Inf\"}", fam->name, labels);
	bump(file, key, 1);
	(void)snprintf(key, sizeof(key), "%s_sum{%s}", fam->name, labels);
	bump(file, key, value);
	(void)snprintf(key, sizeof(key), "%s_count{%s}", fam->name, labels);
	bump(file, key, 1);
}

/* ---- the file ---- */

static bool take_line(struct file *file, const char *line)
{
	const char *gap = strrchr(line, ' ');
	struct sample s;
	char *end;

	if (!*line || *line == '#')
		return true;
	if (!gap || gap == line || (size_t)(gap - line) >= KEY_MAX ||
	    file->samples.n == SAMPLES_MAX)
		return false;
	(void)snprintf(s.key, sizeof(s.key), "%.*s", (int)(gap - line), line);
	s.value = strtod(gap + 1, &end);
	if (end == gap + 1 || *end || !(s.value >= 0 && s.value <= VALUE_MAX) ||
	    family_of(s.key) < 0)
		return false;
	if (vec_push(&file->samples, s) < 0)
		file->no_memory = true;
	return true;
}

/* 0, or the number of a line that is none of ours. */
static int decode(struct file *file, char *text, size_t len)
{
	int number = 0;

	if (strlen(text) != len)
		return 1;
	for (char *line; (line = strsep(&text, "\n"));) {
		number++;
		if (!take_line(file, line))
			return number;
	}
	return 0;
}

static int load(struct file *file, int dirfd, const char *name, struct err *err)
{
	char *text = NULL;
	size_t len = 0;
	struct stat st;
	int rc, line;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(err, -errno, "cannot look at it");
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EBADMSG, "it is %s, no regular file",
			       S_ISDIR(st.st_mode) ? "a directory" :
			       S_ISLNK(st.st_mode) ? "a symbolic link" : "a device or a FIFO");
	rc = io_read_regular(dirfd, name, METRICS_FILE_MAX, &text, &len);
	line = rc == 0 ? decode(file, text, len) : 0;
	free(text);
	if (line > 0)
		return err_set(err, -EBADMSG, "line %d is none of lamina's metrics: another file, "
			       "or none, lets it count from the beginning", line);
	if (rc == -EFBIG)
		return err_set(err, -EBADMSG, "it has more than %u bytes: it is none of lamina's",
			       METRICS_FILE_MAX);
	return rc < 0 ? err_sys(err, rc, "cannot read it") : 0;
}

static void print_family(const struct file *file, int f, FILE *out)
{
	const struct family *fam = &families[f];
	bool any = false;

	for (size_t i = 0; i < file->samples.n; i++) {
		const struct sample *s = &file->samples.v[i];

		if (family_of(s->key) != f)
			continue;
		if (!any)
			fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", fam->name, fam->help,
				fam->name, fam->bounds ? "histogram" : "counter");
		fprintf(out, "%s %.15g\n", s->key, s->value);
		any = true;
	}
}

static int encode(const struct file *file, char **ret, size_t *ret_len)
{
	FILE *out = open_memstream(ret, ret_len);

	if (!out)
		return -ENOMEM;
	for (int f = 0; f < NFAMILIES; f++)
		print_family(file, f, out);
	return fclose(out) == 0 ? 0 : -ENOMEM;
}

static int write_whole(int fd, const char *text, size_t len)
{
	int rc = fchmod(fd, 0644) < 0 ? -errno : io_write_all(fd, text, len);

	if (rc == 0)
		rc = io_fsync(fd);
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	return rc;
}

static int replace(const struct file *file, int dirfd, const char *name)
{
	char tmp[NAME_MAX + 8], *text = NULL;
	size_t len = 0;
	int rc = encode(file, &text, &len), fd;

	(void)snprintf(tmp, sizeof(tmp), ".%s.tmp", name);
	if (rc == 0) {
		(void)unlinkat(dirfd, tmp, 0);
		fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		rc = fd < 0 ? -errno : write_whole(fd, text, len);
		if (rc == 0 && renameat(dirfd, tmp, dirfd, name) < 0)
			rc = -errno;
		if (rc < 0)
			(void)unlinkat(dirfd, tmp, 0);
	}
	free(text);
	return rc;
}

/* ---- a pause ---- */

static void add_steps(struct file *file, const struct pause_report *report)
{
	char labels[80];

	for (int i = 0; i < PAUSE_NSTEPS; i++) {
		const struct pause_step *s = &report->step[i];

		if (s->outcome == PAUSE_SKIPPED || s->outcome == PAUSE_PLANNED ||
		    s->outcome == PAUSE_UNSUPPORTED)
			continue;
		(void)snprintf(labels, sizeof(labels), "step=\"%s\",success=\"%s\"", pause_names[i],
			       s->outcome == PAUSE_DONE ? "true" : "false");
		observe(file, STEP_SECONDS, labels, s->seconds);
	}
}

static void add_collapse(struct file *file, const struct pause_report *report)
{
	static const char *const results[] = {"collapsed", "already_huge", "skipped"};
	char key[KEY_MAX];

	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		double n = json_number_value(json_object_get(report->step[PAUSE_COLLAPSE].detail,
							     results[i]));

		if (!report->step[PAUSE_COLLAPSE].detail)
			return;
		(void)snprintf(key, sizeof(key), "%s{result=\"%s\"}",
			       families[COLLAPSE_CHUNKS].name, results[i]);
		bump(file, key, n > 0 && isfinite(n) ? n : 0);
	}
}

static void add_image(struct file *file, const struct metrics_image *image)
{
	char labels[100];

	(void)snprintf(labels, sizeof(labels), "image=\"%s\"", image->name);
	observe(file, DIFF_BYTES, labels, (double)image->diff);
	if (image->size > 0)
		observe(file, DIFF_RATIO, labels, (double)image->diff / (double)image->size);
}

static int open_dir(const char *path, const char **ret_name, struct err *err)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];
	int fd, rc;

	*ret_name = slash ? slash + 1 : path;
	if (!**ret_name || strlen(*ret_name) > NAME_MAX - 5 || strlen(path) >= sizeof(dir))
		return err_set(err, -EINVAL, "'%s' is no name for a file of metrics", path);
	(void)snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) + 1 : 1,
		       slash ? path : ".");
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, -errno, "cannot open '%s'", dir);
	rc = io_lock_until(fd, clock_ms() + METRICS_LOCK_MS);
	if (rc == 0)
		return fd;
	close(fd);
	return err_sys(err, rc, "cannot lock '%s'", dir);
}

static void add_pause(struct file *file, const struct metrics_pause *pause)
{
	char key[KEY_MAX];

	for (int success = 0; success <= 1; success++) {
		(void)snprintf(key, sizeof(key), "%s{success=\"%s\"}", families[PAUSES].name,
			       success ? "true" : "false");
		bump(file, key, success == pause->success);
	}
	add_steps(file, pause->report);
	add_collapse(file, pause->report);
	for (size_t i = 0; i < pause->nimages; i++)
		add_image(file, &pause->images[i]);
}

int metrics_add(const char *path, const struct metrics_pause *pause, struct err *err)
{
	struct file file = {.no_memory = false};
	const char *name;
	int dirfd = open_dir(path, &name, err), rc;

	if (dirfd < 0)
		return dirfd;
	rc = load(&file, dirfd, name, err);
	if (rc < 0)
		err_wrap(err, rc, "'%s'", path);
	if (rc == 0) {
		add_pause(&file, pause);
		rc = file.no_memory ? -ENOMEM : replace(&file, dirfd, name);
		if (rc < 0)
			err_sys(err, rc, "'%s': cannot write it", path);
	}
	vec_fini(&file.samples);
	close(dirfd);
	return rc;
}
