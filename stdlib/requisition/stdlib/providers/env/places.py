"""Which shell reads which file when it starts, of one user and of the whole machine.

Sources: bash(1) INVOCATION, zsh(1) STARTUP/SHUTDOWN FILES, fish(1) "Configuration files", Debian's /etc/profile.
"""

import os
import pwd
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from requisition.stdlib.action import ActionError
from requisition.stdlib.host import Host
from requisition.stdlib.providers.account_files import read_accounts

SHELLS = ("sh", "bash", "zsh", "fish")
_BASH_LOGIN = (".bash_profile", ".bash_login")
_ZSH = (".zshenv", ".zshrc", ".zprofile")
_FISH = ".config/fish"


class Place(NamedTuple):
    """One file of a shell. `ours`: nobody else writes it, so that it goes when nothing is left in it."""

    path: str
    fish: bool = False
    ours: bool = False


class Home(NamedTuple):
    """A home directory below the target root, who owns it (−1: whoever applies), and the shell that its user logs in
    with."""

    path: str
    uid: int
    gid: int
    shell: str


def home_of(host: Host, user: str, home: str) -> Home:
    """The home of a user, or of whoever applies; `home` instead where it is given. Raises ActionError."""
    shell = ""
    if not home:
        home, shell = _account(host, user)
    found = host.stat(home)
    if found is None or found.kind != "dir":
        raise ActionError(f"the home directory {home} does not exist", "make it first, or name another: home = ...")
    uid, gid = (-1, -1) if found.uid == os.geteuid() else (found.uid, found.gid)
    return Home(home.rstrip("/"), uid, gid, shell.rpartition("/")[2])


def _account(host: Host, user: str) -> tuple[str, str]:
    """Home and shell by the accounts of the target root; where that is the machine, or holds none, by the machine's."""
    root = host.real_path("/").rstrip("/")
    users = read_accounts(host).users if root else {}
    name = user or pwd.getpwuid(os.geteuid()).pw_name
    if users:
        if name not in users:
            raise ActionError(f"there is no user {name!r} here", "make the user first, or check the name")
        return users[name].home, users[name].shell
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise ActionError(f"there is no user {name!r} here", "make the user first, or check the name") from None
    home = entry.pw_dir if user else os.path.expanduser("~")
    if not f"{home}/".startswith(f"{root}/"):
        raise ActionError(f"the home {home} of {name} lies outside of the target root", "name it: home = ...")
    return home[len(root) :] or "/", entry.pw_shell


def of_user(host: Host, home: Home, shells: Sequence[str]) -> list[Place]:
    """The files of some shells in a home; of sh and those that the user has, when none is named."""
    return [place for shell in checked(shells) or _used(host, home) for place in _of_user(host, home, shell)]


def _of_user(host: Host, home: Home, shell: str) -> Iterable[Place]:
    at = home.path
    if shell == "sh":
        yield Place(f"{at}/.profile")
    elif shell == "bash":
        # A login shell reads the first of these instead of .profile; every other interactive one reads .bashrc.
        login = next((name for name in _BASH_LOGIN if host.stat(f"{at}/{name}") is not None), "")
        if login:
            yield Place(f"{at}/{login}")
        yield Place(f"{at}/.bashrc")
    elif shell == "zsh":
        yield Place(f"{at}/.zshenv")  # read by every zsh, and before it can look elsewhere (ZDOTDIR)
    else:
        yield Place(f"{at}/{_FISH}/conf.d/requisition.fish", fish=True, ours=True)


def _used(host: Host, home: Home) -> list[str]:
    files = {"bash": (".bashrc", *_BASH_LOGIN), "zsh": _ZSH, "fish": (_FISH,)}
    return ["sh"] + [
        shell
        for shell, names in files.items()
        if home.shell == shell or any(_is_there(host, f"{home.path}/{name}") for name in names)
    ]


def _is_there(host: Host, path: str) -> bool:
    try:
        return host.stat(path) is not None
    except ActionError:
        return False  # behind a link, where nothing is written


def of_machine(host: Host, shells: Sequence[str]) -> list[Place]:
    """The files of some shells for all users; of sh and those that are installed, when none is named. sh and bash
    share one."""
    named = checked(shells) or ["sh", *(shell for shell in ("zsh", "fish") if _installed(host, shell))]
    places = []
    if "sh" in named or "bash" in named:
        places.append(Place("/etc/profile.d/requisition.sh", ours=True))
    if "zsh" in named:
        places.append(Place("/etc/zsh/zshenv" if host.stat("/etc/zsh") is not None else "/etc/zshenv"))
    if "fish" in named:
        places.append(Place("/etc/fish/conf.d/requisition.fish", fish=True, ours=True))
    return places


def _installed(host: Host, shell: str) -> bool:
    return any(_is_there(host, f"{folder}/{shell}") for folder in ("/usr/bin", "/usr/local/bin", "/bin"))


def checked(shells: Sequence[str]) -> list[str]:
    """The same, each once, in our order. Raises ActionError for one that is not known here."""
    unknown = [shell for shell in shells if shell not in SHELLS]
    if unknown:
        raise ActionError(f"the shell {unknown[0]!r} is not known here", f"shells: {', '.join(SHELLS)}")
    return [shell for shell in SHELLS if shell in shells]
