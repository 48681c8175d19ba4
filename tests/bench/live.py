# SPDX-License-Identifier: LGPL-2.1-or-later
"""Live images' part of the benchmark: beside a trivial FUSE file over a file of the same disk."""
import mmap, random

from common import *

MIB, GIB = 1 << 20, 1 << 30
PAGE = 4096
SEQUENTIAL = 512 * MIB
SYNCS = 400         # random writes, each with its fdatasync
SCATTERED = 5120    # pages of a commit: 20 MiB
STALL_COMMITS = 20


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(len(values) * p))]


def write_all(path, chunk):
    """Seconds for SEQUENTIAL bytes in writes of 1 MiB, with an fsync at the end."""
    fd = os.open(path, os.O_RDWR)
    t0 = time.monotonic()
    for off in range(0, SEQUENTIAL, len(chunk)):
        os.pwrite(fd, chunk, off)
    os.fsync(fd)
    seconds = time.monotonic() - t0
    os.close(fd)
    return seconds


def write_synced(path, size, seed, page):
    """Seconds of each of SYNCS random page writes with fdatasync."""
    rng, times = random.Random(seed), []
    fd = os.open(path, os.O_RDWR)
    for _ in range(SYNCS):
        off = rng.randrange(size // PAGE) * PAGE
        t0 = time.monotonic()
        os.pwrite(fd, page, off)
        os.fdatasync(fd)
        times.append(time.monotonic() - t0)
    os.close(fd)
    return times


def read_all(path):
    buf = bytearray(MIB)
    t0 = time.monotonic()
    with open(path, "rb", buffering=0) as f:
        while f.readinto(buf):
            pass
    return time.monotonic() - t0


def read_random(path, n, seed):
    rng = random.Random(seed)
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    size = os.fstat(fd).st_size
    t0 = time.monotonic()
    for _ in range(n):
        os.pread(fd, PAGE, rng.randrange(size // PAGE) * PAGE)
    seconds = time.monotonic() - t0
    os.close(fd)
    return seconds


class Live:
    def __init__(self, bench):
        self.b = bench
        self.mnt = bench.path("mnt")
        self.serial = 0

    def all(self):
        self.store = self.b.init("live")
        self.layer = commit(self.store, "--rootfs", self.b.disk[0], "--tag", "g0")["layer"]
        self.data = self.pages_of(self.b.mem[1])
        with mount(self.store, self.mnt):
            self.writes()
            self.reads()
            self.commits()
            self.stalls()

    def create(self, name, *opts):
        lamina(self.store, "live", "create", name, *opts)
        return os.path.join(self.mnt, "live", name, "rootfs")

    def remove(self, name):
        for _ in range(100):    # the kernel releases a file a moment after its close
            p = subprocess.run([os.path.join(BUILD, "src", "lamina"), "--store", self.store, "live",
                                "rm", name], stderr=subprocess.DEVNULL)
            if p.returncode == 0:
                return
            time.sleep(0.05)
        sys.exit("bench: live image %s cannot be removed" % name)

    def pages_of(self, image):
        """Pages with data, as they are in a guest's memory."""
        pages = []
        with open(image, "rb") as f:
            m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
            step = max(1, len(m) // PAGE // (SCATTERED * 8))
            for at in range(0, len(m), step * PAGE):
                page = m[at:at + PAGE]
                if page.count(0) < PAGE:
                    pages.append(page)
                if len(pages) == SCATTERED:
                    break
            m.close()
        return pages

    def fresh(self):
        """The same pages, none of them known: a serial number is in each."""
        self.serial += 1
        tag = self.serial.to_bytes(4, "little")
        return [i.to_bytes(4, "little") + tag + p[8:] for i, p in enumerate(self.data)]

    # ---- writing ----

    def writes(self):
        chunk = b"".join(self.data[:256])
        raw_file, backing = self.b.path("raw"), self.b.path("backing")
        times, refs, ext = [], [], []
        for _ in range(ROUNDS):
            path = self.create("w", "--size", "rootfs=1G")
            times.append(write_all(path, chunk))
            self.remove("w")
            refs.append(self.on_trivial(backing, lambda p: write_all(p, chunk)))
            self.sparse(raw_file)
            ext.append(write_all(raw_file, chunk))
        row("live: sequential write, 1 MiB, fsync at the end", min(times), "s", min(refs),
            min(refs) / min(times), 0.8, low=False)
        row("  against the disk's own file system", min(times), "s", min(ext),
            min(ext) / min(times), None, low=False)
        self.synced(backing, raw_file)

    def sparse(self, path):
        with open(path, "wb") as f:
            f.truncate(GIB)

    def on_trivial(self, backing, fn):
        self.sparse(backing)
        mnt = self.b.path("trivial")
        with Mount([tool("trivial-fuse"), mnt, GIB, backing], mnt, "file"):
            return fn(os.path.join(mnt, "file"))

    def synced(self, backing, raw_file):
        page, times, refs, ext = self.data[0], [], [], []
        for seed in range(ROUNDS):
            path = self.create("w", "--size", "rootfs=1G")
            times += write_synced(path, GIB, seed, page)
            self.remove("w")
            refs += self.on_trivial(backing, lambda p: write_synced(p, GIB, seed, page))
            self.sparse(raw_file)
            ext += write_synced(raw_file, GIB, seed, page)
        row("live: random 4 KiB write and fdatasync, median", median(times) * 1e6, "us",
            median(refs) * 1e6, median(times) / median(refs), 1.3)
        row("  against the disk's own file system", median(times) * 1e6, "us", median(ext) * 1e6,
            median(times) / median(ext), None)

    # ---- reading what was not written ----

    def reads(self):
        path = self.create("r", "--from", "g0")
        layer = os.path.join(self.mnt, "layers", self.layer, "rootfs")
        for name, cold, fn in (("cold sequential read", True, read_all),
                               ("cold random 4 KiB reads", True,
                                lambda p: read_random(p, 2000, 7)),
                               ("warm sequential read", False, read_all)):
            times, refs = [], []
            for _ in range(ROUNDS):
                for p, into in ((layer, refs), (path, times)):
                    if cold:
                        drop_caches()
                    else:
                        fn(p)
                    into.append(fn(p))
            row("live: %s of untouched pages, against layers/" % name, min(times), "s",
                min(refs), min(times) / min(refs), 1.05)
        self.remove("r")

    # ---- committing ----

    def scatter(self, path, size, seed):
        rng, pages = random.Random(seed), self.fresh()
        fd = os.open(path, os.O_RDWR)
        for page, where in zip(pages, rng.sample(range(size // PAGE), len(pages))):
            os.pwrite(fd, page, where * PAGE)
        os.fsync(fd)
        os.close(fd)
        return pages

    def commits_of(self, name, size, within):
        """Seconds of commits of 20 MiB scattered over the first `within` bytes, and of the raw work."""
        path = self.create(name, "--from", "g0", "--size", "rootfs=%d" % size)
        same, times, refs = self.b.path("same"), [], []
        guest = os.open(path, os.O_RDWR)                # it runs
        lamina(self.store, "live", "commit", name)      # so that all parents are of its size
        for seed in range(ROUNDS):
            pages = self.scatter(path, within, seed)
            with open(same, "wb") as f:
                f.write(b"".join(pages))
            times.append(lamina(self.store, "live", "commit", name)[1])
            refs.append(raw("new", self.b.chunk_pages("rootfs"), CORES, 1, same)["seconds"])
        os.close(guest)
        self.remove(name)
        return min(times), min(refs)

    def commits(self):
        small, ref = self.commits_of("c2", 2 * GIB, 2 * GIB)
        row("live: commit of 20 MiB scattered over 2 GiB", small, "s", ref, small / ref, 1.5)
        large, _ = self.commits_of("c64", 64 * GIB, 2 * GIB)
        row("  the same places in 64 GiB, against it", large, "s", small, large / small, 1.2)
        wide, _ = self.commits_of("c64", 64 * GIB, 64 * GIB)
        row("  scattered over all of 64 GiB (four times the frames)", wide, "s", small,
            wide / small, None)

    # ---- a guest that writes meanwhile ----

    def sample(self, fd, rng, times, until):
        while not until():
            off = rng.randrange(GIB // PAGE) * PAGE
            t0 = time.monotonic()
            os.pwrite(fd, self.data[1], off)
            times.append(time.monotonic() - t0)
            time.sleep(0.0005)

    def stalls(self):
        self.stall("live: a write while commits of 20 MiB run, p99", 2)
        self.stall("  commits by chrt -i 0 lamina live commit", 2, "chrt", "-i", "0")

    def stall(self, name, target, *before):
        """A guest's writes while commits run, and without one."""
        path = self.create("s", "--from", "g0")
        fd, rng, busy, quiet = os.open(path, os.O_RDWR), random.Random(1), [], []
        for seed in range(STALL_COMMITS):
            self.scatter(path, GIB, seed)
            p = subprocess.Popen([*before, os.path.join(BUILD, "src", "lamina"), "--store",
                                  self.store, "live", "commit", "s"], stdout=subprocess.DEVNULL)
            t0 = time.monotonic()
            self.sample(fd, rng, busy, lambda: p.poll() is not None)
            end = 2 * time.monotonic() - t0
            self.sample(fd, rng, quiet, lambda: time.monotonic() > end)
        os.close(fd)
        p99, ref = percentile(busy, 0.99), percentile(quiet, 0.99)
        row(name, p99 * 1e6, "us", ref * 1e6, p99 / ref, target)
        self.remove("s")
