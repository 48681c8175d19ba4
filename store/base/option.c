/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/option.h"

#include <getopt.h>

int option_bad(char *const *argv, int letter, struct err *err)
{
	const char *word = argv[optind - 1];

	if (letter == ':')
		return err_set(err, -EINVAL, "option '%s' needs an argument", word);
	if (optopt && (word[0] != '-' || word[1] != '-'))
		return err_set(err, -EINVAL, "unknown option '-%c'", optopt);
	return err_set(err, -EINVAL, "unknown or ambiguous option '%s'", word);
}
