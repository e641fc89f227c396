"""`plan trust`: whose signatures count here."""

import os
from typing import Any

import click
import msgspec

from requisition.cli.drawing import counted
from requisition.cli.output import Output, key_dir
from requisition.runtime.places import config_dir
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.trustfile import KeyEntry, Trust, TrustedKey, TrustFile, load_trust, parse_time, parse_trust

_MAX_SIGNERS = 1 << 20


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
            with open(f"{folder}/{name}.pub", encoding="utf-8", errors="replace") as file:
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
    """Trust the key NAME. PUBLIC is its public line, a file that holds it (.pub, PEM), or gpg:FINGERPRINT.

    The first key of a policy says what is required: one signature of its role. A key of GnuPG counts as long as it
    does there, unless --expires says otherwise; that it was revoked there later is for you to say here.
    """
    from requisition.schemas import gnupg
    from requisition.schemas.keys import parse_public_key

    text = public
    if public.startswith("gpg:"):
        found = gnupg.find(public.removeprefix("gpg:"))
        text, expires = found.public.openssh(), expires or found.expires
    elif os.path.exists(public):
        with open(public, encoding="utf-8", errors="replace") as file:
            text = file.read(1 << 16)
    parse_public_key(text, public[:60])
    parse_time(expires, "--expires")
    policy = _store(_path(path), {name: KeyEntry(text.strip(), tuple(roles), None, expires)})
    _tell(output, policy, name)


@trust.command()
@click.argument("name")
@_file_option
@click.pass_obj
def revoke(output: Output, /, name: str, path: str | None) -> None:
    """Count no signature of the key NAME any more, whenever it was made."""
    target = _path(path)
    entry = _read(target).keys.get(name)
    if entry is None:
        raise BadInput.of(f"there is no key {name!r}", where=target, next="plan trust show")
    _tell(output, _store(target, {name: msgspec.structs.replace(entry, revoked=True)}), name)


@trust.command()
@click.argument("required", nargs=-1, required=True, metavar="ROLE=N...")
@_file_option
@click.pass_obj
def require(output: Output, /, required: tuple[str, ...], path: str | None) -> None:
    """Say how many different keys of each role must have signed, as author=1 reviewer=2."""
    counts = {}
    for text in required:
        role, _, number = text.partition("=")
        if not (role and number.isascii() and number.isdigit()):
            raise BadInput.of(f"{text!r} is not ROLE=N", next="write reviewer=1")
        counts[role] = int(number)
    output.say(f"{output.style('✓', 'good')} {_required(_store(_path(path), {}, counts))}")


@trust.command("import")
@click.argument("signers", type=click.Path(exists=True, dir_okay=False))
@_role_option
@_file_option
@click.pass_obj
def import_signers(output: Output, /, signers: str, roles: tuple[str, ...], path: str | None) -> None:
    """Trust the keys of an OpenSSH allowed_signers file that may sign orders."""
    from requisition.schemas.allowedsigners import import_allowed_signers

    with open(signers, encoding="utf-8", errors="replace") as file:
        found = import_allowed_signers(file.read(_MAX_SIGNERS), signers, tuple(roles))
    if not found.keys:
        raise BadInput.of(
            "no key in this file may sign orders", where=signers, why="; ".join(found.left_out), next="plan trust add"
        )
    policy = _store(_path(path), found.keys)
    for one in found.left_out:
        output.say(f"  left out: {one}")
    output.say(f"{output.style('✓', 'good')} {counted(len(found.keys), 'key')}: {', '.join(found.keys)}")
    output.say(f"  {_required(policy)}")


@trust.command()
@_file_option
@click.pass_obj
def show(output: Output, /, path: str | None) -> None:
    """Show the policy."""
    policy = load_trust(_path(path))
    if output.as_json:
        keys = [{"name": k.name, "keyid": k.public.keyid, "roles": k.roles, "revoked": k.revoked} for k in policy.keys]
        output.json({"require": policy.require, "keys": keys})
        return
    output.result(_required(policy))
    for key in policy.keys:
        output.result(f"  {_line(output, key)}")


def _required(policy: Trust) -> str:
    return "required: " + ", ".join(f"{count} × {role}" for role, count in policy.require.items() if count)


def _line(output: Output, key: TrustedKey) -> str:
    state = "revoked" if key.revoked else f"until {key.expires:%Y-%m-%d}" if key.expires else ""
    line = f"{key.name} ({', '.join(key.roles)})  {output.style(key.public.keyid, 'dim')}"
    return f"{line}  {state}" if state else line


def _tell(output: Output, policy: Trust, name: str) -> None:
    key = next(key for key in policy.keys if key.name == name)
    output.say(f"{output.style('✓', 'good')} {_line(output, key)}\n  {_required(policy)}")


def _read(path: str) -> TrustFile:
    """The policy as it is written; without keys where there is none."""
    from requisition.schemas import strictyaml

    if not os.path.exists(path):
        return TrustFile({})
    with open(path, "rb") as file:
        return strictyaml.load_typed(file.read(strictyaml.MAX_BYTES + 1), path, TrustFile)


def _store(path: str, keys: dict[str, KeyEntry], require: dict[str, int] | None = None) -> Trust:
    """Write the policy with these keys and numbers put in; checked whole before it replaces the old one."""
    from requisition.runtime.layout import write_durably

    found = _read(path)
    if keys and not found.keys and found.require == TrustFile({}).require:
        found = msgspec.structs.replace(found, require={next(iter(keys.values())).roles[0]: 1})
    joined = _joined(found.keys, keys, path)
    found = msgspec.structs.replace(found, keys=joined, require={**found.require, **(require or {})})
    text = _text(found)
    policy = parse_trust(text, path)
    target = os.path.abspath(path)
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    write_durably(target, text.encode(), 0o644)
    return policy


def _joined(known: dict[str, KeyEntry], more: dict[str, KeyEntry], where: str) -> dict[str, KeyEntry]:
    """All keys. A name never goes over to another key, and what is revoked stays so."""
    from requisition.schemas.keys import parse_public_key

    joined = dict(known)
    for name, entry in more.items():
        if old := known.get(name):
            if parse_public_key(old.key, where).identity != parse_public_key(entry.key, where).identity:
                raise BadInput.of(
                    f"{name!r} is another key in this policy",
                    where=where,
                    next=f"plan trust revoke {name}, and give the new key a name of its own",
                )
            entry = msgspec.structs.replace(entry, revoked=entry.revoked or old.revoked)
        joined[name] = entry
    return joined


def _text(policy: TrustFile) -> str:
    """trust.yaml as it is written: JSON scalars are YAML scalars."""

    def quoted(value: Any) -> str:
        return msgspec.json.encode(value).decode()

    lines = ["# Whose signatures count here. See docs/security.md.", "keys:" if policy.keys else "keys: {}"]
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
    if policy.packages:
        lines.append(f"packages: {policy.packages}")
    return "\n".join(lines) + "\n"
