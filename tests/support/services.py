"""Services under System V init, in a machine of their own."""

import pytest

from support.machines import plain_machine
from support.orders import OrderBuilder

SCRIPT = """#!/bin/sh
### BEGIN INIT INFO
# Provides: {name}
# Required-Start: $remote_fs
# Required-Stop: $remote_fs
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
# Short-Description: A test
### END INIT INFO
daemon="/usr/bin/sleep"
case "$1" in
start) . /etc/demo.conf; start-stop-daemon --start --quiet --oknodo --background --make-pidfile \\
  --pidfile /run/{name}.pid --exec $daemon -- 1000 ;;
stop) start-stop-daemon --stop --quiet --oknodo --retry 5 --pidfile /run/{name}.pid --remove-pidfile --exec $daemon ;;
restart) $0 stop && $0 start ;;
reload) echo reloaded >> /run/{name}.log ;;
status) start-stop-daemon --status --pidfile /run/{name}.pid --exec $daemon ;;
*) echo "usage: $0 start|stop|restart|reload|status" >&2; exit 2 ;;
esac
"""


class Sysv:
    """Orders on the root of a machine."""

    def __init__(self, machine, folder):
        self.machine = machine
        self.folder = folder
        self.count = 0

    def script(self, name, text=""):
        self.machine.write(f"/etc/init.d/{name}", text or SCRIPT.format(name=name), "755")

    def order(self, *steps, **fields):
        """Actions on services, each after the one before."""
        self.count += 1
        order = OrderBuilder(self.folder / f"package{self.count}", "/", serial=self.count)
        needs = []
        for action, name in steps:
            slots = {"name": name, "manager": "sysv", **fields}
            needs = [order.node(f"service.{action}", name=f"{action}-{name}", slots=slots, needs=needs)]
        return order

    def apply(self, order, **fields):
        return self.machine.plan("apply", self.folder / "state", order.write(), **fields)

    def rollback(self, answer):
        return self.machine.plan("rollback", self.folder / "state", answer.result.receipt)

    def drift(self):
        return self.machine.plan("status", self.folder / "state", target_root="/")

    def status(self, name):
        return self.machine.says("sh", "-c", f"/etc/init.d/{name} status >/dev/null 2>&1; echo $?")

    def pid(self, name="demo"):
        return self.machine.run("cat", f"/run/{name}.pid")

    def links(self, name="demo"):
        return self.machine.says("sh", "-c", f"cd /etc; echo rc?.d/*{name}")


@pytest.fixture
def sysv(tmp_path):
    with plain_machine("/etc", "/var") as machine:
        sysv = Sysv(machine, tmp_path)
        machine.write("/etc/demo.conf", "VALUE=1\n")
        sysv.script("demo")
        yield sysv
