/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Records are gathered in `buf` and written in large pieces:
 *
 *	[0, end - buf_len) is in the file, [end - buf_len, end) in buf
 *
 * A put either appends its whole record or changes nothing of that, so that it
 * may be tried again after ENOSPC.  What a crash leaves behind the published
 * end is cut by the next pack_append_at() or replaced by pack_create().  After
 * a failed fsync nobody knows what the disk holds: the pack is `failed`, and
 * every later put and sync is refused.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/pack-private.h"

#define WRITE_LEN (1u << 20)

static int writer_init(struct packs *packs, uint32_t number, int fd, struct pack_writer *ret,
		       struct err *err)
{
	*ret = (struct pack_writer){.packs = packs, .number = number, .fd = fd};
	ret->buf = malloc(WRITE_LEN);
	return ret->buf ? 0 : err_set(err, -ENOMEM, "out of memory");
}

int pack_create(struct packs *packs, uint32_t number, struct pack_writer *ret, struct err *err)
{
	struct pack_header h = {.number = number, .params = packs->params};
	struct pack_writer w;
	int fd, rc;

	packs_forget(packs, number);
	fd = pack_open(packs, number, O_RDWR | O_CREAT | O_TRUNC, err);
	if (fd < 0)
		return fd;
	rc = writer_init(packs, number, fd, &w, err);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	memcpy(h.uuid, packs->uuid, sizeof(h.uuid));
	pack_header_encode(&h, w.buf);
	w.created = true;
	w.end = w.buf_len = PACK_HEADER_LEN;
	*ret = w;
	return 0;
}

static int cut(int fd, uint32_t number, uint64_t end, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, -errno, "cannot stat pack %08x", number);
	if ((uint64_t)st.st_size < end)
		return err_set(err, -EBADMSG, "pack %08x ends before byte %llu", number,
			       (unsigned long long)end);
	if ((uint64_t)st.st_size > end && ftruncate(fd, (off_t)end) < 0)
		return err_sys(err, -errno, "cannot cut pack %08x", number);
	return 0;
}

static int check_appendable(struct packs *packs, int fd, uint32_t number, uint64_t end,
			    struct err *err)
{
	struct pack_header h;
	int rc = pack_check(packs, fd, number, &h, err);

	if (rc < 0)
		return rc;
	if (h.rocompat & ~PACK_ROCOMPAT_KNOWN)
		return err_set(err, -EPROTONOSUPPORT,
			       "pack %08x may only be read: it needs a newer lamina (features %#x)",
			       number, h.rocompat & ~PACK_ROCOMPAT_KNOWN);
	return cut(fd, number, end, err);
}

int pack_append_at(struct packs *packs, uint32_t number, uint64_t end, struct pack_writer *ret,
		   struct err *err)
{
	struct pack_writer w;
	int fd = pack_open(packs, number, O_RDWR, err), rc;

	if (fd < 0)
		return fd;
	rc = check_appendable(packs, fd, number, end, err);
	if (rc == 0)
		rc = writer_init(packs, number, fd, &w, err);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	w.end = end;
	*ret = w;
	return 0;
}

static int write_at(struct pack_writer *w, const void *data, size_t len, uint64_t off,
		    struct err *err)
{
	int rc = io_pwrite_all(w->fd, data, len, off);

	if (rc < 0)
		return err_sys(err, rc, "cannot write pack %08x", w->number);
	/* Starts the writing now: the fsync at the end has less to wait for. */
	(void)sync_file_range(w->fd, (off_t)off, (off_t)len, SYNC_FILE_RANGE_WRITE);
	return 0;
}

static int flush(struct pack_writer *w, struct err *err)
{
	int rc;

	if (w->failed)
		return err_set(err, -EIO, "pack %08x could not be synced: it is not written again",
			       w->number);
	rc = w->buf_len ? write_at(w, w->buf, w->buf_len, w->end - w->buf_len, err) : 0;
	if (rc == 0)
		w->buf_len = 0;
	return rc;
}

static void gather(struct pack_writer *w, const void *data, size_t len)
{
	if (len)
		memcpy(w->buf + w->buf_len, data, len);
	w->buf_len += len;
	w->end += len;
}

/* What is larger than the buffer goes past it, once that is empty. */
static int write_through(struct pack_writer *w, const struct iovec piece[2], struct err *err)
{
	uint64_t off = w->end;
	int rc = 0;

	for (int i = 0; i < 2 && rc == 0; i++) {
		rc = write_at(w, piece[i].iov_base, piece[i].iov_len, off, err);
		off += piece[i].iov_len;
	}
	if (rc == 0)
		w->end = off;
	return rc;
}

/* Two pieces one behind the other: both or nothing. */
static int append(struct pack_writer *w, const struct iovec piece[2], uint64_t *ret_off,
		  struct err *err)
{
	size_t len = piece[0].iov_len + piece[1].iov_len;
	uint64_t off = w->end;
	int rc = 0;

	if (w->failed || len > WRITE_LEN - w->buf_len)
		rc = flush(w, err);
	if (rc == 0 && len > WRITE_LEN)
		rc = write_through(w, piece, err);
	else if (rc == 0)
		for (int i = 0; i < 2; i++)
			gather(w, piece[i].iov_base, piece[i].iov_len);
	if (rc == 0 && ret_off)
		*ret_off = off;
	return rc;
}

int pack_put(struct pack_writer *w, const struct record *r, const void *payload, uint64_t *ret_off,
	     struct err *err)
{
	uint8_t header[RECORD_HEADER_LEN];
	struct iovec piece[2] = {
		{.iov_base = header, .iov_len = sizeof(header)},
		{.iov_base = (void *)payload, .iov_len = r->len},
	};

	record_encode(w->packs->seed, r, payload, header);
	return append(w, piece, ret_off, err);
}

int pack_put_raw(struct pack_writer *w, const void *bytes, size_t len, uint64_t *ret_off,
		 struct err *err)
{
	struct iovec piece[2] = {{.iov_base = (void *)bytes, .iov_len = len}};

	return append(w, piece, ret_off, err);
}

int pack_sync(struct pack_writer *w, struct err *err)
{
	int rc = flush(w, err);

	if (rc < 0)
		return rc;
	rc = io_fsync(w->fd);
	if (rc == 0 && w->created)
		rc = io_fsync_dir(w->packs->dirfd, ".");
	if (rc < 0) {
		w->failed = true;
		return err_sys(err, rc, "cannot sync pack %08x", w->number);
	}
	w->created = false;
	return 0;
}

void pack_close(struct pack_writer *w)
{
	if (!w->buf)
		return;
	close(w->fd);
	free(w->buf);
	*w = (struct pack_writer){.fd = -1};
}

void pack_abort(struct pack_writer *w, uint64_t end)
{
	if (!w->buf)
		return;
	/* What cannot be cut now is cut by the next writer. */
	if (w->created || end == 0)
		(void)packs_unlink(w->packs, w->number, NULL);
	else
		(void)!ftruncate(w->fd, (off_t)end);
	pack_close(w);
}
