"""`plan.retry(…)` and `phase.retry(…)` as the order's record."""

from typing import Any

from requisition.compiler.slots import bad, duration_ms
from requisition.schemas.document import Backoff, Retry

_BACKOFFS: tuple[Backoff, ...] = ("none", "linear", "exponential")
_MOST = 1000
_DEFAULT = Retry(1)


def retry_policy(value: Any, location: str) -> Retry | None:
    """Raises BadInput with the place of the call."""
    if value is None:
        return None
    if not isinstance(value, dict) or not {"max_attempts", "backoff"} <= value.keys():
        raise bad(location, f"retry: found {value!r}, expected plan.retry(max_attempts, …)")
    attempts, backoff = value["max_attempts"], value["backoff"]
    if type(attempts) is not int or not 1 <= attempts <= _MOST:
        raise bad(location, f"retry: max_attempts: found {attempts!r}, expected 1 to {_MOST}")
    if backoff not in _BACKOFFS:
        raise bad(location, f"retry: backoff: found {backoff!r}, expected one of {', '.join(_BACKOFFS)}")
    policy: dict[str, Any] = {
        "backoff": backoff,
        "initial_delay_ms": duration_ms(value.get("initial_delay", 1000), location, "initial_delay"),
        "max_delay_ms": duration_ms(value.get("max_delay", 60_000), location, "max_delay"),
    }
    # A value that only equals the default is written out, and the order would not be in canonical form.
    return Retry(attempts, **{name: said for name, said in policy.items() if said != getattr(_DEFAULT, name)})
