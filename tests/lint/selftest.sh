#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The lint finds what it is to find: one planted fault each.
. "$(dirname "$0")/../lib.sh"
lint=$srcroot/tests/lint
mkdir -p store/base fuse src/cli

includes() { awk -f "$lint/includes.awk" "$@"; }
budget() { awk -f "$lint/budget.awk" "$@"; }
words() { awk -f "$lint/words.awk" "$@"; }

printf '/* x */\n#include "store/base/err.h"\n#include "src/cli/x.h"\n' >store/a.c
exits "an include against the direction" 1 includes store/a.c
is "is named" "$(cat out)" 'store/a.c:3: store/ may not include "src/cli/x.h"'
printf '#include "store/view.h"\n#include <stdio.h>\n#include "fuse/x.h"\n' >fuse/a.c
ok "one with it is fine" includes fuse/a.c
printf '#include <sqlite3.h>\n' >store/pack.c
exits "SQLite outside the index" 1 includes store/pack.c
cp store/pack.c store/index-open.c
ok "and in it" includes store/index-open.c

{ printf 'int f(void)\n{\n'; yes '	x++;' | head -81; printf '}\n'; } >store/a.c
exits "a function of 81 lines" 1 budget store/a.c
like "is named" "$(cat out)" 'store/a.c:2: a function of 81 lines'
printf 'int f(int a, int b, int c, int d,\n	int (*e)(int, int), int f)\n{\n}\n' >store/a.c
exits "six parameters" 1 budget store/a.c
like "are counted" "$(cat out)" 'store/a.c:2: 6 parameters'
printf 'int f(int a, int b, int c, int d,\n	int (*e)(int, int))\n{\n	return 0;\n}\n' >store/a.c
ok "five are fine" budget store/a.c
for i in 1 2 3; do printf 'int f%d(void)\n{\n' $i; yes '	x++;' | head -13; printf '}\n'; done >store/a.c
exits "a median of 13 lines" 1 budget store/a.c
yes '	x();' | head -601 >store/a.c
exits "a file of 601 lines" 1 budget store/a.c
{ printf '\t'; printf '%093d\n' 0; } >store/a.c
exits "a line of 101 columns" 1 budget store/a.c

printf '/* nothing */\nint x;\n' >store/a.c
exits "no licence line" 1 words store/a.c
printf '/* SPDX-License-Identifier: LGPL-2.1-or-later */\n/* TO''DO: all */\n' >store/a.c
exits "unfinished work" 1 words store/a.c
like "is named" "$(cat out)" 'store/a.c:2: unfinished'
printf '# SPDX-License-Identifier: LGPL-2.1-or-later\ncat /wo''rk/main/x\n' >a.sh
exits "a path of one machine" 1 words a.sh
printf '# SPDX-License-Identifier: LGPL-2.1-or-later\ncat $PWD/wo''rk/main\n' >a.sh
ok "a like one that is none" words a.sh

mkdir bin man
cat >bin/lamina <<'EOF'
#!/bin/sh
[ "$1" = init ] && printf 'Usage: lamina init\n\n  --level N  1 (default)\n             to 22\n' ||
	printf 'Usage: lamina\n\nCommands:\n  init  makes one\n'
EOF
chmod +x bin/lamina
printf '.Sh NAME\n' >man/lamina.1
help_vs_man() { PATH=$T/bin:/usr/bin:/bin bash "$lint/help-vs-man.sh" man; }
printf '.It Fl -level Ar N\nThe level, 1\n.Pq default\nto 22.\n' >man/lamina-init.1
ok "a help and its page" help_vs_man
sed -i 's/22/19/' man/lamina-init.1
exits "a range that the page has otherwise" 1 help_vs_man
is "is named" "$(cat out)" "man/lamina-init.1:1: '1 to 22' of 'lamina init --help' is missing"
sed -i 's/19/22/; s/Fl -level/Fl -other/' man/lamina-init.1
exits "an option that the page has not" 1 help_vs_man

if has cc && has nm; then
	printf 'int other_f(void);\nint other_f(void) { return 0; }\n' >store/my-file.c
	cc -c -o store/my-file.o store/my-file.c
	exits "a symbol of another's prefix" 1 \
		env BUILD=. NM=nm bash "$lint/symbols.sh" store/my-file.c
	printf 'int my_file_f(void);\nint my_file_f(void) { return 0; }\n' >store/my-file.c
	cc -c -o store/my-file.o store/my-file.c
	ok "its own" env BUILD=. NM=nm bash "$lint/symbols.sh" store/my-file.c
	printf 'struct a { size_t n; };\n' >store/a.h
	exits "a header that needs another" 1 \
		env CC=cc CPPFLAGS= bash "$lint/headers.sh" store/a.h
else
	skip "no compiler" 3
fi
done_testing
