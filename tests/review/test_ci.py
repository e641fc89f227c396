"""What docs/ci gives to others, run: the checks, the comment, the post to an API, the hook of git."""

import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from support.script import environment

CI = Path(__file__).parents[2] / "docs/ci"
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
ORDERS = """[[order]]
file = "orders/web.yaml"
package = "web"
build = ["--root", "/", "--target", "linux/debian/amd64"]
trust = "trust.yaml"
"""
PACKAGE = 'def install(package, phase):\n    plan.file.copy("a.conf", "/etc/a.conf")\n'


class Repository:
    """A repository with a package, and a signed order of it, committed."""

    def __init__(self, folder: Path):
        self.folder = folder / "work"
        self.env = environment(folder) | dict.fromkeys(
            ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL", "GIT_AUTHOR_NAME"), "t@example.org"
        )
        self.env |= {"GIT_COMMITTER_NAME": "t", "GIT_CONFIG_NOSYSTEM": "1"}
        (self.folder / "web").mkdir(parents=True)
        (self.folder / "orders").mkdir()
        self.write("orders.toml", ORDERS)
        self.write("web/package.star", PACKAGE)
        self.write("web/package.yaml", 'name: web\nversion: "1"\n')
        self.write("web/a.conf", "one\n")
        self.run("plan key new ann -q && plan trust add ann $XDG_CONFIG_HOME/requisition/keys/ann.pub -q")
        self.run("cp $XDG_CONFIG_HOME/requisition/trust.yaml trust.yaml && git init -q -b main")
        self.build()
        self.run("git add . && git commit -q -m one")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def build(self) -> None:
        self.run("plan build web -o orders/web.yaml --root / --target linux/debian/amd64 -q")
        self.run("plan sign orders/web.yaml --key ann -q")

    def run(self, command: str, *, good: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["sh", "-c", command], cwd=self.folder, env=self.env | env, capture_output=True, text=True, check=False
        )
        assert not good or done.returncode == 0, done.stdout + done.stderr
        return done

    def review(self, words: str, *, good: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run(f"{sys.executable} {CI}/review.py {words}", good=good, **env)


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path)


def test_an_order_that_its_package_builds_and_that_is_signed_passes_and_any_other_is_told(repository):
    assert repository.review("check").stderr == "looked at orders/web.yaml\n"
    repository.write("web/a.conf", "two\n")
    assert "it is not what web builds now" in repository.review("check", good=False).stderr
    repository.run("plan build web -o orders/web.yaml --root / --target linux/debian/amd64 -q")
    told = repository.review("check", good=False)
    assert told.returncode == 1
    assert "it is not signed as trust.yaml wants" in told.stderr
    repository.write("web/package.star", "def install(package, phase):\n    plan.nothing()\n")
    assert "it cannot be built:\nerror: " in repository.review("check", good=False).stderr
    os.remove(repository.folder / "orders/web.yaml")
    repository.write("web/package.star", PACKAGE)
    assert "it is not committed" in repository.review("check", good=False).stderr


def test_the_comment_says_what_changes_since_a_revision_with_contents(repository):
    repository.write("web/a.conf", "two\n")
    repository.build()
    said = repository.review("comment HEAD").stdout
    assert said.startswith("<!-- requisition: orders -->\n### `web-linux-debian-amd64.order`")
    assert "**1 node changed, 1 input changed**" in said
    assert "- ✅ ed25519 `ann` `counts as author`" in said
    assert "  -one\n  +two\n" in said
    assert "error: " in repository.review("comment --output=x", good=False).stderr


def test_a_change_of_the_trust_policy_does_not_decide_on_itself(repository):
    repository.run("plan key new eve -q")
    eve = repository.run("plan key show eve").stdout.strip()
    repository.write("trust.yaml", f"keys:\n  eve: {{key: {eve}, roles: [author]}}\nrequire: {{author: 1}}\n")
    assert "it is not signed as trust.yaml wants" in repository.review("check", good=False).stderr
    repository.review("check HEAD")
    repository.run("plan build web -o orders/web.yaml --root / --target linux/debian/amd64 -q")
    repository.run("plan sign orders/web.yaml --key eve -q")
    repository.review("check")
    assert "it is not signed as trust.yaml wants" in repository.review("check HEAD", good=False).stderr


def test_the_comment_on_a_new_order_adds_all_of_it(repository):
    repository.run("git rm -q --cached orders/web.yaml && git commit -q -m none")
    assert "**1 node added, 1 input changed**" in repository.review("comment HEAD").stdout


def test_the_hook_of_git_stops_a_commit_whose_order_is_another(repository):
    repository.run(f"cp {CI}/pre-commit {CI}/review.py .git/hooks/")
    repository.write("web/a.conf", "two\n")
    stopped = repository.run("git commit -q -a -m two", good=False)
    assert stopped.returncode == 1
    assert "it is not what web builds now" in stopped.stderr
    repository.build()
    repository.run("git commit -q -a -m two")


class Api(BaseHTTPRequestHandler):
    """As much of an issue API as comments need."""

    def do_GET(self):
        page = int(self.path.partition("&page=")[2])
        self.answer(self.server.comments[(page - 1) * 100 : page * 100])

    def do_POST(self):
        self.server.comments.append({"id": len(self.server.comments), **self.body()})
        self.answer({})

    do_PATCH = do_POST

    def body(self):
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, value):
        if self.headers["Authorization"] != "Bearer secret-token":
            self.send_error(403)
            return
        self.server.asked.append((self.command, self.path))
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def api():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.comments, server.asked = [{"id": number, "body": "hello"} for number in range(150)], []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_comment_is_posted_once_and_put_in_its_place_after_that(tmp_path, api):
    (tmp_path / "orders.md").write_text("<!-- requisition: orders -->\nnew\n")
    (tmp_path / "event.json").write_text(json.dumps({"pull_request": {"number": 7}}))
    env = os.environ | {
        "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
        "GITHUB_REPOSITORY": "someone/machines",
        "GITHUB_API_URL": f"http://127.0.0.1:{api.server_port}",
        "GITHUB_TOKEN": "secret-token",
        "no_proxy": "127.0.0.1",
    }
    for _ in range(2):
        subprocess.run([sys.executable, CI / "review.py", "post", tmp_path / "orders.md"], env=env, check=True)
    comments = "/repos/someone/machines/issues/7/comments"
    changes = [(method, path) for method, path in api.asked if method != "GET"]
    assert changes == [("POST", comments), ("PATCH", "/repos/someone/machines/issues/comments/150")]
    env["GITHUB_TOKEN"] = "of-a-fork"
    words = [sys.executable, CI / "review.py", "post", tmp_path / "orders.md"]
    refused = subprocess.run(words, env=env, check=False, capture_output=True, text=True)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: GET http://127.0.0.1:")
    assert "403" in refused.stderr
    assert "of-a-fork" not in refused.stderr


def test_the_action_and_the_hooks_are_well_formed_and_run_only_what_is_here():
    action = yaml.safe_load((CI / "action.yml").read_text())
    steps = action["runs"]["steps"]
    words = [line.split() for step in steps for line in step.get("run", "").splitlines()]
    used = {one[2] for one in words if one[:1] == ["python"] and one[1].endswith('/review.py"')}
    assert used == {"check", "comment", "post"}
    assert not any("${{" in step.get("run", "") for step in steps), "values come in by the environment"
    (hook,) = yaml.safe_load((CI / "pre-commit-hooks.yaml").read_text())
    assert hook["entry"] == "python3 docs/ci/review.py check"
