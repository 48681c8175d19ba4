/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/agent/stats.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/lines.h"

#define PAGE 4096
#define HUGE_ORDER 9
#define MAX_ORDERS 32

static int open_lines(const char *root, const char *path, struct lines *ret)
{
	char full[PATH_MAX];

	if ((size_t)snprintf(full, sizeof(full), "%s%s", root, path) >= sizeof(full))
		return -ENAMETOOLONG;
	return lines_open(AT_FDCWD, full, ret);
}

/* ---- /proc/meminfo ---- */

static const struct {
	const char *in, *out;
} memory_names[] = {
	{"MemTotal:", "total"}, {"MemFree:", "free"}, {"MemAvailable:", "available"},
	{"Cached:", "cached"}, {"Buffers:", "buffers"}, {"Dirty:", "dirty"},
	{"Writeback:", "writeback"}, {"AnonPages:", "anon"}, {"Shmem:", "shmem"},
	{"SReclaimable:", "slab_reclaimable"}, {"SUnreclaim:", "slab_unreclaimable"},
	{"SwapTotal:", "swap_total"}, {"SwapFree:", "swap_free"},
};
#define NMEMORY (sizeof(memory_names) / sizeof(*memory_names))

/* "Cached:   123 kB" */
static void take_memory(const char *line, json_t *memory, json_t *thp)
{
	unsigned long long kib;
	char name[64];

	if (sscanf(line, "%63s %llu kB", name, &kib) != 2 || kib > INT64_MAX / 1024)
		return;
	if (!strcmp(name, "AnonHugePages:"))
		(void)json_object_set_new(thp, "anon", json_integer((json_int_t)kib * 1024));
	for (size_t i = 0; i < NMEMORY; i++)
		if (!strcmp(name, memory_names[i].in))
			(void)json_object_set_new(memory, memory_names[i].out,
						  json_integer((json_int_t)kib * 1024));
}

static int read_memory(const char *root, struct lines *lines, json_t *memory, json_t *thp)
{
	int rc = open_lines(root, "/proc/meminfo", lines);
	char *line;

	for (size_t i = 0; i < NMEMORY; i++)
		(void)json_object_set_new(memory, memory_names[i].out, json_null());
	if (rc < 0)
		return rc;
	while ((rc = lines_next(lines, &line)) == 1)
		take_memory(line, memory, thp);
	lines_close(lines);
	return rc;
}

/* ---- files of one line ---- */

/* Its first line, in `lines`; NULL: there is none. */
static char *read_line(const char *root, const char *path, struct lines *lines)
{
	char *line;
	int rc;

	if (open_lines(root, path, lines) < 0)
		return NULL;
	rc = lines_next(lines, &line);
	lines_close(lines);
	return rc == 1 ? line : NULL;
}

/* "always [madvise] never" */
static json_t *read_choice(const char *root, const char *path, struct lines *lines)
{
	char *line = read_line(root, path, lines), *end;

	line = line ? strchr(line, '[') : NULL;
	end = line ? strchr(line, ']') : NULL;
	return end ? json_stringn(line + 1, (size_t)(end - line - 1)) : json_null();
}

static json_t *read_number(const char *root, const char *path, struct lines *lines)
{
	char *line = read_line(root, path, lines), *end;
	long long value = line ? strtoll(line, &end, 10) : 0;

	return line && end != line ? json_integer(value) : json_null();
}

/* What the kernel takes for a boolean: kstrtobool(). */
static json_t *to_boolean(const char *text)
{
	static const char *const yes[] = {"1", "y", "Y", "t", "T", "on", "On", "ON", "oN"};
	static const char *const no[] = {"0", "n", "N", "f", "F", "of", "Of", "OF", "oF"};

	for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++)
		if (!strncmp(text, yes[i], strlen(yes[i])))
			return json_true();
	for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++)
		if (!strncmp(text, no[i], strlen(no[i])))
			return json_false();
	return json_null();
}

/* The last word counts, as in the kernel; what is behind "--" is for init. */
static json_t *read_init_on_free(const char *root, struct lines *lines)
{
	static const char name[] = "init_on_free=";
	char *line = read_line(root, "/proc/cmdline", lines), *rest = NULL;
	const char *value = "";

	for (char *w = line ? strtok_r(line, " ", &rest) : NULL; w && strcmp(w, "--");
	     w = strtok_r(NULL, " ", &rest))
		if (!strncmp(w, name, sizeof(name) - 1))
			value = w + sizeof(name) - 1;
	return to_boolean(value);
}

/* ---- /proc/buddyinfo ---- */

/* "Node 0, zone   Normal   12   34 ...": adds to the bytes by order; how many orders. */
static size_t take_zone(char *line, uint64_t bytes[MAX_ORDERS])
{
	char *rest, *word, *end;
	size_t n = 0;

	word = strstr(line, "zone");
	if (!word || !strtok_r(word, " ", &rest) || !strtok_r(NULL, " ", &rest))
		return 0;
	while (n < MAX_ORDERS && (word = strtok_r(NULL, " ", &rest))) {
		uint64_t blocks = strtoull(word, &end, 10);

		if (*end || blocks > ((uint64_t)INT64_MAX >> n) / PAGE)
			break;
		bytes[n] += (blocks << n) * PAGE;
		n++;
	}
	return n;
}

static json_t *pack_orders(const uint64_t *bytes, size_t n)
{
	uint64_t all = 0, small = 0;
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++) {
		all += bytes[i];
		small += i < HUGE_ORDER ? bytes[i] : 0;
		(void)json_array_append_new(list, json_integer((json_int_t)bytes[i]));
	}
	return json_pack("{s:o, s:f}", "free_by_order", list, "unusable_index",
			 all ? (double)small / (double)all : 0.0);
}

static json_t *read_fragmentation(const char *root, struct lines *lines)
{
	uint64_t bytes[MAX_ORDERS] = {0};
	size_t most = 0;
	char *line;

	if (open_lines(root, "/proc/buddyinfo", lines) < 0)
		return json_null();
	while (lines_next(lines, &line) == 1) {
		size_t n = take_zone(line, bytes);

		most = n > most ? n : most;
	}
	lines_close(lines);
	return most ? pack_orders(bytes, most) : json_null();
}

/* ---- all ---- */

static json_t *read_rest(const char *root, struct lines *lines, json_t *memory, json_t *thp)
{
	static const char thp_dir[] = "/sys/kernel/mm/transparent_hugepage";
	char path[sizeof(thp_dir) + 16];

	(void)snprintf(path, sizeof(path), "%s/enabled", thp_dir);
	(void)json_object_set_new(thp, "enabled", read_choice(root, path, lines));
	(void)snprintf(path, sizeof(path), "%s/defrag", thp_dir);
	(void)json_object_set_new(thp, "defrag", read_choice(root, path, lines));
	return json_pack("{s:O, s:O, s:o, s:o, s:o}", "memory", memory, "thp", thp, "fragmentation",
			 read_fragmentation(root, lines), "compaction_proactiveness",
			 read_number(root, "/proc/sys/vm/compaction_proactiveness", lines),
			 "init_on_free", read_init_on_free(root, lines));
}

int stats_read_root(const char *root, json_t **ret, struct err *err)
{
	json_t *memory = json_object(), *thp = json_pack("{s:n}", "anon"), *all = NULL;
	struct lines lines;
	int rc = read_memory(root, &lines, memory, thp);

	if (rc < 0) {
		rc = err_sys(err, rc, "cannot read '%s/proc/meminfo'", root);
	} else {
		all = read_rest(root, &lines, memory, thp);
		rc = all ? 0 : err_set(err, -ENOMEM, "no memory for the answer");
	}
	json_decref(memory);
	json_decref(thp);
	if (all)
		*ret = all;
	return rc;
}

int stats_read(json_t **ret, struct err *err)
{
	return stats_read_root("", ret, err);
}
