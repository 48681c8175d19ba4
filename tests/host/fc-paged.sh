#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A guest that Firecracker's stand-in resumes from lamina-pager: all of its memory comes through a
# userfaultfd, and a snapshot of it is a diff over what it began as.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
. "$srcroot/tests/host/lib.sh"
requires python3 hyper lamina-pager curl jq userfaultfd root
start_pager || bail "no pager"

h() { # NAME COMMAND...
	hyper firecracker "$1.sock" "${@:2}"
}

# What it is resumed from: 16 MiB of which some are zeros.
fc_config web.json 16 '"track_dirty_pages":true' "$hinting"
start_fc first --config-file web.json
fc first random 1000000 5000000 1 >/dev/null
fc first random 9000000 3000000 2 >/dev/null
h first pause
truncate -s 16M m
: >s
ok "a snapshot" h first snapshot m s full
end_fc first
cp m began

resume() { # NAME ID [OPTION...]
	session "$2" m ',"prefetch":"off"' || bail "no session"
	start_fc "$1" "${@:3}"
	ok "$1 loads from the pager" h "$1" load m s "uffd=$(jq -r .socket body)" track run
}

resume web web
is "it runs" "$(fc web state)" Running
within 20 test "$(fact web .state)" = serving
is "the session serves" "$(fact web .state)" serving
is "knows who" "$(fact web .pid)" "${fc_pid[web]}"
is "all of its memory is what it was, read by 8 threads" "$(fc web verify m 8)" same
fc web random 4000000 40000 3 >/dev/null
fc web drop 8192000 40960 >/dev/null
is "what its balloon dropped is zeros" "$(fc web read 8192000 8)" 0000000000000000
is "and stays so beside what came from the source" "$(fc web read 8232960 8)" \
	"$(xxd -s 8232960 -l 8 -p began)"
ok "pause" h web pause
ok "a diff over what it began as" h web snapshot m s
is "is one" "$(sed -n 's/^diff //p' out)" yes
fc web dump d >/dev/null
same "and is its memory" m d
exits "which is not what it was" 1 cmp -s m began
end_fc web

# Two regions, as with more than 3 GiB, and pages that are read for the first time by the snapshot.
cp m began
resume two two --split 5
is "regions" "$(fact two '.regions | length? // .')" 2
fc two random 6000000 4096 4 >/dev/null
h two pause
truncate -s 0 full && truncate -s 16M full
ok "a full snapshot of what was hardly touched" h two snapshot full s full
fc two dump d >/dev/null
same "reads everything from the pager" full d
is "and differs where it was written" "$(cmp -l full began | wc -l | awk '{print ($1 > 3000)}')" 1
end_fc two

# Nobody serves.
start_fc alone
exits "a session that is not there" 1 h alone load m s "uffd=$T/none.sock" run
like "is refused" "$(cat err)" "refuses to load the snapshot: .*No such file"
within 20 fc_ended alone
ok "and that is its end" fc_ended alone
done_testing
