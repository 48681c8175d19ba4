# SPDX-License-Identifier: LGPL-2.1-or-later
# Who may include whom (ARCHITECTURE.md).  Input: all .c and .h, named as from
# the top of the tree.  Prints file:line and the reason; exits 1 if any.

BEGIN {
	# folder -> the folders it may include besides itself; the longest match rules
	may["store/base"] = ""
	may["store"] = "store/base"
	may["fuse"] = "store store/base"
	may["src/rpc"] = "store/base"
	may["src/cli"] = "store store/base src/rpc src/host"
	may["src/host"] = "store store/base src/rpc"
	may["src/pager"] = "store/base src/rpc"
	may["src/graduate"] = "store/base src/rpc"
	may["src/agent"] = "store/base src/rpc"

	# library header -> the only sources that may include it
	only["sqlite3[.]h"] = "^(store/index|tests/)"
	only["gcrypt[.]h"] = "^(store/(digest|cipher)|tests/)"
	only["zstd.*[.]h"] = "^(store/codec|tests/)"
	only["fuse.*[.]h"] = "^(fuse/|tests/)"
	only["ini[.]h"] = "^store/base/conf[.]c$"
	only["linux/userfaultfd[.]h"] = "^(src/pager/|tests/)"
	only["(event2/|curl/|evhttp).*"] = "^(src/rpc/|tests/)"
	only["jansson[.]h"] = "^(src/|fuse/|store/[^/]*$|tests/)"
}

function folder(path) {
	sub(/\/[^\/]*$/, "", path)
	return path
}

function complain(what) {
	printf "%s:%d: %s\n", FILENAME, FNR, what
	bad = 1
}

function check_own(name, from, to, n, i, list) {
	if (name == "config.h" || from ~ /^tests/)
		return
	to = folder(name)
	if (!(from in may)) {
		complain(from "/ is in no row of the table of who includes whom")
		return
	}
	if (to == from)
		return
	n = split(may[from], list, " ")
	for (i = 1; i <= n; i++)
		if (list[i] == to)
			return
	complain(from "/ may not include \"" name "\"")
}

function check_library(name, pattern) {
	for (pattern in only)
		if (name ~ "^" pattern "$" && FILENAME !~ only[pattern])
			complain("<" name "> does not belong here")
}

/^[ \t]*#[ \t]*include[ \t]*"/ {
	split($0, part, "\"")
	check_own(part[2], folder(FILENAME))
}

/^[ \t]*#[ \t]*include[ \t]*</ {
	split($0, part, /[<>]/)
	check_library(part[2])
}

END { exit bad }
