#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Wrong usage is exit 2, on stderr, and says where to read; help is on stdout.
. "$(dirname "$0")/../lib.sh"
export LAMINA_STORE=$T/s
lamina init -q

while IFS='|' read -r arguments message; do
	# shellcheck disable=SC2086
	exits "lamina $arguments" 2 lamina $arguments
	is "says" "$(head -1 err)" "lamina: $message"
	like "and where to read" "$(sed -n 2p err)" "^Try 'lamina [a-z -]*--help'\.$"
	is "in two lines" "$(wc -l <err)" 2
	is "nothing on stdout" "$(cat out)" ""
done <<'END'
|which command?
nosuch|there is no command 'nosuch'
--nosuch|unknown or ambiguous option '--nosuch'
-x|unknown option '-x'
--store|option '--store' wants DIR
ls --nosuch|unknown or ambiguous option '--nosuch'
ls -x|unknown option '-x'
ls -qx|unknown option '-x'
ls --json=yes|option '--json' takes no argument
ls extra|ls takes no operands
show|show wants LAYER
show a b|show takes no more than LAYER
diff a|diff wants A B
diff a b c|diff takes no more than A B
tag a b c|tag takes no more than [TAG LAYER]
rm|rm wants LAYER...
commit|say what to commit: --memfile, --rootfs, --state or --image
commit --memfile|option '--memfile' wants FILE
commit --memfile x --memfile y|image 'memfile' is given twice
commit --image x|--image: 'x' is not NAME=FILE
commit --image .x=y|--image: '.x' is no name for an image
commit --image =y|--image: '' is no name for an image
commit --memfile x --meta k|--meta: 'k' is not KEY=VALUE with 1 to 64 of a-z 0-9 . _ - in KEY
commit --memfile x --meta K=v|--meta: 'K=v' is not KEY=VALUE with 1 to 64 of a-z 0-9 . _ - in KEY
commit --memfile x --meta lamina.k=v|--meta: 'lamina.k': keys that begin with 'lamina.' are commit's own
commit --memfile x --threads many|--threads: 'many' is not a number above 0
commit --memfile x --threads 0|--threads: '0' is not a number above 0
live commit x --threads 0|--threads: '0' is not a number above 0
pause x --threads 0|--threads: '0' is not a number above 0
measure-dirtying x --cycles 0|--cycles: '0' is not a number from 1 to 1000
commit --memfile x --tag .t|--tag: '.t' is no name for a tag
completion zsh|there is completion for bash, not for 'zsh'
help nosuch|there is no command 'nosuch'
END

# What somebody else wrote moves no cursor.
esc=$'a\e[2Jb\nc\302\233d'
exits "words with escapes" 2 lamina ls "$esc"
exits "in another place" 2 lamina --store "$esc" "$esc"
is "are shown without" "$(head -1 err)" "lamina: there is no command 'a?[2Jb?c??d'"
exits "in the sentence of a failure" 1 lamina --store "$esc" ls
like "too" "$(cat err)" "^lamina: cannot list layers: .*'a\?\[2Jb\?c\?\?d"

# Every command and the program itself.
commands=$(lamina --help | awk '/^Commands:/ {on = 1; next} /^$/ {on = 0} on && /^  [a-z]/ {print $1}')
is "there are commands" "$(wc -w <<<"$commands")" 27
for command in "" $commands; do
	# shellcheck disable=SC2086
	ok "lamina $command --help" lamina $command --help
	is "is not wide" "$(awk 'length > 80' out)" ""
	is "has no blanks at line ends" "$(grep -c ' $' out)" 0
	is "is on stdout alone" "$(cat err)" ""
	like "begins with usage" "$(head -1 out)" "^Usage: lamina $command"
	like "says the exit statuses" "$(cat out)" "Exit status: 0 done, 1 failed"
done
is "help COMMAND is the same" "$(lamina help diff)" "$(lamina diff --help)"
is "help is, too" "$(lamina help)" "$(lamina --help)"
is "and --help before the command" "$(lamina --help diff)" "$(lamina diff --help)"
like "the version" "$(lamina --version)" "^lamina [0-9]+\.[0-9]+"
is "after a command, too" "$(lamina ls -V)" "$(lamina --version)"

# Global options stand anywhere; -- ends options.
unset LAMINA_STORE
ok "before the command" lamina --store s --json ls
ok "behind it" lamina ls --store s --json
ok "on both sides" lamina --json ls -s s
ok "abbreviated" lamina ls --sto s --js
exits "after --" 2 lamina --store s ls -- --json
exits "an empty store directory" 1 lamina ls --store nosuch
is "is named" "$(cat err)" "lamina: cannot list layers: there is no store in 'nosuch'"
done_testing
