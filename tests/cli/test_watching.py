"""`plan watch`, end to end: the real daemon as a process, real repositories, real applies into a scratch root."""

import hmac
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from requisition.stdlib.control import Answered, ask
from support.ear import Ear
from support.sshd import free_port
from support.watchcommand import Command
from support.watched import Watched, package, writes


@pytest.fixture
def desk(tmp_path):
    made = Command(tmp_path)
    yield made
    made.close()


@pytest.fixture
def repo(tmp_path):
    return Watched(tmp_path)


def entry(repo, **fields):
    """A watch in watch.yaml."""
    given = {"url": repo.url, "root": str(repo.root), "retry_after": "100ms", **fields}
    return f"  {repo.name}: {json.dumps(given)}"


def http_get(address, path, **headers):
    connection = http.client.HTTPConnection(address, timeout=30)
    with closing(connection):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_a_watch_from_the_first_commit_to_the_end_of_the_daemon(desk, repo):
    first = repo.push(writes("one"))
    desk.configure("interval: 100ms", "watches:", entry(repo))
    assert "1 watch, no mistakes" in desk.plan("check")
    desk.start()
    desk.good(first)
    assert repo.site() == "one"
    second = repo.push(writes("two"))
    desk.good(second)
    assert repo.site() == "two"
    assert f"✓ web  {repo.url}  main {second[:12]} good" in desk.plan("list", "--detailed-exitcode")
    page = desk.plan("show", "web")
    assert "fetch done, check done, build done, apply done, receipt done" in page
    assert f"created at {first[:12]}" in page
    log = desk.plan("logs", "web")
    assert "── apply" in log
    assert "file.write:/site" in log
    assert "stands in watch.yaml" in desk.plan("remove", "web", code=5)
    assert desk.plan("stop") == "✓ the daemon ends\n"
    assert desk.daemon.wait(60) == 0
    assert not desk.socket.exists()
    desk.daemon = None


def test_a_watch_added_at_the_socket_is_applied_and_outlives_the_daemon_even_when_that_is_killed(desk, repo, tmp_path):
    first = repo.push(writes("one"))
    desk.configure("interval: 100ms")
    desk.start()
    assert "nothing is watched yet" in desk.plan("list")
    assert desk.plan("add", "web", repo.bare, "--root", repo.root) == "✓ web is watched\n"
    desk.good(first)
    assert "there is a watch 'web' already" in desk.plan("add", "web", repo.bare, code=5)
    assert desk.end(signal.SIGKILL) == -signal.SIGKILL
    assert desk.socket.exists()
    second = repo.push(writes("two"))
    desk.start()
    desk.good(second)
    assert [run["hash"] for run in desk.shown()["runs"]] == [second, first]
    assert desk.plan("remove", "web") == "✓ web is watched no more\n"
    assert desk.json("list") == []
    assert repo.site() == "two"


def test_pausing_resuming_and_running_again(desk, repo):
    first = repo.push(writes("one"))
    desk.configure("interval: 100ms", "watches:", entry(repo))
    desk.start()
    desk.good(first)
    desk.plan("pause", "web", "--reason", "lunch")
    second = repo.push(writes("two"))
    desk.until(lambda: desk.ref()["seen"] == second)
    assert "paused: lunch" in desk.plan("list", "--detailed-exitcode", code=2)
    assert "web is paused" in desk.plan("now", "web", code=5)
    assert repo.site() == "one"
    desk.plan("resume", "web")
    desk.good(second)
    (repo.root / "site").write_text("changed by hand")
    assert desk.plan("now", "web", "main") == "✓ web: refs/heads/main run\n"
    desk.until(lambda: len(desk.shown()["runs"]) == 3 and desk.shown()["runs"][0]["ended"])
    assert desk.shown()["runs"][0]["status"] == "failed"  # what somebody changed by hand is not overwritten unasked
    assert "has seen no refs/heads/absent" in desk.plan("now", "web", "absent", code=4)


def test_a_changed_file_is_taken_over_when_it_is_said_and_a_broken_one_is_not(desk, repo, tmp_path):
    first = repo.push(writes("one"))
    other = Watched(tmp_path, "other")
    second = other.push(writes("two"))
    desk.configure("interval: 1h", "watches:", entry(repo))
    desk.start()
    desk.good(first)
    desk.configure("interval: 1h", "watches:", entry(repo), entry(other, interval="soon"))
    assert "expected a time" in desk.plan("reload", code=4)
    assert [one["kept"]["watch"]["name"] for one in desk.json("list")] == ["web"]
    desk.configure("interval: 1h", "watches:", entry(repo), entry(other))
    assert desk.plan("reload") == "✓ read anew: other\n"
    desk.good(second, "other")
    desk.configure("interval: 1h", "watches:", entry(other, root=str(tmp_path / "elsewhere")))
    desk.daemon.send_signal(signal.SIGHUP)
    desk.until(lambda: "watch.yaml is read anew: other, web" in desk.said)
    assert [one["kept"]["watch"]["name"] for one in desk.json("list")] == ["other"]
    (tmp_path / "elsewhere").mkdir()
    third = other.push(writes("three"))
    desk.plan("now")
    desk.good(third, "other")
    assert (tmp_path / "elsewhere/site").read_text() == "three"
    assert repo.site() == "one"
    assert desk.json("reload") == [{"changed": []}]


def test_a_log_is_followed_to_the_end_of_its_run(desk, repo, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    repo.push(package(f'plan.shell.exec(["sh", "-c", "cat {gate}"])'))
    desk.configure("interval: 100ms", "watches:", entry(repo))
    desk.start()
    desk.until(lambda: desk.ref().get("running"))
    words = ["plan", "watch", "logs", "web", "--follow", "--socket", str(desk.socket)]
    follower = subprocess.Popen(words, env=desk.environment, stdout=subprocess.PIPE)
    with follower.stdout as stream:
        assert stream.readline() == "── fetch\n".encode()
        gate.write_text("go on")
        text = stream.read().decode()
    assert follower.wait(60) == 0
    assert text.endswith("good\n")


def test_a_webhook_or_a_person_wakes_a_poll_long_before_its_time(desk, repo, tmp_path):
    first = repo.push(writes("one"))
    secret, port = tmp_path / "secret", free_port()
    secret.write_text("a secret of some length")
    secret.chmod(0o600)
    desk.configure("interval: 1d", f"listen: 127.0.0.1:{port}", f"webhook_secret: {secret}", "watches:", entry(repo))
    desk.start()
    desk.good(first)
    second = repo.push(writes("two"))
    body = json.dumps({"repository": {"clone_url": repo.url}}).encode()
    digest = hmac.digest(b"a secret of some length", body, "sha256").hex()
    headers = {"Content-Type": "application/json", "X-GitHub-Event": "push", "X-GitHub-Delivery": "1",
               "X-Hub-Signature-256": f"sha256={digest}"}  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with closing(connection):
        connection.request("POST", "/hooks/github", body, headers)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == (202, {"outcome": "woken", "watches": 1})
    desk.good(second)
    third = repo.push(writes("three"))
    assert desk.plan("now") == "✓ 1 watch: their remotes are asked\n"  # as a person does without one
    desk.good(third)
    assert http_get(f"127.0.0.1:{port}", "/metrics")[0] == 404  # they were not asked for


def test_metrics_and_health_are_there_when_they_are_asked_for(desk, repo):
    first = repo.push(writes("one"))
    address = f"127.0.0.1:{free_port()}"
    desk.configure("interval: 100ms", f"metrics: {address}", "watches:", entry(repo))
    desk.start()
    desk.good(first)
    desk.until(lambda: 'requisition_watch_runs_total{status="good"} 1\n' in http_get(address, "/metrics")[1])
    assert json.loads(http_get(address, "/health")[1])["status"] == "ok"
    assert http_get(address, "/health", Host="evil.example")[0] == 403


def test_a_failure_is_told_and_one_who_does_not_listen_changes_nothing(desk, repo, tmp_path):
    with Ear() as ear:
        broken = repo.push("this is no Starlark")
        (tmp_path / "one").write_text(ear.url)
        (tmp_path / "two").write_text(f"http://127.0.0.1:{free_port()}/")
        notify = [{"url_file": f"{tmp_path}/one"}, {"url_file": f"{tmp_path}/two", "on": ["failure", "success"]}]
        desk.configure("interval: 100ms", "watches:", entry(repo, notify=notify, retries=0))
        desk.start()
        desk.until(lambda: desk.ref().get("failed") == broken)
        desk.until(lambda: ear.heard)
        fixed = repo.push(writes("fine"))
        desk.good(fixed)
        desk.until(lambda: desk.said.count("a notification failed") == 2)
    assert [(said["status"], said["step"], said["commit"]) for _, _, said in ear.heard] == [("failed", "check", broken)]
    assert [run["status"] for run in desk.shown()["runs"]] == ["good", "failed"]


def test_every_client_speaks_json(desk, repo):
    first = repo.push(writes("one"))
    desk.configure("interval: 100ms", "watches: {}")
    desk.start()
    assert desk.json("add", "web", repo.url, "--root", repo.root, "--interval", "100ms") == [{"watch": "web"}]
    desk.good(first)
    (listed,) = desk.json("list")
    assert listed["kept"]["watch"]["url"] == repo.url
    assert listed["refs"][0]["good"] == first
    (shown,) = desk.json("show", "web")
    assert [step["step"] for step in shown["steps"]] == ["fetch", "check", "build", "apply", "receipt"]
    assert {"line": "── apply"} in desk.json("logs", "web")
    assert desk.json("pause", "web") == [{"paused": "web"}]
    assert desk.json("resume", "web") == [{"resumed": "web"}]
    assert desk.json("now", "web") == [{"runs": ["refs/heads/main"]}]
    assert desk.json("now") == [{"asked": 1}]
    (missing,) = desk.json("show", "absent", code=4)
    assert (missing["type"], missing["what"]) == ("diagnostic", "there is no watch 'absent'")
    assert desk.json("remove", "web") == [{"removed": "web"}]
    assert desk.json("stop") == [{"stopping": True}]
    assert desk.daemon.wait(60) == 0
    desk.daemon = None
    (unanswered,) = desk.json("list", code=1)
    assert unanswered["next"] == "is it running?"


def test_what_a_package_says_cannot_act_upon_the_terminal_of_who_reads_its_log(desk, repo):
    repo.push(package("plan.shell.exec(['sh', '-c', 'printf \"\\\\033]0;owned\\\\007\" >&2; exit 1'])"))
    desk.configure("interval: 100ms", "watches:", entry(repo, retries=0))
    desk.start()
    desk.until(lambda: desk.ref().get("failed"))
    for words in (("logs", "web"), ("show", "web"), ("list",)):
        assert not set("\x1b\x07") & set(desk.plan(*words))
    assert "\x1b" not in desk.said


def test_every_option_of_add_reaches_the_watch_with_whole_paths(desk, tmp_path):
    desk.configure("interval: 1h")
    desk.start()
    (tmp_path / "signers").write_text("")
    desk.plan(
        "add", "web", "/srv/absent.git", "--ref", "main", "--ref", "release/*", "--path", "packages/web",
        "--interval", "5m", "--root", "target", "--trust", "commit", "--signers", "signers", "--feature", "+tls",
        "--set", "port=8080", "--env", "STAGE=test", "--secret", "token=file:secrets/token", "--on-failure", "pause",
        "--pause-after", "2", "--retries", "0", "--on-rewrite", "accept", "--timeout", "10m", "--notify-file", "hook",
    )  # fmt: skip
    assert desk.shown()["listed"]["kept"]["watch"] == {
        "name": "web", "url": "/srv/absent.git", "refs": ["main", "release/*"], "path": "packages/web", "interval": 300,
        "root": f"{tmp_path}/target", "trust": "commit", "signers": f"{tmp_path}/signers", "features": ["+tls"],
        "settings": {"port": "8080"}, "environment": {"STAGE": "test"}, "timeout": 600,
        "secrets": {"token": f"file:{tmp_path}/secrets/token"}, "on_failure": "pause", "pause_after": 2, "retries": 0,
        "on_rewrite": "accept", "notify": [{"url_file": f"{tmp_path}/hook", "on": ["failure", "paused"]}],
    }  # fmt: skip
    desk.until(lambda: desk.shown()["listed"]["remote"]["failures"])
    assert "remote: " in desk.plan("list", "--detailed-exitcode", code=2)
    for words in (("--set", "port"), ("--secret", "token=hunter2"), ("--interval", "often"), ("--ref", "-x")):
        told = desk.plan("add", "other", "/srv/absent.git", *words, code=4)
        assert "hunter2" not in told
    assert "has not run yet" in desk.plan("logs", "web", code=4)


HOSTILE = {
    "a command": {"url": "/srv/x.git", "command": "id"},
    "steps": {"url": "/srv/x.git", "steps": [["id"]]},
    "a transport that runs a program": {"url": "ext::sh -c id"},
    "an option for a url": {"url": "--upload-pack=id"},
    "an option for a ref": {"url": "/srv/x.git", "refs": ["--upload-pack=id"]},
    "a path that leads out": {"url": "/srv/x.git", "path": "../../etc"},
    "a variable that loads code": {"url": "/srv/x.git", "environment": {"LD_PRELOAD": "/tmp/x.so"}},
    "git's own settings": {"url": "/srv/x.git", "environment": {"GIT_SSH_COMMAND": "id"}},
    "a secret instead of its place": {"url": "/srv/x.git", "secrets": {"token": "hunter2"}},
    "the wrong type": {"url": ["/srv/x.git"]},
    "nothing": {},
}


def test_what_is_added_names_a_repository_and_never_what_to_run(desk):
    desk.configure("interval: 1h")
    desk.start()
    for name, fields in HOSTILE.items():
        with pytest.raises(Answered) as caught:
            ask(str(desk.socket), "add", {"name": "x", "watch": fields})
        assert caught.value.exit_code == 4, name
        assert "hunter2" not in str(caught.value)
    for name in ("", "../x", "-x", "a b", "x" * 65, "x\n"):
        with pytest.raises(Answered) as caught:
            ask(str(desk.socket), "add", {"name": name, "watch": {"url": "/srv/x.git"}})
        assert caught.value.exit_code == 4, name
    for verb in ("exec", "eval", "shell", "__init__", "_newest"):
        with pytest.raises(Answered, match="there is no verb"):
            ask(str(desk.socket), verb, {})
    for verb in ("list", "show", "pause", "run", "logs", "remove", "reload", "stop"):
        with pytest.raises(Answered) as caught:
            ask(str(desk.socket), verb, {"name": "x", "extra": 1})
        assert caught.value.exit_code == 4, verb
    assert ask(str(desk.socket), "list", {}) == []


def test_a_second_daemon_is_refused_and_the_first_goes_on(desk, repo, tmp_path):
    desk.configure("interval: 1h", "watches:", entry(repo))
    desk.start()
    assert "the service is already running" in desk.plan("run", code=5)
    assert "the service is already running" in desk.plan("run", "--state", tmp_path / "other", code=5)
    elsewhere = tmp_path / "elsewhere.sock"
    assert "watches with this state already" in desk.plan("run", "--socket", elsewhere, code=5)
    assert not elsewhere.exists()
    assert len(desk.json("list")) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_daemon_that_is_told_to_ends_well_and_tells_systemd(desk, tmp_path, number):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        desk.configure("interval: 1h")
        desk.start(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="30000")
        assert systemd.recv(100) == b"READY=1"
        assert [systemd.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        assert desk.end(number) == 0
        assert b"STOPPING=1" in iter(lambda: systemd.recv(100), b"")
    assert not desk.socket.exists()


def test_mistakes_in_the_file_are_told_with_their_lines_and_no_daemon_starts(desk, repo):
    desk.configure("interval: 5", "watches:", entry(repo, ref=["main"]), "  b: {url: 'ext::sh'}")
    told = desk.plan("check", code=4)
    assert f"{desk.config}:3:11" in told
    assert "unknown key 'ref'" in told
    assert "did you mean 'refs'?" in told
    assert "unknown key 'ref'" in desk.plan("run", code=4)
    assert not desk.socket.exists()


def test_check_finds_files_that_are_named_and_not_there(desk, repo, tmp_path):
    desk.configure(
        f"listen: 127.0.0.1:{free_port()}", f"webhook_secret: {tmp_path}/absent", "watches:",
        entry(repo, secrets={"token": f"file:{tmp_path}/token"}, trust="commit", signers=f"{tmp_path}/signers"),
    )  # fmt: skip
    told = desk.plan("check", code=4)
    assert "the webhook's secret cannot be read" in told
    assert f"web: {tmp_path}/token cannot be read" in told
    assert f"web: {tmp_path}/signers cannot be read" in told


def test_the_unit_is_as_closed_as_the_watches_allow(desk, repo, tmp_path):
    desk.configure("watches:", entry(repo))
    (told,) = desk.json("install", "--to", tmp_path / "units")
    assert told["written"]
    text = Path(told["path"]).read_text()
    if os.geteuid() == 0:
        assert f"ReadWritePaths=-{repo.root}" in text
        assert "ProtectSystem=strict" in text
    assert f"{sys.executable} -P -m requisition.cli.main watch run --config {desk.config} --state" in text
    assert "is as it must be" in desk.plan("install", "--to", tmp_path / "units")
    desk.configure("watches:", entry(repo, root=""))
    assert "is written" in desk.plan("install", "--to", tmp_path / "units")
    assert "ProtectSystem" not in Path(told["path"]).read_text()
    (told,) = desk.json("install", "--user", "--to", tmp_path / "user")
    assert "WantedBy=default.target" in Path(told["path"]).read_text()
