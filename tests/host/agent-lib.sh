# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# lamina-agent on this host, for the tests that source this behind tests/lib.sh.  It sees
# a tree of cgroups of ours, and nothing that it is asked here changes the host.

: >kmsg
mkdir -p cg/web.slice cg/db.slice
for group in cg/web.slice cg/db.slice; do
	echo 0 >"$group/cgroup.freeze"
	echo "frozen 0" >"$group/cgroup.events"
done

# The log is in log.txt, which stays empty: what it has to say is at GET /logs.
start_agent() { # [OPTION...]: its pid is in $agent_pid
	lamina-agent --listen "unix:$T/agent.sock" --cgroup-root "$T/cg" --kmsg "$T/kmsg" "$@" \
		>log.txt 2>&1 </dev/null &
	agent_pid=$!
	at_exit "kill -CONT $agent_pid; kill -9 $agent_pid"
	within 30 get /health || bail "no lamina-agent: $(cat log.txt)"
}

end_agent() { # SIGNAL: its exit status is in $agent_status
	kill -"$1" "$agent_pid"
	wait "$agent_pid" 2>/dev/null
	agent_status=$?
}

get() { # PATH [OPTION...]: prints the answer
	local path=$1
	shift
	curl -s --max-time 60 --unix-socket agent.sock "$@" "http://agent$path"
}

post() { # PATH BODY [OPTION...]
	local path=$1 body=$2
	shift 2
	get "$path" -X POST -d "$body" "$@"
}

ask() { # PATH BODY: does not wait for the answer; the pid of who does is in $asking
	curl -s --max-time 60 --unix-socket agent.sock -X POST -d "$2" "http://agent$1" >asked &
	asking=$!
	at_exit "kill $asking"
}

status() { # COMMAND...: get or post; prints the status alone
	"$@" -o answer -w '%{http_code}'
}

says() { # JQ-CONDITION: of a line of the log; what was lost has none
	get /logs | jq -es "any(.[] | select(.seq); $1)" >/dev/null
}

is_frozen() { # CGROUP
	[ "$(cat "cg/$1/cgroup.freeze")" = 1 ]
}
