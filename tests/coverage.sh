#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Lines covered, per product file, worst first.  Run in a tree built with
# --enable-coverage after its tests (make coverage does).  $GCOV is gcov.
set -u
find store fuse src -name '*.gcda' | while read -r data; do
	${GCOV:-gcov} -n "$data" 2>/dev/null
done | awk '
	/^File / { gsub(/\047/, "", $2); file = $2; wanted = file ~ /^(store|fuse|src)\/.*[.]c$/ }
	/^Lines executed:/ && wanted {
		split($2, part, ":"); sub(/%/, "", part[2])
		if (!(file in total) || part[2] * $4 > hit[file]) {
			hit[file] = part[2] * $4
			total[file] = $4
		}
		wanted = 0
	}
	END {
		for (file in total) {
			printf "%6.1f %% of %5d  %s\n", hit[file] / total[file], total[file], file
			h += hit[file]
			t += total[file]
		}
		if (t)
			printf "%6.1f %% of %5d  ALL\n", h / t, t
	}' | sort -n
