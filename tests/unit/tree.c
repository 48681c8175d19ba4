/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The nodes of the mount: what is found, counted and forgotten (fuse/tree.h). */
#include "fuse/tree.h"

#include <string.h>

#include "store/base/fmt.h"
#include "tests/unit/fixture.h"

static struct fixture f;
static struct stats stats;
static struct tree *tree;
static struct err err;
static char hex_a[DIGEST_HEX_LEN], hex_b[DIGEST_HEX_LEN];
static struct digest id_a, id_b;

static void add_layer(const char *image, uint64_t size, char *hex, struct digest *ret)
{
	struct layer *layer = fixture_layer(&f);

	if (runs_add(fixture_image(layer, image, size), 0, (size + FRAME_SIZE - 1) / FRAME_SIZE))
		bail("out of memory");
	fixture_publish_layer(&f, layer);
	*ret = layer->id;
	fmt_hex(hex, layer->id.b, DIGEST_LEN);
	layer_unref(layer);
}

static struct node *find(struct node *parent, const char *name)
{
	struct node *node = NULL;
	int rc = tree_lookup(tree, parent, name, &node, &err);

	return rc == 0 ? node : NULL;
}

static int lookup_error(struct node *parent, const char *name)
{
	struct node *node = NULL;
	int rc = tree_lookup(tree, parent, name, &node, &err);

	return node ? 1 : rc;
}

static uint64_t nodes(void)
{
	return stats_get(&stats, STATS_NODES);
}

static void test_fixed(void)
{
	struct node *root = tree_root(tree);

	is_int(tree_nodeid(tree, root), 1, "the root is 1 to the kernel");
	ok(tree_node(tree, 1) == root, "and back");
	ok(find(root, "layers") == tree_layers(tree), "layers");
	ok(find(root, "tags") == tree_tags(tree), "tags");
	ok(find(root, ".stats") == tree_stats(tree), ".stats");
	ok(find(root, "live") == tree_lives(tree), "live");
	is_int(lookup_error(root, "lives"), -ENOENT, "nothing else");
	is_int(lookup_error(tree_stats(tree), "x"), -ENOTDIR, "a file has no entries");
	tree_forget(tree, root, 5);
	tree_forget(tree, tree_layers(tree), 5);
	ok(find(root, "layers") == tree_layers(tree), "what is fixed cannot be forgotten");
}

static void test_names(void)
{
	struct node *layers = tree_layers(tree);
	char name[DIGEST_HEX_LEN + 1];

	is_int(lookup_error(layers, ""), -ENOENT, "no name");
	is_int(lookup_error(layers, "xyz"), -ENOENT, "not an id");
	(void)snprintf(name, sizeof(name), "%.63s", hex_a);
	is_int(lookup_error(layers, name), -ENOENT, "a digit too few");
	(void)snprintf(name, sizeof(name), "%s0", hex_a);
	is_int(lookup_error(layers, name), -ENOENT, "a digit too many");
	(void)snprintf(name, sizeof(name), "%s", hex_a);
	name[63] ^= 1;
	is_int(lookup_error(layers, name), -ENOENT, "no such layer");
	memset(name, 'A', DIGEST_HEX_LEN - 1);
	is_int(lookup_error(layers, name), -ENOENT, "capitals");
	is_int(nodes(), 0, "nothing was remembered of it");
}

static void test_layer(void)
{
	struct node *a = find(tree_layers(tree), hex_a), *b = find(tree_layers(tree), hex_b);
	struct node *image, *info, *traces;

	if (!ok(a && b && a != b, "two layers"))
		return;
	is_int(nodes(), 2, "are remembered");
	is_int(a->kind, NODE_LAYER, "as layers");
	is_int(a->ino, tree_layer_ino(&id_a), "with the inode number that readdir shows");
	ok(tree_node(tree, tree_nodeid(tree, a)) == a, "there and back");
	image = find(a, "memfile");
	info = find(a, "info.json");
	traces = find(a, "traces");
	if (!ok(image && info && traces, "its files"))
		return;
	is_int(image->kind, NODE_IMAGE, "an image");
	is_int(tree_image(image)->size, 12345, "its size");
	ok(image->layer == a->layer && info->layer == a->layer, "of that layer");
	ok(image->ino != info->ino && info->ino != traces->ino && a->ino != image->ino,
	   "with inode numbers of their own");
	is_int(lookup_error(a, "rootfs"), -ENOENT, "an image of the other one");
	is_int(lookup_error(traces, "x"), -ENOENT, "no traces");

	ok(find(tree_layers(tree), hex_a) == a, "found again it is the same");
	tree_keep(tree, image);
	tree_forget(tree, a, 2);
	tree_forget(tree, image, 1);
	tree_forget(tree, info, 1);
	tree_forget(tree, traces, 1);
	is_int(nodes(), 2, "kept by one who uses it");
	tree_forget(tree, image, 1);
	is_int(nodes(), 1, "and gone with the last");
	tree_forget(tree, b, 1);
	is_int(nodes(), 0, "the other one, too");
}

static void put_trace(const char *name)
{
	struct trace t;

	trace_init(&t, 4096, 12345);
	fixture_must(traces_put(f.store, &id_a, name, &t, 0, &err), &err, "traces_put");
	trace_fini(&t);
}

static void test_traces(void)
{
	struct node *a = find(tree_layers(tree), hex_a), *traces = find(a, "traces"), *t, *u;

	is_int(lookup_error(traces, "x"), -ENOENT, "no such trace");
	is_int(lookup_error(traces, "../x"), -ENOENT, "not a name");
	put_trace("x");
	put_trace("y");
	t = find(traces, "x");
	u = find(traces, "y");
	if (!ok(t && u && t != u, "two traces"))
		return;
	is_int(t->kind, NODE_TRACE, "of their kind");
	is_str(tree_trace(t)->name, "x", "with its name");
	ok(t->layer == a->layer, "and layer");
	ok(t->ino == tree_trace_ino(&id_a, "x") && t->ino != u->ino,
	   "and the inode number that readdir shows");
	ok(find(traces, "x") == t, "found again it is the same");
	is_int(lookup_error(t, "z"), -ENOTDIR, "a file has no entries");
	fixture_must(traces_remove(f.store, &id_a, "x", 0, &err), &err, "traces_remove");
	is_int(lookup_error(traces, "x"), -ENOENT, "gone when it is removed");
	tree_forget(tree, a, 1);
	tree_forget(tree, traces, 1);
	tree_forget(tree, t, 2);
	is_int(nodes(), 1, "one that is used keeps the layer's node");
	is_str(tree_trace(t)->name, "x", "all of it");
	tree_forget(tree, u, 1);
	is_int(nodes(), 0, "the last to be forgotten ends it");
}

static int count(void *ctx, const struct digest *id)
{
	(void)id;
	return ++*(int *)ctx == 2 ? 7 : 0;
}

static void test_each(void)
{
	struct node *a = find(tree_layers(tree), hex_a), *b;
	int n = 0;

	is_int(tree_each_layer(tree, count, &n), 0, "each of one");
	is_int(n, 1, "is one");
	b = find(tree_layers(tree), hex_b);
	n = 0;
	is_int(tree_each_layer(tree, count, &n), 7, "stops where it is told to");
	is_int(n, 2, "at the second");
	tree_forget(tree, a, 1);
	tree_forget(tree, b, 1);
}

static void test_tags(void)
{
	struct node *tags = tree_tags(tree), *t;

	is_int(lookup_error(tags, "t"), -ENOENT, "no such tag");
	is_int(lookup_error(tags, ".t"), -ENOENT, "not a name");
	is_int(lookup_error(tags, hex_a), -ENOENT, "a layer is not a tag");
	fixture_must(decide_tag(f.store, "t", &id_a, 0, &err), &err, "decide_tag");
	t = find(tags, "t");
	if (!ok(t, "a tag"))
		return;
	is_int(t->kind, NODE_TAG, "of its kind");
	is_str(tree_tag(t)->name, "t", "its name");
	is_int(t->ino, tree_tag_ino("t"), "with the inode number that readdir shows");
	fixture_must(decide_untag(f.store, "t", 0, &err), &err, "decide_untag");
	is_int(lookup_error(tags, "t"), -ENOENT, "gone when it is removed");
	is_str(tree_tag(t)->name, "t", "but valid until it is forgotten");
	tree_forget(tree, t, 1);
}

static void test_removed(void)
{
	struct node *b = find(tree_layers(tree), hex_b), *again;

	fixture_must(decide_remove(f.store, &id_b, false, 0, &err), &err, "decide_remove");
	is_int(lookup_error(tree_layers(tree), hex_b), -ENOENT, "a removed layer is gone at once");
	ok(find(b, "rootfs"), "its files are there for who is inside");
	is_int(nodes(), 1, "as long as somebody is");
	f.seq = 1000;
	add_layer("rootfs", 54321, hex_b, &id_b);
	again = find(tree_layers(tree), hex_b);
	ok(again == b, "committed again it is the same");
	tree_forget(tree, b, 3);
	is_int(nodes(), 0, "and can be forgotten");
}

int main(void)
{
	fixture_open(&f, "store", NULL);
	add_layer("memfile", 12345, hex_a, &id_a);
	add_layer("rootfs", 54321, hex_b, &id_b);
	pack_close(&f.w);
	f.w.fd = -1;
	stats_init(&stats);
	fixture_must(tree_new(f.store, &stats, &tree), NULL, "tree_new");
	test_fixed();
	test_names();
	test_layer();
	test_each();
	test_tags();
	test_traces();
	test_removed();
	find(tree_layers(tree), hex_a);
	tree_free(tree);
	tree_free(NULL);
	store_close(f.store);
	return tap_done();
}
