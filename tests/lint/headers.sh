#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Each header given compiles alone, and twice.  CC and CPPFLAGS as in the build.
set -u
bad=0
for header; do
	if ! printf '#include "%s"\n#include "%s"\n' "$header" "$header" |
	     eval "$CC $CPPFLAGS -Werror -I. -fsyntax-only -x c -" 2>/tmp/headers.$$; then
		echo "$header:1: does not compile alone"
		sed 's/^/	/' /tmp/headers.$$ | head -5
		bad=1
	fi
done
rm -f /tmp/headers.$$
exit $bad
