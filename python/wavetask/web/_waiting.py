"""Waiting for several tasks: each as it ends."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wavetask import Batch, Task


def as_ended(tasks: Mapping[str, Task], batch: Batch | None = None) -> Iterator[tuple[str, Task]]:
    """Name and task of each, in the order in which they end, whatever became of them.

    ``batch`` is that which they are the members of, if there is one: its progress is shown meanwhile.
    """
    if batch is not None and len(batch) == len(tasks):
        names = {task.key: name for name, task in tasks.items()}
        for task in batch.as_completed():
            yield names[task.key], task
    elif len(tasks) == 1:
        for name, task in tasks.items():
            task.wait()
            yield name, task
    else:
        ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        for name, task in tasks.items():
            task.add_done_callback(lambda _, name=name: ended.put(name))  # type: ignore[misc]
        for _ in tasks:
            name = ended.get()
            yield name, tasks[name]
