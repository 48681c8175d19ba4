#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# provisioned.sh
#
# What `lamina guest provision` writes into an image does in a booted guest what it is
# there for: no journal, but warnings in the kernel's log; no compaction nobody asked for;
# what is deleted is discarded. Part of `make check-guest`, and a program of its own (TAP).
# GUEST_DEBIAN=DIR names a finished guest (see debian --help).

# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=debian-lib.sh
. "$srcroot/tests/guest/debian-lib.sh"
debian_requires
requires loop
debian_image

drop_in=/etc/systemd/journald.conf.d/90-lamina.conf

journal_files() { # how many there are
	in_guest 'find /var/log/journal /run/log/journal -type f 2>/dev/null | wc -l'
}

in_dmesg() { # TEXT: how often it is
	in_guest "dmesg | grep -cF '$1'" | tr -d '\n'
}

said() { # PRIORITY TEXT
	in_guest "logger -p user.$1 '$2'; sleep 1" >/dev/null
}

cp --sparse=always "$debian/rootfs" disk
ok "a Debian is provisioned" lamina guest provision --no-agent disk
ok "and is as wanted" lamina guest provision --no-agent --check disk
debian_boot "$T/disk" || bail "it does not boot"

is "nothing compacts of its own" "$(in_guest 'cat /proc/sys/vm/compaction_proactiveness')" 0
like "the root is mounted with discard" "$(in_guest 'findmnt -no OPTIONS /')" '(^|,)discard'
is "no unit has failed" "$(in_guest 'systemctl --failed --plain --no-legend')" ""

in_guest 'systemd-cat -p info echo quiet-line' >/dev/null
said info quiet-line
said err loud-line
is "an error is in the kernel's log" "$(in_dmesg loud-line)" 1
is "what is only information is not" "$(in_dmesg quiet-line)" 0
is "there is no journal" "$(journal_files)" 0

# --- the header makes the difference ---

in_guest "sed -i '/^\[Journal\]/d' $drop_in && systemctl restart systemd-journald" >/dev/null
said err lost-line
is "without its header the drop-in forwards nothing" "$(in_dmesg lost-line)" 0
ok "and a journal is kept" test "$(journal_files)" -ge 1

done_testing
