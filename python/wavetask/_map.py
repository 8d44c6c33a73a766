"""An ordinary function for many values, its simulations overlapping, without splitting it into before and after.

Each value is worked on by a thread of its own. A thread that waits for a simulation costs nothing but a little memory
(it waits in native code, with the interpreter lock released), so hundreds are cheap; what the functions compute in
Python still takes turns. Threads belong to their map: a function may call `map` itself without waiting for a place in
a pool that its caller fills.

Only what is submitted through wavetask overlaps and is cancelled: `wavetask.submit` and `wavetask.web`, not
`tidy3d.web`.
"""

from __future__ import annotations

import contextvars
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from wavetask import _wait, errors
from wavetask._scope import Scope

__all__ = ["DEFAULT_WORKERS", "Map", "map"]

Value = TypeVar("Value")
Result = TypeVar("Result")

DEFAULT_WORKERS = 256
"""Values that are worked on at once unless ``max_workers`` says otherwise."""

_THREADS = threading.Semaphore(2048)
"""Threads of all maps together: nested maps beyond it work through their values in the caller's thread."""


def map(
    function: Callable[[Value], Result], values: Iterable[Value], max_workers: int | None = None
) -> Map[Value, Result]:
    """Calls ``function`` for each of the values, many at once; the simulations that it runs overlap.

    >>> def peak(width):
    ...     data = web.run(simulation(width), task_name=f"width {width}")   # wavetask.web
    ...     return float(data["temperature"].temperature.max())
    >>> peaks = list(wt.map(peak, widths))                                  # in the order of the values

    Work starts at once. ``values`` may be an iterator; it is asked for a value when one can be worked on, from one
    thread at a time. ``max_workers`` values (256) are worked on at once.
    """
    if max_workers is not None and max_workers < 1:
        raise errors.Usage(f"max_workers is {max_workers}: at least one is needed", code="map.workers")
    return Map(function, values, max_workers or DEFAULT_WORKERS)


class _Item(Generic[Value, Result]):
    """One value and what became of it."""

    __slots__ = ("ended", "error", "result", "value")

    def __init__(self, value: Value) -> None:
        self.value = value
        self.ended = False
        self.result: Result | None = None
        self.error: BaseException | None = None


class Map(Generic[Value, Result]):
    """The results of `map`, in order, as they come: an iterator once, a collection as often as one likes.

    Iterating waits for each result in turn and raises the exception of a value when its turn comes; asking for the
    next one afterwards goes on. `results` waits for all.
    """

    def __init__(
        self, function: Callable[[Value], Result], values: Iterable[Value], max_workers: int
    ) -> None:
        self._function = function
        self._scope = Scope()
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._process = os.getpid()
        self._taking = threading.Lock()
        self._source: Iterator[Value] = iter(values)
        self._exhausted = False
        self._source_error: BaseException | None = None
        self._items: list[_Item[Value, Result]] = []
        self._ended: list[_Item[Value, Result]] = []
        self._threads = 0
        self._most = max_workers
        self._next = 0
        self._grow()

    # Reading.

    def __iter__(self) -> Iterator[Result]:
        return self

    def __next__(self) -> Result:
        item = self._wait_for(self._next)
        if item is None:
            if self._source_error is not None:
                raise self._source_error
            raise StopIteration
        self._next += 1
        if item.error is not None:
            raise item.error
        return cast("Result", item.result)

    def results(self, return_exceptions: bool = False) -> list[Any]:
        """All results in order, whatever was iterated before.

        Waits for all values; then raises the first exception, or with ``return_exceptions`` gives exceptions in the
        places of results.
        """
        for index in itertools.count():
            if self._wait_for(index) is None:
                break
        if self._source_error is not None and not return_exceptions:
            raise self._source_error
        if not return_exceptions:
            for item in self._items:
                if item.error is not None:
                    raise item.error
        return [item.result if item.error is None else item.error for item in self._items]

    def as_completed(self) -> Iterator[tuple[Value, Result]]:
        """Pairs of value and result as they end, whatever the order; raises the exceptions of values likewise.

        Whoever wants the other values in spite of an exception uses `results`.
        """
        self._check_process()
        for count in itertools.count():
            while True:
                with self._lock:
                    if count < len(self._ended):
                        item = self._ended[count]
                        break
                    if self._exhausted and count == len(self._items):
                        if self._source_error is not None:
                            raise self._source_error
                        return
                    if not self._nobody_works():
                        self._wait_for_change()
                        continue
                self._work_once()
            if item.error is not None:
                raise item.error
            yield item.value, cast("Result", item.result)

    def done(self) -> bool:
        """Whether all values have ended, well or not."""
        self._check_process()
        with self._lock:
            return self._exhausted and all(item.ended for item in self._items)

    # Stopping.

    def cancel(self) -> None:
        """Takes no more values and cancels the tasks that running calls have submitted; those calls then raise
        `errors.Cancelled` unless they catch it. Does not wait."""
        self._check_process()
        self._scope.cancel()
        with self._lock:
            self._exhausted = True
            self._changed.notify_all()

    def __enter__(self) -> Map[Value, Result]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """An exception cancels what is left; otherwise waits for all."""
        if kind is not None:
            self.cancel()
        else:
            self.results(return_exceptions=True)

    def __repr__(self) -> str:
        with self._lock:
            ended = sum(item.ended for item in self._items)
            left = "" if self._exhausted else ", more to come"
            return f"wavetask.Map({ended} of {len(self._items)} done{left})"

    # Working.

    def _grow(self) -> None:
        """One more thread if there may be more to do; threads start each other, so none is started for nothing."""
        with self._lock:
            if self._exhausted or self._threads >= self._most:
                return
            if not _THREADS.acquire(blocking=False):
                return
            self._threads += 1
        thread = threading.Thread(target=self._serve, name="wavetask-map", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads, or the interpreter ends
            with self._lock:
                self._threads -= 1
            _THREADS.release()

    def _serve(self) -> None:
        try:
            while (item := self._take()) is not None:
                self._grow()
                self._run(item)
                del item
        finally:
            _THREADS.release()
            with self._lock:
                self._threads -= 1
                self._changed.notify_all()

    def _take(self) -> _Item[Value, Result] | None:
        """The next value, or ``None`` if there are no more."""
        with self._taking:  # an iterator is no matter for two threads
            with self._lock:
                if self._exhausted:
                    return None
            try:
                value = next(self._source)
            except StopIteration:
                value_error: BaseException | None = None
            except BaseException as error:
                value_error = error
            else:
                item = _Item[Value, Result](value)
                return item if self._append(item) else None
            with self._lock:
                self._exhausted = True
                self._source_error = value_error
                self._changed.notify_all()
            return None

    def _append(self, item: _Item[Value, Result]) -> bool:
        """Takes a value in, unless the map was cancelled while the source made it."""
        with self._lock:
            if not self._exhausted:
                self._items.append(item)
                return True
            return False

    def _run(self, item: _Item[Value, Result]) -> None:
        def call() -> Result:
            with self._scope.entered():
                return self._function(item.value)

        try:
            if self._scope.cancelled:
                raise errors.Cancelled("the map was cancelled before this value's turn", code="map.cancelled")
            result = self._context.copy().run(call)
        except BaseException as error:
            item.error = error
        else:
            item.result = result
        with self._lock:
            item.ended = True
            self._ended.append(item)
            self._changed.notify_all()

    def _wait_for(self, index: int) -> _Item[Value, Result] | None:
        """The item once it has ended; ``None`` if there is none."""
        self._check_process()
        while True:
            with self._lock:
                if index < len(self._items):
                    if self._items[index].ended:
                        return self._items[index]
                elif self._exhausted:
                    return None
                if not self._nobody_works():
                    self._wait_for_change()
                    continue
            self._work_once()

    def _wait_for_change(self) -> None:
        """Waits until a value has ended or there are no more. The lock is held."""
        try:
            self._changed.wait()
        except KeyboardInterrupt:
            _wait.tell(_wait.waited())
            raise

    def _check_process(self) -> None:
        """In a forked child nobody works on the map: it would be waited for forever."""
        if self._process != os.getpid():
            raise errors.Usage(
                "the map runs in the process that called wavetask.map()",
                code="map.forked",
                hint="take its results there, or call wavetask.map() in the child",
            )

    def _nobody_works(self) -> bool:
        """Whether nobody works on this map though there is work: no thread was to be had. The lock is held."""
        return self._threads == 0 and not self._exhausted

    def _work_once(self) -> None:
        self._grow()
        with self._lock:
            if not self._nobody_works():
                return
        item = self._take()
        if item is not None:
            self._run(item)
