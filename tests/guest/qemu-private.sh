#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# qemu-private.sh
#
# A guest with private RAM goes on for three generations: each is resumed from the layer of the
# one before (its RAM a private mapping of MNT/layers/ID/memfile), works, is paused, and what
# it wrote is put into a live image by tests/host/hyper (src/host/qemu.c, written.c), which is
# committed. Then each layer is resumed and asked. So is a guest whose RAM is the live
# image's memfile, shared, and one whose RAM lamina-pager serves.
# GUEST_SERIES=DIR names a finished series to use instead of recording one.
# Part of `make check-guest`, and a program of its own (TAP).

# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../pager/lib.sh
. "$srcroot/tests/pager/lib.sh"
# shellcheck source=lib.sh
. "$srcroot/tests/guest/lib.sh"
requires root fuse plain qemu jq setpriv python3
[ -x "$buildroot/tests/host/hyper" ] || skip_all "no tests/host/hyper: see make check-guest"

work_timeout=180
run_dir=$T	# of the guest's sockets and log
live=$T/mnt/live/web
at_exit stop_guest

series=${GUEST_SERIES:-$T/series}
if [ -z "${GUEST_SERIES:-}" ]; then
	"$guest_dir/series" "$series" 1 2>series.log || bail "no series: $(tail -n 1 series.log)"
fi

hyper() { "$buildroot/tests/host/hyper" qemu "$T/qmp" "$@"; }

fact() { hyper facts | sed -n "s/^$1 //p"; }

is_fact() { [ "$(fact "$1")" = "$2" ]; }

in_guest() { ctl shell "$T/serial" "$work_timeout" "$1"; }

layer_of() { # TAG: its directory in the mount
	realpath "$T/mnt/tags/$1"
}

# --- a generation ---

# The disk is the live image's, and so is the state.
start() { # RAM_FILE SHARE
	start_guest "$1" "$(stat -c %s "$1")" "$2" "$live/rootfs" ",file.locking=off" \
		-S -incoming defer
	within 20 hyper facts
}

resume() { # RAM_FILE SHARE
	start "$1" "$2" && is_fact state new && hyper load "$live/memfile" "$live/state" run
}

answers() { # NAME FILE: it says what is in there
	in_guest answer >answer || diag "$(cat qemu.log)"
	same "$1" answer "$2"
}

mapping_of() { # BYTES PATH: where it begins
	local range path
	while read -r range _ _ _ _ path; do
		[ "$path" = "$2" ] && ((0x${range#*-} - 0x${range%-*} == $1)) || continue
		echo $((0x${range%-*}))
		return
	done <"/proc/$guest_pid/maps"
	return 1
}

# All of its RAM, by another way than the one that is tested. Every page is read: afterwards
# they all are in the mapping.
dump() { # FILE BYTES PATH
	local at
	[ -n "$3" ] || { dump_paged "$@"; return; }
	at=$(mapping_of "$2" "$3") &&
		dd if="/proc/$guest_pid/mem" of="$1" bs=1M iflag=skip_bytes,count_bytes \
			skip="$at" count="$2" conv=sparse status=none && truncate -s "$2" "$1"
}

# What is still with the pager only QEMU itself can read. The first MiB, where the guest sees
# other things than RAM, is not looked at.
dump_paged() { # FILE BYTES
	cp --sparse=always "$live/memfile" "$1" && python3 - "$guest_dir" "$T" "$2" <<-'END' &&
		import sys
		sys.path.insert(0, sys.argv[1])
		import ctl
		MIB = 1 << 20
		ctl.Monitor(sys.argv[2] + "/qmp").ask("pmemsave", val=MIB, size=int(sys.argv[3]) - MIB,
		                                      filename=sys.argv[2] + "/physical")
	END
		dd if="$T/physical" of="$1" bs=1M seek=1 conv=notrunc status=none && rm "$T/physical"
}

count_of() { # NAME: of what a snapshot printed
	sed -n "s/^$1 //p" saved
}

# The guest works as generation K; paused, saved into the live image, which becomes a layer.
generation() { # K KIND-OF-WORK PATH: of the mapped file; "": it is paged
	local bytes
	bytes=$(stat -c %s "$live/memfile")
	in_guest "work $2" >work.log || diag "$(cat work.log)"
	in_guest answer >"answer-$1" && in_guest sync
	ok "generation $1 is paused" hyper pause
	ok "and stays so when it is paused again" hyper pause
	ok "it is saved into the live image" hyper snapshot "$live/memfile" "$live/state"
	cp out saved
	diag "$(tr '\n' ' ' <saved)"
	is "it is paused afterwards" "$(fact state)" paused
	ok "its RAM is read another way" dump "ram-$1" "$bytes" "$3"
	ok "the live image is synced" sync "$live/memfile" "$live/state" "$live/rootfs"
	same "the live image's memfile is its RAM" "ram-$1" "$live/memfile"
	ok "and is committed" lamina --store store live commit web --paused --tag "gen$1" --json
	cp out "commit-$1"
	same "the layer's memfile is its RAM, too" "ram-$1" "$T/mnt/tags/gen$1/memfile"
	rm "ram-$1"
}

end_guest() {
	stop_guest
	umount_store mnt && mount_store store mnt || bail "no mount"
}

lamina -q --store store init || bail "no store"
lamina -q --store store commit --memfile "$series/memfile-0" --rootfs "$series/rootfs-0" \
	--state "$series/state-0" --tag gen0 >/dev/null || bail "no layer"
mount_store store mnt || bail "no mount"
lamina -q --store store live create web --from gen0 || bail "no live image"
cp "$series/answer-0" answer-0

# --- private RAM, three generations ---

works=(- 1 4 2)
for k in 1 2 3; do
	ram=$(layer_of "gen$((k - 1))")/memfile
	ok "generation $k: a guest is resumed from the layer before" resume "$ram" off
	is "it runs" "$(fact state)" running
	answers "and answers as it did" "answer-$((k - 1))"
	generation "$k" "${works[k]}" "$ram"
	ok "less than a half of its RAM was written" \
		test "$(count_of memory)" -lt $(($(stat -c %s "$live/memfile") / 2))
	end_guest
done
ok "the last one was resumed and paused: it goes on" resume "$(layer_of gen3)/memfile" off
answers "as it was" answer-3
hyper pause
hyper snapshot "$live/memfile" "$live/state" >saved || bail "no second snapshot"
ok "a second snapshot writes what changed since: $(count_of memory) bytes" \
	test "$(count_of memory)" -lt $((20 << 20))
hyper snapshot "$live/memfile" "$live/state" >saved
is "a third one, of the same moment, nothing" "$(count_of memory)" 0
ok "and again, after another pause" hyper resume
answers "as it was" answer-3

# --- Ctrl-C in the middle, and again: the same guest ---

hyper pause
exits "a snapshot that is stopped says so" 1 hyper --stop 0 snapshot "$live/memfile" "$live/state"
like "in a sentence" "$(cat err)" 'stopped.*ECANCELED'
is "the guest is paused as before" "$(fact state)" paused
ok "and goes on" hyper resume
answers "as it was" answer-3
end_guest

# --- shared RAM, in the live image ---

ok "a guest runs in the live image" resume "$live/memfile" on
answers "it is the one that was committed" answer-3
generation 4 1 "$live/memfile"
is "nothing was written that is there already" "$(count_of memory)" 0
ok "it goes on in the same QEMU" hyper resume
answers "as it was" answer-4
end_guest	# what it did since is in the live image, but not in the layer
lamina -q --store store live rm web && lamina -q --store store live create web --from gen4 ||
	bail "no other live image"

# --- paged RAM ---

paged() {
	local preload=$buildroot/tests/guest/paged-ram.so ram
	ram=$(layer_of gen4)/memfile
	start_pager || bail "no pager"
	request POST /sessions "$(jq -cn --arg memfile "$ram" '{id: "web", $memfile}')"
	[ "$status" = 201 ] || bail "no session: $(cat body)"
	guest_env=("LD_PRELOAD=$preload" "PAGED_RAM_FILE=$ram" "PAGED_RAM_SOCKET=$T/run/web.sock")
	ok "a guest is paged" resume "$ram" off
	guest_env=()
	answers "it is the one that was committed" answer-4
	generation 5 4 ""
	stop_guest
	ok "its session ends with it" within 10 is_state web gone
}

n=5
if has userfaultfd && has lamina-pager && [ -e "$buildroot/tests/guest/paged-ram.so" ]; then
	paged
else
	skip "no pager, or no paged-ram.so"
	n=4
fi

# --- and each layer for itself ---

for ((k = 1; k <= n; k++)); do
	layer=$T/mnt/tags/gen$k
	ok "generation $k resumes from its layer" "$guest_dir/resume" --memfile "$layer/memfile" \
		--state "$layer/state" --rootfs "$layer/rootfs"
	cp out answer
	same "and answers as it did" answer "answer-$k"
done

done_testing
