"""Trees of packages as bare remotes on this machine, made fast: one git process a commit."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}


class BareRemote:
    """A bare repository that tests commit to without a work tree."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.url = f"file://{folder}"
        if not folder.exists():
            for name in ("objects", "refs"):
                (folder / name).mkdir(parents=True)
            (folder / "HEAD").write_text("ref: refs/heads/main\n")
            (folder / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = true\n")

    def git(self, *words: str, stdin: bytes = b"") -> str:
        command = ["git", "-C", str(self.folder), *words]
        done = subprocess.run(command, env=_ENVIRONMENT, input=stdin, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().strip()

    def commit(
        self,
        files: Mapping[str, str],
        branch: str = "main",
        *,
        links: Mapping[str, str] | None = None,
        message: str = "more",
    ) -> str:
        """Add files (mode 120000 for links) to a branch; the commit."""
        entries = [("100644", name, text) for name, text in files.items()]
        entries += [("120000", name, text) for name, text in (links or {}).items()]
        stream = b"commit refs/heads/%s\ncommitter A <a@example.org> 1700000000 +0000\n" % branch.encode()
        stream += _data(message)
        head = self.folder / "refs/heads" / branch
        if head.exists():
            stream += b"from refs/heads/%s^0\n" % branch.encode()
        for mode, name, text in entries:
            stream += f"M {mode} inline {name}\n".encode() + _data(text)
        self.git("fast-import", "--quiet", "--force", stdin=stream)
        return head.read_text().strip()

    def sign(self, key: Path, branch: str = "main") -> str:
        """One more commit on a branch, signed by an OpenSSH key; the commit."""
        settings = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={key}", "-c", "user.name=A", "-c", "user.email=a@x"]
        tree = self.git("rev-parse", f"{branch}^{{tree}}")
        made = self.git(*settings, "commit-tree", "-S", "-p", branch, "-m", "signed", tree)
        self.git("update-ref", f"refs/heads/{branch}", made)
        return made

    def tag(self, name: str, commit: str = "main") -> None:
        self.git("tag", name, commit)


def _data(text: str) -> bytes:
    return b"data %d\n%s\n" % (len(text.encode()), text.encode())


def manifest(name: str, children: Mapping[str, str | Mapping[str, object]] | None = None, **more: object) -> str:
    """A package.yaml; children by path: an address, or all of the entry's fields."""
    text = f"name: {json.dumps(name)}\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in more.items())
    if children:
        text += "children:\n"
        for path, child in children.items():
            fields = {"url": child} if isinstance(child, str) else dict(child)
            text += f"  - {json.dumps({'path': path, **fields})}\n"
    return text


def generated(folder: Path, count: int) -> tuple[Path, list[BareRemote]]:
    """A tree of `count` packages in three levels below a root folder, and their remotes; each installs five files."""
    remotes = folder / "remotes"
    middle = max(1, round(count**0.5))
    leaves = [f"leaf-{number:05d}" for number in range(count - middle)]
    made = [_package(remotes / f"{name}.git", manifest(name, version="1"), name) for name in leaves]
    groups = {}
    for number in range(middle):
        name = f"group-{number:04d}"
        children = {f"parts/{leaf}": f"file://{remotes}/{leaf}.git" for leaf in leaves[number::middle]}
        made.append(_package(remotes / f"{name}.git", manifest(name, children, version="1"), name))
        groups[f"vendor/{name}"] = made[-1].url
    root = folder / "root"
    root.mkdir()
    (root / "package.yaml").write_text(manifest("root", groups, target_root="/"))
    return root, made


def _package(folder: Path, text: str, name: str) -> BareRemote:
    remote = BareRemote(folder)
    files = {f"files/{number}.conf": f"{name} {number}\n" * 20 for number in range(5)}
    lines = "".join(f'    plan.file.copy("{file}", "/{name}/{file}")\n' for file in files)
    script = f'def install(package, phase):\n    plan.file.mkdir("/{name}/files")\n{lines}'
    remote.commit({"package.yaml": text, "package.star": script, **files})
    return remote
