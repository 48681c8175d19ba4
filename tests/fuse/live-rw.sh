#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A live image is a file like any other: read, written, mapped, cut, and there the next time.
. "$(dirname "$0")/live-lib.sh"

lamina -q init
mkimage mem.raw 1000 0-99:data=1 200:fill=7 300-799:noise=3
mkimage disk.raw 100 0-9:noise=9
id=$(commit -m mem.raw -r disk.raw)
mount_store store mnt || bail "cannot mount"
is "there is a directory for them" "$(ls -a mnt | tr '\n' ' ')" ". .. .stats layers live tags "
is "which is empty" "$(ls mnt/live)" ""
live_create x "$id"
f=mnt/live/x/memfile

# --- names ---

is "one has come" "$(ls mnt/live)" x
is "its files are the layer's" "$(ls mnt/live/x)" $'memfile\nrootfs'
ok "no other name" test ! -e mnt/live/y
ok "nor a bad one" test ! -e mnt/live/...
ok "no other file" test ! -e mnt/live/x/state
links() { [ "$(stat -c %h mnt/live)" = "$1" ]; }
ok "the directory's link count" within 20 links 3
is "inode numbers are what a listing says" "$(stat -c %i mnt/live/x)" \
	"$(find mnt/live -name x -printf %i)"
is "modes" "$(stat -c %a mnt/live mnt/live/x "$f" | tr '\n' ' ')" "550 550 640 "
is "the size" "$(stat -c %s "$f")" $((1000 * 4096))
is "blocks, of one that is closed" "$(blocks "$f")" "$(blocks "mnt/layers/$id/memfile")"
same "bytes" mem.raw "$f"
ok "and it is closed again" within 20 closed

exits "mkdir" 1 mkdir mnt/live/z
exits "create" 1 touch mnt/live/x/z
exits "unlink" 1 rm -f "$f"
exits "rmdir" 1 rmdir mnt/live/x
exits "rename" 1 mv mnt/live/x mnt/live/z
like "and the reason is" "$(cat err)" "Read-only file system"
probe_is "chmod" EPERM call "$f" chmod
probe_is "chown" EPERM call "$f" chown
mtime=$(stat -c %Y "$f")
probe_is "times may be set" ok call "$f" utime
is "but stay what they are" "$(stat -c %Y "$f")" "$mtime"

# --- writing ---

cp mem.raw model
exec 5<>"$f"
put() { # HOW OFF LEN BYTE
	writer_is "$1 $3 at $2" ok put "$f" "$@"
	writer put model "$@" >/dev/null
}
size() {
	is "$1: the size" "$(stat -c %s "$f")" "$(stat -c %s model)"
	same "$1: the bytes" model "$f"
}
put write 409600 4096 0x11
put write 5000 100 0x12
put write 4090 10000 0x13
put write 819200 3000000 0x14
put write 123456 1 0x15
put append 0 5000 0x16
put direct 40960 8192 0x17
put direct 4100096 4096 0x1e
put shared 61000 20000 0x18
put unsynced 1300000 9000 0x19
put private 0 4096 0x1a
size "written"
put write 5000000 100 0x1b
size "written behind the end"
probe evict "$f" >/dev/null
size "from the daemon"
ok "the layer is as it was" cmp mem.raw "mnt/layers/$id/memfile"
ok "it has a time of its own" test "$f" -nt mem.raw

cut_off() { # SIZE
	truncate -s "$1" "$f" model
	size "cut to $1"
}
cut_off 3000001
cut_off 3500000
cut_off 100
cut_off 8000000
probe evict "$f" >/dev/null
size "and from the daemon"
: >model
: >"$f"
size "opened with O_TRUNC"
is "no blocks" "$(blocks "$f")" 0
truncate -s 4096000 "$f" model
probe_is "is one hole" "hole 0-4096000 end" runs "$f"
put write 40960 4096 0x1c
put write 1638400 8192 0x1d
probe_is "runs" "hole 0-40960 data 40960-45056 hole 45056-1638400 data 1638400-1646592 hole 1646592-4096000 end" \
	runs "$f"
probe_is "seek data" 1638400 seek "$f" data 45056
probe_is "seek hole" 45056 seek "$f" hole 40960
is "blocks" "$(blocks "$f")" $((3 * 4096))

allocate() { # MODE OFF LEN
	writer_is "fallocate $1 $3 at $2" ok fallocate "$f" "$@"
	writer fallocate model "$@" >/dev/null
	size "fallocate $1 $3 at $2"
}
put write 0 200000 0x21
allocate punch 4096 8192
allocate punch 20000 10000
like "what was punched is holes" "$(probe runs "$f")" \
	"^data 0-4096 hole 4096-12288 data 12288-20480 hole 20480-28672 data 28672-200704 hole"
allocate punch 3000000 9000000
allocate zero 50000 10000
allocate zerokeep 70000 10000
allocate zerokeep 4090000 9000000
allocate zero 4090000 10000
allocate alloc 4200000 10000
allocate keep 6000000 10000
writer_is "other modes are not known" EOPNOTSUPP fallocate "$f" collapse 0 4096
exec 5<&-

# --- who has it, and the end of the daemon ---

exec 5<>"$f"
printf 'synced' >&5
writer put model write 0 0 0 >/dev/null
printf 'synced' 1<>model >&1
writer_is "fsync" ok fsync "$f"
time=$(stat -c %y "$f")
livectl_like "nobody else can open it" "^EBUSY .*$fuse_pid" hold store x
first=$fuse_pid
mount_store store mnt2 || bail "cannot mount twice"
probe_is "nor another daemon" EBUSY open mnt2/live/x/memfile r
like "whose log says who has it" "$(cat mnt2.log)" "$first"
fuse_pid=$first
kill_daemon mnt
exec 5<&-
same "what was synced is there, in the next" model mnt2/live/x/memfile
ok "which lets go of it" within 20 sh -c 'test "$(jq .live mnt2/.stats)" = 0'
is "closed, it has its time" "$(stat -c %y mnt2/live/x/memfile)" "$time"
umount_store mnt2
mount_store store mnt || bail "cannot mount again"
same "and the one after it" model "$f"
ok "closed" within 20 closed

# --- what the kernel has cached ---

cat "$f" >/dev/null
ok "closed" within 20 closed
livectl_like "somebody else writes" '^ok' write store x memfile 8192 0x77
writer put model write 8192 4096 0x77 >/dev/null
same "who opens it then sees that" model "$f"
exec 5<"$f"
cat "$f" >/dev/null
bytes=$(counter bytes_read)
still_cached() { # but for the few pages that the kernel may drop at any time
	[ $(($(counter bytes_read) - bytes)) -lt $(($(stat -c %s "$f") / 10)) ]
}
cat "$f" >/dev/null
ok "as long as it is open it stays cached" still_cached
exec 5<&-
ok "closed" within 20 closed
cat "$f" >/dev/null
ok "and when it is opened again, if nobody else had it" still_cached
bytes=$(counter bytes_read)
ok "closed" within 20 closed
livectl_like "somebody else has it again" '^ok' write store x memfile 8192 0x77
cat "$f" >/dev/null
ok "then it is read anew" [ $(($(counter bytes_read) - bytes)) -ge "$(stat -c %s "$f")" ]

# --- requests ---

writes=$(counter requests.write)
bytes=$(counter bytes_written)
syncs=$(counter requests.fsync)
dd if=/dev/zero of="$f" bs=1M count=3 conv=notrunc,fsync status=none
is "a MiB is one request" "$(($(counter requests.write) - writes)) $(($(counter bytes_written) - bytes))" \
	"3 $((3 << 20))"
is "syncs" "$(($(counter requests.fsync) - syncs))" 1
is "no errors" "$(counter errors) $(counter read_errors) $(counter write_errors)" "0 0 0"

# --- removed, and another of the name ---

hold "$f" "$f" open
livectl_like "one that is open cannot be removed" '^EBUSY' rm store x
release >/dev/null
ok "closed" within 20 closed
inode=$(stat -c %i mnt/live/x)
livectl_like "removed" '^ok' rm store x
ok "it is gone" test ! -e "$f"
sleep 1
live_create x - memfile=8192
is "another of that name" "$(stat -c %s "$f")" 8192
ok "has another number" test "$inode" != "$(stat -c %i mnt/live/x)"
ok "and is empty" cmp -n 8192 /dev/zero "$f"
ok "it has no other file" test ! -e mnt/live/x/rootfs
umount_store mnt

# --- options ---

mount_store store mnt -o ro
probe_is "ro: no writing" EROFS open "$f" rw
probe_is "ro: reading" ok open "$f" r
probe_is "ro: no cutting" EROFS call "$f" truncate
umount_store mnt
mount_store store mnt -o mode=0460,uid=1,gid=2
is "options" "$(stat -c '%a %u %g' "$f")" "660 1 2"
umount_store mnt
mount_store store mnt -o mode=0044
is "who may not read may not write" "$(stat -c %a "$f")" 44
done_testing
