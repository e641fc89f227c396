"""The walk: every package of a tree brought to its pinned commit, its manifest read, its children likewise.

A package that stands at its pin is read from its files alone; the others are brought there by `jobs` threads, each a
chain of git processes. A package is walked on from as soon as it is there. Each path is a checkout of its own: the
same address at two paths is two checkouts of one cached repository, while a path that two packages name, at the same
address, is one member that both need. Nothing that a person did is touched, nothing is deleted; what could not be had
is told of all together.
"""

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct, structs

from requisition.compiler.manifest import Manifest
from requisition.schemas.diagnostic import BadInput, Conflicted, Diagnostic
from requisition.stdlib.action import ActionError
from requisition.tree import pins as lock
from requisition.tree.bring import Bringer, Signers, Standing
from requisition.tree.cache import Cache, Wanted, default_folder
from requisition.tree.entries import Entry, entries, read
from requisition.tree.git import Control
from requisition.tree.locks import held
from requisition.tree.member import ROOT, Member, Tree
from requisition.tree.needs import needs_of
from requisition.tree.paths import check_no_links, kept_folder
from requisition.tree.pins import Pin, Pins
from requisition.tree.versions import within

MAX_PACKAGES = 20_000
MAX_DEPTH = 32


class WalkOptions(Struct, frozen=True):
    """What a walk may do.

    `update`: packages, by name or path, whose pins move to what their refs name now; "*" for all. `refs`: another
    ref for one package, by name or path. `offline`: no remote is asked. `change=False`: only the cache is written;
    what is not there, or stands elsewhere, is read from `scratch`, a folder of the caller's, used until the tree is
    done with. `trust`: who must have signed what is put there. `cache`: its folder, "" for the user's.
    """

    update: tuple[str, ...] = ()
    refs: dict[str, str] = {}
    offline: bool = False
    jobs: int = 8
    change: bool = True
    trust: Signers | None = None
    scratch: str = ""
    cache: str = ""
    timeout_ms: int = 600_000


class Walked(Struct, frozen=True):
    """What was found. `fetched` counts how often a remote was asked. `problems` of severity "warning" are optional
    children that could not be had; with any other the tree is not whole, and nothing of it should be run."""

    tree: Tree
    pins: Pins
    problems: tuple[Diagnostic, ...]
    fetched: int


def walk(root: str, options: WalkOptions, *, say: Callable[[str], None]) -> Walked:
    """Walk the tree whose root package lies in a folder. With `change` its checkouts are brought to their pins and
    plan.lock is written. Raises BadInput for the root's own manifest or pins, Conflicted while another walk works."""
    if not options.change and not options.scratch:
        raise ValueError("a walk that changes nothing needs a scratch folder")
    root = os.path.realpath(root)
    stop = threading.Event()
    control = Control(stop.is_set, options.timeout_ms)
    path = f"{root}/{lock.LOCK_NAME}"
    with _alone(root, options, control) as inherit:
        before = lock.read(path)
        try:
            cache = Cache(options.cache or default_folder(), control, offline=options.offline)
        except (ActionError, OSError) as error:
            raise BadInput.of(f"the cache cannot be used: {error}", next="set XDG_CACHE_HOME to a folder") from error
        bringer = Bringer(root, cache, control, options.trust, options.scratch if not options.change else "", inherit)
        walked = _Walk(root, options, bringer, before, say).run(stop)
        if options.change:
            lock.write(path, walked.pins)
    return walked


@contextlib.contextmanager
def _alone(root: str, options: WalkOptions, control: Control) -> Iterator[tuple[int, ...]]:
    """One walk at a time changes a tree; git processes of a killed one hold the lock until they end."""
    if not options.change:
        yield ()
        return
    try:
        with held(f"{kept_folder(root)}/walk.lock", f"the tree {root}", _patience(control)) as fd:
            yield (fd,)
    except ActionError as error:
        raise Conflicted.of(str(error), where=root, next=error.hint) from error


def _patience(control: Control) -> Control:
    """Long enough for git processes of a killed walk to end their checkouts, too short to wait for another walk."""
    return structs.replace(control, timeout_ms=min(control.timeout_ms, 10_000))


class _Walk:
    """One walk, led by one thread; others only bring checkouts."""

    def __init__(
        self, root: str, options: WalkOptions, bringer: Bringer, pins: Pins, say: Callable[[str], None]
    ) -> None:
        self._root = root
        self._options = options
        self._bringer = bringer
        self._before = pins
        self._say = say
        self._members: dict[str, Member] = {}
        self._children: dict[str, list[str]] = {}
        self._shared: list[Entry] = []
        self._pins: dict[str, Pin] = {}
        self._problems: list[Diagnostic] = []
        self._named: set[str] = set()
        self._applied: set[str] = set()
        self._arrivals: queue.SimpleQueue[tuple[Entry, Standing | BaseException]] = queue.SimpleQueue()
        self._away = 0

    def run(self, stop: threading.Event) -> Walked:
        """To the end, or until interrupted: then every git process is ended first."""
        manifest, text = read(self._root)
        with ThreadPoolExecutor(max(1, self._options.jobs), "walk") as pool:
            try:
                self._arrive(Member(ROOT, self._root, manifest), text, pool)
                while self._away:
                    entry, standing = self._arrivals.get()
                    self._away -= 1
                    self._placed(entry, standing, pool)
            except BaseException:
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return self._result()

    def _arrive(self, member: Member, text: bytes, pool: ThreadPoolExecutor) -> None:
        """A package is there: go on to its children."""
        self._members[member.path] = member
        found, wrong = entries(member.manifest, text, member.folder, member.path)
        self._problems += wrong
        self._children[member.path] = [entry.path for entry in found]
        for entry in found:
            if entry.within:
                self._shared.append(entry)
            else:
                self._visit(entry, member, pool)

    def _visit(self, entry: Entry, parent: Member, pool: ThreadPoolExecutor) -> None:
        """Take a child as it stands, or have it brought."""
        fault = self._fault(entry, parent)
        if fault:
            self._problem(entry, *fault)
            return
        try:
            check_no_links(self._root, entry.path)
            entry, pin = self._pinned(entry)
            standing = self._bringer.settled(entry, pin, parent.folder)
        except ActionError as error:
            self._problem(entry, str(error), error.hint)
            return
        if standing is not None:
            self._placed(entry, standing, pool)
            return
        self._away += 1
        pool.submit(self._bring, entry, pin, parent.folder)

    def _bring(self, entry: Entry, pin: Pin | None, parent: str) -> None:
        try:
            self._arrivals.put((entry, self._bringer.bring(entry, pin, parent)))
        except BaseException as error:  # noqa: BLE001 raised again by the leading thread
            self._arrivals.put((entry, error))

    def _placed(self, entry: Entry, standing: Standing | BaseException, pool: ThreadPoolExecutor) -> None:
        """A child is at its place, or could not be had."""
        if isinstance(standing, (ActionError, OSError)):
            self._problem(entry, str(standing), getattr(standing, "hint", ""))
            return
        if isinstance(standing, BaseException):
            raise standing
        if standing.said:
            self._say(f"{entry.path}: {standing.said}")
        if standing.fault is not None:
            self._problems.append(standing.fault)
        if standing.pin is not None:
            self._pins[entry.path] = standing.pin
        try:
            manifest, text = read(standing.folder)
        except BadInput as error:
            for one in error.diagnostics:
                self._problem(entry, f"{one.where}: {one.what}", one.next)
            return
        ref = standing.pin.ref if standing.pin else ""
        member = Member(
            entry.path, standing.folder, manifest, entry.parent, entry.url, ref, standing.commit, entry.where
        )
        self._named |= self._names(entry.path, manifest)
        self._arrive(member, text, pool)

    def _fault(self, entry: Entry, parent: Member) -> tuple[str, str] | None:
        """What forbids to go there, before anything is asked of its remote."""
        chain = [parent]
        while chain[-1].path:
            chain.append(self._members[chain[-1].parent])
        for at, one in enumerate(chain):
            if one.url and _same(one.url) == _same(entry.url):
                way = " → ".join([*(m.path for m in reversed(chain[: at + 1])), entry.path])
                return f"a cycle: {entry.url} is a child of itself ({way})", "remove one of these children"
        if len(chain) > MAX_DEPTH:
            return f"packages are nested deeper than {MAX_DEPTH}", "remove a level"
        if len(self._members) + self._away >= MAX_PACKAGES:
            return f"the tree has more than {MAX_PACKAGES} packages", "make it smaller"
        if _local(entry.url) and parent.url and not _local(parent.url):
            return (
                f"{parent.url} may not name an address of this machine, {entry.url}",
                "give one that others reach too",
            )
        return None

    def _pinned(self, entry: Entry) -> tuple[Entry, Pin | None]:
        """What is asked for after all, and the pin for it, if it still counts."""
        names = self._names(entry.path, None)
        refs = [ref for name, ref in self._options.refs.items() if name in names]
        self._applied |= names & set(self._options.refs)
        if refs:
            entry = structs.replace(entry, wanted=Wanted(refs[-1]))
        pin = self._before.packages.get(entry.path)
        if pin is None or pin.url != entry.url or "*" in self._options.update or names & set(self._options.update):
            return entry, None
        versions, ref = entry.wanted.versions, entry.wanted.ref
        fits = within(pin.ref, versions) if versions else ref in (pin.ref, pin.commit)
        return entry, pin if fits else None

    def _names(self, path: str, manifest: Manifest | None) -> set[str]:
        """What `update` and `refs` may call a package: its path, the last part of that, the name in its manifest."""
        if not self._options.update and not self._options.refs:
            return set()
        names = {path, path.rpartition("/")[2]}
        if manifest is None:
            with contextlib.suppress(BadInput):
                manifest = read(f"{self._root}/{path}")[0]
        return names | ({manifest.name} if manifest else set())

    def _problem(self, entry: Entry, what: str, hint: str) -> None:
        severity = "warning" if entry.optional else "error"
        self._named |= {entry.path, entry.path.rpartition("/")[2]}
        found = Diagnostic(what=f"{entry.path}: {what}", where=entry.where, next=hint, severity=severity)
        self._problems.append(found)

    def _result(self) -> Walked:
        for entry in self._shared:
            if entry.within not in self._members:
                continue  # what is wrong was told of that one
            member = self._members.get(entry.path)
            if member is None or _same(member.url) != _same(entry.url) or not self._agrees(entry):
                what = f"it lies in {entry.within}, a package of its own, which does not have it there"
                self._problem(entry, what, "move it, or make it the same child of both")
        self._problems += self._unknown_names()
        ordered = tuple(self._members[path] for path in self._post_order())
        held_back = any(one.severity == "error" for one in self._problems)
        pins = {**(self._before.packages if held_back else {}), **self._pins}
        children = {path: tuple(one for one in ones if one in self._members) for path, ones in self._children.items()}
        tree = Tree(self._root, ordered, needs_of(ordered, children))
        return Walked(tree, Pins(pins), tuple(self._problems), self._bringer.asked)

    def _unknown_names(self) -> list[Diagnostic]:
        """Names in the options that nothing has, or that could not be known when they were needed."""
        known = {*self._named, *self._applied, "*"}
        asked = (*self._options.update, *self._options.refs)
        found = [Diagnostic(what=f"no package is called {name!r}", next=_NAMES) for name in asked if name not in known]
        for name in sorted(self._options.refs.keys() & self._named - self._applied):
            what = f"the package {name!r} was not there yet, so that its other ref could not be taken"
            found.append(Diagnostic(what=what, why="only its manifest says its name", next="name it by its path"))
        return found

    def _agrees(self, entry: Entry) -> bool:
        pin = self._pins.get(entry.path)
        if pin is None:
            return False
        if entry.wanted.versions:
            return within(pin.ref, entry.wanted.versions)
        return entry.wanted.ref in (pin.ref, pin.commit)

    def _post_order(self) -> list[str]:
        """Children before their parents, as the manifests list them."""
        order: list[str] = []
        seen: set[str] = set()
        stack = [(ROOT, False)]
        while stack:
            path, done = stack.pop()
            if done:
                order.append(path)
            elif path in self._members and path not in seen:
                seen.add(path)
                stack.append((path, True))
                stack += [(child, False) for child in reversed(self._children[path])]
        return order


_NAMES = "plan tree ls names them"


def _same(url: str) -> str:
    """Addresses of one repository that are merely spelled differently have this in common."""
    return url.removeprefix("file://").rstrip("/").removesuffix(".git")


def address_fault(url: str, parent: Member) -> str:
    """Why a package may not name this address for a child, "" when it may: what came from far away does not reach
    for the repositories of this machine."""
    if _local(url) and parent.url and not _local(parent.url):
        return f"{parent.url} may not name an address of this machine, {url}"
    return ""


def _local(url: str) -> bool:
    return url.startswith(("/", "file:"))
