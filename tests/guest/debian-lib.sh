# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# The Debian guest (see debian --help) for the tests that source this behind tests/lib.sh:
#
#	debian_image				makes it: $debian/{vmlinuz,initrd,rootfs}
#	debian_put DISK FILE PATH		copies a program to PATH of an image
#	debian_boot DISK [QEMU ARGUMENT...]	boots it from DISK; its RAM is the file $ram
#	debian_resume MEMFILE STATE DISK [QEMU ARGUMENT...]	as it was when these were saved
#	debian_provision DISK [OPTION...]	puts settings and the agent into it
#	debian_store				a store and its mount: $T/store, $T/mnt
#	debian_live NAME DISK			boots it from a live image that begins as DISK
#	debian_live_start NAME DISK		the same, but waits for nothing, and
#						`lamina` does not know it: debian_record NAME
#	debian_argv MEMFILE DISK [QEMU ARGUMENT...]	$argv is how one is started that loads it
#	debian_stop				ends it
#	in_guest COMMAND			runs that in its root shell
#	agent METHOD PATH [BODY [CURL OPTION...]]
#		asks its agent: the answer is in the file `body`, its status in $status
#
# One guest at a time. Its sockets are $run_dir/qmp and $run_dir/serial, and its TCP port
# 1052 is $agent_port of 127.0.0.1. GUEST_DEBIAN=DIR names a finished guest to use.

guest=$srcroot/tests/guest
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$guest/lib.sh"
# shellcheck disable=SC2034	# of lib.sh
SAY_AS=debian
run_dir=$(mktemp -d /var/tmp/lamina-debian.XXXXXX)	# short: sockets are in it
at_exit "rm -rf '$run_dir'"
at_exit stop_guest

ram=$run_dir/ram
ram_mib=${GUEST_RAM_MIB:-512}
shell_timeout=120
token=00112233445566778899aabbccddeeff
kernel_command_line="console=ttyS0 quiet loglevel=3 mitigations=off random.trust_cpu=on panic=-1
	systemd.show_status=0"

debian_requires() {
	requires root fuse plain qemu jq curl python3 setpriv debugfs mkfs.ext4 cpio depmod apt-get
	[ -n "${GUEST_DEBIAN:-}" ] || requires mmdebstrap
}

debian_image() {
	debian=${GUEST_DEBIAN:-$T/debian}
	[ -e "$debian/rootfs" ] || "$guest/debian" "$debian" 2>"$T/debian.log" ||
		bail "no Debian guest: $(tail -n 1 "$T/debian.log")"
}

debian_put() { # DISK FILE PATH
	debugfs -w -f - "$1" >"$T/debugfs.log" 2>&1 <<-END
		write "$2" $3
		set_inode_field $3 mode 0100755
	END
	debugfs -R "stat $3" "$1" 2>/dev/null | grep -q 'Mode:  0755'
}

debian_provision() { # DISK [OPTION...]
	(umask 077; echo "$token" >"$T/token")
	lamina -q guest provision --listen tcp:0.0.0.0:1052 --agent-token "$T/token" "$@"
}

debian_store() {
	mkdir -m 755 "$T/run"
	cat >"$T/lamina.conf" <<-END
		[store]
		path = $T/store
		[pager]
		runtime_dir = $T/run
	END
	export LAMINA_CONF=$T/lamina.conf
	lamina -q init && mount_store "$T/store" "$T/mnt" || bail "no store"
}

free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# What QEMU is told beside what lib.sh has; the network card has nothing to boot from.
_debian_net() {
	agent_port=$(free_port)
	net=(-netdev "user,id=net,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:$agent_port-:1052"
		-device "virtio-net-pci,netdev=net,romfile=")
}

_debian_start() { # MEMFILE SHARE DISK DISK-OPTIONS [QEMU ARGUMENT...]
	local net
	_debian_net
	start_guest "$1" "$((ram_mib << 20))" "$2" "$3" "$4" "${net[@]}" "${@:5}"
}

debian_argv() { # MEMFILE DISK [QEMU ARGUMENT...]
	local net
	_debian_net
	guest_argv "$1" "$((ram_mib << 20))" off "$2" ",file.locking=off,discard=unmap" \
		"${net[@]}" -S -incoming defer "${@:3}"
}

_debian_power_on() { # DISK [QEMU ARGUMENT...]
	local disk=$1
	shift
	: >"$ram"
	_debian_start "$ram" on "$disk" ",file.locking=off,discard=unmap" \
		-kernel "$debian/vmlinuz" -initrd "$debian/initrd" \
		-append "$(echo $kernel_command_line ${kernel_arguments:-})" "$@"
}

_debian_console() {
	ctl wait "$run_dir/serial" 240 || explain "the guest does not boot"
}

debian_boot() { # DISK [QEMU ARGUMENT...]
	_debian_power_on "$@"
	_debian_console
}

# `lamina` knows it by that name. Its RAM is the live image's, too.
debian_live() { # NAME DISK
	debian_live_start "$@"
	_debian_console || bail "it does not boot"
	debian_record "$1"
}

debian_live_start() { # NAME DISK
	lamina -q commit --rootfs "$2" --tag "$1-disk" >/dev/null &&
		lamina -q live create "$1" --from "$1-disk" --size "memfile=${ram_mib}M" --size state=0 ||
		bail "no live image"
	ram=$T/mnt/live/$1/memfile
	_debian_power_on "$T/mnt/live/$1/rootfs"
}

debian_record() { # NAME
	lamina -q guest add "$1" --replace --hypervisor qemu --socket "$run_dir/qmp" \
		--agent "tcp:127.0.0.1:$agent_port" --agent-token-file "$T/token" --mount "$T/mnt" ||
		bail "no record"
}

# share=on where what it writes to its RAM belongs into the memfile, as in a live image.
debian_resume() { # MEMFILE STATE DISK [QEMU ARGUMENT...]
	local memfile=$1 state=$2 disk=$3
	shift 3
	_debian_start "$memfile" "${share:-off}" "$disk" \
		",file.locking=off,discard=unmap${disk_options:-}" -S -incoming defer "$@"
	ctl load "$run_dir/qmp" "$state" || explain "cannot load the guest's state"
	ctl cont "$run_dir/qmp" || explain "the guest does not run"
}

debian_stop() {
	stop_guest
}

in_guest() { # COMMAND
	ctl shell "$run_dir/serial" "$shell_timeout" "$1"
}

agent() { # METHOD PATH [BODY [CURL OPTION...]]
	local body=()
	[ -z "${3:-}" ] || body=(--data-binary "$3")
	status=$(curl -s -m 120 -o "$T/body" -w '%{http_code}' -X "$1" "${body[@]}" \
		-H "Authorization: Bearer $token" "${@:4}" "http://127.0.0.1:$agent_port$2")
}

agent_answers() {
	agent GET /health "" -m 5 && [ "$status" = 200 ]
}
