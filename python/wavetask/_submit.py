"""Submitting: handles at once, the work in the background."""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from wavetask import _adaptor, _bridge, _native, _scope, _shape, errors
from wavetask._after import After, elsewhere
from wavetask._batch import Batch
from wavetask._task import Task

if TYPE_CHECKING:
    from wavetask._client import Client

__all__ = ["submit"]

_REFERENCES = "wavetask._reference."
_REFERENCE = "wavetask._reference.reference"

_BEFORE_PACKING = "it was cancelled before it was packed"

Member = tuple[Task, _native.Pending, Any]
Scalar = bool | int | float | str
Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]] | Callable[[str, Any], Mapping[str, Any]]


@overload
def submit(
    simulations: Mapping[Any, Any] | list[Any] | tuple[Any, ...] | Iterator[Any],
    name: str | None = None,
    *,
    tags: Sequence[str] = ...,
    parameters: Parameters | None = ...,
    cache: bool = ...,
    lazy: bool = ...,
    hold: bool = ...,
    folder: str = ...,
    priority: int = ...,
    path: str | os.PathLike[str] | None = ...,
    cancel_on_error: bool = ...,
    after: Iterable[Task | Batch | str] | Task | Batch | str = ...,
    progress: bool | str | None = ...,
    client: Client | None = ...,
) -> Batch: ...
@overload
def submit(
    simulations: Any,
    name: str | None = None,
    *,
    tags: Sequence[str] = ...,
    parameters: Parameters | None = ...,
    cache: bool = ...,
    lazy: bool = ...,
    hold: bool = ...,
    folder: str = ...,
    priority: int = ...,
    path: str | os.PathLike[str] | None = ...,
    cancel_on_error: bool = ...,
    after: Iterable[Task | Batch | str] | Task | Batch | str = ...,
    progress: bool | str | None = ...,
    client: Client | None = ...,
) -> Any: ...
def submit(
    simulations: Any,
    name: str | None = None,
    *,
    tags: Sequence[str] = (),
    parameters: Parameters | None = None,
    cache: bool = True,
    lazy: bool = False,
    hold: bool = False,
    folder: str = "default",
    priority: int = 0,
    path: str | os.PathLike[str] | None = None,
    cancel_on_error: bool = False,
    after: Iterable[Task | Batch | str] | Task | Batch | str = (),
    progress: bool | str | None = None,
    client: Client | None = None,
) -> Task | Batch:
    """Submits simulations and returns at once; packing, sending, running and fetching go on in the background.

    A single simulation (or the path of a file that tidy3d wrote, or a `Reference`, which the server computes) gives a
    `Task`. A list, tuple or dict of them,
    nested as you like, gives a `Batch` whose keys are the paths joined with ``/``. So does an iterator such as a
    generator: it is asked for the next simulation only as fast as they can be sent, and may give ``(key,
    simulation)`` or ``(key, simulation, parameters)`` instead of simulations, whose keys are 0, 1, 2, …

    name
        What to find it by, here and anywhere: ``wavetask.open(name)``. Submitting to a name again updates that
        batch: members that are there already, with the same content, are not run again.
    tags, parameters
        Words, and numbers, texts and truth values, that tasks can be found by and that `Batch.table` shows.
        Parameters of all members alike (``{"width": 0.5}``), by key (``{"I=4mA": {"I": 0.004}}``), in order (a
        list), or from a function of key and simulation.
    cache
        Whether a result that is known for the same content will do. Without it all is computed anew; what was cut
        off goes on when the same script submits it again.
    lazy
        Fetches nothing until it is asked for, and then only what is touched.
    hold
        Has everything sent and checked, and waits for ``start()``.
    folder, priority
        Where it is kept; higher runs first.
    after
        Tasks, whole batches, or ids of tasks that must have succeeded before these start (unless their results are
        known already). They need not have reached the server, or have been packed. If one of them fails, these fail
        with `errors.InputFailed`, and its ``retry()`` resumes them.
    path
        Where to save results as HDF5 files when they are there: a file for a single simulation, a folder for a
        batch.
    cancel_on_error
        ``with wavetask.submit(…, cancel_on_error=True) as scan:`` cancels it if the block raises, one task or many.
    progress
        ``False`` shows none.

    Do not change arrays in place while they are being sent: they are not copied.
    """
    from wavetask import _client

    if isinstance(simulations, (set, frozenset)):
        raise errors.Usage(
            "a set of simulations has no order; pass a list or a dict", code="submit.container"
        )
    single = not _shape.is_container(simulations) and not _shape.is_stream(simulations)
    members: list[tuple[str, Any]] = []
    shape: Any = None
    if single:
        members = [(_shape.ROOT, simulations)]
    elif _shape.is_container(simulations):
        members, shape = _shape.flatten(simulations)
    parameters_of = _parameters(parameters, [key for key, _ in members])
    client = client._in_this_process() if client is not None else _client.current()
    awaited = After(after, client)
    submission = client._native.submit(
        name=name,
        tags=[str(tag) for tag in ([tags] if isinstance(tags, str) else tags)],
        cache=cache,
        hold=hold,
        lazy=lazy,
        folder=folder,
        priority=priority,
        after=awaited.ids,
        program=_program(),
    )
    batch = Batch(
        submission.name,
        client,
        native=submission.batch,
        shape=shape,
        progress=progress,
    )
    settings = {"folder": folder, "priority": priority}
    work = _Work(client, submission, batch, parameters_of, path, single, settings, name, awaited)
    if _shape.is_stream(simulations):
        work.closing = getattr(simulations, "close", None)
        source: Iterator[Member] = work.stream(simulations)
    else:
        waiting: collections.deque[Member] = collections.deque()
        for key, simulation in members:
            member = work.member(key, simulation, {})
            if member is not None:
                waiting.append((*member, simulation))
        batch._close()
        source = _emptied(waiting)
    del simulations, members
    work.start(source)
    submitted = batch[_shape.ROOT] if single else batch
    submitted._cancel_on_error = cancel_on_error
    _scope.register(submitted)
    return submitted


def _emptied(waiting: collections.deque[Member]) -> Iterator[Member]:
    """Gives simulations away one by one, keeping none."""
    while waiting:
        yield waiting.popleft()


class _Work:
    """One submission's way through Python: a thread that takes simulations apart, one after the other."""

    def __init__(
        self,
        client: Client,
        submission: _native.Submission,
        batch: Batch,
        parameters_of: Callable[[str, Any, int], dict[str, Scalar]],
        path: str | os.PathLike[str] | None,
        single: bool,
        settings: dict[str, Any],
        name: str | None,
        after: After,
    ) -> None:
        self.client = client
        self.submission = submission
        self.batch = batch
        self.parameters_of = parameters_of
        self.path = None if path is None else os.fspath(path)
        self.single = single
        self.seen: set[str] = set()
        self.closing: Callable[[], object] | None = None
        # What members refer to is computed by members of another submission, which begins with the first of them.
        self.settings = settings
        self.name = name
        self.evaluations: _native.Submission | None = None
        self.after = after

    def member(
        self, key: str, simulation: Any, parameters: Mapping[str, Any]
    ) -> tuple[Task, _native.Pending] | None:
        """A handle for a simulation that is yet to be packed; ``None`` if the batch was cancelled."""
        own = {**self.parameters_of(key, simulation, len(self.batch)), **_scalars(key, parameters)}
        native, pending = self.submission.add(key, self.batch.name if self.single else None, own)
        task = Task(native, self.client, simulation=simulation, progress=self.batch._progress_wish)
        if not self.batch._add(task):
            task._unwanted = True
            pending.fail("Cancelled", "task.aborted", _BEFORE_PACKING)
            return None
        if self.path is not None:
            task.add_done_callback(self._save)
        return task, pending

    def stream(self, simulations: Iterator[Any]) -> Iterator[Member]:
        """The simulations of an iterator, with handles, as they are asked for, until the batch is cancelled."""
        for index in itertools.count():
            if self.batch._cancelled:
                return
            try:
                item = next(simulations)
            except StopIteration:
                return
            if self.batch._cancelled:
                return
            key = str(index)
            parameters: Mapping[str, Any] = {}
            if isinstance(item, tuple) and len(item) in (2, 3) and isinstance(item[0], str):
                key, simulation, *rest = item
                parameters = rest[0] if rest else {}
            else:
                simulation = item
            del item
            _shape.check_key(key, self.seen)
            member = self.member(key, simulation, parameters)
            if member is None:
                return
            yield (*member, simulation)
            del simulation, member

    def start(self, source: Iterator[Member]) -> None:
        """Packs in the background."""
        thread = threading.Thread(target=self._run, args=(source,), name="wavetask-pack", daemon=True)
        _working[thread] = self.batch
        for earlier in [batch for batch in list(_submitted) if batch.done()]:
            _submitted.discard(earlier)
        _submitted.add(self.batch)
        thread.start()

    def _run(self, source: Iterator[Member]) -> None:
        problem: BaseException | None = None
        try:
            for task, pending, simulation in source:
                self._pack(task, pending, simulation)
                del task, pending, simulation
        except BaseException as error:  # of the user's generator: it belongs to the batch
            problem = error
        finally:
            if self.evaluations is not None:
                self.evaluations.finish()
            self.submission.finish()
            if not self.batch._complete:
                self.batch._close(problem)
            if self.batch._cancelled and self.closing is not None:
                # By the thread that drew from it: a generator can be closed by nobody while it is at work.
                with contextlib.suppress(Exception):
                    self.closing()
            _working.pop(threading.current_thread(), None)

    def _pack(self, task: Task, pending: _native.Pending, simulation: Any) -> None:
        if task._unwanted:
            pending.fail("Cancelled", "task.aborted", _BEFORE_PACKING)
            return
        try:
            after = self.after.handles(lambda: task._unwanted, self._gathering)
            if after:
                pending.after(after)
            if type(simulation).__module__ == _REFERENCE:
                self._evaluate(pending, simulation)
                return
            slots: dict[str, Any] = {}
            if type(simulation).__module__.startswith(_REFERENCES):
                slots, simulation = self._slots(simulation)
            with _packing():
                taken = _taken_apart(simulation)
                # What the server puts into a slot, it has.
                arrays = [each for each in taken.arrays if each[0].rpartition("/")[0] not in slots]
                packed = _native.pack(taken.kind, taken.json, arrays)
            task._packed(taken.json)
            del taken, simulation, arrays
            places = self._evaluated(task.key, slots) if slots else []
        except errors.WavetaskError as error:
            task._pack_error = error.__cause__
            pending.fail(type(error).__name__, error.code, error.message, error.hint)
        except ImportError as error:
            task._pack_error = error
            what = f"simulations are taken apart by tidy3d, which cannot be imported: {error}"
            pending.fail("Usage", "client.no_tidy3d", what, "pip install tidy3d")
        except Exception as error:
            task._pack_error = error
            pending.fail(
                "InvalidSimulation", "client.not_packable", _said(error), getattr(error, "hint", None)
            )
        else:
            if places:
                pending.fill(packed, places)
            else:
                pending.push(packed)

    def _slots(self, simulation: Any) -> tuple[dict[str, Any], Any]:
        """What the server puts where, and the simulation without it. What it cannot compute is waited for here."""
        from wavetask._reference import template_of

        template = template_of(simulation)
        if template.slots and template.computable and self.client._native.evaluates():
            return template.slots, template.simulation
        try:
            return {}, template.resolve()
        except errors.WavetaskError as error:
            raise errors.InputFailed(
                f"what it is made of cannot be had: {error.message}",
                code="task.input_failed",
                hint=error.hint,
            ) from error

    def _evaluated(self, key: str, slots: Mapping[str, Any]) -> list[tuple[str, _native.Task, int]]:
        """Has what belongs in the slots computed: where it goes, and of which task it is which output."""
        from wavetask._reference import remote

        if self.evaluations is None:
            self.evaluations = self._begin("references")
        # Media that are perturbed alike are made of the same arrays, which are computed once.
        named = {path: remote.here(slot._expression) for path, slot in slots.items()}
        different = {named[path]: slot._expression for path, slot in slots.items()}
        outputs: dict[str, tuple[_native.Task, int]] = {}
        for place, group in enumerate(remote.groups(different)):
            text, tasks = remote.recipe(group.values())
            elsewhere(tasks, self.client)
            native, pending = self.evaluations.add(f"{key} {place}" if place else key, None, {})
            pending.evaluate(text, [task._handle() for task in tasks])
            outputs |= {name: (native, number) for number, name in enumerate(group)}
        return [(path, *outputs[name]) for path, name in named.items()]

    def _evaluate(self, pending: _native.Pending, reference: Any) -> None:
        """Hands over a member that is a reference: it is computed for its own sake."""
        from wavetask._reference import remote

        if reference._mesh or not (
            remote.computable(reference._expression) and self.client._native.evaluates()
        ):
            raise errors.Usage(
                f"{reference!r} is not computed by the server at {self.client.url}",
                code="reference.not_computed",
                hint="interpolate it to a grid first"
                if reference._mesh
                else "reference.load() computes it here",
            )
        text, tasks = remote.recipe([reference._expression])
        elsewhere(tasks, self.client)
        pending.evaluate(text, [task._handle() for task in tasks])

    def _gathering(self, ids: list[str]) -> _native.Submission:
        """A submission of tasks that gather what this one runs after."""
        return self._begin("after", after=ids)

    def _begin(self, what: str, after: Sequence[str] = ()) -> _native.Submission:
        """A submission of what this one needs, which users do not see."""
        from wavetask._reference import remote

        name, program = self.name and f"{self.name} {what}", f"{_program()} {what}"
        return remote.begin(self.client, name, lazy=True, program=program, after=after, **self.settings)

    def _save(self, task: Task) -> None:
        if task.status != "done" or self.path is None:
            return
        path = self.path if self.single else os.path.join(self.path, *task.key.split("/")) + ".hdf5"  # noqa: PTH118
        folder = os.path.dirname(path)  # noqa: PTH120
        if folder:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        task.save(path)


def _taken_apart(simulation: Any) -> Any:
    """The document of a simulation; that of a file is had without tidy3d."""
    if isinstance(simulation, (str, os.PathLike)):
        # Plainly, whatever reads it: h5py's words for a missing file are not a user's.
        os.stat(simulation)  # noqa: PTH116
        return _adaptor.reader().pack_file(simulation)
    return _adaptor.packer().pack(simulation)


def _said(error: BaseException) -> str:
    what = getattr(error, "what", None)
    if isinstance(what, str):
        return what
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _program() -> str:
    """What to name a batch after that has no name."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if path:
        return os.path.splitext(os.path.basename(path))[0] or "python"  # noqa: PTH119, PTH122
    return "notebook" if "ipykernel" in sys.modules else "python"


def _parameters(given: Parameters | None, keys: list[str]) -> Callable[[str, Any, int], dict[str, Scalar]]:
    """The parameters of a member, from what `submit` was given."""
    if given is None:
        return lambda key, simulation, index: {}
    if callable(given):
        function = given
        return lambda key, simulation, index: _scalars(key, function(key, simulation))
    if isinstance(given, Mapping):
        if any(isinstance(value, Mapping) for value in given.values()):
            by_key = {str(key): _scalars(str(key), value) for key, value in given.items()}
            strangers = [key for key in by_key if key not in keys] if keys else []
            if strangers:
                raise errors.Usage(
                    f"there are parameters for `{strangers[0]}`, which is no key of the batch",
                    code="submit.parameters",
                    hint=f"its keys are {', '.join(keys[:5])}{', …' if len(keys) > 5 else ''}",
                )
            return lambda key, simulation, index: by_key.get(key, {})
        common = _scalars("", given)
        return lambda key, simulation, index: common
    in_order = [_scalars(str(index), one) for index, one in enumerate(given)]
    if keys and len(in_order) != len(keys):
        raise errors.Usage(
            f"there are {len(in_order)} sets of parameters for {len(keys)} simulations",
            code="submit.parameters",
        )
    return lambda key, simulation, index: in_order[index] if index < len(in_order) else {}


def _scalars(key: str, given: Any) -> dict[str, Scalar]:
    """Plain numbers, texts and truth values, also from those of NumPy."""
    if not isinstance(given, Mapping):
        raise errors.Usage(
            f"the parameters of `{key}` are a {type(given).__name__}, not a dict", code="submit.parameters"
        )
    plain: dict[str, Scalar] = {}
    for name, value in given.items():
        value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
        if not isinstance(value, (bool, int, float, str)):
            raise errors.Usage(
                f"the parameter `{name}` is a {type(value).__name__}: "
                "parameters are finite numbers, texts and truth values",
                code="submit.parameters",
            )
        plain[str(name)] = value
    return plain


# At the end of the process.

_working: dict[threading.Thread, Batch] = {}
# Held until they have ended: what nobody keeps a handle of must leave the process, too.
_submitted: set[Batch] = set()

_ON_ITS_WAY = ("packing", "waiting", "uploading")

_packing_now: set[threading.Thread] = set()
"""Threads that take a simulation apart at this moment: that comes to an end, however large it is."""


@contextlib.contextmanager
def _packing() -> Iterator[None]:
    thread = threading.current_thread()
    _packing_now.add(thread)
    try:
        yield
    finally:
        _packing_now.discard(thread)


def _bytes_sent(batches: Iterable[Batch]) -> int:
    return sum(native.bytes_sent() for native in {batch._client._native for batch in batches})


def finish(patience: float, say: Callable[[str], None]) -> None:
    """At the end of the process: waits until everything that was submitted has left it, for as long as that makes
    headway, be it by tasks or by bytes of a large one. What is at the server needs this process no more; what is not would have to wait for the script to be
    run again."""
    told = False
    began = last = time.monotonic()
    before: object = None
    most = -1
    try:
        while True:
            batches = [(batch, batch._snapshot()) for batch in list(_submitted)]
            left = {
                batch.name: sum(snapshot.counts.get(station, 0) for station in _ON_ITS_WAY)
                for batch, snapshot in batches
                if not batch.done()
            }
            now = time.monotonic()
            if not any(left.values()) and all(batch._cancelled for batch in list(_working.values())):
                return
            sent = _bytes_sent([batch for batch, _ in batches])
            if left != before or sent > most or _packing_now:
                before, most, last = left, max(sent, most), now
            elif now - last > patience:
                say(
                    f"{sum(left.values())} tasks have not left this process; "
                    "run the script again to go on where it stopped"
                )
                return
            if not told and now - began > 1.0:
                told = True
                say(f"Sending {sum(left.values())} more tasks before the end (Ctrl-C leaves them)")
            time.sleep(0.02)
    except KeyboardInterrupt:
        with contextlib.suppress(KeyboardInterrupt):
            say("Left; run the script again to go on where it stopped")


def _after_fork() -> None:
    global _submitted
    _working.clear()
    _packing_now.clear()
    _submitted = set()


_bridge.register_after_fork(_after_fork)
