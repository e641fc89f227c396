"""The programs of a pipeline's steps, words and environment, and the places where they work.

What is signed is verified before any of it is read: a signed commit or tag right after it was fetched; a signed order,
which is built already, instead of check and build. With a key, what is built here is signed.
"""

import os
import shutil
import sys
from collections.abc import Collection

from msgspec import Struct

from requisition.services.watch.config import Watch
from requisition.services.watch.records import Run

_STEPS = {
    "": ("fetch", "check", "build", "apply", "receipt"),
    "commit": ("fetch", "verify", "check", "build", "apply", "receipt"),
    "tag": ("fetch", "verify", "check", "build", "apply", "receipt"),
    "order": ("fetch", "verify", "apply", "receipt"),
}
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "SSL_CERT_FILE")


class Place(Struct, frozen=True, kw_only=True):
    """Where a pipeline works: the `plan` command and the runtime's state; the watch's own folder, and of this run the
    checkout and the order that is built."""

    plan: tuple[str, ...]
    state_dir: str
    folder: str
    run: str

    @property
    def clone(self) -> str:
        """The bare repository."""
        return f"{self.folder}/clone.git"

    @property
    def tree(self) -> str:
        """The commit's files. They stay as long as links on the machine may lead into them."""
        return f"{self.folder}/trees/{self.run}"

    @property
    def order(self) -> str:
        """The order that is built."""
        return f"{self.folder}/orders/{self.run}.plan"


def steps_of(watch: Watch) -> tuple[str, ...]:
    """The steps of its pipeline, in their order."""
    plain = _STEPS[watch.trust]
    return tuple(part for step in plain for part in (("build", "sign") if step == "build" and watch.key else (step,)))


def command(step: str, watch: Watch, run: Run, place: Place) -> list[str]:
    """The program of a step. Pure; `fetch` is git's and not told here."""
    source = f"{place.tree}/{watch.path}".rstrip("/")
    order = f"{place.tree}/{watch.order}" if watch.trust == "order" else place.order
    state = ["--state", place.state_dir, "--color", "never"]
    if step == "check":
        return [*place.plan, "check", *state, *_options(watch), "--", source]
    if step == "build":
        root = ["--root", watch.root] if watch.root else []
        return [*place.plan, "build", *state, *_options(watch), *root, "-o", order, "--", source]
    if step == "sign":
        return [*place.plan, "sign", *state, "--key", watch.key, "--", order]
    if step == "verify" and watch.trust == "order":
        policy_file = ["--trust", watch.policy] if watch.policy else []
        return [*place.plan, "verify", *state, *policy_file, "--", order]
    if step == "verify":
        me = [sys.executable, "-P", "-m", "requisition.services.watch.signature"]
        return [*me, place.clone, run.ref, run.hash, watch.signers, watch.trust]
    if step == "receipt":
        return [*place.plan, "receipts", *state, "show", run.applied]
    words = ["--root", watch.root] if watch.trust == "order" and watch.root else []
    words += [*_by_whose_word(watch), "--on-conflict", watch.on_conflict, "--jobs", str(watch.jobs)]
    return [*place.plan, "apply", "--json", *state, *words, *_secrets(watch), "--source", source, "-y", "--", order]


def resuming(watch: Watch, cut_off: str, place: Place) -> list[str]:
    """`plan resume` of a run that was ours."""
    words = [*_by_whose_word(watch), "--jobs", str(watch.jobs)]
    source = ["--source", f"{place.tree}/{watch.path}".rstrip("/")]
    state = ["--json", "--state", place.state_dir]
    return [*place.plan, "resume", *state, *words, *_secrets(watch), *source, "--", cut_off]


def rolling_back(watch: Watch, applied: str, place: Place) -> list[str]:
    """`plan rollback` of a run."""
    return [*place.plan, "rollback", "--json", "--state", place.state_dir, *_secrets(watch), "-y", "--", applied]


def _by_whose_word(watch: Watch) -> list[str]:
    if watch.policy:
        return ["--trust", watch.policy]
    return [] if watch.trust == "order" or watch.key else ["--allow-unsigned"]


def _options(watch: Watch) -> list[str]:
    words = [w for f in watch.features for w in ("--with" if f[0] == "+" else "--without", f[1:])]
    return words + [w for key, value in sorted(watch.settings.items()) for w in ("--set", f"{key}={value}")]


def _secrets(watch: Watch) -> list[str]:
    return [w for name, place in sorted(watch.secrets.items()) for w in ("--secret", f"{name}={place}")]


def environment(watch: Watch) -> dict[str, str]:
    """Of every step but git's: the little that programs need, and what the watch declares."""
    ours = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**ours, "LC_ALL": "C.UTF-8", **watch.environment}


def sweep(folder: str, kept: Collection[str]) -> None:
    """Remove the checkouts and orders of all other runs of a watch."""
    for inner, ending in (("trees", ""), ("orders", ".plan")):
        for name in os.listdir(f"{folder}/{inner}"):
            if name.removesuffix(ending) not in kept:
                path = f"{folder}/{inner}/{name}"
                shutil.rmtree(path, ignore_errors=True) if inner == "trees" else os.unlink(path)
