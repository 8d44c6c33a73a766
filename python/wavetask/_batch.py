"""A batch: many tasks under one name, a mapping from keys to tasks."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from wavetask import _bridge, _completed, _native, _render, _shape, _table, _wait, errors
from wavetask._leaving import Leaving
from wavetask._task import Task

if TYPE_CHECKING:
    import pandas

    from wavetask._client import Client

__all__ = ["Batch", "BatchProgress", "Waited"]

FIRST_COMPLETED = "FIRST_COMPLETED"
FIRST_EXCEPTION = "FIRST_EXCEPTION"
ALL_COMPLETED = "ALL_COMPLETED"


class BatchProgress(NamedTuple):
    """How far a batch is."""

    percent: float
    """Of the whole: 0 to 100."""
    counts: dict[str, int]
    """How many tasks have which status; statuses without tasks are missing."""


class Waited(NamedTuple):
    """What `Batch.wait` found; the same names as with `concurrent.futures.wait`."""

    done: set[Task]
    not_done: set[Task]


class Batch(Leaving, Mapping[str, Task]):
    """Tasks that were submitted together: a mapping from their keys, in order.

    >>> scan = wt.submit({"I=4mA": a, "I=5mA": b}, name="heater sweep")
    >>> scan["I=4mA"].result()
    >>> for task in scan.as_completed():      # as they end, whatever the order
    ...     print(task.key, task.status)
    >>> async for task in scan:               # the same in async code
    ...     data = await task
    >>> scan.results()                        # {key: result}; raises if some failed
    >>> scan.tree(lambda task: task.result()) # in the containers that were submitted

    One bad member never sinks the rest: each task has its own error, and what waits for all of them reports the
    errors at the end. With a generator, tasks appear as it gives simulations; of a batch that another process submits
    and that was opened by name, as they come to the server. What waits for all of them waits for those that come.
    """

    def __init__(
        self,
        name: str,
        client: Client,
        *,
        native: _native.Batch | None = None,
        shape: Any = None,
        progress: bool | str | None = None,
    ) -> None:
        self._name = name
        self._client = client
        self._native = native
        self._shape = shape
        self._progress_wish = progress
        self._process = os.getpid()
        self._begun = time.monotonic()
        self._lock = threading.Lock()
        self._members: dict[str, Task] = {}
        self._complete = False
        self._cancelled = False
        self._source_error: BaseException | None = None
        self._listeners: list[Callable[[Task | None], None]] = []
        client._batches[name] = self

    # Membership, as the submission or the server tells it.

    def _add(self, task: Task) -> bool:
        """Takes a member in; refuses it if the batch was cancelled before."""
        with self._lock:
            if self._cancelled:
                return False
            self._members[task.key] = task
            for listener in self._listeners:
                listener(task)
            return True

    def _close(self, error: BaseException | None = None) -> None:
        """All members are there; ``error`` is what the generator of simulations raised."""
        with self._lock:
            self._complete = True
            self._source_error = error
            for listener in self._listeners:
                listener(None)
            self._listeners.clear()

    def _listen(self, listener: Callable[[Task | None], None]) -> None:
        """Tells of every member, also of later ones, then ``None``."""
        self._here()
        with self._lock:
            for task in self._members.values():
                listener(task)
            if self._complete:
                listener(None)
            else:
                self._listeners.append(listener)

    def _forked(self) -> None:
        """In a forked child: whoever held the lock or listened is not here."""
        self._lock = threading.Lock()
        self._listeners = []

    def _here(self) -> None:
        """In a forked child, finds the batch again at the server: what fed it is the parent's.

        Raises `errors.NotFound` while the parent has not sent all of it.
        """
        if self._process == os.getpid():
            return
        with self._lock:
            if self._process == os.getpid():
                return
            client = self._client._in_this_process()
            members = self._all_of_it(client)
            try:
                native = client._native.open_batch(self._name)
                found = {member.key: member for member in native.tasks()}
            except errors.NotFound:
                found = {}
            if (
                not found
                or members is None
                or len(found) < members
                or any(key not in found for key in self._members)
            ):
                raise errors.NotFound(
                    f"not all of the batch `{self._name}` had left the process that submitted it",
                    code="client.forked",
                    hint="ask again in a moment, or fork once all of it is queued",
                )
            for key, member in found.items():
                if key in self._members:
                    self._members[key]._move(member, client)
                else:
                    self._members[key] = Task(member, client, progress=self._progress_wish)
            self._native, self._client, self._process = native, client, os.getpid()
            client._batches[self._name] = self
            self._complete = True

    def _all_of_it(self, client: Client) -> int | None:
        """How many members it has; ``None`` while more may be added."""
        if self._complete:
            return len(self._members)
        rows = [row for row in client.batches(self._name) if row["name"] == self._name and row["complete"]]
        return int(rows[0]["members"]) if rows else None

    def _unlisten(self, listener: Callable[[Task | None], None]) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._listeners.remove(listener)

    # The mapping.

    @property
    def name(self) -> str:
        """Its name: `wavetask.open` finds it by that, anywhere and any time."""
        return self._name

    @property
    def url(self) -> str:
        """Where the server answers."""
        return self._client.url

    @property
    def tasks(self) -> list[Task]:
        """The tasks in order; while a generator still gives simulations, those so far."""
        self._here()
        with self._lock:
            return list(self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            return iter(list(self._members))

    def __getitem__(self, key: object) -> Task:
        """A task by its key; an integer that is no key counts from the beginning, or from the end if negative."""
        with self._lock:
            task = self._members.get(str(key))
            if task is None and isinstance(key, int) and -len(self._members) <= key < len(self._members):
                task = list(self._members.values())[key]
        if task is None:
            some = ", ".join(list(self)[:5])
            raise errors.NotFound(
                f"the batch `{self.name}` has no task `{key}`",
                code="batch.no_such_key",
                hint=f"its keys are {some}{', …' if len(self) > 5 else ''}" if some else None,
            )
        return task

    def __contains__(self, key: object) -> bool:
        return str(key) in self._members

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def tree(self, leaf: Callable[[Task], Any] = lambda task: task) -> Any:
        """The containers as they were submitted, with the task (or what ``leaf`` makes of it) in each place.

        Of a batch that was opened by name, the keys alone are known: their parts become dicts, or lists where they
        count 0, 1, 2, …
        """
        shape = self._shape if self._shape is not None else _shape.guess(self)
        return _shape.rebuild(shape, lambda key: leaf(self[key]))

    # How it is.

    @property
    def status(self) -> str:
        """``running`` while something happens; then ``done`` if all tasks are, else the worst of ``cancelled``,
        ``waiting-for-data`` and ``failed``."""
        counts = self.progress.counts
        if not self._complete or any(
            status not in ("done", "failed", "cancelled", "waiting-for-data") for status in counts
        ):
            return "running"
        return next((end for end in ("failed", "waiting-for-data", "cancelled") if end in counts), "done")

    @property
    def progress(self) -> BatchProgress:
        """How far it is as a whole."""
        snapshot = self._snapshot()
        return BatchProgress(snapshot.percent, snapshot.counts)

    def done(self) -> bool:
        """Whether all its tasks have ended, well or not."""
        tasks = self.tasks
        return self._complete and all(task.done() for task in tasks)

    def table(self) -> pandas.DataFrame:
        """A pandas table: a row per task by its key (its name within the batch), with parameters, state, times and id.

        Raises `errors.Usage` if pandas is not installed; `rows` gives the same without.
        """
        try:
            import pandas
        except ImportError as error:
            raise errors.Usage(
                "table() needs pandas",
                code="client.no_pandas",
                hint="pip install pandas, or use batch.rows()",
            ) from error
        rows = self.rows()
        table = pandas.DataFrame(rows, index=pandas.Index([row["key"] for row in rows], name="key"))
        return table.drop(columns="key", errors="ignore")

    def rows(self) -> list[dict[str, Any]]:
        """What `table` shows, as plain dicts."""
        return _table.rows_of(self.tasks)

    # Waiting for it.

    def as_completed(self, timeout: float | None = None) -> _completed.Completed:
        """The tasks as they end, well or not: for ``for`` and for ``async for``.

        Raises `errors.TimedOut` while iterating if not all have ended ``timeout`` seconds after the call.
        """
        return _completed.Completed(self, _wait.Deadline(timeout))

    def __aiter__(self) -> AsyncIterator[Task]:
        return self.as_completed().__aiter__()

    def wait(self, timeout: float | None = None, return_when: str = ALL_COMPLETED) -> Waited:
        """Waits until all have ended, the first has (``FIRST_COMPLETED``) or the first has failed
        (``FIRST_EXCEPTION``), or the time is over. Never raises for how a task ended."""
        if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
            raise errors.Usage(
                f"return_when takes {ALL_COMPLETED}, {FIRST_COMPLETED} or {FIRST_EXCEPTION}, not {return_when!r}",
                code="client.return_when",
            )
        done: set[Task] = set()
        with (
            contextlib.suppress(errors.TimedOut),
            contextlib.closing(_completed.blocking(self, _wait.Deadline(timeout))) as completed,
        ):
            for task in completed:
                done.add(task)
                if return_when == FIRST_COMPLETED:
                    break
                if return_when == FIRST_EXCEPTION and task.status != "done":
                    break
        done.update(task for task in self.tasks if task.done())
        return Waited(done, {task for task in self.tasks if task not in done})

    def results(self, return_exceptions: bool = False, timeout: float | None = None) -> dict[str, Any]:
        """Waits for all, and gives their results by key, in order.

        Tasks that failed raise one error at the end: that of the first of them, with all in its ``failures``. With
        ``return_exceptions`` their errors take their results' places instead.
        """
        gathered: dict[str, Any] = {}
        for task in self.as_completed(timeout):
            gathered[task.key] = _completed.outcome(task.result)
        self._raise_source_error()
        return self._sorted(gathered, return_exceptions)

    def __await__(self) -> Generator[Any, None, dict[str, Any]]:
        return self._async_results().__await__()

    async def _async_results(self) -> dict[str, Any]:
        gathered: dict[str, Any] = {}
        built: list[asyncio.Task[None]] = []

        async def build(task: Task) -> None:
            gathered[task.key] = await _bridge.in_background(lambda: _completed.outcome(task._settled_result))

        try:
            async for task in self.as_completed():
                built.append(asyncio.ensure_future(build(task)))
            await asyncio.gather(*built)
        finally:
            for each in built:
                each.cancel()
        self._raise_source_error()
        return self._sorted(gathered, False)

    def _sorted(self, gathered: dict[str, Any], return_exceptions: bool) -> dict[str, Any]:
        outcomes = {key: gathered[key] for key in self if key in gathered}
        failures = {key: one.error for key, one in outcomes.items() if isinstance(one, _completed.Failed)}
        if failures and not return_exceptions:
            raise _completed.of_several(self, failures)
        return {
            key: one.error if isinstance(one, _completed.Failed) else one for key, one in outcomes.items()
        }

    def _raise_source_error(self) -> None:
        if self._source_error is not None:
            raise self._source_error

    # Doing something about it.

    def cancel(self) -> None:
        """Stops all tasks that have not ended. A generator of simulations is asked for no more of them and closed."""
        self._here()
        with self._lock:
            self._cancelled = True
        # Whoever waits must not wait for a generator that may be at work for long: nothing of it counts any more.
        if not self._complete:
            self._close()
        for task in self.tasks:
            task._unwanted = True
        self._each(lambda task: task.cancel(), lambda native: native.cancel())

    def retry(self) -> None:
        """Runs those again that ended without a result."""
        self._each(lambda task: task.retry(), lambda native: native.retry())

    def delete(self) -> None:
        """Deletes all its tasks at the server with their results, in a request per thousand; those that have not ended
        are stopped first. It cannot be undone."""
        if not self._complete:
            self.cancel()
        for task in self.tasks:
            task._unwanted = True
        self._each(lambda task: task.delete(), lambda native: native.delete())
        if self._client._batches.get(self._name) is self:
            del self._client._batches[self._name]

    def start(self) -> None:
        """Starts those that were submitted with ``hold=True``, those that have not reached the server yet once they
        have."""
        self._each(lambda task: task.start(), lambda native: native.start())

    def _each(self, one: Callable[[Task], None], together: Callable[[_native.Batch], None]) -> None:
        self._here()
        if self._native is not None:
            together(self._native)
            return
        for task in self.tasks:
            one(task)

    def save(self, folder: str | os.PathLike[str]) -> dict[str, str]:
        """Waits, and writes each result to ``folder/key.hdf5``; the paths by key. Tasks that failed raise at the
        end, as with `results`."""
        paths: dict[str, Any] = {}
        for task in self.as_completed():
            path = os.path.join(os.fspath(folder), *task.key.split("/")) + ".hdf5"  # noqa: PTH118
            paths[task.key] = _completed.outcome(functools.partial(_saved, task, path))
        self._raise_source_error()
        return self._sorted(paths, False)

    # Inside.

    @property
    def _comeback(self) -> str:
        return self.name

    def _snapshot(self) -> _render.Snapshot:
        self._here()
        if self._native is not None:
            counts, percent = self._native.progress()
        else:
            statuses = [task._handle().status() for task in self.tasks]
            counts = {}
            percent = 0.0
            for status in statuses:
                counts[status.phase] = counts.get(status.phase, 0) + 1
                percent += 100.0 if status.phase == "done" else status.percent or 0.0
            percent /= max(1, len(statuses))
        return _render.Snapshot(self.name, counts, self._complete, percent, time.monotonic() - self._begun)

    def __reduce__(self) -> tuple[Any, ...]:
        from wavetask import _client

        return _client._reopen_batch, (self._client._where, self.name)

    def __repr__(self) -> str:
        # wavetask.Batch('heater sweep', 37 of 100 done, 2 failed, 61 running)
        return f"wavetask.Batch({self.name!r}, {_render.words(self._snapshot())})"

    def _repr_html_(self) -> str:
        return f"{_render.markup(self._snapshot())}{_table.markup(self.rows())}"


def _saved(task: Task, path: str) -> str:
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
    task.save(path)
    return path


def opened(native: _native.Batch, client: Client, progress: bool | str | None = None) -> Batch:
    """A batch that the server or the journal knows. While another process submits it, members come here as they come
    to the server."""
    batch = Batch(native.name, client, native=native, progress=progress)
    _grow(weakref.ref(batch), native, 0)
    return batch


def _grow(reference: weakref.ref[Batch], native: _native.Batch, taken: int) -> None:
    """Takes in what has come after the first ``taken`` members, and waits for more, as long as somebody holds the
    batch."""
    batch = reference()
    if batch is None or batch._native is not native:
        return
    # Asked first: then those that are there are all.
    sealed = native.sealed()
    for member in native.tasks(taken):
        taken += 1
        if not batch._add(Task(member, batch._client, progress=batch._progress_wish)):
            # It was cancelled before this one came.
            member.cancel()
    if sealed:
        if not batch._complete:
            batch._close()
        return
    _bridge.watcher().when_finished(
        lambda port, token: native.watch_growth(taken, port, token), lambda: _grow(reference, native, taken)
    )
