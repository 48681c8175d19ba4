#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina resume of a hypervisor that is not root, in a jail or not: it may hand over its memory to the
# pager, and nobody else may.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/lib.sh"
. "$srcroot/tests/host/resume-lib.sh"
requires fuse root python3 jq curl userfaultfd setpriv

user=1234
# A userfaultfd is for those who may trace, or open /dev/userfaultfd, as a jailer lets it.
as=(setpriv --reuid "$user" --regid "$user" --clear-groups --inh-caps +sys_ptrace --ambient-caps +sys_ptrace)
chmod 755 "$T"
for dir in "$T" "$T"/.. "$T"/../.. "$T"/../../.. "$srcroot/tests/host/firecracker"; do
	"${as[@]}" test -x "$dir" || skip_all "others cannot reach $dir"
done
begin_resume
fc web random 0 3000000 1 >/dev/null
fc web dump m1 >/dev/null
ok "a guest is paused" lamina pause web --tag one --freeze none
end_fc web
umount_store mnt

# The jail has the store in it, for the user.
mkdir -p jail/run
chown $user:$user jail jail/run
mount_store s jail/mnt -o allow_other,uid=$user,gid=$user,mode=0660 || bail "cannot mount"

jailed() { # NAME: what is run in the jail
	exec "${as[@]}" firecracker --api-sock "/run/$1.sock" --control "$T/jail/run/$1.ctl" --jail "$T/jail"
}
ask() { # NAME WORD...
	firecracker --ask "$T/jail/run/$1.ctl" "${@:2}"
}
session() { # NAME: who may hand over, and where
	lamina pager show --json "$1" | jq -r '"\(.peer_uid) \(.socket)"'
}

# --- in a jail ---

ok "a hypervisor in a jail, which is another user, is started" lamina resume one --json --name a \
	-H firecracker -S jail/run/a.sock --chroot jail -- "${as[@]}" firecracker \
	--api-sock /run/a.sock --control "$T/jail/run/a.ctl" --jail "$T/jail"
ends
is "its process is that user's" "$(stat -c %u "/proc/$(jq .pid out)")" $user
is "and may hand over, in the jail" "$(session a)" "$user $T/jail/a.uffd"
is "has its memory from the pager" "$(jq -r .backend out) $(ask a verify m1)" "uffd same"
ask a write 4096 4096 7 >/dev/null
ask a dump "$T/jail/run/m2" >/dev/null
ok "and is paused by its name" lamina pause a --json --tag two
lamina export two --memfile x >/dev/null
same "with what it wrote" x jail/run/m2

# --- one that runs ---

jailed b &
at_exit "kill -9 $!"
within 20 test -S jail/run/b.sock
ok "one that waits there is told" lamina resume one --json --name b -H firecracker \
	-S jail/run/b.sock --chroot jail -l jail/run/uffd
is "and may hand over, where it was said" "$(session b)" "$user $T/jail/run/uffd"
is "has its memory" "$(ask b verify m1)" same

# --- not in a jail ---

start() { # NAME [OPTION...]
	rm -f "jail/run/$1.sock" "jail/run/$1.ctl"
	lamina resume one --json --name "$1" -H firecracker -S "jail/run/$1.sock" "${@:2}" \
		-- "${as[@]}" firecracker --api-sock '{socket}' --control "$T/jail/run/$1.ctl"
}
exits "another user who was not told of" 1 start c
like "may not, and is named" "$(cat err)" "it runs as user $user, who may hand over its memory with --peer-uid $user$"
is "nothing is left of it" "$(lamina pager ls -q | grep -cx c) $(lamina guest ls -q | grep -cx c)" "0 0"
ok "as it says" start c --peer-uid $user
ends
is "who may hand over then" "$(session c | cut -d' ' -f1)" $user
is "has its memory" "$(ask c verify m1)" same
ok "root needs no such word" lamina resume one --json --name d -H firecracker -S d.sock \
	-- firecracker --api-sock '{socket}' --control "$T/jail/run/d.ctl"
ends
is "and nobody else may hand over" "$(session d | cut -d' ' -f1)" -1

exits "a user who is none" 2 start e --peer-uid no-such-user
like "is told" "$(cat err)" "--peer-uid: 'no-such-user' is neither a number nor a user"
exits "memory from a file is handed over by nobody" 2 start e --backend file --peer-uid $user
done_testing
