# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the parts of the benchmark share: rows, programs, mounts."""
import glob, json, os, subprocess, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("LAMINA_BUILDDIR", os.getcwd())
CORES = len(os.sched_getaffinity(0))
ROUNDS = 5  # lamina and its reference by turns; the best of each, since noise only adds
rows = []


def say(text):
    if sys.stderr.isatty():
        print("bench: " + text, file=sys.stderr)


def row(name, value, unit, reference, ratio, target, low=True):
    """low: the ratio is to be at most the target, else at least."""
    ok = None if target is None or ratio is None else (ratio <= target if low else ratio >= target)
    rows.append({"name": name, "value": value, "unit": unit, "reference": reference,
                 "ratio": ratio, "target": target, "at": "most" if low else "least", "ok": ok})
    mark = {True: "ok", False: "MISSED", None: ""}[ok]
    r = "" if ratio is None else "%.3f" % ratio
    t = "" if target is None else ("<= " if low else ">= ") + "%g" % target
    ref = "" if reference is None else "%.4g" % reference
    print("%-58s %10.4g %-5s %10s %8s %8s  %s" % (name, value, unit, ref, r, t, mark), flush=True)


def run(*argv, check=True):
    p = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, text=True)
    if check and p.returncode:
        sys.exit("bench: %s: exit %d" % (" ".join(map(str, argv)), p.returncode))
    return p.stdout


def tool(name):
    return os.path.join(BUILD, "tests", "bench", name)


def raw(*argv):
    return json.loads(run(tool("raw"), *argv))


def lamina(store, *argv, env=None):
    t0 = time.monotonic()
    out = run(os.path.join(BUILD, "src", "lamina"), "--store", store, *argv)
    return out, time.monotonic() - t0


def commit(store, *argv):
    out, seconds = lamina(store, "commit", "--json", *argv)
    result = json.loads(out)
    result["wall"] = seconds
    return result


def du(path):
    return int(run("du", "-s", "--block-size=1", path).split()[0])


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")


def warm(path):
    for p in glob.glob(path):
        with open(p, "rb") as f:
            while f.read(1 << 22):
                pass


class Mount:
    """A mount of a store, or the trivial FUSE file; knows its server's CPU time."""

    def __init__(self, argv, mnt, probe):
        os.makedirs(mnt, exist_ok=True)
        self.mnt = mnt
        self.proc = subprocess.Popen([str(a) for a in argv])
        for _ in range(500):
            if os.path.exists(os.path.join(mnt, probe)):
                break
            time.sleep(0.01)
        else:
            sys.exit("bench: %s did not mount" % argv[0])
        dev = os.stat(mnt).st_dev
        with open("/sys/class/bdi/%d:%d/read_ahead_kb" % (os.major(dev), os.minor(dev)), "w") as f:
            f.write("2048")

    def cpu(self):
        with open("/proc/%d/stat" % self.proc.pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self):
        with open("/proc/%d/status" % self.proc.pid) as f:
            return [int(l.split()[1]) * 1024 for l in f if l.startswith("VmHWM")][0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", self.mnt])
        self.proc.wait()


def mount(store, mnt, *opts):
    return Mount([os.path.join(BUILD, "fuse", "lamina-fuse"), "-f", *opts, store, mnt],
                 mnt, "layers")


def trivial(mnt, size):
    return Mount([tool("trivial-fuse"), mnt, size], mnt, "file")


def median(values):
    return sorted(values)[len(values) // 2]
