"""Where this user's keys, trust policy and state lie (XDG base directories)."""

import os

from requisition.schemas.diagnostic import BadInput


def config_dir() -> str:
    """Folder of keys and policy."""
    return os.path.join(_base("XDG_CONFIG_HOME", "~/.config"), "requisition")


def key_dir() -> str:
    """Folder of signing keys."""
    return f"{config_dir()}/keys"


def trust_path() -> str:
    """The policy that holds when no other is named."""
    return f"{config_dir()}/trust.yaml"


def chosen_trust(named: str | None) -> str:
    """The policy to hand to the runtime: the named one, our own when there is one, or none."""
    if named:
        return os.path.abspath(named)
    own = trust_path()
    return own if os.path.exists(own) else ""


def state_dir(named: str | None) -> str:
    """The runtime's state directory; not made here."""
    if found := named or os.environ.get("REQUISITION_STATE"):
        return os.path.abspath(found)
    if os.geteuid() == 0:
        return "/var/lib/requisition"
    return os.path.join(_base("XDG_STATE_HOME", "~/.local/state"), "requisition")


def key_path(name: str) -> str:
    """What `--key NAME` stands for: `gpg:ID`, a path, or a key of the key store. Raises BadInput."""
    if name.startswith("gpg:"):
        return name
    stored = f"{key_dir()}/{name}"
    if "/" not in name and os.path.exists(stored):
        return stored
    path = os.path.expanduser(name)
    if os.path.exists(path):
        return path
    raise BadInput.of(
        f"there is no key {name!r}",
        why=f"neither in {key_dir()} nor as a file",
        next="plan key list shows your keys; plan key new NAME makes one",
    )


def _base(variable: str, default: str) -> str:
    found = os.environ.get(variable, "")
    return found if os.path.isabs(found) else os.path.expanduser(default)
