"""What a submission runs after: tasks, whole batches and ids, some of which the server may not know yet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from wavetask import _native, errors
from wavetask._batch import Batch
from wavetask._task import Task

if TYPE_CHECKING:
    from wavetask._client import Client

__all__ = ["After"]

FEW = 16
"""Tasks that each member waits for by itself. More are gathered by one more task, which all members wait for: a batch
after a batch of hundreds would otherwise be hundreds of times hundreds of dependencies."""

GATHERED = 500
"""Tasks that one such task waits for."""


class After:
    """The tasks that must have succeeded before the members of a submission start."""

    def __init__(self, given: Iterable[Task | Batch | str] | Task | Batch | str, client: Client) -> None:
        """Raises `errors.Usage` for what is none of these, belongs to another server, or cannot be waited for."""
        items = [given] if isinstance(given, (Task, Batch, str)) else list(given)
        self._client = client
        self._tasks: dict[int, Task] = {}
        self._batches: list[Batch] = []
        self._ids: list[str] = []
        for item in items:
            if isinstance(item, str):
                self._ids.append(item)
            elif isinstance(item, (Task, Batch)):
                self._take(item)
            else:
                raise errors.Usage(
                    f"`after` takes tasks, batches and ids of tasks, not a {type(item).__name__}",
                    code="submit.after",
                )
        self._ids = list(dict.fromkeys(self._ids))
        if items and not client._native.evaluates():
            raise errors.Usage(
                f"the server at {client.url} cannot have tasks wait for others, so nothing runs `after` something there",
                code="submit.after_unsupported",
                hint="wait for the others, then submit these",
            )
        self._gathering: list[_native.Task] | None = None

    def _take(self, item: Task | Batch) -> None:
        if item._client._where != self._client._where:
            raise errors.Usage(
                f"`{item.name}` is at another server, so nothing can run after it here",
                code="submit.after",
                hint="submit both to the same server",
            )
        if isinstance(item, Task):
            self._tasks[id(item)] = item
        elif item._complete and item._source_error is None:
            for task in item.tasks:
                self._tasks[id(task)] = task
        else:
            self._batches.append(item)

    @property
    def ids(self) -> list[str]:
        """Those that every member can name at once."""
        return [] if len(self._ids) > FEW else self._ids

    def handles(
        self, cancelled: Callable[[], bool], begin: Callable[[list[str]], _native.Submission]
    ) -> list[_native.Task]:
        """The others: handles that need not have an id yet. Waits until batches that still grow have all their tasks.

        ``begin`` makes a submission for tasks that gather many, which run after tasks of these ids. Raises
        `errors.InputFailed` if a batch does not get all its tasks, `errors.Cancelled` if ``cancelled`` says so first.
        """
        if self._gathering is None:
            for batch in self._batches:
                self._whole(batch, cancelled)
            tasks = [task._handle() for task in self._tasks.values()]
            self._gathering = self._gathered(tasks, begin)
        return self._gathering

    def _whole(self, batch: Batch, cancelled: Callable[[], bool]) -> None:
        """Waits until a batch has all its tasks."""
        complete = threading.Event()

        def listen(task: Task | None) -> None:
            if task is None:
                complete.set()

        batch._listen(listen)
        try:
            while not complete.wait(0.1):
                if cancelled():
                    raise errors.Cancelled("it was cancelled before it was packed", code="task.aborted")
        finally:
            batch._unlisten(listen)
        if batch._source_error is not None:
            raise errors.InputFailed(
                f"the batch `{batch.name}`, which it runs after, did not get all its tasks",
                code="task.input_not_submitted",
                hint="what its generator raised is the cause",
            ) from batch._source_error
        for task in batch.tasks:
            self._tasks[id(task)] = task

    def _gathered(
        self, tasks: list[_native.Task], begin: Callable[[list[str]], _native.Submission]
    ) -> list[_native.Task]:
        ids = [] if self.ids or not self._ids else self._ids
        if len(tasks) + len(self._ids) <= FEW:
            return tasks
        level = 0
        while len(tasks) > FEW or ids:
            parts = [tasks[start : start + GATHERED] for start in range(0, len(tasks), GATHERED)] or [[]]
            submission = begin(ids)
            gathering = []
            for number, part in enumerate(parts):
                native, pending = submission.add(f"{level}/{number}", None, {})
                pending.gather(part, ids)
                gathering.append(native)
            submission.finish()
            tasks, ids, level = gathering, [], level + 1
        return tasks


def elsewhere(tasks: Iterable[Any], client: Client) -> None:
    """Refuses tasks of another server."""
    for task in tasks:
        if task._client._where != client._where:
            raise errors.Usage(
                f"`{task.name}` is a task of another server, so its result cannot be referred to here",
                code="reference.elsewhere",
                hint="submit to the same server, or pass what reference.load() gives",
                task=task,
            )
