"""Answers about the machine that are asked once a run: installed packages, running services.

Shared by all threads of a run. Whatever has an effect outside of files makes them forgotten, so that an
answer is never older than the last change of our own.
"""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Recall:
    """Answers by key. Two that ask at once cause one look."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._answers: dict[str, Any] = {}

    def answer(self, key: str, look: Callable[[], T]) -> T:
        """The kept answer; otherwise what `look` says, whose errors are not kept."""
        with self._lock:
            if key not in self._answers:
                self._answers[key] = look()
            answer: T = self._answers[key]
            return answer

    def forget(self) -> None:
        """Ask anew from here on."""
        with self._lock:
            self._answers.clear()
