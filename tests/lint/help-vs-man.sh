#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Each option of `PROGRAM --help` is in its man page and back, each range of
# numbers ("1 to 22") in the page, too; help fits 80 columns and goes to stdout.  Each command has a page and each page a command.
# PATH finds the programs; the argument is the folder of the pages.
set -u
man=$1
bad=0

complain() {
	echo "$*"
	bad=1
}

# Long options that a help text defines ("  -j, --json"), but the global ones,
# which are lamina(1)'s, whichever command's help repeats them.
help_options() {
	awk '/^Global options/ { skip = 1 } /^$/ { skip = 0 } !skip' |
	grep -oE '^ {2,8}(-[A-Za-z0-9], )?--[a-z][a-z0-9-]*' | sed 's/^.*--/--/' | sort -u
}

# Long options that a page defines: ".It Fl j , Fl -json", ".It Fl -tag Ns = Ns Ar T".
page_options() {
	grep -E '^\.It .*Fl' "$1" | grep -oE 'Fl -[a-z][a-z0-9-]*' | sed 's/^Fl -/--/' | sort -u
}

# The text in one line, without what is the default.
one_line() {
	sed -E '/^\.Pq default$/d; s/ ?\(default\)//' | tr -s ' \n' ' '
}

# Ranges of numbers that a help text names and PAGE does not.
ranges_missing() { # PAGE
	local page range
	page=" $(one_line <"$1")"
	one_line | grep -oE '\b[0-9]+ to [0-9]+\b' | sort -u | while read -r range; do
		grep -qE "[^0-9]$range([^0-9]|\$)" <<<"$page" || echo "$range"
	done
}

check() { # PAGE COMMAND...
	local page=$1 help
	shift
	help=$("$@" --help 2>/dev/null </dev/null) || complain "$*: --help fails"
	[ -n "$help" ] || { complain "$*: --help says nothing on stdout"; return; }
	awk -v what="$*" 'length($0) > 80 {
		printf "%s --help: line %d is %d columns\n", what, NR, length($0); bad = 1 }
		END { exit bad }' <<<"$help" || bad=1
	[ -e "$page" ] || { complain "$page:1: there is no page for '$*'"; return; }
	comm -3 <(help_options <<<"$help" | grep -vxE -- '--help|--version') \
		<(page_options "$page" | grep -vxE -- '--help|--version') |
	while IFS=$'\t' read -r in_help in_page; do
		[ -n "$in_help" ] && echo "$page:1: $in_help of '$* --help' is missing"
		[ -n "$in_page" ] && echo "$page:1: $in_page is not in '$* --help'"
	done | grep . && bad=1
	ranges_missing "$page" <<<"$help" | sed "s|.*|$page:1: '&' of '$* --help' is missing|" |
		grep . && bad=1
}

# The commands, as `lamina --help` lists them: "  name   what it does".
commands() {
	lamina --help </dev/null | awk '/^[A-Z].*:$/ { on = /[Cc]ommand/ } /^  [a-z]/ && on { print $1 }'
}

list=$(commands)
[ -n "$list" ] || complain "lamina --help lists no commands"
for command in $list; do
	check "$man/lamina-$command.1" lamina "$command"
done
for page in "$man"/lamina-*.1; do
	name=$(basename "$page" .1)
	grep -qxF "${name#lamina-}" <<<"$list" || complain "$page:1: there is no such command"
done
check "$man/lamina.1" lamina
for page in "$man"/*.8; do
	program=$(basename "$page" .8)
	command -v "$program" >/dev/null && check "$page" "$program"
done
exit $bad
