#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina measure-dirtying: what a guest wrote is what is counted, of each pause and of many.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/lib.sh"
. "$srcroot/tests/host/pause-lib.sh"
requires fuse root python3 jq

measure() { # ARGUMENT...
	lamina measure-dirtying web "$@"
}
figure() { # CONFIGURATION WORKLOAD IMAGE FIGURE: of the last --json, all its cycles
	jq -c --arg c "$1" --arg w "$2" --arg i "$3" --arg f "$4" \
		'[.measures[] | select(.configuration == $c and .workload == $w) | .images[] | select(.image == $i) | .[$f]]' out
}
usage() { # SENTENCE ARGUMENT...
	local sentence=$1
	shift
	exits "wrong: $*" 2 lamina measure-dirtying "$@"
	is "... it says" "$(grep -v 'is skipped' err | head -n 1)" "lamina: $sentence"
}

begin_guest || bail "no guest"
# The workloads' commands: so many pages, other ones each time, from a place on.
cat >pages <<END
#!/bin/sh
# PAGES [OFFSET]
n=\$((\$(cat "$T/count" 2>/dev/null || echo 0) + 1))
echo \$n >"$T/count"
exec "$srcroot/tests/host/firecracker" --ask "$T/\$LAMINA_GUEST.ctl" random \${2:-1048576} \$((\$1 * 4096)) \$n >"$T/said"
END
cat >inside <<END
#!/bin/sh
printf '%s\n' "\$1" >>"$T/inside.log"
exec "$T/pages" 16
END
chmod +x pages inside

# --- what is counted ---

mkdir elsewhere
cd elsewhere || exit
ok "a command of ours, from another folder" measure --workload command --json \
	--workload-command "$T/pages 40" --cycles 3
cd "$T" || exit
cp out m1.json
is "has as many pages" "$(figure a command memfile changed_pages)" "[40,40,40]"
is "in one frame" "$(figure a command memfile frames_touched)" "[1,1,1]"
is "which is so full" "$(figure a command memfile fill | jq -c 'map(. * 512)')" "[40,40,40]"
is "they are stored" "$(figure a command memfile stored_bytes | jq 'map(select(. > 40 * 4000 and . < 50 * 4200)) | length')" 3
is "another image has none" "$(figure a command rootfs changed_pages)" "[0,0,0]"
is "cycles are counted" "$(jq -c '[.measures[].cycle]' out)" "[1,2,3]"
is "each is the parent of the next" "$(jq -c '[.measures[1:][].parent] == [.measures[:-1][].layer]' out)" true
is "all are layers" "$(jq -r '.measures[].layer' out | xargs -n 1 lamina show -q >shown 2>&1; echo $?)" 0
is "the guest stood still, but not all the time" \
	"$(jq -c '[.measures[] | .paused_seconds > 0 and .paused_seconds <= .seconds] | unique' out)" "[true]"
is "together" "$(jq -c '.summary[] | select(.image == "memfile" and .figure == "changed_pages") | [.configuration, .count, .median == 40, .min == 40, .max == 40]' out)" \
	'["a",3,true,true,true]'
is "nothing is compared" "$(jq -c .difference out)" '[]'
is "it is told of what" "$(jq -c .configurations out)" '[{"configuration":"a","guest":"web","options":""}]'
is "the guest goes on" "$(state)" Running

fc web random $((5 << 20)) 4096 99 >/dev/null
ok "what was written before" measure --workload command --workload-command "$T/pages 3" --cycles 1 --json
is "is not counted" "$(figure a command memfile changed_pages)" "[3]"

ok "for people" measure --workload command --workload-command "$T/pages 7" --cycles 2
like "in a table" "$(tr -s ' ' <out)" $'^workload cycle image changed frames fill stored paused\n'
is "of cycles and images" "$(awk '/^$/ {exit} $1 == "command" && $3 == "memfile" {print $2, $4, $5, $6 $7}' out)" \
	$'1 7 1 1.4%\n2 7 1 1.4%'
totals() { # WORKLOAD IMAGE: of the table at the end
	sed '1,/^$/d' out | tr -s ' ' | grep "^$1 $2 "
}
like "and another of what they come to" "$(sed '1,/^$/d' out | tr -s ' ')" \
	$'^Median \\(least to most\\):\nworkload image pauses changed frames fill stored paused\ncommand memfile '
like "of each workload and image" "$(totals command memfile)" \
	'^command memfile 2 7 1 1\.4 % [0-9.]+ KiB.* [0-9.]+ ms \([0-9.]+ ms to [0-9.]+ ms\)$'
cat >growing <<END
#!/bin/sh
# COUNTER: 10 pages, 20, 30 ...
n=\$((\$(cat "$T/\$1" 2>/dev/null || echo 0) + 10))
echo \$n >"$T/\$1"
exec "$T/pages" \$n
END
chmod +x growing
ok "of 10, 20 and 30 pages" measure --workload command --workload-command "$T/growing m" --cycles 3
like "the median, the least and the most" "$(totals command memfile)" \
	'^command memfile 3 20 \(10 to 30\) 1 3\.9 % \(2\.0 % to 5\.9 %\) '

# --- the picture's file ---

layers() { lamina ls --json | jq length; }
before=$(layers)
for file in nowhere/p.svg . "$T/elsewhere"; do
	exits "a picture that cannot be written, $file" 1 measure --workload idle --svg "$file"
	like "is told" "$(cat err)" "^lamina: cannot measure the guest: .*'$file'"
done
is "before anything is measured" "$(layers)" "$before"
echo old >old.svg
exits "where nothing could be measured" 1 lamina measure-dirtying nix --workload idle --svg old.svg
is "the picture of before is left" "$(cat old.svg)" old
ok "where something was" measure --workload idle --cycles 1 --svg old.svg
like "it is another" "$(head -c 20 old.svg)" '^<svg'
is "and no other file is left" "$(echo old.svg*)" old.svg

# --- workloads ---

ok "two of them" measure --workload idle --workload pauses --cycles 1 --json
is "idle is one, pauses are ten" "$(jq -c '[.measures[] | .workload] | group_by(.) | map([.[0], length])' out)" \
	'[["idle",1],["pauses",10]]'
is "nothing changes" "$(figure a pauses memfile changed_pages | jq add)" 0
ok "what runs in the guest" measure --workload 64k --workload process --cycles 1 --json --run "$T/inside %s"
is "does" "$(figure a 64k memfile changed_pages)$(figure a process memfile changed_pages)" "[16][16]"
like "by a command of the guest" "$(head -n 1 inside.log)" "dd .*bs=65536 count=1 .*fsync"
is "and a process" "$(tail -n 1 inside.log)" /bin/true
ok "without a way in" measure --cycles 1 --json
is "these are skipped" "$(jq -c '[.skipped[].workload]' out)" '["64k","process"]'
like "aloud" "$(cat err)" "workload '64k' is skipped: there is no way to run a command in the guest: say --run"
is "and the others made" "$(jq -c '[.measures[].workload] | unique' out)" '["2s","5s","idle","pauses"]'
is "two seconds are two seconds" "$(jq '[.measures[] | select(.workload == "2s")] | length' out)" 1

# --- two configurations ---

start_agent
ok "with and without" measure --workload command --workload-command "$T/pages 20" --cycles 4 --json \
	--ab "--reclaim '{\"sync\": 100}'" --svg ab.svg
is "each as often" "$(jq -c '[.measures[].configuration] | sort | join("")' out)" '"aaaabbbb"'
is "in turns, who is first too" "$(jq -r '[.measures[].configuration] | join("")' out)" abbaabba
is "the options are those" "$(grep -c /reclaim agent.log) $(grep /reclaim agent.log | sort -u | cut -d' ' -f3-)" '4 {"sync":100}'
is "there is no difference" "$(jq -c '.difference[] | select(.image == "memfile" and .figure == "changed_pages") | [.difference == 0, .low == 0, .high == 0, .differ]' out)" \
	'[true,true,true,false]'
is "each member of the JSON is in the page" "$(jq -r '[paths | .[] | strings] | unique | .[]' out m1.json |
	while read -r name; do
		grep -qE "(^|[ .])Cm .*\b$name\b" "$srcroot/man/lamina-measure-dirtying.1" || echo "$name"
	done)" ""
ok "the picture is XML" python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse("ab.svg")'
is "with a dot for each" "$(grep -o '<circle class="b"' ab.svg | wc -l)" $((4 * 4 + 1))
like "and the options" "$(cat ab.svg)" 'lamina pause --reclaim .*sync'

fc_config vm2.json 8 '"track_dirty_pages":true'
lamina live create db --size memfile=8M --size rootfs=2M --size state=0
start_fc db --config-file vm2.json
lamina guest add db --hypervisor firecracker --socket db.sock
# db writes twice as much, into other frames.
cat >both <<END
#!/bin/sh
[ \$LAMINA_GUEST = web ] || { "$T/pages" 30 4194304; exit; }
exec "$T/pages" 15
END
chmod +x both
ok "two guests" measure --ab-guest db --workload command --workload-command "$T/both" --cycles 4 --json
is "differ" "$(jq -c '.difference[] | select(.image == "memfile" and .figure == "changed_pages") | [.difference == 15, .low == 15, .high == 15, .differ]' out)" \
	'[true,true,true,true]'
is "by name" "$(jq -c '[.configurations[].guest]' out)" '["web","db"]'
ok "for people" measure --ab-guest db --workload command --workload-command "$T/both" --cycles 3
like "it is said" "$(tr -s ' ' <out)" 'command memfile changed_pages 15 \(15 to 15\) 30 \(30 to 30\) 15 15 to 15 more'
ok "of two cycles" measure --ab-guest db --workload command --workload-command "$T/both" --cycles 2
like "nothing is" "$(tr -s ' ' <out)" 'changed_pages 15 \(15 to 15\) 30 \(30 to 30\) 15 - too few to tell'

# --- trouble ---

exits "a command that fails" 1 measure --workload command --workload-command "echo no luck >&2; exit 3" --cycles 1
like "is said" "$(tail -n 1 err)" "cannot measure the guest: 'echo no luck >&2; exit 3' failed with status 3: no luck"
exits "one that fails later" 1 measure --workload command --cycles 3 --json \
	--workload-command "[ \$(cat $T/count) -lt 0 ] || { [ -e $T/once ] && exit 1; touch $T/once; }"
is "what was measured is told" "$(jq '.measures | length' out)" 1
like "and why there is no more" "$(jq -r .error out)" "failed with status 1$"
exits "one that fails at once" 1 measure --workload command --json --workload-command "printf 'why\\033[2J' >&2; exit 3"
is "is told, too" "$(jq -c '[.measures, .error[-10:]]' out)" '[[],"3: why?[2J"]'
like "and to people" "$(cat err)" 'failed with status 3: why\?\[2J'
exits "one that says what would move the cursor" 1 measure --workload command \
	--workload-command "printf '\\033[2Jred\\n' >&2; exit 1"
is "is told without that" "$(grep -c $'\033' err) $(grep -o 'status 1: .*' err)" "0 status 1: ?[2Jred"
cat >third <<END
#!/bin/sh
"$T/growing" thirds
[ \$(cat "$T/thirds") -lt 30 ] || { touch "$T/there"; trap '' TERM INT; exec sleep 1000 >&- 2>&-; }
END
chmod +x third
env --default-signal=INT lamina measure-dirtying web --workload command --workload-command "exec $T/third" \
	--cycles 5 >out 2>err &
pid=$!
within 60 test -e there
kill -INT $pid
wait $pid
is "who is interrupted in the third cycle, where a command hangs, ends" $? 130
like "with what was measured before" "$(totals command memfile)" '^command memfile 2 15 \(10 to 20\) '
is "and says so" "$(cat err)" "lamina: measure-dirtying: interrupted, and the guest goes on"
is "which it does" "$(state)" Running
exits "no such guest" 1 lamina measure-dirtying nix --workload idle
like "is said in its own words" "$(cat err)" "'lamina pause' failed: .*nix"
ok "who is left behind by a command" measure --workload command --cycles 1 --json \
	--workload-command "sleep 300 & echo \$! >$T/left"
kill "$(cat left)"
measure --workload 5s --cycles 100 --json >out 2>err &
pid=$!
within 60 lamina log -q "$(lamina guest show --json web | jq -r .layer)"
kill -TERM $pid
wait $pid
is "who is told to stop does" $? 143
is "and the guest goes on" "$(state)" Running
ok "and can be paused" lamina pause web

usage "there is no workload 'none': there are idle, 2s, 5s, 64k, process, pauses and command" web --workload none
usage "--workload 64k: there is no way to run a command in the guest: say --run" web --workload 64k
usage "--workload command: there is no command: say --workload-command" web --workload command
usage "--run: 'ssh web' needs one %s, for the guest's command" web --run "ssh web"
usage "a quote is open in '--freeze 'x'" web --pause "--freeze 'x"
usage "--leave is no option to measure with" web --ab "--collapse --leave"
usage "--lea is no option to measure with" web --pause "--lea"
usage "-Cl is no option to measure with" web --pause "-Cl"
usage "-- is no option to measure with" web --pause "--"
usage "lamina pause: unknown or ambiguous option '--bogus'" web --pause "--bogus"
usage "'other' is no option of lamina pause" web --pause "other"
usage "lamina pause: option '--drain' wants MS" web --ab "--drain"
usage "--drain: 'soon' is no number of milliseconds from 0 to 1500" web --workload idle --pause "--drain soon"
usage "--svg wants a file: stdout has the tables" web --svg -
usage "--workload-command is empty" web --workload-command ""
for n in 0 1001 -1 1.5 99999999999999999999 many ""; do
	usage "--cycles: '$n' is not a number from 1 to 1000" web --cycles "$n"
done
usage "measure-dirtying wants GUEST"
done_testing
