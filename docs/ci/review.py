"""Review of committed orders in CI and before a commit: `orders.toml` names them and how each is built.

    [[order]]
    file = "orders/web.yaml"
    package = "web"
    build = ["--root", "/", "--target", "linux/debian/amd64", "--serial", "3"]
    trust = "trust.yaml"                # optional: who must have signed it

    python review.py check [REVISION]   build each twice, elsewhere too; same bytes? what is committed? signatures?
    python review.py comment REVISION   Markdown: what changes since that revision of the repository
    python review.py post FILE          put that on the pull request that this job is for; again: in its place

With a REVISION the trust policy is the one of that revision: a pull request does not decide who may sign it.

Needs git, tar and `plan` in PATH, and nothing but Python's own library. The exit code is 1 when something is not as it
must be. `post` wants what GitHub gives to a job: GITHUB_EVENT_PATH, GITHUB_REPOSITORY, GITHUB_API_URL, and
GITHUB_TOKEN with `pull-requests: write`.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

MARK = "<!-- requisition: orders -->"
PAGE = 100


class Entry(NamedTuple):
    """One `[[order]]`."""

    file: str
    package: str
    build: tuple[str, ...]
    trust: str


def entries() -> list[Entry]:
    """All of `orders.toml` of this folder."""
    with open("orders.toml", "rb") as file:
        listed = tomllib.load(file)["order"]
    return [Entry(one["file"], one["package"], tuple(one.get("build", ())), one.get("trust", "")) for one in listed]


def check(revision: str) -> int:
    """Reproducibility and signatures of every order; all that is wrong is told."""
    with tempfile.TemporaryDirectory() as before:
        if revision:
            _unpack(revision, before)
        policies = before if revision else "."
        wrong = [f"{one.file}: {what}" for one in entries() for what in _mistakes(one, policies)]
    say(*(f"error: {line}" for line in wrong))
    return 1 if wrong else 0


def _mistakes(one: Entry, policies: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as here, tempfile.TemporaryDirectory(suffix="-elsewhere") as elsewhere:
        for folder, seed in ((here, "1"), (elsewhere, "2")):
            done = _build(one, Path(folder), seed)
            if done.returncode:
                yield f"it cannot be built:\n{done.stdout}{done.stderr}".rstrip()
                return
        if Path(here, "order.plan").read_bytes() != Path(elsewhere, "order.plan").read_bytes():
            yield "two builds of the same files gave different bytes"
        if not Path(one.file).is_file():
            yield f"it is not committed; plan build {one.package} -o {one.file}"
            return
        if _checksum(f"{here}/order.plan") != _checksum(one.file):
            yield f"it is not what {one.package} builds now; build it again, and have it signed"
    if one.trust:
        judged = plan("verify", one.file, "--trust", f"{policies}/{one.trust}")
        if judged.returncode:
            yield f"it is not signed as {one.trust} wants:\n{judged.stdout}{judged.stderr}".rstrip()
    say(f"looked at {one.file}")


def _build(one: Entry, folder: Path, seed: str) -> "subprocess.CompletedProcess[str]":
    """Build a copy of the package, in a folder of its own."""
    source, copy = Path(one.package), folder / Path(one.package).name
    (shutil.copytree if source.is_dir() else shutil.copy)(source, copy)
    return plan("build", str(copy), "-o", f"{folder}/order.plan", *one.build, PYTHONHASHSEED=seed)


def _checksum(file: str) -> str:
    done = plan("show", file, "--json")
    return str(json.loads(done.stdout)["checksum"]) if done.returncode == 0 else done.stderr


def comment(revision: str) -> int:
    """What changes since a revision, in Markdown, one part an order."""
    with tempfile.TemporaryDirectory() as before:
        _unpack(revision, before)
        parts = [MARK]
        for one in entries():
            was = f"{before}/{one.file}" if os.path.exists(f"{before}/{one.file}") else os.devnull
            now = one.file if os.path.exists(one.file) else os.devnull
            trust = ("--trust", f"{before}/{one.trust}") if one.trust else ()
            done = plan("diff", was, now, "--format", "markdown", *trust)
            if done.returncode:
                say(done.stderr)
                return 1
            parts.append(done.stdout)
    print("\n".join(parts))
    return 0


def _unpack(revision: str, folder: str) -> None:
    """The repository as it was, so that the contents of inputs can be compared, too."""
    archive = ["git", "-c", "tar.umask=0022", "archive", "--format=tar", f"--output={folder}/.tar"]
    unpack = ["tar", "--no-same-owner", "-C", folder, "-xf", f"{folder}/.tar"]
    for words in ([*archive, "--end-of-options", revision], unpack):
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"error: {done.stderr.strip()}")


def post(file: str) -> int:
    """Put a comment on the pull request, or in the place of the one that an earlier job put there."""
    text = Path(file).read_text(encoding="utf-8")
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    api, repository = os.environ["GITHUB_API_URL"], os.environ["GITHUB_REPOSITORY"]
    comments = f"{api}/repos/{repository}/issues/{int(event['pull_request']['number'])}/comments"
    earlier = next((one for one in _all(comments) if str(one.get("body", "")).startswith(MARK)), None)
    if earlier is None:
        _ask("POST", comments, {"body": text})
    else:
        _ask("PATCH", f"{api}/repos/{repository}/issues/comments/{int(earlier['id'])}", {"body": text})
    return 0


def _all(url: str) -> Iterator[dict[str, Any]]:
    page = 1
    while found := _ask("GET", f"{url}?per_page={PAGE}&page={page}"):
        yield from found
        if len(found) < PAGE:
            return
        page += 1


def _ask(method: str, url: str, body: dict[str, str] | None = None) -> Any:
    headers = {"Authorization": f"Bearer {os.environ['GITHUB_TOKEN']}", "Accept": "application/vnd.github+json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except OSError as error:  # HTTP errors are, too
        raise SystemExit(f"error: {method} {url}: {error}") from error


def plan(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run `plan`."""
    return subprocess.run(["plan", *words], capture_output=True, text=True, check=False, env={**os.environ, **env})


def say(*lines: str) -> None:
    """Lines for the log; what is printed is the comment alone."""
    for line in lines:
        print(line, file=sys.stderr)


def main(words: list[str]) -> int:
    """One of the three."""
    match words:
        case ["check"]:
            return check("")
        case ["check", revision]:
            return check(revision)
        case ["comment", revision]:
            return comment(revision)
        case ["post", file]:
            return post(file)
    say(__doc__ or "")
    return 4


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
