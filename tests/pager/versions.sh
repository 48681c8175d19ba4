#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Pagers of several versions beside each other: how they are found, and what an upgrade does.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires lamina-pager curl jq userfaultfd root
root=$T/root
mkimage mem.raw 4096 0-1199:data=1 1800-3999:data=2 4000-4095:fill=7
printf '[pager]\nruntime_dir = %s\n' "$root" >pager.conf
export LAMINA_CONF=$T/pager.conf
now=$(lamina-pager --version | cut -d' ' -f2)
next=$(next --version | cut -d' ' -f2)

end_all() {
	local i
	for i in 1 2 3; do
		pgrep -f -- "--runtime-dir $root" | xargs -r kill -9
	done
}
at_exit end_all

# PID of the worker below that directory.
worker_of() { # DIR
	local pid
	for pid in $(pgrep -f -- "--runtime-dir $root/$1( |$)"); do
		[ "$(cat "/proc/$pid/comm")" != pager-worker ] || echo "$pid"
	done 2>/dev/null | tail -1
}

says() { # DIR PATH: of the pager there
	curl -sf --max-time 10 --unix-socket "$root/$1/pager.sock" "http://pager$2"
}

begin() { # DIR PROGRAM [OPTION...]: its pid is in $begun
	local dir=$1 program=$2
	shift 2
	"$program" --foreground "$@" --runtime-dir "$root/$dir" >>"$dir.log" 2>&1 &
	begun=$!
	within 20 says "$dir" /health && return
	sed 's/^/# /' "$dir.log"
	return 1
}

# The status of one that is about to end.
ended() { # PID
	is_dead() { ! grep -qs '^State:[[:space:]]*[^Z]' "/proc/$1/status"; }
	within 60 is_dead "$1" || kill -9 "$1"
	wait "$1"
}

end() { # DIR PID
	kill "$2"
	ended "$2"
}

pager() {
	lamina pager "$@"
}

# --- none ---

exits "no pager" 1 pager ls
is "is looked for where one would be" "$(cat err)" \
	"lamina: cannot list the pager's sessions: there is no socket '$root/pager.sock'"
exits "upgrade" 1 pager upgrade
is "has nothing to do" "$(cat err)" "lamina: cannot upgrade the pagers: there is no pager in '$root'"

# --- one, whose socket is elsewhere ---

ok "one that listens elsewhere" begin pager-old lamina-pager --socket "$T/old.sock"
old=$begun
is "is found in its directory" "$(readlink "$root/pager-old/pager.sock")" "$T/old.sock"
ok "create" pager create a --memfile mem.raw
is "by it" "$(cat out)" "$root/pager-old/a.sock"
ok "ls" pager ls
like "has no versions" "$(head -1 out)" ' memfile$'
like "has the age in whole seconds" "$(cat out)" ' (<1|[0-9]+) s +'
ok "ls --json" pager ls --json
cp out answer
ok "neither" jq -e 'length == 1 and all(.[]; has("version") or has("pager") | not)' answer
ok "upgrade" pager upgrade
is "has nothing to do" "$(cat out)" "nothing is outdated: 1 pager is version $now"
ok "upgrade --takeover by the same" pager upgrade --takeover
is "neither" "$(cat out)" "nothing is outdated: 1 pager is version $now"
ok "upgrade --json" pager upgrade --json
is "is an empty list" "$(jq -c . out)" "[]"
while IFS='|' read -r arguments message; do
	# shellcheck disable=SC2086
	exits "pager $arguments" 2 pager $arguments
	is "says" "$(head -1 err)" "lamina: $message"
done <<'END'
upgrade x|pager upgrade takes no operands
upgrade --socket x|pager upgrade has no --socket: it finds the pagers
upgrade --program x|--program goes with --takeover
drain --takeover|pager drain has no --takeover
END

# Another one that would lead from its directory to a socket of its own.
mkdir -p "$root/pager-led"
ln -s "$T/old.sock" "$root/pager-led/pager.sock"
lamina-pager -f --socket "$T/led.sock" --runtime-dir "$root/pager-led" >led.log 2>&1 &
led=$!
ok "one whose place is taken" within 20 curl -sf --unix-socket "$T/led.sock" http://pager/health
is "leaves it" "$(readlink "$root/pager-led/pager.sock")" "$T/old.sock"
like "and says so" "$(cat led.log)" "cannot lead from '$root/pager-led/pager.sock' to '$T/led.sock': another one answers there"
is "a socket with two names is of one pager" "$(pager ls -q)" a
end pager-led $led
is "it is left at the end, too" "$(readlink "$root/pager-led/pager.sock")" "$T/old.sock"
rm -r "$root/pager-led"

# --- a newer one beside it ---

ok "a newer one" begin pager-new next
new=$begun
mkdir "$root/other" "$root/pager-empty"
ok "create" pager create b --memfile mem.raw
is "goes to the newest" "$(cat out)" "$root/pager-new/b.sock"
ok "ls" pager ls
like "has versions" "$(head -1 out)" ' memfile +version$'
like "of both, the newest first" "$(cat out)" "b +waiting .* $next.*a +waiting .* $now"
ok "ls --json" pager ls --json
cp out answer
ok "has them, too" jq -e --arg r "$root" --arg n "$next" --arg o "$now" '
	map([.id, .version, .pager]) == [["b", $n, $r + "/pager-new/pager.sock"], ["a", $o, $r + "/pager-old/pager.sock"]]' answer
is "ls --quiet" "$(pager ls -q | paste -sd' ')" "b a"
ok "show of the one" pager show a
ok "and of the other" pager show b
exits "of none" 1 pager show nosuch
is "says" "$(cat err)" "lamina: cannot show the session: there is no session 'nosuch'"
ok "top" pager top -n 1 -i 100ms
like "has versions" "$(sed -n 2p out)" ' waiting +version$'
like "of both" "$(cat out)" "a +waiting .* $now.*b +waiting .* $next"
ok "top --json" pager top --json -n 1 -i 100ms
cp out answer
ok "has them, too" jq -e --arg n "$next" '.sessions | length == 2 and (map(select(.id == "b"))[0].version == $n)' answer
exits "drain" 1 pager drain
is "wants to be told which" "$(cat err)" "lamina: cannot drain the pager: there are 2 pagers, '$root/pager-new/pager.sock' and others: --socket says which one is meant"
ok "with --socket" pager ls -q --socket "$T/old.sock"
is "it is that one" "$(cat out)" a
ok "close" pager close b
is "finds it" "$(pager ls -q)" a

# --- one that hangs, and one that was killed ---

ok "a third" begin pager-third next
third=$begun
ok "makes a session" pager create t --memfile mem.raw --socket "$root/pager-third/pager.sock"
hanging=$(worker_of pager-third)
stop "$hanging"
exits "ls while one hangs" 1 pager ls
like "shows the others" "$(cat out)" "a +waiting "
is "and says so" "$(cat err)" "lamina: cannot list the pager's sessions: '$root/pager-third/pager.sock' gave no answer in time"
exits "who is not found" 1 pager show t
is "may be there" "$(cat err)" "lamina: cannot show the session: there is no session 't' where pagers answer; '$root/pager-third/pager.sock' gave no answer in time"
ok "who is found is shown" pager show a
kill -CONT "$hanging"
pgrep -f -- "--runtime-dir $root/pager-third" | xargs kill -9
pgrep -f -- "--runtime-dir $root/pager-third" | xargs -r kill -9
wait $third 2>/dev/null
within 20 sh -c "! pgrep -f -- '--runtime-dir $root/pager-third'"
ok "where nobody listens any more" pager ls -q
is "there is no pager" "$(cat out err)" a

# --- an upgrade by drain ---

guest_begin a mem.raw
ok "a guest of the old one" guest_does a "map auto 16M 0" "handoff root/pager-old/a.sock" "touch seq count 10"
ok "upgrade" pager upgrade
like "drains it" "$(cat out)" "^pager $now at $root/pager-old/pager.sock drains: 1 session is left, with the last it ends$"
is "it does" "$(says pager-old /health | jq .draining)" true
ok "upgrade again" pager upgrade --json
cp out answer
ok "says the same" jq -e --arg o "$now" 'length == 1 and .[0].version == $o and .[0].action == "drain" and .[0].exits and .[0].left == 1' answer
exits "the old one takes none" 1 pager create c --memfile mem.raw --socket "$T/old.sock"
ok "the new one does" pager create c --memfile mem.raw
is "it" "$(cat out)" "$root/pager-new/c.sock"
ok "the guest goes on" guest_does a "touch random threads 4" check
guest_end a
ended $old
is "when it ends, the old one does" $? 0
is "nothing of it is left" "$(find "$root/pager-old" "$T/old.sock" -name '*.sock' 2>/dev/null)" ""
ok "one pager is left" pager ls
like "without versions" "$(head -1 out)" ' memfile$'

# --- an upgrade by takeover ---

ok "an old one again" begin pager-old lamina-pager --socket "$T/old.sock"
old=$begun
sock=$T/old.sock
ok "with sessions" sessions w 20 mem.raw
ok "and one more" session g mem.raw
guest_begin g mem.raw
ok "of a guest" guest_does g "map auto 16M 0" "handoff root/pager-old/g.sock" "touch seq count 10"

exits "a program that is none" 1 pager upgrade --takeover --program /bin/true
like "is refused" "$(cat err)" "^lamina: '/bin/true' is no lamina-pager"
exits "and one that is not there" 1 pager upgrade --takeover --program "$T/nosuch"
like "too" "$(cat err)" "^lamina: cannot run '$T/nosuch': No such file"
exits "one of another layout" 1 pager upgrade --takeover --program "$(command -v tomorrow)"
like "does not take over" "$(head -1 err)" \
	"^lamina: version 100.0-rc1 did not take over from the pager at '$root/pager-new/pager.sock': .*state has layout .*; version $next serves on"
like "from any" "$(sed -n 2p err)" "at '$root/pager-old/pager.sock': .*; version $now serves on"
is "then it is a failure" "$(tail -1 err)" "lamina: cannot upgrade the pagers: not all of them are done"
ok "the guest goes on" guest_does g "touch random count 200" check

upgraded() { # while the guest works
	pager upgrade --takeover --program "$(command -v next)" >upgrade.out 2>&1
}
guest_does g "churn 3 ${SEED:-1} threads 4" >g.does &
doing=$!
ok "the next one" upgraded
wait $doing
is "the guest does not notice" $? 0
is "takes over" "$(cat upgrade.out)" \
	"pager $now at $root/pager-old/pager.sock is version $next now: 21 of 21 sessions have moved"
ended $old
is "the old one has ended" $? 0
is "another version answers" "$(says pager-old /version | jq -r .version)" "$next"
is "at the same socket" "$(readlink "$root/pager-old/pager.sock")" "$T/old.sock"
ok "the guest goes on" guest_does g "touch random threads 4" check
ok "upgrade" pager upgrade --takeover --program "$(command -v next)"
is "has nothing to do" "$(cat out)" "nothing is outdated: 2 pagers are version $next"
guest_end g
is "the guest ends well" $? 0

# The new one was not told of that socket, and finds it nevertheless.
ok "a takeover with JSON, from another directory's default socket" begin pager-plain lamina-pager
plain=$begun
ok "upgrade --json" pager upgrade --takeover --program "$(command -v next)" --json
cp out answer
ok "tells" jq -e --arg n "$next" --arg s "$root/pager-plain/pager.sock" 'length == 1 and .[0].socket == $s and
	.[0].action == "takeover" and .[0].new_version == $n and .[0].sessions == 0 and .[0].moved == 0' answer
ended $plain
keepers() {
	local pid
	for pid in $(pgrep -f -- "--runtime-dir $root/pager-(old|plain)"); do
		[ "$(cat "/proc/$pid/comm")" != next ] && [ "$(cat "/proc/$pid/comm")" != lamina-pager ] || echo "$pid"
	done 2>/dev/null
}
keepers | xargs kill
gone() { [ -z "$(pgrep -f -- "--runtime-dir $root/pager-(old|plain)")" ]; }
ok "both end" within 20 gone
is "their sockets are gone" "$(find "$root/pager-old" "$root/pager-plain" "$T/old.sock" -name 'pager.sock' -o -name keeper.sock -o -name old.sock 2>/dev/null)" ""

chmod 755 "$T"
user=$(id -nu 65534 2>/dev/null)
if [ -n "$user" ] && has setpriv && setpriv --reuid 65534 --clear-groups test -x "$T" &&
	begin pager-user lamina-pager --user "$user"; then
	ok "one of an ordinary user" pager upgrade --takeover --program "$(command -v next)"
	is "is taken over by it" "$(stat -c %U "/proc/$(worker_of pager-user)")" "$user"
	ended $begun
	pgrep -f -- "--runtime-dir $root/pager-user" | xargs kill
else
	skip "no other user may come here" 2
fi

# What a killed one has left is no hindrance.
ok "one that leaves a link" begin pager-left lamina-pager --socket "$T/left.sock"
pgrep -f -- "--runtime-dir $root/pager-left" | xargs kill -9
pgrep -f -- "--runtime-dir $root/pager-left" | xargs -r kill -9
wait $begun 2>/dev/null
ok "the next one without" begin pager-left lamina-pager
ok "has a socket there" test ! -L "$root/pager-left/pager.sock"
end pager-left $begun
end pager-new $new
done_testing
