# SPDX-License-Identifier: LGPL-2.1-or-later
"""The pause pipeline's part of the benchmark: `lamina pause` with every step off, beside the same
calls of the hypervisor alone. The hypervisor is tests/host/firecracker, which stands for the real one."""
import http.client, socket

from common import *

MIB = 1 << 20
GUEST_MIB = 256
DIRTY = 8 * MIB     # bytes that the guest stores before each pause
PAUSES = 15
LARGE_MIB = 4096


class Api(http.client.HTTPConnection):
    """Firecracker's API on its unix socket, a connection a request, as the pipeline has it."""

    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)

    def send_json(self, method, path, body):
        self.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = self.getresponse()
        answer.read()
        self.close()
        if answer.status != 204:
            sys.exit("bench: %s %s: %d" % (method, path, answer.status))


class Guest:
    """A guest of the stand-in, on a live image."""

    def __init__(self, bench, store, mnt, name, mib):
        self.store, self.name = store, name
        self.api, self.control = bench.path(name + ".sock"), bench.path(name + ".ctl")
        self.env = dict(os.environ, LAMINA_CONF=bench.path("pause.conf"))
        self.dir = os.path.join(mnt, "live", name)
        self.seed = 0
        lamina(store, "live", "create", name, "--size", "memfile=%dM" % mib,
               "--size", "rootfs=64M", "--size", "state=0")
        config = bench.path(name + ".json")
        with open(config, "w") as f:
            json.dump({"machine-config": {"vcpu_count": 1, "mem_size_mib": mib,
                                          "track_dirty_pages": True}}, f)
        self.program = os.path.join(HERE, "..", "host", "firecracker")
        self.process = subprocess.Popen([self.program, "--api-sock", self.api, "--control",
                                         self.control, "--config-file", config,
                                         "--version-is", "1.14.2"])
        while subprocess.run([self.program, "--ask", self.control, "state"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            time.sleep(0.05)
        self.lamina("guest", "add", name, "--hypervisor", "firecracker", "--socket", self.api,
                    "--mount", mnt)

    def lamina(self, *args):
        p = subprocess.run([os.path.join(BUILD, "src", "lamina"), "--store", self.store, *args],
                           env=self.env, stdout=subprocess.PIPE, text=True)
        if p.returncode:
            sys.exit("bench: lamina %s: exit %d" % (args[0], p.returncode))
        return p.stdout

    def end(self):
        self.process.kill()
        self.process.wait()

    def work(self, length=DIRTY):
        self.seed += 1
        run(self.program, "--ask", self.control, "random", 0, length, self.seed)

    def pause(self):
        t0 = time.monotonic()
        report = json.loads(self.lamina("pause", self.name, "--json"))
        report["wall"] = time.monotonic() - t0
        report["took"] = {s["step"]: s["seconds"] for s in report["steps"]}
        return report

    def calls(self):
        """Seconds that the guest stands still for the hypervisor's own calls."""
        t0 = time.monotonic()
        Api(self.api).send_json("PATCH", "/vm", {"state": "Paused"})
        Api(self.api).send_json("PUT", "/snapshot/create", {
            "snapshot_type": "Diff", "snapshot_path": os.path.join(self.dir, "state"),
            "mem_file_path": os.path.join(self.dir, "memfile")})
        Api(self.api).send_json("PATCH", "/vm", {"state": "Resumed"})
        return time.monotonic() - t0


class Pause:
    def __init__(self, bench):
        self.b = bench
        self.mnt = bench.path("mnt")

    def all(self):
        store = self.b.init("pause")
        with open(self.b.path("pause.conf"), "w") as f:
            f.write("[pager]\nruntime_dir = %s\n" % self.b.path("run"))
        with mount(store, self.mnt):
            web, plain, large = guests = [
                Guest(self.b, store, self.mnt, name, mib) for name, mib in
                (("web", GUEST_MIB), ("plain", GUEST_MIB), ("large", LARGE_MIB))]
            try:
                self.overhead(web, plain)
                self.bound(web, large)
            finally:
                for guest in guests:
                    guest.end()

    def overhead(self, guest, plain):
        """`plain` is committed, too: both write into a live image that has nothing yet."""
        paused, alone, seals, over = [], [], [], []
        guest.pause()           # the first one saves all
        for _ in range(PAUSES):
            guest.work()
            report = guest.pause()
            paused.append(report["paused_seconds"])
            took = report["took"]
            seals.append(took["seal"])
            over.append(report["paused_seconds"] - took["pause"] - took["snapshot"]
                        - took["resume"])
            plain.work()
            alone.append(plain.calls())
            lamina(plain.store, "live", "commit", plain.name)
        row("pause: what the guest stands still, %d MiB changed" % (DIRTY // MIB),
            median(paused) * 1e3, "ms", median(alone) * 1e3, median(paused) / median(alone), None)
        row("  over its own pause, snapshot and resume, in ms", median(over) * 1e3, "ms", None,
            median(over) * 1e3, 5)
        row("  of it the seal", median(seals) * 1e3, "ms", None, None, None)

    def bound(self, small, large):
        """The commit of the same change in guests of different size."""
        times = {small: [], large: []}
        for guest in times:
            guest.work()
            guest.pause()
        for _ in range(ROUNDS):
            for guest, into in times.items():
                guest.work()
                into.append(guest.pause()["took"]["commit"])
        row("  its commit, in a guest of 4 GiB against 256 MiB", min(times[large]), "s",
            min(times[small]), min(times[large]) / min(times[small]), 1.2)
