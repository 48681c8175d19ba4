/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tables, and how a file of an older lamina becomes one of this.
 *
 * The texts below are compared with those in a file when it is opened, so
 * nothing that was changed behind our back (a trigger, another column) is ever
 * run or written to.  A change of any of them is a new schema version.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/index-private.h"

struct object {
	const char *name;
	const char *sql;
};

/* Frame maps and chunk tables come last in their rows: the rest is read without them. */
static const struct object objects[] = {
	{"meta", "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL, "
		  "crc INTEGER NOT NULL) WITHOUT ROWID"},
	{"pack", "CREATE TABLE pack(number INTEGER PRIMARY KEY, published INTEGER NOT NULL, "
		  "next_ord INTEGER NOT NULL, sealed INTEGER NOT NULL, crc INTEGER NOT NULL)"},
	{"seg", "CREATE TABLE seg(first INTEGER PRIMARY KEY, span INTEGER NOT NULL, "
		 "pack INTEGER NOT NULL, off INTEGER NOT NULL, dig_off INTEGER NOT NULL, "
		 "dig_len INTEGER NOT NULL, crc INTEGER NOT NULL, chunks BLOB NOT NULL)"},
	{"hook", "CREATE TABLE hook(key INTEGER PRIMARY KEY, seg INTEGER NOT NULL)"},
	{"frame", "CREATE TABLE frame(fid INTEGER PRIMARY KEY, key INTEGER NOT NULL, "
		   "digest BLOB NOT NULL, pack INTEGER NOT NULL, crc INTEGER NOT NULL, "
		   "runs BLOB NOT NULL)"},
	{"frame_key", "CREATE INDEX frame_key ON frame(key)"},
	{"layer", "CREATE TABLE layer(id BLOB NOT NULL UNIQUE, seq INTEGER NOT NULL, "
		   "pack INTEGER NOT NULL, crc INTEGER NOT NULL, manifest BLOB NOT NULL)"},
	{"layer_seq", "CREATE INDEX layer_seq ON layer(seq)"},
	{"decision", "CREATE TABLE decision(kind INTEGER NOT NULL, key BLOB NOT NULL, "
		      "seq INTEGER NOT NULL, pack INTEGER NOT NULL, opack INTEGER NOT NULL, "
		      "crc INTEGER NOT NULL, value BLOB, UNIQUE(kind, key))"},
};
#define NOBJECTS (sizeof(objects) / sizeof(objects[0]))

static int set_pragma(struct index *ix, const char *name, unsigned value, struct err *err)
{
	char sql[64];

	(void)snprintf(sql, sizeof(sql), "PRAGMA %s=%u", name, value);
	return index_query_exec(ix, sql, err);
}

static int create_all(struct index *ix, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < NOBJECTS && rc == 0; i++)
		rc = index_query_exec(ix, objects[i].sql, err);
	if (rc == 0)
		rc = set_pragma(ix, "application_id", INDEX_APPLICATION_ID, err);
	if (rc == 0)
		rc = set_pragma(ix, "user_version", INDEX_SCHEMA_VERSION, err);
	if (rc == 0)
		rc = index_meta_set_u64(ix, "compat", 0, err);
	if (rc == 0)
		rc = index_meta_set_u64(ix, "rocompat", 0, err);
	if (rc == 0)
		rc = index_meta_set_u64(ix, "incompat", INDEX_INCOMPAT_KNOWN, err);
	return rc;
}

int index_schema_create(struct index *ix, struct err *err)
{
	int rc = index_query_exec(ix, "PRAGMA page_size=4096; PRAGMA auto_vacuum=INCREMENTAL;"
				"PRAGMA journal_mode=WAL", err);

	if (rc == 0)
		rc = index_begin(ix, err);
	if (rc < 0)
		return rc;
	rc = create_all(ix, err);
	if (rc == 0)
		return index_commit(ix, err);
	index_abort(ix);
	return rc;
}

static const char *sql_of(const char *name)
{
	for (size_t i = 0; i < NOBJECTS; i++)
		if (strcmp(objects[i].name, name) == 0)
			return objects[i].sql;
	return "";
}

/* Every object in the file is one of ours, and none is missing. */
static int check_objects(struct index *ix, struct err *err)
{
	struct index_query q;
	uint64_t twice = 0;
	size_t n = 0;
	int rc = index_query_ask(ix, "SELECT count(*) - count(DISTINCT rootpage) "
				     "FROM sqlite_schema", &twice, err);

	if (rc < 0)
		return rc;
	index_query_begin(&q, ix, INDEX_ONCE,
			  "SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'");
	while (index_query_step(&q)) {
		const char *name = (const char *)sqlite3_column_text(q.stmt, 0);
		const char *sql = (const char *)sqlite3_column_text(q.stmt, 1);

		if (!name || !sql || strcmp(sql, sql_of(name)) != 0)
			index_query_damaged(&q, "its tables are not as they were made");
		n++;
	}
	if (twice)
		index_query_damaged(&q, "two of its tables are at one place");
	if (n != NOBJECTS)
		index_query_damaged(&q, "it has %zu tables and indexes instead of %zu", n,
				    NOBJECTS);
	return index_query_end(&q, err);
}

int index_schema_check(struct index *ix, struct err *err)
{
	uint64_t application, version;
	int rc = index_query_ask(ix, "PRAGMA application_id", &application, err);

	if (rc == 0)
		rc = index_query_ask(ix, "PRAGMA user_version", &version, err);
	if (rc < 0)
		return rc;
	if (application != INDEX_APPLICATION_ID || version == 0)
		return err_set(err, -EMEDIUMTYPE, "'%s' is not a lamina index", ix->path);
	if (version > INDEX_SCHEMA_VERSION)
		return err_set(err, -EPROTONOSUPPORT,
			       "index '%s' was written by a newer lamina "
			       "(schema %llu, this one knows %u)",
			       ix->path, (unsigned long long)version, INDEX_SCHEMA_VERSION);
	ix->version = (unsigned)version;
	return ix->version == INDEX_SCHEMA_VERSION ? check_objects(ix, err) : 0;
}

/* SQLite's own copy: consistent whatever is in the WAL, and durable. */
static int copy_to(struct index *ix, const char *path, struct err *err)
{
	sqlite3_backup *backup;
	sqlite3 *copy = NULL;
	int rc = sqlite3_open_v2(path, &copy, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_exec(copy, "PRAGMA synchronous=FULL", NULL, NULL, NULL);
	if (rc == SQLITE_OK) {
		backup = sqlite3_backup_init(copy, "main", ix->db, "main");
		(void)sqlite3_backup_step(backup, -1);
		rc = backup ? sqlite3_backup_finish(backup) : sqlite3_errcode(copy);
	}
	if (rc != SQLITE_OK)
		rc = err_set(err, rc == SQLITE_FULL ? -ENOSPC : -EIO,
			     "cannot copy index '%s' to '%s': %s", ix->path, path,
			     sqlite3_errstr(rc));
	(void)sqlite3_close(copy);
	return rc;
}

static int keep_copy(struct index *ix, struct err *err)
{
	char *path;
	int rc;

	if (asprintf(&path, "%s.v%u", ix->path, ix->version) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	rc = copy_to(ix, path, err);
	free(path);
	return rc;
}

static int run_step(struct index *ix, const struct index_step *steps, size_t nsteps, unsigned from,
		    struct err *err)
{
	for (size_t i = 0; i < nsteps; i++)
		if (steps[i].from == from)
			return steps[i].run(ix, err);
	return err_set(err, -EPROTONOSUPPORT, "index '%s' has schema %u, which is no longer known",
		       ix->path, from);
}

static int run_steps(struct index *ix, const struct index_step *steps, size_t nsteps,
		     unsigned target, struct err *err)
{
	int rc = 0;

	for (unsigned v = ix->version; v < target && rc == 0; v++)
		rc = run_step(ix, steps, nsteps, v, err);
	if (rc == 0)
		rc = set_pragma(ix, "user_version", target, err);
	return rc;
}

int index_schema_migrate(struct index *ix, const struct index_step *steps, size_t nsteps,
			 unsigned target, struct err *err)
{
	int rc;

	if (ix->version >= target)
		return 0;
	rc = keep_copy(ix, err);
	if (rc == 0)
		rc = index_begin(ix, err);
	if (rc < 0)
		return rc;
	rc = run_steps(ix, steps, nsteps, target, err);
	if (rc == 0)
		rc = index_commit(ix, err);
	index_abort(ix);
	if (rc == 0)
		ix->version = target;
	return rc;
}
