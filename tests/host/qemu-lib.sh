# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A QEMU whose guest is a boot sector that answers each byte on its serial line with a count, which
# is in its RAM; for the tests that source this behind tests/lib.sh.

bytes=$((64 << 20))	# of RAM
mkfifo serial.in serial.out mon.in mon.out
exec 5<>serial.in 6<>serial.out 7<>mon.in 8<>mon.out
at_exit end_guest

# xor ax,ax; mov ds,ax; mov byte [0x8000],0; mov dx,0x3f8; mov al,'0'; out dx,al
# 1: mov dx,0x3fd; 2: in al,dx; test al,1; jz 2b; mov dx,0x3f8; in al,dx
# inc byte [0x8000]; mov al,[0x8000]; add al,'0'; out dx,al; jmp 1b
{
	printf '\x31\xc0\x8e\xd8\xc6\x06\x00\x80\x00\xba\xf8\x03\xb0\x30\xee\xba\xfd\x03\xec\xa8\x01\x74\xfb'
	printf '\xba\xf8\x03\xec\xfe\x06\x00\x80\xa0\x00\x80\x04\x30\xee\xeb\xe8'
} >boot
truncate -s 510 boot
printf '\x55\xaa' >>boot
truncate -s 1M boot

start() { # QEMU ARGUMENT...: the machine but for its memory
	drain_pipes
	qemu-system-x86_64 -nodefaults -no-user-config -display none -accel tcg -m 64M \
		-drive if=none,id=boot,format=raw,readonly=on,file=boot \
		-device virtio-blk-pci,drive=boot,bootindex=0 \
		-chardev "pipe,id=serial,path=$T/serial" -serial chardev:serial \
		-chardev "pipe,id=mon,path=$T/mon" -mon chardev=mon,mode=control \
		-qmp "unix:$T/qmp,server=on,wait=off" "$@" </dev/null >qemu.log 2>&1 5>&- 6>&- 7>&- 8>&- &
	guest=$!
	within 30 is_there || bail "QEMU does not start: $(cat qemu.log)"
}

drain_pipes() { # of what a QEMU before left there
	local line
	while read -r -t 0.01 -n 100 -u 6 line || read -r -t 0.01 -u 8 line; do :; done
}

is_there() {
	[ -S "$T/qmp" ] && hyper facts
}

end_guest() {
	[ -z "${guest:-}" ] || kill -9 "$guest" 2>/dev/null
	wait "${guest:-}" 2>/dev/null
	guest=
	rm -f "$T/qmp"
}

hyper() { "$buildroot/tests/host/hyper" qemu "$T/qmp" "$@"; }

has_ended() { # PID: perhaps nobody has waited for it
	! grep -qs '^State:.[^ZX]' "/proc/$1/status"
}

fact() { hyper facts | sed -n "s/^$1 //p"; }

number() { sed -n "s/^$1 //p" saved; }

boot() { # QEMU ARGUMENT...: until the guest counts
	local zero=
	start "$@"
	read -r -t 120 -n 1 -u 6 zero && [ "$zero" = 0 ] || bail "the guest does not boot: $zero"
}

# Has the guest count, and prints what it says.
reply() {
	local said=
	printf x >&5
	read -r -t 60 -n 1 -u 6 said
	echo "$said"
}

next() { # COUNT: the one behind it
	printf "\\x$(printf %x $(($(printf %d "'$1") + 1)))"
}

monitor() { # COMMAND: the answer, by the other monitor
	local line
	printf '{"execute": "qmp_capabilities"}\n{"execute": "%s", "id": 1}\n' "$1" >&7
	while read -r -t 20 -u 8 line; do
		[[ $line == *'"id": 1'* ]] && echo "$line" && return
	done
	return 1
}

private() { # FILE: RAM is a private mapping of it
	printf '%s\n' -machine q35,memory-backend=ram -object \
		"memory-backend-file,id=ram,size=$bytes,share=${2:-off},mem-path=$1"
}
