/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "src/rpc/curl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>

/* One function of it, by name, into a member of struct curl. */
static bool find(void *lib, const char *name, void *member)
{
	void *found = dlsym(lib, name);

	*(void **)member = found;	/* POSIX: what dlsym() gives may be a function */
	return found;
}

#define FIND(name) && find(lib, "curl_" #name, &curl->name)

static bool find_all(void *lib, struct curl *curl)
{
	return true CURL_FUNCTIONS(FIND);
}

/* Stays loaded: what it registers for the program's end would be called in vain. */
static int load(struct curl *curl, struct err *err)
{
	void *lib = dlopen(LIBCURL_SONAME, RTLD_LAZY | RTLD_LOCAL);

	if (!lib || !find_all(lib, curl))
		return err_set(err, -ELIBACC, "cannot load libcurl: %s", dlerror());
	(void)curl->global_init(CURL_GLOBAL_DEFAULT);
	return 0;
}

const struct curl *curl_load(struct err *err)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct curl curl;
	static bool loaded;
	bool ok;

	pthread_mutex_lock(&lock);
	if (!loaded)
		loaded = load(&curl, err) == 0;
	ok = loaded;
	pthread_mutex_unlock(&lock);
	return ok ? &curl : NULL;
}
