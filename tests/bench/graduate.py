# SPDX-License-Identifier: LGPL-2.1-or-later
"""Graduation's part of the benchmark: beside a bulk UFFDIO_COPY of the same run."""
import threading

from common import *
from pager import MIB, Daemon, Pager, figures, guest

GIB = 1 << 30


class Guest:
    """A client that is told what to do line by line."""

    def __init__(self, memfile, sock, maps):
        self.proc = subprocess.Popen([guest("client"), "-t", "300", "-f", memfile],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.tell(";".join(maps) + "; handoff " + sock)
        for _ in maps + ["handoff"]:
            self.line()

    def tell(self, text):
        self.proc.stdin.write(text + "\n")
        self.proc.stdin.flush()

    def line(self):
        line = self.proc.stdout.readline()
        if not line:
            sys.exit("bench: the guest has ended: %s" % self.proc.wait())
        return line

    def ask(self, text):
        self.tell(text)
        return json.loads(self.line())

    def end(self):
        self.proc.stdin.close()
        self.proc.wait()


class Graduate(Pager):
    def all(self):
        self.dense = self.make_dense(self.b.path("dense"), 1024)
        with Daemon(self.runtime) as d:
            self.one(d)
            self.two(d)
            self.faults(d)
            self.cold(d)
        os.unlink(self.dense)

    def serve(self, d, memfile, maps):
        sock = d.session(memfile, prefetch="off", detachable=True)
        g = Guest(memfile, sock, maps)
        g.id = "s%d" % d.n
        for _ in range(500):
            if d.ask("/sessions/" + g.id)["state"] == "serving":
                return g
            time.sleep(0.01)
        sys.exit("bench: a guest is not served")

    @staticmethod
    def complete(d, g):
        return d.ask("/sessions/%s/complete" % g.id, {})

    def bulk(self, threads=1):
        return figures(run(guest("bare"), "--bulk", GIB, "--source", self.dense, "--threads",
                           threads))[0]["seconds"]

    def one(self, d):
        ref, ours, away, more = [], [], [], []
        for _ in range(ROUNDS):
            ref.append(self.bulk())
            g = self.serve(d, self.dense, ["map auto %d 0" % GIB])
            before = g.ask("stats")["resident"]
            done = self.complete(d, g)
            more.append((g.ask("stats")["resident"] - before) / done["pages"])
            g.end()
            ours.append(done["seconds"])
            away.append(done["unregister_seconds"] * 1000)
        row("graduation of a cached 1 GiB memfile, idle guest", min(ours), "s", min(ref),
            min(ref) / min(ours), 0.85, low=False)
        row("  unregistering", max(away), "ms", 1, max(away), 1)
        row("  resident memory added, to what was populated", max(more), "", None, max(more), 1.02)
        self.real(d)

    def real(self, d):
        mem = self.b.mem[0]
        warm(mem)
        best = None
        for _ in range(ROUNDS):
            g = self.serve(d, mem, ["map auto %d 0" % os.path.getsize(mem)])
            before = g.ask("stats")["resident"]
            done = self.complete(d, g)
            done["more"] = (g.ask("stats")["resident"] - before) / done["pages"]
            g.end()
            if not best or done["seconds"] < best["seconds"]:
                best = done
        ref = figures(run(guest("bare"), "--bulk", best["bytes"]))[0]["seconds"]
        row("graduation of a real memfile, %d MiB of it data" % (best["bytes"] // MIB),
            best["seconds"], "s", ref, ref / best["seconds"], None)
        row("  resident memory added, to what was populated", best["more"], "", None,
            best["more"], 1.02)

    def two(self, d):
        ref, ours = [], []
        for _ in range(ROUNDS):
            ref.append(self.bulk(2))
            pair = [self.serve(d, self.dense, ["map auto %d 0" % GIB]) for _ in range(2)]
            threads = [threading.Thread(target=self.complete, args=(d, g)) for g in pair]
            t0 = time.monotonic()
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            ours.append(time.monotonic() - t0)
            for g in pair:
                g.end()
        row("two graduations at once, against two threads in bulk", min(ours), "s", min(ref),
            min(ref) / min(ours), 0.75, low=False)

    def faults(self, d):
        """Of the second half of the memory, while the first half is populated."""
        latency = "latency 2000 seed %d off 512M fifo"
        idle, busy, ours = [], [], []
        for s in range(ROUNDS):
            g = self.serve(d, self.dense, ["map auto %d 0" % GIB])
            idle.append(g.ask(latency % s))
            g.end()
            g = self.serve(d, self.dense, ["map auto %d 0" % GIB])
            box = []
            t = threading.Thread(target=lambda: box.append(self.complete(d, g)))
            t.start()
            time.sleep(0.03)
            busy.append(g.ask(latency % s))
            t.join()
            ours.append(box[0]["seconds"])
            g.end()
        row("  the same with faults arriving", min(ours), "s", None, None, None)
        self.row_of("  demand fault meanwhile, p50, against idle", busy, idle, "p50_ns", 1.3)
        self.row_of("  p99", busy, idle, "p99_ns", 2)

    def cold(self, d):
        """Against the slowest of: decompression on all cores, the disk, a copy in bulk."""
        store, layer = self.store()
        mem, size = self.b.mem[0], os.path.getsize(self.b.mem[0])
        times, data, disk = [], 0, []
        for _ in range(3):
            with mount(store, self.b.path("mnt")):
                drop_caches()
                g = self.serve(d, self.mounted(layer), ["map auto %d 0" % size])
                done = self.complete(d, g)
                g.end()
                times.append(done["seconds"])
                data = done["bytes"]
                time.sleep(0.3)
            disk.append(self.read_disk(store))
        unzip = raw("unzip", self.b.chunk_pages("memfile"), CORES, mem)["seconds_per_gib"]
        copy = figures(run(guest("bare"), "--bulk", data))[0]["seconds"]
        ref = max(data / GIB * unzip, copy, min(disk))
        row("graduation from a cold layer in the mount", min(times), "s", ref, ref / min(times),
            0.8, low=False)

    @staticmethod
    def read_disk(store):
        drop_caches()
        t0 = time.monotonic()
        warm(store + "/packs/*")
        return time.monotonic() - t0
