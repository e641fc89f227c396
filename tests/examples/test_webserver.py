"""`examples/webserver` on a machine to spoil: nginx with TLS, PostgreSQL, and a service under runit, for real, and back."""

import json
import sys
from pathlib import Path

import pytest

from support import disposable

WHY_NOT = disposable.missing()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
EXAMPLE = Path(__file__).parents[2] / "examples" / "webserver"
PLAN = str(Path(sys.executable).parent / "plan")
LACKING = ["nginx*", "postgresql*", "python3-psycopg2", "libpq*"]
OFFERED = ["nginx-light", "postgresql", "python3-psycopg2", "openssl"]
ASK = "import ssl, urllib.request as r; print(r.urlopen('{url}', context=ssl.create_default_context(cafile='{ca}')).read().decode())"


@pytest.fixture(scope="module")
def machine():
    with disposable.machine(without=LACKING, offered=OFFERED) as made:
        made.run(PLAN, "build", str(EXAMPLE), "-o", "/root/shop.yaml", "--set", "supervisor=runit")
        yield made


def state(machine) -> dict[str, str | list[str]]:
    return {
        "packages": machine.packages(),
        "marks": machine.run("apt-mark", "showauto"),
        "accounts": machine.run("cat", "/etc/passwd", "/etc/group"),
        "files": machine.run(
            "find", "/etc/ssl", "/etc/sv", "/etc/nginx", "/usr/local/lib", "/var/lib/shop", status=None
        ),
        "processes": sorted(
            args
            for state, _, args in (line.partition(" ") for line in machine.run("ps", "-eo", "stat=,args=").splitlines())
            if "Z" not in state and any(word in args for word in ("nginx", "postgres", "runsv shop", "shop.py"))
        ),
    }


def apply(machine, order: str = "/root/shop.yaml", status: int = 0) -> str:
    return machine.run(PLAN, "apply", order, "--yes", "--allow-unsigned", "--full", status=status)


def shop(machine) -> dict[str, str]:
    code = ASK.format(url="https://localhost:8443/", ca="/etc/ssl/certs/shop.crt")
    return json.loads(machine.run("/usr/bin/python3", "-c", code))


def test_a_server_is_set_up_answers_over_tls_is_set_up_again_and_given_back(machine):
    before = state(machine)
    assert "Done in" in apply(machine)
    assert shop(machine) == {"database": "shop", "user": "shop"}
    assert machine.run("stat", "-c", "%a", "/etc/ssl/private/shop.key").strip() == "600"
    pids = machine.run("pgrep", "nginx"), machine.run("pgrep", "-f", "shop.py"), machine.run("pgrep", "postgres")
    assert "Nothing to do" in apply(machine)
    assert pids == (
        machine.run("pgrep", "nginx"),
        machine.run("pgrep", "-f", "shop.py"),
        machine.run("pgrep", "postgres"),
    )
    machine.run(PLAN, "status", "--detailed-exitcode")
    machine.run(PLAN, "rollback", "--yes")
    assert state(machine) == before


@pytest.mark.long
def test_what_fails_its_verification_is_taken_back(machine):
    before = state(machine)
    nowhere = ["--set", "supervisor=runit", "--set", "server_name=shop.invalid"]
    machine.run(PLAN, "build", str(EXAMPLE), "-o", "/root/wrong.yaml", *nowhere)
    told = apply(machine, "/root/wrong.yaml", status=1)
    assert "https://shop.invalid:8443/ did not answer as expected" in told
    assert "package.star:58" in told
    assert state(machine) == before
