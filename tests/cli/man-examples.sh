#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The EXAMPLES of every manual page work.  In their literal blocks a line that
# begins with "$ " is a command, which a \ or | at its end continues; it must exit
# with 0, or with N where "  # exit N" stands behind it.  Lines that follow are
# what it prints: words are compared, numbers are not.
#
# A page's commands run in one shell, in a directory of their own with
#	vm.mem vm.disk vm.state		the first generation
#	vm2.mem vm2.disk vm2.state	the second
#	vm2.diff			what vm2.mem has that vm.mem has not
#	vm.trace vm2.trace		of two resumes
#	store				both as layers, monday and tuesday: $LAMINA_STORE
#	damaged				the same with a flipped bit
. "$(dirname "$0")/../lib.sh"
man=$srcroot/man

prepare() {
	mkdir "$T/prepared" && cd "$T/prepared" || return
	mkimage vm.mem 2048 0-99:data=1 600-650:data=2 700:fill=7
	mkimage vm.disk 1024 0-63:data=3 512-530:data=1
	mkimage vm.state 9 0-8:data=4
	cp --sparse=always vm.mem vm2.mem && cp --sparse=always vm.disk vm2.disk
	mkimage vm2.mem 2048 40-45:data=5 600:zero 1500-1510:data=3
	mkimage vm2.diff 2048 40-45:data=5 600:zero 1500-1510:data=3
	mkimage vm2.disk 1024 800-810:data=6
	mkimage vm2.state 9 0-8:data=7
	trace=$'lamina-trace 1 page-size 4096 size 8388608\n'
	printf '%s40 6\n99 1\n0 3\nend 10\n' "$trace" >vm.trace
	printf '%s99 1\n40 6\n700 1\nend 8\n' "$trace" >vm2.trace
	lamina --store store init &&
	lamina --store store commit --memfile vm.mem --rootfs vm.disk --state vm.state \
		--tag monday &&
	lamina --store store commit --memfile vm2.mem --rootfs vm2.disk --state vm2.state \
		--parent monday --tag tuesday &&
	cp -a store damaged && flip damaged/packs/00000001.pack 200
}

flip() { # FILE OFFSET
	local byte
	byte=$(od -An -tu1 -j "$2" -N 1 "$1")
	# shellcheck disable=SC2059
	printf "\\x$(printf %x $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# The literal blocks of a page's EXAMPLES as they are read, with "--" between.
blocks() { # PAGE
	awk '/^\.Sh/ { on = $2 == "EXAMPLES" }
		on && /^\.Bd -literal/ { in_block = 1; next }
		/^\.Ed/ { if (in_block) print "--"; in_block = 0 }
		in_block' "$1" |
	sed -e 's/\\(dq/"/g' -e "s/\\\\(aq/'/g" -e 's/\\&//g' -e 's/\\-/-/g' -e 's/\\e/\\/g'
}

# Why a block cannot be run here, if it cannot.
block_lacks() { # TEXT
	[[ $1 != *'jq '* ]] || _lacks jq
	[[ $1 != *'lamina mount'* && $1 != *lamina-fuse* && $1 != *mount.lamina* &&
		$1 != *'mount -t'* ]] ||
		_lacks fuse
	[[ $1 != *'lamina pager'* ]] || _lacks lamina-pager
	[[ $1 != *gid=kvm* ]] || getent group kvm >/dev/null || echo "no group kvm"
	[[ $1 != *'mount -t'* || -x /sbin/mount.lamina ]] || echo "no /sbin/mount.lamina"
}

# Appends to the script, one call of `example` a command; $commands counts them.
add_command() { # SHOWN-OUTPUT COMMAND
	local want=0 command=$2
	if [[ $command =~ ^(.*[^ ])' '+'# exit '([0-9]+)$ ]]; then
		command=${BASH_REMATCH[1]}
		want=${BASH_REMATCH[2]}
	fi
	commands=$((commands + 1))
	printf 'example %s %q %q <<"SHOWN"\n%sSHOWN\n' "$want" "$command" "$2" "$1" >>script
}

add_block() { # TEXT
	local line command='' shown='' more='' reason n
	reason=$(block_lacks "$1" | head -1)
	if [ -n "$reason" ]; then
		n=$(grep -c '^\$ ' <<<"$1")
		skip "$page: $reason" "$n"
		commands=$((commands + n))
		return
	fi
	while IFS= read -r line; do
		if [ -n "$more" ]; then
			command+=$'\n'$line
		elif [[ $line == '$ '* ]]; then
			[ -z "$command" ] || add_command "$shown" "$command"
			command=${line#??} shown='' more=yes
		else
			shown+=$line$'\n'
		fi
		[[ $line == *[\\\|] ]] || more=''
	done < <(printf '%s' "$1")
	[ -z "$command" ] || add_command "$shown" "$command"
}

# Runs in the page's shell: leaves status and output where report() finds them.
# shellcheck disable=SC2016
runner='
n=0
example() { # WANT COMMAND TEXT
	n=$((n + 1))
	cat >../results/$n.shown
	printf "%s\n" "$1" >../results/$n.want
	printf "%s\n" "${3%%$'"'\n'"'*}" >../results/$n.name
	eval "$2" >../results/$n.out 2>../results/$n.err </dev/null
	printf "%s\n" $? >../results/$n.got
}
'

words() {
	sed -E 's/[0-9a-f]{12,}(\.\.\.)?//g' | tr -s ' \t,' '\n' |
		grep -vE '[0-9]|^(B|[KMG]iB|ms|s|min|)$' | tr '\n' ' '
}

report() { # N
	local r=results/$1 name
	name="$page: $(cat "$r.name")"
	if [ "$(cat "$r.got" 2>/dev/null)" != "$(cat "$r.want")" ]; then
		fail "$name"
		diag "exit status $(cat "$r.got"), want $(cat "$r.want")"
		head -20 "$r.out" "$r.err" | sed 's/^/# /'
	elif [ -s "$r.shown" ]; then
		is "$name" "$(cat "$r.out" "$r.err" | words)" "$(words <"$r.shown")"
	else
		pass "$name"
	fi
}

# For a page that asks one.
start_pager() {
	mkdir run
	printf '[pager]\nruntime_dir = %s\nsocket = %s\n' "$PWD/run" "$PWD/run/pager.sock" >pager.conf
	lamina-pager --foreground --socket "$PWD/run/pager.sock" --runtime-dir "$PWD/run" >pager.log 2>&1 &
	pager_pid=$!
	within 20 lamina --config pager.conf pager ls
}

run_page() { # PAGE
	local text='' line n conf=$LAMINA_CONF
	pager_pid=
	page=$(basename "$1")
	commands=0
	rm -rf "$T/page" && mkdir -p "$T/page/results" && cd "$T/page" || return
	cp -a --sparse=always "$T/prepared" dir || return
	printf '%s' "$runner" >script
	while IFS= read -r line; do
		if [ "$line" = -- ]; then
			add_block "$text"
			text=
		else
			text+=$line$'\n'
		fi
	done < <(blocks "$1")
	[ $commands -gt 0 ] || { [[ $page == *.[57] ]] || fail "$page has examples"; return; }
	if [[ $(blocks "$1") == *"lamina pager"* ]] && start_pager; then
		conf=$PWD/pager.conf
	fi
	(cd dir && LAMINA_CONF=$conf LAMINA_STORE=$PWD/store exec bash -o pipefail ../script)
	[ -z "$pager_pid" ] || kill "$pager_pid"
	for ((n = 1; n <= commands; n++)); do
		[ ! -e "results/$n.name" ] || report "$n"
	done
	! is_mounted dir/mnt || umount_store dir/mnt
}

prepare >"$T/log" 2>&1 || { sed 's/^/# /' "$T/log"; bail "cannot prepare"; }
at_exit "umount -l '$T/page/dir/mnt'"
for file in "$man"/*.[0-9]; do
	run_page "$file"
done

# The one example that is a file.
cd "$T" || exit
blocks "$man/lamina.conf.5" | grep -vx -e -- >example.conf
ok "lamina.conf.5: its example is accepted" \
	lamina --config example.conf --store prepared/store ls
done_testing
