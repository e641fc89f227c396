"""The Starlark that packages are written in: one dialect and one library, for the check and the evaluation."""

import starlark

_EXTENSIONS = ("StructType", "RecordType", "EnumType", "Map", "Filter", "Partial", "Json", "Typing", "CallStack")


def dialect() -> starlark.Dialect:
    """Which syntax is understood."""
    return starlark.Dialect.extended()


def library() -> starlark.Globals:
    """The builtins: the standard ones, and those of `_EXTENSIONS`."""
    return starlark.Globals.extended_by([getattr(starlark.LibraryExtension, name) for name in _EXTENSIONS])
