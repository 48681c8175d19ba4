#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina trace: import, ls, show, rm.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
lamina init -q
mkimage m 2048 0-99:data=1
a=$(lamina commit -q --memfile m --tag a)
mkimage m 2048 0-99:data=2
b=$(lamina commit -q --memfile m --parent a --tag b)

trace() { # FILE RUN...: a trace of an 8 MiB memfile; a run is FIRST+COUNT
	local file=$1 run n=0
	shift
	{
		echo "lamina-trace 1 page-size 4096 size 8388608"
		for run; do
			echo "${run/+/ }"
			n=$((n + ${run#*+}))
		done
		echo "end $n"
	} >"$file"
}
order() { # OPERAND...: of `trace show`
	lamina trace show --runs --json "$@" | jq -c .order
}
trace one 40+6 1500+1 0+3
trace two 1500+1 40+6 700+1

is "no traces" "$(lamina trace ls)" ""
is "none as JSON" "$(lamina trace ls --json | jq -c .)" '[]'
exits "none to show" 1 lamina trace show a
is "with a sentence" "$(cat err)" "lamina: cannot show the trace: layer ${a:0:12} has no trace 'resume'"

ok "a trace is imported" lamina trace import a one
is "quietly" "$(cat out)" ""
is "as 'resume'" "$(lamina trace ls -q)" "${a:0:12} resume"
is "in its order" "$(order a)" "[[40,6],[1500,1],[0,3]]"
ok "another by another name" lamina trace import --name web.1 --json a two
is "JSON" "$(jq -c . out)" "{\"layer\":\"$a\",\"name\":\"web.1\",\"page_size\":4096,\"memfile_size\":8388608,\"pages\":8,\"bytes\":32768,\"runs\":3,\"frames\":3,\"share\":0.00390625}"
ok "and one of another layer" lamina trace import b two
is "they are listed" "$(lamina trace ls -q | sort | tr '\n' ';')" "$(printf '%s\n' "${a:0:12} resume" \
	"${a:0:12} web.1" "${b:0:12} resume" | sort | tr '\n' ';')"
is "those of a layer" "$(lamina trace ls a | tr -s ' ' | tr '\n' ';')" \
	"layer trace pages bytes frames share;${a:0:12} resume 10 40.0 KiB 2 0.5%;${a:0:12} web.1 8 32.0 KiB 3 0.4%;"
is "in bytes" "$(lamina trace ls b --bytes | awk 'NR == 2 {print $4}')" "32768"
like "shown for people" "$(lamina trace show a resume | tr -s ' ' | tr '\n' ';')" \
	"trace resume;page size 4096 B;memfile 8.0 MiB;pages 10;bytes 40.0 KiB;runs 3;frames 2;share 0.5%;"
is "with its runs" "$(lamina trace show -q --runs a | tr -s ' ' | tail -n +2 | tr '\n' ';')" \
	" first page count; 40 6; 1500 1; 0 3;"
is "a file, too" "$(lamina trace show ./two --json | jq -c '[.file, .pages, .runs]')" '["./two",8,3]'
exits "which is one with a '/'" 1 lamina trace show two
exits "and has no names" 2 lamina trace show ./two resume

ok "several are merged" lamina trace import -n both a one two
is "into one, by mean rank" "$(order a both)" "[[40,3],[1500,1],[43,3],[0,1],[700,1],[1,2]]"
trace three 3+1
ok "with what is there" lamina trace import --merge b three
is "likewise" "$(order b)" "[[3,1],[1500,1],[40,6],[700,1]]"
ok "which need not be" lamina trace import --merge --name new b three
is "then" "$(order b new)" "[[3,1]]"
ok "without --merge it is replaced" lamina trace import b three
is "by the file" "$(order b)" "[[3,1]]"
ok "a layer is named in any way" lamina trace import "${b:0:6}" two

sed 's/8388608/8388609/' two >other
exits "another memfile's" 1 lamina trace import a other
is "is refused" "$(cat err)" "lamina: cannot import the trace: the trace is of a memfile of 8388609 bytes, but that of layer ${a:0:12} has 8388608"
exits "files of different ones" 1 lamina trace import a two other
is "are not merged" "$(cat err)" "lamina: cannot import the trace: 'two' and 'other' are not traces of one memfile and page size"
head -n -1 one >short
exits "a file that was cut short" 1 lamina trace import a short
is "is told" "$(cat err)" "lamina: cannot import the trace: trace 'short': it was cut short in line 5"
exits "what is no trace" 1 lamina trace import a m
is "is told" "$(cat err)" "lamina: cannot import the trace: trace 'm': it is no trace"
exits "no file" 1 lamina trace import a nosuch
exits "no layer" 1 lamina trace import nosuch one
is "what was there is untouched" "$(order a)" "[[40,6],[1500,1],[0,3]]"
disk=$(lamina commit -q --rootfs m --tag disk)
exits "a layer without a memfile" 1 lamina trace import disk one
is "has no traces" "$(cat err)" "lamina: cannot import the trace: layer ${disk:0:12} has no memfile"

for bad in "" .x a/b "a b" "$(printf 'x%.0s' {1..65})"; do
	exits "bad name '${bad:0:20}'" 2 lamina trace import --name "$bad" a one
done
exits "no verb" 2 lamina trace
exits "a wrong one" 2 lamina trace list
like "is told" "$(cat err)" "'list' is not import, ls, show or rm"
exits "import without a file" 2 lamina trace import a
exits "rm without a name" 2 lamina trace rm a
exits "ls of two" 2 lamina trace ls a b
exits "an option of another verb" 2 lamina trace ls --runs
like "is told" "$(cat err)" "trace ls has no --runs"
mapfile -t many < <(yes one | head -65)
exits "too many files" 2 lamina trace import a "${many[@]}"

ok "one is removed" lamina trace rm a web.1 --json
is "JSON" "$(jq -c . out)" "{\"layer\":\"$a\",\"removed\":\"web.1\"}"
exits "but once" 1 lamina trace rm a web.1
is "then it is not there" "$(cat err)" "lamina: cannot remove the trace: layer ${a:0:12} has no trace 'web.1'"

before=$(lamina trace ls --json)
ok "verify finds nothing" lamina verify --deep -q
ok "gc" lamina gc --repack --ratio 1 -q
is "carries them" "$(lamina trace ls --json)" "$before"
rm "$LAMINA_STORE"/index.db*
ok "recover" lamina recover -q
is "finds them" "$(lamina trace ls --json)" "$before"
ok "still nothing damaged" lamina verify --deep -q
lamina untag b && lamina rm "$b"
is "they go with their layer" "$(lamina trace ls -q | grep -c "^${b:0:12}")" "0"
is "and only they" "$(lamina trace ls -q | tr '\n' ';')" "${a:0:12} both;${a:0:12} resume;"
done_testing
