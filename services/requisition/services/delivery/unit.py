"""The systemd unit of the service: it reads what it ships, and writes to little."""

import os

from requisition.services.delivery.config import Delivery
from requisition.services.unit import Service


def service(command: tuple[str, ...], state: str, delivery: Delivery, *, user: bool = False) -> Service:
    """The service's. Local destinations and, with clean-up on, the roots are written to; rclone keeps tokens that it
    was given anew in its configuration."""
    places = delivery.destinations.values()
    writable = {one.path for one in places if one.kind == "local"}
    writable |= {os.path.dirname(one.rclone_config) for one in places if one.rclone_config}
    writable |= set(delivery.roots) if delivery.cleanup.enabled else set()
    return Service(
        name="delivery",
        description="Ships folders to storage, and verifies them",
        command=command,
        own=(state, *([os.path.dirname(delivery.socket)] if delivery.socket else [])),
        writable=tuple(sorted(writable)),
        user=user,
    )
