"""`plan sync`: a tree of packages, walked, built into one order, run."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

from requisition.cli.commands.applying import perform, person_is_here
from requisition.cli.commands.authoring import build_options, build_request
from requisition.cli.drawing import counted
from requisition.cli.output import Output
from requisition.cli.runner import all_runs, run
from requisition.cli.secrets import read_secrets
from requisition.runtime.frames import EXIT_CODES, Event, Request, Result
from requisition.runtime.places import default_trust
from requisition.schemas.diagnostic import BadInput, Conflicted, Failed
from requisition.schemas.document import CONFLICT_POLICIES

if TYPE_CHECKING:
    from requisition.compiler import BuildRequest, BuildResult
    from requisition.tree.bring import Signers
    from requisition.tree.finding import Mended
    from requisition.tree.sync import Choice
    from requisition.tree.walk import Walked


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False), default=".")
@click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing, not even checkouts.")
@click.option("--diff", "show_diff", is_flag=True, help="With --dry-run: show diffs of contents, modes and links.")
@click.option("--update", multiple=True, metavar="NAME", help="Move this package's pin; '*' for all (repeatable).")
@click.option("--ref", "refs", multiple=True, metavar="NAME=REF", help="Another ref for one package (repeatable).")
@click.option(
    "--only", default="", metavar="EXPR", help="Only packages that match by path, name or condition, and their needs."
)
@click.option("--force", is_flag=True, help="Also what is installed and as it was left.")
@click.option("--offline", is_flag=True, help="Ask no remote: what the cache has will do.")
@click.option(
    "--signers",
    type=click.Path(exists=True, dir_okay=False),
    help="Whose signatures commits must carry: an ALLOWED SIGNERS file.",
)
@click.option("-o", "--output", "path", help="Write the order to a file, to be reviewed and signed; run nothing.")
@build_options
@click.option("--root", help="Target root of the whole tree.")
@click.option("--jobs", type=click.IntRange(1, 64), default=8, show_default=True, help="Packages at a time.")
@click.option("--key", "keys", multiple=True, metavar="KEY", help="Sign the order with this key (repeatable).")
@click.option("--trust", type=click.Path(dir_okay=False), help="Trust policy. [default: the user's trust.yaml]")
@click.option("--allow-unsigned", is_flag=True, help="Apply without any signature, where no trust policy is.")
@click.option(
    "--on-conflict", type=click.Choice(CONFLICT_POLICIES), default="stop", show_default=True,
    help="What to do where something else is in the way.",
)  # fmt: skip
@click.option("--elevate", type=click.Choice(["sudo"]), help="How the nodes that need root get it.")
@click.option("--keep-failed", is_flag=True, help="Leave a failed package as it stands, for inspection.")
@click.option("--secret", "secrets", multiple=True, metavar="NAME=WHERE", help="A secret: file:PATH, fd:N or prompt.")
@click.option("--full", is_flag=True, help="Show every node.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--detailed-exitcode", is_flag=True, help="With --dry-run: exit 2 when something would change.")
@click.pass_obj
def sync(output: Output, /, folder: str, **options: Any) -> int:
    """Bring a tree of packages to its pins, and install what is not installed as it should be.

    FOLDER holds the root's package.yaml. Children are fetched and pinned in plan.lock, checked as one graph, and
    installed before their parents by one order. What is installed already is skipped, unless something of it
    changed. A package that fails is taken back and halts those that need it; the others go on.
    """
    root = os.path.realpath(folder)
    with ExitStack() as resources:
        scratch = resources.enter_context(tempfile.TemporaryDirectory(prefix="plan-sync-"))
        if not options["dry_run"]:
            resources.enter_context(alone(root, "plan sync"))
            mend(output, root, _SYNC_DOES)
        walked = _walk(output, root, options, scratch)
        request = _whole(root, walked, options)
        if not options["dry_run"]:
            _take_back_cut_off(output, request.target_root or "")
        choice = _choose(output, root, walked, request, options)
        if not choice.install:
            output.result(f"{output.style('=', 'good')} Nothing to do: {_packages(choice.skipped)} as installed.")
            return 0
        built = _build(output, walked, request, choice, options)
        if options["path"]:
            return _write(output, options["path"], root, built, options["keys"])
        order = _seal(scratch, root, built, options["keys"])
        asked = _request(output, order, root, options)
        if options["dry_run"] or (not options["yes"] and person_is_here(output)):
            foreseen = perform(output, msgspec.structs.replace(asked, verb="dry-run"), None, full=options["full"])
            if options["dry_run"]:
                code = EXIT_CODES[foreseen.status]
                return 0 if code == EXIT_CODES["changes"] and not options["detailed_exitcode"] else code
            if foreseen.status in ("refused", "bad_input", "conflict"):
                return EXIT_CODES[foreseen.status]
            if foreseen.status == "changes" and not click.confirm("Apply this?", default=False):
                return 1
        return _run(output, root, choice, asked, options)


def _packages(paths: tuple[str, ...]) -> str:
    return f"{counted(len(paths), 'package')} {'is' if len(paths) == 1 else 'are'}"


@contextmanager
def alone(root: str, what: str) -> Iterator[None]:
    """One sync or teardown of a tree at a time."""
    from requisition.tree.claims import Owner, claim

    with claim(root, "", Owner.this_process(what)):
        yield


_SYNC_DOES = ("run cut off", "plan.lock is newer", "not checked out")


def mend(output: Output, root: str, ours: tuple[str, ...] = ()) -> None:
    """Mend and tell what an earlier sync left, but for what the caller does itself. For who holds the root's claim.
    Raises Conflicted while another process works on the tree."""
    from requisition.tree import recovery
    from requisition.tree.migration import migrate

    found = recovery.scan(root, state_dir=output.state_dir)
    for one in found:
        if one.kind == "in use":
            raise Conflicted.of(one.text, where=root, next=one.next or "wait until it ends")
    for attempt in migrate(root):
        output.say(f"  {attempt.source}: {attempt.outcome}" + (f", {attempt.why}" if attempt.why else ""))
    for answer in recovery.mend([one for one in found if one.kind not in ours]):
        if output.as_json:
            output.json({"kind": "recovery", "found": answer.finding.kind, "path": answer.finding.path} | _told(answer))
        mark = output.style("✓", "good") if answer.done else output.style("!", "warn")
        output.say(f"{mark} {answer.finding.text}: {answer.text}")


def _told(one: "Mended") -> dict[str, Any]:
    return {"text": one.finding.text, "done": one.done, "next": one.text}


def _walk(output: Output, root: str, options: dict[str, Any], scratch: str) -> "Walked":
    from requisition.tree import pins
    from requisition.tree.events import EventLog
    from requisition.tree.validate import validate
    from requisition.tree.walk import WalkOptions, walk

    refs = {}
    for text in options["refs"]:
        name, found, ref = text.partition("=")
        if not found or not ref:
            raise BadInput.of(f"{text!r} names no ref", next="write --ref NAME=REF")
        refs[name] = ref
    asked = WalkOptions(
        update=options["update"],
        refs=refs,
        offline=options["offline"],
        jobs=options["jobs"],
        change=not options["dry_run"],
        trust=_signers(options),
        scratch=scratch,
    )
    pinned = pins.read(os.path.join(root, pins.LOCK_NAME))
    walked = walk(root, asked, say=output.say)
    moves = pins.moved(pinned, walked.pins)
    if moves and asked.change:
        with EventLog.open(root) as log:
            state = log.fold()
            log.append_many(one for one in moves if not state.tells(one))
    problems = [*walked.problems, *validate(walked.tree)]
    if any(one.severity == "error" for one in problems):
        raise BadInput(problems)
    output.findings(problems)
    return walked


def _signers(options: dict[str, Any]) -> "Signers | None":
    """Whose signatures packages must carry: as the command line says, else as the trust policy does."""
    from requisition.schemas.trustfile import load_trust
    from requisition.tree.bring import Signers

    if options["signers"]:
        with open(options["signers"], "rb") as file:
            return Signers(allowed=file.read(1 << 20))
    policy = options["trust"] or default_trust()
    trust = load_trust(policy) if policy else None
    if trust is None or not trust.packages:
        return None
    allowed = trust.allowed_signers(datetime.now(UTC))
    if not allowed:
        what = f"packages must be signed ({trust.packages}), and no OpenSSH key of an author is good now"
        raise BadInput.of(what, where=policy, next="plan trust add NAME KEY.pub")
    return Signers(allowed=allowed, tags=trust.packages == "tags")


def _whole(root: str, walked: "Walked", options: dict[str, Any]) -> "BuildRequest":
    from requisition.tree.sync import resolved_root

    request: BuildRequest = build_request(walked.tree.member("").folder, options)
    return msgspec.structs.replace(
        request, target_root=resolved_root(walked.tree.member("").manifest, request.target_root), checkout=root
    )


def _take_back_cut_off(output: Output, target: str) -> None:
    """A run that was cut off is taken back, so that the sync begins from what is known."""
    from requisition.tree.sync import on_this_machine

    for info in all_runs(output, None):
        if info.state == "running" and info.target_root == on_this_machine(target):
            asked = Request(verb="rollback", state_dir=output.state_dir, run_id=info.run_id)
            output.say(f"{output.style('!', 'warn')} {info.run_id} was cut off: it is taken back first")
            result = perform(output, asked, None, full=False)
            if result.status != "done":
                raise Failed(result.diagnostics)


def _choose(output: Output, root: str, walked: "Walked", request: "BuildRequest", options: dict[str, Any]) -> "Choice":
    from requisition.tree import installed
    from requisition.tree.sync import choose, on_this_machine, records

    before = installed.read(root)
    stands = {info.run_id for info in all_runs(output, None) if info.state == "executed"} if before else set()
    looked = before and not options["force"]
    drifted = drifted_packages(output, on_this_machine(request.target_root or "")) if looked else set()
    known = records(walked.tree, request)
    gone = sorted(before.keys() - known.keys())
    for path in gone:
        output.say(f"{output.style('!', 'warn')} {path} is installed, and no longer in the tree: plan teardown {path}")
    return choose(walked.tree, known, before, stands, drifted, only=options["only"], force=options["force"])


def drifted_packages(output: Output, target: str) -> set[str]:
    """Names of packages of which something is not as it was left."""
    found: set[str] = set()

    def heard(event: Event) -> None:
        if event.kind == "drift" and event.status != "extra":
            found.add(str(event.data.get("package", "")))

    result = run(Request(verb="status", state_dir=output.state_dir, target_root=target), heard)
    if result.status not in ("done", "changes"):
        raise Failed(result.diagnostics)
    return found


def _build(
    output: Output, walked: "Walked", request: "BuildRequest", choice: "Choice", options: dict[str, Any]
) -> "BuildResult":
    from requisition.compiler.forest import build_tree
    from requisition.tree.sync import planted

    built = build_tree(request, planted(walked.tree, choice.install), options["jobs"])
    output.findings(built.warnings)
    skipped = f", {counted(len(choice.skipped), 'package')} as installed" if choice.skipped else ""
    size = counted(len(built.order.nodes), "node")
    output.say(f"  {counted(len(choice.install), 'package')} to install{skipped}: {size}")
    return built


def _seal(folder: str, root: str, built: "BuildResult", keys: tuple[str, ...]) -> str:
    path = os.path.join(folder, "tree.plan")
    write_order(path, root, built, keys)
    return path


def _write(output: Output, path: str, root: str, built: "BuildResult", keys: tuple[str, ...]) -> int:
    checksum = write_order(path, root, built, keys)
    if output.as_json:
        output.json({"file": path, "checksum": checksum, "nodes": len(built.order.nodes), "name": built.order.name})
        return 0
    size = counted(len(built.order.nodes), "node")
    output.say(f"{output.style('✓', 'good')} {path}: {size}; plan sign it, then plan apply it")
    output.result(f"  {output.style(checksum, 'dim')}")
    return 0


def write_order(path: str, root: str, built: "BuildResult", keys: tuple[str, ...]) -> str:
    """Write an order of the tree at a root's folder, signed with these keys; its checksum."""
    from requisition.cli.commands.signing import ask_passphrase, key_path
    from requisition.schemas import orderfile
    from requisition.schemas.envelope import pae
    from requisition.schemas.signing import load_signer

    sealed = orderfile.seal(built.order, source=os.path.relpath(root, os.path.dirname(os.path.abspath(path))))
    message = pae(sealed.payload_type, sealed.payload)
    signatures = tuple(load_signer(key_path(name), ask_passphrase).sign(message) for name in keys)
    sealed = msgspec.structs.replace(sealed, signatures=signatures)
    orderfile.write(path, sealed, built.contents if path.endswith(".plan") else None)
    return orderfile.checksum_of(sealed, built.order)


def _request(output: Output, order: str, root: str, options: dict[str, Any]) -> Request:
    return Request(
        verb="apply",
        state_dir=output.state_dir,
        order_path=order,
        source_root="" if options["dry_run"] else root,
        trust_path=os.path.abspath(options["trust"]) if options["trust"] else default_trust(),
        allow_unsigned=options["allow_unsigned"] or options["dry_run"],
        on_conflict=options["on_conflict"],
        elevate=options["elevate"] or "",
        keep_failed=options["keep_failed"],
        diff=options["show_diff"],
        jobs=options["jobs"],
        secrets=read_secrets(options["secrets"]),
    )


def _run(output: Output, root: str, choice: "Choice", asked: Request, options: dict[str, Any]) -> int:
    """Announce, run, and keep what came of it."""
    from requisition.schemas import orderfile
    from requisition.schemas.treeevent import Started, Sync
    from requisition.tree import installed
    from requisition.tree.claims import Owner, claim
    from requisition.tree.events import EventLog
    from requisition.tree.sync import updated

    with EventLog.open(root) as log, ExitStack() as claims:
        owner = Owner.this_process("plan sync")
        for one in choice.install:
            if one.path:
                claims.enter_context(claim(root, one.path, owner))
        sealed = orderfile.read(asked.order_path)
        checksum = orderfile.checksum_of(sealed, orderfile.decode(sealed))
        sealed.close()
        begun = [Started(path=one.path, commit=one.commit, hash=one.digest) for one in choice.install]
        log.append_many([Sync(step="begin", order=checksum, packages=len(begun)), *begun])
        result = perform(output, asked, None, full=options["full"])
        ended = _ended(result, choice)
        known = updated(installed.read(root), ended, choice.skipped, result.run_id)
        installed.write(root, known)
        end = Sync(
            step="end", order=checksum, packages=len(begun), outcome="done" if result.status == "done" else "failed"
        )
        log.append_many([*ended, end])
        log.compact(above=1 << 20)
    return EXIT_CODES[result.status]


def _ended(result: Result, choice: "Choice") -> list[Any]:
    """What became of each package; where there is no receipt nothing was begun."""
    from requisition.schemas import orderfile
    from requisition.schemas.receipt import Receipt
    from requisition.schemas.treeevent import Halted
    from requisition.tree.sync import outcomes

    if result.receipt and os.path.exists(result.receipt):
        sealed = orderfile.read(result.receipt)
        receipt = orderfile.decode(sealed)
        sealed.close()
        if isinstance(receipt, Receipt):
            return list(outcomes(receipt, choice.install, result.diagnostics))
    first = result.diagnostics[0] if result.diagnostics else None
    why, todo = (first.what, first.next) if first else (result.status, "")
    return [Halted(path=one.path, commit=one.commit, hash=one.digest, why=why, next=todo) for one in choice.install]
