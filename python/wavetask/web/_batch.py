"""`Batch` and `BatchData`: many simulations, with wavetask's engine below them.

They are subclasses, so that constructors, fields, equality, file formats and ``isinstance`` are the client's. What
they do differently: work overlaps from the first to the last step (no phases, no polling), one failing member never
stops the others, a heat simulation is one task (its mesh is made with it), and files hold each array once.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import tidy3d.web as original
from tidy3d.exceptions import DataError, WebError
from tidy3d.log import log

from wavetask import errors
from wavetask._tidy3d import model

from . import _door, _engine, _files, _functions, _models, _results, _waiting
from ._job import Job, our_job
from ._models import PathLikeString

if TYPE_CHECKING:
    from wavetask import Task


class BatchData(original.BatchData):  # type: ignore[misc]
    """The results of a batch, read when they are asked for: `tidy3d.web.BatchData`."""

    def load_sim_data(self, task_name: str) -> Any:
        """The data object of one task.

        Raises `KeyError` if there is no such task, and the client's `DataError` with the reason if it failed.
        """
        state = _models.state(self)
        if task_name in state.get("failed", {}):
            raise DataError(f"Task '{task_name}' has no result: {state['failed'][task_name]}")
        path, task_id = pathlib.Path(self.task_paths[task_name]), self.task_ids[task_name]
        task = state.get("tasks", {}).get(task_name)
        simulation = state.get("simulations", {}).get(task_name)
        if path.exists():
            if task is not None:
                return _results.data_of(task, simulation, path, self.lazy)
            return _results.from_file(path, self.lazy)
        # Of lazy data that is at the server, what is touched is fetched.
        return _results.deliver(task or _engine.find(task_id), simulation, path, lazy=self.lazy)

    @classmethod
    def load(cls, path_dir: PathLikeString = ".", replace_existing: bool = False) -> Any:
        """Reads the folder of a batch: its `batch.hdf5` and its results, fetching those that are not there."""
        batch = Batch.from_file(Batch._batch_path(path_dir=path_dir))
        return batch.load(path_dir=path_dir, replace_existing=replace_existing)


class Batch(original.Batch):  # type: ignore[misc]
    """Many simulations: `tidy3d.web.Batch` on wavetask's engine.

    With ``lazy=True`` results stay at the server: their data fetches what is touched, has the server compute what is
    interpolated, and writes its file once all of it is needed. `download` writes all files.
    """

    def _remember_cache(self, cache: bool | None) -> None:
        _models.state(self)["cache"] = cache

    def _keep_files(self, wanted: bool) -> None:
        """Whether files are written even though the data is lazy."""
        _models.state(self)["files"] = wanted

    @property
    def _at_the_server(self) -> bool:
        """Whether results stay at the server until they are touched."""
        return bool(self.lazy) and not _models.state(self).get("files")

    def _members(self) -> dict[str, Any]:
        """The simulations by task name."""
        state = _models.state(self)
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
        state = _models.state(self)
        tasks: dict[str, Task] = state.setdefault("tasks", {})
        for name, job in (self.jobs_cached or {}).items():
            if name not in tasks and (known := _models.task_id_of(job)):
                tasks[name] = _engine.find(known)
        for name, job in state.get("jobs", {}).items():
            if name not in tasks and (found := job._known_task()) is not None:
                tasks[name] = found
        return tasks

    def _tasks(self, hold: bool, priority: int | None = None) -> dict[str, Task]:
        """The handles by task name; submits those that were not yet, all at once."""
        state = _models.state(self)
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
                    lazy=self._at_the_server,
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
        state = _models.state(self)
        if "jobs" not in state:
            if self.jobs_cached is not None:
                state["jobs"] = {name: our_job(job) for name, job in self.jobs_cached.items()}
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
                _models.state(job)["cache"] = state.get("cache")
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
        """Runs all and gives their `BatchData`. Files are written as results come, unless the data is lazy; members
        that fail are left out, with a warning that says why."""
        self._check_path_dir(path_dir)
        self.start(priority)
        self.monitor(
            download_on_success=not self._at_the_server, path_dir=path_dir, replace_existing=replace_existing
        )
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
        """Runs the next step of all: the meshes of heat simulations as tasks of their own, which gives ``None``, then the
        simulations, which gives their `BatchData`. `run` needs no steps."""
        self._check_path_dir(path_dir)
        begun = [(job, name) for job in self.jobs.values() if (name := job._begin_step(priority)) is not None]
        if not begun:
            return self.run(path_dir, priority, replace_existing)
        for job, name in begun:
            _engine.finish(_models.state(job)["steps"][name])
        self.to_file(self._batch_path(path_dir=path_dir))
        return None

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
                _engine.start(task)
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
        for name, task in _waiting.as_ended(self._tasks(hold=True), _models.state(self).get("batch")):
            try:
                _engine.finish(task)
                # It may have failed before and been run again.
                failed.pop(name, None)
                if download_on_success:
                    place = pathlib.Path(self._job_data_path(_engine.identifier(task), path_dir))
                    if replace_existing or not place.exists():
                        _results.save(task, place)
            except (WebError, errors.WavetaskError, OSError) as error:
                failed[name] = error
        if self.verbose:
            _functions._say(True, f"{self.num_jobs - len(failed)} of {self.num_jobs} tasks: status = success")

    def _failed(self) -> dict[str, BaseException]:
        state = _models.state(self)
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
        """Waits for all, writes their files unless told not to or the data is lazy, and gives their `BatchData`."""
        self._check_path_dir(path_dir)
        tasks = self._tasks(hold=True)
        if not skip_download and not self._at_the_server:
            self.download(path_dir=path_dir, replace_existing=replace_existing)
        failed = self._failed()
        paths, ids = {}, {}
        for name, task in tasks.items():
            # What could not be written may be written by now; what the task ended with says it itself.
            if isinstance(failed.get(name), OSError):
                continue
            try:
                _engine.finish(task)
            except WebError as error:
                failed[name] = error
                continue
            failed.pop(name, None)
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
        _models.state(data).update(
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
        ids = self._ids()
        details = _door.many("detail", ids)
        return {name: _functions.info_of(ids[name], detail) for name, detail in details.items()}

    def get_run_info(self) -> dict[str, Any]:
        """How far each task is."""
        told = _door.many("progress", self._ids())
        return {name: _functions.run_info_of(progress) for name, progress in told.items()}

    def _ids(self) -> dict[str, str]:
        """The ids of the members that the server knows; a warning names those that never reached it."""
        ids = {}
        for name, task in self._tasks(hold=True).items():
            try:
                ids[name] = _engine.identifier(task)
            except WebError as error:
                log.warning(f"'{name}' never reached the server: {error}")
        return ids

    def delete(self) -> None:
        """Deletes all tasks and their data at the server."""
        state = _models.state(self)
        if not state.get("tasks") and self.jobs_cached is None:
            return
        tasks = self._known_tasks()
        batch = state.get("batch")
        if batch is not None and len(batch) == len(tasks):
            with _engine.as_web_error(next(iter(tasks.values()))):
                batch.delete()
        else:
            _door.each(_functions.delete, self._ids())

    def real_cost(self, verbose: bool = True) -> float | None:
        """What the work of all came to; ``None`` while it is not known of all."""
        costs = [_functions.cost_of(detail) for detail in _door.many("detail", self._ids()).values()]
        known_costs = [cost for cost in costs if cost is not None]
        if not costs or len(known_costs) < len(costs):
            return None
        _functions._say(verbose, f"Total cost: {sum(known_costs):1.3f}.")
        return sum(known_costs)

    def estimate_cost(self, verbose: bool = True) -> float:
        """The server's estimate of the work of all; uploads what was not uploaded yet."""
        self.upload()
        total = sum(map(_functions.estimate_of, _door.many("detail", self._ids()).values()))
        _functions._say(verbose, f"Estimated total cost: {total:1.3f}.")
        return total

    def to_file(self, fname: PathLikeString) -> None:
        """Writes this batch, the ids of its tasks included, as the client does; every array once."""
        text = model.json_text(self)
        values = json.loads(text)
        values.update(self._tree())
        tasks = _models.state(self).get("tasks", {})
        links = {}
        if tasks:
            values["jobs_cached"] = {}
            for name, member in self._members().items():
                place = _models.place_of(self.simulations, member)
                job: dict[str, Any] = {
                    "type": "Job",
                    "simulation": _models.below(values["simulations"], place),
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
        loaded = _models.from_file(cls, fname, group_path, **parse_obj_kwargs)
        if lazy:
            object.__setattr__(loaded, "lazy", True)
        if on_load is not None:
            on_load(loaded)
        return loaded


_models.keep_registered()
