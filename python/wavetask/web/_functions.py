"""The functions of `tidy3d.web`, by its names and signatures, on wavetask's engine."""

from __future__ import annotations

import pathlib
import urllib.parse
from collections.abc import Callable, Hashable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import tidy3d.web as original
from tidy3d.exceptions import WebError
from tidy3d.log import get_logging_console
from tidy3d.web.core.account import Account
from tidy3d.web.core.task_core import SimulationTask
from tidy3d.web.core.task_info import TaskInfo

from wavetask import errors
from wavetask._reference import SimulationReference
from wavetask._tidy3d import model
from wavetask._tidy3d.pack import KINDS

from . import _door, _engine, _results, _waiting

if TYPE_CHECKING:
    from wavetask import Batch, Task

    from ._batch import BatchData

PathLikeString = str | PathLike[str]


def _is_simulation(value: Any) -> bool:
    return isinstance(value, model.Tidy3dBaseModel)


def _say(verbose: bool, text: str) -> None:
    if verbose:
        get_logging_console().log(text)


def default_name(simulation: Any) -> str:
    """The task's name where the caller gives none, as the client makes it."""
    import datetime

    kind = next((KINDS[c.__name__] for c in type(simulation).__mro__ if c.__name__ in KINDS), "task")
    return f"{kind.lower()}_{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}"


# Running.


def run(
    simulation: Any,
    task_name: str | None = None,
    folder_name: str = "default",
    path: PathLikeString | None = None,
    callback_url: str | None = None,
    verbose: bool = True,
    progress_callback_upload: Callable[[float], None] | None = None,
    progress_callback_download: Callable[[float], None] | None = None,
    solver_version: str | None = None,
    worker_group: str | None = None,
    simulation_type: str | None = None,
    parent_tasks: list[str] | None = None,
    local_gradient: bool | None = None,
    max_num_adjoint_per_fwd: int | None = None,
    reduce_simulation: Literal["auto", True, False] = "auto",
    pay_type: Any = None,
    priority: int | None = None,
    max_workers: int | None = None,
    lazy: bool | None = None,
    vgpu_allocation: int | None = None,
    ignore_memory_limit: bool | None = None,
    *,
    cache: bool | None = None,
) -> Any:
    """Runs a simulation, or any nesting of lists, tuples and dicts of them, and gives results of the same shape.

    A single simulation's file is written at ``path`` and its data is eager; of several each has a file in the
    folder ``path`` and the data is lazy, unless ``lazy`` says otherwise. With ``lazy=True`` results stay at the
    server: what is touched is fetched, and a result's file is written once all of it is needed. The same object is
    run once, wherever it occurs. If members fail, the others are finished and saved before the error tells which. ``cache`` (whether a
    known result will do) follows the client's own setting ``config.local_cache.enabled`` unless given.

    Versions, worker groups, payment, GPU shares, gradients and ``max_workers`` mean nothing here and are ignored;
    so are ``parent_tasks``, for the mesh of a heat simulation is made with it.
    """
    _engine.refuse(callback_url=callback_url)
    members: dict[int, tuple[str, Any]] = {}
    _collect(simulation, (), members)
    if not members:
        raise ValueError("No simulation data found in simulation input.")
    # Every distinct object once; `members` keeps them alive, so identities are unique.
    if len(members) == 1:
        (_, single), *_ = members.values()
        if path is not None and not pathlib.Path(path).suffixes:
            path = f"{path}.hdf5"
        name = task_name or default_name(single)
        submitted = _submitted(
            {name: single}, folder_name, verbose, priority, cache, reduce_simulation, bool(lazy)
        )
        task = submitted.tasks[name]
        if progress_callback_upload is not None:
            progress_callback_upload(float(_sent_bytes(single)))
        data = _results.deliver(task, single, path, lazy=bool(lazy), progress=progress_callback_download)
        _say(verbose, f"{name}: status = {_engine.word(task)}")
        return _rebuilt(simulation, {id(single): data})
    prefix = f"{task_name}_" if task_name else ""
    names: dict[int, str] = {}
    for identity, (name, _) in members.items():
        # `{0: a, "0": b}` gives two members one name.
        while prefix + name in names.values():
            name += "_"
        names[identity] = prefix + name
    batch, tasks = _submitted(
        {names[identity]: member for identity, (_, member) in members.items()},
        folder_name,
        verbose,
        priority,
        cache,
        reduce_simulation,
        bool(lazy),
    )
    where = pathlib.Path(path) if path is not None else pathlib.Path()
    failed = _end_each(tasks, batch, None if lazy else where)
    if failed:
        raise _several(failed, len(tasks))
    loaded = {}
    for identity, (_, member) in members.items():
        task = tasks[names[identity]]
        place = file_of(where, _engine.identifier(task))
        if lazy:
            loaded[identity] = _results.at_the_server(task, member, place)
        else:
            loaded[identity] = _results.data_of(task, member, place, lazy is None)
    _say(verbose, f"{len(tasks)} tasks: status = success")
    return _rebuilt(simulation, loaded)


def _submitted(
    simulations: Mapping[str, Any],
    folder: str,
    verbose: bool,
    priority: int | None,
    cache: bool | None,
    reduce_simulation: Any,
    lazy: bool,
) -> _engine.Submitted:
    sent = {name: _results.prepared(member, reduce_simulation) for name, member in simulations.items()}
    for name in simulations if verbose else ():
        _say(True, f"Submitting task '{name}'.")
    return _engine.submit(sent, folder=folder, verbose=verbose, priority=priority, cache=cache, lazy=lazy)


def _sent_bytes(simulation: Any) -> int:
    from wavetask._tidy3d.pack import pack

    packed = pack(simulation)
    return len(packed.json) + sum(getattr(values, "nbytes", 0) for _, values in packed.arrays)


def file_of(folder: PathLikeString, task_id: str) -> pathlib.Path:
    """Where a batch keeps the file of a task."""
    return pathlib.Path(folder) / f"{task_id}.hdf5"


def _end_each(
    tasks: Mapping[str, Task], batch: Batch, folder: pathlib.Path | None
) -> dict[str, BaseException]:
    """Waits for each, and writes its result into a folder as it comes, if there is one, whatever becomes of the others;
    returns why some have none."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    failed: dict[str, BaseException] = {}
    for name, task in _waiting.as_ended(tasks, batch):
        try:
            _engine.finish(task)
            if folder is not None:
                _results.save(task, file_of(folder, _engine.identifier(task)))
        except (WebError, errors.WavetaskError, OSError) as error:
            failed[name] = error
    return failed


def _several(failed: Mapping[str, BaseException], of: int) -> WebError:
    """One error that names all that failed."""
    lines = [f"  {name}: {str(error).splitlines()[0]}" for name, error in list(failed.items())[:20]]
    if len(failed) > 20:
        lines.append(f"  and {len(failed) - 20} more")
    made = WebError(f"{len(failed)} of {of} tasks failed, the others are saved:\n" + "\n".join(lines))
    made.__cause__ = next(iter(failed.values()))
    return made


def _collect(node: Any, path: tuple[Any, ...], members: dict[int, tuple[str, Any]]) -> None:
    if _is_simulation(node):
        if id(node) not in members:
            members[id(node)] = ("__".join(map(str, path)) or "task", node)
        return
    if isinstance(node, (list, tuple)):
        for index, below in enumerate(node):
            _collect(below, (*path, index), members)
        return
    if isinstance(node, dict):
        for key, below in node.items():
            if _is_simulation(key):
                raise ValueError("Dict keys must not be simulations.")
            if not isinstance(key, Hashable):
                raise ValueError(f"Container mapping keys must be hashable. Got key {key!r}.")
            _collect(below, (*path, key), members)
        return
    raise TypeError(f"Unsupported element in container: {type(node)!r}")


def _rebuilt(node: Any, loaded: dict[int, Any]) -> Any:
    """The containers with data in the places of simulations; a second occurrence gets a copy of its own."""
    seen: set[int] = set()

    def rebuilt(item: Any) -> Any:
        if isinstance(item, tuple):
            return tuple(map(rebuilt, item))
        if isinstance(item, list):
            return list(map(rebuilt, item))
        if isinstance(item, dict):
            return {key: rebuilt(below) for key, below in item.items()}
        if id(item) in seen:
            return loaded[id(item)].copy()
        seen.add(id(item))
        return loaded[id(item)]

    return rebuilt(node)


def run_async(
    simulations: Any,
    folder_name: str = "default",
    path_dir: PathLikeString = ".",
    callback_url: str | None = None,
    num_workers: int | None = None,
    verbose: bool = True,
    simulation_type: str | None = None,
    solver_version: str | None = None,
    parent_tasks: dict[str, list[str]] | None = None,
    local_gradient: bool | None = None,
    max_num_adjoint_per_fwd: int | None = None,
    reduce_simulation: Literal["auto", True, False] = "auto",
    pay_type: Any = None,
    priority: int | None = None,
    lazy: bool | None = None,
    vgpu_allocation: int | None = None,
    ignore_memory_limit: bool | None = None,
    *,
    cache: bool | None = None,
) -> BatchData:
    """Runs simulations as a batch and gives its `BatchData`; members that fail are left out with a warning. ``lazy`` is
    as with `run`.

    Options that mean nothing here are ignored, as in `run`.
    """
    from ._batch import Batch

    _engine.refuse(callback_url=callback_url)
    if isinstance(simulations, (list, tuple)):
        simulations = {f"{default_name(sim)}_{index}": sim for index, sim in enumerate(simulations, 1)}
    batch = Batch(
        simulations=simulations,
        folder_name=folder_name,
        verbose=verbose,
        reduce_simulation=reduce_simulation,
        lazy=True if lazy is None else lazy,
    )
    batch._remember_cache(cache)
    batch._keep_files(lazy is None)
    results: BatchData = batch.run(path_dir=path_dir, priority=priority)
    return results


# One step at a time.


def upload(
    simulation: Any,
    task_name: str | None = None,
    folder_name: str = "default",
    callback_url: str | None = None,
    verbose: bool = True,
    progress_callback: Callable[[float], None] | None = None,
    simulation_type: str | None = None,
    parent_tasks: list[str] | None = None,
    source_required: bool = True,
    solver_version: str | None = None,
    reduce_simulation: Literal["auto", True, False] = "auto",
    verbose_estimate_cost: bool | None = None,
    *,
    cache: bool | None = None,
) -> str:
    """Uploads a simulation without starting it, and gives the task's id. Heat simulations, too."""
    _engine.refuse(callback_url=callback_url)
    if isinstance(simulation, (list, tuple, Mapping)):
        raise ValueError(
            f"upload() accepts a single simulation, but received a {type(simulation).__name__}. "
            "Use Batch(simulations=...).upload() for several."
        )
    name = task_name or default_name(simulation)
    sent = _results.prepared(simulation, reduce_simulation, source_required)
    held = _engine.submit({name: sent}, folder=folder_name, verbose=verbose, hold=True, cache=cache)
    task_id = _engine.uploaded(held.tasks[name])
    if progress_callback is not None:
        progress_callback(float(_sent_bytes(sent)))
    _say(verbose, f"Created task '{name}' with resource_id '{task_id}'.")
    return task_id


def start(
    task_id: str,
    solver_version: str | None = None,
    worker_group: str | None = None,
    pay_type: Any = None,
    priority: int | None = None,
    vgpu_allocation: int | None = None,
    ignore_memory_limit: bool | None = None,
) -> None:
    """Starts an uploaded task. Its priority was settled when it was uploaded."""
    task = _engine.find(task_id)
    with _engine.as_web_error(task):
        task.start()


def monitor(task_id: str, verbose: bool = True, worker_group: str | None = None) -> None:
    """Waits for a task, showing its progress; raises if it fails."""
    task = _engine.find(task_id)
    _engine.finish(task)
    _say(verbose, f"status = {_engine.word(task)}")


def download(
    task_id: str,
    path: PathLikeString | None = None,
    verbose: bool = True,
    progress_callback: Callable[[float], None] | None = None,
) -> None:
    """Writes a task's result to a file."""
    task = _engine.find(task_id)
    _engine.finish(task)
    _results.save(task, path if path is not None else _default_path_of(task_id), progress_callback)


def _default_path_of(task_id: str) -> pathlib.Path:
    modeler = _door.detail(task_id).get("taskType") in ("MODAL_CM", "TERMINAL_CM", "RF")
    return pathlib.Path("cm_data.hdf5" if modeler else "simulation_data.hdf5")


def load(
    task_id: str | None,
    path: PathLikeString | None = None,
    replace_existing: bool = True,
    verbose: bool = True,
    progress_callback: Callable[[float], None] | None = None,
    lazy: bool = False,
) -> Any:
    """Writes a task's result to a file and gives its data object; ``None`` for the id reads the file alone."""
    if isinstance(task_id, (list, tuple, Mapping)):
        raise ValueError(f"load() accepts a single task id, but received a {type(task_id).__name__}.")
    if task_id is None:
        place = pathlib.Path(path) if path is not None else pathlib.Path("simulation_data.hdf5")
        if not place.exists():
            raise FileNotFoundError(f"No file {place}.")
        return _results.from_file(place, lazy)
    place = pathlib.Path(path) if path is not None else _default_path_of(task_id)
    if place.exists() and not replace_existing:
        return _results.from_file(place, lazy)
    data = _results.deliver(_engine.find(task_id), None, place, lazy=lazy, progress=progress_callback)
    _say(verbose, f"Loading results from {place}")
    return data


_STOPS_WITHIN = 30.0
"""Seconds that a stopped task is waited for: its solver is told to end, and killed if it does not."""


def abort(task_id: str) -> Any:
    """Stops a task."""
    task = _engine.find(task_id)
    with _engine.as_web_error(task):
        task.cancel()
    # So that what is told is how it ended.
    task.wait(_STOPS_WITHIN)
    return get_info(task_id)


# Looking.


def get_info(task_id: str, verbose: bool = True) -> Any:
    """What the server says of a task."""
    return info_of(task_id, _door.detail(task_id))


def info_of(task_id: str, detail: Mapping[str, Any]) -> Any:
    """The client's object for what the server says of a task."""
    return _door.parsed(TaskInfo, {"taskId": task_id, **detail})


def get_run_info(task_id: str) -> tuple[float | None, float | None]:
    """How far a task is, in percent, and the decay of its field (``None`` before the solver tells)."""
    return run_info_of(_door.one("progress", task_id))


def run_info_of(progress: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """The same from what the server says."""
    return progress.get("perc_done"), progress.get("field_decay")


def get_tasks(
    num_tasks: int | None = None, order: Literal["new", "old"] = "new", folder: str = "default"
) -> list[dict[str, Any]]:
    """The tasks in a folder, newest first unless ``order`` is ``old``."""
    folder_id = _door.folder(folder)
    if folder_id is None:
        return []
    rows = _door.request("GET", f"tidy3d/projects/{urllib.parse.quote(folder_id, safe='')}/tasks") or []
    tasks = sorted(
        (_door.parsed(SimulationTask, row) for row in rows),
        key=lambda task: task.created_at,
        reverse=order == "new",
    )
    return [_door.dumped(task) for task in tasks[:num_tasks]]


def load_simulation(task_id: str, path: PathLikeString = "simulation.json", verbose: bool = True) -> Any:
    """The simulation of a task, and a file of it (``.json``, without arrays, or ``.hdf5``)."""
    place = pathlib.Path(path)
    if place.suffix not in (".json", ".hdf5"):
        raise ValueError("Path suffix must be '.json' or '.hdf5'")
    simulation = _simulation_of(task_id)
    place.parent.mkdir(parents=True, exist_ok=True)
    simulation.to_file(str(place))
    _say(verbose, f"Simulation of task {task_id} written to {place}")
    return simulation


def download_json(task_id: str, path: PathLikeString = "simulation.json", verbose: bool = True) -> None:
    """Writes a task's simulation as JSON, which holds no arrays."""
    place = pathlib.Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    _simulation_of(task_id).to_json(str(place))


def _simulation_of(task_id: str) -> Any:
    task = _engine.find(task_id)
    with _engine.as_web_error(task):
        simulation = task.simulation
        # Of a task of another process it is what names its arrays.
        return simulation.load() if isinstance(simulation, SimulationReference) else simulation


def download_log(
    task_id: str,
    path: PathLikeString = "tidy3d.log",
    verbose: bool = True,
    progress_callback: Callable[[float], None] | None = None,
) -> None:
    """Writes what a task's solver has written so far."""
    task = _engine.find(task_id)
    with _engine.as_web_error(task):
        text = task.log()
    place = pathlib.Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
    if progress_callback is not None:
        progress_callback(float(place.stat().st_size))


# Costs: an estimate of work, for there is nothing to pay.


def estimate_cost(task_id: str, verbose: bool = True, solver_version: str | None = None) -> float:
    """The server's estimate of a task's work, in the unit that it shows to the client."""
    _check_id(task_id)
    cost = estimate_of(_door.detail(task_id))
    _say(verbose and cost > 0, f"Estimated cost: {cost:1.3f}.")
    return cost


def estimate_of(detail: Mapping[str, Any]) -> float:
    """The estimate in what the server says of a task."""
    return detail.get("estFlexUnit") or 0.0


def real_cost(task_id: str, verbose: bool = True) -> float | None:
    """What a task's work came to, in the same unit; ``None`` before it has ended."""
    _check_id(task_id)
    cost = cost_of(_door.detail(task_id))
    _say(verbose and cost is not None, f"Cost: {cost or 0:1.3f}.")
    return cost


def cost_of(detail: Mapping[str, Any]) -> float | None:
    """The cost in what the server says of a task."""
    return detail.get("realFlexUnit")


def _check_id(task_id: Any) -> None:
    if not isinstance(task_id, str):
        raise ValueError(
            f"Task ID: {task_id} is not a string. You can get it using 'web.upload(<simulation>)'."
        )


# Deleting.


def delete(task_id: str, versions: bool = False) -> Any:
    """Deletes a task and all of its data at the server."""
    info = get_info(task_id)
    _door.delete(task_id)
    return info


def delete_old(days_old: int, folder_name: str = "default") -> int:
    """Deletes the tasks of a folder that are older than so many days; how many there were."""
    folder_id = _door.folder(folder_name)
    if folder_id is None:
        return 0
    quoted = urllib.parse.quote(folder_id, safe="")
    return int(_door.request("DELETE", f"tidy3d/tasks/{quoted}/tasks?daysOld={int(days_old)}") or 0)


# The account and the installation.


def account(verbose: bool = True) -> Any:
    """The account, as the server describes it to the client."""
    found = _door.parsed(Account, _door.request("GET", "tidy3d/py/account") or {})
    _say(verbose, "wavetask: there is nothing to pay here.")
    return found


def test() -> None:
    """Checks that the server answers and takes the key; raises `WebError` if not."""
    try:
        get_tasks(num_tasks=0)
    except errors.WavetaskError as error:
        raise WebError(str(error)) from error
    _say(True, "Authentication configured successfully!")


# The client's own business: its installation, its configuration, its licences.

tidy3d_cli = original.tidy3d_cli
configure = original.configure
