# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2154  # what lib.sh has
#
# What roundtrip and live share, beside lib.sh: a store in $run_dir/store, its mount $mnt,
# and a guest that resumes from a layer in it.
# LAMINA_BUILDDIR names the build tree whose programs are used, if it is not this one.

images=(memfile rootfs state)

lamina() {
	await "$guest_dir/../../run" lamina --store "$run_dir/store" "$@"
}

# A mount that was asked for while this script is being ended may still appear.
mount_end() {
	sleep 0.3
	mountpoint -q "$mnt" || return 0
	lamina umount "$mnt" 2>/dev/null || umount --lazy "$mnt"
}

mount_store() {
	if [[ ! ${mnt:-} ]]; then
		mnt=$run_dir/mnt
		mkdir "$mnt"
		at_end mount_end
	fi
	lamina mount "$mnt" || die "cannot mount the store"
}

umount_store() {
	lamina umount "$mnt" || die "cannot unmount the store"
	! mountpoint -q "$mnt" || die "the store is still mounted"
}

counted() {  # FILE FILTER: of JSON in $run_dir
	jq -er "$2" "$run_dir/$1" || die "lamina's JSON has no $2"
}

series_files() {  # DIR K: the options for `lamina commit`
	local image
	for image in "${images[@]}"; do
		printf '%s\n' "--$image" "$1/$image-$2"
	done
}

# resume_layer LAYER ANSWER WHAT: it does, and says what is in the file ANSWER.
resume_layer() {
	local layer=$mnt/layers/$1
	await "$guest_dir/resume" --memfile "$layer/memfile" --state "$layer/state" \
		--rootfs "$layer/rootfs" >"$run_dir/answer" || die "$3 does not resume"
	cmp -s "$run_dir/answer" "$2" || die "$3 answers '$(<"$run_dir/answer")', not '$(<"$2")'"
	say "the guest answers: $(<"$run_dir/answer")"
}
