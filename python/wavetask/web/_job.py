"""`Job`: one simulation, with wavetask's engine below it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tidy3d.web as original
from tidy3d.exceptions import DataError

from wavetask._tidy3d import model

from . import _engine, _files, _functions, _models, _results
from ._models import PathLikeString

if TYPE_CHECKING:
    from wavetask import Task


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
                cache=_models.state(self).get("cache"),
            ).tasks[self.task_name]
            _models.state(self)["task"] = found
        return found

    def _known_task(self) -> Task | None:
        state = _models.state(self)
        if "task" not in state and self.task_id_cached:
            state["task"] = _engine.find(self.task_id_cached)
        return state.get("task")

    def _adopt(self, task: Task) -> Job:
        _models.state(self)["task"] = task
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
        stepped = _models.state(self).get("steps", {})
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
        _engine.start(found)
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
        begun = self._begin_step(priority)
        if begun is not None:
            return self.load_step(begun, path, progress_callback_download)
        return self.run(path, priority, progress_callback_download=progress_callback_download)

    def _begin_step(self, priority: int | None) -> str | None:
        """Submits the next step by itself, if there is one before the last; its name."""
        done = _models.state(self).setdefault("steps", {})
        for step in self.steps[:-1] if hasattr(self, "steps") else ():
            if step.name not in done:
                name = f"{self.task_name}_{step.name}"
                done[step.name] = _engine.submit(
                    {name: step.operation}, folder=self.folder_name, verbose=self.verbose, priority=priority
                ).tasks[name]
                return str(step.name)
        return None

    def load_step(
        self,
        step_name: str,
        path: PathLikeString | None = None,
        progress_callback: Callable[[float], None] | None = None,
    ) -> Any:
        """The data of a step that was run by `step`, or of the last."""
        if step_name == self.steps[-1].name:
            return self.load(path, progress_callback)
        task = _models.state(self).get("steps", {}).get(step_name)
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
        return _models.from_file(cls, fname, group_path, **keywords)


def our_job(job: Any) -> Job:
    """A job of ours from the client's, read from a file."""
    if isinstance(job, Job):
        return job
    names = ("simulation", "task_name", "folder_name", "callback_url", "verbose", "reduce_simulation", "lazy")
    return Job(**{name: getattr(job, name) for name in names}, task_id_cached=_models.task_id_of(job))


_models.keep_registered()
