"""The two units of a timer, in words that systemd gives on as they are. Pure.

Sources: systemd.syntax(7), systemd.service(5) "Command lines", systemd.timer(5).
"""

import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

from requisition.stdlib.action import ActionError
from requisition.stdlib.providers.cron_lines import check_text

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.-]{0,200}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_SCHEDULE = re.compile(r"[A-Za-z0-9*][A-Za-z0-9 *,./:~+_-]*", re.ASCII)
_BARE = re.compile(r"[A-Za-z0-9_+./:=,@-]+", re.ASCII)
_KINDS = (".service", ".timer", ".socket", ".path", ".target", ".mount", ".automount", ".swap", ".slice")


class Job(Struct, frozen=True):
    """What runs, and when. `user` and `directory` may be empty, `delay` and `timeout` are milliseconds, 0: none."""

    name: str
    schedule: str
    command: Sequence[str]
    user: str
    env: Mapping[str, str]
    directory: str
    description: str
    persistent: bool
    delay: int
    timeout: int


def check_name(name: str) -> None:
    """Raises ActionError for what cannot name a timer and its service."""
    if not _NAME.fullmatch(name) or name.endswith(_KINDS):
        raise ActionError(f"{name!r} cannot name a timer", "use letters, digits and : . - _, and no .timer at the end")


def check_schedule(schedule: str) -> None:
    """Raises ActionError for what cannot be a calendar expression; whether it is one, systemd-analyze tells."""
    if not _SCHEDULE.fullmatch(schedule):
        raise ActionError(
            f"{schedule!r} is no calendar expression", "see systemd.time(7): daily, or Mon *-*-* 04:00:00"
        )


def service(job: Job) -> str:
    """The unit that does it. Raises ActionError."""
    settings = ["Type=oneshot", f"ExecStart={_command(job.command)}"]
    if job.user:
        settings.append(f"User={job.user}")
    if job.directory:
        settings.append(f"WorkingDirectory={_plain('the directory', job.directory)}")
    settings += [f"Environment={_variable(name, value)}" for name, value in sorted(job.env.items())]
    if job.timeout:
        settings.append(f"TimeoutStartSec={_span(job.timeout)}")
    return _unit(job, ["", "[Service]", *settings])


def timer(job: Job) -> str:
    """The unit that says when. Raises ActionError."""
    settings = [f"OnCalendar={job.schedule}", f"Persistent={'yes' if job.persistent else 'no'}"]
    if job.delay:
        settings.append(f"RandomizedDelaySec={_span(job.delay)}")
    return _unit(job, ["", "[Timer]", *settings, "", "[Install]", "WantedBy=timers.target"])


def _unit(job: Job, lines: Sequence[str]) -> str:
    described = _plain("the description", job.description or job.name)
    return "\n".join(["# Written by Requisition.", "[Unit]", f"Description={described}", *lines, ""])


def _command(argv: Sequence[str]) -> str:
    """The program is one by its path: that keeps the prefixes of systemd.service(5) out, and variables."""
    if not argv or not argv[0].startswith("/") or "$" in argv[0]:
        shown = f"found {argv[0]!r}" if argv else "found nothing"
        raise ActionError(f"command: {shown}, expected the path of a program first", 'command = ["/usr/bin/...", ...]')
    return " ".join(_word(f"the word {word!r} of the command", word).replace("$", "$$") for word in argv)


def _variable(name: str, value: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise ActionError(f"{name!r} cannot name a variable", "use letters, digits and _, no digit first")
    return _word(f"the value of {name}", f"{name}={value}")


def _word(what: str, text: str) -> str:
    """One word, in quotes where it needs them."""
    check_text(what, text)
    if _BARE.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\t", "\\t") + '"'


def _plain(what: str, text: str) -> str:
    """The rest of a line, in which only % means something; a backslash at its end would take in the next one."""
    check_text(what, text)
    if text != text.strip() or text.endswith("\\") or "\t" in text:
        raise ActionError(f"{what} {text!r} is not one line", "take blanks and backslashes from its ends")
    return text.replace("%", "%%")


def _span(duration_ms: int) -> str:
    return f"{duration_ms // 1000}s" if duration_ms % 1000 == 0 else f"{duration_ms}ms"
