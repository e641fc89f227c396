"""Accounts of a scratch root, and orders upon them."""

import os
import shutil
import subprocess

from support.orders import OrderBuilder
from support.process import request
from support.session import ask

MISSING = (
    "accounts are changed by root only"
    if os.geteuid() != 0
    else "needs shadow's tools: Debian's passwd"
    if shutil.which("useradd", path="/usr/sbin") is None
    else ""
)
FILES = ("passwd", "shadow", "group", "gshadow")
PASSWD = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nann:x:1500:1500:Ann:/home/ann:/bin/sh\n"
SHADOW = "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nann:!:19000:0:99999:7:::\n"
GROUP = "root:x:0:\ndaemon:x:1:\nann:x:1500:\naudio:x:29:ann\nvideo:x:44:\n"
GSHADOW = "root:*::\ndaemon:*::\nann:!::\naudio:*::ann\nvideo:*::\n"


class Machine:
    """A root with account files, and orders upon it."""

    def __init__(self, folder):
        self.folder, self.root, self.orders = folder, folder / "root", 0
        for name in ("etc/skel", "home", "etc/default", "var/mail"):
            (self.root / name).mkdir(parents=True)
        for name, text in zip(FILES, (PASSWD, SHADOW, GROUP, GSHADOW), strict=True):
            (self.root / "etc" / name).write_text(text)
        (self.root / "etc/skel/.profile").write_text("# profile\n")
        (self.root / "etc/login.defs").write_text("UID_MIN 1000\nGID_MIN 1000\nUSERGROUPS_ENAB yes\nSYS_UID_MAX 999\n")

    def apply(self, *nodes, verb="apply", fails=False):
        self.orders += 1
        order = OrderBuilder(self.folder / f"package{self.orders}", self.root, serial=self.orders)
        before = []
        for number, (action, slots) in enumerate(nodes):
            before = [order.node(action, name=f"n{number}", slots=slots, needs=before)]
        if fails:
            order.node("shell.exec", argv=["false"], needs=before)
        return ask(request(verb, self.folder / "state", order.write()))

    def rollback(self):
        return ask(request("rollback", self.folder / "state"))

    def drift(self):
        found = ask(request("status", self.folder / "state", target_root=str(self.root)))
        return [event.text for event in found.events if event.kind == "drift"]

    def files(self):
        """Lines by file. In gshadow `!` and `*` both mean: no password; groupadd writes the one."""
        texts = {name: (self.root / "etc" / name).read_text() for name in FILES}
        texts["gshadow"] = texts["gshadow"].replace(":!:", ":*:")
        return {name: sorted(text.splitlines()) for name, text in texts.items()}

    def line(self, file, name):
        lines = (self.root / "etc" / file).read_text().splitlines()
        return next((line for line in lines if line.startswith(f"{name}:")), "")

    def shadow(self, *words):
        subprocess.run([words[0], "--prefix", self.root, *words[1:]], check=True, capture_output=True)
