"""One stage of the benchmark in a process of its own: prints its seconds and peak memory as JSON.

Imports happen before the clock starts: start-up is no cost of a node.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def idle() -> Callable[[], None]:
    _imports()
    return lambda: None


def _imports() -> None:
    import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401

    import requisition.runtime.apply
    import requisition.runtime.recover
    import requisition.stdlib.providers.file
    import requisition.stdlib.providers.sandbox
    import requisition.stdlib.providers.template  # noqa: F401


def _answer(request_fields: dict[str, object]) -> Callable[[], None]:
    _imports()
    from requisition.runtime.__main__ import _answer as answer
    from requisition.runtime.__main__ import _prepare_process
    from requisition.runtime.frames import Event, Request, write_frame
    from requisition.runtime.run import Watch

    _prepare_process()
    request = Request(**request_fields)  # type: ignore[arg-type]
    start = time.monotonic_ns()
    with open(os.devnull, "wb") as sink:
        out = os.fdopen(os.dup(sink.fileno()), "wb")

    def emit(event: Event) -> None:
        write_frame(out, event)

    watch = Watch(emit, lambda: (time.monotonic_ns() - start) // 1000, lambda: datetime.now(UTC), lambda: False)

    def work() -> None:
        result = answer(request, watch)
        if result.status != "done":
            raise SystemExit(f"{result.status}: {[str(d) for d in result.diagnostics[:3]]}")

    return work


def apply(order: str, source: str, state: str) -> Callable[[], None]:
    fields = {"verb": "apply", "state_dir": state, "order_path": order, "source_root": source}
    return _answer({**fields, "trust_path": str(_trust(order))})


def rollback(state: str) -> Callable[[], None]:
    return _answer({"verb": "rollback", "state_dir": state})


def _key_folder(order: str) -> Path:
    return Path(order).parent / "keys"


def _trust(order: str) -> Path:
    return _key_folder(order) / "trust.yaml"


def loop(package: str, target: str, count: str) -> Callable[[], None]:
    import reference

    reference.pin(package, int(count))
    return lambda: reference.main(package, target, int(count))


STAGES: dict[str, Callable[..., Callable[[], None]]] = {
    "idle": idle,
    "apply": apply,
    "rollback": rollback,
    "loop": loop,
}


def main() -> None:
    from authoring import AUTHORING

    work = (STAGES | AUTHORING)[sys.argv[1]](*sys.argv[2:])
    start, before = time.perf_counter(), _processor()
    work()
    seconds, processor = time.perf_counter() - start, _processor() - before
    peak = max(resource.getrusage(who).ru_maxrss for who in _WHO)
    print(json.dumps({"seconds": seconds, "processor": processor, "peak_kib": peak}))


def _processor() -> float:
    """Seconds of processor time, user and system, of this process and of children that ended."""
    used = [resource.getrusage(who) for who in _WHO]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
