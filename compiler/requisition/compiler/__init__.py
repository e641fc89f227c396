"""Package in, order out: Starlark evaluation, manifests, variants, linking, validation.

Nothing here executes an action, signs, or touches a target. What is offered is loaded when it is first used:
the evaluation child is started for every build and needs little of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from requisition.compiler.pipeline import build, check
    from requisition.compiler.request import BuildRequest, BuildResult, Limits, parse_target

__all__ = ["BuildRequest", "BuildResult", "Limits", "build", "check", "parse_target"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "pipeline" if name in ("build", "check") else "request"
    return getattr(import_module(f"{__name__}.{home}"), name)
