"""Results as the client's users get them: an HDF5 file at the place they expect, and tidy3d's data object."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any

from tidy3d.web.api.tidy3d_stub import Tidy3dStubData

from wavetask import errors

from . import _engine, _lazy

if TYPE_CHECKING:
    from wavetask import Task

Path = str | PathLike[str]


def default_path(simulation: Any) -> pathlib.Path:
    """The file's name where the caller gives none."""
    modeler = "ComponentModeler" in type(simulation).__name__
    return pathlib.Path("cm_data.hdf5" if modeler else "simulation_data.hdf5")


def save(task: Task, path: Path, progress: Callable[[float], None] | None = None) -> pathlib.Path:
    """Writes the result's file, making its folder."""
    place = pathlib.Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    task.save(str(place))
    if progress is not None:
        progress(float(place.stat().st_size))
    return place


def from_file(path: Path, lazy: bool) -> Any:
    """The data object of a file, with the client's warnings."""
    return Tidy3dStubData.postprocess(str(path), lazy=lazy)


def deliver(
    task: Task,
    simulation: Any,
    path: Path | None,
    *,
    lazy: bool,
    progress: Callable[[float], None] | None = None,
) -> Any:
    """Waits for a task and gives its data object: its file is written, or, of lazy data, will be once all of it is
    needed."""
    _engine.finish(task)
    place = pathlib.Path(path if path is not None else default_path(simulation))
    if lazy:
        return at_the_server(task, simulation, place, progress)
    return data_of(task, simulation, save(task, place, progress), lazy=False)


def at_the_server(
    task: Task, simulation: Any, place: pathlib.Path, progress: Callable[[float], None] | None = None
) -> Any:
    """The lazy data object of a task that has a result, of which nothing is fetched yet."""

    def load() -> Any:
        return data_of(task, None, save(task, place, progress), lazy=False)

    data = _lazy.result(task, load)
    patch(simulation, data)
    return data


def data_of(task: Task, simulation: Any, path: Path, lazy: bool) -> Any:
    """The data object of a task that has a result and whose file is written."""
    if lazy:
        data = from_file(path, lazy=True)
    else:
        try:
            data = task.result()
        except errors.Diverged:
            data = from_file(path, lazy=False)
        else:
            Tidy3dStubData._check_convergence_and_warnings(data)
    patch(simulation, data)
    return data


def patch(simulation: Any, data: Any) -> None:
    """Mode solvers keep their data, as after the client's own run."""
    if type(simulation).__name__ == "ModeSolver":
        simulation._patch_data(data=data)


def prepared(simulation: Any, reduce_simulation: Any, source_required: bool = True) -> Any:
    """What is sent for a simulation: the client's checks before uploading, and its reduction of mode solvers."""
    name = type(simulation).__name__
    if name == "ModeSolver" or (name == "ModeSimulation" and hasattr(simulation, "reduced_simulation_copy")):
        simulation = _reduced(simulation, reduce_simulation)
    check = getattr(simulation, "validate_pre_upload", None)
    if check is not None:
        if name == "Simulation":
            check(source_required)
        else:
            check()
    return simulation


def _reduced(simulation: Any, reduce_simulation: Any) -> Any:
    from tidy3d.web.api import webapi

    if hasattr(webapi, "get_reduced_simulation"):
        return webapi.get_reduced_simulation(simulation, reduce_simulation)
    return simulation.reduced_simulation_copy if reduce_simulation is True else simulation
