"""The unit of the daemon: how much of the machine it needs."""

from requisition.services.unit import text
from requisition.services.watch.config import Watch
from requisition.services.watch.unit import roots_of, service


def watch(root):
    return Watch(name="x", url="/srv/x.git", root=root)


def test_roots_are_known_when_every_watch_names_one():
    assert roots_of([watch("/srv/b"), watch("/srv/a"), watch("/srv/b")]) == ("/srv/a", "/srv/b")
    assert roots_of([watch("/srv/a"), watch("")]) is None
    assert roots_of([watch("/srv/a"), watch("/")]) is None
    assert roots_of([]) is None


def test_the_daemon_writes_to_its_state_and_the_roots_of_its_watches():
    unit = text(service(("/usr/bin/plan",), ("/var/lib/requisition",), [watch("/srv/a")]))
    assert "ReadWritePaths=-/var/lib/requisition\nReadWritePaths=-/srv/a\n" in unit
    assert "ProtectSystem" not in text(service(("/usr/bin/plan",), ("/var/lib/requisition",), [watch("/")]))
