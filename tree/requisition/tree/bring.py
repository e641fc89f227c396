"""How one child comes to the commit that it is pinned at, or that its ref names: one chain of git processes."""

import hashlib
import os
import tempfile
from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct

from requisition.schemas.diagnostic import Diagnostic
from requisition.stdlib.action import ActionError, Cancelled
from requisition.stdlib.host import CommandResult
from requisition.stdlib.providers.git_trust import judge
from requisition.tree import checkout
from requisition.tree.cache import Bare, Cache, Found
from requisition.tree.checkout import State
from requisition.tree.entries import Entry
from requisition.tree.git import Control, Git
from requisition.tree.paths import check_no_links, kept_folder
from requisition.tree.pins import Pin


class Signers(Struct, frozen=True):
    """Whose signature counts: lines of ssh-keygen(1) ALLOWED SIGNERS, OpenPGP public keys. `tags`: where a package is
    at a tag, the tag's signature counts and not the commit's."""

    allowed: bytes = b""
    keys: bytes = b""
    tags: bool = False


class Standing(NamedTuple):
    """Where a child is to be read, and at which commit; `fault` when a person's work kept it from its pin."""

    folder: str
    commit: str
    pin: Pin
    said: str = ""
    fault: Diagnostic | None = None


class Bringer:
    """Brings children of one tree. With `scratch` nothing but the cache and that folder is written."""

    def __init__(
        self, root: str, cache: Cache, control: Control, trust: Signers | None, scratch: str, inherit: tuple[int, ...]
    ) -> None:
        self._root = root
        self._cache = cache
        self._control = control
        self._trust = trust
        self._scratch = scratch
        self._inherit = inherit

    @property
    def asked(self) -> int:
        """How often a remote was asked."""
        return self._cache.asked

    def settled(self, entry: Entry, pin: Pin | None, parent: str) -> Standing | None:
        """The child as it stands, when it stands at its pin; None when there is something to do. Starts nothing."""
        if pin is None or self._within_scratch(parent):
            return None
        folder = f"{self._root}/{entry.path}"
        state = checkout.look(folder)
        if state is None or state.commit != pin.commit or state.moving:
            return None
        if self._trust is not None and not os.path.exists(self._verdict(self._cache.of(entry.url), pin)):
            return None
        return Standing(folder, pin.commit, pin)

    def bring(self, entry: Entry, pin: Pin | None, parent: str) -> Standing:
        """Fetch what is missing, check it out. Raises ActionError."""
        bare = self._cache.of(entry.url)
        folder = f"{self._root}/{entry.path}"
        state = None if self._within_scratch(parent) else checkout.look(folder)
        if pin is None:
            found = bare.find(entry.wanted)
            pin = Pin(entry.url, found.commit, found.ref or _asked_ref(entry, found))
        elif state is None or state.commit != pin.commit or self._trust is not None:
            bare.hold(pin.commit)
        self._judge(bare, pin)
        if self._within_scratch(parent):
            return self._new(bare, pin, entry)
        return self._stand(bare, pin, entry, folder, state)

    def _stand(self, bare: Bare, pin: Pin, entry: Entry, folder: str, state: State | None) -> Standing:
        if state is None:
            return self._new(bare, pin, entry)
        git = Git(folder, self._control, inherit=self._inherit)
        if state.moving and not self._scratch:
            checkout.mend(state, folder, git)
            state = checkout.look(folder)
            assert state is not None
        if state.commit == pin.commit and not state.moving:
            return Standing(folder, pin.commit, pin)
        why = "" if state.moving else checkout.why_not_moved(folder, state, git)
        if why:
            return Standing(folder, state.commit, pin, fault=_left_alone(entry, folder, pin, why))
        if self._scratch:
            return self._new(bare, pin, entry)
        checkout.move(bare, state, pin.commit, folder, git)
        return Standing(folder, pin.commit, pin, f"moved from {state.commit[:12]} to {pin.commit[:12]}")

    def _new(self, bare: Bare, pin: Pin, entry: Entry) -> Standing:
        """Check out where nothing is; once more from a fresh cache when the cache turns out to be damaged."""
        if self._scratch:
            folder = f"{self._scratch}/{entry.path}"
            workshop = f"{self._scratch}.new/{_name(entry.path)}"
        else:
            folder = f"{self._root}/{entry.path}"
            workshop = f"{kept_folder(self._root, 'clones')}/{_name(entry.path)}"
        check_no_links(self._scratch or self._root, entry.path)
        try:
            checkout.make(bare, pin.commit, folder, workshop, self._control, self._inherit)
        except Cancelled:
            raise
        except (ActionError, FileNotFoundError):
            if self._cache.offline or os.path.lexists(folder):
                raise
            bare.forget()
            bare.hold(pin.commit)
            checkout.make(bare, pin.commit, folder, workshop, self._control, self._inherit)
        return Standing(folder, pin.commit, pin, f"{'read' if self._scratch else 'cloned'} at {pin.commit[:12]}")

    def _within_scratch(self, folder: str) -> bool:
        return bool(self._scratch) and f"{folder}/".startswith(f"{self._scratch}/")

    def _judge(self, bare: Bare, pin: Pin) -> None:
        """Raises ActionError unless the commit, or its tag, is signed by one who counts. A verdict is kept."""
        if self._trust is None:
            return
        verdict = self._verdict(bare, pin)
        if os.path.exists(verdict):
            return
        tag = pin.ref if self._trust.tags and bare.tag_object(pin.ref) else ""
        with tempfile.TemporaryDirectory() as scratch:
            judge(_Judged(bare), pin.commit, tag, self._trust.allowed, self._trust.keys, scratch)
        if tag and bare.git().object_of(f"{bare.tag_object(tag)}^{{commit}}") != pin.commit:
            raise ActionError(
                f"the tag {tag} is not {pin.commit[:12]} any more", "find out who moved it; update the pin"
            )
        with open(verdict, "wb"):
            pass

    def _verdict(self, bare: Bare, pin: Pin) -> str:
        """The file in the cache that says: these keys were found to have signed this commit."""
        assert self._trust is not None
        parts = (self._trust.allowed, self._trust.keys, pin.ref.encode() if self._trust.tags else b"")
        digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts))
        return f"{bare.path}/kept/{pin.commit}-{digest.hexdigest()}"


class _Judged:
    """A cached repository as the judge of signatures sees it: tags are where the cache keeps them."""

    def __init__(self, bare: Bare) -> None:
        self._bare = bare
        self._git = bare.git()

    def ask(self, *words: str) -> CommandResult:
        return self._git.run(*words)

    def run(self, *words: str, settings: Iterable[str] = (), env: dict[str, str] | None = None) -> CommandResult:
        return self._git.run(*words, settings=settings, env=env)

    def object_of(self, name: str) -> str:
        return self._bare.tag_object(name.removeprefix("refs/tags/"))


def _asked_ref(entry: Entry, found: Found) -> str:
    return entry.wanted.ref if entry.wanted.ref == found.commit else ""


def _left_alone(entry: Entry, folder: str, pin: Pin, why: str) -> Diagnostic:
    return Diagnostic(
        what=f"{entry.path} is left as it is: {why}",
        where=entry.where,
        why=f"it is pinned at {pin.commit[:12]}, and what a person did is not overwritten",
        next=f"save your work, then: git -C {folder} checkout --detach {pin.commit}",
    )


def _name(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()[:24]
