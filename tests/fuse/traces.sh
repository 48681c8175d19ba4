#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A layer's traces are files beside its images; changes show by themselves.
. "$(dirname "$0")/lib.sh"

lamina -q init
mkimage a.raw 512 0-40:data=1
id=$(commit -m a.raw --tag t)
mount_store store mnt || bail "cannot mount"
traces=mnt/layers/$id/traces

trace() { # FILE PAGE...
	local file=$1 page
	shift
	{
		echo "lamina-trace 1 page-size 4096 size 2097152"
		for page; do echo "$page 1"; done
		echo "end $#"
	} >"$file"
}
trace one 7 3 100
trace two 9 1 300 5 77

is "none yet" "$(ls -A "$traces")" ""
ok "no such file" test ! -e "$traces/resume"
lamina trace import t one
is "one that was imported is there at once" "$(ls -A "$traces")" "resume"
same "with its text" one "$traces/resume"
same "through the tag" one mnt/tags/t/traces/resume
is "its size" "$(stat -c %s "$traces/resume")" "$(stat -c %s one)"
is "mode and links" "$(stat -c '%A %h' "$traces/resume")" "-r--r----- 1"
is "its inode number is that of the list" "$(stat -c %i "$traces/resume")" \
	"$(find "$traces" -name resume -printf '%i\n')"
lamina trace import t two
same "replaced, it is the new one at once" two "$traces/resume"
is "with its size" "$(stat -c %s "$traces/resume")" "$(stat -c %s two)"
lamina trace import --name web t one
is "both are listed" "$(ls "$traces" | tr '\n' ' ')" "resume web "
is "inode numbers do not repeat" "$(find mnt -printf '%i\n' | sort | uniq -d)" ""
ok "lamina reads it there" lamina trace show "./$traces/web"
ok "and imports it" lamina trace import --name copy t "$traces/web"
same "unchanged" one "$traces/copy"

exec 8<"$traces/resume"
lamina trace rm t resume
ok "one that was removed is gone at once" test ! -e "$traces/resume"
is "also from the list" "$(ls "$traces" | tr '\n' ' ')" "copy web "
is "who has it open reads on" "$(cat <&8)" "$(cat two)"
exec 8<&-

exits "it cannot be written" 1 bash -c "echo x >>'$traces/web'"
like "because that is read-only" "$(cat err)" "Read-only file system"
exits "nor removed" 1 rm -f "$traces/web"
exits "nor made" 1 touch "$traces/new"
same "it is as it was" one "$traces/web"

cd "$traces" || bail "cannot enter $traces"
lamina --quiet rm --force "$id"
is "they go with their layer" "$(cat web 2>&1)" "cat: web: No such file or directory"
is "all of them" "$(ls -A)" ""
cd "$T" || exit
is "committed again" "$(commit -m a.raw)" "$id"
is "it has none" "$(ls -A "$traces")" ""
is "nothing was logged" "$(grep -c -i trace mnt.log)" "0"
done_testing
