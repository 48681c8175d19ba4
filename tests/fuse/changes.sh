#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What other processes commit, tag and remove shows by itself.
. "$(dirname "$0")/lib.sh"

lamina -q init
mkimage a.raw 50 0-40:data=1
mkimage b.raw 50 0-40:data=2
mount_store store mnt || bail "cannot mount"
is "nothing yet" "$(ls mnt/layers mnt/tags)" $'mnt/layers:\n\nmnt/tags:'
ok "no such tag" test ! -e mnt/tags/t

a=$(commit -m a.raw --tag t)
same "a new tag, at once" a.raw mnt/tags/t/memfile
is "a new layer" "$(ls mnt/layers)" "$a"
b=$(commit -m b.raw --tag t)
is "the tag has moved" "$(readlink mnt/tags/t)" "../layers/$b"
same "and so has what it leads to" b.raw mnt/tags/t/memfile
is "both are there" "$(ls mnt/layers | sort)" "$(printf '%s\n' "$a" "$b" | sort)"
links() { [ "$(stat -c %h mnt/layers)" = "$1" ]; }
ok "links are counted anew" within 20 links 4
lamina -q tag u "$a"
like "info.json tells of a new tag" "$(jq -c .tags "mnt/layers/$a/info.json")" '"u"'
lamina -q untag u
ok "a tag that was removed" test ! -e mnt/tags/u

within 20 lamina -q rm "$a"
ok "a removed layer is gone at once" test ! -e "mnt/layers/$a/memfile"
is "also from the list" "$(ls mnt/layers)" "$b"
is "committed again it is back" "$(commit -m a.raw)" "$a"
hold "mnt/layers/$a/memfile" a.raw open
lamina -q rm --force "$a"
is "one that is read is gone from the list" "$(ls mnt/layers)" "$b"
gone() { [ "$(counter invalidations)" -ge 1 ]; }
ok "and the kernel was told" within 20 gone
same "who knows its id comes in" a.raw "mnt/layers/$a/memfile"
is "who has it open reads on" "$(release)" "$unharmed"
ok "with the last reader it is gone" within 20 test ! -e "mnt/layers/$a/memfile"
is "committed again it is back" "$(commit -m a.raw)" "$a"
same "with its bytes" a.raw "mnt/layers/$a/memfile"
is "a removal is seen in an open directory" "$(cd "mnt/layers/$a" && lamina -q rm -f "$a" &&
	cat memfile 2>&1 >/dev/null)" "cat: memfile: No such file or directory"
done_testing
