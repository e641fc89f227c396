"""The systemd unit: what systemd itself says of it, and how much of the machine it closes to the daemon."""

import re
import shutil
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.schemas.diagnostic import BadInput, Conflicted
from requisition.services.unit import Service, quoted, save, text

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian: systemd)"
)
COMMAND = (sys.executable, "-P", "-m", "requisition.cli.main", "watch", "run", "--state", "/var/lib/requisition")


NAME = "requisition-watch.service"


def service(**fields):
    given = {"name": "watch", "description": "Watches", "command": COMMAND, "own": ("/var/lib/requisition",)}
    return Service(**given | {"writable": ("/srv/site",), "reload": True} | fields)


KINDS = {
    "confined": service(),
    "of odd paths": service(command=(sys.executable, "a b", 'q"\\', "100%", "$HOME", "ü;#"), writable=("/srv/a b%c",)),
    "of the whole machine": service(writable=None, open="Anything."),
    "of a user": service(user=True),
}


@needs_systemd
@pytest.mark.parametrize("kind", KINDS)
def test_systemd_finds_nothing_to_object_to(tmp_path, kind):
    unit = tmp_path / NAME
    unit.write_text(text(KINDS[kind]))
    scope = ["--user"] if KINDS[kind].user else []
    done = subprocess.run(
        ["systemd-analyze", *scope, "--man=no", "--recursive-errors=no", "verify", str(unit)],
        capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_a_confined_unit_is_among_those_that_systemd_calls_safe(tmp_path):
    def exposure(kind):
        unit = tmp_path / NAME
        unit.write_text(text(KINDS[kind]))
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(unit)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
        if found is None:
            pytest.skip(f"this systemd cannot judge a file: {done.stderr}")
        return float(found[1])

    assert exposure("confined") < 4
    assert exposure("of the whole machine") > 8  # as such a daemon is: nothing pretends otherwise


def test_a_confined_unit_may_write_to_its_state_and_roots_only():
    lines = text(service(writable=("/srv/a", "/srv/b"))).splitlines()
    assert "ProtectSystem=strict" in lines
    assert [line for line in lines if line.startswith("ReadWritePaths=")] == [
        "ReadWritePaths=-/var/lib/requisition", "ReadWritePaths=-/srv/a", "ReadWritePaths=-/srv/b",
    ]  # fmt: skip
    assert "PrivateTmp=yes" in lines


def test_a_root_below_tmp_is_not_hidden_from_its_own_daemon():
    assert "PrivateTmp=no" in text(service(writable=("/tmp/site",)))
    assert "PrivateTmp=yes" in text(service(writable=("/tmpfiles",)))


def test_a_user_s_unit_wants_nothing_that_a_user_s_manager_has_not():
    unit = text(service(user=True))
    assert "network-online" not in unit
    assert "ProtectSystem" not in unit
    assert "WantedBy=default.target" in unit


def read_back(line):
    """One word as systemd.syntax(7) and systemd.service(5) say that it is read."""
    if line.startswith('"'):
        assert line.endswith('"')
        line = re.sub(r"\\(.)", r"\1", line[1:-1])
    return line.replace("%%", "%").replace("$$", "$")


@given(st.text(min_size=1).filter(str.isprintable))
def test_a_word_is_read_back_as_it_was(word):
    line = quoted(word)
    assert read_back(line) == word
    if not line.startswith('"'):
        assert not set(line) & set(" \t\"'\\;#")


@pytest.mark.parametrize("word", ["a\nExecStartPre=/bin/evil", "a\0b", "a\x1bb", "\u2028"])
def test_a_word_that_would_begin_another_line_is_refused(word):
    with pytest.raises(BadInput, match="cannot stand in a systemd unit"):
        quoted(word)


def test_a_unit_is_written_once_and_again_when_it_is_another(tmp_path):
    path = tmp_path / "units" / NAME
    assert save(str(path), service())
    assert path.stat().st_mode & 0o777 == 0o644
    assert not save(str(path), service())
    assert save(str(path), service(writable=None, open="Anything."))
    assert path.read_text() == text(service(writable=None, open="Anything."))


def test_a_unit_of_somebody_else_is_left_alone(tmp_path):
    path = tmp_path / NAME
    path.write_text("[Service]\nExecStart=/bin/true\n")
    with pytest.raises(Conflicted, match="not ours"):
        save(str(path), service())
    assert path.read_text() == "[Service]\nExecStart=/bin/true\n"
