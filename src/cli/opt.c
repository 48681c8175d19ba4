/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/opt.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/fmt.h"
#include "store/base/vec.h"

/* getopt's answer for option number i; above every letter. */
#define VAL_BASE 256

/* What getopt_long() wants, made from the tables. */
struct plan {
	const struct opt *opt[OPT_MAX];
	void *to[OPT_MAX];
	int n;
	struct option longs[OPT_MAX + 1];
	char shorts[2 + 3 * OPT_MAX + 1];
};

static int argument_of(const struct opt *opt)
{
	if (opt->kind == OPT_FLAG)
		return no_argument;
	return opt->kind == OPT_MAYBE ? optional_argument : required_argument;
}

static char *add_letter(char *end, const struct opt *opt)
{
	if (!opt->letter)
		return end;
	*end++ = opt->letter;
	for (int colons = argument_of(opt); colons > 0; colons--)
		*end++ = ':';
	return end;
}

static void make_plan(const struct opt_parser *p, struct plan *plan)
{
	char *end = plan->shorts;

	memset(plan, 0, sizeof(*plan));
	if (p->stop)
		*end++ = '+';
	*end++ = ':';
	for (int s = 0; s < OPT_SETS; s++) {
		for (const struct opt *o = p->set[s].opts; o && o->kind != OPT_END; o++) {
			int i = plan->n++;

			assert(i < OPT_MAX);
			plan->opt[i] = o;
			plan->to[i] = (char *)p->set[s].to + o->to;
			plan->longs[i] = (struct option){o->name, argument_of(o), NULL,
							 VAL_BASE + i};
			end = add_letter(end, o);
		}
	}
}

/* The option that getopt answered with, or -1. */
static int plan_find(const struct plan *plan, int val)
{
	if (val >= VAL_BASE && val < VAL_BASE + plan->n)
		return val - VAL_BASE;
	for (int i = 0; i < plan->n; i++)
		if (val && plan->opt[i]->letter == val)
			return i;
	return -1;
}

static int bad_value(const struct opt *opt, const char *text, const char *want, struct err *err)
{
	return err_set(err, -EINVAL, "--%s: '%s' is not %s", opt->name, text, want);
}

static int set_count(const struct opt *opt, const char *text, unsigned *to, struct err *err)
{
	uint64_t v;

	if (fmt_parse_u64(text, &v) < 0 || v == 0 || v > INT32_MAX)
		return bad_value(opt, text, "a number above 0", err);
	*to = (unsigned)v;
	return 0;
}

static int set_ratio(const struct opt *opt, const char *text, double *to, struct err *err)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end || !(v > 0 && v <= 1))
		return bad_value(opt, text, "a ratio above 0, at most 1", err);
	*to = v;
	return 0;
}

static int set_value(const struct opt *opt, const char *text, void *to, struct err *err)
{
	struct opt_word word = {opt, text};

	switch (opt->kind) {
	case OPT_FLAG:
		*(bool *)to = true;
		return 0;
	case OPT_TEXT:
	case OPT_MAYBE:
		*(const char **)to = text ? text : "";
		return 0;
	case OPT_COUNT:
		return set_count(opt, text, to, err);
	case OPT_RATIO:
		return set_ratio(opt, text, to, err);
	case OPT_WORDS:
		if (vec_push((struct opt_words *)to, word) < 0)
			return err_set(err, -ENOMEM, "--%s: out of memory", opt->name);
		return 0;
	case OPT_END:
		break;
	}
	return -EINVAL;
}

static int bad_option(const struct plan *plan, const char *word, struct err *err)
{
	int i = plan_find(plan, optopt);

	if (i >= 0)
		return err_set(err, -EINVAL, "option '--%s' takes no argument",
			       plan->opt[i]->name);
	if (optopt)
		return err_set(err, -EINVAL, "unknown option '-%c'", optopt);
	return err_set(err, -EINVAL, "unknown or ambiguous option '%s'", word);
}

int opt_parse(const struct opt_parser *p, int argc, char **argv, struct err *err)
{
	struct plan plan;
	int val, i, rc;

	make_plan(p, &plan);
	opterr = 0;
	optind = 0;	/* glibc: forget the last argv */
	while ((val = getopt_long(argc, argv, plan.shorts, plan.longs, NULL)) != -1) {
		if (val == '?')
			return bad_option(&plan, argv[optind - 1], err);
		i = plan_find(&plan, val == ':' ? optopt : val);
		assert(i >= 0);
		if (val == ':')
			return err_set(err, -EINVAL, "option '--%s' wants %s",
				       plan.opt[i]->name, plan.opt[i]->arg);
		rc = set_value(plan.opt[i], optarg, plan.to[i], err);
		if (rc < 0)
			return rc;
	}
	return optind;
}

void opt_fini(const struct opt_set *set)
{
	for (const struct opt *o = set->opts; o && o->kind != OPT_END; o++) {
		if (o->kind != OPT_WORDS)
			continue;
		vec_fini((struct opt_words *)((char *)set->to + o->to));
	}
}

const struct opt *opt_find(const struct opt *opts, const char *name)
{
	for (; opts && opts->kind != OPT_END; opts++)
		if (!strcmp(opts->name, name))
			return opts;
	return NULL;
}
