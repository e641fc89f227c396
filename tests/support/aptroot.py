"""A Debian repository made in the test, signed with a throw-away key, and target roots that use it: dpkg's database
of their own, packages without scripts, so that the machine that tests is not changed."""

import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.orders import OrderBuilder
from support.process import Answer, request
from support.session import ask

MISSING = next((tool for tool in ("apt-get", "dpkg-deb", "dpkg-scanpackages", "gpg") if not shutil.which(tool)), "")


@dataclass(frozen=True)
class Deb:
    """One package: `fields` are further lines of its control file; `conf` the content of /etc/NAME.conf."""

    name: str
    version: str
    fields: str = ""
    conf: str = ""


DEBS = (
    Deb("app", "1.0", "Depends: lib (>= 1)"),
    Deb("app", "1.5", "Depends: lib (>= 1)"),
    Deb("app", "2.0", "Depends: lib (>= 2)"),
    Deb("lib", "1.0"),
    Deb("lib", "2.0"),
    Deb("tool", "1.0", conf="from the package\n"),
    Deb("tool", "1.1", conf="from the newer package\n"),
    Deb("extra", "0.9", "Depends: lib\nRecommends: nice"),
    Deb("nice", "1.0"),
    Deb("foe", "1.0", "Conflicts: tool"),
)


class Repository:
    """A folder of packages with its index, signed."""

    def __init__(self, folder: Path):
        self.folder = folder / "repo"
        self.keys = folder / "keys"
        self.key = folder / "key.gpg"
        self.folder.mkdir(parents=True)
        self.keys.mkdir(mode=0o700)
        self._gpg("--quick-gen-key", "repo@example.org", "ed25519", "sign", "never")
        self.key.write_bytes(self._gpg("--export"))
        for deb in DEBS:
            build(deb, self.folder)
        self.index()

    def index(self) -> None:
        """Write Packages, Release and InRelease for what lies there now."""
        packages = subprocess.run(
            ["dpkg-scanpackages", "--multiversion", "."], cwd=self.folder, capture_output=True, check=True
        ).stdout
        files = {"Packages": packages, "Packages.gz": gzip.compress(packages, mtime=0)}
        lines = ["Origin: test", "Suite: test", "Codename: test", "Date: Thu, 01 Jan 2026 00:00:00 UTC", "SHA256:"]
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
            lines.append(f" {hashlib.sha256(content).hexdigest()} {len(content)} {name}")
        release = "\n".join(lines).encode() + b"\n"
        (self.folder / "InRelease").write_bytes(self._gpg("--clearsign", stdin=release))

    def _gpg(self, *arguments: str, stdin: bytes = b"") -> bytes:
        argv = ["gpg", "--batch", "--quiet", "--homedir", str(self.keys), "--passphrase", "", "--pinentry-mode"]
        return subprocess.run([*argv, "loopback", *arguments], input=stdin, capture_output=True, check=True).stdout

    def close(self) -> None:
        """End the agent that gpg started for its key."""
        subprocess.run(["gpgconf", "--homedir", str(self.keys), "--kill", "all"], check=False)


def build(deb: Deb, into: Path) -> Path:
    """Make the .deb of a package."""
    tree = into.parent / "build" / f"{deb.name}_{deb.version}"
    (tree / "DEBIAN").mkdir(parents=True)
    doc = tree / "usr/share/doc" / deb.name
    doc.mkdir(parents=True)
    (doc / "copyright").write_text(f"{deb.name} {deb.version}\n")
    control = f"Package: {deb.name}\nVersion: {deb.version}\nArchitecture: all\nMaintainer: Test <t@example.org>\n"
    (tree / "DEBIAN/control").write_text(f"{control}Description: test\n{deb.fields}\n".replace("\n\n", "\n"))
    if deb.conf:
        (tree / "etc").mkdir()
        (tree / f"etc/{deb.name}.conf").write_text(deb.conf)
        (tree / "DEBIAN/conffiles").write_text(f"/etc/{deb.name}.conf\n")
    path = into / f"{deb.name}_{deb.version}_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, path], check=True, capture_output=True)
    return path


class AptRoot:
    """A target root with nothing installed, and the requests of one who works on it."""

    def __init__(self, folder: Path, repository: Repository, *, lists: bool = True):
        self.folder = folder
        self.root = folder / "root"
        self.state = folder / "state"
        self.orders = 0
        for path in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "var/lib/apt/lists/partial",
                     "var/cache/apt/archives/partial", "var/log/apt", "etc/apt/preferences.d", "etc/apt/sources.list.d"):  # fmt: skip
            (self.root / path).mkdir(parents=True)
        (self.root / "var/lib/dpkg/status").touch()
        self.source(f"[signed-by={repository.key}] file:{repository.folder}")
        if lists:
            self.apt("update")

    def source(self, text: str) -> None:
        """The one line of sources.list."""
        (self.root / "etc/apt/sources.list").write_text(f"deb {text} ./\n")

    def apt(self, *arguments: str) -> str:
        """apt-get, as someone else would use it on this root."""
        root = self.root
        options = (f"Dir={root}", f"Dir::State::status={root}/var/lib/dpkg/status", "DPkg::Chroot-Directory=",
                   f"DPkg::Options::=--root={root}", f"DPkg::Options::=--log={root}/var/log/dpkg.log")  # fmt: skip
        flags = [part for option in options for part in ("-o", option)]
        program = "apt-mark" if arguments[0] in ("auto", "manual", "hold", "unhold", "showauto") else "apt-get"
        yes = ["-y", "-q", "--allow-downgrades"] if program == "apt-get" else []
        argv = [program, *flags, *yes, *arguments]
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(argv, capture_output=True, text=True, env=env, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def packages(self) -> dict[str, str]:
        """What is there: name → version, with the state where it is not simply installed."""
        found = subprocess.run(
            ["dpkg-query", f"--root={self.root}", "-W", "-f", "${Package} ${Version} ${db:Status-Abbrev}\n"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        rows = [line.split() for line in found.splitlines()]
        return {name: version if state == "ii" else f"{version} {state}" for name, version, state in rows}

    def auto(self) -> list[str]:
        """What is there only because other packages need it."""
        return self.apt("showauto").split()

    def whole(self) -> tuple[dict[str, str], list[str], list[str]]:
        """Everything that a rollback must bring back: versions, marks, files of packages."""
        files = [str(path.relative_to(self.root)) for top in ("usr", "etc") for path in self.root.glob(f"{top}/**/*")]
        return self.packages(), self.auto(), sorted(file for file in files if file != "usr")

    def builder(self, package: str = "demo") -> OrderBuilder:
        """An order to fill with nodes."""
        self.orders += 1
        return OrderBuilder(self.folder / f"package{self.orders}", self.root, package=package, serial=self.orders)

    def install(self, *names: str, **slots) -> OrderBuilder:
        """An order that installs packages."""
        order = self.builder()
        for name in names:
            self.want(order, name, **slots)
        return order

    @staticmethod
    def want(order: OrderBuilder, name: str, action: str = "install", **fields) -> str:
        """Add one node on a package; returns its id."""
        extra = {key: fields.pop(key) for key in ("phase", "needs", "retry") if key in fields}
        ident = f"{name}{len(order.nodes)}"
        return order.node(f"package.{action}", name=ident, slots={"name": name, "manager": "apt"} | fields, **extra)

    def run(self, verb: str, order: OrderBuilder | str = "", **fields) -> Answer:
        """Through the real runtime, in this process."""
        path = order.write() if isinstance(order, OrderBuilder) else order
        return ask(request(verb, self.state, path, **fields))


@pytest.fixture(scope="module")
def repository():
    """apt reads it as another user, so it is in a folder that everyone may enter."""
    folder = Path(tempfile.mkdtemp(prefix="apt-"))
    folder.chmod(0o755)
    made = Repository(folder)
    yield made
    made.close()
    shutil.rmtree(folder)


@pytest.fixture
def machine(repository):
    folder = Path(tempfile.mkdtemp(prefix="apt-"))
    folder.chmod(0o755)
    yield AptRoot(folder, repository)
    shutil.rmtree(folder)
