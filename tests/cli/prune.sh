#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina prune: what is kept and why.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
setup() {
	rm -rf s
	lamina init -q
	for i in 1 2 3 4 5; do
		mkimage m 512 0:data=$i
		id[$i]=$(lamina commit -q --memfile m)
	done
	lamina tag t1 "${id[1]}"
	lamina tag t3 "${id[3]}"
}
left() {
	local i
	for i in 1 2 3 4 5; do
		lamina show -q "${id[$i]}" >/dev/null 2>&1 && printf %s "$i"
	done
}
declare -A id

setup
exits "without a rule nothing is pruned" 2 lamina prune
like "it asks for one" "$(cat err)" "^lamina: say what to keep"
exits "a bad number" 2 lamina prune --keep-last two
exits "a bad duration" 2 lamina prune --older-than 2fortnights
is "nothing has gone" "$(left)" 12345

ok "a dry run" lamina prune --keep-last 2 --keep-tagged --dry-run
is "says what and why" "$(awk 'NR > 1' out | tr -s ' ' | cut -d' ' -f4- | tr '\n' ';')" \
	"t1 kept tagged;would be removed not kept;t3 kept tagged;kept among the last;kept among the last;"
is "and removes nothing" "$(left)" 12345
ok "JSON" lamina prune --keep-last 2 --keep-tagged --json
is "removed" "$(jq -c '[.dry_run, [.removed[].layer]]' out)" "[false,[\"${id[2]}\"]]"
is "kept" "$(jq -c '[.kept[].why]' out)" '["tagged","tagged","among the last","among the last"]'
is "so it is" "$(left)" 1345
is "quiet: the ids" "$(lamina prune --keep-last 2 -q)" "${id[1]}"$'\n'"${id[3]}"
is "without --keep-tagged tags go too" "$(left) $(lamina tag -q)" "45 "

setup
ok "only the tagged" lamina prune --keep-tagged
is "are left" "$(left)" 13
setup
ok "nothing is older than a day" lamina prune --older-than 1d
is "all are left" "$(left)" 12345
like "because" "$(sed -n 2p out)" "kept +too young$"
ok "more than there are" lamina prune --keep-last 100
is "all are left" "$(left)" 12345
ok "none" lamina prune --keep-last 0
is "none is left" "$(left)" ""
ok "of nothing" lamina prune --keep-last 1
is "nothing is said" "$(cat out)" ""

setup
ok "older than nothing" lamina prune -o 0
is "keeps none" "$(left)" ""

# What was committed before that many seconds is older.  Where the machine is so slow that the
# young one is that old as well before it is looked at, more seconds tell them apart.
for age in 2 8 32 128; do
	setup
	sleep $((age + 1)).1
	mkimage m 512 0:data=6
	begun=$(date +%s)
	young=$(lamina commit -q --memfile m)
	lamina prune --older-than "${age}s" >out 2>err
	status=$?
	[ $(($(date +%s) - begun)) -lt "$age" ] && break
done
is "older than some seconds" $status 0
is "the young one is left" "$(left)$(lamina ls -q)" "$young"

if has flock; then
	setup
	flock -F -s "s/leases/${id[2]}" sleep 60 &
	reader=$!
	at_exit "kill $reader"
	within 10 eval '! flock -n -x "s/leases/${id[2]}" true'
	ok "with a reader" lamina prune --keep-last 1
	is "what is read stays" "$(left)" 25
	like "because" "$(grep "^${id[2]:0:12}" out)" "kept +in use by pid $reader"
else
	skip "no flock(1)" 3
fi
done_testing
