"""delivery.yaml means what it says, and every mistake is told with its place."""

import os
from pathlib import Path

import pytest

from requisition.schemas.diagnostic import BadInput, Refused
from requisition.services.delivery.config import PAUSED, Delivery, default_path
from requisition.services.delivery.reading import load, parse

FULL = """\
version: "1"
roots: [/srv/runs, /home/lab]
destinations:
  nas:
    kind: rsync
    host: backup@nas.example
    port: 2222
    path: /volume1/runs/
    identity: /etc/requisition/id
    workers: 3
    names: windows
    bandwidth:
      limit: 100Mbit/s
      zone: Europe/Zurich
      windows:
        - {days: [mon, fri], from: "08:00", to: "18:30", limit: 2MiB/s}
        - {from: "22:00", to: "06:00", limit: unlimited}
        - {days: [sun], from: "00:00", to: "24:00", limit: paused}
    verify: {stream_limit: 2GB}
  cloud: {kind: rclone, remote: "box:runs/here"}
  disk: {kind: local, path: /mnt/archive}
gate: {soft: [empty], off: [secrets], max_file: 1TB, manifest: run.json}
retry: {delays: [1s, 2m]}
cleanup: {enabled: true, passes: 3, min_age: 2d, interval: 6h}
listen: "127.0.0.1:8780"
"""
LEAST = "version: '1'\nroots: [/srv]\ndestinations: {disk: {kind: local, path: /mnt}}\n"


def findings(text: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        parse(text, "d.yaml")
    return [f"{one.where} {one.what}" for one in caught.value.diagnostics]


def with_destination(line: str) -> str:
    return f"version: '1'\nroots: [/srv]\ndestinations:\n  x: {line}\n"


def test_what_is_written_is_what_is_meant_in_seconds_and_bytes() -> None:
    found = parse(FULL, "d.yaml")
    nas = found.destination("nas")
    assert (nas.host, nas.port, nas.path, nas.workers, nas.names) == (
        "backup@nas.example", 2222, "/volume1/runs", 3, "windows",
    )  # fmt: skip
    assert nas.bandwidth.limit == 12_500_000
    work, night, sunday = nas.bandwidth.windows
    assert (work.days, work.start, work.end, work.limit) == (frozenset({0, 4}), 480, 1110, 2 << 20)
    assert (night.days, night.end, night.limit) == (frozenset(range(7)), 360, None)
    assert (sunday.end, sunday.limit) == (1440, PAUSED)
    assert nas.verify.stream_limit == 2_000_000_000
    assert found.gate.max_file == 10**12
    assert found.gate.max_total == 0
    assert found.retry.delays == (1.0, 120.0)
    assert (found.cleanup.passes, found.cleanup.min_age, found.cleanup.interval) == (3, 172_800.0, 21_600.0)


def test_what_is_left_out_deletes_nothing_and_is_patient() -> None:
    found = parse(LEAST, "d.yaml")
    assert found.cleanup.enabled is False
    assert found.retry.delays == (30.0, 120.0, 480.0, 1800.0, 7200.0)
    assert found.destination("disk").bandwidth.limit is None
    assert found == Delivery(found.roots, found.destinations, where="d.yaml")


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        ("{kind: rsync, host: '-oProxyCommand=x', path: /p}", "4:26 '-oProxyCommand=x' is no host"),
        ("{kind: rsync, path: /p}", "4:6 'host' is missing for rsync"),
        ("{kind: rsync, host: h, path: -p}", "4:35 '-p' is no path"),
        ("{kind: rsync, host: h, path: a/../b}", "4:35 'a/../b' is no path"),
        ("{kind: local, path: here}", "4:26 'here' is not absolute"),
        ("{kind: local, path: /p, remote: 'a:b'}", "4:38 'remote' means nothing for local"),
        ("{kind: rclone, remote: ':sftp,host=x:p'}", "4:29 ':sftp,host=x:p' is no remote"),
        ("{kind: local, path: /p, workers: 0}", "4:39 workers: 0"),
        ("{kind: local, path: /p, worker: 1}", "4:30 unknown key 'worker'"),
        ("{kind: local, path: /p, bandwidth: {limit: fast}}", "4:49 'fast' is not a rate"),
        ("{kind: local, path: /p, bandwidth: {zone: Mars/Base}}", "4:48 there is no time zone 'Mars/Base'"),
        ("{kind: local, path: /p, bandwidth: {windows: [{from: '25:00', to: '07:00', limit: paused}]}}",
         "4:59 '25:00' is no time of day"),
        ("{kind: local, path: /p, bandwidth: {windows: [{from: '24:00', to: '07:00', limit: paused}]}}",
         "4:59 a window cannot begin at 24:00"),
        ("{kind: local, path: /p, bandwidth: {windows: [{days: [monday], from: '01:00', to: '07:00', limit: paused}]}}",
         "4:59 'monday' is no day"),
        ("{kind: ftp, path: /p}", "4:13 destinations.x.kind: Invalid enum value 'ftp'"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_line_and_column(line: str, finding: str) -> None:
    assert f"d.yaml:{finding}" in findings(with_destination(line))


def test_all_mistakes_are_told_at_once() -> None:
    text = (
        LEAST.replace("/mnt", "mnt")
        + "cleanup: {passes: 0, min_age: soon}\nlisten: here\ngate: {hard: [a], off: [a]}\n"
    )
    told = "\n".join(findings(text))
    for part in ("not absolute", "passes: 0", "not a duration", "no address", "stands under 'hard', too"):
        assert part in told


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "delivery.yaml"
    file.write_text(LEAST)
    file.chmod(0o666)
    with pytest.raises(Refused):
        load(str(file))
    file.chmod(0o644)
    assert load(str(file)).where == str(file)


def test_a_destination_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(BadInput) as caught:
        parse(FULL, "d.yaml").destination("nass")
    assert caught.value.diagnostics[0].next == "one of nas, cloud, disk"


def test_the_file_lies_where_the_users_other_files_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_path() == os.fspath(tmp_path / "requisition/delivery.yaml")
