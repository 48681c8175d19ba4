# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What the scripts here and ./quickstart share: how a script speaks and ends, and the
# description of the machine, which the end that saves a guest and the end that loads it
# must agree on.
#
# A script that sources this calls `guest_begin` once. From then on $run_dir is a
# directory of its own, and whatever way the script ends, Ctrl-C and SIGTERM included,
# its guest and its current child are ended, what it gave to `at_end` is run, and
# $run_dir is removed.

guest_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
run_dir=
guest_pid=
child_pid=
end_hooks=()
guest_env=()

say() { printf '%s: %s\n' "${SAY_AS:-${0##*/}}" "$*" >&2; }

die() { say "$*"; exit 1; }

usage() {  # the comment at the head of the script is its help
	sed -n '4,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"
}

usage_error() { say "$*"; usage >&2; exit 2; }

require() {  # TOOL...: exit 77, as tests that cannot run do
	local tool
	for tool in "$@"; do
		PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null && continue
		say "needs $tool, which is not installed (./quickstart packages lists all)"
		exit 77
	done
}

guest_begin() {
	PATH=$PATH:/usr/sbin:/sbin
	trap guest_end EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	run_dir=$(mktemp -d "${TMPDIR:-/var/tmp}/lamina-${0##*/}.XXXXXX")
}

at_end() { end_hooks+=("$1"); }  # FUNCTION: the last one given is the first one run

guest_end() {
	local i
	trap '' HUP INT TERM
	[[ -z $child_pid ]] || end_process "-$child_pid"
	stop_guest
	for ((i = ${#end_hooks[@]} - 1; i >= 0; i--)); do
		"${end_hooks[i]}" || true
	done
	[[ -z $run_dir ]] || rm -rf --one-file-system "$run_dir"
}

# end_process PID or -GROUP: TERM, and KILL if that is not heard within ten seconds.
end_process() {
	local try
	[[ -n $1 ]] || return 0
	kill -- "$1" 2>/dev/null || return 0
	for ((try = 0; try < 100; try++)); do
		kill -0 -- "$1" 2>/dev/null || return 0
		sleep 0.1
	done
	kill -KILL -- "$1" 2>/dev/null || true
}

# await COMMAND...: run it in a process group of its own, so that a signal to this script
# is heard at once and ends all of that group. (For a foreground child bash would first
# wait until the child has ended.)
await() {
	local rc=0
	set -m
	"$@" </dev/null &
	child_pid=$!
	set +m
	wait "$child_pid" || rc=$?
	child_pid=
	return "$rc"
}

ctl() { await "$guest_dir/ctl.py" "$@"; }

# guest_argv RAM_FILE RAM_BYTES SHARE DISK_FILE DISK_OPTIONS [QEMU ARGUMENT...]
# Leaves in $argv how the machine is started. Its sockets are $run_dir/serial and
# $run_dir/qmp, or what $qmp says.
guest_argv() {
	local ram=${1//,/,,} bytes=$2 share=$3 disk=${4//,/,,} options=$5
	shift 5
	# shellcheck disable=SC2054	# the commas are QEMU's
	argv=(qemu-system-x86_64
		-nodefaults -no-user-config -no-reboot -display none
		-machine "q35,memory-backend=ram,vmport=off,smbus=off,sata=off,usb=off"
		-accel "tcg,thread=multi" -cpu max -smp 2 -m "${bytes}B"
		-object "memory-backend-file,id=ram,size=$bytes,share=$share,mem-path=$ram"
		-drive "id=root,if=none,format=raw,file=$disk$options"
		-device "virtio-blk-pci,drive=root"
		-chardev "socket,id=serial,server=on,wait=off,path=$run_dir/serial"
		-serial chardev:serial
		-qmp "unix:${qmp:-$run_dir/qmp},server=on,wait=off"
		"$@")
}

# start_guest ...: as guest_argv takes it. Starts the machine, which dies with this script
# even if that is killed. guest_env has NAME=VALUEs for its environment alone.
start_guest() {
	local argv
	guest_argv "$@"
	env "TMPDIR=$run_dir" "${guest_env[@]}" setpriv --pdeathsig TERM "${argv[@]}" \
		</dev/null >"$run_dir/qemu.log" 2>&1 &
	guest_pid=$!
}

stop_guest() {
	end_process "$guest_pid"
	guest_pid=
}

# explain MESSAGE: end with it and with what QEMU said, if it said anything.
explain() {
	[[ ! -s $run_dir/qemu.log ]] || sed 's/^/qemu: /' "$run_dir/qemu.log" >&2
	die "$*"
}

seconds_between() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", b - a }'; }
