# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2154  # what lib.sh has
#
# What `build` and `debian` share, beside lib.sh: Debian's cloud kernel and busybox, an
# initial RAM disk that hands over to the disk's own /sbin/init, and the disk's image.
# Nothing is installed on this host.

kernel=

kernel_package() {
	apt-cache depends linux-image-cloud-amd64 2>/dev/null |
		awk '$1 == "Depends:" && $2 ~ /^linux-image-/ { print $2; exit }'
}

download() {  # PACKAGE...: into the current directory
	await apt-get download -qq -o APT::Sandbox::User=root "$@" >"$run_dir/apt.log" 2>&1
}

# fetch PACKAGE...: these and the kernel's, to $run_dir/debs; the kernel's name is $kernel.
# The lists may be missing, or name versions that the archive has replaced since.
fetch() {
	mkdir "$run_dir/debs"
	cd "$run_dir/debs" || die "no $run_dir/debs"
	kernel=$(kernel_package)
	[[ -n $kernel ]] && download "$kernel" "$@" && return
	await apt-get update -qq || true
	kernel=$(kernel_package)
	[[ -n $kernel ]] || die "apt has no package linux-image-cloud-amd64"
	download "$kernel" "$@" && return
	cat "$run_dir/apt.log" >&2
	die "cannot download the guest's packages"
}

unpack() {  # TO: everything that was fetched, but the kernel, which goes to $run_dir/kernel
	local deb
	for deb in "$run_dir"/debs/*.deb; do
		case ${deb##*/} in
		linux-image-*) await dpkg-deb -x "$deb" "$run_dir/kernel" ;;
		*) await dpkg-deb -x "$deb" "$1" ;;
		esac
	done
}

busybox_links() {  # BINDIR: one for each of the commands of BINDIR/busybox not there yet
	local name
	for name in $("$1/busybox" --list); do
		[[ -e $1/$name ]] || ln -s busybox "$1/$name"
	done
}

# copy_modules TO NAME...: these modules and what they need; what is built in is not there.
copy_modules() {
	local to=$1 version=${kernel#linux-image-} from=$run_dir/kernel name
	shift
	[[ -e $from/lib/modules/$version/modules.dep.bin ]] || depmod -b "$from" "$version"
	mkdir -p "$to/lib/modules/$version"
	cp "$from/lib/modules/$version"/modules.{order,builtin,builtin.modinfo} \
		"$to/lib/modules/$version/"
	for name in "$@"; do
		modprobe -d "$from" -S "$version" --show-depends "$name"
	done | awk -v from="$from/" '$1 == "insmod" { print substr($2, length(from) + 1) }' |
		sort -u | (cd "$from" && xargs cp --parents -t "$to")
	depmod -b "$to" "$version"
}

# The modules that a virtio disk on PCI needs; the kernel has ext4 built in.
make_initrd() {  # BUSYBOX
	local tree=$run_dir/initrd
	mkdir -p "$tree"/{bin,dev,new,proc,sys}
	install -m 755 "$guest_dir/initrd/init" "$tree/init"
	cp "$1" "$tree/bin/"
	busybox_links "$tree/bin"
	copy_modules "$tree" virtio_pci virtio_blk
	(cd "$tree" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) |
		gzip -1 >"$run_dir/initrd.gz"
}

make_disk() {  # ROOT BYTES
	truncate -s "$2" "$run_dir/rootfs"
	await mkfs.ext4 -q -F -m 0 -L guest -E lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0 \
		-d "$1" "$run_dir/rootfs"
}

# deliver OUT: the disk comes last; where it is, the guest is whole.
deliver() {
	mkdir -p "$1"
	rm -f "$1/rootfs"
	cp "$run_dir/kernel/boot/vmlinuz-${kernel#linux-image-}" "$1/vmlinuz"
	cp "$run_dir/initrd.gz" "$1/initrd"
	cp --sparse=always "$run_dir/rootfs" "$1/rootfs.part"
	mv "$1/rootfs.part" "$1/rootfs"
	say "$kernel, disk $(du -m "$1/rootfs" | cut -f1) of $(du -m --apparent-size "$1/rootfs" | cut -f1) MiB"
}

require_amd64() {
	[[ $(dpkg --print-architecture) == amd64 ]] || { say "needs an amd64 host"; exit 77; }
}
