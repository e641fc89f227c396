"""watch.yaml: every mistake is told with its line, durations are words, and secrets stand there by reference only."""

import json
from importlib.resources import files

import jsonschema
import msgspec
import pytest

from requisition.schemas import strictyaml
from requisition.schemas.diagnostic import BadInput, Refused
from requisition.services.watch import config, schema

GOOD = """\
version: "1"
interval: 2m
watches:
  web:
    url: https://git.example.org/web.git
    refs: [main, "release/*", "tag:v*"]
    path: packages/web
    interval: 30s
    root: /srv/web
    features: [+tls, -debug]
    settings: {port: "8080"}
    trust: commit
    signers: /etc/requisition/signers
    environment: {https_proxy: "http://proxy.example.org:3128"}
    secrets: {token: file:/etc/requisition/token}
    on_failure: pause
    pause_after: 5
    retry_after: 1m
    retry_limit: 1h
    timeout: 10m
    notify: [{url_file: /etc/requisition/hook, on: [failure]}]
"""


def test_a_whole_file_is_read_and_durations_are_seconds():
    found = config.parse(GOOD, "watch.yaml")
    web = found.watches["web"]
    assert (found.interval, web.name, web.interval, web.retry_limit, web.timeout) == (120, "web", 30, 3600, 600)
    assert msgspec.json.decode(msgspec.json.encode(web), type=config.Watch) == web


@pytest.mark.parametrize(
    ("line", "where", "words"),
    [
        ("    url: ext::sh", "5:10", "none that git may use"),
        ("    url: https://me:pw@example.org/x", "5:10", "user name or password"),
        ("    url: --upload-pack=evil", "5:10", "none that git may use"),
        ("    refs: [-x]", "6:11", "no name of a branch"),
        ("    refs: []", "6:11", "no branch or tag"),
        ("    path: ../etc", "7:11", "no plain path"),
        ("    path: /etc", "7:11", "no plain path"),
        ("    interval: 30", "8:15", "expected a time as 30s"),
        ("    interval: 0s", "8:15", "expected a time as 30s"),
        ("    interval: fast", "8:15", "expected a time as 30s"),
        ("    root: srv", "9:11", "no absolute path"),
        ("    features: [tls]", "10:15", "write +name"),
        ('    settings: {"": x}', "11:15", "is not empty"),
        ("    trust: comit", "12:12", "Invalid enum value"),
        ("    trust: tag", "6:11", "takes only tags"),
        ("    signers: ''", "13:14", "signers go with"),
        ("    environment: {LD_PRELOAD: /x.so}", "14:18", "which program runs"),
        ("    environment: {GIT_SSH_COMMAND: evil}", "14:18", "which program runs"),
        ("    environment: {A-B: x}", "14:18", "no variable"),
        ("    secrets: {token: hunter2}", "15:14", "found a value, expected file:/PATH"),
        ("    secrets: {token: prompt}", "15:14", "expected file:/PATH"),
        ("    secrets: {token: 'fd:3'}", "15:14", "expected file:/PATH"),
        ("    on_failure: stop", "16:17", "Invalid enum value"),
        ("    pause_after: 0", "1:1", "1 to 1000"),
        ("    retry_limit: 3d", "19:18", "within a day"),
        ("    timout: 5m", "20:5", "did you mean 'timeout'"),
        ("    notify: [{}]", "21:14", "missing required field `url_file`"),
        ("    notify: [{url_file: 'https://hunter2'}]", "21:13", "the absolute path of the file"),
        ("    name: other", "21:11", "the key is the name"),
    ],
)
def test_a_mistake_is_told_with_its_line(line, where, words):
    lines = GOOD.splitlines()
    number = int(where.split(":")[0]) - 1
    key = line.split(":")[0]
    index = next((i for i, known in enumerate(lines) if known.startswith(f"{key}:") and i > 2), number)
    lines[index] = line
    with pytest.raises(BadInput) as caught:
        config.parse("\n".join(lines), "watch.yaml")
    told = "\n".join(map(str, caught.value.diagnostics))
    assert words in told
    if where != "1:1":
        assert f"watch.yaml:{where}:" in told
    assert "hunter2" not in told


def test_all_mistakes_are_told_at_once():
    with pytest.raises(BadInput) as caught:
        config.parse('version: "2"\nwatches:\n  a: {url: x, interval: 1}\n  b: {url: /r, root: r}\n', "w")
    assert len(caught.value.diagnostics) == 4


def test_the_socket_takes_the_same_fields_and_refuses_the_same_mistakes():
    assert config.watch_of("web", {"url": "/srv/web.git", "interval": "5m"}).interval == 300
    with pytest.raises(BadInput, match="unknown field `command`"):
        config.watch_of("web", {"url": "/srv/web.git", "command": ["rm"]})
    with pytest.raises(BadInput, match="expected a time"):
        config.watch_of("web", {"url": "/srv/web.git", "interval": 5})
    with pytest.raises(BadInput, match="is no name"):
        config.watch_of("../web", {"url": "/srv/web.git"})


def test_the_schema_did_not_drift_and_accepts_what_is_accepted():
    assert files("requisition.services.watch").joinpath("json/watch.schema.json").read_bytes() == schema.schema()
    jsonschema.validate(strictyaml.load(GOOD, "watch.yaml")[0], json.loads(schema.schema()))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(
            {"version": "1", "watches": {"a": {"url": "/r", "interval": 30}}}, json.loads(schema.schema())
        )


def test_a_file_that_others_may_write_is_refused(tmp_path):
    path = tmp_path / "watch.yaml"
    path.write_text(GOOD)
    path.chmod(0o666)
    with pytest.raises(Refused, match="others may change"):
        config.load(str(path))
    path.chmod(0o644)
    assert config.load(str(path)).watches["web"].path == "packages/web"
