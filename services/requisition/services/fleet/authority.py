"""Who may say what: verbs are of operators, reports of the host whose key signed them."""

from msgspec.structs import replace

from requisition.schemas.keys import PublicKey
from requisition.services.fleet.events import COMMAND_TYPE, REPORT_TYPE, Command, Report, RollBack
from requisition.services.fleet.fold import COMMAND_WINDOW
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
