"""Waiting on behalf of a user: progress is shown, and Ctrl-C stops the waiting, not the tasks.

A thread that waits here gets the `KeyboardInterrupt` itself and says at once how to come back. A coroutine gets a
cancellation that looks like any other, or nothing at all, and so does whoever waits for a future or for threads of its
own: what such waits were for is noted, and said when the process ends because nobody caught the interrupt.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Protocol

from wavetask import _bridge, _progress, errors


class Awaited(_progress.Shown, Protocol):
    """What can be waited for: a batch or a task."""

    @property
    def _comeback(self) -> str: ...
    @property
    def _progress_wish(self) -> bool | str | None: ...
    def done(self) -> bool:
        """Whether it has ended."""


@contextlib.contextmanager
def waiting(awaited: Awaited) -> Iterator[None]:
    """A block that waits: shows progress, and at Ctrl-C says how to come back before it lets it through."""
    try:
        with waiting_quietly(awaited):
            yield
    except KeyboardInterrupt:
        tell([awaited])
        raise


@contextlib.contextmanager
def waiting_quietly(awaited: Awaited) -> Iterator[None]:
    """A block in which a coroutine waits: shows progress; Ctrl-C is the event loop's matter."""
    begin(awaited)
    try:
        with _progress.renderer().watch(awaited, awaited._progress_wish):
            yield
    except Exception:
        end(awaited)
        raise
    except BaseException:
        # Cancelled, closed or interrupted: nobody knows yet whether this is how the process ends.
        end(awaited, left=True)
        raise
    else:
        end(awaited)


_MOST_LEFT = 64
_MOST_LINES = 8

_lock = threading.Lock()
_waited: dict[Awaited, int] = {}
"""What is waited for now, and by how many."""
_left: dict[str, Awaited] = {}
"""What was waited for until that was broken off; the last few of it."""
_told: set[str] = set()
"""What the user has been told how to come back to, and nobody has waited for since."""


def begin(awaited: Awaited) -> None:
    """Somebody waits for this from now on."""
    comeback = awaited._comeback
    with _lock:
        _waited[awaited] = _waited.get(awaited, 0) + 1
        _left.pop(comeback, None)
        _told.discard(comeback)


def end(awaited: Awaited, *, left: bool = False) -> None:
    """Somebody waits for it no longer; ``left``: though it has not ended."""
    with _lock:
        count = _waited.pop(awaited, 0) - 1
        if count > 0:
            _waited[awaited] = count
        if left:
            _left[awaited._comeback] = awaited
            while len(_left) > _MOST_LEFT:
                del _left[next(iter(_left))]


def waited() -> list[Awaited]:
    """What is waited for now, by any thread or coroutine, and what was until that was broken off."""
    with _lock:
        return [*_left.values(), *_waited]


def tell(several: Iterable[Awaited]) -> None:
    """Says that these tasks go on, and how to come back to them; not of those that have ended, and once of each."""
    # A second Ctrl-C at this moment costs the lines and nothing else.
    with contextlib.suppress(KeyboardInterrupt):
        _tell(several)


def _tell(several: Iterable[Awaited]) -> None:
    names = list(
        dict.fromkeys(
            awaited._comeback for awaited in several if awaited._comeback not in _told and not awaited.done()
        )
    )
    renderer = _progress.renderer()
    for name in names[:_MOST_LINES]:
        _told.add(name)
        renderer.say(f"Stopped waiting; the tasks go on. Come back with: wavetask.open({name!r})")
    if len(names) > _MOST_LINES:
        _told.update(names)
        renderer.say(f"and {len(names) - _MOST_LINES} more: `wavetask ls` lists them")


def tell_at_exit(submitted: Iterable[Awaited]) -> None:
    """At the end of the process: if an interrupt ends it, tells of what was submitted or waited for."""
    kind = getattr(sys, "last_type", None)
    if isinstance(kind, type) and issubclass(kind, KeyboardInterrupt):
        # A server that is gone must not keep the process from ending as it does.
        with contextlib.suppress(Exception):
            everything = [*waited(), *submitted]
            try:
                _tell(everything)
            except KeyboardInterrupt:  # of somebody impatient, who has seen nothing yet
                tell(everything)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _waited.clear()
    _left.clear()
    _told.clear()


_bridge.register_after_fork(_after_fork)


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
