"""`@std//postgres.star` against a real server of its own."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from requisition.compiler import build
from requisition.schemas import orderfile
from support.packages import request as build_request
from support.process import request
from support.session import ask

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
pytestmark = [
    pytest.mark.skipif(BIN is None, reason="needs Debian's postgresql"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a server must not run as root, nor change its user without it"),
]
SECRET = 'it\'s a \\ "canary", 4f1d9c27'
SCRIPT = """
load("@std//postgres.star", "database", "role", "server")

AT = server(socket = "%s")

def provision(package, phase):
    owner = role("shop", password = plan.secret("password"), may = ["createdb"], at = AT)
    database("shop", owner = "shop", at = AT, after = [owner])
"""


@pytest.fixture(scope="module")
def server():
    """Folder of the socket of a running server with password checks for everybody but its own user."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path has 107 bytes
    shutil.chown(folder, "postgres")
    as_postgres = ["runuser", "-u", "postgres", "--"]
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
    data = str(folder / "data")
    subprocess.run(
        [*as_postgres, BIN / "initdb", "-N", "-A", "scram-sha-256", "--auth-local=peer", "-D", data], **quiet
    )
    (folder / "data" / "pg_hba.conf").write_text("local all postgres peer\nlocal all all scram-sha-256\n")
    options = f"-F -c listen_addresses='' -k {folder}"
    control = [*as_postgres, BIN / "pg_ctl", "-D", data, "-w", "-o", options, "-l", folder / "log"]
    subprocess.run([*control, "start"], **quiet)
    yield folder
    subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
    shutil.rmtree(folder)


class Shop:
    def __init__(self, folder, server):
        self.folder, self.server = folder, server
        (folder / "root").mkdir()
        (folder / "shop.star").write_text(SCRIPT % server)
        self.order = str(folder / "shop.plan")
        built = build(build_request(folder / "shop.star", target_root=str(folder / "root")))
        orderfile.write(self.order, orderfile.seal(built.order))

    def run(self, verb, **fields):
        return ask(request(verb, self.folder / "state", "" if verb == "rollback" else self.order, **fields))

    def sql(self, text, *words):
        command = ["runuser", "-u", "postgres", "--", "psql", "-XAtq", "-h", self.server, *words, "-c", text]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd="/")
        return done.stdout.split()

    def made(self):
        return self.sql(
            "SELECT rolname FROM pg_roles WHERE rolname = 'shop' UNION ALL SELECT datname FROM pg_database WHERE datname = 'shop'"
        )


@pytest.fixture
def shop(tmp_path, server):
    shop = Shop(tmp_path, server)
    yield shop
    shop.sql("DROP DATABASE IF EXISTS shop")
    shop.sql("DROP ROLE IF EXISTS shop")


def test_role_and_database_are_made_once_and_taken_back(shop):
    applied = shop.run("apply", secrets={"password": SECRET})
    assert applied.status == "done", applied.text
    assert shop.made() == ["shop", "shop"]
    assert shop.sql("SELECT rolcreatedb FROM pg_roles WHERE rolname = 'shop'") == ["t"]
    again = shop.run("apply", secrets={"password": SECRET})
    assert again.result.summary == {"unchanged": 2}
    run = applied.result.run_id
    assert ask(request("rollback", shop.folder / "state", run_id=run)).status == "done"
    assert shop.made() == []


def test_the_password_is_the_secret_and_is_in_no_log(shop, server):
    shop.sql("ALTER SYSTEM SET log_statement = 'all'")
    shop.sql("SELECT pg_reload_conf()")
    answer = shop.run("apply", secrets={"password": SECRET})
    assert answer.status == "done", answer.text
    login = ["psql", "-XAtq", "-h", server, "-U", "shop", "-d", "shop", "-c", "SELECT current_user"]
    done = subprocess.run(login, env={**os.environ, "PGPASSWORD": SECRET}, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "shop", done.stderr
    assert "4f1d9c27" not in (server / "log").read_text() + answer.text


def test_a_database_that_holds_a_table_is_kept(shop):
    applied = shop.run("apply", secrets={"password": SECRET})
    shop.sql("CREATE TABLE orders (id int)", "-d", "shop")
    answer = ask(request("rollback", shop.folder / "state", run_id=applied.result.run_id))
    assert answer.status == "failed"
    assert "holds 1 tables; it is kept" in answer.text
    assert shop.made() == ["shop", "shop"], "its owner cannot go either"
