#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina guest: records, the words of its options, and that one name is a guest's, its live image's
# and its session's; and that the agent itself is asked as its stand-in is.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/lib.sh"
requires python3 jq
printf '[pager]\nruntime_dir = %s/run\n' "$T" >conf
export LAMINA_CONF=$T/conf LAMINA_STORE=$T/s

ok "of no guests there is a list" lamina guest ls --json
is "that is empty" "$(cat out)" '[]'
ok "one is added" lamina guest add web -H qemu -S web.qmp -A tcp:127.0.0.1:1052 -T token
is "with whole paths" "$(lamina guest show --json web | jq -r '.socket + " " + .agent_token_file')" \
	"$T/web.qmp $T/token"
lamina guest add rel -H qemu -S x -A unix:in/agent
is "the agent's socket, too" "$(lamina guest show --json rel | jq -r .agent)" "unix:$T/in/agent"
lamina guest add rel -H qemu -S x -A hybrid:a:b:52 --replace
is "or its device's" "$(lamina guest show --json rel | jq -r .agent)" "hybrid:$T/a:b:52"
exits "that has a length" 2 lamina guest add long -H qemu -S x -A "unix:$(printf '%0100d' 0)"
like "for which a whole path may be too long" "$(cat err)" "--agent: '$T/0+': the path of a socket has at most 107"
lamina guest rm rel
is "and a live image of its name" "$(lamina guest show --json web | jq -r .live)" web
exits "once" 1 lamina guest add web -H qemu -S x
ok "or again" lamina guest add web -H qemu -S x --replace
is "as another one" "$(lamina guest show --json web | jq -r .agent)" null
jq '. + {ours: {"a": 1}}' run/guests/web.json >x && cat x >run/guests/web.json
ok "another one" lamina guest add db -H firecracker -S y -L disk
is "they are listed by name" "$(lamina guest ls -q | tr '\n' ' ')" "db web "
is "members that are not known are shown" "$(lamina guest show --json web | jq .ours.a)" 1
exits "what runs it must be said" 2 lamina guest add q -S x
exits "and be known" 2 lamina guest add q -S x -H xen
exits "an address that is none" 2 lamina guest add q -S x -H qemu -A tcp:here
for address in tcp:127.0.0.1:0 vsock:3:0 hybrid:a:0 vsock:any:1052; do
	exits "an agent at $address" 2 lamina guest add q -S x -H qemu -A "$address"
	like "is where nobody can be" "$(cat err)" "--agent: '.*': (port 0 is none|'any' is no CID) to connect to"
done
exits "a live image that cannot be" 2 lamina guest add q -S x -H qemu -L ../x
like "is named" "$(cat err)" "--live: '../x' is no name for a live image"
exits "a socket's path that is too long" 2 lamina guest add q -S "$(printf '%0200d' 0)" -H qemu
like "is told" "$(cat err)" "--socket: '.*0': the path of a socket has at most 107"
is "of them none is kept" "$(lamina guest ls -q | grep -c q)" 0
mkdir there
ok "what is not there yet" lamina guest add late -S x -H qemu -T none -M none --chroot none
like "is noted: the token" "$(cat err)" "warning: --agent-token-file: cannot open the token '$T/none'"
like "the mount" "$(cat err)" "warning: --mount: cannot use '$T/none': No such file"
like "the jail" "$(cat err)" "warning: --chroot: cannot use '$T/none': No such file"
ok "what is" lamina guest add late -S x -H qemu -M there --chroot there --replace
is "is not" "$(cat err)" ""
lamina guest rm late
exits "a name that is none" 2 lamina guest add ../q -S x -H qemu
exits "likewise" 2 lamina guest add 'we b' -S x -H qemu
like "is told the rule" "$(cat err)" "'we b' is no name for a guest: it has letters, digits, '\.', '_' and '-'"
exits "to a resume, too" 2 lamina resume x --name 'we b' -S x -H qemu
like "as well" "$(cat err)" "--name: 'we b' is no name for a guest: it has letters"
for n in 64 128; do
	long=$(printf "g%0$((n - 1))d" 0)
	ok "one of $n characters" lamina guest add "$long" -S x -H qemu
	is "is one, as a live image's" "$(lamina guest show --json "$long" | jq -r .live)" "$long"
	lamina guest rm "$long"
done
exits "of 129" 2 lamina guest add "${long}0" -S x -H qemu
exits "for a session that is too long" 2 lamina resume x --name "$long" -S x -H firecracker
like "which is told" "$(cat err)" "too long for the guest's session at the pager: at most 64"
exits "what cannot be added" 2 lamina guest add bad -H qemu -S x -L ../y
exits "one that is not there" 1 lamina guest show q
like "is named" "$(cat err)" "there is no guest 'q'"

# --- a hypervisor that has ended, while who started it does not look ---

python3 -c 'import os, time
pid = os.fork() or os._exit(0)
print(pid, flush=True)
time.sleep(600)' >zombie &
at_exit "kill $!"
within 20 test -s zombie
is_zombie() {
	grep -q '^State:.Z' "/proc/$(cat zombie)/status"
}
within 20 is_zombie
jq ". + {pid: $(cat zombie)}" run/guests/web.json >x && cat x >run/guests/web.json
is "is none that runs" "$(lamina guest ls | awk '$1 == "web" { print $6 }')" ended
is "as is none of which nothing was known" "$(lamina guest ls | awk '$1 == "db" { print $6 }')" -
ok "which is shown" lamina guest show web
like "with the number that it had" "$(cat out)" "pid +$(cat zombie), which has ended"
is "and is a member" "$(lamina guest show --json web | jq -c '[.pid, .ended]')" "[$(cat zombie),true]"
jq '. + {pid: 1}' run/guests/web.json >x && cat x >run/guests/web.json
is "one that has not is" "$(lamina guest ls | awk '$1 == "web" { print $6 }')" 1
is "and is shown as that" "$(lamina guest show web | awk '$1 == "pid"') $(lamina guest show --json web | jq .ended)" \
	"pid         1 false"
is "of one without a number nothing is said" "$(lamina guest ls --json |
	jq -c '.[] | select(.name == "db") | .ended')" null
jq '. + {pid: 1, pid_start: 4711}' run/guests/web.json >x && cat x >run/guests/web.json
is "nor is a later one of its number" "$(lamina guest ls --json | jq '.[] | select(.name == "web") | .ended')" true

# --- what is no record ---

echo '{"name":"other"}' >run/guests/bad.json
exits "a record of another name" 3 lamina guest show bad
exits "does not hide the others" 3 lamina guest ls
like "which are listed" "$(cat out)" 'web +qemu'
ln -sf "$T/conf" run/guests/bad.json
exits "a link is refused" 3 lamina guest show bad
exits "by a pause, too" 3 lamina pause bad
is_damaged() { # WHAT JSON WHY
	printf '%s' "$2" >run/guests/bad.json
	exits "$1" 3 lamina guest show bad
	like "is told" "$(cat err)" "$3"
}
rm run/guests/bad.json
is_damaged "a number for a text" '{"name":"bad","socket":7}' "has a 'socket' of the wrong type"
is_damaged "a key twice" '{"name":"bad","live":"a","live":"b"}' "is damaged: duplicate object key"
is_damaged "one that says nothing" '{}' "the record of guest 'bad' does not say whose it is: it has no 'name'"
is_damaged "one that is cut off" '{"name":"ba' "is damaged: .*near '\"ba' \('$T/run/guests/bad.json'\): \
'lamina guest rm bad' forgets it, then 'lamina guest add', or --hypervisor and --socket, say what runs it"
for cmd in 'pause bad' 'guest cont bad' 'pause bad -H qemu -S x' 'guest cont bad -H qemu -S x'; do
	# shellcheck disable=SC2086
	exits "$cmd" 3 lamina $cmd
	like "tells it, too" "$(cat err)" "'lamina guest rm bad' forgets it"
done
exits "adding it as if there were none" 3 lamina guest add bad -H qemu -S x
like "tells it, too" "$(cat err)" "'lamina guest rm bad' forgets it"
ok "it is forgotten" lamina guest rm bad
exits "then the options count" 1 lamina guest cont bad -H qemu -S x
like "alone" "$(cat err)" "$T/x"
is_damaged "a hypervisor that there is not" '{"name":"bad","hypervisor":"xen"}' \
	"has a 'hypervisor' that is neither firecracker nor qemu: 'xen'"
exits "is not listed as good" 3 lamina guest ls
is_damaged "a live image that is elsewhere" '{"name":"bad","live":"../../etc"}' \
	"has a 'live' that is no name for a live image: '../../etc'"
exits "is not paused" 3 lamina pause bad
is_damaged "memory from nowhere" '{"name":"bad","backend":"tape"}' "has a 'backend' that is neither uffd nor file"
is_damaged "a NUL" '{"name":"bad","live":"a\u0000b"}' "is damaged: "
is_damaged "a name of a live image that is none" "{\"name\":\"bad\",\"live\":\"$(printf '%0300d' 0)\"}" \
	"has a 'live' that is too long"
is_damaged "a long path" "{\"name\":\"bad\",\"socket\":\"$(printf '%05000d' 0)\"}" "has a 'socket' that is too long"
# The last is U+009B, which begins a sequence for a terminal as ESC [ does.
printf '{"name":"bad","agent":"a\\u001b[31mb","log":"\\n\\u007f\\u009bx","\\u001b]0;k":"v"}' >run/guests/bad.json
ok "what a terminal would obey" lamina guest show bad
is "is not printed" "$(grep -cE 'a\?\[31mb|  \?\?\?+x|^\?\]0;k' out) $(LC_ALL=C grep -cP '[\x00-\x08\x0b-\x1f\x7f\x9b]' out)" "3 0"
lamina guest ls >out
is "nor in the list" "$(grep -c 'a?\[31mb' out) $(LC_ALL=C grep -cP '[\x00-\x08\x0b-\x1f\x7f\x9b]' out)" "1 0"
rm run/guests/bad.json
ln -s "$T/conf" run/guests/bad.json
chmod 666 run/guests/web.json
exits "one that others may write" 3 lamina guest show web
like "is not believed" "$(cat err)" 'can be written by others'
chmod 644 run/guests/web.json
exits "of two of which one is not there" 1 lamina guest rm web nosuch
is "none is forgotten" "$(lamina guest ls -q 2>/dev/null | grep -c web)" 1
ok "they are forgotten" lamina guest rm --json web db
is "as JSON" "$(jq -c . out)" '{"removed":["web","db"]}'
ok "what is no record, too" lamina guest rm bad
ok "one that is added" lamina guest add --json web -H qemu -S x
is "is printed" "$(jq -r '.name + " " + .socket' out)" "web $T/x"
lamina guest rm web
exits "once" 1 lamina guest rm web db

# --- one name ---

lamina init >/dev/null
mkimage mem 100 0-9:data=1
lamina commit --memfile mem --tag one >/dev/null
lamina live create disk --from one
lamina guest add db -H qemu -S y -L disk
ok "a live image is found by its guest's name" lamina live show --json db
is "it is that one" "$(jq -r .name out)" disk
ok "and committed" lamina live commit db --json
is "that one" "$(jq -r .live out)" disk
lamina live create db --from one
is "but one of the very name comes first" "$(lamina live show --json db | jq -r .name)" db

# --- the agent itself, which is only asked who it is ---

if has lamina-agent; then
	fc_config vm.json 8
	start_fc a --config-file vm.json
	lamina-agent --listen "unix:$T/agent" --kmsg none >agent.log 2>&1 &
	at_exit "kill $!"
	within 20 test -S agent
	lamina guest add a -H firecracker -S a.sock -A "unix:$T/agent" --mount "$T" -L disk
	mkdir -p live/disk
	: >live/disk/memfile
	: >live/disk/state
	ok "lamina-agent is asked" lamina pause a --dry-run --json --collapse --freeze x --reclaim '{"sync":1}'
	is "and has all that is wanted" "$(jq -r '[.steps[] | select(.result == "planned") | .step] | join(" ")' out)" \
		"freeze collapse reclaim pause snapshot sync seal resume resumed commit"
	echo 0123456789abcdef >token
	chmod 600 token
	port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
	lamina-agent --listen "tcp:127.0.0.1:$port" --token-file token --kmsg none >agent2.log 2>&1 &
	at_exit "kill $!"
	within 20 curl -s -o x "http://127.0.0.1:$port/version"
	asks() { # [OPTION...]: what came of collapse
		lamina pause a --dry-run --json --collapse -A "tcp:127.0.0.1:$port" "$@" |
			jq -r '.steps[1] | .result + " " + (.error // "")'
	}
	is "by TCP it wants its token" "$(asks -T token)" "planned "
	like "which must be named" "$(asks)" \
		"^failed the agent at 'tcp:127.0.0.1:$port' wants a token: --agent-token-file names the file that has it"
	echo 0123456789abcdeX >wrong
	chmod 600 wrong
	like "and be the right one" "$(asks -T wrong)" \
		"^failed the agent at 'tcp:127.0.0.1:$port' refuses the token in '$T/wrong'"
	chmod 644 token
	like "and be ours alone" "$(asks -T token)" '^failed .*can be read by others \(mode 0644\)'
else
	skip "no lamina-agent" 5
fi
done_testing
