"""`plan actions`, `schema`, `doctor`, `completion`, `version`: about the tool itself."""

import os
import shutil
import sys
from typing import NamedTuple

import click
import msgspec

from requisition.cli.output import Output
from requisition.runtime.places import config_dir, default_trust
from requisition.schemas.diagnostic import BadInput
from requisition.stdlib.spec import ActionSpec


@click.command()
@click.argument("name", default="")
@click.pass_obj
def actions(output: Output, /, name: str) -> None:
    """List the actions that packages can use; with a NAME, its slots and outputs."""
    from requisition.stdlib.catalogue import load, suggest

    catalogue = {key: spec for key, spec in load().items() if not key.startswith("flow.")}
    if name and name not in catalogue:
        near = suggest(name)
        raise BadInput.of(f"there is no action {name!r}", next=f"did you mean {near!r}?" if near else "plan actions")
    chosen = [catalogue[name]] if name else list(catalogue.values())
    if output.as_json:
        output.json(msgspec.to_builtins(chosen))
    elif name:
        _explain(output, chosen[0])
    else:
        for spec in chosen:
            summary = spec.doc.splitlines()[0].partition(". ")[0].rstrip(".")
            output.result(f"{output.style(f'plan.{spec.name:<22}', 'head')} {summary}")


def _explain(output: Output, spec: ActionSpec) -> None:
    first, *rest = spec.doc.splitlines()
    output.result(f"{output.style('plan.' + spec.name, 'head')}  {first}")
    for line in rest:
        output.result(f"  {line.strip()}".rstrip())
    for slot in spec.slots:
        need = "required" if slot.required else f"default {as_written(slot.type, slot.default)}"
        output.result(f"  {slot.name:<20} {slot.type:<9} {slot.doc} {output.style(f'({need})', 'dim')}")
    for one in spec.outputs:
        output.result(f"  → {one.name:<18} {one.type:<9} {one.doc}")
    undone = "undone by a rollback" if spec.compensable else "not undone by itself"
    output.result(output.style(f"  since {spec.since}; {undone}", "dim"))


def as_written(kind: str, default: object) -> str:
    """A default as a script would say it."""
    if kind == "mode" and isinstance(default, int):
        return f"{default:04o}"
    if kind == "duration" and isinstance(default, int) and default:
        return f"{default // 1000}s" if default % 1000 == 0 else f"{default}ms"
    return repr(default)


_FRAMES = ("event", "result")


@click.command()
@click.argument("name", default="")
@click.pass_obj
def schema(output: Output, /, name: str) -> None:
    """Print a JSON Schema; without a NAME, list them.

    `order` and `receipt` are documents; `package`, `trust`, `watch` and `delivery` are files that people write; `event`
    and `result` are the lines of `plan apply --json`, `tree-event` those of `.plan/events.jsonl`; `show`, `diff`,
    `query`, `history`, `why` and `blame` what these commands print.
    """
    from requisition.compiler import manifest_schema
    from requisition.review import schemas as review
    from requisition.schemas import jsonschema
    from requisition.services.watch import schema as watch_schema

    known = [*sorted([*jsonschema.TYPES, manifest_schema.NAME, watch_schema.NAME]), *_FRAMES, *review.TYPES]
    if not name and output.as_json:
        output.json(known)
    elif not name:
        for one in known:
            output.result(one)
    elif name in _FRAMES:
        from requisition.runtime import frames

        found = msgspec.json.schema({"event": frames.Event, "result": frames.Result}[name])
        head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": name}
        click.echo(msgspec.json.format(msgspec.json.encode(head | found), indent=2))
    elif name == manifest_schema.NAME:
        click.echo(manifest_schema.schema(), nl=False)
    elif name == watch_schema.NAME:
        click.echo(watch_schema.schema(), nl=False)
    elif name in review.TYPES:
        click.echo(review.schema(name), nl=False)
    elif name in known:
        click.echo(jsonschema.schema(name), nl=False)
    else:
        raise BadInput.of(f"there is no schema {name!r}", next=f"one of {', '.join(known)}")


class Check(NamedTuple):
    """One line of `plan doctor`; `needed` decides the exit code."""

    good: bool
    what: str
    advice: str
    needed: bool = False


@click.command()
@click.pass_obj
def doctor(output: Output, /) -> int:
    """Check this installation: Python, state, keys, trust, programs. Changes nothing."""
    checks = _checks(output)
    for one in checks:
        if output.as_json:
            output.json({"ok": one.good, "what": one.what, "next": "" if one.good else one.advice})
            continue
        icon = output.style("✓", "good") if one.good else output.style("!", "bad" if one.needed else "warn")
        output.result(f"{icon} {one.what}{'' if one.good else '  ' + output.style(one.advice, 'dim')}")
    return 0 if all(one.good or not one.needed for one in checks) else 1


def _checks(output: Output) -> list[Check]:
    from requisition.runtime.machine import platform_of_machine
    from requisition.runtime.past import runs

    here = platform_of_machine()
    state = output.state_dir
    existing = state
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    free = shutil.disk_usage(existing).free
    cut_off = sum(1 for info in runs(state) if info.state == "running")
    keys = os.path.join(config_dir(), "keys")
    programs = (("git", "git"), ("ssh-keygen", "openssh-client"), ("gpg", "gnupg"), ("dot", "graphviz"))
    return [
        Check(sys.version_info >= (3, 11), f"Python {sys.version.split()[0]}", "3.11 or newer is needed", needed=True),
        Check(
            here.os == "linux",
            f"this machine is {here.os}/{here.distro}/{here.arch}",
            "orders apply on Linux",
            needed=True,
        ),
        Check(os.access(existing, os.W_OK), f"state in {state}", "name a folder of your own with --state", needed=True),
        Check(
            free >> 26 > 0, f"{free >> 20:,} MiB free there", "prior contents are kept there for rollbacks", needed=True
        ),
        Check(not cut_off, "no run was cut off" if not cut_off else f"{cut_off} cut off", "plan recover", needed=True),
        Check(os.path.isdir(keys), f"keys in {keys}", "plan key new NAME makes one"),
        Check(bool(default_trust()), "a trust policy", "plan trust init makes one"),
        *(Check(shutil.which(name) is not None, name, f"optional; the package {pack}") for name, pack in programs),
    ]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    from requisition.cli.main import cli

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(cli, {}, "plan", "_PLAN_COMPLETE").source())


@click.command()
@click.pass_obj
def version(output: Output, /) -> None:
    """Print the version."""
    from requisition.schemas.version import TOOL, VERSION

    if output.as_json:
        output.json({"version": VERSION})
    output.result(TOOL)
