"""Keys out of an OpenSSH `allowed_signers` file (ssh-keygen(1), ALLOWED SIGNERS), as entries of trust.yaml.

    principals [options] keytype key [comment]

What the file says of a key comes along: times, in this machine's time zone unless they end in Z, and purposes. Keys
for other purposes only, and of kinds that do not sign orders, are left out, and that is told.
"""

import re
import shlex
from datetime import UTC, datetime

from msgspec import Struct

from requisition.schemas import keys
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.sshsig import NAMESPACE
from requisition.schemas.trustfile import KeyEntry

_OPTIONS = frozenset({"cert-authority", "namespaces", "valid-after", "valid-before"})
_TIMES = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_KEYTYPE = re.compile(r"(?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+")
_SIGNING = ("ssh-ed25519", "ecdsa-sha2-nistp256")


class Imported(Struct, frozen=True):
    """Entries by principal, and for each line that gave none why."""

    keys: dict[str, KeyEntry]
    left_out: tuple[str, ...]


def import_allowed_signers(text: str, where: str, roles: tuple[str, ...]) -> Imported:
    """Every entry gets these roles. Raises BadInput for lines that OpenSSH would refuse too, and for authorities."""
    found: dict[str, KeyEntry] = {}
    left_out = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        place = f"{where}:{number}"
        name, options, key = _fields(line.strip(), place)
        if "cert-authority" in options:
            raise BadInput.of("certificate authorities are not supported", where=place, next="list the keys themselves")
        kind = key.partition(" ")[0]
        if _KEYTYPE.fullmatch(kind) and kind not in _SIGNING:
            left_out.append(f"{name}: {kind} keys do not sign orders")
        elif not _for_orders(options.get("namespaces")):
            left_out.append(f"{name}: for {options['namespaces']} only")
        else:
            keys.parse_public_key(key, place)
            after, before = (_time(options.get(option), place) for option in ("valid-after", "valid-before"))
            found[name if name not in found else f"{name}-{number}"] = KeyEntry(key, roles, after, before)
    return Imported(found, tuple(left_out))


def _fields(line: str, where: str) -> tuple[str, dict[str, str], str]:
    """Principals, options by their names in lower case, and the key with its comment."""
    first, _, rest = line.replace("\t", " ").partition(" ")
    rest = rest.lstrip()
    if _KEYTYPE.match(rest):
        return first, {}, rest
    word, _, rest = rest.partition(" ")
    lexer = shlex.shlex(word, posix=True)
    lexer.whitespace, lexer.whitespace_split = ",", True
    try:
        parts = [option.partition("=") for option in lexer]
    except ValueError as error:
        raise BadInput.of(f"the options cannot be read: {error}", where=where, next="see ssh-keygen(1)") from error
    options = {name.lower(): value for name, _, value in parts}
    if unknown := sorted(options.keys() - _OPTIONS):
        raise BadInput.of(f"{unknown[0][:60]!r} is neither an option nor a key", where=where, next="see ssh-keygen(1)")
    return first, options, rest.lstrip()


def _for_orders(patterns: str | None) -> bool:
    """Whether our purpose is in a list of patterns (ssh_config(5), PATTERNS); one with `!` in front wins."""
    if patterns is None:
        return True
    hits = [one for one in patterns.split(",") if _matches(one.removeprefix("!"))]
    return bool(hits) and not any(one.startswith("!") for one in hits)


def _matches(pattern: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), NAMESPACE) is not None


def _time(text: str | None, where: str) -> str | None:
    """RFC 3339 of YYYYMMDD[HHMM[SS]][Z]."""
    if text is None:
        return None
    digits = text.removesuffix("Z")
    try:
        if not re.fullmatch("[0-9]+", digits):  # strptime takes spaces, and digits of other scripts
            raise ValueError(text)
        found = datetime.strptime(digits, _TIMES[len(digits)])  # noqa: DTZ007  (the zone is put in below)
        found = found.replace(tzinfo=UTC) if text.endswith("Z") else found.astimezone(UTC)
    except (KeyError, ValueError, OverflowError) as error:
        raise BadInput.of(
            f"{text[:60]!r} is not a time of allowed_signers", where=where, next="write it as 20270630Z"
        ) from error
    return f"{found:%Y-%m-%dT%H:%M:%SZ}"
