"""`plan init`, `check` and `build`: from a folder of scripts to an order."""

import os
from typing import Any

import click

from requisition.cli.drawing import counted
from requisition.cli.output import Output
from requisition.schemas.diagnostic import BadInput

_MANIFEST = """name: {name}
version: "0.1"
description: What this package is for.
scope: system
features:
  motd: {{doc: greet whoever logs in, default: true}}
settings:
  port: {{type: integer, default: 8080, minimum: 1, maximum: 65535, description: where it listens}}
"""
_SCRIPT = '''"""What each phase does. `plan actions` lists everything that plan can do."""

def install(package, phase):
    plan.file.mkdir("/etc/{name}")
    plan.template.render(
        "{name}.conf.tmpl",
        data = {{"port": package.setting("port")}},
        path = "/etc/{name}/{name}.conf",
        mode = 0o640,
    )
    if package.has_feature("motd"):
        plan.file.mkdir("/etc/motd.d")
        plan.file.write("{name} is managed by plan\\n", "/etc/motd.d/{name}")

def verify(package, phase):
    plan.shell.exec(["test", "-s", "etc/{name}/{name}.conf"], checks_only = True)
'''
_TEMPLATE = "port = {{ port }}\n"


def build_options(command: Any) -> Any:
    """What a build can be told, for every command that builds."""
    for option in reversed(
        (
            click.option("--target", help="Platform, as linux/debian/amd64. [default: this machine's]"),
            click.option(
                "--with", "features", multiple=True, metavar="FEATURE", help="Switch a feature on (repeatable)."
            ),
            click.option("--without", multiple=True, metavar="FEATURE", help="Switch a feature off (repeatable)."),
            click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Give a setting (repeatable)."),
            click.option(
                "--segment", "segments", multiple=True, help="A suffix that chooses files of layers (repeatable)."
            ),
        )
    ):
        command = option(command)
    return command


@click.command()
@click.argument("name")
@click.pass_obj
def init(output: Output, /, name: str) -> None:
    """Make a new package in the folder NAME."""
    from requisition.compiler.manifest import parse_manifest

    package = os.path.basename(os.path.abspath(name))
    manifest = _MANIFEST.format(name=package)
    parse_manifest(manifest, "package.yaml")
    if os.path.exists(name) and os.listdir(name):
        raise BadInput.of("the folder is not empty", where=name, next="choose another name")
    os.makedirs(name, exist_ok=True)
    for file, text in (
        ("package.yaml", manifest),
        ("package.star", _SCRIPT.format(name=package)),
        (f"{package}.conf.tmpl", _TEMPLATE),
    ):
        with open(os.path.join(name, file), "w", encoding="utf-8") as out:
            out.write(text)
    output.say(f"{output.style('✓', 'good')} {name}/ holds a package. Next: plan check {name}")


@click.command()
@click.argument("source", type=click.Path(exists=True))
@build_options
@click.pass_obj
def check(output: Output, /, source: str, **options: Any) -> int:
    """Find mistakes in a package, without building it: syntax, types, unknown actions, lints."""
    from requisition.compiler import check as check_package

    found = check_package(build_request(source, options))
    output.findings(found)
    errors = sum(1 for one in found if one.severity == "error")
    warnings = len(found) - errors
    if errors:
        output.result(f"{output.style('!', 'bad')} {counted(errors, 'error')}, {counted(warnings, 'warning')}")
        return 4
    output.say(f"{output.style('✓', 'good')} no errors" + (f", {counted(warnings, 'warning')}" if warnings else ""))
    return 0


@click.command()
@click.argument("source", type=click.Path(exists=True))
@click.option(
    "-o", "--output", "path", required=True, help="Order file to write: .yaml for people, .plan for machines."
)
@build_options
@click.option("--root", help="Target root that binds the order; empty: whoever applies names it.")
@click.option("--serial", type=click.IntRange(0, 1 << 53), help="Serial; lower ones are refused once applied.")
@click.option("--expires", default="", help="Time after which the order is refused, as 2027-06-30T00:00:00Z.")
@click.option("--host", "hosts", multiple=True, help="Bind the order to a host name (repeatable).")
@click.option(
    "--checkout", metavar="DIR", default="", help="Where the package will lie on the target, for links and commands."
)
@click.option("--bundle", is_flag=True, help="Put the content of every input into the file (.plan only).")
@click.pass_obj
def build(output: Output, /, source: str, path: str, **options: Any) -> int:
    """Build a package into an order.

    SOURCE is a package's folder, or a lone .star file. The same sources, target and options give the same
    bytes on any machine.
    """
    import time

    from requisition.compiler import build as build_package
    from requisition.schemas import orderfile

    started = time.monotonic()
    built = build_package(build_request(source, options))
    output.findings(built.warnings)
    folder = source if os.path.isdir(source) else os.path.dirname(source) or "."
    hint = os.path.relpath(os.path.abspath(folder), os.path.dirname(os.path.abspath(path)))
    sealed = orderfile.seal(built.order, source=hint)
    orderfile.write(path, sealed, built.contents if options["bundle"] else None)
    checksum = orderfile.checksum_of(sealed, built.order)
    if output.as_json:
        output.json({"file": path, "checksum": checksum, "nodes": len(built.order.nodes), "name": built.order.name})
        return 0
    took = f"{(time.monotonic() - started) * 1000:.0f} ms"
    size = f"{counted(len(built.order.nodes), 'node')}, {counted(len(built.order.inputs), 'input')}"
    output.say(f"{output.style('✓', 'good')} {path}: {size}, {took}")
    output.result(f"  {output.style(checksum, 'dim')}")
    return 0


def build_request(source: str, options: dict[str, Any]) -> Any:
    """The request of a build, from its options."""
    from requisition.compiler import BuildRequest, parse_target
    from requisition.runtime.machine import platform_of_machine
    from requisition.schemas.trustfile import parse_time

    settings = {}
    for text in options["settings"]:
        key, found, value = text.partition("=")
        if not found:
            raise BadInput.of(f"{text!r} is not a setting", next="write --set KEY=VALUE")
        settings[key] = value
    parse_time(options.get("expires") or None, "--expires")
    root = options.get("root")
    if root and not root.startswith(("/", "~")):
        root = os.path.abspath(root)
    return BuildRequest(
        source=source,
        target=parse_target(options["target"]) if options["target"] else platform_of_machine(),
        features=options["features"],
        without=options["without"],
        settings=settings,
        segments=options["segments"],
        target_root=root,
        serial=options.get("serial"),
        expires=options.get("expires", ""),
        hosts=options.get("hosts", ()),
        checkout=os.path.abspath(options["checkout"]) if options.get("checkout") else "",
    )
