"""The files of one cached repository, without starting git: what is made, marked, looked at and swept (`cache.py`)."""

import contextlib
import os
from urllib.parse import quote, unquote

KNOWN = "refs/known"
_HEAD = "ref: refs/heads/none\n"
_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"


def known_name(name: str) -> str:
    """Where a ref of the remote is kept: one flat name, since branches `a` and, later, `a/b` exclude each other."""
    return f"{KNOWN}/{quote(name, safe='')}"


def skeleton(path: str) -> None:
    """An empty bare repository (gitrepository-layout(5)), without starting git."""
    for name in ("objects/pack", "objects/info", "refs/known", "kept"):
        os.makedirs(f"{path}/{name}", mode=0o700)
    for name, text in (("HEAD", _HEAD), ("config", _CONFIG)):
        with open(f"{path}/{name}", "x", encoding="ascii") as file:
            file.write(text)


def sound(path: str) -> bool:
    """Whether it is as it was made: a loss of power may have emptied its files."""
    return read(f"{path}/HEAD") == _HEAD.strip() and read(f"{path}/config") == _CONFIG.strip()


def sweep(path: str) -> None:
    """Remove what a killed fetch left; its processes are gone, for they held the lock."""
    for folder in ("", "refs/known", "objects/pack"):
        for name in entries(f"{path}/{folder}"):
            if name.endswith(".lock") or name.startswith(("tmp_", ".tmp-")):
                os.unlink(f"{path}/{folder}/{name}")


def kept(path: str, commit: str) -> bool:
    """Whether a commit was marked by `keep`."""
    return os.path.exists(f"{path}/kept/{commit}")


def keep(path: str, commit: str) -> None:
    """Mark a commit: all that belongs to it is here."""
    with open(f"{path}/kept/{commit}", "wb"):
        pass


def known_names(path: str) -> list[str]:
    """The refs of the remote that are kept."""
    return [unquote(name) for name in entries(f"{path}/{KNOWN}")]


def entries(path: str) -> list[str]:
    """The names in a folder; none when there is none."""
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def read(path: str) -> str:
    """A short file's text without white space around it; "" when there is none."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), open(path, encoding="ascii") as file:
        return file.read().strip()
    return ""
