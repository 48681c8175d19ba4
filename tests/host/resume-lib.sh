# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# For tests that resume guests: a mount, a guest 'web' to begin with, and a pager.
. "$srcroot/tests/host/pause-lib.sh"
. "$srcroot/tests/pager/lib.sh"

begin_resume() { # a guest `web` that runs, and a pager that lamina.conf names
	begin_guest || bail "no guest"
	start_pager || bail "no pager"
	export FIRECRACKER_OPTIONS=
	sed -i "s|^runtime_dir.*|&\nsocket = $sock|" conf
}

resume() { # NAME [OPTION...]: the layer `one` in a stand-in, whose control is NAME.ctl
	local name=$1
	shift
	rm -f "$name.ctl"
	lamina resume one --json --name "$name" -H firecracker -S "$name.sock" "$@" \
		-- firecracker --api-sock '{socket}' --control "$T/$name.ctl" --id '{name}'
}

ends() { # [PID]: at the end of the test; what `out` says was started
	at_exit "kill -9 ${1:-$(jq .pid out)}"
}
