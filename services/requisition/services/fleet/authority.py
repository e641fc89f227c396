"""Who may say what: verbs are of operators, reports of the host whose key signed them. And what proves to a host that
others failed, so that it need not believe a server: their reports, signed with the keys that the rollout names.
"""

from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from requisition.schemas.diagnostic import BadInput
from requisition.schemas.keys import PublicKey, parse_public_key
from requisition.services.fleet.events import (
    COMMAND_TYPE,
    REPORT_TYPE,
    ActivationFailed,
    Command,
    Report,
    RollBack,
    RollbackBegan,
    SoakFailed,
)
from requisition.services.fleet.fold import COMMAND_WINDOW
from requisition.services.fleet.layout import Layout
from requisition.services.fleet.planner import allowed_failures
from requisition.services.fleet.trustslots import Enveloped, FleetTrust, Untrusted, opened, signed_by, untimely


def opened_command(sealed: Enveloped, trust: FleetTrust, now: int) -> Command:
    """A verb that an operator signed lately, with the name of the key. Its nonce is looked at where it is used
    (`fold`). Raises Untrusted, BadInput."""
    command = _command(sealed, trust)
    if why := untimely(command.signed_at, 0, now, COMMAND_WINDOW):
        raise Untrusted.of("the verb is not good now", why=why, next="sign it again")
    return command


def permits_recall(sealed: Enveloped, trust: FleetTrust, rollout: str) -> bool:
    """Whether an operator signed that a rollout goes back. Of whatever age: a host may come back after weeks, and the
    verb is bound to the one rollout. Raises Untrusted, BadInput."""
    command = _command(sealed, trust)
    return isinstance(command.verb, RollBack) and command.verb.rollout == rollout


def _command(sealed: Enveloped, trust: FleetTrust) -> Command:
    keys = {key.identity: name for name, key in trust.operators.items()}
    signer = signed_by(sealed, COMMAND_TYPE, tuple(trust.operators.values()), "verb")
    command: Command = opened(sealed, Command, COMMAND_TYPE, (signer,), "verb")
    if command.fleet != trust.fleet:
        raise Untrusted.of(f"the verb is of fleet {command.fleet}, not of {trust.fleet}")
    if command.by:
        raise Untrusted.of("the verb names its signer itself", why="that is for who verifies it to say")
    return replace(command, by=keys[signer.identity])


def opened_report(sealed: Enveloped, host: str, key: PublicKey) -> Report:
    """A report of this host. Raises Untrusted, BadInput."""
    report: Report = opened(sealed, Report, REPORT_TYPE, (key,), "report")
    if report.host != host:
        raise Untrusted.of(f"this report is of {report.host}, but came from {host}")
    return report


class Proof(NamedTuple):
    """A host's signed report, and the public key that it was signed with as an OpenSSH line."""

    report: Enveloped
    key: str


def proves_failure(layout: Layout, proofs: Iterable[Proof]) -> bool:
    """Whether more hosts of a rollout failed in it than may, by what they signed themselves. What is not to be believed
    counts for nothing."""
    failed = {host for proof in proofs if (host := _failed(layout, proof))}
    return len(failed) > allowed_failures(layout)


def _failed(layout: Layout, proof: Proof) -> str:
    """The host of the rollout that says by this that it failed there; "" when none does."""
    try:
        key = parse_public_key(proof.key, "proof")
        report: Report = opened(proof.report, Report, REPORT_TYPE, (key,), "report")
    except (Untrusted, BadInput):
        return ""
    target, event = layout.targets.get(report.host), report.event
    if target is None or target.key != key.keyid:
        return ""
    went_back = isinstance(event, RollbackBegan) and event.cause != "recalled"
    failure = went_back or isinstance(event, (ActivationFailed, SoakFailed))
    return report.host if failure and getattr(event, "rollout", "") == layout.id else ""
