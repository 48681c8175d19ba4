#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A directory of very many entries shows each of them once.
. "$(dirname "$0")/lib.sh"

lamina -q init
mkimage a.raw 1 0:data=1
id=$(commit -m a.raw)
n=${LAMINA_TEST_LAYERS:-500}
for ((i = 1; i < n; i++)); do
	echo "$i" >state
	lamina -q commit -t state --tag "tag-$i" || bail "commit $i"
done >/dev/null
mount_store store mnt || bail "cannot mount"
lamina -q ls | sort >want
ls -U mnt/layers | sort >got
same "all $n layers, each once" want got
is "tags" "$(ls -U mnt/tags | sort | uniq | wc -l)" $((n - 1))
is "links" "$(stat -c %h mnt/layers)" $((n + 2))
ok "every entry can be looked up" ls -lL mnt/layers mnt/tags
is "entries agree with stat" "$(find mnt/layers -maxdepth 1 -printf '%i %p\n' | sort)" \
	"$(stat -c '%i %n' mnt/layers mnt/layers/* | sort)"
is "a file in the last" "$(cat "mnt/tags/tag-$((n - 1))/state")" $((n - 1))

# A reader half way through keeps its place while entries come and go.
python=$(command -v python3) || { skip "no python3" 2; done_testing; }
"$python" - "$id" >seen <<'END'
import os, subprocess, sys
it = os.scandir("mnt/layers")
names = [next(it).name for _ in range(3)]
subprocess.run(["lamina", "-q", "rm", sys.argv[1]], check=True)
names += [e.name for e in it]
print(len(names), len(set(names)))
END
is "an open directory shows what it was" "$(cat seen)" "$n $n"
is "the next one what it is" "$(ls mnt/layers | wc -l)" $((n - 1))
done_testing
