#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina guest provision in roots that are not as they should be: what cannot be done is refused
# before anything is written, and what others have set is told.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/provision-lib.sh"
requires jq

# shellcheck disable=SC2120
provision() { # ARGUMENT...
	lamina guest provision root --no-agent "$@"
}
tree() { # everything there is, but for times
	(cd root && find . -printf '%p %y %m %l\n' | sort && find . -type f -exec cksum {} + | sort)
}
new_root() {
	rm -rf root outside
	mkdir -p root/etc root/usr/lib/systemd outside
	: >root/usr/lib/systemd/systemd
}
refused() { # DESCRIPTION SENTENCE [ARGUMENT...]
	local what=$1 sentence=$2
	shift 2
	tree >was
	exits "$what" 1 provision "$@"
	is "... and says why" "$(cat err)" "lamina: cannot provision the guest: $sentence"
	is "... and nothing is written" "$(tree)" "$(cat was)"
	is "... nor outside" "$(ls outside)" ""
}

# --- links ---

new_root
rmdir root/etc
ln -s /etc root/etc
refused "etc is a link to /etc" "cannot open directory '/etc': Too many levels of symbolic links"
ln -sfn "$T/outside" root/etc
refused "etc is a link out of the root" "'root' is no root of a system: it has no directory 'etc'"
ln -sfn ../../../../../../../../../../etc root/etc
refused "also without a slash in front" "cannot open directory '/etc': Too many levels of symbolic links"
new_root
mkdir -p root/etc/systemd
ln -s "$T/outside" root/etc/systemd/journald.conf.d
refused "a directory of drop-ins is a link out of the root" "'/etc/systemd/journald.conf.d' is a link to \
'$T/outside', which is not in the guest: make that directory there, or remove the link"
refused "also a dry run tells" "'/etc/systemd/journald.conf.d' is a link to \
'$T/outside', which is not in the guest: make that directory there, or remove the link" --dry-run
ok "to revert is for nothing" provision --revert
new_root
ln -s ../outside root/etc/lamina
refused "etc/lamina is one" "'/etc/lamina' is a link to '../outside', which is not in the guest: make that \
directory there, or remove the link"
new_root
ln -s "$T/outside/target" root/etc/lamina-target
mkdir -p root/etc/sysctl.d
ln -s /etc/lamina-target root/etc/sysctl.d/90-lamina.conf
exits "a link where the file is to be" 1 provision
like "is a conflict" "$(cat out)" "conflict +/etc/sysctl.d/90-lamina.conf"
ok "with force" provision --force
ok "it is replaced by the file" test ! -L root/etc/sysctl.d/90-lamina.conf
is "what it pointed to is not made" "$(ls outside)" ""

# --- what is in the way ---

new_root
mkdir -p root/etc/sysctl.d/90-lamina.conf
exits "a directory where the file is to be" 1 provision
like "is a conflict" "$(cat out)" "conflict +/etc/sysctl.d/90-lamina.conf"
refused "also with force" "where 1 file is to be is a directory, which is not taken away: do that by hand" --force
new_root
: >root/etc/sysctl.d
refused "a file where a directory is to be" "cannot read '/etc/sysctl.d/90-lamina.conf': Not a directory"
new_root
provision >out
rm -r root/etc/sysctl.d
: >root/etc/sysctl.d
ok "which came after us" provision --revert
is "stays, and nothing of ours" "$(cd root/etc && find . -mindepth 1)" ./sysctl.d

# --- where nothing can be written ---

if has root && has mount; then
	new_root
	mount --bind root root
	at_exit "umount '$T/root'"
	mount -o remount,bind,ro root
	refused "a root that is mounted read-only" \
		"cannot make directory '/etc/lamina': Read-only file system" --quiet
	is "nothing is said to be written" "$(provision 2>err | awk 'NR > 1 {print $1}' | sort -u)" skipped
	mount -o remount,bind,rw root
	provision >out
	mount -o remount,bind,ro root
	ok "one where there is nothing to do" provision
	ok "or to look" provision --check
	exits "one where there is something to see" 1 provision --check --journal 8M
	umount root
else
	skip "no mount" 8
fi

# --- the system that lamina itself runs on ---

if has root && has mount && [ -z "${LAMINA_SANITIZED:-}${LAMINA_VALGRIND:-}" ]; then
	new_root
	cp "$(command -v lamina)" root/lamina
	mkdir root/proc
	for dir in /lib /lib64 /bin; do
		if [ -L $dir ]; then ln -s "$(readlink $dir)" root$dir; fi
	done
	mount --rbind -o ro /usr root/usr
	at_exit "umount -R '$T/root/usr'"
	mount -o remount,bind,ro root/usr
	exits "one's own root" 1 chroot root /lamina guest provision / --no-agent
	is "is not taken for a guest's" "$(tail -n 1 err)" \
		"lamina: cannot provision the guest: '/' is the system that this runs on: if that is the guest, say --force"
	is "and nothing is written" "$(ls root/etc)" ""
	ok "to look is fine" chroot root /lamina guest provision / --no-agent --dry-run
	ok "and with force it is the guest's" chroot root /lamina guest provision / --no-agent --force
	ok "which has all then" test -s root/etc/sysctl.d/90-lamina.conf
	ok "to revert is fine" chroot root /lamina guest provision / --revert
	is "all is gone" "$(ls root/etc)" ""
	umount -R root/usr
else
	skip "no mount, or no program that runs elsewhere" 8
fi

# --- what is read after us ---

new_root
mkdir -p root/etc/sysctl.d root/usr/lib/sysctl.d root/etc/systemd/journald.conf.d
ln -s ../sysctl.conf root/etc/sysctl.d/99-sysctl.conf
printf '# vm.compaction_proactiveness=1\r\n\n -vm/compaction_proactiveness = 20 \r\n' >root/etc/sysctl.conf
echo 'vm.compaction_proactiveness=30' >root/etc/sysctl.d/10-before.conf
echo 'vm.compaction_proactiveness=40' >root/usr/lib/sysctl.d/95-vendor.conf
echo 'vm.compaction_proactiveness=50' >root/usr/lib/sysctl.d/96-hidden.conf
ln -s /dev/null root/etc/sysctl.d/96-hidden.conf
echo 'vm.compaction_proactiveness=0' >root/usr/lib/sysctl.d/97-same.conf
printf '[Journal]\nStorage=persistent\n' >root/etc/systemd/journald.conf.d/99-x.conf
tree >before
ok "what others have set" provision --json
is "is told where it counts more" "$(jq -r '.notes[]' out)" \
"'/etc/sysctl.d/99-sysctl.conf' says vm.compaction_proactiveness=20 and is read after '90-lamina.conf': remove that line
'/usr/lib/sysctl.d/95-vendor.conf' says vm.compaction_proactiveness=40 and is read after '90-lamina.conf': remove that line
'/etc/systemd/journald.conf.d/99-x.conf' says Storage=persistent and is read after '90-lamina.conf': remove that line"
ok "also to who checks" provision --check
like "in words" "$(cat err)" "'/etc/sysctl.d/99-sysctl.conf' says vm.compaction_proactiveness=20"
ok "reverted" provision --revert
is "theirs is as it was" "$(tree)" "$(cat before)"

# --- what fstab says ---

if has loop && has mount && has mkfs.ext4; then
	new_root
	provision >out
	command=$(sed -n 's/^ExecStart=-//p' root/etc/systemd/system/lamina-discard.service)
	truncate -s 16M disk
	mkfs.ext4 -q -F disk
	mkdir mnt
	mount -o loop,noatime disk mnt
	at_exit "umount '$T/mnt'"
	while IFS='|' read -r what line; do
		printf "$line" "$T/mnt" "$T/mnt" >fstab
		mount -o remount,nodiscard,noatime mnt
		# shellcheck disable=SC2086
		LIBMOUNT_FSTAB=$T/fstab ${command% /} "$T/mnt" >out 2>err
		like "with $what in fstab the root discards" "$(grep " $T/mnt " /proc/mounts)" " rw,noatime,discard"
	done <<-'END'
		nothing|
		no line for the root|# comment %.0s\n%.0s
		a UUID that is not there|UUID=0fc63daf-8483-4772-8e79-3d69d8477de4 %s ext4 defaults 0 1\n%.0s
		a device that is not there|/dev/nix %s ext4 ro,errors=remount-ro 0 1\n%.0s
		odd white space and the ends of lines of DOS|\t /dev/nix \t %s\text4\tdefaults  0\t1\r\n%.0s
		two lines|/dev/nix %s ext4 ro 0 1\nLABEL=x %s xfs nodiscard 0 1\n
		words|%.0sno line of fstab, at all %.0s\n
	END
else
	skip "no loop devices, or no mkfs.ext4" 7
fi
done_testing
