/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The line with number `seq` is in slot seq % LOGS_LINES until LOGS_LINES more have come.  The
 * ring is static: pages of it that no line has reached yet are no memory.
 */
#include "src/agent/logs.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
	pthread_mutex_t lock;
	struct logs_line lines[LOGS_LINES];
	uint64_t last;			/* number of the newest; 0: none yet */
	enum logs_level level;
	int kernel_fd;
	void (*added)(void *arg);
	void *added_arg;
} ring = {.lock = PTHREAD_MUTEX_INITIALIZER, .kernel_fd = -1};

static const char *const words[] = {"debug", "info", "warning", "error"};

int logs_parse_level(const char *word, enum logs_level *ret)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (!strcmp(word, words[i])) {
			*ret = (enum logs_level)i;
			return 0;
		}
	return -EINVAL;
}

int logs_init(enum logs_level level, const char *kernel)
{
	ring.level = level;
	ring.last = 0;
	ring.kernel_fd = kernel ? open(kernel, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY |
					       O_NONBLOCK) : -1;
	return kernel && ring.kernel_fd < 0 ? -errno : 0;
}

void logs_fini(void)
{
	if (ring.kernel_fd >= 0)
		close(ring.kernel_fd);
	ring.kernel_fd = -1;
	ring.added = NULL;
}

/* One write is one line there; its number is syslog's for the level, of a daemon. */
static void tell_kernel(enum logs_level level, const char *text)
{
	char line[LOGS_TEXT + 32];
	int n = snprintf(line, sizeof(line), "<%d>lamina-agent: %s\n",
			 24 + (level == LOGS_ERROR ? 3 : 4), text);

	(void)!write(ring.kernel_fd, line, (size_t)n);
}

static double now_seconds(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* One line is one line. */
static void flatten(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = ' ';
}

void logs_add(enum logs_level level, const char *fmt, ...)
{
	void (*added)(void *arg);
	void *arg;
	struct logs_line *line;
	va_list ap;

	if (level < ring.level)
		return;
	pthread_mutex_lock(&ring.lock);
	line = &ring.lines[++ring.last % LOGS_LINES];
	line->seq = ring.last;
	line->time = now_seconds();
	line->level = level;
	va_start(ap, fmt);
	(void)vsnprintf(line->text, sizeof(line->text), fmt, ap);
	va_end(ap);
	flatten(line->text);
	if (level >= LOGS_WARNING && ring.kernel_fd >= 0)
		tell_kernel(level, line->text);
	added = ring.added;
	arg = ring.added_arg;
	pthread_mutex_unlock(&ring.lock);
	if (added)
		added(arg);
}

void logs_on_added(void (*fn)(void *arg), void *arg)
{
	pthread_mutex_lock(&ring.lock);
	ring.added = fn;
	ring.added_arg = arg;
	pthread_mutex_unlock(&ring.lock);
}

bool logs_next(uint64_t seq, struct logs_line *ret, uint64_t *ret_lost)
{
	uint64_t oldest;
	bool has;

	pthread_mutex_lock(&ring.lock);
	if (seq > ring.last)
		seq = 0;
	has = seq < ring.last;
	if (has) {
		oldest = ring.last > LOGS_LINES ? ring.last - LOGS_LINES + 1 : 1;
		*ret_lost = seq + 1 < oldest ? oldest - seq - 1 : 0;
		*ret = ring.lines[(seq + 1 + *ret_lost) % LOGS_LINES];
	}
	pthread_mutex_unlock(&ring.lock);
	return has;
}

uint64_t logs_last(void)
{
	uint64_t last;

	pthread_mutex_lock(&ring.lock);
	last = ring.last;
	pthread_mutex_unlock(&ring.lock);
	return last;
}

/* A file's name may be no UTF-8, and a line cut off in the middle of a character. */
static json_t *make_string(const char *text)
{
	char ascii[LOGS_TEXT];
	json_t *string = json_string(text);

	if (string)
		return string;
	(void)snprintf(ascii, sizeof(ascii), "%s", text);
	for (char *p = ascii; *p; p++)
		if (*p & 0x80)
			*p = '?';
	return json_string(ascii);
}

json_t *logs_json(const struct logs_line *line)
{
	return json_pack("{s:I, s:f, s:s, s:o}", "seq", (json_int_t)line->seq, "time", line->time,
			 "level", words[line->level], "text", make_string(line->text));
}
