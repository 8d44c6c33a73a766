"""Which tasks belong to the call that is running now, so that cancelling the call can cancel them.

A scope is a context variable: threads and coroutines that carry the context of the call register what they submit.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import weakref
from collections.abc import Iterator
from typing import Protocol


class Cancellable(Protocol):
    """What a scope can stop: tasks, batches, scopes."""

    def cancel(self) -> object: ...


class Scope:
    """The tasks of one call; cancelling it cancels them and whatever is registered later."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._members: weakref.WeakSet[Cancellable] = weakref.WeakSet()
        self._cancelled = False
        outer = _current.get()
        self._outer = outer
        if outer is not None:
            outer.register(self)

    @property
    def cancelled(self) -> bool:
        """Whether this scope, or one around it, was cancelled."""
        return self._cancelled

    def register(self, member: Cancellable) -> None:
        """Takes a member in; it is cancelled at once if the scope was."""
        with self._lock:
            self._members.add(member)
            cancelled = self._cancelled
        if cancelled:
            _cancel(member)

    def cancel(self) -> None:
        """Cancels all members, now and later ones. Does nothing the second time."""
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
            members = list(self._members)
        for member in members:
            _cancel(member)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Within the block, what is submitted is registered here."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


def _cancel(member: Cancellable) -> None:
    from wavetask import errors

    # A server that is gone has nothing to cancel, and the others must still hear of it.
    with contextlib.suppress(errors.WavetaskError):
        member.cancel()


_current: contextvars.ContextVar[Scope | None] = contextvars.ContextVar("wavetask_scope", default=None)


def register(member: Cancellable) -> None:
    """Registers a member with the scope of the running call, if there is one."""
    scope = _current.get()
    if scope is not None:
        scope.register(member)
