#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# libcurl is loaded by what asks somebody over HTTP, and by nothing else.
. "$(dirname "$0")/../lib.sh"
requires python3
name=$(sed -n 's/^#define LIBCURL_SONAME "\(.*\)"$/\1/p' "$buildroot/config.h")
like "its name was found" "$name" "^libcurl.*\.so\.[0-9]+$"

is "lamina is not linked to it" "$(ldd "$buildroot/src/lamina" | grep -c libcurl)" 0

mkdir broken
: >"broken/$name"
export LD_LIBRARY_PATH=$PWD/broken
lamina --store s init -q
ok "what asks nobody does without it" lamina --store s ls
mkdir run
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("run/socket")'
exits "what would ask cannot" 1 lamina pager ls --socket "$T/run/socket"
like "and says why" "$(cat err)" "^lamina: cannot list the pager's sessions: cannot load libcurl: .*/$name: file too short"
done_testing
