"""Cron jobs, each a file of its own in /etc/cron.d.

Not in a user's crontab: that is one file for everything, which its user writes too, and only crontab(1) may change.
cron finds a new or changed file by itself within a minute.
"""

import re
from typing import Annotated

from msgspec import Struct

from requisition.schemas.receipt import Left
from requisition.stdlib.action import ActionError, BaseAction, Change, Done, Satisfied, action
from requisition.stdlib.host import FileChange, Host
from requisition.stdlib.providers.accounts import uid_of
from requisition.stdlib.providers.cron_lines import crontab
from requisition.stdlib.providers.file import PATH, observe_content, put_content
from requisition.stdlib.providers.user import check_name
from requisition.stdlib.spec import slot

FOLDER = "/etc/cron.d"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
_JOB = "the job; its file in /etc/cron.d has this name"


class PresentSlots(Struct, frozen=True):
    name: Annotated[str, slot("string", _JOB, claims=True)]
    schedule: Annotated[str, slot("string", "when: five fields as in crontab(5), or @daily, @reboot, ...")]
    command: Annotated[
        list[str], slot("strings", "program and arguments; what a shell would make of them, it does not")
    ]
    user: Annotated[str, slot("string", "who runs it")] = "root"
    env: Annotated[
        dict[str, str], slot("dict", "its environment: PATH, which is /usr/bin:/bin otherwise, MAILTO, ...; no secrets")
    ] = {}


@action("cron.present", outputs=PATH)
class Present(BaseAction[PresentSlots]):
    """Have a cron job."""

    slots = PresentSlots

    def observe(self, host: Host, slots: PresentSlots) -> Satisfied | Change:
        """Compares its file."""
        path = _path(slots.name)
        check_name(slots.user)
        text = crontab(slots.schedule, slots.user, slots.command, slots.env)
        if host.stat(FOLDER) is None:
            raise ActionError(f"there is no {FOLDER}: cron is not installed", 'plan.package.install("cron") before it')
        uid_of(host, slots.user)
        return observe_content(host, path, text.encode(), 0o644, "0", "0")  # cron reads no file of anybody else

    def do(self, host: Host, slots: PresentSlots, change: Change) -> Done:
        """Put the file in place."""
        text = crontab(slots.schedule, slots.user, slots.command, slots.env)
        return put_content(host, change, text.encode())


class AbsentSlots(Struct, frozen=True):
    name: Annotated[str, slot("string", _JOB, writes=True)]


@action("cron.absent", outputs=PATH)
class Absent(BaseAction[AbsentSlots]):
    """Have no such cron job. One that runs already comes to its end."""

    slots = AbsentSlots

    def observe(self, host: Host, slots: AbsentSlots) -> Satisfied | Change:
        """Is there a file of that name?"""
        path = _path(slots.name)
        gone = Left(path, "absent")
        if host.stat(path) is None:
            return Satisfied({"path": path}, (gone,))
        return Change("present", (FileChange(path, host.capture(path), gone),), outputs={"path": path})

    def do(self, host: Host, slots: AbsentSlots, change: Change) -> Done:
        """Remove it."""
        host.delete(change.files[0])
        return Done({"path": change.files[0].path}, (change.files[0].expect,))


def _path(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ActionError(f"{name!r} cannot name a job", "cron reads names of letters, digits, _ and - only")
    return f"{FOLDER}/{name}"
