/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/subject.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "src/cli/capture.h"
#include "src/cli/cli.h"

#define ARGV_MAX (WORDS_MAX + 16)

/* ---- what is printed ---- */

static int strange(struct err *err, const char *what)
{
	return err_set(err, -EBADMSG, "'lamina %s' printed something else than it does", what);
}

static bool take_id(const json_t *from, const char *member, char to[DIGEST_HEX_LEN])
{
	const char *text = json_string_value(json_object_get(from, member));

	if (!text || strlen(text) != DIGEST_HEX_LEN - 1)
		return false;
	memcpy(to, text, DIGEST_HEX_LEN);
	return true;
}

static bool take_count(const json_t *from, const char *member, uint64_t *to)
{
	const json_t *value = json_object_get(from, member);

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*to = (uint64_t)json_integer_value(value);
	return true;
}

/* In a new one, or where it is already. */
static struct measure_image *image_named(struct measure *m, const char *name)
{
	struct measure_image *image;

	if (!name || strlen(name) > IMAGE_NAME_MAX)
		return NULL;
	for (unsigned i = 0; i < m->nimages; i++)
		if (!strcmp(m->image[i].name, name))
			return &m->image[i];
	if (m->nimages == IMAGES_MAX)
		return NULL;
	image = &m->image[m->nimages++];
	*image = (struct measure_image){.changed = 0};
	(void)snprintf(image->name, sizeof(image->name), "%s", name);
	return image;
}

int subject_read_pause(const json_t *printed, struct measure *ret, struct err *err)
{
	const json_t *commit = json_object_get(printed, "commit"), *item;
	struct measure m = *ret;
	size_t i;

	m.nimages = 0;
	m.paused = json_number_value(json_object_get(printed, "paused_seconds"));
	m.seconds = json_number_value(json_object_get(printed, "seconds"));
	if (!take_id(commit, "layer", m.layer))
		return strange(err, "pause");
	if (!take_id(commit, "parent", m.parent))
		m.parent[0] = '\0';
	json_array_foreach(json_object_get(commit, "images"), i, item) {
		struct measure_image *image =
			image_named(&m, json_string_value(json_object_get(item, "name")));

		if (!image || !take_count(item, "stored_bytes", &image->stored))
			return strange(err, "pause");
	}
	*ret = m;
	return 0;
}

int subject_read_diff(const json_t *printed, struct measure *ret, struct err *err)
{
	struct measure m = *ret;
	const json_t *item;
	size_t i;

	json_array_foreach(json_object_get(printed, "images"), i, item) {
		struct measure_image *image =
			image_named(&m, json_string_value(json_object_get(item, "image")));

		if (!image || !take_count(item, "pages_differ", &image->changed) ||
		    !take_count(item, "frames_differ", &image->frames))
			return strange(err, "diff");
	}
	if (i == 0)
		return strange(err, "diff");
	*ret = m;
	return 0;
}

/* ---- running ourselves ---- */

static bool is_stopped(void)
{
	return cli_stopped() != 0;
}

struct call {
	char *argv[ARGV_MAX];
	size_t n;
};

/* argv is not changed by who is run. */
static void add(struct call *call, const char *word)
{
	if (call->n < ARGV_MAX - 1)
		call->argv[call->n++] = (char *)(uintptr_t)word;
}

static void begin_call(const struct cli *cli, struct call *call, const char *command)
{
	*call = (struct call){.n = 0};
	add(call, "/proc/self/exe");
	if (cli->store_dir) {
		add(call, "--store");
		add(call, cli->store_dir);
	}
	if (cli->config) {
		add(call, "--config");
		add(call, cli->config);
	}
	add(call, command);
	add(call, "--json");
}

static const char *without_name(const char *sentence)
{
	return strncmp(sentence, "lamina: ", 8) ? sentence : sentence + 8;
}

/* What it printed; its own words of what went wrong come first. */
static int make_call(struct cli *cli, const struct call *call, const char *command, json_t **ret)
{
	struct capture done;
	const char *error;
	json_t *printed;
	const struct capture_stop stop = {.asked = is_stopped};	/* it lets the guest go on */
	int rc = capture_run((char *const *)call->argv, &stop, &done, &cli->err);

	if (rc < 0)
		return rc;
	printed = json_loadb(done.out, done.len, 0, NULL);
	error = json_string_value(json_object_get(printed, "error"));
	if (done.status == CLI_USAGE)
		rc = err_set(&cli->err, -EINVAL, "%s",
			     *done.why ? without_name(done.why) : command);
	else if (done.status != 0)
		rc = err_set(&cli->err, -EREMOTEIO, "'lamina %s' failed: %.400s", command,
			     error ? error : *done.why ? without_name(done.why) :
			     "it says nothing");
	else if (!printed)
		rc = strange(&cli->err, command);
	capture_fini(&done);
	if (rc < 0)
		json_decref(printed);
	else
		*ret = printed;
	return rc;
}

static void keep_warnings(const json_t *from, json_t *to)
{
	json_t *item;
	const json_t *old;
	size_t i, k;

	json_array_foreach(from, i, item) {
		json_array_foreach(to, k, old)
			if (json_equal(old, item))
				break;
		if (k == json_array_size(to))
			(void)json_array_append(to, item);
	}
}

int subject_pause(struct cli *cli, const struct subject *subject, struct measure *ret,
		  json_t *warnings)
{
	struct call call;
	json_t *printed;
	int rc;

	begin_call(cli, &call, "pause");
	for (size_t i = 0; i < subject->options->n; i++)
		add(&call, subject->options->v[i]);
	add(&call, "--");
	add(&call, subject->guest);
	rc = make_call(cli, &call, "pause", &printed);
	if (rc < 0)
		return rc;
	rc = subject_read_pause(printed, ret, &cli->err);
	keep_warnings(json_object_get(printed, "warnings"), warnings);
	json_decref(printed);
	return rc;
}

int subject_compare(struct cli *cli, struct measure *m)
{
	struct call call;
	json_t *printed;
	int rc;

	if (!*m->parent)
		return err_set(&cli->err, -ESTALE, "layer %.12s has no parent to compare it with",
			       m->layer);
	begin_call(cli, &call, "diff");
	add(&call, m->parent);
	add(&call, m->layer);
	rc = make_call(cli, &call, "diff", &printed);
	if (rc < 0)
		return rc;
	rc = subject_read_diff(printed, m, &cli->err);
	json_decref(printed);
	return rc;
}
