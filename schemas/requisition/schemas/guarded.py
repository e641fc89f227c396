"""Files whose word counts here, so that nobody but their owner and root may change them: policies, configurations."""

import os

from requisition.schemas import strictyaml
from requisition.schemas.diagnostic import BadInput, Refused


def read_guarded(path: str, what: str, *, why: str, missing: str = "") -> bytes:
    """The bytes of the file, one more than strictyaml reads at most. `what` it is, `why` its writers matter, what to do
    when it is `missing`: for the messages. Raises BadInput when it cannot be read, Refused when others may write it."""
    try:
        with open(path, "rb") as file:
            info = os.fstat(file.fileno())
            text = file.read(strictyaml.MAX_BYTES + 1)
    except OSError as error:
        raise BadInput.of(f"{what} cannot be read: {error.strerror}", where=path, next=missing) from error
    if info.st_mode & 0o022 or info.st_uid not in (0, os.geteuid()):
        raise Refused.of(
            f"others may change {what}",
            where=path,
            why=why,
            next=f"chown it to yourself or root, and run: chmod 644 {path}",
        )
    return text
