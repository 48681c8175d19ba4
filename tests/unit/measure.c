/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What `lamina pause` and `lamina diff` print becomes measures; measures become lots and a picture.
 */
#include "src/cli/measure.h"

#include "src/cli/picture.h"
#include "src/cli/subject.h"
#include "store/base/vec.h"
#include "tests/tap.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define PARENT "ff23456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct err err;

/* subject.c asks the command; here nobody does. */
int cli_stopped(void);
int cli_stopped(void)
{
	return 0;
}

static int read_pause(const char *text, struct measure *m)
{
	json_t *json = json_loads(text, 0, NULL);
	int rc = subject_read_pause(json, m, &err);

	json_decref(json);
	return rc;
}

static int read_diff(const char *text, struct measure *m)
{
	json_t *json = json_loads(text, 0, NULL);
	int rc = subject_read_diff(json, m, &err);

	json_decref(json);
	return rc;
}

static void test_read(void)
{
	static const char *const bad[] = {
		"{}", "[]", "{\"commit\": null}", "{\"commit\": {\"layer\": \"12\"}}",
		"{\"commit\": {\"layer\": \"" ID "\", \"images\": [{}]}}",
		"{\"commit\": {\"layer\": \"" ID "\", \"images\": [{\"name\": \"m\", "
			"\"stored_bytes\": -1}]}}",
		"{\"commit\": {\"layer\": \"" ID "\", \"images\": [{\"name\": \"m\", "
			"\"stored_bytes\": 1.5}]}}",
		"{\"commit\": {\"layer\": \"" ID "\", \"images\": [{\"name\": "
		"\"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggg\", "
		"\"stored_bytes\": 1}]}}",
	};
	struct measure m = {.cycle = 7}, before;

	is_int(read_pause("{\"paused_seconds\": 0.25, \"seconds\": 2, \"commit\": {\"layer\": "
	       "\"" ID "\", "
			  "\"parent\": \"" PARENT "\", \"images\": [{\"name\": \"memfile\", "
			  "\"stored_bytes\": 4000}, {\"name\": \"state\", \"stored_bytes\": "
				"9}]}}", &m), 0,
	       "what pause prints");
	is_str(m.layer, ID, "is a layer");
	is_str(m.parent, PARENT, "with its parent");
	ok(m.paused == 0.25 && m.seconds == 2, "with times");
	is_int(m.nimages, 2, "of two images");
	is_int(m.image[0].stored, 4000, "with what was stored");
	is_int(m.cycle, 7, "the rest is left");
	is_int(read_diff("{\"images\": [{\"image\": \"memfile\", \"pages_differ\": 10, "
	       "\"frames_differ\": 2}, "
			 "{\"image\": \"new\", \"pages_differ\": 1, \"frames_differ\": 1}]}",
				&m), 0,
	       "what diff prints");
	is_int(m.nimages, 3, "may name another image");
	is_int(m.image[0].changed, 10, "has pages");
	is_int(m.image[0].frames, 2, "and frames");
	ok(measure_fill(&m.image[0]) == 10 / 1024.0, "which are so full");
	ok(measure_fill(&m.image[1]) == 0, "none are not full");
	before = m;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		is_err(read_pause(bad[i], &m), &err, -EBADMSG,
		       "'lamina pause' printed something else than it does");
	is_err(read_diff("{\"images\": []}", &m), &err, -EBADMSG,
	       "'lamina diff' printed something else than it does");
	is_err(read_diff("{\"images\": [{\"image\": \"memfile\", \"pages_differ\": \"x\"}]}",
	       &m), &err,
	       -EBADMSG, "'lamina diff' printed something else than it does");
	is_mem(&m, &before, sizeof(m), "what is bad changes nothing");
	is_int(read_pause("{\"commit\": {\"layer\": \"" ID "\", \"parent\": null, \"images\": "
	       "[]}}", &m), 0,
	       "the first layer");
	is_str(m.parent, "", "has no parent");
}

static void add(struct measure_set *set, unsigned configuration, const char *workload,
		uint64_t changed)
{
	struct measure m = {.configuration = configuration, .workload = workload_find(workload),
			    .paused = 0.5, .nimages = 1};

	(void)snprintf(m.image[0].name, sizeof(m.image[0].name), "memfile");
	m.image[0].changed = changed;
	m.image[0].frames = 1;
	if (vec_push(set, m) < 0)
		bail("no memory");
}

static int count_key(void *ctx, const struct measure_key *key)
{
	char *text = ctx;
	size_t len = strlen(text);

	(void)snprintf(text + len, 512 - len, "%s.%s.%s ", key->workload->name,
		       key->image ? key->image : "-", measure_names[key->figure]);
	return 0;
}

static int second_is_7(void *ctx, const struct measure_key *key)
{
	(void)key;
	return ++*(int *)ctx == 2 ? 7 : 0;
}

static void test_lots(const struct measure_set *set)
{
	struct measure_key key = {workload_find("64k"), "memfile", MEASURE_CHANGED};
	char text[512] = "";
	double *v;
	size_t n;
	int calls = 0;

	is_int(measure_gather(set, &key, 1, &v, &n), 0, "one lot");
	is_int(n, 2, "has two");
	ok(v[0] == 30 && v[1] == 31, "in order");
	free(v);
	key.image = "nothing";
	is_int(measure_gather(set, &key, 1, &v, &n), 0, "of an image that is not there");
	is_int(n, 0, "there is none");
	free(v);
	key = (struct measure_key){workload_find("idle"), NULL, MEASURE_PAUSED};
	is_int(measure_gather(set, &key, 0, &v, &n), 0, "of no image");
	ok(n == 1 && v[0] == 0.5, "is the time");
	free(v);
	is_int(measure_each(set, count_key, text), 0, "all lots");
	is_str(text, "64k.memfile.changed_pages 64k.memfile.frames_touched 64k.memfile.fill "
	       "64k.memfile.stored_bytes 64k.-.paused_seconds idle.memfile.changed_pages "
	       "idle.memfile.frames_touched idle.memfile.fill idle.memfile.stored_bytes "
	       "idle.-.paused_seconds ", "once each, as they came");
	is_int(measure_each(set, second_is_7, &calls), 7, "until it is enough");
	is_int(calls, 2, "which is heard");
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	for (; (text = strstr(text, what)); text += strlen(what))
		n++;
	return n;
}

static void test_picture(const struct measure_set *set)
{
	struct picture picture = {set, 2, "a <title>", {"a, <web> & \"x\"", "b\n"}};
	const struct measure_set none = {NULL, 0, 0};
	char *text = NULL, command[512];
	size_t len;
	FILE *out = open_memstream(&text, &len);

	is_int(picture_svg(out, &picture), 0, "a picture");
	fclose(out);
	ok(!strncmp(text, "<svg xmlns=", 11) && !strcmp(text + len - 7, "</svg>\n"), "is whole");
	is_int(count(text, "<circle class=\"a\""), 1 + 2 * 3, "has a dot for each of a");
	is_int(count(text, "<circle class=\"b\""), 1 + 2 * 2, "and of b");
	ok(strstr(text, "a, &#60;web&#62; &#38; &#34;x&#34;"), "words are words");
	ok(strstr(text, "cx=\"656.0\""), "the most is at the end of the scale");
	ok(strstr(text, "a &#60;title&#62;"), "it has a title");
	is_int(count(text, "class=\"n\">100</text>"), 2, "a tick of 100 on each scale");
	is_int(count(text, ">20</text>"), 1, "and between");
	is_int(count(text, ">pages</text>") + count(text, ">ms</text>"), 2, "each scale its unit");
	out = fopen(tap_path("p.svg"), "w");
	fputs(text, out);
	fclose(out);
	free(text);
	(void)snprintf(command, sizeof(command), "python3 -c 'import sys, xml.dom.minidom as m; "
		       "m.parse(sys.argv[1])' %s", tap_path("p.svg"));
	if (system("python3 -c '' 2>/dev/null") == 0)
		is_int(system(command), 0, "it is XML");
	else
		tap_skip("no python3");
	picture.set = &none;
	picture.configurations = 1;
	out = open_memstream(&text, &len);
	is_int(picture_svg(out, &picture), 0, "one of nothing");
	fclose(out);
	is_int(count(text, "</svg>"), 1, "is one, too");
	free(text);
}

int main(void)
{
	struct measure_set set = {NULL, 0, 0};

	add(&set, 0, "64k", 10);
	add(&set, 1, "64k", 30);
	add(&set, 0, "idle", 0);
	add(&set, 1, "64k", 31);
	add(&set, 0, "64k", 100);
	test_read();
	test_lots(&set);
	test_picture(&set);
	vec_fini(&set);
	return tap_done();
}
