/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * index-fixture: what the tests of the index share.
 */
#ifndef LAMINA_TESTS_UNIT_INDEX_FIXTURE_H
#define LAMINA_TESTS_UNIT_INDEX_FIXTURE_H

#include <sqlite3.h>

#include "store/index.h"
#include "tests/tap.h"

static struct err err;

TAP_FN const char *new_path(void)
{
	static int n;
	static char name[32];

	(void)snprintf(name, sizeof(name), "index-%d.db", n++);
	return tap_path(name);
}

TAP_FN struct index *new_index(const char *path)
{
	struct index *ix;

	if (index_open(path, INDEX_CREATE, &ix, &err) < 0)
		bail("cannot make an index: %s", err.text);
	return ix;
}

/* Behind the index's back. */
TAP_FN void sql(const char *path, const char *text)
{
	sqlite3 *db;
	char *why = NULL;

	if (sqlite3_open(path, &db) != SQLITE_OK ||
	    sqlite3_exec(db, text, NULL, NULL, &why) != SQLITE_OK)
		bail("'%s': %s", text, why ? why : "cannot open");
	(void)sqlite3_close(db);
}

#endif
