# SPDX-License-Identifier: LGPL-2.1-or-later
# Words that must not be committed, and the licence line.  Input: all text files.
# (The words are put together here, so that this file does not hit itself.)

BEGIN {
	forbidden["(^|[^X])(TO" "DO|FIX" "ME|XX" "X)([^X]|$)"] = "unfinished work is an issue, not a comment"
	forbidden["(^|[^a-zA-Z0-9_.$}/-])/wor" "k(/|$)"] = "a path of one machine"
	forbidden["/ho" "me/[a-z]"] = "a path of one machine"
	forbidden["(deb[.]debian[.]or" "g|archive[.]ubun" "tu|pypi[.]or" "g|crates[.]i" "o)"] = \
		"a package registry's host"
}

function complain(what) {
	printf "%s:%d: %s\n", FILENAME, FNR, what
	bad = 1
}

function needs_licence(name) {
	return name !~ /([.](md|svg|json|txt|hex|supp|png)|VERSION|NEWS|COPYING.*|[.]gitignore)$/ && \
		name !~ /corpus\//
}

FNR == 1 { licence = 0 }
FNR <= 2 && /SPDX-License-Identifier: LGPL-2[.]1-or-later/ { licence = 1 }
FNR == 2 && !licence && needs_licence(FILENAME) {
	complain("no SPDX-License-Identifier line")
}

{
	for (pattern in forbidden)
		if ($0 ~ pattern)
			complain(forbidden[pattern])
}

/^<<<<<<< |^>>>>>>> / { complain("a conflict left behind") }

END { exit bad }
