"""Jinja2, cut down to what a configuration file needs and bounded in what it can cost.

The sandbox refuses attributes that lead out of the data (CVE classes: docs/decisions/templates.md); on top
of it every loop, call, filter, operator and printed value is paid for, see `template_budget`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, nodes, pass_context
from jinja2.environment import Template
from jinja2.loaders import FunctionLoader
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from requisition.stdlib.action import ActionError
from requisition.stdlib.providers.template_budget import STEP, TEXT_METHODS, Budget, TooMuch, paid_filter

MAX_OUTPUT = 16 << 20
MAX_BITS = 64
"""Numbers stay below two to this power."""

_REMOVED_GLOBALS = ("lipsum", "cycler", "joiner", "namespace")
_REMOVED_FILTERS = ("random", "pprint")
_LOOP, _TEXT = "paid loop", "paid text"
"""Filters that the syntax tree is given; no template can write a name with a space."""

_budget = Budget()


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox, with all that loops or multiplies paid for."""

    texts: Mapping[str, str] = {}
    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """`*`, `**`, `%` and `+` within bounds."""
        if operator == "**":
            raise TooMuch("powers are not available in templates")
        if operator == "%" and isinstance(left, (str, bytes)):
            raise TooMuch("% formatting is not available in templates; use {{ }} or the format filter")
        sizes = [len(one) for one in (left, right) if isinstance(one, (str, bytes, list, tuple))]
        if not sizes:
            _check_numbers(left, right)
        elif operator == "+":
            _budget.spend(sum(sizes))
        elif operator == "*":
            times = right if isinstance(right, int) else left
            _budget.spend(sizes[0] * times if isinstance(times, int) and times > 0 else 0)
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> None:
        """Nothing: `str.format` is not among the methods of text that a template may call."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """The sandbox's rule; of text and numbers only what can be paid for."""
        if isinstance(obj, str):
            return attr in TEXT_METHODS
        if isinstance(obj, (int, float, bytes)):
            return False
        return super().is_safe_attribute(obj, attr, value)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """A call of a macro, a function or a method of a value. (Parameters are named as Jinja names them.)"""
        _budget.spend(STEP)
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            if __obj.__name__ == "join":  # pays as the filter does: the elements are the value
                args = tuple(list(one) if isinstance(one, Iterator) else one for one in args)
                _budget.pay_ahead("join", args[0] if args else (), (owner,))
            else:
                _budget.pay_ahead(__obj.__name__, owner, args)
        made = super().call(__context, __obj, *args, **kwargs)
        _budget.weigh(made)
        return made

    def get_template(self, *args: Any, **named: Any) -> Template:
        """A template that is included or imported; its text is paid for."""
        return self._paid(super().get_template(*args, **named))

    def select_template(self, *args: Any, **named: Any) -> Template:
        """The first of several that are offered."""
        return self._paid(super().select_template(*args, **named))

    def _paid(self, template: Template) -> Template:
        _budget.spend(STEP + len(self.texts[str(template.name)]))
        return template

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            turn = STEP + sum(len(data.data) for data in loop.find_all(nodes.TemplateData))
            loop.iter = _through(_LOOP, loop.iter, nodes.Const(turn))
        for joined in tree.find_all(nodes.Concat):
            joined.nodes = [_through(_TEXT, node) for node in joined.nodes]
        collections: list[nodes.List | nodes.Tuple] = [*tree.find_all(nodes.List), *tree.find_all(nodes.Tuple)]
        for written in collections:
            if isinstance(written, nodes.List) or written.ctx == "load":
                written.items = [_element(node) for node in written.items]
        for pair in list(tree.find_all(nodes.Pair)):
            pair.key, pair.value = _element(pair.key), _element(pair.value)
        return tree


def _element(node: nodes.Expr) -> nodes.Expr:
    """What is put into a collection pays for all that is in it: collections that hold each other twice, forty
    times over, are small, but cannot be compared, hashed or printed before the end of days."""
    return node if isinstance(node, nodes.Const) else _through(_TEXT, node)


def _through(name: str, node: nodes.Node, *given: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(cast("nodes.Expr", node), name, list(given), [], None, None, lineno=node.lineno)


def _check_numbers(*numbers: Any) -> None:
    if sum(one.bit_length() for one in numbers if isinstance(one, int)) > MAX_BITS:
        raise TooMuch("a number is too large")


def _paid_loop(items: Any, turn: int) -> Iterable[Any]:
    """What a `for` goes through: paid in advance where its length is known, `turn` each."""
    if isinstance(items, Iterator) or not hasattr(items, "__len__"):
        return _paid_turns(iter(items), turn)
    _budget.spend(turn * len(items))
    return cast("Iterable[Any]", items)


def _paid_turns(items: Iterator[Any], turn: int) -> Iterator[Any]:
    for item in items:
        _budget.spend(turn)
        yield item


def _paid_text(value: Any) -> Any:
    """An operand of `~`, or what is printed."""
    _budget.weigh(value)
    return value


@pass_context
def _paid_output(_: Context, value: Any) -> Any:
    return _paid_text(value)


def _paid_range(*arguments: int) -> range:
    found = range(*arguments)
    try:
        _budget.spend(len(found))
    except OverflowError as error:
        raise TooMuch("a range is too long") from error
    return found


def environment(texts: Mapping[str, str]) -> BoundedEnvironment:
    """An environment whose templates are these texts, by name, and nothing else."""

    def load(name: str) -> tuple[str, str, Callable[[], bool]] | None:
        return (texts[name], name, lambda: True) if name in texts else None

    made = BoundedEnvironment(
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
        finalize=_paid_output,
        loader=FunctionLoader(load),
    )
    made.texts = texts
    for name in _REMOVED_GLOBALS:
        made.globals.pop(name, None)
    for name in _REMOVED_FILTERS:
        made.filters.pop(name, None)
    made.filters = {name: paid_filter(_budget, name, function) for name, function in made.filters.items()}
    made.filters |= {_LOOP: _paid_loop, _TEXT: _paid_text}
    made.globals["range"] = _paid_range
    return made


def compile_template(name: str, made: BoundedEnvironment) -> Template:
    """Compile one of the environment's texts. Raises ActionError with file:line."""
    _budget.start()  # constant expressions are computed now
    try:
        return made.get_template(name)
    except TemplateSyntaxError as error:
        raise _wrong_syntax(error, name) from error
    except (RecursionError, MemoryError, SyntaxError) as error:
        raise ActionError(f"{name}: the template is nested too deeply", "make it simpler") from error


def render(template: Template, data: Mapping[str, Any], *, sealed: bool = False) -> bytes:
    """Render within bounds. Raises ActionError with file:line of the template; when `sealed`, without the
    reason, which may quote a secret."""
    name = str(template.name)
    _budget.start()
    size, parts = 0, []
    try:
        for part in template.generate(data):
            size += len(part)
            if size > MAX_OUTPUT:
                raise TooMuch(f"it gives more than {MAX_OUTPUT >> 20} MiB")
            parts.append(part)
        return "".join(parts).encode()
    except TemplateSyntaxError as error:  # of an include, compiled when it is first used
        raise _wrong_syntax(error, name) from error
    except (TooMuch, TemplateError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError) as error:
        why = "it failed; the reason may quote a secret and is not shown" if sealed else str(error)
        raise ActionError(f"{_place(error, name)}: {why}", "correct the template or its data") from error
    except MemoryError as error:
        raise ActionError(f"{name}: the template needs too much memory", "make it simpler") from error
    except (RecursionError, SyntaxError) as error:
        raise ActionError(f"{name}: the template is nested too deeply", "make it simpler") from error


def _wrong_syntax(error: TemplateSyntaxError, name: str) -> ActionError:
    return ActionError(f"{error.name or name}:{error.lineno}: {error.message}", "correct the template")


def _place(error: BaseException, name: str) -> str:
    """file:line of the innermost template that the traceback passes through."""
    place, trace = name, error.__traceback__
    while trace is not None:
        if "__jinja_exception__" in trace.tb_frame.f_globals:  # a frame that Jinja mapped to the template
            place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
