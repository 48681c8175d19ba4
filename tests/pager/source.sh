#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The pager's source over a layer in the mount: what is cached is there at once,
# holes are seen, and after the daemon was killed the path is opened again.
. "$(dirname "$0")/../fuse/lib.sh"
PATH=$buildroot/tests/pager:$PATH

ask() { # WORD...: a line to read-source, and its answer
	echo "$*" >&"${reader[1]}"
	IFS= read -r -t 30 answer <&"${reader[0]}" && echo "$answer"
}

answers() { # WANT WORD...
	local want=$1
	shift
	[ "$(ask "$@")" = "$want" ]
}

# Whether Linux tells us what is cached: then a page that was read is there.
tells() {
	answers same try 0 1
}

lamina -q init
mkimage mem.raw 5000 100-199:data=1 1000-2999:data=2 4000:fill=7
id=$(commit -m mem.raw)
mkdir mnt
ok "mounted" lamina-fuse --pidfile pid store mnt
at_exit "umount -l '$T/mnt'"
coproc reader { exec read-source "mnt/layers/$id/memfile" mem.raw 2>&1; }
pid=$reader_PID

is "holes are seen" "$(ask runs)" "data 100+100 data 1000+2000 data 4000+1 end"
is "what nobody has read is not there at once" "$(ask try 1500 16)" \
	"Resource temporarily unavailable"
is "it is read" "$(ask read 1500 16)" same
is "a page that is a hole is read" "$(ask read 0 1)" same
if tells; then
	is "what was read is there from then on" "$(ask try 1500 16)" same
	is "warmed" "$(ask warm 1024 512)" warmed
	ok "what was to be warmed is there soon" within 60 answers same try 1024 512
	stop "$(cat pid)"
	at_exit "kill -CONT $(cat pid)"
	is "the daemon hangs: what it was asked for" "$(ask warm 2500 64)" warmed
	is "is not there at once, and nobody waits for it" "$(ask try 2500 16)" \
		"Resource temporarily unavailable"
	is "what was cached is there" "$(ask try 1500 16)" same
	kill -CONT "$(cat pid)"
	ok "and the rest once it goes on" within 60 answers same try 2500 64
else
	skip "Linux does not tell what is cached of a file in a FUSE mount" 7
fi

daemon=$(cat pid)
kill -9 "$daemon"
within 10 nobody_else "$daemon"
is "the daemon is killed: reads say so" "$(ask read 2000 16)" \
	"the daemon of its file system is gone"
like "as long as there is no other, the path cannot be opened" "$(ask reopen)" \
	"cannot open '.*/memfile': "
is "and reads still say so" "$(ask read 2000 16)" "the daemon of its file system is gone"
ok "another is mounted" lamina-fuse --pidfile pid store mnt/
is "the path is opened again" "$(ask reopen)" reopened
is "and read" "$(ask read 2000 16)" same
is "holes are seen again" "$(ask runs)" "data 100+100 data 1000+2000 data 4000+1 end"
eval "exec ${reader[1]}>&-"
ok "it ends well" wait "$pid"
ok "and nothing keeps the mount" lamina umount mnt
done_testing
