"""A task: one simulation on its way to its result, as its user holds it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import datetime
import html
import os
import time
import weakref
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from wavetask import _adaptor, _bridge, _render, _wait, errors
from wavetask._leaving import Leaving
from wavetask._simulated import Simulated

if TYPE_CHECKING:
    from wavetask import _native
    from wavetask._client import Client
    from wavetask._reference import DataReference

__all__ = ["Info", "Progress", "Task"]

FINAL = frozenset({"done", "failed", "cancelled", "waiting-for-data"})
"""The statuses after which nothing happens unless the user acts."""

_EVALUATION = ('{"type":"EvaluationData"', '"type":"EvaluationData"}')
"""How the result of a computed reference begins or ends: the class of the whole."""

_HOW_FAR = {"uploading": 5.0, "queued": 10.0, "held": 10.0, "fetching": 95.0}


class Progress(NamedTuple):
    """How far a task is."""

    percent: float
    """Of the solver: 0 to 100."""
    stage: str
    """What it is doing, in a word or two; empty if nobody knows."""


class Info(NamedTuple):
    """All that is known of a task here, without asking the server. Times are local and aware of their zone."""

    id: str | None
    name: str
    key: str
    status: str
    state: str | None
    """The server's word for it; ``None`` before the server knows the task."""
    percent: float | None
    stage: str
    attempts: int
    diverged: bool
    created: datetime.datetime | None
    started: datetime.datetime | None
    ended: datetime.datetime | None
    seconds: float | None
    """From the start of its last attempt to its end, or until now."""
    error: errors.WavetaskError | None
    parameters: dict[str, Any]


class Task(Leaving, Simulated):
    """One simulation on its way to its result. Work begins when it is submitted, whether anybody waits or not.

    >>> task = wt.submit(sim, name="one")
    >>> task.status, task.progress
    ('running', Progress(percent=40.0, stage='solving'))
    >>> data = task.result()              # in a script, a thread, a notebook
    >>> data = await task                 # in async code: the same handle
    >>> field = task["temperature"].temperature    # a reference: at once, and computed where the data is

    Handles can be used from any thread, copied with `pickle` into other processes (no key travels with them), and
    found again by name or id with `wavetask.open`.
    """

    def __init__(
        self,
        native: _native.Task,
        client: Client,
        *,
        identity: tuple[str, str, dict[str, Any]] | None = None,
        simulation: Any = None,
        progress: bool | str | None = None,
    ) -> None:
        self._native = native
        self._client = client
        # A task that was opened by its id knows less about itself than whoever sent the handle.
        batch, key, parameters = identity or (native.batch, native.key, None)
        self._batch_name = batch
        self._key = key
        self._parameters = parameters
        self._id = None if identity is None else native.id
        self._process = os.getpid()
        self._progress_wish = progress
        self._begun = time.monotonic()
        self._pack_error: BaseException | None = None
        self._unwanted = False
        self._built: Callable[[], Any] = lambda: None
        # What is known of the result before it is there.
        self._described: Any = None
        Simulated.__init__(self, simulation)

    # Who it is.

    @property
    def id(self) -> str | None:
        """The server's id; ``None`` until the server knows the task."""
        if self._id is None:
            self._id = self._handle().id
        return self._id

    @property
    def key(self) -> str:
        """What the batch calls it, such as ``I=4mA`` or ``0``; ``.`` for a task that was submitted by itself."""
        return self._key

    @property
    def name(self) -> str:
        """The name for people: the key within a batch, the name it was submitted with by itself."""
        return self._batch_name if self._key == "." else self._key

    @property
    def batch_name(self) -> str:
        """The name of the batch that it belongs to; empty if it was opened by its id."""
        return self._batch_name

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters that it was submitted with."""
        if self._parameters is None:
            self._parameters = self._handle().parameters
        return dict(self._parameters)

    @property
    def url(self) -> str:
        """Where the server answers."""
        return self._client.url

    # How it is.

    @property
    def status(self) -> str:
        """Where it is: ``packing``, ``waiting`` (not yet at the server), ``uploading``, ``held``, ``queued``,
        ``running``, ``fetching``, then ``done``, ``failed``, ``cancelled`` or ``waiting-for-data`` (the program
        that made it ended before all of its data had left: run it again)."""
        return self._handle().status().phase

    @property
    def progress(self) -> Progress:
        """How far the solver is."""
        status = self._handle().status()
        if status.phase == "done":
            return Progress(100.0, "")
        return Progress(status.percent or 0.0, status.stage)

    @property
    def info(self) -> Info:
        """All that is known of it here, without asking the server."""
        native = self._handle()
        status = native.status()
        seconds = None
        if status.started is not None:
            seconds = max(0.0, (status.ended or time.time()) - status.started)
        return Info(
            id=self.id,
            name=self.name,
            key=self.key,
            status=status.phase,
            state=status.state,
            percent=status.percent,
            stage=status.stage,
            attempts=status.attempts,
            diverged=status.diverged,
            created=_moment(status.created),
            started=_moment(status.started),
            ended=_moment(status.ended),
            seconds=seconds,
            error=self._with_task(status.error) if status.error is not None else None,
            parameters=self.parameters,
        )

    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._handle().ended()

    # Waiting for it.

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it has ended; whether it has. Never raises for how it ended."""
        native = self._handle()
        if native.ended():
            return True
        with _wait.waiting(self):
            return native.wait(timeout)

    def result(self, timeout: float | None = None) -> Any:
        """Waits, and gives tidy3d's data object.

        Raises `errors.TimedOut` if ``timeout`` seconds are over first (the task goes on), and the task's own error
        if it failed.
        """
        built = self._built()
        if built is not None:
            return built
        return self._build(self.document(timeout))

    def exception(self, timeout: float | None = None) -> errors.WavetaskError | None:
        """Waits, and gives why it failed or diverged, or ``None``. Raises `errors.TimedOut`."""
        deadline = _wait.Deadline(timeout)
        if not self.wait(deadline.left()):
            raise deadline.over(f"`{self.name}` did not end")
        return self._failure()

    def document(self, timeout: float | None = None) -> _native.Document:
        """Waits, and gives the result as it is stored: JSON text, and arrays by path that are fetched when asked
        for, whole or in part. Needs no tidy3d. Also gives what there is of a solution that diverged.

        Raises as `result`.
        """
        deadline = _wait.Deadline(timeout)
        if not self.wait(deadline.left()):
            raise deadline.over(f"`{self.name}` did not end")
        try:
            with _wait.waiting(self):
                return self._handle().document()
        except errors.WavetaskError as error:
            raise self._with_task(error) from error.__cause__

    def __await__(self) -> Generator[Any, None, Any]:
        return self._async_result().__await__()

    async def _async_result(self) -> Any:
        await self._finished()
        return await _bridge.in_background(self._settled_result)

    async def _finished(self) -> None:
        native = self._handle()
        if not native.ended():
            with _wait.waiting_quietly(self):
                await _bridge.finished(native.watch)

    def _settled_result(self) -> Any:
        """The result of a task that has ended: no progress, no waiting."""
        built = self._built()
        if built is not None:
            return built
        try:
            document = self._handle().document()
        except errors.WavetaskError as error:
            raise self._with_task(error) from error.__cause__
        return self._build(document)

    def __getitem__(self, monitor: str) -> DataReference:
        """The data of one monitor, at once: its fields are references (`wavetask.Reference`), and everything else that
        tidy3d's data object has waits for the task and fetches that monitor's data alone.

        Where nothing here knows the simulation (a task of another process's), this waits for the result. Raises
        `errors.NotFound` if there is no such monitor.
        """
        return self.data[monitor]  # type: ignore[no-any-return]

    @property
    def data(self) -> DataReference:
        """The result, at once: ``task.data["monitor"]``, and of results without monitors the fields themselves
        (``task.data.n_eff`` of a mode solver). Waits only where nothing here knows the simulation."""
        from wavetask._reference import DataReference

        described = self._described
        if described is None:
            describer = self._tidy3d("fields")
            if self._outline is not None:
                described = describer.of_simulation(self._outline)
            if described is None:
                described = describer.of_document(self.document().json)
            self._described = described
        if not self.done():
            # Who names what is not there yet makes others of it, or wants a part: the whole comes when it is asked for.
            self._handle().leave_result()
        return DataReference(self, described)

    # Other idioms.

    def add_done_callback(self, function: Callable[[Task], object]) -> None:
        """Calls the function with this task once it has ended, on a thread in the background; at once if it has.
        What it raises goes to the log of Python's `logging`, as with `concurrent.futures`."""

        def call() -> None:
            try:
                function(self)
            except Exception:
                import logging

                logging.getLogger("wavetask").exception("a done-callback of %r raised", self.name)

        _bridge.watcher().when_finished(self._handle().watch, call)

    def to_future(self) -> concurrent.futures.Future[Any]:
        """A `concurrent.futures.Future` of the result, for code that wants one (`asyncio.wrap_future` takes it,
        too). Cancelling the future leaves the task alone."""
        future = _Future(self)
        # Whoever wants a future waits for it, in ways of which nothing is heard here.
        _wait.begin(self)

        def settle() -> None:
            _wait.end(self)
            _bridge.run_into(future, self._settled_result)

        _bridge.watcher().when_finished(self._handle().watch, settle)
        return future

    def as_future(self) -> asyncio.Future[Any]:
        """An `asyncio.Future` of the result in the running loop, for code that tests ``isinstance``."""
        return asyncio.ensure_future(self._async_result())

    # Doing something about it.

    def cancel(self) -> None:
        """Stops it. Does nothing if it has ended."""
        # The engine knows; whoever packs it saves the work.
        self._unwanted = True
        with self._errors_here():
            self._handle().cancel()

    def retry(self) -> None:
        """Runs it again if it ended without a result. Raises `errors.Usage` if it has one or has not ended."""
        with self._errors_here():
            self._handle().retry()

    def start(self) -> None:
        """Starts it, if it was submitted with ``hold=True``; one that has not reached the server yet, once it has."""
        with self._errors_here():
            self._handle().start()

    def delete(self) -> None:
        """Deletes it at the server with its result; one that has not ended is stopped first. It cannot be undone."""
        self._unwanted = True
        with self._errors_here():
            if self.id is None:
                self._handle().cancel()
            else:
                self._handle().delete()

    def log(self) -> str:
        """What the solver has written so far."""
        with self._errors_here():
            return self._handle().log()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Waits, and writes the result as an HDF5 file that tidy3d reads. The file appears whole or not at all.

        Raises as `result`, and `OSError`.
        """
        self.wait()
        with self._errors_here(), _wait.waiting(self):
            self._handle().save(os.fspath(path))

    # Inside.

    def _handle(self) -> _native.Task:
        """The native handle; in a forked child a new one, for the parent's threads are not there."""
        if self._process != os.getpid():
            again = self._client._in_this_process()
            self._move(again._native_task(self._batch_name, self._key, self._id), again)
        return self._native

    def _move(self, native: _native.Task, client: Client) -> None:
        """Goes on with a handle of this process."""
        self._native = native
        self._client = client
        self._process = os.getpid()

    def _monitor_data(self, monitor: str) -> Any:
        """Waits, and gives the data of one monitor; nothing else is fetched."""
        built = self._built()
        if built is not None:
            with contextlib.suppress(KeyError):
                return built[monitor]
        build = self._tidy3d("build")
        document = self.document()
        return build.build_monitor(document.json, monitor, document.array, document.paths())

    def _field(self, path: Sequence[str], selections: list[Any]) -> Any:
        """Waits, and gives what selections take of an array of the result; nothing else is fetched."""
        field = self._tidy3d("field")
        built = self._built()
        try:
            if built is not None:
                return field.of_built(built, path, selections)
            document = self.document()
            return field.build_field(
                document.json, path, selections, document.array, frozenset(document.paths())
            )
        except KeyError as error:
            raise errors.NotFound(
                f"the result has no {'/'.join(path)}", code="result.no_such_field", task=self
            ) from error

    def _field_labels(self, path: Sequence[str]) -> Any:
        """What `wavetask._tidy3d.field.labels` says of an array of the result; ``None`` if there is none yet."""
        if self.status != "done":
            return None
        field = self._tidy3d("field")
        document = self.document()
        try:
            return field.labels(
                document.json, path, document.array, frozenset(document.paths()), document.shape
            )
        except KeyError:
            return None

    def _tidy3d(self, module: str) -> Any:
        """A module of the adaptor's."""
        try:
            return _adaptor.module(module)
        except ImportError as error:
            raise errors.Usage(
                "results become tidy3d's objects only where tidy3d is installed",
                code="client.no_tidy3d",
                hint="pip install tidy3d, or use task.document(), whose arrays need nothing but NumPy",
                task=self,
            ) from error

    def _build(self, document: _native.Document) -> Any:
        if document.json.startswith(_EVALUATION[0]) or document.json.endswith(_EVALUATION[1]):
            from wavetask._reference import remote

            return remote.output(document, 0)
        build = self._tidy3d("build")
        if document.diverged:
            raise self._divergence()
        try:
            result = build.build(
                document.json, document.array, document.paths(), self._submitted(), self._submitted_json
            )
        except errors.WavetaskError as error:
            raise self._with_task(error) from error.__cause__
        with contextlib.suppress(TypeError):
            self._built = weakref.ref(result)
        return result

    def _failure(self) -> errors.WavetaskError | None:
        """Why it failed, once it has ended."""
        status = self._handle().status()
        if status.error is not None:
            return self._with_task(status.error)
        return self._divergence() if status.diverged and status.phase == "done" else None

    def _divergence(self) -> errors.Diverged:
        return errors.Diverged(
            "the solution diverged",
            code="task.diverged",
            hint="task.document() and task.save(path) give what there is of it",
            task=self,
        )

    def _with_task(self, error: errors.WavetaskError) -> errors.WavetaskError:
        error.task = self
        if self._pack_error is not None and error.__cause__ is None:
            error.__cause__ = self._pack_error
        return error

    @contextlib.contextmanager
    def _errors_here(self) -> Generator[None, None, None]:
        try:
            yield
        except errors.WavetaskError as error:
            raise self._with_task(error) from error.__cause__

    @property
    def _comeback(self) -> str:
        return self._batch_name or self.id or self.name

    def _snapshot(self) -> _render.Snapshot:
        status = self._handle().status()
        percent = 100.0 if status.phase == "done" else status.percent or _HOW_FAR.get(status.phase, 0.0)
        return _render.Snapshot(self.name, {status.phase: 1}, True, percent, time.monotonic() - self._begun)

    def __reduce__(self) -> tuple[Any, ...]:
        from wavetask import _client

        identity = (self._batch_name, self._key, self.parameters)
        return _client._reopen_task, (self._client._where, identity, self.id)

    def __repr__(self) -> str:
        # wavetask.Task('I=4mA', running 40 %, id='0199…')
        status = self._handle().status()
        far = f" {status.percent:.0f} %" if status.phase == "running" and status.percent is not None else ""
        return f"wavetask.Task({self.name!r}, {status.phase}{far}, id={self.id!r})"

    def _repr_html_(self) -> str:
        info = self.info
        rows = {
            "status": info.status + (f", {info.percent:.0f} %" if info.percent is not None else ""),
            "id": info.id or "not yet known",
            "batch": self.batch_name,
            "seconds": "" if info.seconds is None else f"{info.seconds:.1f}",
            "error": "" if info.error is None else info.error.message,
        }
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
            for name, value in rows.items()
            if value
        )
        return f"<b>{html.escape(_render.clean(self.name))}</b><table>{cells}</table>"


def _moment(seconds: float | None) -> datetime.datetime | None:
    return None if seconds is None else datetime.datetime.fromtimestamp(seconds).astimezone()


class _Future(concurrent.futures.Future[Any]):
    """The result of a task; waiting for it in this thread is waiting for the task."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task = task

    def result(self, timeout: float | None = None) -> Any:
        with self._telling():
            return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        with self._telling():
            return super().exception(timeout)

    @contextlib.contextmanager
    def _telling(self) -> Generator[None, None, None]:
        try:
            yield
        except KeyboardInterrupt:
            _wait.tell([self._task])
            raise
