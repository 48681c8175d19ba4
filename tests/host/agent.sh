#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina-agent(8), all that can be asked of it on a host.
. "$(dirname "$0")/../lib.sh"
requires curl jq
. "$srcroot/tests/host/agent-lib.sh"
(umask 077 && echo 0123456789abcdef >token)

# --- beginning ---

ok "--help" lamina-agent --help
exits "an unknown option" 2 lamina-agent --frob
exits "TCP without a token" 2 lamina-agent --listen tcp:127.0.0.1:0
like "is told so" "$(cat err)" "TCP needs --token-file"
cp token open && chmod 644 open
exits "a token that others may read" 1 lamina-agent --listen tcp:127.0.0.1:0 --token-file open
like "is refused" "$(cat err)" "its mode is to be 0600"
exits "an address that is not ours" 1 lamina-agent --listen tcp:192.0.2.1:1052 --token-file token
like "is told" "$(cat err)" "cannot listen on 'tcp:192.0.2.1:1052'"

start_agent --listen tcp:127.0.0.1:0 --token-file token
exits "a second one at its socket" 1 lamina-agent --listen "unix:$T/agent.sock"
like "is told so" "$(cat err)" "somebody listens on '$T/agent.sock' already"
is "the socket is root's" "$(stat -c %a agent.sock)" 600
port=$(get /logs | jq -r 'select(.text | test("^listens on tcp:")) | .text' | sed 's/.*://')

# --- what it says ---

is "GET /health" "$(get /health)" '{"status":"ok"}'
is "GET /version" "$(get /version | jq -r .version)" "$(cat "$srcroot/VERSION")"
is "its API" "$(get /version | jq -r .api)" 1
is "nothing is frozen" "$(get /version | jq -c .frozen)" '[]'
is "its features" "$(get /version | jq -c '.features - ["collapse"]')" \
	'["freeze","logs","reclaim","resumed","stats"]'
is "GET /stats" "$(get /stats | jq '.memory.total > .memory.free and .memory.free > 0')" true
is "an address that is none" "$(status get /nothing)" 404
is "another method" "$(status get /reclaim)" 405

# --- TCP ---

tcp() { # TOKEN PATH
	curl -s --max-time 60 -o answer -w '%{http_code}' ${1:+-H "Authorization: Bearer $1"} \
		"http://127.0.0.1:$port$2"
}
is "by TCP" "$(tcp "" /health)" 401
is "it is said why" "$(jq -r .error answer)" "this needs the token"
is "another token" "$(tcp 0123456789abcdeX /health)" 401
is "the token" "$(tcp 0123456789abcdef /health)" 200
(umask 077 && echo fedcba9876543210 >token.new) && mv token.new token
is "one that was changed" "$(tcp 0123456789abcdef /health)" 401
is "counts at once" "$(tcp fedcba9876543210 /health)" 200
ok "the refused are in the log" says '.level == "warning" and (.text | test("without the token"))'
like "and in the kernel's" "$(cat kmsg)" "<28>lamina-agent: a request by TCP without the token"

# --- who does not know the token fills no log ---

seq 600 | sed "s|.*|url = http://127.0.0.1:$port/health|" >many
curl -s --max-time 60 -K many >answers 2>/dev/null
is "all are refused" "$(grep -o 'needs the token' answers | wc -l)" 600
ok "but what was said before is there" says '.text | test("^listens on tcp:")'
ok "and the kernel's log has not 600 lines more" test "$(grep -c 'without the token' kmsg)" -lt 300

# --- bodies ---

is "no JSON" "$(status post /freeze '{')" 400
is "another kind" "$(status post /freeze '[1]')" 400
is "a key twice" "$(status post /freeze '{"cgroup":"a","cgroup":"b"}')" 400
head -c 70000 /dev/zero | tr '\0' ' ' >large
is "a body that is too large" "$(status get /freeze --data-binary @large)" 413
is "a name that is none" "$(status post /freeze '{"cgroup":7}')" 400
is "no name" "$(status post /freeze '{}')" 400
is "one that leaves the tree" "$(status post /freeze '{"cgroup":"../web.slice"}')" 400
is "one that is not there" "$(status post /freeze '{"cgroup":"none.slice"}')" 404
is "a sentence" "$(jq -r .error answer)" "there is no cgroup 'none.slice'"

# --- freezing ---

freezes() { # as the kernel would
	echo "frozen 1" >"cg/$1/cgroup.events"
}
own=$(sed -n 's|^0::/||p' /proc/self/cgroup)
if [ -n "$own" ]; then
	mkdir -p "cg/$own"
	echo 0 >"cg/$own/cgroup.freeze"
	is "its own cgroup" "$(status post /freeze "{\"cgroup\":\"$own\"}")" 400
	is "nor one above" "$(status post /freeze "{\"cgroup\":\"${own%%/*}\"}")" 400
else
	skip "we are in the root of the cgroups" 2
fi
freezes web.slice
is "a cgroup is frozen" "$(post /freeze '{"cgroup":"web.slice"}')" '{"cgroup":"web.slice","frozen":true}'
ok "in fact" is_frozen web.slice
is "and told" "$(get /version | jq -c .frozen)" '["web.slice"]'
is "it is thawed" "$(post /thaw '{"cgroup":"web.slice"}')" '{"thawed":["web.slice"]}'
exits "in fact" 1 is_frozen web.slice
freezes db.slice
post /freeze '{"cgroup":"web.slice"}' >/dev/null
post /freeze '{"cgroup":"db.slice"}' >/dev/null
is "all at once" "$(post /thaw '{}' | jq -c '.thawed | sort')" '["db.slice","web.slice"]'
is "nothing is left" "$(post /thaw '')" '{"thawed":[]}'
post /freeze '{"cgroup":"web.slice"}' >/dev/null
is "a resume thaws, and leaves the clock alone" "$(post /resumed '{}')" \
	'{"thawed":["web.slice"],"clock_step_ms":0.0}'
post /freeze '{"cgroup":"web.slice"}' >/dev/null
is "with a time that is none" "$(status post /resumed '{"now":12}')" 400
exits "it thaws nevertheless" 1 is_frozen web.slice

# --- who hangs up ---

echo "frozen 0" >cg/web.slice/cgroup.events	# it never freezes
ask /freeze '{"cgroup":"web.slice"}'
ok "a freeze waits" within 30 is_frozen web.slice
is "meanwhile others are answered" "$(get /health)" '{"status":"ok"}'
is "but not for the same" "$(status post /freeze '{"cgroup":"web.slice"}')" 409
kill $asking
wait $asking 2>/dev/null
ok "who hangs up cancels it" within 30 says '.text | test("^freeze: ended .*the caller hung up")'
exits "the cgroup runs" 1 is_frozen web.slice

# --- memory ---

is "reclaim without a step" "$(post /reclaim '{"sync":0,"drop_caches":-1,"fstrim":"x","compact_memory":0.5}' |
	jq -c .steps)" '[]'
is "an order that is none" "$(status post /reclaim '{"order":["frob"]}')" 400
if get /version | jq -e '.features | index("collapse")' >/dev/null; then
	is "collapse of itself" "$(post /collapse '{"self":true}' |
		jq -c '.chunks == .collapsed + .already_huge + .skipped')" true
	if [ -z "${LAMINA_VALGRIND:-}" ]; then
		sleep 600 &
		sleeper=$!
		at_exit "kill $sleeper"
		is "of another" "$(post /collapse "{\"pids\":[$sleeper]}" | jq -c 'keys | length')" 6
	else
		skip "valgrind has no pidfd_open()"
	fi
	is "of what is none" "$(status post /collapse '{"pids":"x"}')" 400
else
	skip "this kernel cannot collapse" 3
fi

# --- sleep ---

wakes() { # how often its threads went to sleep again
	awk '/^voluntary_ctxt_switches/ {n += $2} END {print n}' /proc/"$agent_pid"/task/*/status
}
asleep() { # no thread woke in the last two seconds
	local before
	before=$(wakes)
	sleep 2
	[ "$(wakes)" = "$before" ]
}
if has plain; then
	ok "while nobody asks it sleeps" within 60 asleep
	rss=$(awk '/^VmRSS/ {print $2}' "/proc/$agent_pid/status")
	ok "it is resident with at most 4 MiB ($rss KiB)" test "$rss" -le 4096
	like "it needs no library" "$(ldd "$buildroot/src/lamina-agent" 2>&1)" \
		"not a dynamic executable|statically linked"
	if has strip; then
		strip -o stripped "$buildroot/src/lamina-agent"
		ok "it has at most 4 MiB" test "$(stat -c %s stripped)" -le $((4 << 20))
	else
		skip "no strip"
	fi
else
	skip "under a sanitizer or valgrind" 4
fi

# --- the end ---

freezes web.slice
post /freeze '{"cgroup":"web.slice"}' >/dev/null
ok "a cgroup is frozen" is_frozen web.slice
end_agent TERM
is "it ends when told to" "$agent_status" 0
exits "and lets go of what it froze" 1 is_frozen web.slice
ok "its socket is gone" test ! -e agent.sock
is "it has said nothing" "$(cat log.txt)" ""
start_agent
end_agent KILL
ok "after one that was killed" test -e agent.sock
start_agent
is "another takes the place" "$(get /health)" '{"status":"ok"}'
echo "frozen 0" >cg/web.slice/cgroup.events
ask /freeze '{"cgroup":"web.slice"}'
ok "a freeze waits" within 30 is_frozen web.slice
end_agent TERM
is "the end does not wait for it" "$agent_status" 0
ok "its socket is gone then, too" test ! -e agent.sock
exits "and thaws" 1 is_frozen web.slice
done_testing
