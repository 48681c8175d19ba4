#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Talk to a QEMU guest: its monitor (QMP) and the root shell on its serial line.

ctl.py wait SERIAL TIMEOUT             until the shell says that it is there
ctl.py shell SERIAL TIMEOUT COMMAND    run COMMAND, print what it prints, exit as it does
ctl.py save QMP FILE                   stop the guest, write its device state to FILE
ctl.py load QMP FILE                   read device state from FILE, do not run yet
ctl.py cont QMP                        let the guest run
ctl.py qmp QMP COMMAND [JSON]          give QEMU one command, print what it returns

RAM is a file outside of QEMU and is not part of the device state (x-ignore-shared).
"""
import json
import os
import shlex
import socket
import sys
import time

READY = "console ready"
CONNECT_TIMEOUT = 10
MIGRATE_TIMEOUT = 60


class Failed(Exception):
    pass


def connect(path, timeout=CONNECT_TIMEOUT):
    """QEMU makes its sockets a moment after it starts."""
    deadline = time.monotonic() + timeout
    while True:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(path)
            return sock
        except OSError as e:
            sock.close()
            if time.monotonic() > deadline:
                raise Failed("cannot connect to %s: %s" % (path, e.strerror))
            time.sleep(0.05)


class Monitor:
    def __init__(self, path):
        self.sock = connect(path)
        self.sock.settimeout(MIGRATE_TIMEOUT)
        self.lines = self.sock.makefile("r")
        self.receive()
        self.ask("qmp_capabilities")

    def receive(self):
        line = self.lines.readline()
        if not line:
            raise Failed("the guest's QEMU ended")
        return json.loads(line)

    def ask(self, command, **arguments):
        request = {"execute": command, "arguments": arguments}
        self.sock.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = self.receive()
            if "error" in answer:
                raise Failed("%s: %s" % (command, answer["error"]["desc"]))
            if "return" in answer:
                return answer["return"]

    def without_ram(self):
        self.ask("migrate-set-capabilities",
                 capabilities=[{"capability": "x-ignore-shared", "state": True}])

    def migrated(self):
        deadline = time.monotonic() + MIGRATE_TIMEOUT
        while time.monotonic() < deadline:
            info = self.ask("query-migrate")
            status = info.get("status")
            if status == "completed":
                return
            if status in ("failed", "cancelled"):
                raise Failed("device state: %s" % info.get("error-desc", status))
            time.sleep(0.02)
        raise Failed("device state: not done after %d s" % MIGRATE_TIMEOUT)


def save(path, file):
    monitor = Monitor(path)
    monitor.ask("stop")
    monitor.without_ram()
    monitor.ask("migrate", uri="exec:cat >" + shlex.quote(file))
    monitor.migrated()


def load(path, file):
    monitor = Monitor(path)
    monitor.without_ram()
    monitor.ask("migrate-incoming", uri="exec:cat " + shlex.quote(file))
    monitor.migrated()


def cont(path):
    Monitor(path).ask("cont")


def qmp(path, command, arguments="{}"):
    print(json.dumps(Monitor(path).ask(command, **json.loads(arguments))))


class Serial:
    def __init__(self, path, timeout):
        self.sock = connect(path)
        self.deadline = time.monotonic() + timeout
        self.text = ""

    def read_until(self, mark):
        """What came before the mark, and the rest of the mark's line."""
        while True:
            before, found, after = self.text.partition(mark)
            if found and "\n" in after:
                line, self.text = after.split("\n", 1)
                return before, line
            self.read_more()

    def read_more(self):
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise Failed("the guest does not answer; it said: %r" % self.text[-400:])
        self.sock.settimeout(left)
        try:
            data = self.sock.recv(65536)
        except socket.timeout:
            return
        if not data:
            raise Failed("the guest ended; it said: %r" % self.text[-400:])
        self.text += data.decode(errors="replace").replace("\r", "")

    def run(self, command):
        """The marks are written in two halves, so that an echoed command holds none."""
        key = "%d-%d" % (os.getpid(), time.time_ns())
        self.sock.sendall((
            "\necho 'begin'-%s\n{ %s\n} </dev/null 2>&1\necho 'end'-%s $?\n"
            % (key, command, key)).encode())
        self.read_until("begin-" + key)
        output, status = self.read_until("end-" + key)
        return output, int(status)


def wait(path, timeout):
    Serial(path, float(timeout)).read_until(READY)


def shell(path, timeout, command):
    output, status = Serial(path, float(timeout)).run(command)
    sys.stdout.write(output)
    return status


COMMANDS = {f.__name__: f for f in (wait, shell, save, load, cont, qmp)}


def main(argv):
    if len(argv) < 2 or argv[0] not in COMMANDS:
        sys.stderr.write(__doc__)
        return 2
    try:
        return COMMANDS[argv[0]](*argv[1:]) or 0
    except (Failed, OSError) as e:
        sys.stderr.write("ctl.py %s: %s\n" % (argv[0], e))
        return 125


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
