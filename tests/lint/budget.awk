# SPDX-License-Identifier: LGPL-2.1-or-later
# Lengths of functions and files, numbers of parameters.  Input: all .c and .h.
# A function is what stands between a `{` and a `}` in the first column; its
# length is the lines between them.  The median is of the product, not the tests.

BEGIN {
	MAX_FUNCTION = 80
	MAX_FILE = 600
	MAX_MEDIAN = 12
	MAX_PARAMETERS = 5
	MAX_COLUMNS = 100
}

function complain(line, what) {
	printf "%s:%d: %s\n", FILENAME, line, what
	bad = 1
}

# What a line is wide when tabs go to multiples of 8.
function columns(text, width, part, n, i) {
	n = split(text, part, "\t")
	width = length(part[1])
	for (i = 2; i <= n; i++)
		width = width - width % 8 + 8 + length(part[i])
	return width
}

# Parameters in "type name(a, b, c)", but for a last `struct err *`; a pointer
# to bytes and the length of these count as one.
function parameters(text, depth, n, i, c) {
	sub(/[ \t]*__attribute__.*/, "", text)
	n = 0
	depth = 0
	for (i = 1; i <= length(text); i++) {
		c = substr(text, i, 1)
		if (c == "(" && ++depth == 1)
			n = 1
		else if (c == ")")
			depth--
		else if (c == "," && depth == 1)
			n++
	}
	n -= text ~ /,[ \t]*struct err [*][a-z_]*\)[ \t]*$/
	return n - gsub(/void [*][a-z_]*,[ \t]*size_t [a-z_]*len[,)]/, "", text)
}

FNR == 1 {
	start = 0
	signature = ""
	# Tests wrap what they test; what libfuse calls has libfuse's parameters.
	free_parameters = FILENAME ~ /^tests\//
}

columns($0) > MAX_COLUMNS { complain(FNR, columns($0) " columns, at most " MAX_COLUMNS) }
FNR == MAX_FILE + 1 { complain(FNR, "the file has more than " MAX_FILE " lines") }
/[ \t]$/ { complain(FNR, "blanks at the end of the line") }

/^\{/ && signature ~ /\)[^;=]*$/ {
	start = FNR
	if (!free_parameters && signature !~ /\(fuse_req_t / && parameters(signature) > MAX_PARAMETERS)
		complain(FNR - 1, parameters(signature) " parameters, at most " MAX_PARAMETERS)
	next
}

/^\}/ && start {
	len = FNR - start - 1
	if (len > MAX_FUNCTION)
		complain(start, "a function of " len " lines, at most " MAX_FUNCTION)
	if (FILENAME !~ /^tests\//)
		count[len]++ + total++
	start = 0
	signature = ""
	next
}

/^[ \t]*$/ || /;[ \t]*$/ || /^#/ || /^\}/ || /\*\/[ \t]*$/ { signature = ""; next }
!start { signature = signature " " $0 }

END {
	for (len = 0; seen * 2 < total; len++)
		seen += count[len]
	if (len - 1 > MAX_MEDIAN) {
		printf "functions: the median is %d lines, at most %d\n", len - 1, MAX_MEDIAN
		bad = 1
	}
	if (total)
		printf "# %d functions, median %d lines\n", total, len - 1
	exit bad
}
