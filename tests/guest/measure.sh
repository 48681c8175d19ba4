#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# measure.sh
#
# `lamina measure-dirtying` of a booted Debian under QEMU: idle, 64 KiB written, a process
# started; and with and without collapse. Part of `make check-guest`, and a program of its
# own (TAP). GUEST_DEBIAN=DIR names a finished guest.

# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=debian-lib.sh
. "$srcroot/tests/guest/debian-lib.sh"
debian_requires
requires loop lamina-agent
debian_image

debian_store
cp --sparse=always "$debian/rootfs" disk
debian_provision disk || bail "no agent in it"
debian_live web disk
rm disk
within 60 agent_answers || bail "no agent"

layers() { lamina ls --json | jq length; }

measure() { # [OPTION...]: its commands are run over the serial line
	timeout 250 lamina measure-dirtying web --run "$guest/ctl.py shell $run_dir/serial 60 %s" "$@"
}

dots() { # FILE
	python3 - "$1" <<-'END'
		import sys, xml.etree.ElementTree as tree
		of = [e.get("class") for e in tree.parse(sys.argv[1]).iter() if e.get("cy")]
		print(of.count("a"), of.count("b"))
	END
}

# --- workloads ---

before=$(layers)
ok "it is measured" measure -w idle -w 64k -w process -n 2 --json --svg work.svg
cp out work.json
jq -r '.measures[] | .workload as $w | .images[] | "# \($w) \(.image): \(.changed_pages) pages, \(
	.frames_touched) frames, \(.stored_bytes) bytes stored"' work.json
is "as often as it was to be" "$(jq -r '[.measures[].workload] | join(" ")' work.json)" \
	"idle 64k process idle 64k process"
is "each pause is a child of the one before" \
	"$(jq '[.measures[].layer][:-1] == [.measures[].parent][1:]' work.json)" true
is "and the first one, of what was not measured" "$(layers)" $((before + 7))
ok "64 KiB that are written are pages of the disk" jq -e '[.measures[] | select(.workload == "64k") |
	.images[] | select(.image == "rootfs").changed_pages >= 16] | all' work.json
ok "and are stored" jq -e '[.measures[] | select(.workload == "64k") |
	([.images[].stored_bytes] | add) >= 65536] | all' work.json
ok "the file is in the guest" in_guest 'test "$(stat -c %s /var/tmp/lamina-measure)" = 65536'
is "the picture has a dot for each, of three images and the time, and of the legend" \
	"$(dots work.svg)" "25 0"

# --- compared ---

ok "pauses without and with collapse are compared" measure -w idle -n 3 --ab --collapse --svg ab.svg
diag "$(sed '1,/^$/d' out)"
like "in a table" "$(cat out)" 'idle +memfile +changed_pages +[0-9.]+ \([0-9]+ to [0-9]+\)'
agent GET /logs
is "the agent was asked for it each time" \
	"$(jq -r '.text // empty' body | grep -c 'POST /collapse')" 3
is "the picture has both" "$(dots ab.svg)" "13 13"
ok "the guest goes on" in_guest true

done_testing
