#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Threads that somebody waits for have short turns of a core, and so are let on soon (Linux 6.12).
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires fuse lamina-pager python3 userfaultfd
cat >slices.py <<'END'
# slices.py PID...: the slice of each of their threads, in ns, each once; 0 where there is none
import ctypes, os, struct, sys
SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}[os.uname().machine]
libc, slices = ctypes.CDLL(None), set()
for pid in sys.argv[1:]:
    for task in os.listdir("/proc/%s/task" % pid):
        attr = ctypes.create_string_buffer(48)
        if libc.syscall(SCHED_GETATTR, int(task), attr, 48, 0) == 0:
            slices.add(struct.unpack_from("IIQiIQ", attr)[5])
print(*sorted(slices))
END
is_new() { # LINUX: at least 6.12
	printf '6.12\n%s\n' "$1" | sort -CV
}
is_new "$(uname -r)" || skip_all "threads have no slices of their own before Linux 6.12"
case $(uname -m) in x86_64 | aarch64) ;; *) skip_all "the number of sched_getattr(2) is not known" ;; esac

lamina --store s init -q
mount_store s mnt
is "lamina-fuse: all threads" "$(python3 slices.py "$fuse_pid")" 100000
start_pager
# shellcheck disable=SC2046
is "lamina-pager: all threads of all processes" "$(python3 slices.py $(pager_pids))" 100000
done_testing
