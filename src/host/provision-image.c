/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The image is mounted, but nowhere: fsmount(2) gives a directory that no path leads to.  When it
 * is closed, by us or because we are killed, the kernel unmounts it, and the loop device frees
 * itself.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/host/provision-private.h"
#include "store/base/io.h"

#define LOOP_TRIES 16
#define SUPER_OFF 1024
#define SUPER_LEN 1024

/* Of ext's superblock. */
#define EXT_MAGIC 56		/* 0xef53 */
#define EXT_STATE 58
#define EXT_STATE_ERRORS 2
#define EXT_INCOMPAT 96
#define EXT_NEEDS_RECOVERY 4

static unsigned le16(const unsigned char *p)
{
	return p[0] | (unsigned)p[1] << 8;
}

/* ---- what it is ---- */

static int check_ext(const struct provision_opts *opts, const unsigned char *super, struct err *err)
{
	if (le16(super + EXT_STATE) & EXT_STATE_ERRORS)
		return provision_fsck_damaged(opts->root, err);
	if (le16(super + EXT_INCOMPAT) & EXT_NEEDS_RECOVERY && !opts->force && !opts->look)
		return err_set(err, -EBUSY, "the file system of '%s' was not unmounted: it may "
			       "be that "
			       "of a paused guest; if it is not, --force replays its journal",
			       opts->root);
	return le16(super + EXT_INCOMPAT) & EXT_NEEDS_RECOVERY ? 1 : 0;
}

/* 1: its journal has to be replayed. */
static int check_content(const struct provision_opts *opts, int file, struct err *err)
{
	unsigned char head[SUPER_OFF + SUPER_LEN] = {0};
	ssize_t n = io_pread(file, head, sizeof(head), 0);

	if (n < 0)
		return err_sys(err, (int)n, "cannot read '%s'", opts->root);
	if (le16(head + SUPER_OFF + EXT_MAGIC) == 0xef53)
		return check_ext(opts, head + SUPER_OFF, err);
	if (le16(head + 510) == 0xaa55)
		return err_set(err, -EMEDIUMTYPE, "'%s' has partitions: mount the one that is the "
			       "guest's root (losetup --partscan), and give its directory",
			       opts->root);
	return err_set(err, -EMEDIUMTYPE, "'%s' is no image of ext4: mount it, and give the "
		       "directory",
		       opts->root);
}

/* ---- who uses it ---- */

static bool is_behind(const char *name, const struct stat *st)
{
	struct loop_info64 info;
	char path[64];
	bool ret;
	int fd;

	if (strncmp(name, "loop", 4) != 0 || !isdigit((unsigned char)name[4]) ||
	    (size_t)snprintf(path, sizeof(path), "/dev/%s", name) >= sizeof(path))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return false;
	ret = ioctl(fd, LOOP_GET_STATUS64, &info) == 0 && info.lo_device == st->st_dev &&
	      info.lo_inode == st->st_ino;
	(void)close(fd);
	return ret;
}

static int check_no_loop(const struct provision_opts *opts, int file, struct err *err)
{
	DIR *dir = opendir("/sys/block");
	const struct dirent *e;
	struct stat st;
	int rc = fstat(file, &st) < 0 ? -errno : 0;

	if (rc < 0)
		(void)err_sys(err, rc, "cannot look at '%s'", opts->root);
	while (rc == 0 && dir && (e = readdir(dir)))
		if (is_behind(e->d_name, &st))
			rc = err_set(err, -EBUSY, "'%s' is in use as /dev/%.32s: unmount that, or "
				     "detach it with losetup -d", opts->root, e->d_name);
	if (dir)
		(void)closedir(dir);
	return rc;
}

/* QEMU locks its images. */
static int check_no_lock(const struct provision_opts *opts, int file, struct err *err)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(file, F_OFD_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
		return 0;
	return err_set(err, -EBUSY, "'%s' is locked: a guest runs on it, or another program writes "
		       "it", opts->root);
}

/* Another program has it open.  Not every file system can tell. */
static int check_not_open(const struct provision_opts *opts, int file, struct err *err)
{
	if (fcntl(file, F_SETLEASE, opts->look ? F_RDLCK : F_WRLCK) < 0)
		return errno != EAGAIN ? 0 :
			err_set(err, -EBUSY, "'%s' is open elsewhere: it is mounted, or a guest "
				"runs "
				"on it", opts->root);
	(void)fcntl(file, F_SETLEASE, F_UNLCK);
	return 0;
}

static int check_unused(const struct provision_opts *opts, int file, struct err *err)
{
	int rc = check_no_loop(opts, file, err);

	if (rc == 0)
		rc = check_no_lock(opts, file, err);
	return rc < 0 ? rc : check_not_open(opts, file, err);
}

/* ---- the loop device ---- */

static int try_loop(int control, int file, bool look, char *path, size_t size)
{
	struct loop_config config = {.fd = (unsigned)file};
	int number = ioctl(control, LOOP_CTL_GET_FREE), fd, rc;

	if (number < 0)
		return -errno;
	(void)snprintf(path, size, "/dev/loop%d", number);
	fd = open(path, (look ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	config.info.lo_flags = LO_FLAGS_AUTOCLEAR | (look ? LO_FLAGS_READ_ONLY : 0);
	if (ioctl(fd, LOOP_CONFIGURE, &config) == 0)
		return fd;
	rc = -errno;
	(void)close(fd);
	return rc;
}

/* Somebody may take the free one before us. */
static int open_loop(int file, bool look, char *path, size_t size)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), rc = -EBUSY;

	if (control < 0)
		return -errno;
	for (int i = 0; rc == -EBUSY && i < LOOP_TRIES; i++)
		rc = try_loop(control, file, look, path, size);
	(void)close(control);
	return rc;
}

/* ---- the mount ---- */

/* What the kernel has to say of it, or "". */
static void kernel_words(int fs, char *out, size_t size)
{
	ssize_t n = read(fs, out, size - 1);

	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	if (n > 2 && out[1] == ' ')
		memmove(out, out + 2, strlen(out + 2) + 1);
}

/* A journal is not replayed by who only looks. */
static int configure(int fs, const char *device, bool look)
{
	if (fsconfig(fs, FSCONFIG_SET_STRING, "source", device, 0) < 0)
		return -errno;
	if (look && (fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
		     fsconfig(fs, FSCONFIG_SET_FLAG, "noload", NULL, 0) < 0))
		return -errno;
	return fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0 ? -errno : 0;
}

static int mount_device(const struct provision_opts *opts, const char *device, struct err *err)
{
	int fs = fsopen("ext4", FSOPEN_CLOEXEC), rc = fs < 0 ? -errno : 0;
	char words[256] = "";

	if (rc == 0)
		rc = configure(fs, device, opts->look);
	if (rc < 0 && fs >= 0)
		kernel_words(fs, words, sizeof(words));
	if (rc == 0) {
		rc = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
			     MOUNT_ATTR_NOEXEC | (opts->look ? MOUNT_ATTR_RDONLY : 0));
		rc = rc < 0 ? -errno : rc;
	}
	if (fs >= 0)
		(void)close(fs);
	if (rc < 0)
		return err_sys(err, rc, "cannot mount '%s'%s%s%s", opts->root, *words ? " (" : "",
			       words, *words ? ")" : "");
	return rc;
}

/* The mount lasts as long as its root is open; what fsmount() gives cannot be synced or locked. */
static int mount_root(const struct provision_opts *opts, const char *device, struct err *err)
{
	int mount = mount_device(opts, device, err), root;

	if (mount < 0)
		return mount;
	root = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		root = err_sys(err, -errno, "cannot open the root of '%s'", opts->root);
	(void)close(mount);
	return root;
}

static int open_file(const struct provision_opts *opts, struct err *err)
{
	int file, rc;

	if (geteuid() != 0)
		return err_set(err, -EPERM, "only root can mount the image '%s'; a directory is "
			       "for "
			       "everybody", opts->root);
	file = open(opts->root, (opts->look ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY);
	if (file < 0)
		return err_sys(err, -errno, "cannot open '%s'", opts->root);
	rc = check_unused(opts, file, err);
	if (rc == 0)
		return file;
	(void)close(file);
	return rc;
}

static int attach(const struct provision_opts *opts, struct provision_image *image,
		  struct err *err)
{
	char device[32];
	int rc;

	image->loop = open_loop(image->file, opts->look, device, sizeof(device));
	if (image->loop < 0)
		return err_sys(err, image->loop, "cannot have a loop device for '%s'", opts->root);
	rc = image->root = mount_root(opts, device, err);
	if (rc < 0)
		(void)close(image->loop);
	return rc < 0 ? rc : 0;
}

static void detach(struct provision_image *image)
{
	(void)close(image->root);
	(void)close(image->loop);
}

/* The kernel replays a journal at a mount; what is damaged without it may be whole with it. */
static int make_whole(const struct provision_opts *opts, struct provision_image *image,
		      struct err *err)
{
	int rc = check_content(opts, image->file, err);

	if (rc > 0 && opts->look)
		return 0;
	if (rc > 0) {
		rc = attach(opts, image, err);
		if (rc == 0)
			detach(image);
	}
	return rc < 0 ? rc : provision_fsck(opts->root, image->file, err);
}

int provision_image_open(const struct provision_opts *opts, struct provision_image *ret,
			 struct err *err)
{
	struct provision_image image = {.file = open_file(opts, err), .loop = -1};
	int rc = image.file;

	if (rc < 0)
		return rc;
	rc = make_whole(opts, &image, err);
	if (rc == 0)
		rc = attach(opts, &image, err);
	if (rc < 0) {
		(void)close(image.file);
		return rc;
	}
	*ret = image;
	return 0;
}

int provision_image_close(struct provision_image *image, struct err *err)
{
	int rc = syncfs(image->root) < 0 ? -errno : 0, synced;

	detach(image);
	synced = io_fsync(image->file);
	(void)close(image->file);
	rc = rc < 0 ? rc : synced;
	return rc < 0 ? err_sys(err, rc, "cannot write the image to the disk") : 0;
}
