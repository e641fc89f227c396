"""Managers whose tools this machine does not have: their code over recorded transcripts, whose heads say where the form
of each comes from."""

import pytest

from requisition.stdlib.providers.package.apk import Apk
from requisition.stdlib.providers.package.brew import Brew
from requisition.stdlib.providers.package.dnf import Dnf
from requisition.stdlib.providers.package.manager import (
    MANAGERS,
    Installed,
    Options,
    Site,
    Step,
    Trouble,
    Wish,
    manager_named,
)
from requisition.stdlib.providers.package.pacman import Pacman
from support.transcripts import Transcript

HERE = Site()
THERE = Site("/mnt")
PLAIN = Options()


def test_dnf_tells_what_is_there_and_what_can_be_had():
    host = Transcript("dnf.txt")
    assert Dnf().installed(host, HERE) == {
        "bash": Installed("5.1.8-6.el9"),
        "glibc": Installed("2.34-60.el9", auto=True),
        "nginx-filesystem": Installed("1:1.20.1-14.el9", auto=True),
        "old": Installed("2.0-1.el9"),
        "user": Installed("1.0-1.el9"),
    }
    offers = Dnf().offers(host, HERE, ["nginx", "nope"])
    assert offers == {"nginx": ["1:1.20.1-16.el9", "1:1.20.1-14.el9", "1:1.20.1-9.el9"]}
    assert len(host.asked) == 2


def test_dnf_foresees_from_its_table_whatever_the_width():
    host = Transcript("dnf.txt")
    put = [Wish("nginx", "1:1.20.1-16.el9"), Wish("bash", "5.1.8-9.el9")]
    assert Dnf().foresee(host, HERE, put, [], PLAIN) == [
        Step("nginx", "", "1:1.20.1-16.el9"),
        Step("bash", "5.1.8-6.el9", "5.1.8-9.el9"),
        Step("nginx-filesystem", "1:1.20.1-14.el9", "1:1.20.1-16.el9"),
        Step("a-package-whose-name-is-very-long-indeed", "", "3.2-1.el9"),
    ]
    assert Dnf().foresee(host, HERE, [Wish("old", "1.0-1.el9")], [], PLAIN) == [Step("old", "2.0-1.el9", "1.0-1.el9")]
    gone = [Step("old", "2.0-1.el9", ""), Step("user", "1.0-1.el9", ""), Step("glibc", "2.34-60.el9", "")]
    assert Dnf().foresee(host, HERE, [], ["old"], PLAIN) == gone
    with pytest.raises(Trouble, match="dnf knows no package nope") as trouble:
        Dnf().foresee(host, HERE, [Wish("nope", "1.0-1")], [], PLAIN)
    assert trouble.value.names == ("nope",)


def test_dnf_changes_with_as_few_commands_as_it_can_and_marks_in_the_words_of_its_version():
    host = Transcript("dnf.txt")
    Dnf().change(host, HERE, [Wish("nginx", "1:1.20.1-16.el9"), Wish("old", "1.0-1.el9")], ["user"], PLAIN)
    Dnf().mark(host, HERE, ["bash"], auto=True)
    weak = "--assumeyes --setopt=install_weak_deps=False"
    assert host.ran == [
        f"dnf {weak} remove -- user",
        f"dnf {weak} downgrade -- old-1.0-1.el9",
        f"dnf {weak} install -- nginx-1:1.20.1-16.el9",
        "dnf --assumeyes mark remove -- bash",
    ]


def test_dnf_5_is_understood_too():
    host = Transcript("dnf5.txt")
    put = [Wish("bash", "5.2.32-1.fc40"), Wish("nginx", "1:1.26.2-1.fc40")]
    assert Dnf().foresee(host, HERE, put, [], Options(recommends=True)) == [
        Step("bash", "5.2.26-3.fc40", "5.2.32-1.fc40"),
        Step("nginx", "", "1:1.26.2-1.fc40"),
        Step("nginx-core", "", "1:1.26.2-1.fc40"),
    ]
    assert Dnf().installed(host, HERE)["glibc"].auto
    Dnf().mark(host, HERE, ["bash"], auto=False)
    assert host.ran == ["dnf --assumeyes mark user -- bash"]


def test_apk_tells_what_is_there_wanted_and_held_and_what_can_be_had():
    host = Transcript(
        "apk.txt", {"/etc/apk/world": b"alpine-baselayout\nmusl=1.2.4-r2\nnginx-mod-http-geoip2@edge\n!gone\n"}
    )
    found = Apk().installed(host, HERE)
    assert found["alpine-baselayout"] == Installed("3.4.3-r2")
    assert found["musl"] == Installed("1.2.4-r2", held=True)
    assert found["zlib"] == Installed("1.2.13-r1", auto=True)
    assert found["nginx-mod-http-geoip2"] == Installed("1.24.0-r6")
    assert Apk().offers(host, HERE, ["zlib", "nginx"]) == {"zlib": ["1.3.1-r0", "1.3-r2"], "nginx": ["1.24.0-r16"]}


def test_apk_foresees_by_its_own_simulation():
    host = Transcript("apk.txt", {"/etc/apk/world": b"musl-utils\n"})
    put = [Wish("nginx", "1.24.0-r16"), Wish("zlib", "1.3.1-r0"), Wish("musl", "1.2.4-r1")]
    assert Apk().foresee(host, HERE, put, [], PLAIN) == [
        Step("zlib", "1.2.13-r1", "1.3.1-r0"),
        Step("pcre2", "", "10.42-r2"),
        Step("nginx", "", "1.24.0-r16"),
        Step("musl", "1.2.4-r2", "1.2.4-r1"),
    ]
    assert Apk().foresee(host, HERE, [], ["musl-utils"], PLAIN) == [Step("musl-utils", "1.2.4-r2", "")]
    assert [step.name for step in Apk().foresee(host, HERE, [], ["zlib"], PLAIN)] == [
        "zlib", "musl-utils", "nginx-mod-http-geoip2",
    ]  # fmt: skip
    with pytest.raises(Trouble, match="apk knows no package nope") as trouble:
        Apk().foresee(host, HERE, [Wish("nope", "1.0-r0")], [], PLAIN)
    assert trouble.value.names == ("nope",)


def test_apk_puts_a_version_without_holding_it_and_says_what_stays():
    host = Transcript("apk.txt", {"/etc/apk/world": b""})
    Apk().change(host, THERE, [Wish("nginx", "1.24.0-r16")], ["a"], Options(purge=True))
    apk = "apk --root /mnt --no-interactive --no-progress"
    assert host.ran == [f"{apk} del --purge -- a", f"{apk} add -- nginx=1.24.0-r16", f"{apk} add -- nginx"]
    with pytest.raises(Trouble, match="zlib stays, because nginx-mod-http-geoip2 needs it"):
        Apk().change(host, HERE, [], ["zlib"], PLAIN)
    Apk().hold(host, HERE, ["musl"], held=True)
    assert host.ran[-1] == "apk --no-interactive --no-progress add -- musl=1.2.4-r2"


def test_pacman_tells_foresees_and_refuses_what_it_no_longer_has():
    host = Transcript("pacman.txt")
    assert Pacman().installed(host, HERE)["p7zip"] == Installed("1:17.05-2", auto=True)
    assert Pacman().offers(host, HERE, ["nginx", "nope"]) == {"nginx": ["1.26.2-1"]}
    assert Pacman().foresee(host, HERE, [Wish("nginx", "1.26.2-1")], [], PLAIN) == [
        Step("mailcap", "", "2.1.54-2"),
        Step("nginx", "1.26.1-1", "1.26.2-1"),
    ]
    assert Pacman().foresee(host, HERE, [], ["p7zip"], PLAIN) == [
        Step("p7zip", "1:17.05-2", ""),
        Step("lutris", "0.5.16-1", ""),
    ]
    assert Pacman().foresee(host, HERE, [], ["lutris"], PLAIN) == [Step("lutris", "0.5.16-1", "")]
    with pytest.raises(Trouble, match=r"pacman no longer has nginx 1\.26\.1-1"):
        Pacman().change(host, HERE, [Wish("nginx", "1.26.1-1")], [], PLAIN)
    assert host.ran == []
    with pytest.raises(Trouble, match="only be changed as root"):
        Pacman().change(host, HERE, [], ["nginx"], PLAIN)
    Pacman().mark(host, THERE, ["nginx"], auto=True)
    assert host.ran[-1] == "pacman -D --root /mnt --noconfirm --noprogressbar --color=never --asdeps -- nginx"


def test_brew_tells_foresees_and_changes():
    host = Transcript("brew.txt")
    assert Brew().installed(host, HERE) == {
        "wget": Installed("1.21.4", held=True),
        "libidn2": Installed("2.3.7", auto=True),
    }
    assert Brew().offers(host, HERE, ["wget", "nope", "jq"]) == {"wget": ["1.24.5_1"], "jq": ["1.7.1"]}
    put = [Wish("wget", "1.24.5_1"), Wish("jq", "1.7.1")]
    assert Brew().foresee(host, HERE, put, [], PLAIN) == [
        Step("wget", "1.21.4", "1.24.5_1"),
        Step("jq", "", "1.7.1"),
        Step("oniguruma", "", "6.9.9"),
    ]
    assert Brew().foresee(host, HERE, [], ["libidn2"], PLAIN) == [
        Step("libidn2", "2.3.7", ""),
        Step("wget", "1.21.4", ""),
    ]
    Brew().change(host, HERE, put, [], PLAIN)
    Brew().hold(host, HERE, ["wget"], held=False)
    assert host.ran == ["brew upgrade --formula wget", "brew install --formula jq", "brew unpin wget"]
    with pytest.raises(Trouble, match="on the machine itself only"):
        Brew().installed(host, THERE)


ORDERS = {
    "dnf": "1~rc1-1 1-1 1^git1-1 1.0-1 1.0a-1 1.0.1-1 1.2-1 1.10-1 1.10-2 1:0.1-1",
    "pacman": "1.0a-1 1.0b-1 1.0beta-1 1.0p-1 1.0pre-1 1.0rc-1 1.0-1 1.0.a-1 1.0.1-1 1.2-1 1.10-1 1.10-2 1:0.1-1",
    "apk": "1.0_alpha1-r0 1.0_rc2-r0 1.0-r0 1.0-r3 1.0_p1-r0 1.0a-r0 1.0.1-r0 1.2-r0 1.10-r0",
    "pip": "1.0.dev1 1.0a1.dev1 1.0a1 1.0b2 1.0rc1 1.0 1.0+local.1 1.0.post1 1.0.1 1.10 1!0.1",
    "npm": "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 1.2.0 1.10.0",
    "brew": "1.2 1.2_1 1.2_5 1.2.1 1.10 2",
}


@pytest.mark.parametrize("name", ORDERS)
def test_each_manager_has_the_order_of_versions_that_its_tool_has(name):
    compare, versions = manager_named(name).compare, ORDERS[name].split()
    for at, one in enumerate(versions):
        for to, other in enumerate(versions):
            assert (compare(one, other) > 0) == (at > to), (one, other)
            assert (compare(one, other) == 0) == (at == to), (one, other)
    for bad in ("", "-1", "a b", "--option"):
        with pytest.raises(ValueError, match="is no"):
            compare(bad, bad)


@pytest.mark.parametrize("name", MANAGERS)
def test_no_name_of_a_package_can_be_taken_for_anything_else(name):
    manager = manager_named(name)
    assert manager.valid_name("nginx")
    for bad in ("", "-x", "--root=/", "a b", "a\n", "a;b", "*", "../x", "/x", "a=1", "a>1", "https://x/y", "!a", "a,b"):
        assert not manager.valid_name(bad), bad
