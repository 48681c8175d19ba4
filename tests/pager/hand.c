/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/pager/hand.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/pager/tool.h"

/* ---- the userfaultfd ---- */

static int from_device(int flags)
{
	int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	int fd;

	if (dev < 0)
		return -1;
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, flags);
	close(dev);
	return fd;
}

int hand_uffd(unsigned flags)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = flags & HAND_NO_REMOVE ? 0 : UFFD_FEATURE_EVENT_REMOVE,
	};
	int mode = O_CLOEXEC | (flags & HAND_BLOCKING ? 0 : O_NONBLOCK) |
		   (flags & HAND_USER_MODE ? UFFD_USER_MODE_ONLY : 0);
	int fd = (int)syscall(SYS_userfaultfd, mode);

	if (fd < 0 && errno == EPERM)
		fd = from_device(mode);
	if (fd < 0)
		tool_fail("userfaultfd (root, or vm.unprivileged_userfaultfd=1, is needed)");
	if (ioctl(fd, UFFDIO_API, &api) < 0)
		tool_fail("UFFDIO_API");
	return fd;
}

void hand_register(int uffd, const struct hand_region *region)
{
	struct uffdio_register reg = {
		.range = {.start = region->addr, .len = region->size},
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	if (ioctl(uffd, UFFDIO_REGISTER, &reg) < 0)
		tool_fail("UFFDIO_REGISTER of 0x%llx+0x%llx", (unsigned long long)region->addr,
			  (unsigned long long)region->size);
}

/* ---- the hypervisor's end ---- */

char *hand_json(const struct hand_region *region, unsigned n)
{
	json_t *array = json_array();
	char *text;

	for (unsigned i = 0; i < n; i++) {
		json_t *entry = json_pack(
			"{sI sI sI sI sI}", "base_host_virt_addr", (json_int_t)region[i].addr,
			"size", (json_int_t)region[i].size, "offset", (json_int_t)region[i].off,
			"page_size", (json_int_t)region[i].page_size, "page_size_kib",
			(json_int_t)region[i].page_size);

		if (json_array_append_new(array, entry) < 0)
			tool_die(TOOL_FAILED, "no memory for JSON");
	}
	text = json_dumps(array, JSON_COMPACT);
	json_decref(array);
	if (!text)
		tool_die(TOOL_FAILED, "no memory for JSON");
	return text;
}

int hand_how(const char *name, enum hand_how *ret)
{
	static const char *const names[HAND_NHOW] = {
		[HAND_PLAIN] = "plain",	    [HAND_NOFD] = "nofd",     [HAND_TWOFDS] = "twofds",
		[HAND_NOTUFFD] = "notuffd", [HAND_SPLIT] = "split",   [HAND_LATE] = "late",
		[HAND_EMPTY] = "empty",	    [HAND_SILENT] = "silent",
	};

	for (enum hand_how i = 0; i < HAND_NHOW; i++) {
		if (!strcmp(name, names[i])) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(un.sun_path))
		tool_die(TOOL_FAILED, "'%s' is too long for a socket", path);
	strcpy(un.sun_path, path);
	return un;
}

int hand_connect(const char *path, unsigned timeout_ms)
{
	struct sockaddr_un un = address(path);
	uint64_t until = tool_now_ns() + timeout_ms * UINT64_C(1000000);
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (sock < 0)
		tool_fail("socket");
	while (connect(sock, (struct sockaddr *)&un, sizeof(un)) < 0) {
		int code = -errno;

		if ((code != -ENOENT && code != -ECONNREFUSED && code != -EAGAIN) ||
		    tool_now_ns() >= until) {
			close(sock);
			return code;
		}
		usleep(5000);
	}
	return sock;
}

struct part {
	const char *text;
	size_t len;
	int fd[2];
	unsigned nfds;
};

static int send_part(int sock, const struct part *part)
{
	union {
		char buf[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {.iov_base = (void *)part->text, .iov_len = part->len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (part->nfds) {
		struct cmsghdr *cmsg;

		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(part->nfds * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(part->nfds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), part->fd, part->nfds * sizeof(int));
	}
	if (sendmsg(sock, &msg, MSG_NOSIGNAL) != (ssize_t)part->len)
		return errno ? -errno : -EIO;
	return 0;
}

static int send_halves(int sock, int uffd, const char *json, bool late)
{
	size_t half = strlen(json) / 2;
	struct part first = {json, half, {uffd}, late ? 0 : 1};
	struct part second = {json + half, strlen(json) - half, {uffd}, late ? 1 : 0};
	int rc = send_part(sock, &first);

	if (rc < 0)
		return rc;
	usleep(100000);
	return send_part(sock, &second);
}

int hand_send(int sock, int uffd, const char *json, enum hand_how how)
{
	struct part part = {json, strlen(json), {uffd, -1}, 1};
	int pipes[2], rc;

	errno = 0;
	if (how == HAND_SILENT)
		return 0;
	if (how == HAND_EMPTY)
		return shutdown(sock, SHUT_WR) < 0 ? -errno : 0;
	if (how == HAND_SPLIT || how == HAND_LATE)
		return send_halves(sock, uffd, json, how == HAND_LATE);
	if (pipe2(pipes, O_CLOEXEC) < 0)
		tool_fail("pipe");
	part.nfds = how == HAND_NOFD ? 0 : how == HAND_TWOFDS ? 2 : 1;
	part.fd[1] = pipes[0];
	if (how == HAND_NOTUFFD)
		part.fd[0] = pipes[0];
	rc = send_part(sock, &part);
	close(pipes[0]);
	close(pipes[1]);
	return rc;
}

/* ---- the pager's end ---- */

int hand_listen(const char *path)
{
	struct sockaddr_un un = address(path);
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (sock < 0)
		tool_fail("socket");
	(void)unlink(path);
	if (bind(sock, (struct sockaddr *)&un, sizeof(un)) < 0 || listen(sock, 64) < 0)
		tool_fail("%s", path);
	return sock;
}

static int decode_one(const json_t *entry, struct hand_region *ret)
{
	json_int_t addr, size, off, page_size;

	if (json_unpack((json_t *)entry, "{sI sI sI sI}", "base_host_virt_addr", &addr, "size",
			&size, "offset", &off, "page_size", &page_size) < 0)
		return -EBADMSG;
	if (size <= 0 || off < 0 || (page_size != 4096 && page_size != 2 << 20) || size % page_size)
		return -EBADMSG;
	*ret = (struct hand_region){(uint64_t)addr, (uint64_t)size, (uint64_t)off,
				    (uint64_t)page_size};
	return 0;
}

static int decode(const char *text, size_t len, struct hand_region *ret)
{
	json_t *array = json_loadb(text, len, 0, NULL);
	size_t n = json_array_size(array);
	int rc = n && n <= HAND_REGIONS ? 0 : -EBADMSG;

	for (size_t i = 0; i < n && !rc; i++)
		rc = decode_one(json_array_get(array, i), &ret[i]);
	json_decref(array);
	return rc ? rc : (int)n;
}

/* The only descriptor of a message, or -1. */
static int only_fd(struct msghdr *msg)
{
	int fd = -1;
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);

	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return -1;
	if (c->cmsg_len == CMSG_LEN(sizeof(int))) {
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		return fd;
	}
	for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= c->cmsg_len; at += sizeof(int)) {
		memcpy(&fd, CMSG_DATA(c) + at, sizeof(fd));
		close(fd);
	}
	return -1;
}

int hand_receive(int sock, struct hand_region ret[HAND_REGIONS], int *ret_uffd)
{
	union {
		char buf[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	char *text = tool_alloc(1, HAND_TEXT_MAX);
	struct iovec iov = {.iov_base = text, .iov_len = HAND_TEXT_MAX};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.buf,
			     .msg_controllen = sizeof(control.buf)};
	ssize_t got = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	int rc = got < 0 ? -errno : got == 0 ? -EBADMSG : decode(text, (size_t)got, ret);
	int fd = got < 0 ? -1 : only_fd(&msg);

	free(text);
	if (rc > 0 && fd >= 0) {
		*ret_uffd = fd;
		return rc;
	}
	if (fd >= 0)
		close(fd);
	return rc < 0 ? rc : -EBADMSG;
}
