#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What is at the hypervisor's socket is no hypervisor, another one, or says nothing: that is a
# failure (1) and not damage (3), and the sentence names the socket and what was expected there.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/lib.sh"
requires python3 jq
printf '[pager]\nruntime_dir = %s/run\n' "$T" >conf
export LAMINA_CONF=$T/conf LAMINA_STORE=$T/s
mkdir -p mnt/live/x
lamina init >/dev/null
mkimage mem 10 0-9:data=1
cp mem state
layer=$(lamina commit -q --memfile mem --state state --tag one)
mkdir -p "mnt/layers/$layer"
cp mem "mnt/layers/$layer/memfile"
lamina live create x --from one >/dev/null

cat >stranger.py <<'END'
# stranger.py SOCKET WORDS: says WORDS to all who connect, and no more; "web": a web server;
# "headers", "continue": an answer that never gets beyond that
import os, socket, sys, threading
path, words = sys.argv[1:3]
page = b"<html>hello</html>"
endless = {"headers": (b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n"),
           "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n")}
listener = socket.socket(socket.AF_UNIX)
listener.bind(path + ".new")
listener.listen(9)
os.rename(path + ".new", path)

def babble(conn, begin, more):
    conn.recv(65536)
    conn.sendall(begin)
    while True:
        conn.sendall(more)

def serve(conn):
    if words in endless:
        babble(conn, *endless[words])
    if words != "web":
        conn.sendall(words.encode().decode("unicode_escape").encode())
    while conn.recv(65536):
        if words == "web":
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" %
                         (len(page), page))

while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
END

stranger() { # NAME WORDS
	python3 stranger.py "$1.sock" "$2" 2>stranger.log &
	at_exit "kill $!"
	within 20 test -S "$1.sock"
}

fails() { # NAME HYPERVISOR SOCKET SENTENCE
	lamina guest add x -H "$2" -S "$3.sock" --mount "$T/mnt" --replace
	exits "$1, for $2" 1 lamina pause x --dry-run
	like "is told" "$(cat err)" "$4"
}

stranger ssh 'SSH-2.0-OpenSSH_9.2\r\n'
stranger login 'login: '
stranger web web
stranger qmp '{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 8}, "package": ""}, "capabilities": []}}\r\n'
stranger mute ''
stranger headers headers
stranger continue continue
fc_config vm.json 8
start_fc fc --config-file vm.json

api='is none of the HTTP API that was expected there'
for name in ssh login web qmp; do
	fails "$name" firecracker $name "what answers on '$T/$name.sock' is not firecracker: .*'GET /' $api"
done
: >mnt/live/x/memfile
: >mnt/live/x/state
for name in headers continue; do
	fails "$name, and no end" firecracker $name \
		"firecracker: the answer of '$T/$name.sock' has more than 64 KiB of headers"
	lamina guest add x -H firecracker -S fc.sock -A "unix:$T/$name.sock" --mount "$T/mnt" --replace
	like "of an agent, too" "$(lamina pause x --dry-run --json --collapse | jq -r '.steps[1].error')" \
		"the answer of 'unix:$T/$name.sock' has more than 64 KiB of headers"
done
for name in ssh login; do
	fails "$name" qemu $name "what answers at '$T/$name.sock' is not QEMU: it does not speak QMP, which was expected"
done
for name in web fc mute; do
	fails "$name, which says nothing" qemu $name \
		"'$T/$name.sock' has sent no greeting of QMP within 5.0 s: QEMU serves one client at a time, and another may"
done

# A QEMU that is made is connected to once more, as long as --wait says: it greets when it has its memory.
cat >late.py <<'END'
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(9)
first = listener.accept()
second = listener.accept()
open("asked-again", "w").close()
END
exits "one that is late" 1 lamina resume one --name y -H qemu -S y.sock --mount "$T/mnt" -w 30s \
	-- python3 late.py '{socket}'
ok "is asked again" test -e asked-again
done_testing
