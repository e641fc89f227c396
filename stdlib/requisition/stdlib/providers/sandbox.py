"""Jinja2, cut down to what a configuration file needs and bounded in what it can cost.

The sandbox refuses attributes that lead out of the data (CVE classes: docs/decisions/templates.md); on top
of it nothing that multiplies is left unbounded: powers, repetitions, ranges, output size.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.environment import Template
from jinja2.loaders import DictLoader
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from requisition.stdlib.action import ActionError

MAX_OUTPUT = 16 << 20
MAX_REPEATED = 1 << 20
MAX_RANGE = 100_000
MAX_STEPS = 1_000_000
_REMOVED_GLOBALS = ("lipsum", "cycler", "joiner", "namespace")
_REMOVED_FILTERS = ("random", "pprint")


class TooMuch(Exception):
    """The template would cost more than a configuration file may."""


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox, with arithmetic that could explode intercepted."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """`*`, `**` and `%` within bounds."""
        if operator == "**":
            raise TooMuch("powers are not available in templates")
        if operator == "%" and isinstance(left, (str, bytes)):
            raise TooMuch("% formatting is not available in templates; use {{ }} or the format filter")
        if operator == "*":
            sizes = [len(v) for v in (left, right) if isinstance(v, (str, bytes, list, tuple))]
            times = [v for v in (left, right) if isinstance(v, int)]
            if sizes and times and sizes[0] * times[0] > MAX_REPEATED:
                raise TooMuch(f"a repetition gives more than {MAX_REPEATED} items")
            if not sizes and any(abs(v) > 1 << 64 for v in times):
                raise TooMuch("a product is too large")
        return super().call_binop(context, operator, left, right)


def _bounded_range(*arguments: int) -> range:
    found = range(*arguments)
    if len(found) > MAX_RANGE:
        raise TooMuch(f"a range of more than {MAX_RANGE} items")
    return found


def environment(includes: Mapping[str, str]) -> BoundedEnvironment:
    """An environment whose templates may include these texts and nothing else."""
    made = BoundedEnvironment(
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
        loader=DictLoader(dict(includes)),
    )
    for name in _REMOVED_GLOBALS:
        made.globals.pop(name, None)
    for name in _REMOVED_FILTERS:
        made.filters.pop(name, None)
    made.globals["range"] = _bounded_range
    for name in ("center", "indent", "format", "wordwrap"):
        made.filters[name] = _bounded_filter(made.filters[name])
    return made


def _bounded_filter(function: Any) -> Any:
    """A filter whose numbers (widths) and format strings cannot ask for megabytes."""

    def bounded(value: Any, *arguments: Any, **named: Any) -> Any:
        for given in (*arguments, *named.values()):
            if isinstance(given, int) and abs(given) > 1000:
                raise TooMuch("a width of more than 1000")
        if isinstance(value, str) and "%" in value and any(part.isdigit() for part in value.split("%")[1:2]):
            raise TooMuch("a width in a format string")
        return function(value, *arguments, **named)

    for name in vars(function):
        setattr(bounded, name, getattr(function, name))
    return bounded


def compile_template(text: str, name: str, made: BoundedEnvironment) -> Template:
    """Compile. Raises ActionError with file:line."""
    try:
        return made.from_string(text)
    except TemplateSyntaxError as error:
        raise ActionError(f"{name}:{error.lineno}: {error.message}", "correct the template") from error
    except RecursionError as error:
        raise ActionError(f"{name}: the template is nested too deeply") from error


def render(template: Template, data: Mapping[str, Any], name: str) -> bytes:
    """Render within bounds. Raises ActionError with file:line of the template."""
    size, parts = 0, []
    try:
        for step, part in enumerate(_pieces(template, data)):
            size += len(part)
            if size > MAX_OUTPUT or step > MAX_STEPS:
                raise TooMuch(f"it gives more than {MAX_OUTPUT >> 20} MiB")
            parts.append(part)
    except (
        TemplateError,
        TooMuch,
        ArithmeticError,
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
    ) as error:
        raise ActionError(f"{name}{_line(error)}: {error}", "correct the template or its data") from error
    except (RecursionError, MemoryError) as error:
        raise ActionError(f"{name}: the template is nested too deeply or too large") from error
    return "".join(parts).encode()


def _pieces(template: Template, data: Mapping[str, Any]) -> Iterator[str]:
    return template.generate(data)


def _line(error: BaseException) -> str:
    """`:12` when the traceback passes through the template."""
    line, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = f":{trace.tb_lineno}"
        trace = trace.tb_next
    return line
