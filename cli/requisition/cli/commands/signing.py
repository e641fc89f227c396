"""`plan sign`, `verify` and `key`: who stands for an order."""

import os
from datetime import UTC, datetime

import click
import msgspec

from requisition.cli.output import Output, key_dir
from requisition.runtime.places import default_trust
from requisition.schemas.diagnostic import BadInput


def key_path(name: str) -> str:
    """A key by its name in the key directory, by its path, or a gpg: id as it is."""
    if name.startswith("gpg:") or "/" in name or os.path.exists(name):
        return name
    return os.path.join(key_dir(), name)


def ask_passphrase(what: str) -> bytes:
    """Of a key, from the terminal."""
    return click.prompt(f"passphrase of {what}", hide_input=True, err=True).encode()


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--key", "keys", multiple=True, required=True, help="Key name, file, or gpg:FINGERPRINT (repeatable).")
@click.option("--passphrase-file", type=click.Path(exists=True, dir_okay=False), help="File that holds the passphrase.")
@click.pass_obj
def sign(output: Output, /, file: str, keys: tuple[str, ...], passphrase_file: str | None) -> int:
    """Sign an order. Signatures of others stay; a key signs once."""
    from requisition.schemas import orderfile
    from requisition.schemas.envelope import pae
    from requisition.schemas.signing import load_signer

    sealed = orderfile.read(file)
    document = orderfile.decode(sealed)
    message = pae(sealed.payload_type, sealed.payload)

    def ask(what: str) -> bytes:
        if passphrase_file is None:
            return ask_passphrase(what)
        with open(passphrase_file, "rb") as secret:
            return secret.read(1 << 12).rstrip(b"\n")

    signatures = list(sealed.signatures)
    for name in keys:
        signer = load_signer(key_path(name), ask)
        signature = signer.sign(message)
        signatures = [one for one in signatures if one.keyid != signature.keyid] + [signature]
        if output.as_json:
            output.json({"file": file, "keyid": signature.keyid, "method": signature.method})
        output.say(f"{output.style('✓', 'good')} {document.name} signed by {os.path.basename(name)}  {signature.keyid}")
    orderfile.write(file, msgspec.structs.replace(sealed, signatures=tuple(signatures)))
    return 0


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--trust", type=click.Path(dir_okay=False), help="Trust policy. [default: the user's trust.yaml]")
@click.pass_obj
def verify(output: Output, /, file: str, trust: str | None) -> int:
    """Tell whose signatures an order carries, and whether they count. Exit code 3 when they do not suffice, and when
    the order expired."""
    from requisition.runtime.trust import judge, staleness
    from requisition.schemas import orderfile
    from requisition.schemas.document import Order
    from requisition.schemas.trustfile import load_trust

    path = trust or default_trust()
    if not path:
        raise BadInput.of("no trust policy says whose signatures count", next="plan trust init makes one")
    sealed = orderfile.read(file)
    now = datetime.now(UTC)
    verdict = judge(sealed.payload_type, sealed.payload, sealed.signatures, load_trust(path), now)
    if sealed.blobs is not None:
        sealed.blobs.check()
    document = orderfile.decode(sealed) if verdict.accepted else None
    stale = staleness(document, now) if isinstance(document, Order) else ""
    if output.as_json:
        accepted = verdict.accepted and not stale
        judged = msgspec.to_builtins(verdict.signatures)
        found = {"accepted": accepted, "signatures": judged, "missing": verdict.missing, "stale": stale}
        output.json({"file": file, **found})
        return 0 if accepted else 3
    for one in verdict.signatures:
        icon = output.style("✓", "good") if one.counts else output.style("!", "bad")
        output.result(f"  {icon} {one.signer or 'unknown'}  {one.method}  {one.keyid}  {output.style(one.why, 'dim')}")
    if document is None:
        lacking = ", ".join(f"{count} more of the role {role}" for role, count in sorted(verdict.missing.items()))
        output.result(f"{output.style('!', 'bad')} not trusted here: {lacking} needed")
        return 3
    if stale:
        output.result(f"{output.style('!', 'bad')} {stale}")
        return 3
    output.result(f"{output.style('✓', 'good')} {document.name} is trusted  {orderfile.checksum_of(sealed, document)}")
    return 0


@click.group()
def key() -> None:
    """Make and list keys."""


@key.command()
@click.argument("name")
@click.option("--passphrase", is_flag=True, help="Ask for a passphrase that protects the key.")
@click.pass_obj
def new(output: Output, /, name: str, *, passphrase: bool) -> None:
    """Make an Ed25519 key NAME."""
    from requisition.schemas.signing import new_key

    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
        raise BadInput.of(f"{name!r} cannot name a key", next="use letters, digits, - and _")
    secret = None
    if passphrase:
        secret = click.prompt("new passphrase", hide_input=True, confirmation_prompt=True, err=True).encode()
    path, public = new_key(key_dir(), name, secret)
    if output.as_json:
        output.json({"file": path, "keyid": public.keyid, "public": public.openssh()})
    output.say(f"{output.style('✓', 'good')} {path}\n  {public.openssh()}\n  {public.keyid}")


@key.command("list")
@click.pass_obj
def list_keys(output: Output, /) -> None:
    """List your keys, and OpenSSH Ed25519 keys in ~/.ssh."""
    from requisition.schemas.keys import parse_public_key

    for folder in (key_dir(), os.path.expanduser("~/.ssh")):
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            if not name.endswith(".pub"):
                continue
            path = os.path.join(folder, name)
            try:
                with open(path, encoding="utf-8", errors="replace") as file:
                    public = parse_public_key(file.read(1 << 16), path)
            except BadInput:
                continue  # a key of a kind that does not sign orders, an RSA one say
            if output.as_json:
                output.json({"file": path.removesuffix(".pub"), "keyid": public.keyid, "public": public.openssh()})
            output.say(f"{path.removesuffix('.pub')}  {output.style(public.keyid, 'dim')}")


@key.command()
@click.argument("name")
@click.pass_obj
def show(output: Output, /, name: str) -> None:
    """Print the public line of the key NAME, for trust.yaml and allowed_signers.

    NAME is a key of yours, gpg:FINGERPRINT, or a file: a host's receipts are signed with host.key in its state folder.
    """
    from requisition.schemas.keys import parse_public_key
    from requisition.schemas.signing import load_signer

    path = key_path(name)
    beside = path if path.endswith(".pub") else f"{path}.pub"
    if os.path.exists(beside) and not name.startswith("gpg:"):
        with open(beside, encoding="utf-8", errors="replace") as file:
            public = parse_public_key(file.read(1 << 16), beside)
    else:
        public = load_signer(path, ask_passphrase).public
    if output.as_json:
        output.json({"keyid": public.keyid, "public": public.openssh()})
    output.result(public.openssh())
