#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Sessions whose memfile is a layer in the mount: its daemon is killed, mounted
# again, hangs; many clones of one layer.
. "$(dirname "$0")/../fuse/lib.sh"
. "$srcroot/tests/pager/solo-lib.sh"
requires userfaultfd

CLONES=64
has plain || CLONES=16
lamina -q init
mkimage mem.raw 4096 0-1199:data=1 2000-3999:data=2
id=$(commit -m mem.raw)
mkdir mnt
ok "mounted" lamina-fuse --pidfile pid store mnt
at_exit "umount -l '$T/mnt'"
layer=$T/mnt/layers/$id/memfile
start_solo

remount() { # with nothing in any cache
	ok "unmounted" within 10 lamina umount mnt
	ok "mounted again" lamina-fuse --pidfile pid store mnt
}

session plain "$layer"
ok "every byte of a layer" guest "map auto 16M 0; handoff run/plain.sock; touch random threads 8 shared; check"
session churn "$layer"
ok "churn" guest "map auto 8M 0; map auto 8M 8M memfd; handoff run/churn.sock; churn 1 7 threads 6; check"

remount
for ((i = 0; i < CLONES; i++)); do
	make_session "c$i" "$layer"
done
pids=()
for ((i = 0; i < CLONES; i++)); do
	client -t 100 -f mem.raw -e "map auto 16M 0; handoff run/c$i.sock; touch random seed $i; check" \
		>"c$i.out" 2>&1 &
	pids+=($!)
done
bad=0
for pid in "${pids[@]}"; do
	wait "$pid" || bad=$((bad + 1))
done
is "$CLONES clones of a layer at once: all bytes" $bad 0
is "each chunk has been decompressed once" "$(counter chunk_cache.misses)" \
	"$(counter 'chunk_cache | .entries + .evictions')"
is "and none again" "$(counter chunk_cache.evictions)" 0

# --- the daemon is killed, and mounted again ---

remount
session killed "$layer" ',"prefetch":"off"'
client -t 100 -f mem.raw -e "map auto 16M 0; handoff run/killed.sock; touch seq len 1M
	sleep 1; touch random threads 4; check" >killed.out 2>&1 &
guest_pid=$!
within 20 grep -q 'ok touch' killed.out
daemon=$(cat pid)
kill -9 "$daemon"
within 10 nobody_else "$daemon"
waits() { is_fact "$1" '.waiting_pages > 0' true; }
ok "the daemon is killed: the guest waits" within 20 waits killed
sleep 1
umount -l mnt
ok "it is mounted again" lamina-fuse --pidfile pid store mnt
ok "every byte is right" wait $guest_pid
ok "the session has ended" within 20 is_fact killed .state gone

# --- a tag that is another layer's then ---

mkimage mem2.raw 4096 0-1199:data=3 2000-3999:data=4
id2=$(commit -m mem2.raw)
lamina -q tag vm "$id"
identity() {
	stat -c '%i %Y %s' "$layer"
}
tagged=$T/mnt/tags/vm/memfile
ok "a tag" cmp "$tagged" mem.raw
was=$(identity)
remount
session tagged "$tagged" ',"prefetch":"off"'
client -t 100 -f mem.raw -e "map auto 16M 0; handoff run/tagged.sock; touch seq len 1M
	sleep 1; touch random threads 4; check" >tagged.out 2>&1 &
guest_pid=$!
within 20 grep -q 'ok touch' tagged.out
daemon=$(cat pid)
kill -9 "$daemon"
within 10 nobody_else "$daemon"
ok "the daemon is killed: the guest waits" within 20 waits tagged
umount -l mnt
lamina -q tag vm "$id2"
mkdir -p "mnt/layers/$id"
cp mem2.raw "mnt/layers/$id/memfile"
ok "where it was mounted there is another file: the log says so" within 20 \
	grep -q "tagged: '.*/layers/$id/memfile' is another file now" solo.log
ok "which the guest does not get" waits tagged
rm -r mnt/layers
ok "it is mounted again" lamina-fuse --pidfile pid store mnt
ok "the tag is the other layer's" cmp "$tagged" mem2.raw
ok "the guest has every byte of the first one" wait $guest_pid
is "a layer's file has one inode number and one time in all mounts" "$(identity)" "$was"

# --- the daemon hangs: others are served ---

remount
touches=()
for mib in 1 2 3 4 8 9 10 11 12 13 14; do
	dd if="$layer" of=/dev/null bs=4K skip=$((mib * 256)) count=1 status=none
	touches+=("touch seq off ${mib}M len 4K;")
done
session ahead "$layer" ',"prefetch":"2M"'
printf 'lamina-trace 1 page-size 4096 size %d\n0 4096\nend 4096\n' $((16 << 20)) >all.trace
for i in 1 2 3 4; do
	session "h$i" "$layer"
done
for i in 1 2 3 4 5 6; do
	session "r$i" "$layer" ',"prefetch":"off","trace":"'"$T"'/all.trace"'
done
stopped=$(cat pid)
stop "$stopped"
at_exit "kill -CONT $stopped"
threads() { find "/proc/$solo_pid/task" -mindepth 1 -maxdepth 1 | wc -l; }
before=$(threads)
client -t 100 -f mem.raw -e "map auto 16M 0; handoff run/ahead.sock; ${touches[*]} sleep 6; check" >ahead.out 2>&1 &
ahead=$!
touched() { [ "$(grep -c '^ok touch' ahead.out)" = ${#touches[@]} ]; }
ok "the daemon hangs: what is in the page cache is served" within 20 touched
sleep 3
ok "and few threads wait to read what is around it" [ "$(threads)" -le $((before + 8)) ]
pids=() replays=()
for i in 1 2 3 4; do
	client -t 100 -f mem.raw -e "map auto 16M 0; handoff run/h$i.sock; touch random threads 16 seed $i; check" \
		>"h$i.out" 2>&1 &
	pids+=($!)
done
hang() { is_fact h1 '.waiting_pages > 0' true && is_fact h4 '.waiting_pages > 0' true; }
ok "the daemon hangs, and all threads of four guests with it" within 20 hang
for i in 1 2 3 4 5 6; do
	client -t 100 -f mem.raw -e "map auto 16M 0; handoff run/r$i.sock; sleep 3; touch random; check" >"r$i.out" 2>&1 &
	replays+=($!)
	within 20 is_fact "r$i" .state serving
done
sleep 1
session beside mem.raw
ok "a guest of another memfile is served" client -t 20 -f mem.raw \
	-e "map auto 16M 0; handoff run/beside.sock; touch random threads 4; check"
ok "and its end is seen" within 20 is_fact beside .state gone
session weaned mem.raw
client -t 60 -f mem.raw -e "map auto 16M 0; handoff run/weaned.sock; touch seq count 1; hangup 50; check" \
	>weaned.out 2>&1 &
weaned=$!
within 20 is_fact weaned .state serving
[[ $(ask "complete weaned {}") =~ ^begun\ ([0-9]+)$ ]]
is "one of another memfile graduates" "$(ask "wait ${BASH_REMATCH[1]}" | jq -r .code)" ""
ok "with every byte" wait $weaned
kill -9 "${pids[3]}"
ok "the end of one that hangs is seen" within 20 is_fact h4 .state gone
kill -CONT "$stopped"
for i in 1 2 3; do
	ok "the daemon goes on: guest $i has every byte" wait "${pids[i - 1]}"
done
ok "so has the one that was in the page cache" wait $ahead
for i in 1 2 3 4 5 6; do
	ok "and guest $i of those that are replayed" wait "${replays[i - 1]}"
done

quit_solo
ok "nothing keeps the mount" within 10 lamina umount mnt
is "the sanitizers are content" "$(grep -E 'Sanitizer|runtime error' solo.log)" ""
done_testing
