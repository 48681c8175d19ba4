# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What the shell tests share.  A test begins with
#
#	. "$(dirname "$0")/../lib.sh"
#	requires fuse jq
#
# and ends with `done_testing`.  It has a directory $T of its own, is in it, and
# finds the programs of the build tree in PATH.  Checks take their name first:
#
#	ok NAME COMMAND...		the command succeeds
#	exits NAME STATUS COMMAND...	it exits with STATUS
#	is NAME GOT WANT		two strings are equal
#	like NAME GOT REGEX		GOT matches the extended REGEX
#	same NAME FILE FILE		two files have the same bytes
#
# After `ok` and `exits`, $T/out and $T/err hold what the command wrote.

set -u -o pipefail
export LC_ALL=C TZ=UTC

_self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
srcroot=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
buildroot=${LAMINA_BUILDDIR:-$srcroot}
PATH=$buildroot/src:$buildroot/fuse:$buildroot/tests:/usr/sbin:/sbin:$PATH
PATH=${LAMINA_PATH:+$LAMINA_PATH:}$PATH	# as of `make check-valgrind`
LAMINA_FUSE=${LAMINA_PATH:-$buildroot/fuse}/lamina-fuse
export PATH LAMINA_FUSE
unset LAMINA_STORE LAMINA_FAULT LAMINA_FAULT_COUNT

# Freed memory is filled, so that a use after free is seen.
if [ -z "${MALLOC_PERTURB_:-}" ]; then
	MALLOC_PERTURB_=$((RANDOM % 255 + 1))
fi
export MALLOC_PERTURB_

_count=0
_failed=0
_hooks=()

# --- the directory of this run, and the end ---

at_exit() { # COMMAND-LINE: run at the end, last registered first, always
	_hooks+=("$1")
}

_is_ours() { # PID: a child of this test, or somebody with its environment
	grep -qs "^PPid:[[:space:]]*$$\$" "/proc/$1/status" ||
		grep -qszFx "LAMINA_TEST=$T" "/proc/$1/environ"
}

_kill_ours() { # [-SIGNAL] PID...
	local signal=-TERM pid
	[[ ${1:-} != -* ]] || { signal=$1; shift; }
	for pid; do
		_is_ours "$pid" && builtin kill "$signal" "$pid"
	done
}

_finish() {
	local status=$? i
	trap - EXIT
	cd / || true
	# Whom a hook kills may have ended, and its number be somebody else's by now.
	kill() { _kill_ours "$@"; }
	for ((i = ${#_hooks[@]} - 1; i >= 0; i--)); do
		eval "${_hooks[i]}" </dev/null >/dev/null 2>&1 || true
	done
	if [ -n "${KEEP:-}" ]; then
		echo "# kept: $T"
	else
		rm -rf --one-file-system "$T"
	fi
	exit "$status"
}

_tmp=${LAMINA_TEST_TMPDIR:-$buildroot/tests/tmp}
mkdir -p "$_tmp"
T=$(mktemp -d "$_tmp/$(basename "$0" .sh).XXXXXX") || exit 99
export LAMINA_TEST=$T		# a mark of what this test starts
trap _finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
cd "$T" || exit 99
: >"$T/none.conf"
export LAMINA_CONF=$T/none.conf	# not the one of this machine

echo "# $_self (MALLOC_PERTURB_=$MALLOC_PERTURB_)"

# --- what a test needs ---

skip_all() { # REASON
	echo "1..0 # SKIP $*"
	exit "${LAMINA_SKIP_STATUS:-77}"
}

_has_fuse() {
	[ -c /dev/fuse ] && (exec 3<>/dev/fuse) 2>/dev/null &&
		{ [ "$(id -u)" = 0 ] || command -v fusermount3 >/dev/null; } &&
		command -v lamina-fuse >/dev/null
}

_has_loop() {
	[ "$(id -u)" = 0 ] && losetup -f >/dev/null 2>&1
}

_has_mount() { # may mount file systems: not every root may
	[ "$(id -u)" = 0 ] && mkdir -p "$T/.mnt" && mount -t tmpfs none "$T/.mnt" 2>/dev/null &&
		umount "$T/.mnt"
}

_lacks() { # FEATURE: prints why it is not here, if it is not
	case $1 in
	fuse) _has_fuse || echo "no usable /dev/fuse, or no lamina-fuse" ;;
	root) [ "$(id -u)" = 0 ] || echo "not root" ;;
	kvm) (exec 3<>/dev/kvm) 2>/dev/null || echo "no usable /dev/kvm" ;;
	qemu) command -v qemu-system-x86_64 >/dev/null || echo "no qemu-system-x86_64" ;;
	userfaultfd) [ -e /proc/sys/vm/unprivileged_userfaultfd ] || echo "no userfaultfd" ;;
	loop) _has_loop || echo "no usable loop devices" ;;
	mount) _has_mount || echo "may not mount" ;;
	plain) [ -z "${LAMINA_SANITIZED:-}${LAMINA_VALGRIND:-}" ] || echo "under a sanitizer or valgrind" ;;
	*) command -v "$1" >/dev/null || echo "no $1" ;;
	esac
}

requires() { # FEATURE...: fuse root kvm qemu userfaultfd loop mount, or a program's name
	local feature reason
	for feature; do
		reason=$(_lacks "$feature")
		[ -z "$reason" ] || skip_all "$reason"
	done
}

has() { # FEATURE: for a part of a test
	[ -z "$(_lacks "$1")" ]
}

# --- checks ---

diag() {
	printf '%s\n' "$*" | sed 's/^/# /'
}

_where() { # file:line of the check: the innermost frame that is in no lib.sh
	local i=1
	while [[ ${BASH_SOURCE[i]:-} == *lib.sh && -n ${BASH_SOURCE[i + 1]:-} ]]; do
		i=$((i + 1))
	done
	echo "$(basename "${BASH_SOURCE[i]}"):${BASH_LINENO[i - 1]}"
}

_result() { # GOOD NAME
	_count=$((_count + 1))
	if [ "$1" = 0 ]; then
		echo "ok $_count - ${2//#/ }"
	else
		_failed=$((_failed + 1))
		echo "not ok $_count - ${2//#/ }"
		diag "failed at $(_where)"
	fi
	return "$1"
}

pass() { _result 0 "$1"; }
fail() { _result 1 "$1"; }

skip() { # REASON [N]: N checks (1) that cannot be made here
	local i
	for ((i = 0; i < ${2:-1}; i++)); do
		_count=$((_count + 1))
		echo "ok $_count # SKIP $1"
	done
}

bail() {
	echo "Bail out! $*"
	exit 99
}

_show_output() {
	diag "command: $*"
	sed 's/^/# out: /' "$T/out" | head -20
	sed 's/^/# err: /' "$T/err" | head -20
}

exits() { # NAME STATUS COMMAND...
	local name=$1 want=$2 got=0
	shift 2
	"$@" >"$T/out" 2>"$T/err" || got=$?
	if [ "$got" = "$want" ]; then
		_result 0 "$name"
		return
	fi
	_result 1 "$name"
	diag "exit status $got, want $want"
	_show_output "$@"
	return 1
}

ok() { # NAME COMMAND...
	local name=$1 got=0
	shift
	"$@" >"$T/out" 2>"$T/err" || got=$?
	[ "$got" = 0 ] && { _result 0 "$name"; return; }
	_result 1 "$name"
	diag "exit status $got"
	_show_output "$@"
	return 1
}

is() { # NAME GOT WANT
	[ "$2" = "$3" ] && { _result 0 "$1"; return; }
	_result 1 "$1"
	diag "got:  $2"
	diag "want: $3"
	return 1
}

like() { # NAME GOT REGEX
	[[ $2 =~ $3 ]] && { _result 0 "$1"; return; }
	_result 1 "$1"
	diag "got:      $2"
	diag "unlike:   $3"
	return 1
}

same() { # NAME FILE FILE
	ok "$1" cmp -- "$2" "$3"
}

done_testing() {
	[ "$_count" -gt 0 ] || bail "no checks were made"
	echo "1..$_count"
	[ "$_failed" = 0 ]
	exit
}

# --- time ---

within() { # SECONDS COMMAND...: repeats the command until it succeeds
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.05
	done
}

_all_stopped() { # PID
	! grep -h '^State:' "/proc/$1"/task/*/status | grep -qv 'T (stopped)'
}

stop() { # PID: SIGSTOP, which is not at once
	kill -STOP "$1" && within 20 _all_stopped "$1"
}

# --- mounts and images ---

is_mounted() { # DIR
	grep -qs " $(realpath -m "$1") fuse" /proc/self/mounts
}

# Mounts a store, waits until it is readable, unmounts at the end.  The daemon
# stays in the foreground; its pid is in $fuse_pid, its log in MNT.log.
mount_store() { # STORE MNT [OPTION...]
	local store=$1 mnt=$2
	shift 2
	mkdir -p "$mnt"
	"${FUSE_PROGRAM:-lamina-fuse}" -f "$@" "$store" "$mnt" >"$mnt.log" 2>&1 &
	fuse_pid=$!
	# shellcheck disable=SC2064
	at_exit "cd /; umount_store '$(realpath "$mnt")' || umount -l '$(realpath "$mnt")'; kill $fuse_pid"
	within 20 is_mounted "$mnt" && ls "$mnt/layers" >/dev/null && return
	sed 's/^/# /' "$mnt.log"
	return 1
}

umount_store() { # MNT
	is_mounted "$1" || return 0
	if [ "$(id -u)" = 0 ]; then
		umount "$1"
	else
		fusermount3 -u "$1"
	fi
}

# --- kill -9 at every step ---

# Counts calls of KIND that COMMAND makes (see tests/fault.h).
count_faults() { # KIND COMMAND...
	local kind=$1
	shift
	rm -f "$T/.count"
	LAMINA_FAULT_COUNT=$T/.count "$@" >"$T/out" 2>"$T/err" || return
	awk -v k="$kind" '$1 == k {n += $2} END {print n + 0}' "$T/.count"
}
