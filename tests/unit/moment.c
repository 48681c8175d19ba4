/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/moment.h"

#include "tests/unit/live-fixture.h"

static struct digest base;

static bool attr_is(const struct digest *id, const char *key, const char *want)
{
	struct attrs attrs;
	const char *got;
	bool is;

	must(attrs_load(store, id, &attrs, &err), "attrs_load");
	got = attrs_get(&attrs, key);
	is = got && strcmp(got, want) == 0;
	attrs_fini(&attrs);
	return is;
}

#define STATE 1

static struct lively guest(const char *name, const struct digest *from)
{
	static const struct live_size sizes[] = {{"memfile", 2000 * PAGE_SIZE},
						 {"state", 2 * PAGE_SIZE}};
	struct lively v = {.name = name, .seq = 1, .nimages = 2, .image = {"memfile", "state"}};
	const struct live_new what = {.name = name, .from = from, .sizes = sizes, .nsizes = 2};

	must(live_create(store, &what, 0, &err), "live_create");
	lively_want(&v, MEMFILE, from, sizes[0].size);
	lively_want(&v, STATE, from, sizes[1].size);
	lively_open(&v);
	return v;
}

/* What is told must be so of the layer. */
static bool is_unknown(struct lively *v, bool one_moment)
{
	struct live_commit_opts opts = lively_opts(v);
	struct live_taken taken;

	opts.one_moment = one_moment;
	must(live_commit(store, &opts, &result, &taken, &err), "live_commit");
	if (!ok(taken.moment_unknown == attr_is(&result.id, MOMENT_ATTR, MOMENT_UNKNOWN),
		"what is told is kept"))
		tap_diag("told: %d", taken.moment_unknown);
	return taken.moment_unknown;
}

static bool stands_above(const struct digest *id, const struct digest *below)
{
	struct layer *layer = NULL;
	struct digest found;
	int rc;

	must(layer_peek(store, id, &layer, &err), "layer_peek");
	rc = moment_below(store, layer, &found, &err);
	layer_unref(layer);
	return below ? rc == 1 && digest_equal(&found, below) : rc == 0;
}

static void test_moment(void)
{
	struct lively v = guest("moment", NULL);
	struct digest first, good;

	lively_write(&v, STATE, 0, 12000);
	lively_seal(&v);
	ok(is_unknown(&v, false), "a layer with a state is not known to be of one moment");
	first = result.id;
	ok(stands_above(&first, NULL), "and stands on none that is");
	lively_seal(&v);
	ok(is_unknown(&v, false), "nor is one with nothing written since");
	ok(stands_above(&result.id, NULL), "which stands on none either");
	lively_write(&v, MEMFILE, 3, 12001);
	lively_seal(&v);
	ok(!is_unknown(&v, true), "it is if the caller knows");
	good = result.id;
	ok(attr_is(&good, MOMENT_ATTR, MOMENT_ONE), "which is kept");
	lively_seal(&v);
	ok(!is_unknown(&v, false), "so is one with nothing written since");
	ok(stands_above(&result.id, &good), "it stands on that");
	good = result.id;
	lively_zero(&v, MEMFILE, 3, 1);
	lively_seal(&v);
	ok(is_unknown(&v, false), "not one in which a page was punched");
	lively_resize(&v, STATE, 3 * PAGE_SIZE);
	lively_seal(&v);
	ok(is_unknown(&v, false), "nor one that has grown");
	ok(stands_above(&result.id, &good), "the nearest that is known is found below both");
	lively_resize(&v, STATE, 0);
	lively_seal(&v);
	ok(!is_unknown(&v, false), "of one without a state there is nothing to be known");
	lively_close(&v);
}

/* Who says that it is known is believed, of whatever was there; who does not changes nothing. */
static void test_moment_existed(void)
{
	struct lively v[] = {guest("moment-a", &base), guest("moment-b", &base),
			     guest("moment-c", &base)};
	static const bool knows[] = {false, true, false};
	bool unknown[3];

	for (int i = 0; i < 3; i++) {
		lively_write(&v[i], STATE, 0, 12100);
		lively_seal(&v[i]);
		unknown[i] = is_unknown(&v[i], knows[i]);
		lively_close(&v[i]);
	}
	ok(unknown[0] && !unknown[1], "a layer that was there is known if that is said of it");
	ok(result.existed && !unknown[2], "and stays so");
}

int main(void)
{
	must(digest_init(), "digest_init");
	store = make_store("store");
	base = commit_full(make_file("base", 2000 * PAGE_SIZE, 10, 100, 50), NULL);
	test_moment();
	test_moment_existed();
	store_close(store);
	return tap_done();
}
