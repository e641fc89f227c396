"""What each command answers to an order file that somebody changed, in both forms: the table of docs/security.md."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from requisition.cli.main import cli
from requisition.schemas import orderfile
from support.script import environment

REFUSED, BAD = 3, 4
READING = ("show", "diff", "graph", "sign")
DECIDING = ("verify", "apply")
SCRIPT = """\
def install(package, phase):
    plan.file.write("hello there\\n", "/greeting")
    plan.file.copy("data", "/data")
"""


def swap(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new, 1)

    return change


def in_signature(data: bytes) -> bytes:
    """Another character in the middle of the signature, and still well formed."""
    return another(data, data.rindex(b"sig: " if data.startswith(b"#") else b"\xa3sig") + 20)


def another(data: bytes, at: int) -> bytes:
    """The same with another character there."""
    return data[:at] + (b"A" if data[at : at + 1] != b"A" else b"B") + data[at + 1 :]


def forged(path: Path) -> None:
    """Changed by somebody who knows the format: every digest in the file is right."""
    sealed = orderfile.read(str(path))
    payload = sealed.payload.replace(b"hello there", b"hello theRe")
    orderfile.write(str(path), structs.replace(sealed, payload=payload))
    sealed.close()


FORMS = {
    "yaml": {
        "a value": (swap(b"hello there", b"hello theRe"), REFUSED, REFUSED),
        "the checksum": (swap(b"checksum: sha256:", b"checksum: sha256:0"), REFUSED, REFUSED),
        "a signature": (in_signature, 0, REFUSED),
        "forged": (forged, 0, REFUSED),
        "a comment": (lambda data: data + b"# fine\n", BAD, BAD),
        "a space": (swap(b"serial: 7", b"serial:  7"), BAD, BAD),
        "no YAML": (swap(b"order:\n", b"order: [\n"), BAD, BAD),
        "cut short": (lambda data: data[: len(data) // 2], BAD, BAD),
    },
    "plan": {
        "a value": (swap(b"hello there", b"hello theRe"), REFUSED, REFUSED),
        "a brace": (swap(b'{"context"', b'["context"'), REFUSED, REFUSED),
        "the digest": (lambda data: another(data, data.rindex(b"\xa6sha256") + 20), REFUSED, REFUSED),
        "a signature": (in_signature, 0, REFUSED),
        "forged": (forged, 0, REFUSED),
        "the header": (swap(b"\xa7payload", b"\xa7paYload"), BAD, BAD),
        "the magic": (swap(b"RQPLAN", b"RQPLAM"), BAD, BAD),
        "cut short": (lambda data: data[: len(data) // 2], BAD, BAD),
        "longer": (lambda data: data + b"x", BAD, BAD),
    },
}
CASES = [(form, name) for form, changes in FORMS.items() for name in changes]


def plan(*words: str) -> int:
    return cli.main(list(words), prog_name="plan", standalone_mode=False) or 0


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an order in both forms and as a bundle, signed by a key that its policy trusts."""
    folder = tmp_path_factory.mktemp("signed")
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, folder)
        (folder / "root").mkdir()
        (folder / "package").mkdir()
        (folder / "package/package.yaml").write_text("name: demo\n")
        (folder / "package/package.star").write_text(SCRIPT)
        (folder / "package/data").write_text("data of the package\n")
        plan("key", "new", "ann")
        plan("trust", "init")
        for name in ("order.yaml", "order.plan", "bundle.plan"):
            more = ["--bundle"] if name == "bundle.plan" else []
            plan("build", "package", "-o", name, "--serial", "7", "--root", "", *more)
            plan("sign", name, "--key", "ann")
    return folder


def enter(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.chdir(folder)
    for name, value in environment(folder).items():
        patch.setenv(name, value)


@pytest.fixture
def folder(signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(signed, tmp_path / "copy")
    enter(monkeypatch, tmp_path / "copy")
    return tmp_path / "copy"


def arguments(command: str, name: str, folder: Path) -> list[str]:
    more = {"diff": ["bundle.plan"], "sign": ["--key", "ann"], "apply": ["--root", str(folder / "root")]}
    return [command, name, *more.get(command, [])]


@pytest.mark.parametrize(("form", "name"), CASES)
def test_each_command_answers_an_altered_order_by_what_was_altered(form: str, name: str, folder: Path) -> None:
    change, reading, deciding = FORMS[form][name]
    path = folder / f"order.{form}"
    if change is forged:
        forged(path)
    else:
        path.write_bytes(change(path.read_bytes()))
    found = {command: plan(*arguments(command, path.name, folder)) for command in (*DECIDING, *READING)}
    assert found == dict.fromkeys(DECIDING, deciding) | dict.fromkeys(READING, reading)
    assert not list((folder / "root").iterdir())


@pytest.mark.parametrize("name", ["order.yaml", "order.plan", "bundle.plan"])
def test_what_nobody_altered_is_taken_by_every_command(name: str, folder: Path) -> None:
    found = {command: plan(*arguments(command, name, folder)) for command in (*DECIDING, *READING)}
    assert found == dict.fromkeys(found, 0)


def test_contents_that_a_bundle_carries_are_looked_at_when_it_is_verified_and_applied(folder: Path) -> None:
    path = folder / "bundle.plan"
    path.write_bytes(path.read_bytes().replace(b"data of the package", b"data of the Package"))
    assert (plan("verify", path.name), plan("apply", path.name), plan("show", path.name)) == (BAD, BAD, 0)
    assert not list((folder / "root").iterdir())
