"""Package in, order out: Starlark evaluation, manifests, variants, linking, validation.

Nothing here executes an action, signs, or touches a target.
"""

from requisition.compiler.pipeline import build, check
from requisition.compiler.request import BuildRequest, BuildResult, Limits, parse_target

__all__ = ["BuildRequest", "BuildResult", "Limits", "build", "check", "parse_target"]
