"""agent.yaml: who this host is, whom it believes, where it keeps what.

    version: "1"
    host: web1
    key: /etc/requisition/agent.key
    trust: /etc/requisition/fleet-trust.yaml
    orders: /etc/requisition/trust.yaml
    state: /var/lib/requisition-agent
    runtime_state: /var/lib/requisition
    poll: 1m

`trust` says who signs for the fleet, `orders` whose orders `plan-runtime` runs here. `root` is the target root of
orders that leave it open. `secrets`: names that orders use, and the files they are in. `restart_mark`: a file that is
there when the machine must be started again. `largest`: bytes that an order may read, all in all.
"""

import os
from typing import Literal

from msgspec import Struct

from requisition.runtime.places import default_state
from requisition.schemas import quantities, strictyaml
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.schemas.guarded import read_guarded
from requisition.services.fleet.rollout import Name
from requisition.services.fleet.trustslots import FleetTrust, parse_trust


class AgentFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The file as it is written."""

    version: Literal["1"]
    host: Name
    key: str
    trust: str
    orders: str
    state: str
    runtime_state: str = ""
    root: str = "/"
    poll: str = "1m"
    largest: str = "16GiB"
    secrets: dict[str, str] = {}
    restart_mark: str = "/run/reboot-required"


class Settings(Struct, frozen=True, kw_only=True):
    """The file, ready to use: absolute paths, seconds, bytes."""

    host: str
    key: str
    trust: str
    orders: str
    state: str
    runtime_state: str
    root: str
    poll: float
    largest: int
    secrets: dict[str, str]
    restart_mark: str


def load(path: str) -> Settings:
    """Read agent.yaml. Raises BadInput with every mistake, Refused when others may write the file."""
    return parse(read_guarded(path, "the agent's settings", why="they say whom this host believes"), path)


def parse(text: bytes | str, where: str) -> Settings:
    """The settings of a text. Raises BadInput."""
    entry = strictyaml.load_typed(text, where, AgentFile)
    places = {
        "key": entry.key,
        "trust": entry.trust,
        "orders": entry.orders,
        "state": entry.state,
        "root": entry.root,
        "runtime_state": entry.runtime_state or default_state(),
        **{f"secrets.{name}": path for name, path in entry.secrets.items()},
        **({"restart_mark": entry.restart_mark} if entry.restart_mark else {}),
    }
    wrong = [
        Diagnostic(what=f"{name} is not an absolute path", where=where, why=place, next="write it from / on")
        for name, place in places.items()
        if not os.path.isabs(place)
    ]
    poll = quantities.seconds(entry.poll)
    if not 1 <= poll <= 86_400:
        wrong.append(Diagnostic(what=f"poll is {entry.poll}", where=where, next="write between 1s and 1d"))
    if wrong:
        raise BadInput(wrong)
    return Settings(
        host=entry.host,
        key=entry.key,
        trust=entry.trust,
        orders=entry.orders,
        state=entry.state,
        runtime_state=places["runtime_state"],
        root=entry.root,
        poll=poll,
        largest=quantities.size(entry.largest),
        secrets=entry.secrets,
        restart_mark=entry.restart_mark,
    )


def load_fleet_trust(path: str) -> FleetTrust:
    """Whom this host believes, read anew for each offer, so that a key is replaced without a restart. Raises BadInput,
    Refused when others may write the file."""
    return parse_trust(read_guarded(path, "the fleet's trust file", why="it says whose orders run here"), path)
