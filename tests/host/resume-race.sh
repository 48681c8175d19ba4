#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Two at once on one guest, or for two guests on one live image or at one socket: one goes on, the
# other is told who does, and has changed nothing.  Who is killed keeps nobody out.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/lib.sh"
. "$srcroot/tests/host/resume-lib.sh"
requires fuse root python3 jq curl userfaultfd

begin_resume
ok "a guest is paused" lamina pause web --tag one --freeze none
end_fc web

cat >late <<'END_OF_LATE'
#!/bin/bash
# late NAME COMMAND...: runs it when something opens the fifo NAME.gate
echo $$ >"$1.pid"
read -r _ <"$1.gate"
shift
exec "$@"
END_OF_LATE
chmod +x late

late() { # NAME [OPTION...]: a resume that has started its hypervisor, which waits at its gate
	local name=$1
	shift
	mkfifo "$name.gate"
	lamina resume one --json --name "$name" -H firecracker -S "${at:-$name.sock}" -w 60s "$@" \
		-- "$T/late" "$name" firecracker --api-sock '{socket}' --control "$T/$name.ctl" \
		>"$name.out" 2>"$name.err" &
	resumer=$!
	within 50 test -s "$name.pid"
	ends "$(cat "$name.pid")"
}
goes_on() { # NAME
	: >"$1.gate"
	wait $resumer
	is "the first goes on" "$? $(cat "$1.err")" "0 "
	is "it has its guest" "$(fc "$1" state) $(lamina guest show --json "$1" | jq .pid)" \
		"Running $(cat "$1.pid")"
}
nothing_of() { # NAME
	is "nothing of it is there" "$(lamina live ls -q | grep -cx "$1") $(lamina pager ls -q | grep -cx "$1")" "0 0"
	is "nor was it begun" "$(find run/guests -name "$1.*")" ""
}

# --- one name ---

lamina guest add a -H firecracker -S a.sock
late a
works="process $resumer \(lamina resume\) works on guest 'a'"
is_busy() { # WHAT COMMAND...
	exits "$1" 4 "${@:2}"
	like "is told who resumes it" "$(cat err)" "$works"
}
is_busy "a second resume" lamina resume one --name a -H firecracker -S a2.sock
is_busy "a pause" lamina pause a
is_busy "letting it go on" lamina guest cont a
is_busy "forgetting it" lamina guest rm a
is_busy "adding it anew" lamina guest add a -H firecracker -S a.sock --replace
goes_on a
exits "after that" 4 lamina resume one --name a -H firecracker -S a2.sock
like "it runs" "$(cat err)" "guest 'a' runs already \(pid $(cat a.pid)\)"
fc a trouble 'PUT /snapshot/create=slow:4000' >/dev/null
lamina pause a >/dev/null 2>&1 &
pauser=$!
within 50 eval '[ "$(fc a state)" = Paused ]'
works="process $pauser \(lamina pause\) works on guest 'a'"
is_busy "while it is paused, a resume" lamina resume one --name a -H firecracker -S a2.sock
is_busy "another pause" lamina pause a
wait $pauser
is "the first one is done" "$? $(fc a state)" "0 Running"

# --- one live image, two names ---

late b
exits "another guest on its live image" 4 resume c -L b
like "is told whose it is" "$(cat err)" \
	"process $resumer \(lamina resume of guest 'b'\) works on live image 'b': --live names another"
nothing_of c
goes_on b
is "on its live image" "$(lamina live ls -q | grep -cx b)" 1
late d -L shared
exits "another guest, whose own it would be" 4 resume shared
like "likewise" "$(cat err)" "process $resumer \(lamina resume of guest 'd'\) works on live image 'shared'"
goes_on d
exits "also later" 4 resume shared
like "it is that of one that runs" "$(cat err)" "live image 'shared' is guest 'd's, which runs \(pid $(cat d.pid)\)"
is "of all no lock is left but of names" "$(find run/guests -name '.live*' | wc -l)" 0

# --- one socket, two names ---

mkdir place
ln -s place link
at_one_socket() { # FIRST PATH SECOND PATH
	at=$2 late "$1"
	exits "another guest at its socket" 4 lamina resume one --name "$3" -H firecracker -S "$4" \
		-- firecracker --api-sock '{socket}' --control "$T/$3.ctl"
	like "is told whose it is" "$(cat err)" \
		"process $resumer \(lamina resume of guest '$1'\) works on socket '(new/)?one.sock': --socket names another"
	nothing_of "$3"
	exits "nor is the other one's told" 4 lamina resume one --name "$3" -H firecracker -S "$4"
	nothing_of "$3"
	mkdir -p new
	goes_on "$1"
	kill -9 "$(cat "$1.pid")"
}
at_one_socket e place/one.sock f link/one.sock
at_one_socket g link/one.sock j "$T/place/one.sock"
mv new gone
at_one_socket h new/one.sock i "$T/new/one.sock"
is "no lock is left of these either" "$(find run/guests -name '.socket*' | wc -l)" 0

# --- who began before what was started, and listens instead of it ---

mkfifo stranger.gate
bash -c 'read -r _ <stranger.gate; exec firecracker --api-sock "$1/own.sock" --control "$1/stranger.ctl"' \
	bash "$T" 2>stranger.log &
stranger=$!
at_exit "kill -9 $stranger"
sleep 0.1
late own -B file
: >stranger.gate
wait $resumer
is "a stranger who has bound the socket is not had for what was started" "$?" 4
like "is told" "$(cat own.err)" \
	"process $stranger answers at '$T/own.sock', and not what '$T/late' has started: it ran before"
is "it is left as it was" "$(fc stranger state)" "Not started"
ok "what was started is ended" eval '! kill -0 "$(cat own.pid)" 2>/dev/null'
nothing_of own

# --- who was killed, while what it had started lives ---

late k -B file
kill -9 $resumer
wait $resumer 2>/dev/null
ok "a hypervisor is left" kill -0 "$(cat k.pid)"
ok "that keeps nobody out" resume k -B file -S k2.sock
ends
kill -9 "$(cat k.pid)"

# --- at the same instant ---

at_once() { # NUMBER NAME LIVE: one of those that wait for the file `go`
	until [ -e go ]; do sleep 0.01; done
	rm -f "$1.ctl"
	lamina resume one --json --name "$2" -L "$3" -B file -H firecracker -S "$1.sock" \
		-- firecracker --api-sock '{socket}' --control "$T/$1.ctl" >"$1.out" 2>"$1.err"
	echo $? >"$1.code"
}
all_ended() { [ "$(cat ?.code 2>/dev/null | wc -l)" = 4 ]; }
won=0 said=0 runs=0
for i in {1..8}; do
	at_once 1 "r$i" "r$i" &
	at_once 2 "r$i" "r$i" &
	at_once 3 "s$i" "r$i" &
	at_once 4 "t$i" "r$i" &
	: >go
	within 200 all_ended
	rm -f go
	[ "$(cat ?.code | sort | tr -d '\n')" = 0444 ] && won=$((won + 1))
	winner=$(grep -lx 0 ?.code | head -1)
	winner=${winner%.code}
	pid=$(jq .pid "$winner.out")
	ends "$pid"
	said=$((said + $(cat ?.err | grep -cE "process [0-9]+ \((lamina resume( of guest '[rst]$i')?|another lamina)\) works on|\(pid $pid\)")))
	[ "$(pgrep -cf "api-sock $T/[1-4].sock") $(fc "$winner" state)" = "1 Running" ] && runs=$((runs + 1))
	kill -9 "$pid"
	rm -f ?.sock ?.code
	within 50 eval "[ \"\$(lamina live show --json r$i | jq .pid)\" = null ]"
done
is "of four at once one goes on" "$won" 8
is "the others are told who" "$said" 24
is "and have ended nothing" "$runs" 8

# --- at the same instant, at one socket ---

both_ended() { [ "$(cat ?.code 2>/dev/null | wc -l)" = 2 ]; }
here() { # NUMBER ROUND: as at_once
	until [ -e go ]; do sleep 0.01; done
	rm -f "$1.ctl"
	lamina resume one --json --name "u$1-$2" -B file -H firecracker -S both.sock \
		-- firecracker --api-sock '{socket}' --control "$T/$1.ctl" >"$1.out" 2>"$1.err"
	echo $? >"$1.code"
}
won=0 runs=0
for i in {1..14}; do
	here 1 "$i" &
	here 2 "$i" &
	: >go
	within 200 both_ended
	rm -f go
	[ "$(sort ?.code | tr -d '\n')" = 04 ] && won=$((won + 1))
	winner=$(grep -lx 0 ?.code | head -1)
	winner=${winner%.code}
	pid=$(jq .pid "$winner.out")
	ends "$pid"
	[ "$(pgrep -cf "api-sock $T/both.sock") $(fc "$winner" state) $(lamina guest ls -q | grep -c "^u.-$i\$")" = \
		"1 Running 1" ] && runs=$((runs + 1))
	pkill -9 -f "api-sock $T/both.sock"
	rm -f both.sock ?.code
done
is "of two at once at one socket one goes on" "$won" 14
is "and has its guest" "$runs" 14
done_testing
