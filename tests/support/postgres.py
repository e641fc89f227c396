"""A PostgreSQL server of a test's own, on a socket in a folder of its own."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
WHY_NOT = "" if BIN is not None else "needs Debian's postgresql"


class Server:
    """Started when it is entered. Whoever reaches the socket is let in: the folder is the server's user's alone."""

    def __init__(self, *, durable: bool = False) -> None:
        assert BIN is not None
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path has 107 bytes
        self._as = []
        if os.geteuid() == 0:  # it refuses to run as root
            shutil.chown(self.folder, "postgres")
            self._as = ["runuser", "-u", "postgres", "--"]
        self._sync = "" if durable else "-F "  # a process may die in a test, the machine will not
        self._quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": self.folder}

    def __enter__(self) -> "Server":
        words = ["-N", "-A", "trust", "-U", "postgres", "-D", self.folder / "data"]
        subprocess.run([*self._as, BIN / "initdb", *words], **self._quiet)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        options = f"{self._sync}-c listen_addresses='' -k {self.folder}"
        self._control("-w", "-o", options, "-l", self.folder / "log", "start")

    def stop(self) -> None:
        """At once, as if the power went."""
        self._control("-m", "immediate", "stop")

    def emptied(self) -> str:
        """The address of its database, in which no store is any more."""
        address = f"host={self.folder} user=postgres dbname=postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute("DROP SCHEMA IF EXISTS requisition_fleet CASCADE")
        return address

    def _control(self, *words: object) -> None:
        subprocess.run([*self._as, BIN / "pg_ctl", "-D", self.folder / "data", *words], **self._quiet)
