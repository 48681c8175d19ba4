#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Guests come and go while workers, keepers, the daemon of the mount and guests are killed at
# random and pagers take over from each other; every byte is compared.  SOAK=600 lasts that long.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires lamina-pager curl jq userfaultfd root fuse
seed=${SEED:-$RANDOM}
seconds=${SOAK:-8}
echo "# SEED=$seed SOAK=$seconds"
export LAMINA_STORE=$T/store
mkimage mem.raw 2048 0-599:data=1 900-1999:data=2 2000-2047:noise=3
lamina -q init
layer=mnt/layers/$(lamina -q commit --memfile mem.raw)/memfile

mount_again() {
	lamina-fuse -f store mnt >>mnt.log 2>&1 &
	fuse_pid=$!
	within 20 test -e "$layer"
}
mkdir mnt
at_exit "umount -l '$T/mnt'"
mount_again || bail "cannot mount"
start_pager || bail "no pager"
kill_worker
kill_keeper
keeper_fds=$(fds_of "$(keeper_pid)")
worker_fds=$(fds_of "$(worker_pid)")

# --- guests ---

pick() { # WORD...
	shift $((RANDOM % $#))
	echo "$1"
}

# Again and again, because there may be no worker or no mount; 409: it is there after all.
make_session() { # ID
	local code
	for _ in {1..400}; do
		code=$(curl -s --max-time 20 --unix-socket "$sock" -o "$1.body" -w '%{http_code}' http://pager/sessions \
			-d "{\"id\":\"$1\",\"memfile\":\"$T/$(pick mem.raw "$layer")\",\"prefetch\":\"$(pick off 64K 2M adaptive)\"}")
		case $code in
		201 | 409) return 0 ;;
		000 | 422) sleep 0.05 ;;
		*) break ;;
		esac
	done
	echo "$1: status $code: $(cat "$1.body")" >>bad
	return 1
}

# Short lives, one after the other.
guests() { # NUMBER
	local n=0 id got
	RANDOM=$((seed + $1))
	while [ ! -e stop ]; do
		n=$((n + 1))
		id=g$1.$n
		make_session "$id" || return
		client -t 100 -f mem.raw -e "map auto 4M 0; map auto 4M 4M $(pick '' memfd); handoff run/$id.sock
			touch random count 200 seed $n $(pick '' write) threads 2; churn 1 $((seed + n)) threads $(pick 1 3 6)
			syscall count 100; check" >"$id.out" 2>&1 &
		echo $! >"pid.$1"
		got=0
		wait $! || got=$?
		if [ $got = 0 ]; then
			echo "$id" >>ended
		elif [ $got = 137 ]; then
			echo "$id" >>killed
		else
			echo "$id: status $got: $(tail -1 "$id.out")" >>bad
		fi
		rm -f "$id.out" "$id.body"
	done
}

# And long ones.
: >ended && : >killed && : >bad
for i in 1 2; do
	session "long$i" "$([ $i = 1 ] && echo mem.raw || echo "$layer")" || bail "no session"
	client -t $((seconds + 100)) -f mem.raw -e "map auto 4M 0; map auto 4M 4M memfd; handoff run/long$i.sock
		churn $seconds $((seed + i)) threads 3; check" >"long$i.out" 2>&1 &
	long[i]=$!
done
for i in 1 2 3; do
	guests $i 2>/dev/null &
	short[i]=$!
done
at_exit "touch '$T/stop'; kill -9 ${long[*]} ${short[*]}"

# --- and their enemies ---

take_over() {
	local old
	old=$(worker_pid)
	lamina-pager --foreground --socket "$sock" --runtime-dir "$T/run" --takeover >>pager.log 2>&1 &
	disown
	next_worker "$old"
}
kill_daemon() {
	kill -9 "$fuse_pid"
	wait "$fuse_pid"
	sleep "0.$((RANDOM % 4))"
	umount -l mnt
	mount_again
}
kill_guest() { # if there is one just now
	local pid
	pid=$(cat "pid.$((1 + RANDOM % 3))")
	[ "$(readlink "/proc/$pid/cwd")" != "$T" ] || kill -9 "$pid" || true
}

RANDOM=$seed
declare -A count
end=$((SECONDS + seconds))
while [ $SECONDS -lt $end ]; do
	deed=$(pick kill_worker kill_worker kill_worker kill_keeper kill_daemon kill_guest take_over)
	$deed 2>/dev/null || echo "$deed failed" >>bad
	count[$deed]=$((${count[$deed]:-0} + 1))
	sleep "0.0$((RANDOM % 10))"
done
touch stop
for deed in "${!count[@]}"; do
	echo "# $deed: ${count[$deed]}"
done

# --- the end ---

for i in 1 2; do
	wait "${long[i]}"
	is "a long life ends well" $? 0 || diag "$(tail -3 "long$i.out")"
done
wait "${short[@]}" 2>/dev/null
echo "# $(wc -l <ended) short lives, $(wc -l <killed) ended by force"
is "nothing was wrong" "$(cat bad)" "" || diag "$(tail -30 pager.log)"
ok "guests ended well" test -s ended
while read -r id; do # some of them had not come as far as the handoff
	request POST "/sessions/$id/close"
done <killed
ok "all sessions have ended" within 10 none_left ||
	diag "$(curl -s --unix-socket "$sock" http://pager/sessions | jq -c '.[] | select(.state != "gone") | [.id, .state, .reason]')"
close_all
kill_worker
as_before() {
	[ "$(fds_of "$(keeper_pid)")" = "$keeper_fds" ] && [ "$(fds_of "$(worker_pid)")" = "$worker_fds" ]
}
ok "no descriptor is left" within 10 as_before ||
	diag "keeper $keeper_fds, $(fds_of "$(keeper_pid)"); worker $worker_fds, $(fds_of "$(worker_pid)")"
is "nor a socket" "$(find run -name '*.sock' | sort | xargs -n1 basename | paste -sd' ')" "api.sock keeper.sock pager.sock"
done_testing
