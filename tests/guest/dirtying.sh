#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# dirtying.sh [COMPARISON...]
#
# What a generation of a Debian guest costs, and what makes it less. Each comparison boots
# two guests at the same time and gives them to `lamina measure-dirtying --ab-guest`:
# CYCLES (6) times each writes a little, logs, starts a process and idles for 5 s, and is
# paused and committed. (Once before that nobody measures: what runs for the first time
# comes from the disk.) Prints its tables, and the time that all of it took:
#
#	provision	Debian as it is, and provisioned
#	init-on-free	provisioned, and with init_on_free=1
#	reclaim		provisioned, and with every step of /reclaim before each pause
#	collapse	with reclaim, and with /collapse of all, too
#
# Not part of `make check-guest`: it measures. GUEST_DEBIAN=DIR names a finished guest.

# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=debian-lib.sh
. "$srcroot/tests/guest/debian-lib.sh"
debian_requires
requires loop lamina-agent
debian_image
cycles=${CYCLES:-6}
guests_dir=$run_dir

export work='head -c 64K /dev/urandom >>/root/written; logger -p user.notice "a line in the log"
	python3 -c "import json; json.dumps(list(range(1000)))"; sleep 5; sync'
reclaim="--reclaim '{\"fstrim\":9000,\"sync\":9000,\"drop_caches\":9000,\"compact_memory\":9000}'"

pids=()
declare -A booting	# of a guest: who waits until it has booted

stop_both() {
	local pid
	for pid in "${pids[@]}"; do
		end_process "$pid"
	done
	pids=()
}

turn_to() { # GUEST: run_dir, agent_port and ram are its
	run_dir=$guests_dir/$1
	ram=$T/mnt/live/$1/memfile
	[ ! -e "$run_dir/port" ] || agent_port=$(cat "$run_dir/port")
}

begin() { # GUEST: how it is booted is in its name
	turn_to "$1"
	mkdir "$run_dir"
	kernel_arguments=
	[[ $1 != *init-on-free* ]] || kernel_arguments=init_on_free=1
	cp --sparse=always "$debian/rootfs" disk
	[[ $1 = plain* ]] || debian_provision disk || bail "not provisioned"
	debian_live_start "$1" disk
	rm disk
	pids+=("$guest_pid")
	echo "$agent_port" >"$run_dir/port"
	"$guest/ctl.py" wait "$run_dir/serial" 240 &
	booting[$1]=$!
}

is_up() { # GUEST
	turn_to "$1"
	wait "${booting[$1]}" || explain "it does not boot"
	debian_record "$1"
	[[ $1 = plain* ]] || within 60 agent_answers || bail "no agent"
	in_guest "$work" || bail "it does not work"
}

compare() { # NAME GUEST GUEST [OPTION...]: of measure-dirtying
	local name=$1 a=$2 b=$3
	shift 3
	begin "$a"
	begin "$b"
	is_up "$a"
	is_up "$b"
	ok "measured: $name" lamina measure-dirtying "$a" --ab-guest "$b" --workload command \
		--cycles "$cycles" --workload-command \
		"'$guest/ctl.py' shell '$guests_dir'/\"\$LAMINA_GUEST\"/serial 120 \"\$work\" >&2" "$@"
	diag "$name: a is $a, b is $b"
	diag "$(cat out)"
	stop_both
	lamina -q live rm "$a" && lamina -q live rm "$b" || diag "the live images are left"
}

comparison() { # NAME
	case $1 in
	provision) compare "$1" plain provisioned-1 ;;
	init-on-free) compare "$1" provisioned-2 init-on-free ;;
	reclaim) compare "$1" provisioned-3 reclaimed-1 --ab "$reclaim" ;;
	collapse) compare "$1" reclaimed-2 collapsed --pause "$reclaim" --ab "$reclaim --collapse" ;;
	*) bail "there is no comparison '$1'" ;;
	esac
}

debian_store
at_exit stop_both
[ $# -gt 0 ] || set -- provision init-on-free reclaim collapse
for name; do
	comparison "$name"
done
diag "it took $SECONDS s"
done_testing
