"""Package in, order out: Starlark evaluation, manifests, variants, linking, validation.

Nothing here executes an action, signs, or touches a target.
"""
