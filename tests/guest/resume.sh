#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# resume.sh
#
# A booted Debian under QEMU goes on for three generations by `lamina pause` and `lamina
# resume` alone: paused with something frozen, resumed under a new name with private RAM,
# which is thawed, has the right clock, and knows what every generation before wrote. Then
# once more, its RAM served by lamina-pager; and what fails leaves nothing behind. Part of
# `make check-guest`, and a program of its own (TAP). GUEST_DEBIAN=DIR names a finished guest.

# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../pager/lib.sh
. "$srcroot/tests/pager/lib.sh"
# shellcheck source=debian.sh
. "$srcroot/tests/guest/debian.sh"
debian_requires
requires loop lamina-agent
debian_image

told() { # NAME FILTER
	jq -r "$2" "$1.json"
}

busy() { in_guest 'cat /run/busy'; }

other_than() { [ "$(busy)" != "$1" ]; }

goes_on() {
	local before
	before=$(busy) && within 20 other_than "$before"
}

wrote() { # the generations that it has in its memory, and on its disk
	in_guest 'echo $(cat /run/wrote) : $(cat /root/wrote)'
}

# --- a generation ---

# It works, its clock is put wrong, and it is paused. What it answers is the same guest's.
generation() { # NAME K
	in_guest "echo $2 >>/run/wrote; echo $2 >>/root/wrote; date -s @981173106" >"$T/date" ||
		bail "no work"
	ok "generation $2: guest $1 is paused" \
		timeout 200 lamina pause "$1" --json --freeze busy.slice --tag "gen$2"
	cp out "gen$2.json"
	is "all that was asked for is done" "$(told "gen$2" '[.steps[] | select(.step != "drain") |
		select(.result != "done" and .result != "skipped") | .step] | join(" ")')" ""
	diag "$(told "gen$2" '"paused for \(.paused_seconds * 1000 | round) ms, \([.images[] |
		"\(.image) \(.diff_bytes / 1048576 * 10 | round / 10) MiB"] | join(", "))"')"
}

resume() { # LAYER NAME COMMAND...
	timeout 200 lamina resume "$1" --json --name "$2" --hypervisor qemu \
		--socket "$run_dir/qmp" --agent "tcp:127.0.0.1:$agent_port" \
		--agent-token-file token --mount mnt -- "${@:3}"
}

# The first one of all that a layer has: its agent answers, and it is as it was.
resumes() { # LAYER NAME WROTE [VARIABLE=VALUE...]
	local argv
	qmp='{socket}' debian_argv '{memfile}' '{rootfs}'
	ok "it is resumed as guest $2" resume "$1" "$2" env "TMPDIR=$run_dir" "${@:4}" "${argv[@]}" ||
		bail "not resumed: $(tail -n 3 "run/guests/$2.log")"
	cp out "$2.json"
	guest_pid=$(told "$2" .pid)
	is "its agent answers, and is told" "$(told "$2" .told)" true
	diag "QEMU after $(told "$2" '.start_seconds * 1000 | round') ms, load $(
		told "$2" '.load_seconds * 1000 | round') ms, first answer after $(
		told "$2" '.answer_seconds * 1000 | round') ms"
	ok "what was frozen goes on" goes_on
	ok "its clock is right to a minute" test $(($(date +%s) - $(in_guest 'date +%s'))) -lt 60
	is "it is the guest that was paused" "$(wrote)" "$3 : $3"
}

# --- a guest on a live image ---

debian_store
cp --sparse=always "$debian/rootfs" disk
debian_provision disk || bail "no agent in it"
debian_live web disk
rm disk
within 60 agent_answers || bail "no agent"
in_guest 'mkdir /sys/fs/cgroup/busy.slice
	(echo $BASHPID >/sys/fs/cgroup/busy.slice/cgroup.procs
	 while :; do i=$((i + 1)); echo $i >/run/busy.new; mv /run/busy.new /run/busy; done) &' \
	>/dev/null

# --- three generations ---

generation web 1
debian_stop

resumes gen1 web2 1
lamina guest show web2 --json >record.json
is "its record has its live image, its layer, its pid" \
	"$(told record '[.live, .layer, .pid, .backend] | join(" ")')" \
	"$(told web2 '[.live, .layer, .pid, .backend] | join(" ")')"
is "of what it was resumed from" "$(told record .layer)" "$(told gen1 .layer)"
is "and what was run" "$(told record '.command[0], .log')" "env
$T/run/guests/web2.log"
exits "it is not resumed twice" 4 resume gen1 web2 true
generation web2 2
is "as a child of what it was resumed from" "$(told gen2 .commit.parent)" "$(told gen1 .layer)"
ok "of which less than a half of the memory is not the same" \
	test "$(told gen2 '.images[] | select(.image == "memfile").diff_bytes')" -lt $((ram_mib << 19))
ok "it goes on" goes_on
debian_stop

resumes gen2 web3 "1 2"
generation web3 3
debian_stop

# --- paged ---

paged() {
	start_pager || bail "no pager"
	request POST /sessions "$(jq -cn --arg memfile "$(realpath mnt/tags/gen3)/memfile" \
		'{id: "web4", $memfile}')"
	[ "$status" = 201 ] || bail "no session: $(cat body)"
	resumes gen3 web4 "1 2 3" "LD_PRELOAD=$buildroot/tests/guest/paged-ram.so" \
		'PAGED_RAM_FILE={memfile}' "PAGED_RAM_SOCKET=$T/run/web4.sock"
	request GET /sessions/web4
	diag "$(jq -r '"\(.counters.faults) faults, \(.resident_bytes / 1048576 | round) MiB installed"' body)"
	generation web4 4
	debian_stop
}

if has userfaultfd && has lamina-pager && [ -e "$buildroot/tests/guest/paged-ram.so" ]; then
	paged
else
	skip "no pager, or no paged-ram.so"
fi

# --- what fails ---

nothing_of() { # NAME
	is "nothing of it is left" \
		"$(lamina live ls -q | grep -cx "$1") $(lamina guest ls -q | grep -cx "$1")" "0 0"
	ok "and nobody listens" test ! -e "$run_dir/qmp" -o -z "$(pgrep -f "unix:$run_dir/qmp")"
}

qmp='{socket}' debian_argv '{memfile}' '{rootfs}'
exits "a layer without a device state is not resumed" 1 resume web-disk web5 "${argv[@]}"
like "which is told" "$(cat err)" "layer 'web-disk' has no image"
nothing_of web5
exits "nor is one whose QEMU does not start" 1 resume gen3 web5 "${argv[@]}" -nonsense
like "whose log is named" "$(cat err)" "has ended \(exit status 1\): see '$T/run/guests/web5.log'"
like "and says why" "$(cat run/guests/web5.log)" "nonsense"
nothing_of web5
qmp='{socket}' ram_mib=256 debian_argv '{memfile}' '{rootfs}'
exits "nor into a machine of another size" 1 resume gen3 web5 "${argv[@]}"
like "whose log is named, too" "$(cat err)" "has ended \(.*\): see '$T/run/guests/web5.log'"
diag "$(cat run/guests/web5.log)"
nothing_of web5

done_testing
