#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Files are as sparse as their images.
. "$(dirname "$0")/lib.sh"

lamina -q init
mkimage mem.raw 3000 3-9:data=1 512-1023:data=2 2000:fill=7 2999:data=4
mkimage hole.raw 1000000
mkimage full.raw 10+77 0-10:data=9
id=$(commit -m mem.raw -r hole.raw -i full=full.raw)
mount_store store mnt || bail "cannot mount"
layer=mnt/layers/$id

probe_is "the same holes and data" "$(probe runs mem.raw)" runs "$layer/memfile"
probe_is "nothing but a hole" "hole 0-4096000000 end" runs "$layer/rootfs"
probe_is "nothing but data, to the last byte" "data 0-41037 end" runs "$layer/full"
probe_is "data from inside a hole" 12288 seek "$layer/memfile" data 100
probe_is "data from inside data" 12290 seek "$layer/memfile" data 12290
probe_is "a hole from inside data" 40960 seek "$layer/memfile" hole 12290
probe_is "the end is a hole" 12288000 seek "$layer/memfile" hole 12287999
probe_is "no data behind the last" ENXIO seek "$layer/rootfs" data 5
probe_is "at the end" ENXIO seek "$layer/memfile" data 12288000
probe_is "behind the end" ENXIO seek "$layer/memfile" hole 99999999999
probe_is "before the start" ENXIO seek "$layer/memfile" data -1
probe_is "a text has data only" 0 seek "$layer/info.json" data 0
is "blocks are counted" "$(stat -c %b "$layer/memfile" "$layer/rootfs" "$layer/full" | tr '\n' ' ')" \
	"$(((7 + 512 + 1 + 1) * 8)) 0 88 "
cp --sparse=auto "$layer/rootfs" copy
is "a copy is as sparse" "$(stat -c '%s %b' copy)" "4096000000 0"
done_testing
