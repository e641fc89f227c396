"""Secrets that the person gives: read from a file, a descriptor or the terminal, never from arguments."""

import os
from collections.abc import Iterable

import click

from requisition.schemas.diagnostic import BadInput

MAX_SECRET = 1 << 16


def read_secrets(given: Iterable[str]) -> dict[str, str]:
    """`NAME=file:PATH`, `NAME=fd:N`, `NAME=prompt`. One newline at the end is not part of a secret."""
    return dict(_one(text) for text in given)


def _one(text: str) -> tuple[str, str]:
    name, _, place = text.partition("=")
    kind, _, where = place.partition(":")
    if kind == "prompt":
        return name, click.prompt(f"secret {name}", hide_input=True, err=True)
    if kind == "file" and where:
        return name, _text(_read(where, name), name)
    if kind == "fd" and where.isdigit():
        with open(int(where), "rb", closefd=False) as file:
            return name, _text(file.read(MAX_SECRET + 1), name)
    raise BadInput.of(
        f"the secret {name!r} cannot be read",
        why="a value on the command line would be seen by everyone on this machine",
        next=f"give --secret {name}=file:PATH, {name}=fd:N or {name}=prompt",
    )


def _read(path: str, name: str) -> bytes:
    try:
        with open(os.path.expanduser(path), "rb") as file:
            return file.read(MAX_SECRET + 1)
    except OSError as error:
        raise BadInput.of(f"the secret {name!r} cannot be read: {error.strerror}", where=path) from error


def _text(data: bytes, name: str) -> str:
    try:
        if len(data) > MAX_SECRET:
            raise ValueError("it is too large")
        return data.decode("utf-8").removesuffix("\n")
    except ValueError as error:
        raise BadInput.of(f"the secret {name!r} is not text of at most {MAX_SECRET} bytes", why=str(error)) from error
