# SPDX-License-Identifier: LGPL-2.1-or-later
"""The pager's part of the benchmark: faults beside a bare handler of the same run."""
import glob, json, os, random, re, shutil, subprocess, time

from common import *

MIB = 1 << 20
HUGE = "/proc/sys/vm/nr_hugepages"


def guest(name):
    return os.path.join(BUILD, "tests", "pager", name)


def lines(text):
    return [l for l in text.splitlines() if l]


def figures(text):
    """The JSON lines among what a guest printed."""
    return [json.loads(l) for l in lines(text) if l.startswith("{")]


def touch_seconds(text):
    return [int(m) / 1e9 for m in re.findall(r"^ok touch \d+ pages in (\d+) ns$", text, re.M)]


class Daemon:
    def __init__(self, runtime):
        shutil.rmtree(runtime, ignore_errors=True)
        os.makedirs(runtime)
        self.runtime, self.api, self.n = runtime, os.path.join(runtime, "api"), 0
        self.proc = subprocess.Popen([os.path.join(BUILD, "src", "lamina-pager"), "--foreground",
                                      "--runtime-dir", runtime, "--socket", self.api],
                                     stderr=subprocess.DEVNULL)
        for _ in range(500):
            if subprocess.run(["curl", "-sf", "--unix-socket", self.api, "http://pager/health"],
                              stdout=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.01)
        raise SystemExit("bench: lamina-pager does not answer")

    def ask(self, path, body=None):
        argv = ["curl", "-sf", "--unix-socket", self.api, "http://pager" + path]
        if body is not None:
            argv += ["-d", json.dumps(body)]
        return json.loads(run(*argv))

    def session(self, memfile, **more):
        self.n += 1
        return self.ask("/sessions", dict(id="s%d" % self.n, memfile=memfile, **more))["socket"]

    def last(self):
        return self.ask("/sessions/s%d" % self.n)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for _ in range(2):
            self.proc.terminate()
            time.sleep(0.3)
        self.proc.wait()


class Pager:
    def __init__(self, bench, trace):
        self.b, self.trace = bench, trace
        self.runtime = bench.path("pager")

    def all(self):
        self.dense = self.make_dense(self.b.path("dense"), 256)
        with Daemon(self.runtime) as d:
            self.faults(d)
            self.huge(d)
            self.whole(d)
            self.cold(d)
            self.replay(d)
            self.crowd(d)
        os.unlink(self.dense)

    @staticmethod
    def make_dense(path, mib):
        rng = random.Random(1)
        block = rng.randbytes(MIB)
        with open(path, "wb") as f:
            for k in range(mib):
                f.write(block[k:] + block[:k])
        warm(path)
        return path

    def client(self, memfile, script):
        return run(guest("client"), "-t", 300, "-f", memfile, "-e", script)

    def latency_at(self, sock, memfile, what, kind=""):
        return figures(self.client(memfile, "map auto %d 0 %s; handoff %s; latency %s" %
                                   (256 * MIB, kind, sock, what)))[0]

    def latency(self, d, memfile, what, kind="", **session):
        return self.latency_at(d.session(memfile, **session), memfile, what, kind)

    def served(self, memfile, what):
        """The same by the bare handler, which is then a process of its own, too."""
        sock = self.b.path("bare.sock")
        bare = subprocess.Popen([guest("bare"), "--serve", sock, "--source", memfile,
                                 "--clients", "1"], stderr=subprocess.DEVNULL)
        while not os.path.exists(sock):
            time.sleep(0.01)
        try:
            return self.latency_at(sock, memfile, what)
        finally:
            bare.wait()
            if os.path.exists(sock):
                os.unlink(sock)

    # ---- in the page cache ----

    def faults(self, d):
        bare, read, apart, off, wide = [], [], [], [], []
        for s in range(ROUNDS):
            same = ("-n", 4000, "--of", 256 * MIB // 4096, "--fifo")
            bare += figures(run(guest("bare"), *same))
            read += figures(run(guest("bare"), *same, "--source", self.dense))
            apart.append(self.served(self.dense, "4000 seed %d fifo" % (s + 1)))
            off.append(self.latency(d, self.dense, "4000 seed %d fifo" % (s + 1), prefetch="off"))
            wide.append(self.latency(d, self.dense, "128 unit 2M seed %d fifo" % (s + 1),
                                     prefetch="2M"))
        self.row_of("4 KiB fault, page in the cache, p50", off, bare, "p50_ns", 1.2)
        self.row_of("  p99", off, bare, "p99_ns", 1.5)
        self.row_of("  p50, against a bare handler that reads its page by pread", off, read,
                    "p50_ns", None)
        self.row_of("  p50, against the same in a process of its own", off, apart, "p50_ns", None)
        self.row_of("  p50 with 2 MiB prefetch on", wide, bare, "p50_ns", 1.5)
        self.bare_p50 = min(x["p50_ns"] for x in bare) / 1000

    @staticmethod
    def row_of(name, ours, bare, key, target):
        a, b = min(x[key] for x in ours) / 1000, min(x[key] for x in bare) / 1000
        row(name, a, "us", b, a / b, target)

    def huge(self, d):
        with open(HUGE) as f:
            before = int(f.read())
        with open(HUGE, "w") as f:
            f.write("%d" % (before + 140))
        try:
            bare, read, ours = [], [], []
            for s in range(ROUNDS):
                bare += figures(run(guest("bare"), "--huge", "-n", 128, "--fifo", "--source",
                                    self.dense, "--resident"))
                read += figures(run(guest("bare"), "--huge", "-n", 128, "--fifo", "--source",
                                    self.dense))
                ours.append(self.latency(d, self.dense, "128 seed %d fifo" % (s + 1), kind="huge"))
            self.row_of("2 MiB hugetlb fault, p50", ours, bare, "p50_ns", 1.15)
            self.row_of("  against a bare handler that reads its page by pread", ours, read,
                        "p50_ns", None)
        finally:
            with open(HUGE, "w") as f:
                f.write("%d" % before)

    def whole(self, d):
        mem = self.b.mem[0]
        size = os.path.getsize(mem)
        warm(mem)
        times = {}
        for prefetch in ("off", "2M", "adaptive"):
            for s in range(3):
                sock = d.session(mem, prefetch=prefetch)
                out = self.client(mem, "map auto %d 0; handoff %s; touch random seed %d blind" %
                                  (size, sock, s + 1))
                times.setdefault(prefetch, []).append(touch_seconds(out)[0])
        for prefetch in ("2M", "adaptive"):
            t, ref = min(times[prefetch]), min(times["off"])
            row("a whole memfile in random order, prefetch %s" % prefetch, t, "s", ref, ref / t, 3,
                low=False)

    # ---- from a mounted layer ----

    def store(self):
        store, results = self.b.chain("memfile", "memfile")
        return store, results[0]["layer"]

    def mounted(self, layer):
        return "%s/layers/%s/memfile" % (self.b.path("mnt"), layer)

    def cold(self, d):
        """The reference is put together as that of a cold read of the mount is, plus a fault."""
        store, layer = self.store()
        mem, mnt, size = self.b.mem[0], self.b.path("mnt"), os.path.getsize(self.b.mem[0])
        unzip = raw("unzip", self.b.chunk_pages("memfile"), 1, mem)["p50_us"]
        with trivial(mnt, size):
            fuse = median([raw("random", mnt + "/file", 300, s, mem)["p50_us"] for s in range(3)])
        blob, disk, ours = self.b.path("blob"), [], []
        shutil.copyfile(max(glob.glob(store + "/packs/*"), key=os.path.getsize), blob)
        with open(blob, "r+b") as f:
            f.truncate(os.path.getsize(blob) // 4096 * 4096)
        for s in range(3):
            drop_caches()
            disk.append(raw("random", blob, 300, 20 + s, blob, 16384)["p50_us"])
            with mount(store, mnt):
                drop_caches()
                sock = d.session(self.mounted(layer), prefetch="off")
                got = run(guest("client"), "-t", 300, "-f", mem, "-e",
                          "map auto %d 0; handoff %s; latency 300 data seed %d fifo" %
                          (size, sock, s + 1))
                ours.append(figures(got)[0]["p50_ns"] / 1000)
                time.sleep(0.5)
        os.unlink(blob)
        ref = self.bare_p50 + fuse + median(disk) + unzip
        row("cold 4 KiB fault from a mounted layer, p50", median(ours), "us", ref,
            median(ours) / ref, 1.3)

    def replay(self, d):
        if not self.trace:
            say("no --trace: no replay")
            return
        mem, size = self.b.mem[0], os.path.getsize(self.b.mem[0])
        with open(self.trace) as f:
            pages = int(f.read().split()[-1])
        unzip = raw("unzip", self.b.chunk_pages("memfile"), 1, mem)["seconds_per_gib"]
        copy = figures(run(guest("bare"), "--bulk", pages * 4096))[0]["seconds"]
        ref = pages * 4096 / 2 ** 30 * unzip + copy
        wrong = self.wrong_trace(self.b.path("wrong"), size, pages)
        right, alone, misled, share = [], [], [], []
        for _ in range(3):
            right.append(self.resume(d, mem, prefetch="off", trace=os.path.abspath(self.trace)))
            c = d.last()["counters"]
            share.append((c["present"] + c["zeroed"]) / pages)
            alone.append(self.resume(d, mem, prefetch="off"))
            misled.append(self.resume(d, mem, prefetch="off", trace=wrong))
        row("replay of a recorded working set, to its last page", min(right), "s", ref,
            min(right) / ref, 1.3)
        row("  against the same faults one by one, cold", min(right), "s", min(alone),
            min(alone) / min(right), 5, low=False)
        row("  installed / touched", max(share), "", None, max(share), 1.15)
        row("  with a wrong trace, against none", min(misled), "s", min(alone),
            min(misled) / min(alone), 1.05)

    @staticmethod
    def wrong_trace(path, size, pages):
        rng = random.Random(2)
        with open(path, "w") as f:
            f.write("lamina-trace 1 page-size 4096 size %d\n" % size)
            for page in rng.sample(range(size // 4096), pages):
                f.write("%d 1\n" % page)
            f.write("end %d\n" % pages)
        return path

    def resume(self, d, mem, **how):
        """Seconds that a guest takes to come for the trace's pages, from a cold mount."""
        store, layer = self.store()
        with mount(store, self.b.path("mnt")):
            drop_caches()
            sock = d.session(self.mounted(layer), **how)
            out = self.client(mem, "map auto %d 0; handoff %s; touch trace %s blind" %
                              (os.path.getsize(mem), sock, self.trace))
            time.sleep(0.5)
        return touch_seconds(out)[0]

    # ---- a thousand ----

    def crowd(self, d):
        small = self.make_dense(self.b.path("small"), 1)
        idle = []
        for _ in range(998):
            sock = d.session(small, prefetch="off")
            p = subprocess.Popen([guest("client"), "-f", small], stdin=subprocess.PIPE, text=True,
                                 stdout=subprocess.DEVNULL)
            p.stdin.write("map auto 1M 0\nhandoff %s\nhold\n" % sock)
            p.stdin.flush()
            idle.append(p)
        time.sleep(1)
        alone, beside = [], []
        for s in range(ROUNDS):
            alone.append(self.latency(d, self.dense, "4000 seed %d fifo" % (s + 1), prefetch="off"))
            sock = d.session(self.dense, prefetch="off")
            flood = subprocess.Popen([guest("client"), "-f", self.dense, "-e",
                                      "map auto %d 0; handoff %s; flood 3 16" %
                                      (256 * MIB, sock)], stdout=subprocess.DEVNULL)
            time.sleep(0.5)
            beside.append(self.latency(d, self.dense, "4000 seed %d fifo" % (s + 1),
                                       prefetch="off"))
            flood.wait()
        self.row_of("a quiet session's p99 beside a flooded one of 16 threads, 1000 sessions",
                    beside, alone, "p99_ns", 4)
        for p in idle:
            p.stdin.close()
        for p in idle:
            p.wait()
