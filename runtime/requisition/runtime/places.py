"""Where state, trust and keys lie when nothing else is said: by the XDG base directory specification for a
user, in the system's own folders for root."""

import os


def default_state() -> str:
    """$REQUISITION_STATE, then the system's directory for root, the user's for others (XDG)."""
    if os.environ.get("REQUISITION_STATE"):
        return os.environ["REQUISITION_STATE"]
    if os.environ.get("XDG_STATE_HOME"):
        return os.path.join(os.environ["XDG_STATE_HOME"], "requisition")
    return "/var/lib/requisition" if os.geteuid() == 0 else os.path.expanduser("~/.local/state/requisition")


def config_dir() -> str:
    """Keys and trust of this user."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(base, "requisition")


def default_trust() -> str:
    """The trust policy that applies when none is named; empty when there is none."""
    path = os.path.join(config_dir(), "trust.yaml")
    return path if os.path.exists(path) else ""
