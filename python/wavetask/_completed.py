"""The tasks of a batch as they end, and what became of them together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import TYPE_CHECKING, Any

from wavetask import _bridge, _native, _progress, _wait, errors

if TYPE_CHECKING:
    from wavetask._batch import Batch
    from wavetask._task import Task


class Completed:
    """The tasks of a batch as they end: an iterator for ``for`` and ``next``, and for ``async for``."""

    def __init__(self, batch: Batch, deadline: _wait.Deadline) -> None:
        self._batch = batch
        self._deadline = deadline
        self._blocking: Generator[Task, None, None] | None = None

    def __iter__(self) -> Completed:
        return self

    def __next__(self) -> Task:
        if self._blocking is None:
            self._blocking = blocking(self._batch, self._deadline)
        try:
            return next(self._blocking)
        except StopIteration:
            self._batch._raise_source_error()
            raise

    async def __aiter__(self) -> AsyncIterator[Task]:
        async for task in awaiting(self._batch, self._deadline):
            yield task
        self._batch._raise_source_error()


def blocking(batch: Batch, deadline: _wait.Deadline) -> Generator[Task, None, None]:
    """The tasks as they end, for blocked threads."""
    port = _native.Port()
    order: list[Task] = []

    def listen(task: Task | None) -> None:
        if task is None:
            port.push(0)
            return
        order.append(task)
        task._handle().watch(port, len(order))

    batch._listen(listen)
    try:
        ended, complete = 0, False
        while not (complete and ended == len(order)):
            # What ended already comes without any show.
            tokens = port.drain()
            if not tokens:
                with _wait.waiting(batch):
                    tokens = port.wait(deadline.left())
            if not tokens:
                raise deadline.over(f"{len(order) - ended} tasks of `{batch.name}` did not end")
            complete = complete or 0 in tokens
            for token in tokens:
                if token:
                    ended += 1
                    yield order[token - 1]
    finally:
        batch._unlisten(listen)
        _progress.renderer().settle(batch)


async def awaiting(batch: Batch, deadline: _wait.Deadline) -> AsyncIterator[Task]:
    """The tasks as they end, for coroutines."""
    here = _bridge.port()
    arrived: asyncio.Queue[Task | None] = asyncio.Queue()
    tokens: set[int] = set()
    known = 0

    def arrive(token: int, task: Task | None) -> None:
        tokens.discard(token)
        arrived.put_nowait(task)

    def listen(task: Task | None) -> None:
        nonlocal known
        # Called by the thread that packs, too: the loop hears of it through the port.
        slot: list[int] = []
        token = here.expect(lambda: arrive(slot[0], task))
        slot.append(token)
        tokens.add(token)
        if task is None:
            here.native.push(token)
        else:
            known += 1
            task._handle().watch(here.native, token)

    batch._listen(listen)
    try:
        ended, complete = 0, False
        while not (complete and ended == known):
            if arrived.empty():
                with _wait.waiting_quietly(batch):
                    try:
                        task = await asyncio.wait_for(arrived.get(), deadline.left())
                    except asyncio.TimeoutError:
                        late = deadline.over(f"{known - ended} tasks of `{batch.name}` did not end")
                        raise late from None
            else:
                task = arrived.get_nowait()
            if task is None:
                complete = True
            else:
                ended += 1
                yield task
    finally:
        batch._unlisten(listen)
        for token in tokens:
            here.forget(token)
        _progress.renderer().settle(batch)


class Failed:
    """Stands for a result that is not there."""

    def __init__(self, error: errors.WavetaskError) -> None:
        self.error = error


def outcome(function: Callable[[], Any]) -> Any:
    """What a function gives, or that it failed."""
    try:
        return function()
    except errors.WavetaskError as error:
        return Failed(error)


def of_several(batch: Batch, failures: dict[str, errors.WavetaskError]) -> errors.WavetaskError:
    """One error for several: of the first one's class."""
    first = next(iter(failures.values()))
    if len(failures) == 1 and len(batch) == 1:
        error = first
    else:
        error = type(first)(
            f"{len(failures)} of {len(batch)} tasks of `{batch.name}` did not succeed; the first: {first.message}",
            code=first.code,
            hint=first.hint,
            task=first.task,
        )
        error.__cause__ = first
        error._of_several = True
    error.failures = failures
    return error
