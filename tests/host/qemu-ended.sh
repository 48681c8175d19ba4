#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A real QEMU that ends while its private memory is read for a layer: that is said, and nothing
# else, by standard error and by the JSON.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/qemu-lamina-lib.sh"
requires qemu root fuse plain jq lamina-fault

begin_lamina
ok "a guest is resumed" resume web gen0
reply web >/dev/null
reply web >/dev/null
# The first two are of locks.
LAMINA_FAULT_CHILDREN=1 LAMINA_FAULT=pwrite:3:stop lamina-fault pause web --json --full >ended.out 2>ended.err &
pauser=$!
ok "its memory is read" within 20 is_stopped
end_qemu web
xargs kill -CONT <children
wait $pauser
is "QEMU ends: it fails" $? 1
like "and says so" "$(cat ended.err)" "cannot pause the guest: QEMU at '$T/web.qmp' has ended"
like "once more of the guest" "$(cat ended.err)" "guest 'web' runs no more: its hypervisor has ended"
is "nobody is told to let it go on" "$(grep -c "guest cont" ended.err)" 0
is "the JSON says the same" "$(jq -r '[.state, .layer] | @tsv' ended.out)" $'ended\t'
like "with the reason" "$(jq -r .error ended.out)" "QEMU at '$T/web.qmp' has ended"
within 20 is_closed web
lamina -q live rm web || bail "the live image is not removed"
rm web.disk
ok "the next QEMU of that layer" resume web gen0
ok "is paused" lamina pause web
done_testing
