"""Evaluation proper: runs in the child, calls no other house's code, sees no file, clock or environment.

Every file is a module of its own, frozen once evaluated; `plan` and its companions are loaded into each
before its own text, so that they are global everywhere and line numbers stay true.
"""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import starlark
from msgspec import Struct

from requisition.compiler.dialect import dialect, library
from requisition.compiler.prelude import CALLABLES, GLOBALS
from requisition.compiler.recorder import Recorder
from requisition.compiler.settings import PatternCheck


class Job(Struct):
    """What the parent sends: the whole world of an evaluation."""

    files: dict[str, str]
    std: dict[str, str]
    prelude: str
    phases: list[tuple[str, str]]
    patterns: list[PatternCheck]
    facts: dict[str, Any]
    cpu_seconds: int
    call_depth: int
    nodes: int
    order_bytes: int


class ScriptError(Exception):
    """A script failed; `text` is Starlark's own report, `phase` the phase that was being evaluated."""

    def __init__(self, text: str, phase: str) -> None:
        super().__init__(text)
        self.text = text
        self.phase = phase


class Ground(NamedTuple):
    """What every evaluation stands on: the evaluated prelude, and the recorder behind its functions. For one
    evaluation: a process that forks for each may lay it before."""

    recorder: Recorder
    prelude: starlark.FrozenModule


def lay_ground(prelude: str) -> Ground:
    """Evaluate the prelude."""
    recorder, module = Recorder(), starlark.Module()
    callables = recorder.callables()
    for name in CALLABLES:
        module.add_callable(name, callables[name])
    starlark.eval(module, starlark.parse("@prelude", prelude, dialect()), library())
    return Ground(recorder, module.freeze())


def evaluate(job: Job, ground: Ground | None = None) -> bytes:
    """Run every phase function; what they recorded, for `read_recording`. Raises ScriptError."""
    return _Evaluation(job, ground or lay_ground(job.prelude)).run()


class _Evaluation:
    def __init__(self, job: Job, ground: Ground) -> None:
        self._job = job
        self._dialect = dialect()
        self._globals = library()
        self._recorder = ground.recorder
        self._recorder.bound(job.nodes, job.order_bytes)
        # For our own statements; scripts have no name for it.
        self._own = starlark.FileLoader(lambda _: ground.prelude)
        self._options = starlark.EvalOptions(check_cancelled=self._late, max_callstack_size=job.call_depth)
        self._modules: dict[str, starlark.FrozenModule] = {}
        self._loading: list[str] = []
        self._phase_name = ""
        self._innermost = ""
        self._loader = starlark.FileLoader(self._load)

    def run(self) -> bytes:
        try:
            for name, script in self._job.phases:
                self._phase_name = name
                self._recorder.start_phase(name)
                self._phase(name, script)
                self._recorder.end_phase()
        except BaseException as error:  # a Rust panic is one
            raise ScriptError(self._told(error), self._phase_name) from error
        return self._recorder.written()

    def _told(self, error: BaseException) -> str:
        if isinstance(error, starlark.StarlarkError):
            text = self._innermost or str(error)
            return f"{text}\nerror: it took too long" if self._late() else text
        if isinstance(error, MemoryError) or "out of memory" in str(error):
            return "error: out of memory"
        return f"error: the evaluator failed: {type(error).__name__}: {str(error)[:200]}"

    def _late(self) -> bool:
        """Processor time, which unlike the wall's does not depend on what else the machine does."""
        return time.process_time() > self._job.cpu_seconds

    def _phase(self, name: str, script: str) -> None:
        module = starlark.Module()
        module["FACTS"] = self._job.facts
        self._give(module, "make_package", "make_phase")
        call = f'load("{script}", function = "{name}")\nfunction(make_package(FACTS), make_phase("{name}"))\n'
        self._eval(module, "@driver", call, self._loader)

    def _give(self, module: starlark.Module, *names: str) -> None:
        """Put these names of the prelude into a module."""
        listed = ", ".join(f'"{name}"' for name in names)
        self._eval(module, "@driver", f'load("@prelude", {listed})\n', self._own)

    def _eval(self, module: starlark.Module, name: str, text: str, loader: starlark.FileLoader) -> None:
        tree = starlark.parse(name, text, self._dialect)
        starlark.eval_with(self._options, module, tree, self._globals, loader)

    def _load(self, name: str) -> starlark.FrozenModule:
        found = self._modules.get(name)
        if found is not None:
            return found
        text = self._text(name)
        if name in self._loading:
            raise ValueError(f"{name} loads itself: {' → '.join([*self._loading, name])}")
        self._loading.append(name)
        try:
            module = starlark.Module()
            self._give(module, *GLOBALS)
            with self._recorder.outside():
                self._eval(module, name, text, self._loader)
        except starlark.StarlarkError as error:
            self._innermost = self._innermost or str(error)  # whoever loads it only quotes it
            raise
        else:
            found = self._modules[name] = module.freeze()
        finally:
            self._loading.pop()
        return found

    def _text(self, name: str) -> str:
        table: Mapping[str, str] = self._job.std if name.startswith("@std//") else self._job.files
        found = table.get(name.removeprefix("@std//"))
        if found is None:
            known = "the package's .star files" if not name.startswith("@") else "@std//" + ", @std//".join(table)
            raise ValueError(f"{name!r} cannot be loaded: only {known} can")
        return found
