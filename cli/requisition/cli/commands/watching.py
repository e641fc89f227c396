"""`plan watch`: the daemon that keeps this machine at the newest commits that may be trusted, and its clients."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import click

from requisition.cli.output import Output, clean
from requisition.schemas.diagnostic import BadInput, Diagnostic, Failure
from requisition.schemas.document import CONFLICT_POLICIES

if TYPE_CHECKING:
    from requisition.services.watch.config import Config

T = TypeVar("T")
_config_option = click.option(
    "--config", type=click.Path(dir_okay=False), help="watch.yaml. [default: the user's, for root that of /etc]"
)
_socket_option = click.option(
    "--socket", type=click.Path(dir_okay=False), help="The daemon's. [default: as watch.yaml says, else this user's]"
)
_name_argument = click.argument("name")


@click.group()
def watch() -> None:
    """Keep this machine at the newest commits that may be trusted."""


def _configured(path: str | None) -> "Config":
    """watch.yaml. One that nobody named and that is not there has no watches: they can be added at the socket."""
    from requisition.services.watch.config import VERSION, Config, default_path, load

    if path is None and not os.path.exists(default_path()):
        return Config(version=VERSION)
    return load(path or default_path())


def _place(socket: str | None, config: "Config | None" = None) -> str:
    """Path of the socket. A client asks watch.yaml, too, but is not stopped by mistakes in it."""
    from requisition.stdlib.control import default_socket

    if socket is None and config is None:
        with suppress(Failure):
            config = _configured(None)
    return os.path.abspath(socket or (config.socket if config else "") or default_socket("watch"))


@watch.command()
@_config_option
@_socket_option
@click.pass_obj
def run(output: Output, /, config: str | None, socket: str | None) -> None:
    """Watch until stopped, in the foreground."""
    import asyncio
    from functools import partial

    from requisition.services.voice import Voice
    from requisition.services.watch.daemon import serve
    from requisition.services.watch.state import State
    from requisition.services.watch.supervisor import Settings

    found = _configured(config)
    folder = os.path.join(output.state_dir, "watch")
    settings = Settings(config=found, state_dir=output.state_dir, folder=folder)
    state = State(os.path.join(folder, "state.db"))
    try:
        with Voice(lambda line: _log(output, line)) as say:
            place, reread = _place(socket, found), partial(_configured, config)
            asyncio.run(serve(state, settings, socket=place, say=say, reread=reread))
    finally:
        state.close()


def _log(output: Output, line: str) -> None:
    if output.as_json:
        output.json({"type": "log", "text": line})
    else:
        sys.stderr.write(clean(line) + "\n")
        sys.stderr.flush()


@watch.command()
@_config_option
@click.option("--user", is_flag=True, help="For your own systemd. [default: for the machine's when you are root]")
@click.option("--to", type=click.Path(file_okay=False), help="Folder to write it to. [default: systemd's]")
@click.pass_obj
def install(output: Output, /, config: str | None, to: str | None, *, user: bool) -> None:
    """Write the systemd unit of the daemon, as hardened as its watches allow.

    When every watch names a target root, the rest of the machine is read-only to the daemon. Install it again after
    watch.yaml has got another root.
    """
    from requisition.cli import units
    from requisition.services.watch import unit
    from requisition.services.watch.config import default_path

    path = os.path.abspath(config or default_path())
    found = _configured(config)
    command = units.command(output, "watch", "run", *(["--config", path] if config or os.path.exists(path) else []))
    own = (output.state_dir, *([os.path.dirname(os.path.abspath(found.socket))] if found.socket else []))
    user = user or os.geteuid() != 0
    units.install(output, unit.service(command, own, found.watches.values(), user=user), to)


@watch.command()
@_config_option
@click.pass_obj
def check(output: Output, /, config: str | None) -> None:
    """Find mistakes in watch.yaml, and files it names that are not there. No remote is asked."""
    found = _configured(config)
    problems = list(_absent(found))
    if problems:
        raise BadInput(problems)
    if output.as_json:
        output.json({"watches": list(found.watches)})
    output.say(f"{output.style('✓', 'good')} {_watches(len(found.watches))}, no mistakes")


def _watches(number: int) -> str:
    return "1 watch" if number == 1 else f"{number:,} watches"


def _absent(config: "Config") -> Iterator[Diagnostic]:
    """Files that are named and cannot be read."""
    from requisition.services.watch.webhook import key_of

    if config.webhook_secret:
        try:
            key_of(config.webhook_secret)
        except Failure as error:
            yield from error.diagnostics
    for name, one in config.watches.items():
        places = [one.signers, one.policy, one.key, *(place.removeprefix("file:") for place in one.secrets.values())]
        for path in (*places, *(notify.url_file for notify in one.notify)):
            if path and not os.access(path, os.R_OK):
                yield Diagnostic(what=f"{name}: {path} cannot be read", next="write it, or correct its name")


# -- clients of the daemon


def _ask(socket: str | None, verb: str, kind: type[T], **args: Any) -> T:
    """What the daemon answers."""
    import msgspec

    from requisition.schemas.diagnostic import Failed
    from requisition.stdlib.control import ask

    try:
        return msgspec.convert(ask(_place(socket), verb, args), kind)
    except msgspec.ValidationError as error:
        raise Failed.of(
            "the daemon does not answer as expected", why=str(error), next="restart it: it may be another version"
        ) from error


def _pairs(given: Iterable[str], option: str) -> dict[str, str]:
    """`NAME=VALUE`, any number of times."""
    parts = [text.partition("=") for text in given]
    for name, equals, _ in parts:
        if not (name and equals):
            raise BadInput.of(f"{option} {name} is no NAME=VALUE")
    return {name: value for name, _, value in parts}


def _whole(place: str) -> str:
    """`file:PATH` with the path from the root on: the daemon stands elsewhere."""
    return f"file:{os.path.abspath(place.removeprefix('file:'))}" if place.startswith("file:") else place


@watch.command()
@click.argument("name")
@click.argument("url")
@click.option("--ref", "refs", multiple=True, metavar="REF", help="Branch, tag:NAME, or a glob. [default: main]")
@click.option("--path", default="", metavar="FOLDER", help="Folder of the package in the repository.")
@click.option("--interval", metavar="TIME", help="How often the remote is asked, as 30s or 5m.")
@click.option("--root", type=click.Path(file_okay=False), help="Target root, for packages that leave it open.")
@click.option("--trust", type=click.Choice(["commit", "tag", "order"]), help="What must be signed.")
@click.option(
    "--signers", type=click.Path(dir_okay=False), help="Whose signatures count (ssh-keygen: ALLOWED SIGNERS)."
)
@click.option("--order", default="", metavar="FILE", help="The signed order in the repository, for --trust order.")
@click.option("--policy", type=click.Path(dir_okay=False), help="Trust policy for --trust order, or with --key.")
@click.option("--key", type=click.Path(dir_okay=False), help="Key that signs what is built, without passphrase.")
@click.option("--feature", "features", multiple=True, metavar="±NAME", help="Switch a feature on or off (repeatable).")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A package setting (repeatable).")
@click.option("--env", "environment", multiple=True, metavar="NAME=VALUE", help="A variable (repeatable); no secret.")
@click.option("--secret", "secrets", multiple=True, metavar="NAME=file:PATH", help="A secret by its file (repeatable).")
@click.option("--on-conflict", type=click.Choice(CONFLICT_POLICIES), help="What to do where something is in the way.")
@click.option("--jobs", type=click.IntRange(1, 64), help="Slow nodes at a time.")
@click.option("--on-failure", type=click.Choice(["keep", "rollback", "pause"]), help="What becomes of a failure.")
@click.option("--pause-after", type=click.IntRange(1, 1000), help="Failures in a row, for --on-failure pause.")
@click.option("--retries", type=click.IntRange(0, 1000), help="How often a commit is tried again.")
@click.option("--on-rewrite", type=click.Choice(["refuse", "accept"]), help="What becomes of a rewritten branch.")
@click.option("--timeout", metavar="TIME", help="Of a whole pipeline.")
@click.option("--notify-file", type=click.Path(dir_okay=False), help="File with the address to tell of failures.")
@_socket_option
@click.pass_obj
def add(output: Output, /, name: str, url: str, socket: str | None, **options: Any) -> None:
    """Watch one more repository. It is kept until it is removed, also when the daemon is started anew."""
    fields = {key: value for key, value in options.items() if value}
    for key in ("root", "signers", "policy", "key", "notify_file"):
        if key in fields:
            fields[key] = os.path.abspath(fields[key])
    for key in ("settings", "environment", "secrets"):
        if key in fields:
            fields[key] = _pairs(fields[key], "--" + {"settings": "set", "environment": "env"}.get(key, "secret"))
    if "secrets" in fields:
        fields["secrets"] = {key: _whole(place) for key, place in fields["secrets"].items()}
    if "notify_file" in fields:
        fields["notify"] = [{"url_file": fields.pop("notify_file")}]
    if options["retries"] == 0:
        fields["retries"] = 0
    if ":" not in url and os.path.isdir(url):
        url = os.path.abspath(url)
    _ask(socket, "add", type(None), name=name, watch=fields | {"url": url})
    _done(output, {"watch": name}, f"{name} is watched")


def _done(output: Output, said: dict[str, Any], text: str) -> None:
    if output.as_json:
        output.json(said)
    output.say(f"{output.style('✓', 'good')} {text}")


@watch.command("list")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when one is paused, failing or not answering.")
@_socket_option
@click.pass_obj
def list_all(output: Output, /, socket: str | None, *, detailed_exitcode: bool) -> int:
    """List the watches and how they stand."""
    from requisition.cli.output import to_dict
    from requisition.cli.watches import line, troubled
    from requisition.services.watch.records import Listed

    found = _ask(socket, "list", list[Listed])
    for one in found:
        if output.as_json:
            output.json(to_dict(one))
        else:
            output.result(line(one, output))
    if not found:
        output.say("nothing is watched yet: plan watch add NAME URL")
    return 2 if detailed_exitcode and any(map(troubled, found)) else 0


@watch.command()
@_name_argument
@_socket_option
@click.pass_obj
def show(output: Output, /, name: str, socket: str | None) -> None:
    """Show all about one watch: its refs, its runs, what happened."""
    from requisition.cli.output import to_dict
    from requisition.cli.watches import page
    from requisition.services.watch.records import Shown

    found = _ask(socket, "show", Shown, name=name)
    if output.as_json:
        output.json(to_dict(found))
        return
    for text in page(found, output):
        output.result(text)


@watch.command()
@_name_argument
@click.option("--reason", default="", help="Why; it is shown until the watch is resumed.")
@_socket_option
@click.pass_obj
def pause(output: Output, /, name: str, reason: str, socket: str | None) -> None:
    """Begin nothing more of a watch; what runs goes on to its end."""
    _ask(socket, "pause", type(None), name=name, why=reason)
    _done(output, {"paused": name}, f"{name} is paused")


@watch.command()
@_name_argument
@_socket_option
@click.pass_obj
def resume(output: Output, /, name: str, socket: str | None) -> None:
    """Go on with a watch, and try anew what failed."""
    _ask(socket, "resume", type(None), name=name)
    _done(output, {"resumed": name}, f"{name} goes on")


@watch.command()
@click.argument("name", default="")
@click.argument("ref", default="")
@_socket_option
@click.pass_obj
def now(output: Output, /, name: str, ref: str, socket: str | None) -> None:
    """Run a watch, or one branch or tag of it, whatever became of it before. Without NAME: ask all remotes now."""
    if not name:
        woken = _ask(socket, "wake", int)
        _done(output, {"asked": woken}, f"{_watches(woken)}: their remotes are asked")
        return
    refs = _ask(socket, "run", list[str], name=name, ref=ref)
    _done(output, {"runs": refs}, f"{name}: {', '.join(refs) or 'nothing was seen yet that could'} run")


@watch.command()
@_name_argument
@click.option("--run", "run_id", default="", metavar="RUN", help="A run. [default: the newest of the watch]")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@_socket_option
@click.pass_obj
def logs(output: Output, /, name: str, run_id: str, socket: str | None, *, follow: bool) -> None:
    """Show the log of a run."""
    from requisition.stdlib.control import items

    asked = {"name": name, "run": run_id, "follow": follow}
    for text in items(_place(socket), "logs", asked, timeout=None if follow else 30):
        if text is None:
            break
        if output.as_json:
            output.json({"line": text})
        else:
            output.result(text)


@watch.command()
@_name_argument
@_socket_option
@click.pass_obj
def remove(output: Output, /, name: str, socket: str | None) -> None:
    """Forget a watch. What it installed stays: plan rollback takes it back."""
    _ask(socket, "remove", type(None), name=name)
    _done(output, {"removed": name}, f"{name} is watched no more")


@watch.command()
@_socket_option
@click.pass_obj
def reload(output: Output, /, socket: str | None) -> None:
    """Have the daemon read its watch.yaml anew. A mistake in it leaves everything as it was."""
    changed = _ask(socket, "reload", list[str])
    _done(output, {"changed": changed}, f"read anew: {', '.join(changed) or 'nothing changed'}")


@watch.command()
@_socket_option
@click.pass_obj
def stop(output: Output, /, socket: str | None) -> None:
    """End the daemon. What it cuts off goes on when it is started again."""
    _ask(socket, "stop", type(None))
    _done(output, {"stopping": True}, "the daemon ends")
