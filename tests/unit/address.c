/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/rpc/address.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "tests/unit/wire.h"

static struct err err;

/* ---- words ---- */

static void reads(const char *text, const char *want)
{
	char got[ADDRESS_TEXT_SIZE] = "";
	struct address a;

	if (is_int(address_parse(text, &a, &err), 0, "'%s' is an address", text))
		address_format(&a, got);
	is_str(got, want, "and reads so");
}

static void refuses(const char *text, const char *want)
{
	struct address a = {.port = 77};

	is_err(address_parse(text, &a, &err), &err, -EINVAL, "%s", want);
	is_int(a.port, 77, "which leaves nothing");
}

static void test_words(void)
{
	struct address a;

	reads("unix:/run/x.sock", "unix:/run/x.sock");
	reads("unix:a:b", "unix:a:b");
	reads("tcp:localhost:80", "tcp:localhost:80");
	reads("tcp:[::1]:1052", "tcp:[::1]:1052");
	reads("tcp:0.0.0.0:0", "tcp:0.0.0.0:0");
	reads("vsock:any:1052", "vsock:any:1052");
	reads("vsock:3:4294967294", "vsock:3:4294967294");
	reads("hybrid:/srv/v.sock:1052", "hybrid:/srv/v.sock:1052");
	reads("hybrid:a:b:1", "hybrid:a:b:1");
	is_int(address_parse("tcp:[::1]:9", &a, NULL), 0, "an IPv6 address");
	is_str(a.host, "::1", "is kept without its brackets");
	refuses("/run/x.sock", "'/run/x.sock' is no address: unix:PATH, tcp:HOST:PORT, "
			       "vsock:CID:PORT or hybrid:PATH:PORT");
	refuses("unix:", "an address without the path of its socket");
	refuses("hybrid::52", "an address without the path of its socket");
	refuses("tcp:localhost", "'localhost' lacks a port: it is written tcp:HOST:PORT");
	refuses("vsock:52", "'52' lacks a port: it is written vsock:CID:PORT");
	refuses("hybrid:/a", "'/a' lacks a port: it is written hybrid:PATH:PORT");
	refuses("tcp:h:65536", "'65536' is no port: a number from 1 to 65535");
	refuses("tcp:h:-1", "'-1' is no port: a number from 1 to 65535");
	refuses("tcp:h:", "'' is no port: a number from 1 to 65535");
	refuses("vsock:3:4294967295", "'4294967295' is no port: a number from 1 to 4294967294");
	refuses("tcp:::1:80", "'::1:80': an IPv6 address is in brackets");
	refuses("tcp::80", "':80': a host's name has 1 to 255 characters");
	refuses("vsock:host:1", "'host' is no CID: a number, or 'any' to listen");
	refuses("vsock:4294967295:1", "'4294967295' is no CID: a number, or 'any' to listen");
}

static void test_long(void)
{
	char text[700] = "unix:";
	struct address a;

	memset(text + 5, 'a', 108);
	is_int(address_parse(text, &a, &err), -EINVAL, "a path one too long");
	ok(strstr(err.text, "has at most 107 characters"), "says how long");
	text[5 + 107] = '\0';
	is_int(address_parse(text, &a, &err), 0, "one less");
	is_int(strlen(a.path), 107, "is whole");
	is_int(address_unix(text + 5, &a, &err), 0, "as a plain path, too");
	memset(text + 5, 'a', 600);
	is_int(address_unix(text + 5, &a, &err), -ENAMETOOLONG, "a much longer one");
	memcpy(text, "tcp:a", 5);
	memcpy(text + 400, ":80", 4);
	is_int(address_parse(text, &a, &err), -EINVAL, "a host's name that is too long");
}

/* ---- listening ---- */

static struct address parsed(const char *fmt, const char *arg)
{
	char text[256];
	struct address a;

	(void)snprintf(text, sizeof(text), fmt, arg);
	if (address_parse(text, &a, &err) < 0)
		bail("%s", err.text);
	return a;
}

static bool is_cloexec(int fd)
{
	return fcntl(fd, F_GETFD) & FD_CLOEXEC;
}

static void test_unix(void)
{
	const char *path = tap_path("sock");
	struct address a = parsed("unix:%s", path);
	int fd = address_listen(&a, 0600, &err), second, client;
	struct stat st;

	ok(fd >= 0 && is_cloexec(fd), "a unix socket is listened on");
	ok(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600, "with its mode");
	is_err(address_listen(&a, 0600, &err), &err, -EADDRINUSE,
	       "somebody listens on '%s' already", path);
	client = address_connect(&a, 5000, NULL, &err);
	ok(client >= 0 && is_cloexec(client), "it is connected to");
	ok(!(fcntl(client, F_GETFL) & O_NONBLOCK), "by a descriptor that blocks");
	is_int(accept4(fd, NULL, NULL, SOCK_NONBLOCK) >= 0, 1, "that connection is the only one");
	is_int(fcntl(fd, F_SETFL, O_NONBLOCK), 0, "whoever asked whether it is used");
	is_int(accept(fd, NULL, NULL), -1, "was not noticed");
	close(client);
	close(fd);
	is_err(address_connect(&a, 5000, NULL, &err), &err, -ECONNREFUSED,
	       "nobody listens on 'unix:%s'", path);
	second = address_listen(&a, 0666, &err);
	ok(second >= 0, "a dead one is replaced");
	ok(stat(path, &st) == 0 && (st.st_mode & 07777) == 0666, "with the other mode");
	is_err(address_clear(path, &err), &err, -EADDRINUSE, "somebody listens on '%s' already",
	       path);
	close(second);
	is_int(address_clear(path, &err), 0, "a dead one is removed");
	is_int(stat(path, &st), -1, "and gone");
	is_int(address_clear(path, &err), 0, "none need not be");
	is_err(address_connect(&a, 5000, NULL, &err), &err, -ENOENT, "there is no socket '%s'",
	       path);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	is_err(address_listen(&a, 0600, &err), &err, -EEXIST,
	       "cannot listen on '%s': it is there and no socket", path);
	is_err(address_clear(path, &err), &err, -EEXIST, "'%s' is there and no socket", path);
	ok(stat(path, &st) == 0 && S_ISREG(st.st_mode), "a file is left alone");
}

static unsigned port_of(int fd)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		bail("no name");
	return addr.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&addr)->sin6_port) :
					    ntohs(((struct sockaddr_in *)&addr)->sin_port);
}

static void test_tcp(void)
{
	struct address a = parsed("tcp:127.0.0.1:%s", "0");
	int fd = address_listen(&a, 0, &err), client;

	ok(fd >= 0 && is_cloexec(fd), "a TCP port is listened on");
	is_err(address_connect(&a, 5000, NULL, &err), &err, -EINVAL,
	       "port 0 is only for listening");
	a.port = port_of(fd);
	is_err(address_listen(&a, 0, &err), &err, -EADDRINUSE,
	       "somebody listens on 'tcp:127.0.0.1:%u' already", a.port);
	client = address_connect(&a, 5000, NULL, &err);
	ok(client >= 0 && !(fcntl(client, F_GETFL) & O_NONBLOCK), "and connected to");
	close(client);
	strcpy(a.host, "localhost");
	client = address_connect(&a, 5000, NULL, &err);
	ok(client >= 0, "by its name, too");
	close(client);
	is_err(address_listen(&a, 0, &err), &err, -EINVAL,
	       "cannot listen on 'localhost': it is no IP address");
	close(fd);
	strcpy(a.host, "127.0.0.1");
	is_err(address_connect(&a, 5000, NULL, &err), &err, -ECONNREFUSED,
	       "nobody listens on 'tcp:127.0.0.1:%u'", a.port);
}

static void test_ipv6(void)
{
	struct address a = parsed("tcp:[::1]:%s", "0");
	int fd = address_listen(&a, 0, &err), client;

	if (fd < 0) {
		tap_skip("no IPv6");
		return;
	}
	a.port = port_of(fd);
	client = address_connect(&a, 5000, NULL, &err);
	ok(client >= 0, "IPv6");
	close(client);
	close(fd);
}

static void test_refused(void)
{
	struct address hybrid = parsed("hybrid:%s:1", "/x"), any = parsed("vsock:any:%s", "1");

	is_err(address_listen(&hybrid, 0, &err), &err, -EINVAL,
	       "nobody can listen on a 'hybrid' address");
	is_err(address_connect(&any, 100, NULL, &err), &err, -EINVAL,
	       "the CID 'any' is only for listening");
}

/* ---- the hypervisor's vsock ---- */

struct device {
	int fd;
	const char *says;	/* NULL: it closes at once */
	bool drips;
	bool stays;		/* silent, until the other side closes */
	char heard[64];
};

static void *be_device(void *arg)
{
	struct device *d = arg;
	int fd = accept(d->fd, NULL, NULL);
	size_t len = 0;
	char byte;

	while (len < sizeof(d->heard) - 1 && recv(fd, d->heard + len, 1, 0) == 1)
		if (d->heard[len++] == '\n')
			break;
	d->heard[len] = '\0';
	for (const char *p = d->says; d->drips && p && *p; p++) {
		wire_send_mem(fd, p, 1);
		nanosleep(&(struct timespec){0, 2000000}, NULL);
	}
	if (d->says && !d->drips)
		wire_send(fd, d->says);
	while (d->stays && recv(fd, &byte, 1, 0) > 0)
		;
	close(fd);
	return NULL;
}

static int ask_device(struct device *d, int timeout_ms, bool (*stopped)(void))
{
	const char *path = tap_path("device");
	struct address a = parsed("hybrid:%s:1052", path);
	pthread_t thread;
	int fd;

	d->fd = wire_listen(path, 8);
	if (pthread_create(&thread, NULL, be_device, d))
		bail("no thread");
	err.text[0] = '\0';
	fd = address_connect(&a, timeout_ms, stopped, &err);
	if (fd < 0 || !d->stays)
		pthread_join(thread, NULL);
	else
		pthread_detach(thread);
	close(d->fd);
	return fd;
}

static void is_no_device(const char *says, int rc, const char *what)
{
	struct device d = {.says = says};

	is_int(ask_device(&d, 20000, NULL), rc, "%s: %s", what, err.text);
}

static bool soon(void)
{
	static int asked;

	return ++asked > 2;
}

static void test_hybrid(void)
{
	struct device good = {.says = "OK 1073741824\nhello"};
	struct device drip = {.says = "OK 5\nx", .drips = true};
	struct device silent = {.stays = true};
	char bytes[16] = "";
	int fd = ask_device(&good, 20000, NULL);

	ok(fd >= 0, "a device that says OK");
	is_str(good.heard, "CONNECT 1052\n", "was asked for the port");
	is_int(recv(fd, bytes, sizeof(bytes), MSG_WAITALL), 5, "what is behind its line");
	is_str(bytes, "hello", "is the guest's");
	close(fd);
	fd = ask_device(&drip, 20000, NULL);
	ok(fd >= 0, "one that says so byte by byte");
	close(fd);
	is_no_device(NULL, -ECONNREFUSED, "one that closes");
	ok(strstr(err.text, "nobody listens on 'hybrid:"), "says that nobody is there");
	is_no_device("OK 5", -EBADMSG, "one that ends in the line");
	is_no_device("ERROR\n", -EBADMSG, "nonsense");
	ok(strstr(err.text, "is no vsock device of a hypervisor"), "is said to be so");
	is_no_device("OK \n", -EBADMSG, "no number");
	is_no_device("OK 5 6\n", -EBADMSG, "more than a number");
	is_no_device("HTTP/1.1 400 Bad Request\r\n", -EBADMSG, "another server");
	is_no_device("OK 1111111111111111111111111111111111111111111111111111111111111111111\n",
		     -EBADMSG, "a line without end");
	is_int(ask_device(&silent, 100, NULL), -ETIMEDOUT, "silence: %s", err.text);
	is_int(ask_device(&silent, -1, soon), -ECANCELED, "silence, and somebody who has "
	       "waited enough: %s", err.text);
}

/* ---- who it is ---- */

static void test_peer(void)
{
	struct ucred who = {.pid = -7};
	int fd[2], file = open("/dev/null", O_RDONLY | O_CLOEXEC);

	is_int(address_peer(file, &who), -ENOTSOCK, "a file has no peer");
	is_int(who.pid, -7, "and nothing was written");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
		bail("no sockets");
	is_int(address_peer(fd[0], &who), 0, "a connection has one");
	is_int(who.pid, getpid(), "this process");
	is_int(who.uid, geteuid(), "its user");
	close(fd[0]);
	close(fd[1]);
	close(file);
}

int main(void)
{
	test_words();
	test_long();
	test_unix();
	test_tcp();
	test_ipv6();
	test_refused();
	test_hybrid();
	test_peer();
	return tap_done();
}
