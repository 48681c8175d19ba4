#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of bash, in a real bash.
. "$(dirname "$0")/../lib.sh"
export LAMINA_STORE=$T/s
lamina init -q
mkimage memory.raw 512 0:data=1
id=$(lamina commit -q --memfile memory.raw --tag golden)
lamina live create -q disk --from golden
mkdir mnt
printf '[pager]\nruntime_dir = %s/run\n' "$T" >conf
export LAMINA_CONF=$T/conf
lamina guest add web -H qemu -S web.qmp
lamina guest add db -H qemu -S db.qmp

lamina completion bash >script
ok "it is a script" bash -n script
ok "it defines the completion" bash -c '. ./script && complete -p lamina'
if has shellcheck; then
	ok "it is clean" shellcheck -S warning script
else
	skip "no shellcheck"
fi

complete_words() { # WORD...: the last one is being completed
	bash -c '
		compopt() { :; }
		. ./script
		COMP_WORDS=("$@")
		COMP_CWORD=$(($# - 1))
		_lamina
		printf "%s\n" "${COMPREPLY[@]}" | sort -u' bash "$@" | tr '\n' ' '
}
completes() { # WANT WORD...
	local want=$1
	shift
	is "$*" "$(complete_words "$@")" "$want"
}
completes "commit completion " lamina com
completes "export " lamina exp
completes "--memfile --meta " lamina commit --me
completes "--store " lamina ls --st
completes "--store " lamina --sto
completes "golden " lamina show g
completes "$id " lamina show "${id:0:6}"
completes "golden " lamina commit --parent go
completes "golden " lamina tag new go
completes "golden " lamina diff golden go
completes "memory.raw " lamina commit --memfile mem
completes "memory.raw " lamina commit -m mem
completes "memory.raw " lamina commit --image data = mem
completes "mnt " lamina mount m
completes "bash " lamina completion ""
completes "import " lamina trace im
completes "create " lamina pager cr
completes "graduate " lamina pager gr
completes "--exit " lamina pager drain --e
completes "add cont ls provision rm show " lamina guest ""
completes "web " lamina guest show w
completes "db web " lamina guest rm ""
completes "web " lamina guest cont w
completes " " lamina guest ls w
completes "--replace " lamina guest add --r
completes "--agent --agent-token-file " lamina guest cont --ag
completes "--init-on-free " lamina guest provision --init
completes "mnt " lamina guest provision mn
completes "firecracker " lamina guest add web --hypervisor fire
completes "mnt " lamina guest add web --mount m
completes "disk " lamina live commit di
completes "disk " lamina guest add web --live d
completes "poison " lamina pager create --on-error po
completes "memory.raw " lamina pager create --memfile mem
completes "golden " lamina trace ls go
completes "verify " lamina help ver
completes "blake2b-256 " lamina init --digest bl
completes "golden " lamina --store s show go
completes "golden " lamina --json show go
completes " " lamina ls x

# Nothing is missing: every option of every command.
missing=
for command in $(lamina --help | awk '/^Commands:/ {on = 1; next} /^$/ {on = 0} on && /^  [a-z]/ {print $1}'); do
	want=$(lamina "$command" --help | grep -oE '^ +(-[a-zA-Z], )?--[a-z-]+' | grep -oE -- '--[a-z-]+' | sort -u | tr '\n' ' ')
	got=$(complete_words lamina "$command" --)
	[ "$got" = "$want" ] || missing="$missing $command: $got, not $want;"
done
is "all options of all commands" "$missing" ""
done_testing
