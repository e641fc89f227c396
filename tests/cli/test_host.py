import pytest

from requisition.cli.host import Host, parse_host
from requisition.schemas.diagnostic import BadInput


@pytest.mark.parametrize(
    "url",
    [
        "web",
        "http://web",
        "ssh://",
        "ssh://-oProxyCommand=x",
        "ssh://a b",
        "ssh://a:0",
        "ssh://a:99999",
        "ssh://h/a;b",
        "ssh://-l@h",
    ],
)
def test_what_does_not_name_a_host_is_told_and_never_given_to_ssh(url):
    with pytest.raises(BadInput, match="does not name a host"):
        parse_host(url)


def test_every_part_of_a_url_has_its_place_in_the_vector():
    host = parse_host("ssh://web@[::1]:2222/opt/bin/plan-runtime")
    assert host == Host("[::1]", "web", 2222, "/opt/bin/plan-runtime")
    assert host.command()[-8:] == ["-l", "web", "-p", "2222", "--", "::1", "/opt/bin/plan-runtime", "remote"]
    assert host.url == "ssh://web@[::1]:2222/opt/bin/plan-runtime"


def test_nothing_in_the_vector_asks_ssh_to_trust_more_than_its_own_settings_do():
    vector = parse_host("ssh://web").command()
    assert "BatchMode=yes" in vector
    assert not [word for word in vector if "HostKey" in word or "KnownHosts" in word]
