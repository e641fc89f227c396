"""`plan … install`: the systemd unit of a service, written where systemd looks for it."""

import os
import sys

from requisition.cli.output import Output
from requisition.services import unit


def command(output: Output, *words: str) -> tuple[str, ...]:
    """A `plan` command as a unit starts it: this installation, this state directory."""
    return (sys.executable, "-P", "-m", "requisition.cli.main", *words, "--state", output.state_dir)


def install(output: Output, service: unit.Service, to: str | None) -> None:
    """Write the unit and tell what is to be done next. `to`: another folder than systemd's."""
    from requisition.runtime.places import config_dir

    for folder in service.own:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    systems = os.path.join(os.path.dirname(config_dir()), "systemd/user") if service.user else "/etc/systemd/system"
    place = os.path.join(os.path.abspath(to or systems), service.file)
    written = unit.save(place, service)
    systemctl = "systemctl --user" if service.user else "systemctl"
    if output.as_json:
        confined = service.writable is not None and not service.user
        output.json({"path": place, "written": written, "confined": confined})
    output.say(f"{output.style('✓', 'good')} {place} {'is written' if written else 'is as it must be'}")
    output.say(f"Next: {systemctl} daemon-reload && {systemctl} enable --now {service.file}")
