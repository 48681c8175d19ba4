#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Into the background when the mount can be read, not before; out by SIGTERM.
. "$(dirname "$0")/lib.sh"

lamina -q init
mkimage mem.raw 100 0-99:data=1
commit -m mem.raw --tag t >/dev/null
mkdir mnt
at_exit "umount -l '$T/mnt'"

ok "it starts" lamina-fuse --pidfile run.pid store mnt
is "and says nothing" "$(cat out err)" ""
same "readable at once" mem.raw mnt/tags/t/memfile
pid=$(cat run.pid)
is "the pid file names it" "$pid" "$(counter pid)"
is "it keeps no directory busy" "$(readlink "/proc/$pid/cwd")" /
is "nor a terminal" "$(readlink "/proc/$pid/fd/0" "/proc/$pid/fd/2" | tr '\n' ' ')" \
	"/dev/null /dev/null "
like "as what mount(8) shows" "$(grep " $T/mnt " /proc/mounts)" \
	"^$T/store $T/mnt fuse.lamina rw,nosuid,nodev"
exits "a second one on the same directory" 4 lamina-fuse store mnt
like "is told why not" "$(cat err)" "mounted already: store '$T/store'"
exits "as is one that stays in the foreground" 4 lamina-fuse --foreground store mnt
exits "and mount.lamina" 4 mount.lamina store mnt
same "and the first goes on" mem.raw mnt/tags/t/memfile

kill -TERM "$pid"
ok "SIGTERM ends it" within 10 nobody_else "$pid"
ok "unmounted" test ! -e mnt/tags
ok "without its pid file" test ! -e run.pid
ok "and it can start again" lamina-fuse --pidfile run.pid store mnt
pid=$(cat run.pid)
umount mnt
ok "umount(8) ends it, too" within 10 nobody_else "$pid"

lamina-fuse -f store mnt 2>log &
pid=$!
within 10 is_mounted mnt
kill -HUP $pid
ok "SIGHUP does nothing" test -e mnt/tags/t
kill -INT $pid
ok "SIGINT ends the foreground one" wait $pid
is "which had nothing to say" "$(cat log)" ""

# systemd's READY=1 comes when the mount can be read.
if has python3; then
	cat >notified.py <<'END'
import os, socket, subprocess
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("notify")
s.settimeout(20)
p = subprocess.Popen(["lamina-fuse", "-f", "store", "mnt"],
                     env=dict(os.environ, NOTIFY_SOCKET=os.path.abspath("notify")))
print(s.recv(100).decode(), os.listdir("mnt/tags"))
p.terminate()
print(p.wait())
END
	is "systemd is notified" "$(python3 notified.py 2>&1)" "READY=1 ['t']"$'\n0'
else
	skip "no python3"
fi
done_testing
