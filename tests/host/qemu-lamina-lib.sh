# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Guests of lamina in real QEMUs, for the tests that source this behind tests/lib.sh.  Each has a
# NAME: its monitor for lamina is NAME.qmp, another one and the serial line are pipes.  The guest
# is a boot sector that answers each byte on its serial line with a count, and writes that into a
# page of its own each time; else nothing in its memory changes, so that it can be looked at while
# it runs.

bytes=$((16 << 20))	# of RAM
disk=$((256 << 10))	# bytes of its rootfs
declare -A qemu_pid serial_in serial_out mon_in mon_out

# cli; xor ax,ax; mov ds,ax; mov byte [0x8000],0; mov dx,0x3f8; mov al,'0'; out dx,al
# 1: mov dx,0x3fd; 2: in al,dx; test al,1; jz 2b; mov dx,0x3f8; in al,dx
# inc byte [0x8000]; mov al,[0x8000]; mov bh,al; xor bl,bl; mov es,bx; mov es:[0x100],al
# add al,'0'; out dx,al; jmp 1b
{
	printf '\xfa\x31\xc0\x8e\xd8\xc6\x06\x00\x80\x00\xba\xf8\x03\xb0\x30\xee\xba\xfd\x03\xec\xa8\x01'
	printf '\x74\xfb\xba\xf8\x03\xec\xfe\x06\x00\x80\xa0\x00\x80\x88\xc7\x30\xdb\x8e\xc3\x26\xa2\x00\x01'
	printf '\x04\x30\xee\xeb\xde'
} >boot
truncate -s 510 boot
printf '\x55\xaa' >>boot
truncate -s 1M boot

pipes() { # NAME: once
	local name=$1
	[ -z "${serial_in[$name]:-}" ] || return 0
	mkfifo "$name.serial.in" "$name.serial.out" "$name.mon.in" "$name.mon.out"
	exec {fd}<>"$name.serial.in" && serial_in[$name]=$fd
	exec {fd}<>"$name.serial.out" && serial_out[$name]=$fd
	exec {fd}<>"$name.mon.in" && mon_in[$name]=$fd
	exec {fd}<>"$name.mon.out" && mon_out[$name]=$fd
}

# What a QEMU before left there.
drain_pipes() { # NAME
	local line
	while read -r -t 0.01 -n 100 -u "${serial_out[$1]}" line ||
		read -r -t 0.01 -u "${mon_out[$1]}" line; do :; done
}

# The words of a QEMU, in the array qemu.
words() { # NAME MEMFILE SHARE ROOTFS [WORD...]
	pipes "$1"
	drain_pipes "$1"
	# shellcheck disable=SC2054	# commas of QEMU's
	qemu=(qemu-system-x86_64 -nodefaults -no-user-config -display none -accel tcg
		-m "$((bytes >> 20))M" -machine "q35,memory-backend=ram"
		-object "memory-backend-file,id=ram,size=$bytes,share=$3,mem-path=$2"
		-drive "if=none,id=boot,format=raw,readonly=on,file=$T/boot"
		-device virtio-blk-pci,drive=boot,bootindex=0
		-drive "if=none,id=rootfs,format=raw,file.locking=off,file=$4"
		-device virtio-blk-pci,drive=rootfs
		-chardev "pipe,id=serial,path=$T/$1.serial" -serial chardev:serial
		-chardev "pipe,id=mon,path=$T/$1.mon" -mon chardev=mon,mode=control
		-qmp "unix:$T/$1.qmp,server=on,wait=off" "${@:5}")
}

# A store that is mounted, with a guest that has booted in layer gen0.
begin_lamina() {
	local zero=
	export LAMINA_STORE=$T/s
	printf '[pager]\nruntime_dir = %s/run\n' "$T" >conf
	export LAMINA_CONF=$T/conf
	lamina -q init || bail "no store"
	truncate -s "$bytes" boot.mem
	truncate -s "$disk" boot.disk
	: >boot.state
	words zero "$T/boot.mem" off "$T/boot.disk"
	"${qemu[@]}" </dev/null >zero.log 2>&1 &
	qemu_pid[zero]=$!
	at_exit "kill -9 ${qemu_pid[zero]}"
	read -r -t 120 -n 1 -u "${serial_out[zero]}" zero && [ "$zero" = 0 ] ||
		bail "the guest does not boot: $zero, $(cat zero.log)"
	hyper zero pause && hyper zero snapshot boot.mem boot.state full >/dev/null ||
		bail "the guest cannot be saved"
	end_qemu zero
	lamina -q commit --memfile boot.mem --state boot.state --rootfs boot.disk --tag gen0 >/dev/null ||
		bail "no layer"
	mount_store s mnt || bail "no mount"
}

# `lamina resume`; its RAM is a private mapping of the layer's memfile, if nothing else is said.
resume() { # NAME LAYER [MEMFILE [SHARE [OPTION...]]]
	local name=$1 layer=$2
	rm -f "$name.json"
	words "$name" "${3:-{memfile\}}" "${4:-off}" '{rootfs}' -S -incoming defer
	lamina resume "$layer" --json --name "$name" -H qemu -S "$name.qmp" -w 60s "${@:5}" \
		-- "${qemu[@]}" >"$name.json" 2>err || return
	qemu_pid[$name]=$(jq .pid "$name.json")
	at_exit "kill -9 ${qemu_pid[$name]}"
}

end_qemu() { # NAME
	kill -9 "${qemu_pid[$1]}"
	wait "${qemu_pid[$1]}" 2>/dev/null
	within 20 eval "! kill -0 ${qemu_pid[$1]}"
}

# Its live image is nobody's.
is_closed() { # LIVE
	[ "$(lamina live show --json "$1" | jq .pid)" = null ]
}

hyper() { # NAME WORD...: not through lamina
	"$buildroot/tests/host/hyper" qemu "$T/$1.qmp" "${@:2}"
}

fact() { # NAME FACT
	hyper "$1" facts | sed -n "s/^$2 //p"
}

state() { # NAME
	fact "$1" state
}

# Has the guest count, which writes a page, and prints what it says.
reply() { # NAME
	local said=
	printf x >&"${serial_in[$1]}"
	read -r -t 60 -n 1 -u "${serial_out[$1]}" said
	echo "$said"
}

next() { # COUNT: the one behind it
	printf "\\x$(printf %x $(($(printf %d "'$1") + 1)))"
}

# The answer to a command by the other monitor.
ask() { # NAME COMMAND [ARGUMENTS]
	local line
	printf '{"execute": "qmp_capabilities"}\n{"execute": "%s", "arguments": %s, "id": 1}\n' \
		"$2" "${3:-{\}}" >&"${mon_in[$1]}"
	while read -r -t 20 -u "${mon_out[$1]}" line; do
		[[ $line == *'"id": 1'* ]] && echo "$line" && return
	done
	return 1
}

# All of its memory, as the kernel gives it: what is its own, and what is the file's.
memory_of() { # NAME FILE
	local at
	at=$(ask "$1" human-monitor-command '{"command-line": "gpa2hva 0"}' | grep -o '0x[0-9a-f]*\\r')
	at=${at%\\r}
	dd if="/proc/${qemu_pid[$1]}/mem" of="$2" bs=1M iflag=skip_bytes,count_bytes skip=$((at)) \
		count="$bytes" status=none && [ "$(stat -c %s "$2")" = "$bytes" ]
}

# Through the guest's disk; what is to be there is kept in NAME.disk.
write_disk() { # NAME OFFSET BYTE
	[ -e "$1.disk" ] || truncate -s "$disk" "$1.disk"
	ask "$1" human-monitor-command \
		"{\"command-line\": \"qemu-io rootfs \\\"write -P $3 $2 4096\\\"\"}" >/dev/null
	head -c 4096 /dev/zero | tr '\0' "\\$(printf %o "$3")" |
		dd of="$1.disk" bs=1 seek="$2" conv=notrunc status=none
}

# What of the layer is not the guest's; nothing, if it is.
differs() { # LAYER MEMORY DISK
	rm -f got.mem got.disk
	lamina -q export "$1" --memfile got.mem --rootfs got.disk || echo "no export"
	cmp got.mem "$2" 2>&1
	cmp got.disk "$3" 2>&1
}

# The ignoring of memory in a migration, by which a live migration of it would lose it.
ignores() { # NAME
	ask "$1" query-migrate-capabilities |
		grep -o '{[^}]*x-ignore-shared[^}]*}' | grep -q 'true' && echo yes
}

# Of the pause whose process is $pauser: its children, and whether one that writes was stopped.
children() { pgrep -P "$pauser" >children; }
is_stopped() {
	local child
	children
	while read -r child; do
		grep -qs '^State:.T' "/proc/$child/status" && return
	done <children
	return 1
}
