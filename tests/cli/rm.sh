#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina rm: what it refuses, and what it leaves.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
lamina init -q
for i in 1 2 3; do
	mkimage "m$i" 600 0-9:data=1 $((10 * i)):data=$i$i
done
a=$(lamina commit -q --memfile m1)
lamina commit -q --memfile m2 --parent "$a" --tag b >b
lamina tag also-b b
c=$(lamina commit -q --memfile m3 --parent b)

exits "a layer with tags" 4 lamina rm b
like "is refused, and they are named" "$(cat err)" "^lamina: cannot remove: .* has the tags 'also-b', 'b'"
is "it is still there" "$(lamina ls -q | wc -l)" 3
ok "a parent may go" lamina rm "${a:0:10}" --json
is "JSON" "$(jq -c . out)" "{\"removed\":[\"$a\"]}"
lamina export b --memfile b.out
same "its child is whole" m2 b.out
exits "it is gone" 1 lamina show "$a"
exits "twice" 1 lamina rm "$a"

# Several: unknown ones first, then each for itself.
exits "one that is not there" 1 lamina rm "$c" nosuch
is "leaves the others" "$(lamina ls -q | wc -l)" 2
exits "one with tags, one without" 4 lamina rm b "$c" --json
is "removes what it may" "$(jq -c .removed out)" "[\"$c\"]"
like "and says why it did not the other" "$(jq -r .error out)" "has the tags 'also-b', 'b'"
ok "--force removes it with its tags" lamina rm --force b
is "tags are gone" "$(lamina tag -q)" ""
is "layers are gone" "$(lamina ls -q)" ""
is "a removed layer comes back by commit" "$(lamina commit -q --memfile m1)" "$a"
lamina export "$a" --memfile a.out
same "as it was" m1 a.out

# Somebody reads it: flock(1) on the lease, as a reader does.
if has flock; then
	mkdir -p s/leases
	flock -F -s "s/leases/$a" sleep 60 &
	reader=$!
	at_exit "kill $reader"
	within 10 eval '! flock -n -x "s/leases/$a" true'
	exits "a layer that is read" 4 lamina rm "$a"
	like "is refused with the reader's pid" "$(cat err)" "pids? [0-9, ]*$reader"
	lamina gc -q
	ok "--force removes it all the same" lamina rm --force "$a"
	ok "gc" lamina gc --json
	is "keeps what is read" "$(jq -c '[.layers, .leased]' out)" '[0,1]'
	kill "$reader"
	wait "$reader" 2>/dev/null
	within 10 flock -n -x "s/leases/$a" true
	is "until it is not" "$(lamina gc --json | jq -c '[.layers, .leased]')" '[1,0]'
else
	skip "no flock(1)" 6
fi
exits "rm of nothing" 2 lamina rm
done_testing
