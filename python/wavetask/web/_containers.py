"""`Job`, `Batch` and `BatchData`: the client's own classes, with wavetask's engine below them.

They are subclasses, so that constructors, fields, equality, file formats and ``isinstance`` are the client's. What
they do differently: work overlaps from the first to the last step (no phases, no polling), one failing member never
stops the others, a heat simulation is one task (its mesh is made with it), and files hold each array once.

Handles live beside the fields, in the place where the client keeps what it derives from them.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import tidy3d.web as original
from tidy3d.components import base
from tidy3d.exceptions import DataError, WebError
from tidy3d.log import log

from wavetask import errors
from wavetask._tidy3d import model

from . import _engine, _files, _functions, _results, _waiting

if TYPE_CHECKING:
    from wavetask import Task

PathLikeString = str | PathLike[str]

_registered = dict(base.TYPE_TO_CLASS_MAP)


def _state(thing: Any) -> dict[str, Any]:
    """What we keep beside the fields of a model."""
    state: dict[str, Any] = thing._cached_properties.setdefault("wavetask", {})
    return state


def _from_file(cls: Any, fname: PathLikeString, group_path: str | None = None, **keywords: Any) -> Any:
    """The client's loader, for the class itself: the client would give its own class, which has the same name."""
    values = cls.dict_from_file(fname=str(fname), group_path=group_path)
    if model.IS_VERSION_2:
        return cls._validate_model_dict(values, **keywords)
    return cls.parse_obj(values, **keywords)


class Job(original.Job):  # type: ignore[misc]
    """One simulation: `tidy3d.web.Job` on wavetask's engine. Also heat simulations have one ``task_id``."""

    def _task(self, hold: bool, priority: int | None = None) -> Task:
        """The handle; submits the simulation if that was not done yet."""
        found = self._known_task()
        if found is None:
            _engine.refuse(callback_url=self.callback_url)
            sent = _results.prepared(self.simulation, self.reduce_simulation)
            found = _engine.submit(
                {self.task_name: sent},
                folder=self.folder_name,
                verbose=self.verbose,
                priority=priority,
                hold=hold,
                cache=_state(self).get("cache"),
            ).tasks[self.task_name]
            _state(self)["task"] = found
        return found

    def _known_task(self) -> Task | None:
        state = _state(self)
        if "task" not in state and self.task_id_cached:
            state["task"] = _engine.find(self.task_id_cached)
        return state.get("task")

    def _adopt(self, task: Task) -> Job:
        _state(self)["task"] = task
        return self

    @property
    def load_if_cached(self) -> bool:
        """Whether the result lies in the client's local cache: never, known results come from the server."""
        return False

    @property
    def task_id(self) -> str:
        """The task's id; uploads the simulation if that was not done yet."""
        return _engine.identifier(self._task(hold=True))

    @property
    def task_ids(self) -> dict[str, str | None]:
        """Ids by step; the steps before the last are part of it here, and have none unless run by `step`."""
        known = self._known_task()
        last = _engine.identifier(known) if known is not None else None
        names = [step.name for step in self.steps] if hasattr(self, "steps") else ["run"]
        stepped = _state(self).get("steps", {})
        return {
            **{name: _engine.identifier(stepped[name]) if name in stepped else None for name in names[:-1]},
            names[-1]: last,
        }

    def upload(self, progress_callback: Callable[[float], None] | None = None) -> None:
        """Uploads the simulation without starting it."""
        _engine.uploaded(self._task(hold=True))
        if progress_callback is not None:
            progress_callback(float(_functions._sent_bytes(self.simulation)))

    def start(
        self,
        priority: int | None = None,
        vgpu_allocation: int | None = None,
        ignore_memory_limit: bool | None = None,
        *,
        worker_group: str | None = None,
    ) -> None:
        """Starts the task; uploads it first if need be."""
        self._begin(priority)

    def _begin(self, priority: int | None) -> Task:
        found = self._known_task()
        if found is None:
            return self._task(hold=False, priority=priority)
        _start(found)
        return found

    def monitor(self, worker_group: str | None = None) -> None:
        """Waits for the task, showing its progress; raises if it fails."""
        task = self._task(hold=True)
        _engine.finish(task)
        _functions._say(self.verbose, f"{self.task_name}: status = {_engine.word(task)}")

    def run(
        self,
        path: PathLikeString | None = None,
        priority: int | None = None,
        vgpu_allocation: int | None = None,
        ignore_memory_limit: bool | None = None,
        *,
        progress_callback_upload: Callable[[float], None] | None = None,
        progress_callback_download: Callable[[float], None] | None = None,
        worker_group: str | None = None,
    ) -> Any:
        """Runs the simulation, writes the result's file and gives its data object."""
        self._begin(priority)
        if progress_callback_upload is not None:
            progress_callback_upload(float(_functions._sent_bytes(self.simulation)))
        self.monitor()
        return self.load(path, progress_callback_download)

    def download(self, path: PathLikeString | None = None) -> None:
        """Writes the result's file."""
        task = self._task(hold=True)
        _engine.finish(task)
        _results.save(task, path if path is not None else _results.default_path(self.simulation))

    def load(
        self,
        path: PathLikeString | None = None,
        progress_callback: Callable[[float], None] | None = None,
    ) -> Any:
        """Writes the result's file and gives its data object."""
        return _results.deliver(
            self._task(hold=True), self.simulation, path, lazy=self.lazy, progress=progress_callback
        )

    def step(
        self,
        path: PathLikeString | None = None,
        progress_callback_upload: Callable[[float], None] | None = None,
        progress_callback_download: Callable[[float], None] | None = None,
        worker_group: str | None = None,
        priority: int | None = None,
        vgpu_allocation: int | None = None,
        ignore_memory_limit: bool | None = None,
    ) -> Any:
        """Runs the next step and gives its data: the mesh of a heat simulation as a task of its own, then the
        simulation. `run` needs no steps."""
        done = _state(self).setdefault("steps", {})
        for step in self.steps[:-1]:
            if step.name not in done:
                name = f"{self.task_name}_{step.name}"
                done[step.name] = _engine.submit(
                    {name: step.operation}, folder=self.folder_name, verbose=self.verbose, priority=priority
                ).tasks[name]
                return self.load_step(step.name, path, progress_callback_download)
        return self.run(path, priority, progress_callback_download=progress_callback_download)

    def load_step(
        self,
        step_name: str,
        path: PathLikeString | None = None,
        progress_callback: Callable[[float], None] | None = None,
    ) -> Any:
        """The data of a step that was run by `step`, or of the last."""
        if step_name == self.steps[-1].name:
            return self.load(path, progress_callback)
        task = _state(self).get("steps", {}).get(step_name)
        if task is None:
            raise DataError(f"The step '{step_name}' was not run by itself; it is part of the last one.")
        return _results.deliver(task, None, path, lazy=self.lazy, progress=progress_callback)

    @property
    def status(self) -> str:
        """The client's word for where the task is; uploads it if that was not done yet."""
        return _engine.word(self._task(hold=True))

    def get_info(self) -> Any:
        """What the server says of the task."""
        return _functions.get_info(self.task_id)

    def get_run_info(self) -> Any:
        """How far the task is, in percent, and the decay of its field."""
        return _functions.get_run_info(self.task_id)

    def delete(self) -> None:
        """Deletes the task and its data at the server, if there is one."""
        found = self._known_task()
        if found is not None:
            _functions.delete(_engine.identifier(found))

    def real_cost(self, verbose: bool = True) -> float | None:
        """What the task's work came to; see `wavetask.web.real_cost`."""
        return _functions.real_cost(self.task_id, verbose=verbose)

    def estimate_cost(self, verbose: bool = True) -> float:
        """The server's estimate of the task's work; uploads it if that was not done yet."""
        self.upload()
        return _functions.estimate_cost(self.task_id, verbose=verbose)

    def to_file(self, fname: PathLikeString) -> None:
        """Writes this job, its task's id included, as the client does."""
        known = self._known_task()
        text = model.json_text(self)
        values = json.loads(text)
        if known is not None:
            values["task_id_cached"] = _engine.identifier(known)
        _files.write(fname, self, text, values)

    @classmethod
    def from_file(cls, fname: PathLikeString, group_path: str | None = None, **keywords: Any) -> Any:
        """Reads a job that `to_file` wrote, here or in the client."""
        keywords.pop("lazy", None)
        keywords.pop("on_load", None)
        return _from_file(cls, fname, group_path, **keywords)


class BatchData(original.BatchData):  # type: ignore[misc]
    """The results of a batch, read when they are asked for: `tidy3d.web.BatchData`."""

    def load_sim_data(self, task_name: str) -> Any:
        """The data object of one task.

        Raises `KeyError` if there is no such task, and the client's `DataError` with the reason if it failed.
        """
        state = _state(self)
        if task_name in state.get("failed", {}):
            raise DataError(f"Task '{task_name}' has no result: {state['failed'][task_name]}")
        path, task_id = pathlib.Path(self.task_paths[task_name]), self.task_ids[task_name]
        task = state.get("tasks", {}).get(task_name)
        simulation = state.get("simulations", {}).get(task_name)
        if path.exists():
            if task is not None:
                return _results.data_of(task, simulation, path, self.lazy)
            return _results.from_file(path, self.lazy)
        return _results.deliver(task or _engine.find(task_id), simulation, path, lazy=self.lazy)

    @classmethod
    def load(cls, path_dir: PathLikeString = ".", replace_existing: bool = False) -> Any:
        """Reads the folder of a batch: its `batch.hdf5` and its results, fetching those that are not there."""
        batch = Batch.from_file(Batch._batch_path(path_dir=path_dir))
        return batch.load(path_dir=path_dir, replace_existing=replace_existing)


class Batch(original.Batch):  # type: ignore[misc]
    """Many simulations: `tidy3d.web.Batch` on wavetask's engine."""

    def _remember_cache(self, cache: bool | None) -> None:
        _state(self)["cache"] = cache

    def _members(self) -> dict[str, Any]:
        """The simulations by task name."""
        state = _state(self)
        if "members" not in state:
            if self.jobs_cached is not None:
                state["members"] = {name: job.simulation for name, job in self.jobs_cached.items()}
            elif hasattr(type(self), "_flat_simulations"):
                state["members"] = dict(self._flat_simulations)
            elif isinstance(self.simulations, Mapping):
                state["members"] = dict(self.simulations)
            else:
                state["members"] = {
                    f"{_functions.default_name(member)}_{index}": member
                    for index, member in enumerate(self.simulations, 1)
                }
        return dict(state["members"])

    def _known_tasks(self) -> dict[str, Task]:
        """The handles of members that were submitted before, by this batch, by its jobs or as its file says."""
        state = _state(self)
        tasks: dict[str, Task] = state.setdefault("tasks", {})
        for name, job in (self.jobs_cached or {}).items():
            if name not in tasks and (known := _id_of(job)):
                tasks[name] = _engine.find(known)
        for name, job in state.get("jobs", {}).items():
            if name not in tasks and (found := job._known_task()) is not None:
                tasks[name] = found
        return tasks

    def _tasks(self, hold: bool, priority: int | None = None) -> dict[str, Task]:
        """The handles by task name; submits those that were not yet, all at once."""
        state = _state(self)
        members = self._members()
        tasks = self._known_tasks()
        missing = {name: member for name, member in members.items() if name not in tasks}
        if missing:
            _engine.refuse(callback_url=self.callback_url)
            sent, refused = {}, state.setdefault("refused", {})
            for name, member in missing.items():
                try:
                    sent[name] = _results.prepared(member, self.reduce_simulation)
                except Exception as error:  # the client's checks raise whatever they like
                    refused[name] = error
            if sent:
                submitted = _engine.submit(
                    sent,
                    folder=self.folder_name,
                    verbose=self.verbose,
                    priority=priority,
                    hold=hold,
                    cache=state.get("cache"),
                )
                tasks.update(submitted.tasks)
                state["batch"] = submitted.batch
            state["tasks"] = {name: tasks[name] for name in members if name in tasks}
            for name, job in state.get("jobs", {}).items():
                if name in tasks:
                    job._adopt(tasks[name])
        return dict(state["tasks"])

    @property
    def jobs(self) -> dict[str, Any]:
        """A `Job` for each simulation."""
        state = _state(self)
        if "jobs" not in state:
            if self.jobs_cached is not None:
                state["jobs"] = {name: _our_job(job) for name, job in self.jobs_cached.items()}
            else:
                state["jobs"] = {
                    name: Job(
                        simulation=member,
                        task_name=name,
                        folder_name=self.folder_name,
                        callback_url=self.callback_url,
                        verbose=False,
                        reduce_simulation=self.reduce_simulation,
                        lazy=self.lazy,
                    )
                    for name, member in self._members().items()
                }
            for name, task in state.get("tasks", {}).items():
                state["jobs"][name]._adopt(task)
            for job in state["jobs"].values():
                _state(job)["cache"] = state.get("cache")
        return dict(state["jobs"])

    @property
    def num_jobs(self) -> int:
        """How many simulations there are."""
        return len(self._members())

    def run(
        self,
        path_dir: PathLikeString = ".",
        priority: int | None = None,
        replace_existing: bool = False,
        vgpu_allocation: int | None = None,
        ignore_memory_limit: bool | None = None,
    ) -> Any:
        """Runs all and gives their `BatchData`. Files are written as results come; members that fail are left out,
        with a warning that says why."""
        self._check_path_dir(path_dir)
        self.start(priority)
        self.monitor(download_on_success=True, path_dir=path_dir, replace_existing=replace_existing)
        self.to_file(self._batch_path(path_dir=path_dir))
        return self.load(path_dir=path_dir, skip_download=True)

    def step(
        self,
        path_dir: PathLikeString = ".",
        priority: int | None = None,
        replace_existing: bool = False,
        vgpu_allocation: int | None = None,
        ignore_memory_limit: bool | None = None,
    ) -> Any:
        """Runs all: the steps before the last are part of it here."""
        return self.run(path_dir, priority, replace_existing)

    def upload(self) -> None:
        """Uploads all without starting them; members that fail show when they are waited for."""
        for task in self._tasks(hold=True).values():
            try:
                _engine.uploaded(task)
            except WebError as error:
                log.warning(str(error))

    def start(
        self,
        priority: int | None = None,
        vgpu_allocation: int | None = None,
        ignore_memory_limit: bool | None = None,
    ) -> None:
        """Starts all."""
        before = list(self._known_tasks().values())
        self._tasks(hold=False, priority=priority)
        for task in before:
            try:
                _start(task)
            except WebError as error:  # shows when it is waited for
                log.warning(str(error))

    def monitor(
        self,
        *,
        download_on_success: bool = False,
        path_dir: PathLikeString = ".",
        replace_existing: bool = False,
    ) -> None:
        """Waits for all, showing their progress, and writes files as results come if asked to. Does not raise for
        members that fail; `load` tells of them."""
        failed = self._failed()
        for name, task in _waiting.as_ended(self._tasks(hold=True), _state(self).get("batch")):
            try:
                _engine.finish(task)
                if download_on_success:
                    place = pathlib.Path(self._job_data_path(_engine.identifier(task), path_dir))
                    if replace_existing or not place.exists():
                        _results.save(task, place)
            except (WebError, errors.WavetaskError, OSError) as error:
                failed[name] = error
        if self.verbose:
            _functions._say(True, f"{self.num_jobs - len(failed)} of {self.num_jobs} tasks: status = success")

    def _failed(self) -> dict[str, BaseException]:
        state = _state(self)
        failed: dict[str, BaseException] = state.setdefault("failed", dict(state.get("refused", {})))
        return failed

    def download(self, path_dir: PathLikeString = ".", replace_existing: bool = False) -> None:
        """Waits for all and writes their files."""
        self._check_path_dir(path_dir)
        self.monitor(download_on_success=True, path_dir=path_dir, replace_existing=replace_existing)

    def load(
        self,
        path_dir: PathLikeString = ".",
        replace_existing: bool = False,
        skip_download: bool = False,
    ) -> Any:
        """Waits for all, writes their files unless told not to, and gives their `BatchData`."""
        self._check_path_dir(path_dir)
        tasks = self._tasks(hold=True)
        if not skip_download:
            self.download(path_dir=path_dir, replace_existing=replace_existing)
        failed = {**_state(self).get("refused", {}), **self._failed()}
        paths, ids = {}, {}
        for name, task in tasks.items():
            if name not in failed:
                try:
                    _engine.finish(task)
                except WebError as error:
                    failed[name] = error
                    continue
                ids[name] = _engine.identifier(task)
                paths[name] = str(self._job_data_path(ids[name], path_dir))
        for name, why in failed.items():
            log.warning(
                f"Not loading '{name}' as the task errored: {(str(why) or type(why).__name__).splitlines()[0]}"
            )
        data = BatchData(
            task_paths=paths,
            task_ids=ids,
            verbose=self.verbose,
            cached_tasks=dict.fromkeys(paths, False),
            lazy=self.lazy,
            is_downloaded=True,
            **self._tree(),
        )
        if hasattr(data, "_unavailable_tasks"):
            data._unavailable_tasks = {name: str(error) for name, error in failed.items()}
        members = self._members()
        _state(data).update(
            tasks={name: tasks[name] for name in paths},
            simulations={name: members[name] for name in paths},
            failed={name: str(error) for name, error in failed.items()},
        )
        return data

    def _tree(self) -> dict[str, Any]:
        """The nesting of the containers, for clients that know it."""
        if not hasattr(type(self), "_has_nested_simulation_container"):
            return {}
        if self.task_tree is not None:
            return {"task_tree": self.task_tree}
        return {"task_tree": self._simulation_task_tree} if self._has_nested_simulation_container else {}

    def get_info(self) -> dict[str, Any]:
        """What the server says of each task."""
        return {name: _functions.get_info(known) for name, known in self._ids().items()}

    def get_run_info(self) -> dict[str, Any]:
        """How far each task is."""
        return {name: _functions.get_run_info(known) for name, known in self._ids().items()}

    def _ids(self) -> dict[str, str]:
        return {name: _engine.identifier(task) for name, task in self._tasks(hold=True).items()}

    def delete(self) -> None:
        """Deletes all tasks and their data at the server."""
        if _state(self).get("tasks") or self.jobs_cached is not None:
            for known in self._ids().values():
                _functions.delete(known)

    def real_cost(self, verbose: bool = True) -> float | None:
        """What the work of all came to; ``None`` while it is not known of all."""
        costs = [_functions.real_cost(known, verbose=False) for known in self._ids().values()]
        known_costs = [cost for cost in costs if cost is not None]
        if not costs or len(known_costs) < len(costs):
            return None
        _functions._say(verbose, f"Total cost: {sum(known_costs):1.3f}.")
        return sum(known_costs)

    def estimate_cost(self, verbose: bool = True) -> float:
        """The server's estimate of the work of all; uploads what was not uploaded yet."""
        self.upload()
        total = sum(_functions.estimate_cost(known, verbose=False) for known in self._ids().values())
        _functions._say(verbose, f"Estimated total cost: {total:1.3f}.")
        return total

    def to_file(self, fname: PathLikeString) -> None:
        """Writes this batch, the ids of its tasks included, as the client does; every array once."""
        text = model.json_text(self)
        values = json.loads(text)
        values.update(self._tree())
        tasks = _state(self).get("tasks", {})
        links = {}
        if tasks:
            values["jobs_cached"] = {}
            for name, member in self._members().items():
                place = _place_of(self.simulations, member)
                job: dict[str, Any] = {
                    "type": "Job",
                    "simulation": _below(values["simulations"], place),
                    "task_name": name,
                    "folder_name": self.folder_name,
                    "verbose": False,
                    "lazy": self.lazy,
                }
                task = tasks.get(name)
                if task is not None and task.id is not None:
                    job["task_id_cached"] = task.id
                values["jobs_cached"][name] = job
                links["/".join(("simulations", *place))] = f"jobs_cached/{name}/simulation"
        _files.write(fname, self, text, values, links)

    @classmethod
    def from_file(
        cls,
        fname: PathLikeString,
        group_path: str | None = None,
        lazy: bool = False,
        on_load: Callable[[Any], None] | None = None,
        **parse_obj_kwargs: Any,
    ) -> Any:
        """Reads a batch that `to_file` wrote, here or in the client."""
        loaded = _from_file(cls, fname, group_path, **parse_obj_kwargs)
        if lazy:
            object.__setattr__(loaded, "lazy", True)
        if on_load is not None:
            on_load(loaded)
        return loaded


def _start(task: Task) -> None:
    """Starts a task that waits for it, and no other."""
    if not task.done():
        _engine.uploaded(task)
        if task.status == "held":
            with _functions._as_web_error(task):
                task.start()


def _id_of(job: Any) -> str | None:
    """The task's id in a job that was read from a file."""
    if job.task_id_cached:
        return str(job.task_id_cached)
    state = getattr(job, "state_cached", None)
    known = [task_id for task_id in state.task_ids.values() if task_id] if state is not None else []
    return known[-1] if known else None


def _our_job(job: Any) -> Job:
    """A job of ours from the client's, read from a file."""
    if isinstance(job, Job):
        return job
    names = ("simulation", "task_name", "folder_name", "callback_url", "verbose", "reduce_simulation", "lazy")
    return Job(**{name: getattr(job, name) for name in names}, task_id_cached=_id_of(job))


def _place_of(containers: Any, member: Any) -> tuple[str, ...]:
    """Where in nested containers an object is."""
    for path, found in _leaves(containers, ()):
        if found is member:
            return path
    raise KeyError("the simulation is not in the batch")


def _leaves(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(node, Mapping):
        for key, below in node.items():
            yield from _leaves(below, (*path, str(key)))
    elif isinstance(node, (list, tuple)):
        for index, below in enumerate(node):
            yield from _leaves(below, (*path, str(index)))
    else:
        yield path, node


def _below(values: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        values = values[int(part)] if isinstance(values, list) else values[part]
    return values


# Our classes have the client's names, but files read by the client itself stay the client's.
base.TYPE_TO_CLASS_MAP.update(_registered)
