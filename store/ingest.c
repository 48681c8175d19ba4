/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stages share no state but what the job of a frame carries, with these
 * exceptions: `place` belongs to the stage of that name, `emit` and the
 * append to write, both one thread at a time; the dedup has its own lock.  An
 * image's frames and page counts are place's, its bytes are write's.
 */
#include "store/ingest.h"

#include <stdlib.h>
#include <string.h>

#include "store/append.h"
#include "store/ingest-private.h"
#include "store/input.h"
#include "store/pipeline.h"
#include "store/store.h"

#define TELL_BYTES (8u << 20)

struct worker {
	struct reader reader;
	struct packer packer;
};

struct intake {
	struct ingest *in;
	struct place place;
	struct worker *workers;
	unsigned nslots;
	struct job *jobs;
	/* name */
	size_t image;
	uint64_t frame;
	/* write */
	uint64_t done, told, total;
};

/* ---- name ---- */

/* Where a shorter image ends within a frame of its parent, that frame changes. */
static uint64_t cut_frame(const struct ingest_image *image)
{
	uint64_t size = input_size(image->in);

	if (image->mode == INPUT_FULL || !image->parent || image->parent->size <= size ||
	    size % FRAME_SIZE == 0)
		return UINT64_MAX;
	return size >> FRAME_SHIFT;
}

static uint64_t next_frame(const struct ingest_image *image, uint64_t frame)
{
	uint64_t next = input_next_frame(image->in, frame), cut = cut_frame(image);

	return cut >= frame && cut < next ? cut : next;
}

static int name(void *ctx, unsigned slot, struct err *err)
{
	struct intake *r = ctx;
	struct job *j = &r->jobs[slot];

	(void)err;
	for (; r->image < r->in->nimages; r->image++, r->frame = 0) {
		struct ingest_image *image = &r->in->images[r->image];
		uint64_t frame = next_frame(image, r->frame);

		if (frame >= ingest_place_frames(image))
			continue;
		j->image = image;
		j->frame = frame;
		r->frame = frame + 1;
		return 1;
	}
	return 0;
}

/* ---- read, place, pack ---- */

static int read_job(void *ctx, unsigned slot, unsigned worker, struct err *err)
{
	struct intake *r = ctx;

	return ingest_read(r->in, &r->workers[worker].reader, &r->jobs[slot], err);
}

static int place_job(void *ctx, unsigned slot, struct err *err)
{
	struct intake *r = ctx;

	return ingest_place(&r->place, &r->jobs[slot], err);
}

static int pack_job(void *ctx, unsigned slot, unsigned worker, struct err *err)
{
	struct intake *r = ctx;

	(void)err;
	ingest_pack(&r->workers[worker].packer, &r->jobs[slot]);
	return 0;
}

/* ---- write ---- */

static int write_chunk(struct emit *e, const struct job *j, const struct job_chunk *c,
		       struct err *err)
{
	struct emit_chunk chunk = {.id = c->id, .npages = c->npages, .record = j->buf + c->off,
				   .len = c->len};
	int rc = c->new_seg ? emit_flush(e, err) : 0;

	if (rc == 0)
		rc = emit_chunk(e, &chunk, err);
	for (unsigned i = 0; i < c->npages && rc == 0; i++)
		if (emit_digest(e, &j->digest[j->fresh[c->from + i]]) < 0)
			rc = err_set(err, -ENOMEM, "out of memory");
	j->image->counts.stored_bytes += c->len;
	return rc;
}

static int write_frame(struct emit *e, const struct job *j, struct err *err)
{
	int rc = j->roll ? emit_roll(e, err) : 0;

	for (unsigned i = 0; i < j->nchunks && rc == 0; i++)
		rc = write_chunk(e, j, &j->chunk[i], err);
	if (rc == 0 && j->fid && emit_frame(e, j->fid, &j->frame_digest, &j->map) < 0)
		rc = err_set(err, -ENOMEM, "out of memory");
	if (rc == 0 && j->flush)
		rc = emit_flush(e, err);
	return rc;
}

static int tell(struct intake *r, const struct job *j, struct err *err)
{
	j->image->counts.read_bytes += (uint64_t)j->nread * PAGE_SIZE;
	r->done += (uint64_t)j->nread * PAGE_SIZE;
	if (r->done > r->total)
		r->total = r->done;
	if (r->done - r->told < TELL_BYTES)
		return 0;
	r->told = r->done;
	if (progress_tell(r->in->progress, j->image->name, PROGRESS_BYTES, r->done, r->total) < 0)
		return err_set(err, -ECANCELED, "the commit was cancelled");
	return 0;
}

static int write_job(void *ctx, unsigned slot, struct err *err)
{
	struct intake *r = ctx;
	struct job *j = &r->jobs[slot];
	int rc = write_frame(&r->in->emit, j, err);

	if (rc < 0)
		return rc;
	j->forecast->end = r->in->emit.end;
	j->forecast->end_pack = r->in->append ? r->in->append->w.number : 0;
	return tell(r, j, err);
}

static const struct pipeline_ops stages = {
	.name = name, .read = read_job, .place = place_job, .pack = pack_job, .write = write_job,
};

/* ---- all of it ---- */

static int set_up(struct intake *r)
{
	int rc = 0;

	r->nslots = 2 * r->in->threads + 2;
	if (r->nslots > INGEST_SLOTS_MAX)
		r->nslots = INGEST_SLOTS_MAX;
	r->workers = calloc(r->in->threads, sizeof(*r->workers));
	r->jobs = calloc(r->nslots, sizeof(*r->jobs));
	if (!r->workers || !r->jobs)
		return -ENOMEM;
	for (unsigned i = 0; i < r->nslots; i++) {
		struct job *j = &r->jobs[i];

		j->buf = aligned_alloc(PAGE_SIZE, INGEST_HEADROOM + FRAME_SIZE);
		if (!j->buf)
			return -ENOMEM;
		j->pages = j->buf + INGEST_HEADROOM;
	}
	for (unsigned i = 0; i < r->in->threads && rc == 0; i++)
		rc = ingest_pack_init(&r->workers[i].packer, r->in->store);
	return rc;
}

static void tear_down(struct intake *r)
{
	for (unsigned i = 0; r->workers && i < r->in->threads; i++)
		ingest_pack_fini(&r->workers[i].packer);
	for (unsigned i = 0; r->jobs && i < r->nslots; i++) {
		free(r->jobs[i].buf);
		buf_fini(&r->jobs[i].map);
	}
	free(r->workers);
	free(r->jobs);
	ingest_place_fini(&r->place);
}

static int finish_image(struct ingest_image *image, struct err *err)
{
	uint64_t nframes = ingest_place_frames(image);

	if (ingest_place_gap(image, nframes) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	image->counts.pages = ingest_place_pages(image, 0, nframes);
	image->counts.frames = nframes;
	return input_check(image->in, err);
}

static int run(struct intake *r, struct err *err)
{
	int rc = set_up(r);

	if (rc < 0)
		return err_sys(err, rc, "cannot prepare the commit");
	for (size_t i = 0; i < r->in->nimages; i++)
		r->total += input_expect(r->in->images[i].in);
	rc = pipeline_run(&stages, r, r->nslots, r->in->threads, err);
	if (rc == 0)
		rc = emit_flush(&r->in->emit, err);
	for (size_t i = 0; i < r->in->nimages && rc == 0; i++)
		rc = finish_image(&r->in->images[i], err);
	return rc;
}

int ingest_run(struct ingest *in, struct err *err)
{
	struct intake r = {.in = in};
	int rc;

	emit_init(&in->emit, in->append, in->dedup);
	ingest_place_init(&r.place, in);
	rc = run(&r, err);
	tear_down(&r);
	return rc;
}

void ingest_fini(struct ingest *in)
{
	emit_fini(&in->emit);
	for (size_t i = 0; i < in->nimages; i++)
		runs_fini(&in->images[i].frames);
}
