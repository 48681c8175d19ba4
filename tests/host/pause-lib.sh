# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A store that is mounted, a guest "web" on a live image of it whose hypervisor is
# tests/host/firecracker, and an agent that is tests/host/agent-fake, for the tests that source this
# behind tests/lib.sh and tests/host/lib.sh.

begin_guest() { # [CONFIG-OTHERS]
	export LAMINA_STORE=$T/s
	printf '[pager]\nruntime_dir = %s/run\n' "$T" >conf
	export LAMINA_CONF=$T/conf
	lamina init >/dev/null &&
		lamina live create web --size memfile=8M --size rootfs=2M --size state=0 &&
		mount_store s mnt || return
	fc_config vm.json 8 '"track_dirty_pages":true' "${1:-}"
	start_fc web --config-file vm.json
	lamina guest add web --hypervisor firecracker --socket web.sock
}

# An agent of the guest "web"; its requests are in agent.log.
start_agent() { # [OPTION...]
	[ -z "${agent_pid:-}" ] || end_agent
	rm -f agent agent.log
	agent-fake "$T/agent" "$@" 2>agent.err &
	agent_pid=$!
	at_exit "kill -9 $agent_pid"
	within 20 test -S agent
	lamina guest add web --replace --hypervisor firecracker --socket web.sock --agent "unix:$T/agent"
}

end_agent() {
	kill -9 "$agent_pid" 2>/dev/null
	wait "$agent_pid" 2>/dev/null
	agent_pid=
}

asked() { # what the agent was asked, paths alone
	cut -d' ' -f2 agent.log | tr '\n' ' '
}

state() { # of the guest, as its hypervisor says
	fc web state
}

result() { # FILE STEP
	jq -r --arg s "$2" '.steps[] | select(.step == $s) | .result' "$1"
}

results() { # FILE: those that were not skipped
	jq -r '[.steps[] | select(.result != "skipped") | .step + "=" + .result] | join(" ")' "$1"
}

# A guest whose memory comes from the layer's file, in a stand-in.
resume_file() { # NAME LAYER [OPTION...]
	local name=$1 layer=$2
	shift 2
	rm -f "$name.ctl"
	lamina resume "$layer" --json --name "$name" -H firecracker -S "$name.sock" --backend file "$@" \
		-- firecracker --api-sock '{socket}' --control "$T/$name.ctl" --id '{name}' >out 2>err || return
	fc_pid[$name]=$(jq .pid out)
	at_exit "kill -9 ${fc_pid[$name]}"
}

is_closed() { # LIVE
	[ "$(lamina live show --json "$1" | jq .pid)" = null ]
}
