#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina guest provision: what is in the files, and that a revert leaves none of it.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/provision-lib.sh"
requires jq
agent=agent
new_program $agent

provision() { # ARGUMENT...
	lamina guest provision root --agent "$agent" "$@"
}
refused() { # DESCRIPTION STATUS SENTENCE ARGUMENT...
	local what=$1 status=$2 sentence=$3
	shift 3
	exits "$what" "$status" provision "$@"
	is "... and says why" "$(head -n 1 err)" "lamina: $sentence"
}
tree() { # everything there is, but for times
	(cd root && find . -printf '%p %y %m %l\n' | sort && find . -type f -exec cksum {} + | sort)
}
action() { # FILE: of the last --json
	jq -r --arg f "$1" '.actions[] | select(.file == $f) | .action' out
}
new_root() {
	rm -rf root
	mkdir -p root/etc/sysctl.d root/usr/lib/systemd/system root/usr/local/sbin
	: >root/usr/lib/systemd/systemd
	printf '# UNCONFIGURED FSTAB\n' >root/etc/fstab
	chmod 700 root/etc/sysctl.d
	tree >before
}

# --- the files, whole ---

new_root
ok "a directory is provisioned" provision --json
is "with what it says" "$(jq -c '[.root, .changes, .conflicts, .done, .notes, ([.actions[].action] | unique)]' out)" \
	'["root",7,0,true,[],["create"]]'
same "the agent" root/usr/local/sbin/lamina-agent "$agent"
is "to be run" "$(stat -c %a root/usr/local/sbin/lamina-agent)" 755
cat >want <<'END'
# Written by lamina guest provision; lamina-guest(1) says why.
[Journal]
Storage=none
ForwardToSyslog=no
ForwardToKMsg=yes
MaxLevelKMsg=warning
MaxLevelConsole=warning
END
same "journald's" root/etc/systemd/journald.conf.d/90-lamina.conf want
cat >want <<'END'
# Written by lamina guest provision; lamina-guest(1) says why.
vm.compaction_proactiveness=0
END
same "sysctl's" root/etc/sysctl.d/90-lamina.conf want
is "for systemd to read" "$(stat -c %a root/etc/sysctl.d/90-lamina.conf)" 644
unit=root/etc/systemd/system/lamina-agent.service
is "the agent's unit starts it" "$(grep ^ExecStart= $unit)" \
	"ExecStart=/usr/local/sbin/lamina-agent --listen vsock:any:1052"
is "without its lines in the journal" "$(grep ^StandardOutput= $unit)" StandardOutput=null
is "and is wanted" "$(readlink root/etc/systemd/system/multi-user.target.wants/lamina-agent.service)" \
	/etc/systemd/system/lamina-agent.service
is "the root is made to discard" "$(grep ^ExecStart= root/etc/systemd/system/lamina-discard.service)" \
	'ExecStart=-/bin/mount --options-source mtab -o remount,discard /'
is "always" "$(readlink root/etc/systemd/system/local-fs.target.wants/lamina-discard.service)" \
	/etc/systemd/system/lamina-discard.service
if has systemd-analyze; then
	ok "systemd has nothing against the units" systemd-analyze verify --man=no --root="$T/root" \
		lamina-discard.service
else
	skip "no systemd-analyze"
fi

# --- again ---

tree >after
touch -d @1000000000 marked
find root -exec touch -h -r marked {} +
ok "again" provision --json
is "there is nothing to do" "$(jq -c '[.changes, .conflicts, ([.actions[].action] | unique)]' out)" '[0,0,["same"]]'
is "nothing is written" "$(find root -newer marked | wc -l)" 0
ok "a check agrees" provision --check
is "and prints it" "$(tail -n +2 out | awk '{print $1}' | sort -u)" same
ok "the journal may be kept" provision --journal 8M --json
is "which changes one file" "$(action /etc/systemd/journald.conf.d/90-lamina.conf) $(jq .changes out)" "change 1"
cat >want <<'END'
# Written by lamina guest provision; lamina-guest(1) says why.
[Journal]
Storage=persistent
SystemMaxUse=8M
ForwardToSyslog=no
ForwardToKMsg=yes
MaxLevelKMsg=warning
MaxLevelConsole=warning
END
same "as it says" root/etc/systemd/journald.conf.d/90-lamina.conf want
refused "a check does not agree" 1 "cannot provision the guest: 1 file is not as wanted" --check
ok "a dry run" provision --dry-run
like "says what it would do" "$(tr -s ' ' <out)" "change /etc/systemd/journald.conf.d/90-lamina.conf"
same "and does not" root/etc/systemd/journald.conf.d/90-lamina.conf want
ok "back" provision --journal none
is "it is as it was" "$(tree)" "$(cat after)"

# --- a token, another address ---

(umask 022 && echo secret-of-the-guest >token)
exits "a journal that is too large" 2 provision --journal 100T
like "is told what can be" "$(cat err)" "at most 7 digits with K, M or G: not '100T'"
exits "a token that others may read" 1 provision --listen tcp:0.0.0.0:1052 --agent-token token
like "is refused, as by a pause" "$(cat err)" "the token 'token' can be read by others \(mode 0644\)"
is "and nothing is written" "$(ls root/etc/lamina/agent-token 2>/dev/null)" ""
chmod 600 token
ok "over TCP" provision --listen tcp:0.0.0.0:1052 --agent-token token
is "the unit says so" "$(grep ^ExecStart= $unit)" \
	"ExecStart=/usr/local/sbin/lamina-agent --listen tcp:0.0.0.0:1052 --token-file /etc/lamina/agent-token"
same "the token is there" root/etc/lamina/agent-token token
is "for root only" "$(stat -c %a root/etc/lamina/agent-token)" 600
chmod 644 root/etc/lamina/agent-token
ok "which is seen to" provision --listen tcp:0.0.0.0:1052 --agent-token token
is "again" "$(stat -c %a root/etc/lamina/agent-token)" 600
ok "without it" provision
is "it goes" "$(tree)" "$(cat after)"
ok "without an agent" lamina guest provision root --no-agent
is "that goes, too" "$(find root -name '*lamina-agent*')" ""
ok "reverted" lamina guest provision root --revert --json
is "with what it says" "$(jq -c '[.changes, ([.actions[].action] | unique)]' out)" '[4,["remove"]]'
is "all is as before" "$(tree)" "$(cat before)"
ok "twice" lamina guest provision root --revert
is "for nothing" "$(cat out)" ""

beside=$(dirname "$(command -v lamina)")/lamina-agent
if [ -e "$beside" ] && ! ldd "$beside" >ldd.out 2>&1; then
	ok "without --agent" lamina guest provision root
	same "it is the one beside lamina" root/usr/local/sbin/lamina-agent "$beside"
	ok "reverted" lamina guest provision root --revert
else
	skip "no static lamina-agent beside lamina" 3
fi

# --- init_on_free ---

ok "init_on_free without GRUB" provision --init-on-free
like "is for whoever starts the guest" "$(cat err)" "add init_on_free=1 to the kernel's command line where"
mkdir -p root/etc/default
: >root/etc/default/grub
tree >with_grub
ok "with GRUB" provision --init-on-free
like "it is for update-grub" "$(cat err)" "run update-grub in the guest"
is "what it reads" "$(bash -c 'GRUB_CMDLINE_LINUX=quiet; . root/etc/default/grub.d/lamina.cfg; echo "$GRUB_CMDLINE_LINUX"')" \
	"quiet init_on_free=1"
ok "without" provision
ok "it is gone" test ! -e root/etc/default/grub.d
provision --revert >out
rm -rf root/etc/default
is "as before" "$(tree)" "$(cat before)"

# --- somebody else's ---

printf '[Journal]\nStorage=volatile\n' >mine
mkdir -p root/etc/systemd/journald.conf.d
cp mine root/etc/systemd/journald.conf.d/90-lamina.conf
refused "a file of somebody else's" 1 "cannot provision the guest: 1 file is there that lamina has not written, \
or somebody has changed since: nothing is changed without --force"
like "it is told which" "$(cat out)" "conflict +/etc/systemd/journald.conf.d/90-lamina.conf"
like "others are not said to be there" "$(cat out)" "skipped +/etc/sysctl.d/90-lamina.conf"
is "it is as it was" "$(cat root/etc/systemd/journald.conf.d/90-lamina.conf)" "$(cat mine)"
is "nothing else is there" "$(find root -name '*lamina*')" root/etc/systemd/journald.conf.d/90-lamina.conf
ok "with force" provision --force
like "it is replaced" "$(cat root/etc/systemd/journald.conf.d/90-lamina.conf)" Storage=none
echo "# mine" >>$unit
exits "what was changed since" 1 provision --revert
is "is left" "$(tail -n 1 $unit)" "# mine"
like "which is said" "$(cat err)" "1 file was changed by somebody else and left"
is "all else goes, but for what is known of it" "$(find root -name '*lamina*' | sort)" "root/etc/lamina
$unit"
new_root
rmdir root/etc/sysctl.d
tree >before
ok "where a directory is missing" provision
echo "# mine" >>root/etc/sysctl.d/90-lamina.conf
exits "a revert that leaves a file" 1 provision --revert --json
is "is told in JSON" "$(jq -r .error out)" "1 file was changed by somebody else and left: --revert --force \
takes it away, too"
exits "again" 1 provision --revert
exits "a dry run that would leave it" 1 provision --revert --dry-run
exits "one that could not write it" 1 provision --dry-run
ok "it is taken over" provision --force
ok "reverted" provision --force --revert
is "as before, without the directory" "$(tree)" "$(cat before)"
ok "once more" provision
echo "# mine" >>root/etc/sysctl.d/90-lamina.conf
exits "a revert that leaves a file" 1 provision --revert
ok "with force" provision --force --revert
is "leaves none" "$(tree)" "$(cat before)"
ok "and once more" provision
echo "# mine" >>root/etc/sysctl.d/90-lamina.conf
exits "a revert that leaves a file" 1 provision --revert
rm root/etc/sysctl.d/90-lamina.conf
ok "which goes by hand" provision --revert
is "leaves no directory" "$(tree)" "$(cat before)"

# --- no way out ---

new_root
mkdir outside
rmdir root/etc/sysctl.d
ln -s "$T/outside" root/etc/sysctl.d
exits "a link out of the root" 1 provision
is "leads nowhere" "$(ls outside)" ""
rm root/etc/sysctl.d
mkdir root/usr/etc-of-vendor
mkdir root/etc/real
ln -s /etc/real root/etc/sysctl.d
ok "a whole link inside of it" provision
ok "is followed as in the guest" test -f root/etc/real/90-lamina.conf
ok "also back" provision --revert
is "all is gone" "$(find root -name '*lamina*')" ""

# --- refusals ---

mkdir empty
exits "no root" 1 lamina guest provision empty --no-agent
like "is said" "$(cat err)" "'empty' is no root of a system: it has no directory 'etc'"
exits "none at all" 1 lamina guest provision nix --no-agent

# --- an agent that would not run ---

cannot() { # DESCRIPTION SENTENCE: of ./other
	tree >was
	refused "$1" 1 "cannot provision the guest: 'other' $2" --agent other
	is "... and nothing is written" "$(tree)" "$(cat was)"
}
new_root
cp mine other
cannot "some text" "is no program of Linux"
printf '#!/bin/sh\nexec lamina-agent\n' >other
cannot "a script" "is no program of Linux, but a script"
: >other
cannot "an empty file" "is empty: the agent is a program"
head -c 100 "$agent" >other
cannot "half a program" "is not whole: its segments are missing"
new_program other 62 /lib/ld-none.so.1
cannot "one of shared libraries" "is linked with shared libraries, and the guest lacks '/lib/ld-none.so.1': take a static one"
mkdir -p root/usr/lib
ln -s usr/lib root/lib
: >root/usr/lib/ld-real.so.1
ln -s /lib/ld-real.so.1 root/usr/lib/ld-none.so.1
cannot "whose loader has nothing in it" "is linked with shared libraries, and the guest lacks '/lib/ld-none.so.1': take a static one"
echo x >root/usr/lib/ld-real.so.1
ok "one whose loader the guest has" provision --dry-run --agent other
cp "$buildroot/src/lamina" other
exits "another program" 1 provision --agent other
new_program other
sed -i 's/Usage: lamina-agent/Usage: lamina-other/' other
cannot "another static program" "is another program than lamina-agent"
new_program other 183
ok "nobody knows what machine the guest is for" provision --dry-run --agent other
mkdir -p root/sbin root/usr/bin
ln -s /usr/lib/systemd/systemd root/sbin/init
printf '#!/bin/busybox sh\n' >root/usr/bin/sh
new_program root/usr/lib/systemd/systemd
cannot "one for another machine" "is for another machine (AArch64) than the guest's programs (x86-64)"
new_program other 3
cannot "and another" "is for another machine (x86) than the guest's programs (x86-64)"
ok "one for the guest's" provision --dry-run
rm root/usr/lib/systemd/systemd
new_program root/usr/bin/env 183
refused "by another program of the guest" 1 \
	"cannot provision the guest: 'agent' is for another machine (x86-64) than the guest's programs (AArch64)"
exits "no such file" 1 provision --agent nix
exits "a directory" 1 provision --agent root

# --- words that are wrong whatever the guest is ---

while IFS='|' read -r address sentence; do
	refused "to listen at $address" 2 "$sentence" --listen "$address"
done <<'END'
tcp:0.0.0.0:1052|an agent that listens at TCP needs a token
tcp:guest.example:1052|'tcp:guest.example:1052' has a name: the agent listens at an IP address, such as 0.0.0.0
tcp:0.0.0.0:0|'tcp:0.0.0.0:0' has no port: the host has to know it
tcp:0.0.0.0:65536|'65536' is no port: a number from 1 to 65535
tcp:0.0.0.0|'0.0.0.0' lacks a port: it is written tcp:HOST:PORT
vsock:any:0|'vsock:any:0' has no port: the host has to know it
vsock:2:1052|'vsock:2:1052' is no CID of a guest's: say vsock:any
unix:agent.sock|'unix:agent.sock' is no whole path: it begins with '/'
hybrid:/run/v.sock:1052|'hybrid:/run/v.sock:1052' is how the host connects: the guest listens at vsock
unix:/run/%n|'unix:/run/%n' cannot be in a unit of systemd
1052|'1052' is no address: unix:PATH, tcp:HOST:PORT, vsock:CID:PORT or hybrid:PATH:PORT
END
refused "a journal of no size" 2 "the journal is none, or a size as in 8M, a number of at most 7 digits with K, M or G: not '8MiB'" --journal 8MiB
rm root/usr/bin/env
for address in tcp:127.0.0.1:1052 'tcp:[::]:1052' vsock:3:1052 unix:/run/agent.sock; do
	ok "to listen at $address" provision --dry-run --listen $address --agent-token token
done
refused "words that do not go together" 2 "--check goes without --revert and --dry-run" --check --revert
exits "nor these" 2 provision --no-agent
exits "no root named" 2 lamina guest provision
new_root
rm root/usr/lib/systemd/systemd
ok "without systemd, whatever units packages have brought" provision --dry-run
like "it is said" "$(cat err)" "there is no systemd in it"
done_testing
