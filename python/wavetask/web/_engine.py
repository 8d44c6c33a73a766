"""The handles under the client's functions: submitting by name, finding again, and the client's words for states."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import tidy3d
from tidy3d.exceptions import WebError

import wavetask
from wavetask import _scope, errors

if TYPE_CHECKING:
    from wavetask import Batch, Task

_WORDS = {
    "packing": "draft",
    "waiting": "draft",
    "uploading": "draft",
    "held": "draft",
    "queued": "queued",
    "running": "running",
    "fetching": "success",
    "done": "success",
    "failed": "error",
    "cancelled": "aborted",
    "waiting-for-data": "error",
}
"""The client's word for each status of a handle."""

_BEFORE_SERVER = frozenset({"packing", "waiting", "uploading"})
_BEFORE_CHECK = frozenset({"draft", "validating"})


class Submitted(NamedTuple):
    """A batch of the engine and its tasks by the caller's names."""

    batch: Batch
    tasks: dict[str, Task]


def default_cache(cache: bool | None) -> bool:
    """Whether known results will do: as the caller says, else as the client's own cache is switched."""
    if cache is not None:
        return cache
    try:
        return bool(tidy3d.config.local_cache.enabled)
    except AttributeError:
        return True


def submit(
    simulations: Mapping[str, Any],
    *,
    folder: str,
    verbose: bool,
    priority: int | None = None,
    hold: bool = False,
    cache: bool | None = None,
    lazy: bool = False,
) -> Submitted:
    """Submits simulations by task name; returns at once.

    The batch's name is made up: scripts for the client use a task name again and again, for different things.
    """
    keys = _keys(simulations)
    batch = wavetask.submit(
        dict(zip(keys, simulations.values(), strict=True)),
        folder=folder,
        priority=priority or 0,
        hold=hold,
        cache=default_cache(cache),
        lazy=lazy,
        progress=None if verbose else False,
    )
    tasks = {name: batch[key] for name, key in zip(simulations, keys, strict=True)}
    for task in tasks.values():
        _scope.register(task)
    return Submitted(batch, tasks)


def _keys(names: Mapping[str, Any]) -> list[str]:
    """A key for each task name: the name itself wherever it can be one."""
    taken: set[str] = set()
    keys = []
    for name in names:
        key = "".join(c if c.isprintable() else "_" for c in str(name))[:190] or "task"
        key = "_" if key == "." else re.sub("/+", "/", key).strip("/") or "task"
        candidate, count = key, 1
        while candidate in taken:
            count += 1
            candidate = f"{key}~{count}"
        taken.add(candidate)
        keys.append(candidate)
    return keys


def find(task_id: str) -> Task:
    """The handle of a task by its id; the client's error if there is none."""
    if not isinstance(task_id, str) or not task_id:
        raise ValueError(
            f"Task ID: {task_id} is not a string. You can get it using 'web.upload(<simulation>)'."
        )
    try:
        found = wavetask.open(task_id)
    except errors.NotFound as error:
        raise WebError(f"Task not found: {task_id}") from error
    if not isinstance(found, wavetask.Task):
        raise WebError(f"Task not found: '{task_id}' is the name of a batch")
    return found


def identifier(task: Task) -> str:
    """Waits until the server knows the task, and gives its id; the task's error if it failed before."""
    pause = 0.002
    while (known := task.id) is None:
        if task.done():
            raise failure(task, task.exception(0))
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return known


def uploaded(task: Task) -> str:
    """Waits until all of the task's data is at the server, and gives its id; raises if it failed on the way."""
    known = identifier(task)
    pause = 0.002
    while _on_its_way(task):
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    if task.status == "failed":
        raise failure(task, task.exception(0))
    return known


def _on_its_way(task: Task) -> bool:
    info = task.info
    # A server of the plain protocol is sent what it knows by an id already, and checks it then.
    return info.status in _BEFORE_SERVER or (info.status == "queued" and info.state in _BEFORE_CHECK)


def start(task: Task) -> None:
    """Starts a task that waits for it, and no other."""
    if not task.done():
        uploaded(task)
        if task.status == "held":
            with as_web_error(task):
                task.start()


@contextlib.contextmanager
def as_web_error(task: Task) -> Iterator[None]:
    """Raises the client's error for ours."""
    try:
        yield
    except errors.WavetaskError as error:
        raise failure(task, error) from error


def word(task: Task) -> str:
    """The client's word for where a task is."""
    info = task.info
    if info.status == "done" and info.diverged:
        return "diverged"
    return _WORDS.get(info.status, info.status)


def finish(task: Task) -> None:
    """Waits until a task has ended; raises the client's error unless there is a result. A diverged one has."""
    if task.status == "held":
        raise WebError(f"Task {task.id} was uploaded but not started: call start() first.")
    error = task.exception()
    if error is not None and not isinstance(error, errors.Diverged):
        raise failure(task, error)


def failure(task: Task, error: BaseException | None) -> WebError:
    """The client's error for a task that failed; ours is its cause."""
    what = "unknown reason" if error is None else getattr(error, "message", None) or str(error)
    hint = getattr(error, "hint", None)
    known = task.id or task.name
    text = f"Error running task {known}! {what}" + (f"\n{hint}" if hint else "")
    made = WebError(text)
    made.__cause__ = error
    return made


def refuse(**options: object) -> None:
    """Refuses options of the client that would be ignored though the caller relies on them."""
    for name, value in options.items():
        if value:
            raise errors.Usage(
                f"`{name}` is not supported by wavetask.web",
                code=f"web.{name}",
                hint="use `task.add_done_callback(...)` of wavetask.submit, or tidy3d.web for this run"
                if name == "callback_url"
                else "use tidy3d.web for this run",
            )
