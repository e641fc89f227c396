"""What apt and dpkg print, read from recorded transcripts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.stdlib.providers.package.apt_output import (
    as_asked,
    parse_auto,
    parse_installed,
    parse_policy,
    parse_simulation,
    trouble_in,
)
from requisition.stdlib.providers.package.manager import Installed, Step

QUERY = """\
adduser\tall\t3.134\tii \n\
curl\tamd64\t7.88.1-10\thi \n\
gone\tall\t1.0\trc \n\
half\tamd64\t2.0\tiU \n\
libc6\tamd64\t2.36-9\tii \n\
libc6\ti386\t2.36-8\tii \n\
torn\tamd64\t2.0\tiHR\n\
wait\tamd64\t1\tiW \n\
foreign\ti386\t1\tii \n\
never\tall\t\tun \n\
"""
STATES = """\
Package: libc6
Architecture: amd64
Auto-Installed: 1

Package: adduser
Architecture: amd64
Auto-Installed: 1

Package: curl
Architecture: amd64
Auto-Installed: 0
"""
POLICY = """\
nginx:
  Installed: 1.22.0-1
  Candidate: 1.22.1-9
  Version table:
     1.24.0-1 -1
        -10 http://deb.debian.org/debian experimental/main amd64 Packages
     1.24.0-2 100
        100 http://deb.debian.org/debian bookworm-backports/main amd64 Packages
     1.22.1-9 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
        500 http://security.debian.org bookworm-security/main amd64 Packages
 *** 1.22.0-1 100
        100 /var/lib/dpkg/status
mail-transport-agent:
  Installed: (none)
  Candidate: (none)
  Version table:
libc6:i386:
  Installed: (none)
  Candidate: 2.36-9
  Version table:
     2.36-9 500
        500 http://deb.debian.org/debian bookworm/main i386 Packages
"""
SIMULATION = """\
Reading package lists...
The following packages will be REMOVED:
  cc
Remv cc [1.0]
Purg rest [1:2]
Inst aa [1.0] (2.0 Debian:12.5/stable [amd64]) []
Inst libc6:i386 (2.36-9 Debian:12.5/stable, Debian-Security:12 [i386])
Conf aa (2.0 Debian:12.5/stable [amd64])
"""


def test_states_of_packages_are_told_apart():
    found = parse_installed(QUERY, parse_auto(STATES), "amd64")
    assert {name: one for name, one in found.items() if ":" not in name} == {
        "adduser": Installed("3.134", auto=True),
        "curl": Installed("7.88.1-10", held=True),
        "gone": Installed(""),
        "half": Installed("2.0", broken=True),
        "libc6": Installed("2.36-9", auto=True),
        "torn": Installed("", broken=True),
        "wait": Installed("1"),
        "foreign": Installed("1"),
    }


@pytest.mark.parametrize("lines", [QUERY.splitlines(), QUERY.splitlines()[::-1]])
def test_a_plain_name_means_the_own_architecture(lines):
    found = parse_installed("\n".join(lines), frozenset(), "amd64")
    assert found["libc6"] == found["libc6:amd64"] == Installed("2.36-9")
    assert found["libc6:i386"] == Installed("2.36-8")


def test_versions_that_can_be_had_are_listed_as_apt_prefers_them():
    assert parse_policy(POLICY) == {"nginx": ["1.22.1-9", "1.24.0-2"], "libc6:i386": ["2.36-9"]}


def test_a_simulation_is_read_as_steps():
    steps = parse_simulation(SIMULATION)
    assert steps == (
        Step("cc", "1.0", ""),
        Step("rest", "1:2", ""),
        Step("aa", "1.0", "2.0"),
        Step("libc6:i386", "", "2.36-9"),
    )
    assert [step.name for step in as_asked(steps, ["aa:amd64", "libc6:i386"])] == [
        "cc",
        "rest",
        "aa:amd64",
        "libc6:i386",
    ]


@pytest.mark.parametrize(
    ("said", "told", "hint"),
    [
        ("E: Unable to locate package nope", "there is no package nope", "check the name"),
        ("E: Version '9' for 'aa' was not found", "aa cannot be had in version 9", "refresh"),
        ("E: dpkg was interrupted, you must manually run 'dpkg --configure -a'", "interrupted", "dpkg --configure -a"),
        ("E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (apt)", "process 7", "lock_timeout"),
        ("E: Could not open lock file /x - open (13: Permission denied)\nE: are you root?", "only", "as root"),
        ("W: GPG error: ... NO_PUBKEY 648ACFD622F3D138", "key 648ACFD622F3D138", "signed-by"),
        ("E: The repository 'http://x y Release' is not signed.", "http://x y Release is not signed", "signed"),
        ("E: Failed to fetch http://x  Hash Sum mismatch", "not what its index promises", "another mirror"),
        ("E: Failed to fetch http://x  Could not connect to x:80", "the mirror cannot be reached", "network"),
        ("E: Unable to correct problems, you have held broken packages.", "cannot be had together", "versions"),
        ("E: You don't have enough free space in /var/cache/apt/archives/.", "no space left", "free"),
        ("dpkg: error processing package tool (--configure):", "a script of the package tool failed", "dpkg"),
        ("something else", "it went wrong: something else", "look"),
        ("", "it went wrong: it does not say why", "look"),
    ],
)  # fmt: skip
def test_each_kind_of_trouble_says_what_to_do(said, told, hint):
    trouble = trouble_in(said, "it went wrong")
    assert told in str(trouble)
    assert hint in trouble.hint


@given(st.text())
def test_no_output_breaks_the_readers(text):
    parse_auto(text)
    parse_policy(text)
    parse_simulation(text)
    trouble_in(text, "it went wrong")
