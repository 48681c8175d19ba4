/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/input.h"
#include "store/format.h"
#include "tests/fault.h"
#include "tests/tap.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <linux/loop.h>

static struct err err;
static uint8_t buf[FRAME_SIZE], kind[FRAME_PAGES];

static const char *sparse_file(const char *name, uint64_t size)
{
	const char *path = tap_path(name);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		bail("cannot make '%s'", path);
	close(fd);
	return path;
}

static void put(const char *path, uint64_t off, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || pwrite(fd, text, strlen(text), (off_t)off) != (ssize_t)strlen(text))
		bail("cannot write '%s'", path);
	close(fd);
}

static void put_zeros(const char *path, uint64_t off, size_t len)
{
	static const char zeros[1 << 20];
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || pwrite(fd, zeros, len, (off_t)off) != (ssize_t)len)
		bail("cannot write '%s'", path);
	close(fd);
}

static struct input *open_mode(const char *path, enum input_mode mode)
{
	struct input *in = NULL;

	if (input_open(path, mode, NULL, 0, &in, &err) < 0)
		bail("cannot open '%s': %s", path, err.text);
	return in;
}

static struct input *open_dirty(const char *path, const struct input_range *r, size_t n)
{
	struct input *in = NULL;

	if (input_open(path, INPUT_DIRTY, r, n, &in, &err) < 0)
		bail("cannot open '%s': %s", path, err.text);
	return in;
}

/* The kinds of a frame as a text: "3Z2D507Z". */
static const char *kinds(void)
{
	static char text[4096];
	char *p = text;

	for (unsigned i = 0, n; i < FRAME_PAGES; i += n) {
		for (n = 1; i + n < FRAME_PAGES && kind[i + n] == kind[i]; n++)
			;
		p += snprintf(p, (size_t)(text + sizeof(text) - p), "%u%c", n,
			      kind[i] == INPUT_PAGE_DATA ? 'D' :
			      kind[i] == INPUT_PAGE_ZERO ? 'Z' : 'P');
	}
	return text;
}

static int read_frame(struct input *in, uint64_t frame)
{
	memset(buf, 0xee, sizeof(buf));
	memset(kind, 0xee, sizeof(kind));
	return input_read(in, frame, buf, kind, &err);
}

static void test_full(void)
{
	const char *path = sparse_file("full", 3 * FRAME_SIZE);
	struct input *in;

	put(path, 3 * PAGE_SIZE, "three");
	put(path, 4 * PAGE_SIZE + 4095, "x");
	put_zeros(path, 6 * PAGE_SIZE, PAGE_SIZE);
	put(path, 2 * (uint64_t)FRAME_SIZE + 511 * PAGE_SIZE, "last");
	in = open_mode(path, INPUT_FULL);
	is_int(input_size(in), 3 * FRAME_SIZE, "the size is the file's");
	is_int(input_next_frame(in, 0), 0, "there is something in frame 0");
	is_int(input_next_frame(in, 1), 2, "frame 1 is a hole");
	is_int(input_next_frame(in, 3), UINT64_MAX, "and that is all");
	is_int(read_frame(in, 0), 3, "of frame 0 three pages are read");
	is_str(kinds(), "3Z2D507Z", "holes and zeros are zero, the rest is data");
	is_str((char *)buf + 3 * PAGE_SIZE, "three", "the data is there");
	is_int(buf[4 * PAGE_SIZE + 4095], 'x', "to the last byte of a page");
	is_int(read_frame(in, 1), 0, "of a hole nothing is read");
	is_str(kinds(), "512Z", "and it is zero");
	is_int(read_frame(in, 2), 1, "the last page of the last frame is read");
	is_str(kinds(), "511Z1D", "and is data");
	is_int(input_check(in, &err), 0, "nothing has changed");
	input_close(in);
}

static void test_diff(void)
{
	const char *path = sparse_file("diff", FRAME_SIZE + 5 * PAGE_SIZE);
	struct input *in;

	put(path, PAGE_SIZE, "one");
	put_zeros(path, 2 * PAGE_SIZE, PAGE_SIZE);
	in = open_mode(path, INPUT_DIFF);
	is_int(read_frame(in, 0), 2, "a diff's data is read");
	is_str(kinds(), "1P1D1Z509P", "a hole is the parent's, a page of zeros is zero");
	is_int(read_frame(in, 1), 0, "of a frame without data nothing is read");
	is_str(kinds(), "5P507Z", "it is the parent's up to the end of the file");
	is_int(input_next_frame(in, 1), UINT64_MAX, "and need not be looked at");
	input_close(in);
}

static void test_dirty(void)
{
	const struct input_range r[] = {
		{10 * PAGE_SIZE + 1, 1},		/* widened to page 10 */
		{2 * PAGE_SIZE, 2 * PAGE_SIZE},
		{3 * PAGE_SIZE, 2 * PAGE_SIZE},		/* overlaps the one before */
		{3 * PAGE_SIZE, 1},			/* is within it */
		{5 * PAGE_SIZE, 0},			/* nothing */
		{FRAME_SIZE - 1, 2},			/* a page on either side */
		{2 * (uint64_t)FRAME_SIZE + 100, PAGE_SIZE},
		{2 * (uint64_t)FRAME_SIZE + 2 * PAGE_SIZE + 4000, UINT64_MAX},	/* past the end */
		{UINT64_MAX, 5},
	};
	const char *path = sparse_file("dirty", 2 * FRAME_SIZE + 2 * PAGE_SIZE + 7);
	struct input *in;

	put(path, 4 * PAGE_SIZE, "four");
	put(path, 20 * PAGE_SIZE, "not asked for");
	put(path, 2 * (uint64_t)FRAME_SIZE + 2 * PAGE_SIZE, "seventh");
	in = open_dirty(path, r, sizeof(r) / sizeof(r[0]));
	is_int(input_expect(in), (1 + 3 + 2 + 3) * PAGE_SIZE, "what will be read is known");
	is_int(read_frame(in, 0), 5, "only the ranges are read, each page once");
	is_str(kinds(), "2P2Z1D5P1Z500P1Z", "and the rest is the parent's");
	is_int(read_frame(in, 1), 1, "a range may go on in the next frame");
	is_str(kinds(), "1Z511P", "with its first page");
	is_int(read_frame(in, 2), 3, "a range ends where the file does");
	is_str(kinds(), "2Z1D509Z", "and what is behind the end is zero");
	is_str((char *)buf + 2 * PAGE_SIZE, "seventh", "a partial last page is read");
	is_int(buf[2 * PAGE_SIZE + 7], 0, "and padded with zeros");
	is_int(input_next_frame(in, 3), UINT64_MAX, "that is all");
	input_close(in);
	in = open_dirty(path, NULL, 0);
	is_int(input_next_frame(in, 0), UINT64_MAX, "without ranges nothing is read");
	is_int(input_expect(in), 0, "and nothing is expected");
	input_close(in);
}

/* Behind the parent's end nothing can be as in the parent. */
static void test_dirty_from(void)
{
	const struct input_range r[] = {{PAGE_SIZE, PAGE_SIZE}, {4 * PAGE_SIZE, 9 * PAGE_SIZE}};
	const char *path = sparse_file("grown", 8 * PAGE_SIZE + 1);
	struct input *in = open_dirty(path, r, 2);

	is_int(input_dirty_from(in, 8 * PAGE_SIZE + 1), 0, "it is as long as its parent");
	is_int(read_frame(in, 0), 6, "then the ranges are all there is");
	is_int(input_dirty_from(in, 6 * PAGE_SIZE - 1), 0, "it is longer");
	is_int(read_frame(in, 0), 6, "and what is behind was to be read already");
	input_close(in);
	in = open_dirty(path, r, 1);
	is_int(input_dirty_from(in, 6 * PAGE_SIZE - 1), 0, "longer, and nobody said so");
	is_int(read_frame(in, 0), 1 + 4, "it is read from the page in which the parent ends");
	is_str(kinds(), "1P1Z3P507Z", "to its end");
	is_int(input_dirty_from(in, 0), 0, "the parent may be empty");
	is_int(read_frame(in, 0), 9, "then all is read");
	input_close(in);
	in = open_dirty(path, NULL, 0);
	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	is_int(input_dirty_from(in, PAGE_SIZE), -ENOMEM, "no memory for the range");
	fault_disarm();
	is_int(read_frame(in, 0), 0, "changes nothing");
	input_close(in);
	in = open_mode(path, INPUT_FULL);
	is_int(input_dirty_from(in, PAGE_SIZE), 0, "other modes");
	is_int(read_frame(in, 0), 0, "do not care");
	input_close(in);
}

static void test_sizes(void)
{
	const uint64_t sizes[] = {0, 1, 4095, 4096, 4097};
	const char *want[] = {"512Z", "1D511Z", "1D511Z", "1D511Z", "2D510Z"};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		const char *path = sparse_file("small", sizes[i]);
		struct input *in;

		if (sizes[i])
			put(path, sizes[i] - 1, "z");
		if (sizes[i] > PAGE_SIZE)
			put(path, 0, "a");
		in = open_mode(path, INPUT_FULL);
		is_int(input_size(in), sizes[i], "%llu bytes are that many",
		       (unsigned long long)sizes[i]);
		is_int(input_next_frame(in, 0), sizes[i] ? 0 : UINT64_MAX, "its first frame");
		ok(read_frame(in, 0) >= 0, "it can be read");
		is_str(kinds(), want[i], "its pages");
		if (sizes[i])
			is_int(buf[sizes[i] - 1], 'z', "its last byte");
		if (sizes[i] % PAGE_SIZE)
			is_int(buf[sizes[i]], 0, "and zeros behind it");
		input_close(in);
	}
}

static void test_huge(void)
{
	const char *path = sparse_file("huge", UINT64_C(1) << 40);
	struct input *in;

	put(path, UINT64_C(900) << 30, "far");
	in = open_mode(path, INPUT_FULL);
	is_int(input_next_frame(in, 0), UINT64_C(900) << 9, "a terabyte of hole is jumped over");
	is_int(read_frame(in, UINT64_C(900) << 9), 1, "what is there is read");
	ok(input_expect(in) <= 1 << 20, "hardly anything is expected");
	is_int(input_next_frame(in, UINT64_MAX >> FRAME_SHIFT), UINT64_MAX,
	       "past the end is nothing");
	input_close(in);
}

static void refused(const char *path, enum input_mode mode, int want, const char *sentence)
{
	struct input *in = (struct input *)-1;
	int rc = input_open(path, mode, NULL, 0, &in, &err);

	is_err(rc, &err, want, sentence, path);
	ok(in == (struct input *)-1, "the output is untouched");
}

static void test_refusals(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	const char *fifo = tap_path("fifo");
	int fd;

	refused(tap_tmpdir(), INPUT_FULL, -EISDIR, "'%s' is a directory");
	refused("/dev/zero", INPUT_FULL, -EINVAL,
		"'%s' is neither a regular file nor a block device");
	refused("/proc/version", INPUT_FULL, -EINVAL, "'%s' does not tell its size");
	refused(tap_path("absent"), INPUT_FULL, -ENOENT,
		"cannot open '%s': No such file or directory");
	if (mkfifo(fifo, 0600) < 0)
		bail("mkfifo");
	refused(fifo, INPUT_FULL, -EINVAL, "'%s' is neither a regular file nor a block device");
	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/socket", tap_tmpdir());
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
		bail("socket");
	refused(sun.sun_path, INPUT_FULL, -ENXIO, "cannot open '%s': No such device or address");
	close(fd);
	input_close(NULL);
}

static void test_changes(void)
{
	const char *path = sparse_file("changing", 2 * FRAME_SIZE);
	struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
	struct input *in;

	put(path, 0, "first");
	put(path, FRAME_SIZE, "second");
	in = open_mode(path, INPUT_FULL);
	if (truncate(path, FRAME_SIZE + 100) < 0)
		bail("truncate");
	is_int(read_frame(in, 0), 1, "what is still there can be read");
	is_err(read_frame(in, 1), &err, -ESTALE, "'%s' became shorter while it was read", path);
	is_err(input_check(in, &err), &err, -ESTALE, "'%s' changed while it was read", path);
	input_close(in);

	for (int i = 0; i < 2; i++) {
		if (utimensat(AT_FDCWD, path, times, 0) < 0)
			bail("utimensat");
		in = open_mode(path, INPUT_FULL);
		*(i ? &times[1].tv_sec : &times[1].tv_nsec) = 5;
		if (utimensat(AT_FDCWD, path, times, 0) < 0)
			bail("utimensat");
		is_err(input_check(in, &err), &err, -ESTALE, "'%s' changed while it was read",
		       path);
		input_close(in);
	}

	in = open_mode(path, INPUT_FULL);
	unlink(path);
	is_int(read_frame(in, 0), 1, "a file that lost its name can be read to the end");
	is_int(input_check(in, &err), 0, "and is what it was");
	input_close(in);
}

static void test_errors(void)
{
	const char *path = sparse_file("bad", FRAME_SIZE);
	struct input *in;

	put(path, 0, "a");
	put(path, 8 * PAGE_SIZE, "b");
	in = open_mode(path, INPUT_FULL);
	fault_arm(FAULT_PREAD, 2, EIO);
	is_err(read_frame(in, 0), &err, -EIO,
	       "cannot read '%s' at offset 32768: Input/output error", path);
	fault_arm(FAULT_PREAD, 1, EINTR);
	is_int(read_frame(in, 0), 2, "an interrupted read is taken up again");
	fault_arm(FAULT_PREAD, 1, FAULT_SHORT);
	is_int(read_frame(in, 0), 2, "a short read is continued");
	is_str((char *)buf + 8 * PAGE_SIZE, "b", "and gives the same");
	fault_disarm();
	input_close(in);

	for (unsigned n = 1; n <= 2; n++) {
		fault_arm(FAULT_MALLOC, n, ENOMEM);
		is_err(input_open(path, INPUT_FULL, NULL, 0, &in, &err), &err, -ENOMEM,
		       "cannot open '%s': Cannot allocate memory", path);
	}
	fault_arm(FAULT_MALLOC, 3, ENOMEM);
	is_err(input_open(path, INPUT_DIRTY, NULL, 0, &in, &err), &err, -ENOMEM,
	       "cannot open '%s': Cannot allocate memory", path);
	fault_disarm();
}

/* A loop device over `path`, or NULL. */
static const char *attach(const char *path)
{
	static char name[32];
	int ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC), n, dev, fd, rc = -1;

	n = ctl < 0 ? -1 : ioctl(ctl, LOOP_CTL_GET_FREE);
	if (ctl >= 0)
		close(ctl);
	if (n < 0)
		return NULL;
	(void)snprintf(name, sizeof(name), "/dev/loop%d", n);
	dev = open(name, O_RDWR | O_CLOEXEC);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (dev >= 0 && fd >= 0)
		rc = ioctl(dev, LOOP_SET_FD, fd);
	if (dev >= 0)
		close(dev);
	if (fd >= 0)
		close(fd);
	return rc < 0 ? NULL : name;
}

static void detach(const char *name)
{
	int dev = open(name, O_RDONLY | O_CLOEXEC);

	if (dev >= 0) {
		(void)ioctl(dev, LOOP_CLR_FD, 0);
		close(dev);
	}
}

static void test_device(void)
{
	const char *path = sparse_file("disk", FRAME_SIZE + 8 * PAGE_SIZE), *dev;
	struct input *in;

	put(path, FRAME_SIZE + PAGE_SIZE, "on the device");
	dev = attach(path);
	if (!dev) {
		tap_skip("no loop device can be had");
		return;
	}
	refused(dev, INPUT_DIFF, -EINVAL,
		"'%s' is a block device: it has no holes, so it cannot be a diff");
	in = open_mode(dev, INPUT_FULL);
	is_int(input_size(in), FRAME_SIZE + 8 * PAGE_SIZE, "a device's size is known");
	is_int(input_next_frame(in, 0), 0, "all of it is read");
	is_int(read_frame(in, 0), 512, "every page");
	is_str(kinds(), "512Z", "zeros are seen");
	is_int(read_frame(in, 1), 8, "to its end");
	is_str(kinds(), "1Z1D510Z", "and data");
	is_str((char *)buf + PAGE_SIZE, "on the device", "as it was written");
	is_int(input_check(in, &err), 0, "a device has no time of change");
	input_close(in);
	detach(dev);
}

/* ---- a source ---- */

/* Pages that say something: the content of each is its number, 0 zeros, 'z' "it is zero". */
struct pages {
	struct input_source source;
	struct {
		uint64_t page;
		char content;
	} v[8];
	size_t n;
};

static uint64_t pages_next(void *ctx, uint64_t page)
{
	const struct pages *p = ctx;

	for (size_t i = 0; i < p->n; i++)
		if (p->v[i].page >= page)
			return p->v[i].page;
	return UINT64_MAX;
}

static int pages_read(void *ctx, uint64_t frame, uint8_t *to, uint8_t *kinds_, struct err *e)
{
	const struct pages *p = ctx;
	int n = 0;

	if (frame == 9)
		return err_set(e, -EIO, "page 9 cannot be read");
	for (size_t i = 0; i < p->n; i++) {
		uint64_t k = p->v[i].page - frame * FRAME_PAGES;

		if (k >= FRAME_PAGES)
			continue;
		kinds_[k] = p->v[i].content == 'z' ? INPUT_PAGE_ZERO : INPUT_PAGE_DATA;
		if (p->v[i].content == 'z')
			continue;
		memset(to + k * PAGE_SIZE, p->v[i].content, PAGE_SIZE);
		n++;
	}
	return n;
}

static struct input *open_pages(struct pages *p, uint64_t size)
{
	struct input *in = NULL;

	p->source = (struct input_source){.size = size, .expect = 12345, .next = pages_next,
					  .read = pages_read, .ctx = p};
	if (input_from(&p->source, &in, &err) < 0)
		bail("input_from: %s", err.text);
	return in;
}

static void test_source(void)
{
	struct pages p = {.v = {{1, 'a'}, {2, 0}, {4, 'z'}, {3 * FRAME_PAGES + 6, 'b'}}, .n = 4};
	struct input *in = open_pages(&p, 3 * (uint64_t)FRAME_SIZE + 6 * PAGE_SIZE + 100);

	is_int(input_size(in), 3 * FRAME_SIZE + 6 * PAGE_SIZE + 100, "a source's size");
	is_int(input_expect(in), 12345, "what it expects");
	is_int(input_next_frame(in, 0), 0, "there is something in frame 0");
	is_int(input_next_frame(in, 1), 3, "frames about which it says nothing are passed over");
	is_int(input_next_frame(in, 4), UINT64_MAX, "to the end");
	is_int(read_frame(in, 0), 2, "pages that were read, of zeros, too");
	is_str(kinds(), "1P1D1Z1P1Z507P", "the rest is the parent's");
	is_int(buf[PAGE_SIZE + 4095], 'a', "data is what the source said");
	is_int(read_frame(in, 1), 0, "of a frame without anything nothing is read");
	is_str(kinds(), "512P", "it is the parent's");
	is_int(read_frame(in, 3), 1, "the last page");
	is_str(kinds(), "6P1D505Z", "behind the end is zero");
	is_int(buf[6 * PAGE_SIZE + 99], 'b', "it has what is before the end");
	is_int(buf[6 * PAGE_SIZE + 100], 0, "and nothing of what is behind");
	is_int(buf[7 * PAGE_SIZE - 1], 0, "to its last byte");
	is_int(input_check(in, &err), 0, "a source does not change");
	is_int(input_dirty_from(in, 0), 0, "and has no ranges");
	input_close(in);
}

static void test_source_ends(void)
{
	struct pages p = {.v = {{9 * FRAME_PAGES, 'a'}}, .n = 1};
	struct input *in = open_pages(&p, 9 * (uint64_t)FRAME_SIZE);

	is_int(input_next_frame(in, 0), UINT64_MAX, "what lies behind the end is not read");
	input_close(in);
	in = open_pages(&p, 9 * (uint64_t)FRAME_SIZE + 1);
	is_int(input_next_frame(in, 0), 9, "but a page of which a byte is before it");
	is_err(read_frame(in, 9), &err, -EIO, "page 9 cannot be read");
	input_close(in);
	in = open_pages(&p, 0);
	is_int(input_next_frame(in, 0), UINT64_MAX, "of nothing nothing is read");
	input_close(in);
	p.source.size = IMAGE_SIZE_MAX + 1;
	is_err(input_from(&p.source, &in, &err), &err, -EFBIG,
	       "281474976710657 bytes are more than an image can have");
	p.source.size = 1;
	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	is_err(input_from(&p.source, &in, &err), &err, -ENOMEM, "out of memory");
	fault_disarm();
}

int main(void)
{
	test_source();
	test_source_ends();
	test_full();
	test_diff();
	test_dirty();
	test_dirty_from();
	test_sizes();
	test_huge();
	test_refusals();
	test_changes();
	test_errors();
	test_device();
	return tap_done();
}
