#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What cannot be mounted is refused with a sentence and the right status.
. "$(dirname "$0")/lib.sh"

lamina -q init
mkdir mnt empty
: >file

refused() { # STATUS SENTENCE ARGUMENT...
	local status=$1 sentence=$2
	shift 2
	exits "refused: $*" "$status" timeout 20 lamina-fuse "$@"
	like "because" "$(cat err)" "^lamina-fuse: .*$sentence"
}

refused 1 "'nothing'" nothing mnt
refused 1 "empty" empty mnt
refused 1 "cannot mount on 'nowhere'" store nowhere
refused 1 "not a directory" store file
refused 1 "cannot write pid file" --pidfile nowhere/pid store mnt
refused 2 "a store and a mountpoint are needed"
refused 2 "a mountpoint is needed" store
refused 2 "unexpected 'x'" store mnt x
refused 2 "unknown .*'--wrong'" --wrong store mnt
refused 2 "unknown option '-x'" -x store mnt
refused 2 "'--pidfile' needs an argument" store mnt --pidfile
refused 2 "unknown option 'wrong'" -o allow_other,wrong store mnt
refused 2 "option 'cache': 'x' is not a size" -o cache=x store mnt
refused 2 "option 'mode': '0755' is not an octal mode without execute" -o mode=0755 store mnt
refused 2 "option 'mode': '' is not" -o mode store mnt
refused 2 "option 'uid': 'nosuchuser' is not a user" -o uid=nosuchuser store mnt
refused 2 "option 'gid': '' is not a group" -o gid= store mnt
refused 2 "option 'threads': '0' is not a number from 1 to 256" -o threads=0 store mnt
refused 2 "option 'readahead': '-1' is not a number" -o readahead=-1 store mnt
refused 2 "option 'allow_other': 'maybe' is not true or false" -o allow_other=maybe store mnt
refused 2 "option 'remount' is not possible" -o remount,ro store mnt

printf '[mount]\ncache = 1M\nsize = 3\n' >wrong.conf
refused 2 "wrong.conf:3: unknown key 'size' in section" --config wrong.conf store mnt
printf '[mount]\nmode = 9\n' >wrong.conf
refused 2 "wrong.conf: option 'mode': '9' is not" --config wrong.conf store mnt
refused 1 "cannot open 'none'" --config none store mnt

refused 1 "cannot mount on '/': it would hide everything" store /
refused 1 "it would hide the store" store store
mkdir -p outer
cp -a store outer/store
refused 1 "it would hide the store" outer/store outer

sed -i 's/./x/' store/index.db
refused 1 "index" store mnt
ok "nothing was mounted" test -z "$(ls -A mnt)"
ok "--help" lamina-fuse --help
like "goes to standard output" "$(cat out)" "^Usage: lamina-fuse"
ok "--version" lamina-fuse --version
like "names the version" "$(cat out)" "^lamina-fuse [0-9]"
done_testing
