"""Variables in the words of a shell. Pure.

Every value stands in single quotes, in which a shell looks for nothing but their end (POSIX XCU 2.2.2, fish's
"Quotes"), so that what is read back is what was said, whatever is in it. Reading the words twice changes nothing.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from requisition.stdlib.action import ActionError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
MAX_VALUE = 32 << 10
"""Linux starts no program with a variable of 128 KiB."""
_OF_SHELLS = """
HOME IFS _
BASHOPTS BASHPID BASH_ALIASES BASH_ARGC BASH_ARGV BASH_CMDS BASH_COMMAND BASH_LINENO BASH_SOURCE BASH_SUBSHELL
BASH_VERSINFO COPROC DIRSTACK EPOCHREALTIME EPOCHSECONDS EUID FUNCNAME FUNCNEST GROUPS HISTCMD LINENO OPTIND
PIPESTATUS PPID PWD RANDOM SECONDS SHELLOPTS SHLVL SRANDOM UID
ARGC COLUMNS EGID GID HISTCHARS KEYBOARD_HACK LINES READNULLCMD TRY_BLOCK_ERROR TRY_BLOCK_INTERRUPT TTYIDLE
USERNAME WATCH ZSH_EVAL_CONTEXT ZSH_SUBSHELL
aliases argv builtins cdpath commands debian_missing_features dirstack dis_aliases dis_builtins dis_functions
dis_functions_source dis_galiases dis_patchars dis_reswords dis_saliases fignore fpath funcfiletrace
funcsourcetrace funcstack functions functions_source functrace galiases histchars history historywords jobdirs
jobstates jobtexts key keymaps mailpath manpath module_path modules nameddirs options parameters patchars path
pipestatus psvar reswords saliases signals status termcap terminfo userdirs usergroups watch widgets
zle_bracketed_paste zsh_eval_context zsh_scheduled_events
FISH_VERSION fish_kill_signal fish_killring fish_pid hostname status_generation umask version
"""
OF_SHELLS = frozenset(_OF_SHELLS.split())
"""Names that mean something else to one of them: set from outside they are refused, lost, or break its start. zsh
even becomes another user when root sets UID or USERNAME."""
_NUMBERS = ("HISTSIZE", "KEYTIMEOUT", "LISTMAX", "MAILCHECK", "SAVEHIST")


class Variables(Struct, frozen=True):
    """What a shell is to know: variables with their values, those it is to forget, and what is to be in PATH, in
    front."""

    values: Mapping[str, str] = {}
    unset: Sequence[str] = ()
    path: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.values or self.unset or self.path)


def posix(wanted: Variables) -> str:
    """For sh, bash and zsh."""
    lines = [f"export {name}={_single(value)}" for name, value in sorted(wanted.values.items())]
    lines += [f"unset {name}" for name in sorted(wanted.unset)]
    for folder in reversed(wanted.path):
        said = _folder(folder, '"$HOME"', _single)
        lines.append(f'case ":${{PATH-}}:" in *:{said}:*) ;; *) export PATH={said}"${{PATH:+:$PATH}}" ;; esac')
    return "\n".join(lines)


def fish(wanted: Variables) -> str:
    """For fish."""
    lines = [f"set -gx {name} {_fish_quoted(value)}" for name, value in sorted(wanted.values.items())]
    lines += [f"set -e {name}" for name in sorted(wanted.unset)]
    for folder in reversed(wanted.path):
        said = _folder(folder, "$HOME", _fish_quoted)
        lines.append(f"contains -- {said} $PATH; or set -gx PATH {said} $PATH")
    return "\n".join(lines)


def check(wanted: Variables, *, home: bool) -> None:
    """Raises ActionError for what some shell would not give back. `home`: folders may begin with `~/`."""
    for name in (*wanted.values, *wanted.unset):
        _check_name(name)
    for name, value in wanted.values.items():
        if name in wanted.unset:
            raise ActionError(f"{name} is set and unset", "say one of the two")
        _check_text(f"the value of {name}", value)
        if name in _NUMBERS and not (value.isascii() and value.isdigit()):
            raise ActionError(f"{name} = {value!r}: shells take only a number there", "give digits")
    for folder in wanted.path:
        _check_text(f"the folder {folder!r}", folder)
        if not folder.startswith(("/", "~/") if home else "/") or ":" in folder:
            start = "/ or ~/" if home else "/"
            raise ActionError(f"{folder!r} cannot be in PATH", f"folders begin with {start} and have no : in them")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ActionError(f"{name!r} cannot name a variable", "use letters, digits and _, no digit first")
    if name == "PATH":
        raise ActionError("PATH is not set as a whole", "say which folders it must have: path = [...]")
    if name in OF_SHELLS:
        raise ActionError(f"{name} is a name that a shell keeps for itself", "choose another one")


def _check_text(what: str, text: str) -> None:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_VALUE:
        raise ActionError(f"{what} is longer than {MAX_VALUE >> 10} KiB", "put it into a file and name that")
    for letter in text:
        if letter != "\t" and unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp"):
            raise ActionError(f"{what} has the character {letter!r} in it", "give one line of text")


def _single(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _folder(folder: str, home: str, quoted: Callable[[str], str]) -> str:
    return home + quoted(folder[1:]) if folder.startswith("~") else quoted(folder)
