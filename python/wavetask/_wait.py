"""Waiting on behalf of a user: progress is shown, and Ctrl-C stops the waiting, not the tasks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Protocol

from wavetask import _progress, errors


class Awaited(_progress.Shown, Protocol):
    """What can be waited for: a batch or a task."""

    @property
    def _comeback(self) -> str: ...
    @property
    def _progress_wish(self) -> bool | str | None: ...


@contextlib.contextmanager
def waiting(awaited: Awaited) -> Iterator[None]:
    """A block that waits: shows progress, and at Ctrl-C says how to come back before it lets it through."""
    try:
        with _progress.renderer().watch(awaited, awaited._progress_wish):
            yield
    except KeyboardInterrupt:
        tell(awaited)
        raise


def tell(awaited: Awaited) -> None:
    """Says that the tasks go on, and how to come back to them."""
    # A second Ctrl-C at this moment costs the line and nothing else.
    with contextlib.suppress(KeyboardInterrupt):
        _progress.renderer().say(
            f"Stopped waiting; the tasks go on. Come back with: wavetask.open({awaited._comeback!r})"
        )


class Deadline:
    """The end of a time that the caller gave; ``None`` is forever."""

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self._end = None if timeout is None else time.monotonic() + timeout

    def left(self) -> float | None:
        """Seconds until then; 0 once it is over."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def over(self, what: str) -> errors.TimedOut:
        """The error that says so."""
        return errors.TimedOut(
            f"{what} within {self.timeout:g} s",
            code="client.timed_out",
            hint="the work goes on; wait again or longer",
        )
