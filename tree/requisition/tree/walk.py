"""The walk: every package of a tree brought to its pinned commit, its manifest read, its children likewise.

A package that stands at its pin is read from its files alone; the others are brought there by `jobs` threads, each a
chain of git processes. A package is walked on from as soon as it is there. Each path is a checkout of its own, also
where two have the same address (`order.py` knows those); paths below a package are that package's to name, so that no
path is named twice. Nothing that a person did is touched, nothing is deleted; what could not be had is told of all
together.
"""

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct, structs

from requisition.schemas.diagnostic import BadInput, Conflicted, Diagnostic
from requisition.stdlib.action import ActionError
from requisition.tree import pins as lock
from requisition.tree.bring import Bringer, Signers, Standing
from requisition.tree.cache import Cache, default_folder
from requisition.tree.choices import Choices
from requisition.tree.entries import Entry, address_fault, entries, read, same_address
from requisition.tree.git import Control
from requisition.tree.locks import held
from requisition.tree.member import ROOT, Member, Tree
from requisition.tree.needs import needs_of
from requisition.tree.overlay import overlaid
from requisition.tree.paths import check_no_links, kept_folder
from requisition.tree.pins import Pin, Pins

MAX_PACKAGES = 20_000
MAX_DEPTH = 32


class WalkOptions(Struct, frozen=True):
    """What a walk may do.

    `update`: packages, by name or path, whose pins move to what their refs name now; "*" for all. `refs`: another
    ref for one package, by name or path. `offline`: no remote is asked. `change=False`: only the cache is written;
    what is not there, or stands elsewhere, is read from `scratch`, a folder of the caller's, together with all
    packages around it (`overlay.py`), and used until the tree is done with. `trust`: who must have signed what is put
    there. `cache`: its folder, "" for the user's.
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
        scratch = "" if options.change else f"{os.path.realpath(options.scratch)}/tree"
        bringer = Bringer(root, cache, control, options.trust, scratch, inherit)
        walked = _Walk(root, options, bringer, before, say).run(stop)
        if scratch:
            walked = _seen_together(walked, scratch)
        if options.change:
            lock.write(path, walked.pins)
    return walked


def _seen_together(walked: Walked, scratch: str) -> Walked:
    tree = walked.tree
    try:
        members = overlaid({member.path: member for member in tree.members}, tree.root, scratch)
    except OSError as error:
        raise BadInput.of(f"the tree cannot be read: {error}", where=tree.root, next="look at that file") from error
    return structs.replace(walked, tree=structs.replace(tree, members=tuple(members.values())))


@contextlib.contextmanager
def _alone(root: str, options: WalkOptions, control: Control) -> Iterator[tuple[int, ...]]:
    """One walk at a time changes a tree; git processes of a killed one hold the lock until they end."""
    if not options.change:
        yield ()
        return
    with contextlib.ExitStack() as stack:
        try:
            path = f"{kept_folder(root, 'locks')}/.walk"
            fd = stack.enter_context(held(path, f"the tree {root}", _patience(control)))
        except (ActionError, OSError) as error:
            raise Conflicted.of(str(error), where=root, next=getattr(error, "hint", "")) from error
        yield (fd,)


def _patience(control: Control) -> Control:
    """Long enough for git processes of a killed walk to end their checkouts, too short to wait for another walk."""
    return structs.replace(control, timeout_ms=min(control.timeout_ms, 10_000))


class _Walk:
    """One walk, led by one thread; others only bring checkouts."""

    def __init__(
        self, root: str, options: WalkOptions, bringer: Bringer, pins: Pins, say: Callable[[str], None]
    ) -> None:
        self._root = root
        self._jobs = max(1, options.jobs)
        self._bringer = bringer
        self._before = pins
        self._choices = Choices(root, pins, options.update, options.refs)
        self._say = say
        self._members: dict[str, Member] = {}
        self._children: dict[str, list[str]] = {}
        self._pins: dict[str, Pin] = {}
        self._problems: list[Diagnostic] = []
        self._lost: list[str] = []
        self._arrivals: queue.SimpleQueue[tuple[Entry, Standing | BaseException]] = queue.SimpleQueue()
        self._away = 0

    def run(self, stop: threading.Event) -> Walked:
        """To the end, or until interrupted: then every git process is ended first."""
        manifest, text = read(self._root)
        with ThreadPoolExecutor(self._jobs, "walk") as pool:
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
        found, wrong = entries(member, text)
        self._problems += wrong
        self._children[member.path] = [entry.path for entry in found]
        for entry in found:
            self._visit(entry, member, pool)

    def _visit(self, entry: Entry, parent: Member, pool: ThreadPoolExecutor) -> None:
        """Take a child as it stands, or have it brought."""
        fault = self._fault(entry, parent)
        if fault:
            self._problem(entry, *fault)
            return
        try:
            check_no_links(self._root, entry.path)
            entry, pin = self._choices.of(entry)
            standing = self._bringer.settled(entry, pin, parent.folder)
        except (ActionError, OSError) as error:
            self._problem(entry, str(error), getattr(error, "hint", ""))
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
        self._pins[entry.path] = self._pin_after(entry.path, standing)
        try:
            manifest, text = read(standing.folder)
        except BadInput as error:
            for one in error.diagnostics:
                self._problem(entry, f"{one.where}: {one.what}", one.next, one.why)
            return
        member = Member(
            entry.path,
            standing.folder,
            manifest,
            entry.parent,
            entry.url,
            standing.pin.ref,
            standing.commit,
            entry.where,
        )
        self._choices.meet(entry.path, manifest)
        self._arrive(member, text, pool)

    def _pin_after(self, path: str, standing: Standing) -> Pin:
        """A pin does not move where its checkout could not."""
        before = self._before.packages.get(path)
        return standing.pin if standing.fault is None or before is None else before

    def _fault(self, entry: Entry, parent: Member) -> tuple[str, str] | None:
        """What forbids to go there, before anything is asked of its remote."""
        chain = [parent]
        while chain[-1].path:
            chain.append(self._members[chain[-1].parent])
        for at, one in enumerate(chain):
            if one.url and same_address(one.url, entry.url):
                way = " → ".join([*(m.path for m in reversed(chain[: at + 1])), entry.path])
                return f"a cycle: {entry.url} is a child of itself ({way})", "remove one of these children"
        if len(chain) > MAX_DEPTH:
            return f"packages are nested deeper than {MAX_DEPTH}", "remove a level"
        if len(self._members) + self._away >= MAX_PACKAGES:
            return f"the tree has more than {MAX_PACKAGES} packages", "make it smaller"
        fault = address_fault(entry.url, parent)
        return (fault, "give an address that others reach too") if fault else None

    def _problem(self, entry: Entry, what: str, hint: str, why: str = "") -> None:
        self._lost.append(entry.path)
        self._choices.meet(entry.path)
        severity = "warning" if entry.optional else "error"
        self._problems.append(
            Diagnostic(what=f"{entry.path}: {what}", where=entry.where, why=why, next=hint, severity=severity)
        )

    def _result(self) -> Walked:
        problems = sorted([*self._problems, *self._choices.left()], key=lambda one: (one.where, one.what))
        ordered = tuple(self._members[path] for path in self._post_order())
        broken = any(one.severity == "error" for one in problems)
        kept = self._before.packages if broken else self._choices.kept(self._lost)
        children = {path: tuple(one for one in ones if one in self._members) for path, ones in self._children.items()}
        tree = Tree(self._root, ordered, needs_of(ordered, children))
        return Walked(tree, Pins({**kept, **self._pins}), tuple(problems), self._bringer.asked)

    def _post_order(self) -> list[str]:
        """Children before their parents, as the manifests list them."""
        order: list[str] = []
        stack = [(ROOT, False)]
        while stack:
            path, done = stack.pop()
            if done:
                order.append(path)
            elif path in self._members:
                stack.append((path, True))
                stack += [(child, False) for child in reversed(self._children[path])]
        return order
