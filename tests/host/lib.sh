# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Firecrackers that are none (tests/host/firecracker), for the tests that source this behind
# tests/lib.sh.  Each has a NAME; its API's socket is NAME.sock, its log NAME.log.
PATH=$buildroot/tests/host:$srcroot/tests/host:$PATH

declare -A fc_pid
# Waits until it answers; its pid is in ${fc_pid[NAME]}.
start_fc() { # NAME [OPTION...]
	local name=$1
	shift
	rm -f "$name.sock" "$name.ctl"
	firecracker --api-sock "$T/$name.sock" --control "$T/$name.ctl" "$@" 2>>"$name.log" &
	fc_pid[$name]=$!
	at_exit "kill -CONT ${fc_pid[$name]}; kill -9 ${fc_pid[$name]}"
	within 30 _fc_up_or_ended "$name"
	fc_ended "$name" && bail "no firecracker: $(cat "$name.log")"
}

# What its guest does, and more: the words of --ask.  Prints the answer.
fc() { # NAME WORD...
	firecracker --ask "$T/$1.ctl" "${@:2}"
}

_fc_up_or_ended() { # NAME
	fc_ended "$1" || fc "$1" state
}

end_fc() { # NAME
	kill -9 "${fc_pid[$1]}"
	wait "${fc_pid[$1]}" 2>/dev/null
}

fc_ended() { # NAME
	! kill -0 "${fc_pid[$1]}" 2>/dev/null
}

# The file of a configuration with a guest of MIB; MEMBERS of machine-config, OTHERS of the whole.
fc_config() { # FILE MIB [MEMBERS [OTHERS]]
	printf '{"machine-config":{"vcpu_count":1,"mem_size_mib":%d%s}%s}\n' "$2" "${3:+,$3}" \
		"${4:+,$4}" >"$1"
}
balloon='"balloon":{"amount_mib":0,"deflate_on_oom":true}'
hinting='"balloon":{"amount_mib":0,"deflate_on_oom":true,"free_page_hinting":true}'
