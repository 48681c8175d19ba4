#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What the pages say of --json: each member that a command prints is in its
# page's "JSON output", and each one there is printed.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/store

# Members anywhere in a value, but for the attributes of layers.
members() { # FILE...
	jq -r 'walk(if type == "object" and has("attributes") then .attributes = {} else . end)
		| [paths | .[] | strings] | unique | .[]' "$@" | sort -u
}

# What the page sets in Cm, but for values and cross-references.
documented() { # COMMAND
	awk '/^\.S[hs]/ { on = $0 == ".Ss JSON output" } on' "$srcroot/man/lamina-$1.1" |
		grep -oE '(^\.| )(Cm|Pq Cm) .*' | sed -E 's/^.*Cm //' | tr -s ' ' '\n' |
		grep -xE '[a-z_]+' | grep -vxE 'null|true|false' | sort -u
}

# COMMAND prints FILE...; VALUES are words of the page that are no members.
agree() { # COMMAND VALUES FILE...
	local command=$1 values=$2 got
	shift 2
	got=$(members "$@")
	is "$command" "$(documented "$command" | grep -vxE "${values:-none}")" "$got"
}

lamina init --json >init.json
mkimage mem 2048 0-99:data=1
mkimage disk 512 0-9:data=2
lamina commit --json --memfile mem --rootfs disk --tag a >commit.json
mkimage mem 2048 50:data=3
lamina commit --json --memfile mem --parent a --tag b >commit2.json
agree init '' init.json
agree commit '' commit.json commit2.json

lamina ls --json >ls.json
agree ls '' ls.json
lamina show --json b >show.json
agree show 'memfile|rootfs|other' show.json
lamina diff --json --ranges a b >diff.json
agree diff '' diff.json
lamina stat --json --layers >stat.json
agree stat '' stat.json
lamina map --json b >map.json
agree map 'zero|same|changed' map.json
lamina export --json b --memfile out >export.json
agree export '' export.json
lamina tag --json c a >tag.json
lamina tag --json >tags.json
agree tag '' tag.json tags.json
lamina untag --json c >untag.json
agree untag '' untag.json
printf 'lamina-trace 1 page-size 4096 size 8388608\n7 3\nend 3\n' >t
lamina trace import --json b t >trace.json
lamina trace ls --json >traces.json
lamina trace show --json --runs ./t >trace2.json
lamina trace rm --json b resume >trace3.json
agree trace 'ls|show|import|rm' trace.json traces.json trace2.json trace3.json
lamina live create --json --from b --size new=1M x >live.json
lamina live show --json x >live2.json
lamina live ls --json >lives.json
lamina live rm --json x nosuch >live4.json 2>/dev/null
lamina live rm --json x >live3.json
agree live 'create|ls|show|commit|rm|live|one_moment' live.json live2.json lives.json live3.json live4.json

# --- guests, of which there are none: records, and stand-ins for hypervisor and agent ---

. "$srcroot/tests/host/lib.sh"
. "$srcroot/tests/host/pause-lib.sh"
if has fuse && has root && has python3; then
	top=$T
	mkdir g
	cd g || exit
	T=$PWD
	begin_guest "$hinting" && start_agent
	lamina-pager --foreground --socket "$T/run/pager.sock" --runtime-dir "$T/run" \
		>pager.log 2>&1 &
	at_exit "kill $!"
	lamina pause web --json --leave --freeze a --collapse --drain 9 \
		--reclaim '{"sync":9}' >"$top/pause.json" 2>err
	lamina guest cont web --json >"$top/guest.json"
	lamina pause web --json --freeze a >"$top/pause2.json" 2>err
	within 20 test -S run/pager.sock
	lamina resume --json --name r -H firecracker -S r.sock -A "unix:$T/agent" \
		"$(lamina ls -q | head -1)" \
		-- firecracker --api-sock '{socket}' --control "$T/r.ctl" >"$top/resume.json"
	at_exit "firecracker --ask '$T/r.ctl' quit"
	# With nothing skipped nothing says "why".
	lamina measure-dirtying web --json --workload idle --cycles 1 --ab '' \
		>"$top/measure-dirtying.json"
	mkdir -p root/etc root/usr
	lamina guest provision root --no-agent --json >"$top/guest4.json"
	lamina guest add r2 -H qemu -S q --chroot / -A unix:a -T t
	lamina guest ls --json >"$top/guest2.json"
	lamina guest show --json r2 >"$top/guest3.json"
	lamina guest rm r2 --json >"$top/guest5.json"
	cd "$top" || exit
	T=$top
	export LAMINA_STORE=$T/store LAMINA_CONF=$T/none.conf
	agree pause '' pause.json pause2.json
	agree resume '' resume.json
	agree guest 'ls|show|add|rm|cont|provision' \
		guest.json guest2.json guest3.json guest4.json guest5.json
	agree measure-dirtying 'why|or' measure-dirtying.json
else
	touch pause.json resume.json guest.json measure-dirtying.json
	skip "no mount" 4
fi

lamina prune --json --keep-last 1 --keep-tagged --dry-run >prune.json
lamina prune --json --keep-last 1 --dry-run >prune2.json
agree prune '' prune.json prune2.json
lamina rm --json a >rm2.json 2>/dev/null	# it has tags
lamina rm --json --force a >rm.json
agree rm '' rm.json rm2.json
lamina log --json b >log.json
agree log '' log.json
lamina gc --json >gc.json
agree gc '' gc.json
dd if=/dev/zero of=store/packs/00000001.pack bs=1 seek=200 count=8 conv=notrunc status=none
lamina verify --json >verify.json
agree verify 'chunk|digests|maps|layer|tag|live|index' verify.json
lamina recover --json >recover.json 2>notes
agree recover '' recover.json

# No page promises more than its command does.
for page in "$srcroot"/man/lamina-*.1; do
	command=$(basename "$page" .1)
	command=${command#lamina-}
	[ -e "$command.json" ] ||
		ok "$command has no JSON" eval '! grep -q "JSON output" "$page"'
done
done_testing
