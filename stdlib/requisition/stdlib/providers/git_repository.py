"""One git repository, spoken to so that nothing but git itself runs: no hook, no configuration of machine or
user, no prompt, no transport that was not asked for (git(1), gitprotocol-v2(5), git-config(1) `protocol.allow`).

A repository that belongs to another user is refused by git (`safe.directory`), since its own configuration
could name programs.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from requisition.stdlib.action import ActionError
from requisition.stdlib.host import CommandResult, Host

SAFE_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.askPass": "",
    "credential.helper": "",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "protocol.ext.allow": "never",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "advice.detachedHead": "false",
}
ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oStrictHostKeyChecking=yes",
}
_SCHEME = re.compile(r"(https?|ssh|git|file)://([^/]*)(/.*)?\Z")
_SCP = re.compile(r"([A-Za-z0-9_][\w.+-]*@)?[A-Za-z0-9][\w.-]*:(?!:)[^-].*\Z")
_BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\Z|\.lock\Z|\.\Z|^[-/.]")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?\Z")
_SHOWN = 400


class Head(NamedTuple):
    """Where a work tree stands: commit ("" before the first), branch ("" when detached), changed paths."""

    commit: str
    branch: str
    changed: tuple[str, ...]


class Remote(NamedTuple):
    """An address that was checked, and the transports that it may use (`GIT_ALLOW_PROTOCOL`)."""

    url: str
    protocols: str


def remote(url: str) -> Remote:
    """Check an address. Local ones are allowed when they are asked for, never behind a distant one. Raises
    ActionError."""
    if any(ord(c) <= 32 or ord(c) == 127 for c in url):
        raise ActionError(f"the address {url!r} holds a space or control character")
    if url.startswith("/"):
        return Remote(url, "file")
    parts = _SCHEME.match(url)
    if parts is None:
        if _SCP.match(url) and "://" not in url:
            return Remote(url, "ssh")
        raise ActionError(f"the address {url!r} is none that git may use here", "https, ssh, git, file, or a path")
    scheme, place = parts[1], parts[2]
    user, _, machine = place.rpartition("@")
    if ":" in user or (user and scheme != "ssh"):
        raise ActionError("the address holds a user name or password", "an order is no place for it; use ssh keys")
    if scheme == "file":
        return Remote(url, "file")
    if not machine or machine.startswith("-") or user.startswith("-"):
        raise ActionError(f"the address {url!r} names no machine")
    return Remote(url, "https" if scheme == "https" else f"https:{scheme}")


def check_ref(ref: str) -> None:
    """Raises ActionError for what is no name of a branch or tag (git-check-ref-format(1))."""
    if not ref or len(ref) > 200 or _BAD_REF.search(ref):
        raise ActionError(f"{ref!r} is no name of a branch or tag")


def check_commit(commit: str) -> None:
    """Raises ActionError for anything but a whole object name."""
    if not _COMMIT.match(commit):
        raise ActionError(f"{commit!r} is no commit", "give all 40 (or 64) hex digits, as git rev-parse prints them")


def asked_outside(host: Host, url: Remote, ref: str, tag: bool, timeout: int) -> str:
    """The commit that a branch or tag of a remote names now ("" for its HEAD). Changes nothing."""
    return Repository(host, "/", url, timeout).remote_commit(url.url, ref, tag)


class Repository:
    """The repository whose work tree is at `path` below the target root. `timeout` in milliseconds, 0: any."""

    def __init__(self, host: Host, path: str, source: Remote | None, timeout: int) -> None:
        self.host = host
        self.path = path
        self._timeout = timeout
        self._real = host.real_path(path)
        self._environment = {
            **ENVIRONMENT,
            "GIT_ALLOW_PROTOCOL": source.protocols if source else "",
            "GIT_CEILING_DIRECTORIES": self._real.rstrip("/").rpartition("/")[0] or "/",
        }

    def exists(self) -> bool:
        """Whether there is one."""
        return self.host.stat(f"{self.path.rstrip('/')}/.git") is not None

    def ask(self, *words: str, ok: Iterable[int] = (0,), stdin: bytes = b"") -> CommandResult:
        """Run git to look. Raises ActionError with git's own words."""
        done = self.host.ask(
            self._command(words), env=self._environment, stdin=stdin, timeout_ms=self._timeout or 86_400_000
        )
        return checked(done, words, ok)

    def run(self, *words: str, settings: Iterable[str] = (), env: dict[str, str] | None = None) -> CommandResult:
        """Run git to change something. Raises ActionError with git's own words."""
        done = self.host.run(
            self._command(words, settings), env={**self._environment, **(env or {})}, timeout_ms=self._timeout
        )
        return checked(done, words, (0,))

    def clone(self, url: str, branch: str) -> None:
        """Make the repository, its work tree still empty."""
        chosen = ["--branch", branch] if branch else []
        words = ["clone", "--quiet", "--no-checkout", "--no-local", "--template=", "--origin=origin", *chosen]
        done = self.host.run(
            ["git", *settings_of(()), *words, "--", url, self._real],
            env=self._environment,
            timeout_ms=self._timeout,
        )
        checked(done, words, (0,))

    def head(self, *, submodules: bool = False, untracked: bool = False) -> Head:
        """Where it stands, by one `git status`."""
        words = ["--untracked-files=all", "--ignored=matching"] if untracked else ["--untracked-files=no"]
        ignored = "none" if submodules else "all"
        done = self.ask("status", "--porcelain=v2", "--branch", "-z", f"--ignore-submodules={ignored}", *words)
        commit = branch = ""
        changed = []
        for line in done.stdout.decode("utf-8", "replace").split("\0"):
            if line.startswith("# branch.oid "):
                commit = line[13:] if _COMMIT.match(line[13:]) else ""
            elif line.startswith("# branch.head "):
                branch = "" if line[14:] == "(detached)" else line[14:]
            elif line[:2] in ("1 ", "2 ", "u ", "? ", "! "):
                changed.append(line.split(" ", _FIELDS[line[0]])[-1])
        return Head(commit, branch, tuple(changed))

    def origin(self) -> str:
        """The address of its remote `origin`; "" without one."""
        return self.ask("config", "--get", "remote.origin.url", ok=(0, 1)).stdout.decode().removesuffix("\n")

    def remote_commit(self, source: str, ref: str, tag: bool) -> str:
        """What a branch or tag of a remote names now. `tag`: the tag, where both have that name."""
        wanted = [f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/tags/{ref}^{{}}"] if ref else ["HEAD"]
        done = self.ask("ls-remote", "--quiet", "--", source, *wanted)
        rows = (line.split("\t", 1) for line in done.stdout.decode("utf-8", "replace").splitlines())
        found = {name: commit for commit, name in rows}
        chosen = [wanted[2], wanted[1]] if ref else wanted
        if ref and not tag:
            chosen.insert(0, wanted[0])
        commit = next((found[name] for name in chosen if name in found), "")
        if not _COMMIT.match(commit):
            raise ActionError(f"{source} has no {'tag' if tag else 'branch or tag'} {ref!r}", "check the name")
        return commit

    def has(self, commit: str) -> bool:
        """Whether a commit is here."""
        return self.ask("cat-file", "-e", f"{commit}^{{commit}}", ok=(0, 1, 128)).status == 0

    def object_of(self, name: str) -> str:
        """The object that a full name (`refs/tags/v1`, with `^{commit}` its commit) stands for; "" for none."""
        done = self.ask("rev-parse", "--verify", "--quiet", "--end-of-options", name, ok=(0, 1, 128))
        return done.stdout.decode().strip() if done.status == 0 else ""

    def contains(self, outer: str, commit: str) -> bool:
        """Whether `commit` is `outer` or one of its ancestors."""
        return self.ask("merge-base", "--is-ancestor", commit, outer, ok=(0, 1)).status == 0

    def commits_beside(self, *words: str, known: Iterable[str]) -> bool:
        """Whether `words` (of git-rev-list) reach a commit that neither remotes nor `known` do."""
        negative = "".join(f"^{one}\n" for one in known).encode()
        return bool(self.ask("rev-list", "--max-count=1", *words, "--stdin", stdin=negative).stdout.strip())

    def update_submodules(self) -> None:
        """Bring submodules to what the commit says, and theirs."""
        self.run("submodule", "--quiet", "update", "--init", "--recursive", "--checkout")

    def _command(self, words: Iterable[str], settings: Iterable[str] = ()) -> list[str]:
        return ["git", "-C", self._real, *settings_of(settings), *words]


_FIELDS = {"1": 8, "2": 9, "u": 10, "?": 1, "!": 1}


def settings_of(more: Iterable[str]) -> list[str]:
    """Words of a git command: the safe settings, and more, each as `key=value`."""
    pairs = [*(f"{key}={value}" for key, value in SAFE_SETTINGS.items()), *more]
    return [word for pair in pairs for word in ("-c", pair)]


def checked(done: CommandResult, words: Iterable[str], ok: Iterable[int]) -> CommandResult:
    """What git answered. Raises ActionError with git's own words for a status that is not in `ok`."""
    if done.status in ok:
        return done
    text = done.stderr.decode("utf-8", "replace").strip()[-_SHOWN:] or f"it ended with status {done.status}"
    hint = ""
    if "dubious ownership" in text:
        text, hint = "the repository belongs to another user", "apply as that user, or give the folder to this one"
    elif "could not read Username" in text or "Permission denied (publickey" in text:
        hint = "use an ssh address whose key this machine has, or a public one"
    elif "unable to access" in text or "Could not resolve" in text or "Connection" in text:
        hint = "check the address and the network, then apply again"
    raise ActionError(f"git {next(iter(words))}: {text}", hint)
