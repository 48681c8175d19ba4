/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/agent/reclaim.h"

#include "src/agent/trim.h"
#include "store/base/clock.h"

static int run_trim(const struct step *step, struct err *err)
{
	return trim_all(step->path, err);
}

const struct step reclaim_steps[RECLAIM_NSTEPS] = {
	{"fstrim", run_trim, TRIM_MOUNTINFO, NULL},
	{"sync", step_sync, NULL, NULL},
	{"drop_caches", step_write, "/proc/sys/vm/drop_caches", "3"},
	{"compact_memory", step_write, "/proc/sys/vm/compact_memory", "1"},
};

/* 0: skipped. */
static unsigned cap_of(const json_t *body, const char *name)
{
	const json_t *cap = json_object_get(body, name);
	double ms = json_is_number(cap) ? json_number_value(cap) : 0;

	if (!(ms >= 1))
		return 0;
	return ms > RECLAIM_MAX_MS ? RECLAIM_MAX_MS : (unsigned)ms;
}

static json_t *to_json(const struct step *step, const struct step_outcome *outcome)
{
	json_t *one = json_pack("{s:s, s:s, s:f}", "step", step->name, "result",
				step_name(outcome->result), "elapsed_ms",
				(double)outcome->elapsed_us / 1000);

	if (outcome->result == STEP_FAILED)
		(void)json_object_set_new(one, "error", json_string(outcome->err.text));
	return one;
}

static int run_one(const struct step *step, const json_t *body, const atomic_bool *cancelled,
		   json_t *list)
{
	unsigned cap_ms = cap_of(body, step->name);
	struct step_outcome outcome;
	int rc;

	if (cancelled && atomic_load(cancelled))
		return -ECANCELED;
	if (cap_ms == 0)
		return 0;
	rc = step_run(step, cap_ms, cancelled, &outcome);
	if (rc < 0)
		return rc;
	return json_array_append_new(list, to_json(step, &outcome)) < 0 ? -ENOMEM : 0;
}

int reclaim_with(const struct step *steps, const json_t *body, const atomic_bool *cancelled,
		 json_t **ret, struct err *err)
{
	uint64_t began = clock_us();
	int order[RECLAIM_NSTEPS], rc;
	json_t *list;

	if (!json_is_object(body))
		return err_set(err, -EINVAL, "the body is not an object");
	rc = reclaim_order_parse(json_object_get(body, "order"), order, err);
	if (rc < 0)
		return rc;
	list = json_array();
	for (int i = 0; i < RECLAIM_NSTEPS && rc == 0; i++)
		rc = run_one(&steps[order[i]], body, cancelled, list);
	if (rc < 0) {
		json_decref(list);
		return err_sys(err, rc, "reclaim has ended early");
	}
	*ret = json_pack("{s:o, s:f}", "steps", list, "elapsed_ms",
			 (double)(clock_us() - began) / 1000);
	return *ret ? 0 : err_set(err, -ENOMEM, "no memory for the answer");
}

int reclaim_run(const json_t *body, const atomic_bool *cancelled, json_t **ret, struct err *err)
{
	return reclaim_with(reclaim_steps, body, cancelled, ret, err);
}
