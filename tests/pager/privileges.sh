#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What a pager that runs as an ordinary user may do, and who may hand over to it.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires lamina-pager curl jq userfaultfd root setpriv
user=$(id -nu 65534 2>/dev/null) || skip_all "no user 65534"
chmod 755 "$T"
umask 022

as() { # UID COMMAND...
	setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"
}
as 12345 test -r "$T" || skip_all "another user may not come here"
as 12345 client -e 'map auto 1M 0; uffd usermode' >/dev/null || skip_all "another user gets no userfaultfd"
mkimage mem.raw 2048 0-599:data=1 900-1999:data=2

status_of() { # PID FIELD
	awk -v f="$2:" '$1 == f {print $2}' "/proc/$1/status"
}

guest() { # UID SOCKET
	as "$1" client -t 60 -f mem.raw -e "map auto 8M 0; uffd usermode; handoff $2; touch random write threads 2
		remove 1M 1M; check"
}

printf '[pager]\nrecord_dirs = %s\n' "$T/run" >pager.conf
start_pager --user "$user" --socket-mode 0600 --config "$T/pager.conf" || bail "no pager"

# --- what it is ---

is "its directory is its own" "$(stat -c '%a %u' run)" "755 65534"
is "the API's socket, with the mode that was asked for" "$(stat -c '%a %u %F' run/api.sock)" "600 65534 socket"
is "the keeper's" "$(stat -c '%a %u' run/keeper.sock)" "600 65534"
for name in lamina-pager pager-worker pager-spare; do
	pid=$(pager_pids $name | head -1)
	is "$name is that user's" "$(grep -E '^(Uid|Gid)' "/proc/$pid/status" | tr '\t' ' ' | paste -sd' ')" \
		"Uid: 65534 65534 65534 65534 Gid: $(id -g 65534) $(id -g 65534) $(id -g 65534) $(id -g 65534)"
	is "without capabilities" "$(status_of "$pid" CapEff)" 0000000000000000
done
sandboxed() { # the layers that a build without sanitizers has
	local pid
	pid=$(worker_pid)
	[ "$(status_of "$pid" NoNewPrivs)" = 1 ] && [ "$(status_of "$pid" Seccomp)" = 2 ]
}
if has plain; then
	ok "the worker is in its sandbox" sandboxed
	ok "the next one" kill_worker
	ok "is in it, too" sandboxed
else
	skip "no sandbox under sanitizers" 3
fi
exits "somebody else cannot speak to it" 7 as 12345 curl -s --unix-socket "$sock" http://pager/health
exits "nor take over" 1 as 12345 lamina-pager -f --takeover --socket "$sock" -r "$T/run"
ok "it serves on" answers

# --- files ---

cp mem.raw mine.raw && chmod 0440 mine.raw && chown 0:0 mine.raw
asks "a memfile that it may not read" 422 POST /sessions "{\"id\":\"a\",\"memfile\":\"$T/mine.raw\"}"
like "is told" "$(error_text)" "cannot open '.*/mine.raw': Permission denied"
chgrp "$(id -g 65534)" mine.raw
ok "one of its group" session a mine.raw
asks "a directory where it may make no socket" 422 POST /sessions \
	"{\"id\":\"b\",\"memfile\":\"$T/mem.raw\",\"socket\":\"$T/b.sock\"}"
like "is told" "$(error_text)" "cannot listen on '.*/b.sock': Permission denied"
ok "a recording in its directory" session r mem.raw ",\"record\":\"$T/run/r.trace\""
mkdir open && chmod 777 open
landlock() {
	has python3 && python3 -c 'import ctypes, sys; sys.exit(ctypes.CDLL(None).syscall(444, None, 0, 1) < 1)'
}
if has plain && landlock; then
	asks "elsewhere" 422 POST /sessions "{\"id\":\"b\",\"memfile\":\"$T/mem.raw\",\"record\":\"$T/open/r.trace\"}"
	like "is told" "$(error_text)" "cannot record to '.*/open/r.trace': Permission denied"
else
	skip "no Landlock" 2
fi

# --- who may hand over ---

is "a session's socket is for itself and root" "$(stat -c '%a %u' run/a.sock)" "600 65534"
exits "another user is refused" 2 guest 12345 run/a.sock
like "by the kernel" "$(cat err)" "Permission denied"
ok "root may" client -t 60 -f mem.raw -e "map auto 8M 0; handoff run/a.sock; touch random write threads 2; check"
ok "its own user may" guest 65534 run/r.sock
ok "one for another user" session c mem.raw ',"peer_uid":12345'
is "is open to all" "$(stat -c %a run/c.sock)" 666
ok "but a third one" as 12346 client -t 60 -e "map auto 1M 0; uffd usermode; handoff run/c.sock silent; hangup"
ok "is sent away, and it waits" is_state c waiting
like "the log tells" "$(cat pager.log)" "c: a process of user 12346 may not hand over"
ok "the one may" guest 12345 run/c.sock
ok "and it ends well" within 10 is_state c gone

# As with a jailer: the directory is the guest's, and the pager is of its group.
mkdir -p jail/root/run
chown -R 12345:"$(id -g 65534)" jail
chmod -R 770 jail
ok "a socket in a jail" session j mem.raw ",\"peer_uid\":12345,\"socket\":\"$T/jail/root/run/j.sock\""
ok "serves" guest 12345 jail/root/run/j.sock
ok "and ends" within 10 is_state j gone
is "the socket has gone" "$(find jail -type s)" ""

# --- whom it can stop ---

session f mem.raw
guest_begin f mem.raw
guest_does f "map auto 8M 0" "handoff run/f.sock" "touch seq count 10"
asks "a guest of root's cannot be stopped" 500 POST "/sessions/f/close?force=1"
like "is told" "$(error_text)" "cannot stop the guest of session 'f': Operation not permitted"
ok "it goes on" guest_does f "touch random threads 2" check
guest_end f
is "until it ends" $? 0
done_testing
