/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/rpc/address.h"

#include <stdio.h>
#include <string.h>

#include "store/base/fmt.h"

static int take_port(const char *text, uint32_t max, struct address *a, struct err *err)
{
	uint64_t port;

	if (fmt_parse_u64(text, &port) < 0 || port > max)
		return err_set(err, -EINVAL, "'%s' is no port: a number from 1 to %u", text, max);
	a->port = (uint32_t)port;
	return 0;
}

static int take_path(const char *path, size_t len, struct address *a, struct err *err)
{
	if (len == 0)
		return err_set(err, -EINVAL, "an address without the path of its socket");
	if (len >= sizeof(a->path))
		return err_set(err, -ENAMETOOLONG,
			       "'%.*s': the path of a socket has at most %zu characters",
			       (int)(len > 300 ? 300 : len), path, sizeof(a->path) - 1);
	memcpy(a->path, path, len);
	a->path[len] = '\0';
	return 0;
}

static int take_unix(const char *text, struct address *a, struct err *err)
{
	a->kind = ADDRESS_UNIX;
	return take_path(text, strlen(text), a, err);
}

int address_unix(const char *path, struct address *ret, struct err *err)
{
	struct address a = {0};
	int rc = take_unix(path, &a, err);

	if (rc == 0)
		*ret = a;
	return rc;
}

/* The last ':' of `text`, behind which the port is. */
static const char *find_port(const char *text, const char *form, struct err *err)
{
	const char *colon = strrchr(text, ':');

	if (!colon)
		(void)err_set(err, -EINVAL, "'%.300s' lacks a port: it is written %s", text, form);
	return colon;
}

static int take_hybrid(const char *text, struct address *a, struct err *err)
{
	const char *colon = find_port(text, "hybrid:PATH:PORT", err);
	int rc;

	if (!colon)
		return -EINVAL;
	a->kind = ADDRESS_HYBRID;
	rc = take_path(text, (size_t)(colon - text), a, err);
	return rc < 0 ? rc : take_port(colon + 1, UINT32_MAX - 1, a, err);
}

static int take_vsock(const char *text, struct address *a, struct err *err)
{
	const char *colon = find_port(text, "vsock:CID:PORT", err);
	char cid[16];
	uint64_t number = ADDRESS_CID_ANY;
	int n;

	if (!colon)
		return -EINVAL;
	a->kind = ADDRESS_VSOCK;
	n = snprintf(cid, sizeof(cid), "%.*s", (int)(colon - text), text);
	if (n >= (int)sizeof(cid) || (strcmp(cid, "any") != 0 && (fmt_parse_u64(cid, &number) < 0 ||
								   number >= ADDRESS_CID_ANY)))
		return err_set(err, -EINVAL, "'%.*s' is no CID: a number, or 'any' to listen",
			       (int)(colon - text > 300 ? 300 : colon - text), text);
	a->cid = (uint32_t)number;
	return take_port(colon + 1, UINT32_MAX - 1, a, err);
}

static int take_tcp(const char *text, struct address *a, struct err *err)
{
	const char *colon = find_port(text, "tcp:HOST:PORT", err), *host = text;
	size_t len;

	if (!colon)
		return -EINVAL;
	a->kind = ADDRESS_TCP;
	len = (size_t)(colon - text);
	if (len >= 2 && text[0] == '[' && colon[-1] == ']') {
		host++;
		len -= 2;
	} else if (memchr(text, ':', len)) {
		return err_set(err, -EINVAL, "'%.300s': an IPv6 address is in brackets", text);
	}
	if (len == 0 || len >= sizeof(a->host))
		return err_set(err, -EINVAL, "'%.300s': a host's name has 1 to %zu characters",
			       text, sizeof(a->host) - 1);
	memcpy(a->host, host, len);
	a->host[len] = '\0';
	return take_port(colon + 1, UINT16_MAX, a, err);
}

int address_parse(const char *text, struct address *ret, struct err *err)
{
	static const struct {
		const char *prefix;
		int (*take)(const char *text, struct address *a, struct err *err);
	} kinds[] = {
		{"unix:", take_unix},
		{"tcp:", take_tcp},
		{"vsock:", take_vsock},
		{"hybrid:", take_hybrid},
	};
	struct address a = {0};
	int rc;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		size_t len = strlen(kinds[i].prefix);

		if (strncmp(text, kinds[i].prefix, len) != 0)
			continue;
		rc = kinds[i].take(text + len, &a, err);
		if (rc == 0)
			*ret = a;
		return rc < 0 ? -EINVAL : 0;
	}
	return err_set(err, -EINVAL, "'%.300s' is no address: unix:PATH, tcp:HOST:PORT, "
		       "vsock:CID:PORT or hybrid:PATH:PORT", text);
}

void address_format(const struct address *a, char ret[ADDRESS_TEXT_SIZE])
{
	const char *form = strchr(a->host, ':') ? "tcp:[%s]:%u" : "tcp:%s:%u";

	if (a->kind == ADDRESS_UNIX)
		(void)snprintf(ret, ADDRESS_TEXT_SIZE, "unix:%s", a->path);
	else if (a->kind == ADDRESS_HYBRID)
		(void)snprintf(ret, ADDRESS_TEXT_SIZE, "hybrid:%s:%u", a->path, a->port);
	else if (a->kind == ADDRESS_TCP)
		(void)snprintf(ret, ADDRESS_TEXT_SIZE, form, a->host, a->port);
	else if (a->cid == ADDRESS_CID_ANY)
		(void)snprintf(ret, ADDRESS_TEXT_SIZE, "vsock:any:%u", a->port);
	else
		(void)snprintf(ret, ADDRESS_TEXT_SIZE, "vsock:%u:%u", a->cid, a->port);
}

int address_peer(int fd, struct ucred *ret)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
		return -errno;
	*ret = who;
	return 0;
}
