"""`plan trust`: whose signatures count here."""

import os
from typing import Any

import click
import msgspec

from requisition.cli.output import Output, key_dir
from requisition.runtime.places import config_dir
from requisition.schemas.diagnostic import BadInput


def _path(given: str | None) -> str:
    return given or os.path.join(config_dir(), "trust.yaml")


_file_option = click.option("--file", "path", type=click.Path(dir_okay=False), help="The policy. [default: the user's]")
_role_option = click.option(
    "--role",
    "roles",
    multiple=True,
    default=("author",),
    show_default=True,
    help="What the key may stand for (repeatable).",
)


@click.group()
def trust() -> None:
    """Say whose signatures count here."""


@trust.command()
@click.option("--key", "names", multiple=True, help="Key of yours that counts as author (repeatable). [default: all]")
@_file_option
@click.pass_obj
def init(output: Output, /, names: tuple[str, ...], path: str | None) -> None:
    """Make a policy: one signature of a key of yours is needed."""
    from requisition.schemas.trustfile import KeyEntry

    target = _path(path)
    if os.path.exists(target):
        raise BadInput.of("there is a trust policy already", where=target, next="plan trust show")
    folder = key_dir()
    own = sorted(name.removesuffix(".pub") for name in _listed(folder) if name.endswith(".pub"))
    chosen = names or tuple(own)
    if not chosen:
        raise BadInput.of("you have no key yet", where=folder, next="plan key new NAME makes one")
    found = {}
    for name in chosen:
        try:
            with open(f"{folder}/{name}.pub", encoding="utf-8") as file:
                found[name] = KeyEntry(file.read(1 << 16).strip())
        except OSError as error:
            raise BadInput.of(f"there is no key {name!r}", where=folder, next="plan key list") from error
    _store(target, found)
    output.say(f"{output.style('✓', 'good')} {target} trusts {', '.join(chosen)}")


def _listed(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


@trust.command()
@click.argument("name")
@click.argument("public")
@_role_option
@_file_option
@click.option("--expires", help="Time from which the key counts no more, as 2027-06-30T00:00:00Z.")
@click.pass_obj
def add(
    output: Output, /, name: str, public: str, roles: tuple[str, ...], path: str | None, expires: str | None
) -> None:
    """Trust the key NAME. PUBLIC is its public line, or a file that holds it (.pub, PEM)."""
    from requisition.schemas.keys import parse_public_key
    from requisition.schemas.trustfile import KeyEntry, parse_time

    text = public
    if os.path.exists(public):
        with open(public, encoding="utf-8") as file:
            text = file.read(1 << 16)
    key = parse_public_key(text, public[:60])
    parse_time(expires, "--expires")
    _store(_path(path), {name: KeyEntry(text.strip(), tuple(roles), None, expires)})
    output.say(f"{output.style('✓', 'good')} {name} ({', '.join(roles)})  {key.keyid}")


@trust.command()
@_file_option
@click.option(
    "--require", "required", multiple=True, metavar="ROLE=N", help="Signatures needed of a role (repeatable)."
)
@click.pass_obj
def require(output: Output, /, path: str | None, required: tuple[str, ...]) -> None:
    """Say how many different keys of each role must have signed."""
    counts = {}
    for text in required:
        role, _, number = text.partition("=")
        if not number.isdigit():
            raise BadInput.of(f"{text!r} is not ROLE=N", next="write --require reviewer=1")
        counts[role] = int(number)
    _store(_path(path), {}, counts)
    output.say(f"{output.style('✓', 'good')} " + ", ".join(f"{n} × {role}" for role, n in counts.items()))


@trust.command("import")
@click.argument("signers", type=click.Path(exists=True, dir_okay=False))
@_role_option
@_file_option
@click.pass_obj
def import_signers(output: Output, /, signers: str, roles: tuple[str, ...], path: str | None) -> None:
    """Trust the keys of an OpenSSH allowed_signers file that may sign orders."""
    from requisition.schemas.trustfile import import_allowed_signers

    with open(signers, encoding="utf-8") as file:
        found = import_allowed_signers(file.read(), signers, tuple(roles))
    _store(_path(path), found)
    output.say(f"{output.style('✓', 'good')} {len(found)} keys: {', '.join(found)}")


@trust.command()
@_file_option
@click.pass_obj
def show(output: Output, /, path: str | None) -> None:
    """Show the policy."""
    from requisition.schemas.trustfile import load_trust

    policy = load_trust(_path(path))
    if output.as_json:
        keys = [{"name": k.name, "keyid": k.public.keyid, "roles": k.roles, "revoked": k.revoked} for k in policy.keys]
        output.json({"require": policy.require, "keys": keys})
        return
    output.result("required: " + ", ".join(f"{count} × {role}" for role, count in policy.require.items()))
    for key in policy.keys:
        state = "revoked" if key.revoked else f"until {key.expires:%Y-%m-%d}" if key.expires else ""
        output.result(f"  {key.name}  {', '.join(key.roles)}  {output.style(key.public.keyid, 'dim')}  {state}")


def _store(path: str, keys: dict[str, Any], require: dict[str, int] | None = None) -> None:
    """Write the policy with these keys and numbers added; checked whole before it replaces the old one."""
    from requisition.schemas import strictyaml
    from requisition.schemas.trustfile import TrustFile, parse_trust

    found = TrustFile({})
    if os.path.exists(path):
        with open(path, "rb") as file:
            found = strictyaml.load_typed(file.read(strictyaml.MAX_BYTES + 1), path, TrustFile)
    found = msgspec.structs.replace(found, keys={**found.keys, **keys}, require={**found.require, **(require or {})})
    text = _text(found)
    parse_trust(text, path)
    os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o700, exist_ok=True)
    temporary = f"{path}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with open(fd, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(fd)
    os.rename(temporary, path)


def _text(policy: Any) -> str:
    """trust.yaml as it is written: JSON scalars are YAML scalars."""

    def quoted(value: Any) -> str:
        return msgspec.json.encode(value).decode()

    lines = ["# Whose signatures count here. See docs/security.md.", "keys:"]
    for name, entry in policy.keys.items():
        lines += [f"  {quoted(name)}:", f"    key: {quoted(entry.key)}", f"    roles: {quoted(list(entry.roles))}"]
        for field in ("not_before", "expires"):
            if getattr(entry, field):
                lines.append(f"    {field}: {quoted(getattr(entry, field))}")
        if entry.revoked:
            lines.append("    revoked: true")
    lines.append("require:")
    lines += [f"  {quoted(role)}: {count}" for role, count in policy.require.items()]
    lines.append(f"max_serial_jump: {policy.max_serial_jump}")
    return "\n".join(lines) + "\n"
