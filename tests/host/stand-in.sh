#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# tests/host/firecracker itself: that it refuses what the real one refuses, and its vsock device.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/lib.sh"
requires python3 curl jq

asks() { # NAME STATUS FC METHOD PATH [BODY]: the answer is ./body
	local got
	got=$(curl -s --max-time 60 --unix-socket "$3.sock" -o body -w '%{http_code}' -X "$4" \
		${6:+-d "$6"} "http://fc$5")
	is "$1" "$got" "$2"
}

fault() {
	jq -r .fault_message body
}

# --- before a start ---

start_fc a --version-is 1.14.0
asks "an instance" 200 a GET /
is "is described" "$(jq -c . body)" \
	'{"id":"anonymous-instance","state":"Not started","vmm_version":"1.14.0","app_name":"Firecracker"}'
asks "version" 200 a GET /version
is "as the real one" "$(jq -r .firecracker_version body)" 1.14.0
for call in 'PATCH /vm {"state":"Paused"}' 'PATCH /balloon/hinting/start {}' \
	'PUT /snapshot/create {"snapshot_path":"s","mem_file_path":"m"}'; do
	read -r method path body <<<"$call"
	asks "$method $path" 400 a "$method" "$path" "$body"
	like "is not for now" "$(fault)" "not supported before starting"
done
asks "no such path" 400 a GET /nosuch
asks "no JSON" 400 a PATCH /vm '{'
like "is told so" "$(fault)" "deserializing the json body"
asks "an unknown state" 400 a PATCH /vm '{"state":"Stopped"}'
asks "an unknown field" 400 a PATCH /vm '{"state":"Paused","x":1}'
like "is named" "$(fault)" 'unknown field `x`, expected one of `state`'
asks "no balloon" 400 a GET /balloon
like "is told so" "$(fault)" "No balloon device found"
asks "memory" 204 a PUT /machine-config '{"vcpu_count":1,"mem_size_mib":4}'
asks "can be asked for" 200 a GET /machine-config
is "with all defaults" "$(jq -c '[.mem_size_mib,.track_dirty_pages,.huge_pages]' body)" '[4,false,"None"]'
asks "no load behind that" 400 a PUT /snapshot/load \
	'{"snapshot_path":"s","mem_backend":{"backend_type":"File","backend_path":"m"}}'
like "it says why" "$(fault)" "not allowed after configuring boot-specific resources"
ok "and goes on" curl -sf --unix-socket a.sock http://fc/
asks "a start" 204 a PUT /actions '{"action_type":"InstanceStart"}'
asks "not twice" 400 a PUT /actions '{"action_type":"InstanceStart"}'
like "it says why" "$(fault)" "not supported after starting"
asks "no new memory either" 400 a PUT /machine-config '{"vcpu_count":1,"mem_size_mib":8}'
end_fc a

# --- names of versions ---

load='"snapshot_path":"none","mem_backend":{"backend_type":"File","backend_path":"none"}'
start_fc old --version-is 1.12.1
asks "1.12 does not know track_dirty_pages" 400 old PUT /snapshot/load "{$load,\"track_dirty_pages\":true}"
like "by that name" "$(fault)" 'unknown field `track_dirty_pages`'
ok "and lives" test "$(fc old state)" = "Not started"
asks "nor a balloon's hinting" 400 old PUT /balloon \
	'{"amount_mib":0,"deflate_on_oom":true,"free_page_hinting":true}'
asks "knows a balloon" 204 old PUT /balloon '{"amount_mib":0,"deflate_on_oom":true}'
end_fc old
start_fc new --version-is 1.13.0
asks "1.13 knows it, and fails for want of a file" 400 new PUT /snapshot/load \
	"{$load,\"track_dirty_pages\":true}"
like "which it names" "$(fault)" "No such file"
within 20 fc_ended new
ok "that is its end" fc_ended new

# --- memory files ---

fc_config small.json 4
start_fc a --config-file small.json --version-is 1.12.0
asks "pause" 204 a PATCH /vm '{"state":"Paused"}'
asks "a diff without tracking" 400 a PUT /snapshot/create \
	"{\"snapshot_type\":\"Diff\",\"snapshot_path\":\"$T/s\",\"mem_file_path\":\"$T/m\"}"
like "1.12 has none" "$(fault)" "Cannot get dirty bitmap"
fc a version 1.13.0 >/dev/null
head -c 5M /dev/urandom >m
asks "1.13 has" 204 a PUT /snapshot/create \
	"{\"snapshot_type\":\"Diff\",\"snapshot_path\":\"$T/s\",\"mem_file_path\":\"$T/m\"}"
is "a file of another size is emptied" "$(stat -c '%s' m) $(du -k m | cut -f1)" "4194304 4"
end_fc a

# --- vsock ---

cat >say.py <<'END'
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(60)
s.connect(sys.argv[1])
f = s.makefile("rwb")
f.write(b"CONNECT %s\n" % sys.argv[2].encode())
f.flush()
print(f.readline().decode().strip())
for line in sys.stdin:
    f.write(line.encode().replace(b"\n", b"\r\n"))
f.flush()
s.shutdown(socket.SHUT_WR)
sys.stdout.write(f.read().decode())
END
start_fc agent # an HTTP server, as good as any
fc_config web.json 4 '' "\"vsock\":{\"guest_cid\":3,\"uds_path\":\"$T/v.sock\"}"
start_fc web --config-file web.json --agent "1052=$T/agent.sock"
printf 'GET /version HTTP/1.1\n\n' | timeout 60 python3 say.py v.sock 1052 >said
like "a connection" "$(head -1 said)" '^OK [0-9]+$'
like "reaches the agent" "$(tail -1 said)" 'firecracker_version'
printf '' | timeout 60 python3 say.py v.sock 1053 >said
is "another port has nobody" "$(tr -d '\n' <said)" ""
curl -s --unix-socket web.sock -X PATCH -d '{"state":"Paused"}' http://fc/vm
printf 'GET /version HTTP/1.1\n\n' | timeout 60 python3 say.py v.sock 1052 >said &
said_pid=$!
sleep 0.5
is "a paused guest says nothing" "$(cat said)" ""
curl -s --unix-socket web.sock -X PATCH -d '{"state":"Resumed"}' http://fc/vm
wait $said_pid
like "until it is resumed" "$(tail -1 said)" 'firecracker_version'
curl -s --unix-socket web.sock -X PATCH -d '{"state":"Paused"}' http://fc/vm
asks "a snapshot" 204 web PUT /snapshot/create "{\"snapshot_path\":\"$T/s\",\"mem_file_path\":\"$T/m\"}"
end_fc web
start_fc web --agent "1052=$T/agent.sock"
asks "a load with the socket in its place" 400 web PUT /snapshot/load \
	"{\"snapshot_path\":\"$T/s\",\"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":\"$T/m\"},\"resume_vm\":true}"
like "fails" "$(fault)" "UnixBind.*Address already in use"
within 20 fc_ended web
rm v.sock
start_fc web --agent "1052=$T/agent.sock"
asks "without it" 204 web PUT /snapshot/load \
	"{\"snapshot_path\":\"$T/s\",\"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":\"$T/m\"},\"resume_vm\":true}"
printf 'GET /version HTTP/1.1\n\n' | timeout 60 python3 say.py v.sock 1052 >said
like "the device is there again" "$(tail -1 said)" 'firecracker_version'

# --- drives ---

: >disk
fc_config disk.json 4 '' "\"drives\":[{\"drive_id\":\"rootfs\",\"is_root_device\":true,\"path_on_host\":\"$T/disk\"}]"
start_fc d --config-file disk.json
curl -s --unix-socket d.sock -X PATCH -d '{"state":"Paused"}' http://fc/vm
asks "a snapshot" 204 d PUT /snapshot/create "{\"snapshot_path\":\"$T/s\",\"mem_file_path\":\"$T/m\"}"
end_fc d
mv disk elsewhere
start_fc d
asks "a load opens the disk that it had" 400 d PUT /snapshot/load \
	"{\"snapshot_path\":\"$T/s\",\"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":\"$T/m\"}}"
like "where it had it" "$(fault)" "$T/disk"
done_testing
