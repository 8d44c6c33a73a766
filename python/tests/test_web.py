"""`wavetask.web` has the names, signatures, shapes and habits of `tidy3d.web`."""

from __future__ import annotations

import inspect
import threading
import time

import engine_double
import h5py
import models
import numpy as np
import pytest
import tidy3d as td
import tidy3d.web as original
import wavetask
import wavetask.web as web
from models import fdtd, heat_result, slab, spatial
from tidy3d.exceptions import WebError
from wavetask import errors
from wavetask.web import _door

NEWEST = tuple(int(part) for part in td.__version__.split(".")[:2]) >= (2, 12)
newest_only = pytest.mark.skipif(not NEWEST, reason="of the newer client")


@pytest.fixture
def engine(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return engine_double.install(monkeypatch)


def failing(*rates):
    """Solves all but simulations of these rates."""

    def solve(simulation):
        if simulation.sources[0].rate in rates:
            raise errors.SolverFailed("no unique solution", code="solver.singular", hint="fix a temperature")
        return heat_result(simulation)

    return solve


# Names and signatures.


def test_every_name_is_there():
    assert set(original.__all__) <= set(web.__all__)
    for name in original.__all__:
        assert getattr(web, name) is not None


def compatible(ours, theirs) -> None:
    mine = inspect.signature(ours).parameters
    for index, (name, parameter) in enumerate(inspect.signature(theirs).parameters.items()):
        assert name in mine, f"{ours.__qualname__} lacks {name}"
        if parameter.kind is not parameter.KEYWORD_ONLY:
            assert list(mine)[index] == name, f"{ours.__qualname__}: {name} at another place"
        assert mine[name].kind in (parameter.kind, parameter.POSITIONAL_OR_KEYWORD)
        if NEWEST:
            assert mine[name].default == parameter.default, f"{ours.__qualname__}: default of {name}"
    extra = [
        parameter for name, parameter in mine.items() if name not in inspect.signature(theirs).parameters
    ]
    if NEWEST:
        assert all(parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD) for parameter in extra)


@pytest.mark.parametrize(
    "name", [name for name in original.__all__ if not inspect.isclass(getattr(original, name))]
)
def test_signatures_of_functions(name):
    if name != "tidy3d_cli":
        compatible(getattr(web, name), getattr(original, name))


@pytest.mark.parametrize("kind", ["Job", "Batch", "BatchData"])
def test_signatures_of_methods(kind):
    theirs, ours = getattr(original, kind), getattr(web, kind)
    assert issubclass(ours, theirs)
    # Names in annotations are looked up at first use, and only then the fields show in the signature.
    theirs.model_rebuild()
    ours.model_rebuild()
    assert str(inspect.signature(ours)) == str(inspect.signature(theirs))
    for name, method in vars(theirs).items():
        if inspect.isfunction(method) and not name.startswith("_") and name in vars(ours):
            compatible(vars(ours)[name], method)


def test_the_clients_own_classes_stay_registered():
    from tidy3d.components.base import TYPE_TO_CLASS_MAP

    for kind in ("Job", "Batch", "BatchData"):
        assert TYPE_TO_CLASS_MAP[kind] is getattr(original, kind)


# Running.


@pytest.mark.parametrize("lazy", [None, False, True])
def test_run_of_one(engine, tmp_path, lazy):
    simulation = slab(rate=spatial(2, 2, 2))
    data = web.run(simulation, "one", path=tmp_path / "deep" / "one.hdf5", verbose=False, lazy=lazy)
    assert isinstance(data, td.HeatChargeSimulationData)
    assert ("Proxy" in type(data).__name__) == bool(lazy)
    assert data.simulation == simulation
    assert td.HeatChargeSimulationData.from_file(str(tmp_path / "deep" / "one.hdf5")) == heat_result(
        simulation
    )


def test_run_writes_where_the_client_does(engine, tmp_path):
    web.run(slab(), verbose=False)
    assert (tmp_path / "simulation_data.hdf5").exists()
    web.run(slab(), path="bare", verbose=False)
    assert (tmp_path / "bare.hdf5").exists()


def test_run_of_a_nested_container(engine, tmp_path):
    a, b, c = slab(1e-5), slab(2e-5), slab(3e-5)
    results = web.run({"x": [a, (b, a)], 3: c}, "scan", path=tmp_path / "out", verbose=False)
    assert list(results) == ["x", 3] and isinstance(results["x"], list) and isinstance(results["x"][1], tuple)
    for data, simulation in [
        (results["x"][0], a),
        (results["x"][1][0], b),
        (results["x"][1][1], a),
        (results[3], c),
    ]:
        assert data.simulation == simulation
    assert results["x"][0] is not results["x"][1][1]
    assert len(engine.submissions) == 1 and len(engine.submissions[0][0]) == 3, (
        "each object once, all at once"
    )
    assert len(list((tmp_path / "out").glob("task-*.hdf5"))) == 3
    assert [engine.submissions[0][0][0].startswith("scan_")] == [True]


def test_a_container_of_one_is_a_single_run(engine, tmp_path):
    (data,) = web.run([slab()], path=str(tmp_path / "only.hdf5"), verbose=False)
    assert data == heat_result(slab())
    assert (tmp_path / "only.hdf5").exists()


def test_what_cannot_be_run(engine):
    with pytest.raises(ValueError, match="No simulation"):
        web.run([], verbose=False)
    with pytest.raises(TypeError, match="Unsupported element"):
        web.run([slab(), 3], verbose=False)
    with pytest.raises(ValueError, match="callback_url"):
        web.run(slab(), callback_url="http://127.0.0.1", verbose=False)
    assert not engine.submissions


def test_members_overlap(engine, tmp_path):
    engine.delay = lambda key: 0.5
    started = time.monotonic()
    web.run([slab(rate=n * 1e-5) for n in range(1, 11)], path=tmp_path, verbose=False)
    assert time.monotonic() - started < 4


def test_results_are_saved_as_they_come(engine, tmp_path):
    """No barrier: the file of the quick one is there while the slow one runs."""
    engine.delay = lambda key: 3.0 if key.endswith("slow") else 0.0
    found = []

    def look():
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline and not found:
            found.extend(tmp_path.glob("task-*.hdf5"))
            time.sleep(0.01)
        found.append("slow" in engine.solved)

    watcher = threading.Thread(target=look)
    watcher.start()
    web.run({"slow": slab(2e-5), "quick": slab()}, path=tmp_path, verbose=False)
    watcher.join()
    assert len(found) >= 2 and found[-1] is False


def test_failure_of_one(engine):
    engine.solve = failing(1e-5)
    with pytest.raises(WebError, match=r"no unique solution\nfix a temperature") as caught:
        web.run(slab(), verbose=False)
    assert isinstance(caught.value.__cause__, errors.SolverFailed)


def test_failure_in_a_container_comes_at_the_end(engine, tmp_path):
    engine.solve = failing(2e-5)
    engine.delay = lambda key: 0.0 if key == "b" else 0.3
    with pytest.raises(WebError, match=r"1 of 3 tasks failed(.|\n)*b: .*no unique solution"):
        web.run({"a": slab(1e-5), "b": slab(2e-5), "c": slab(3e-5)}, path=tmp_path, verbose=False)
    assert len(list(tmp_path.glob("task-*.hdf5"))) == 2, "the others are saved"


def test_tracers_are_refused(engine):
    import autograd

    def objective(permittivity):
        with pytest.raises(errors.InvalidSimulation, match="traced"):
            web.run(fdtd(structures=[models.box(td.Medium(permittivity=permittivity))]), verbose=False)
        return permittivity

    autograd.grad(objective)(2.0)


def test_options_reach_the_engine(engine):
    web.run(slab(), "named", folder_name="a folder", priority=7, verbose=False, cache=False)
    ((keys, options),) = engine.submissions
    assert keys == ["named"] and options["folder"] == "a folder" and options["priority"] == 7
    assert options["cache"] is False and options["progress"] is False
    before = td.config.local_cache.enabled
    try:
        for enabled in (True, False):
            td.config.local_cache.enabled = enabled
            web.run(slab(), verbose=False)
            assert engine.submissions[-1][1]["cache"] is enabled
    finally:
        td.config.local_cache.enabled = before


def test_odd_task_names(engine, tmp_path):
    names = ["a/b", ".", "x" * 300, "tab\t", "tab_", "/", ""]
    results = web.run_async(
        {name: slab(n * 1e-5) for n, name in enumerate(names, 1)}, path_dir=tmp_path, verbose=False
    )
    assert list(results) == names
    for number, name in enumerate(names, 1):
        assert results[name].simulation.sources[0].rate == number * 1e-5


def test_progress_callbacks(engine):
    seen = []
    web.run(
        slab(), verbose=False, progress_callback_upload=seen.append, progress_callback_download=seen.append
    )
    assert len(seen) == 2 and all(value > 1000 for value in seen)


# Step by step.


def test_upload_start_monitor_load(engine, tmp_path):
    task_id = web.upload(slab(), "step by step", verbose=False)
    assert isinstance(task_id, str) and not engine.solved
    web.start(task_id)
    web.monitor(task_id, verbose=False)
    web.download(task_id, tmp_path / "x.hdf5", verbose=False)
    assert web.load(task_id, tmp_path / "x.hdf5", verbose=False) == heat_result(slab())
    count = len(engine.saved)
    assert web.load(task_id, tmp_path / "x.hdf5", replace_existing=False) == heat_result(slab())
    assert len(engine.saved) == count, "the file is taken as it is"
    assert web.load(None, tmp_path / "x.hdf5", verbose=False) == heat_result(slab())
    web.download_log(task_id, tmp_path / "log")
    assert "unknowns" in (tmp_path / "log").read_text()
    assert web.load_simulation(task_id, tmp_path / "simulation.hdf5", verbose=False) == slab()
    assert td.HeatChargeSimulation.from_file(str(tmp_path / "simulation.hdf5")) == slab()
    web.download_json(task_id, tmp_path / "simulation.json")
    assert td.HeatChargeSimulation.from_file(str(tmp_path / "simulation.json")) == slab()


def test_what_the_clients_functions_refuse(engine):
    with pytest.raises(ValueError, match="single simulation"):
        web.upload([slab()], verbose=False)
    with pytest.raises(ValueError, match="single task id"):
        web.load(["a"])
    with pytest.raises(FileNotFoundError):
        web.load(None, "missing.hdf5")
    with pytest.raises(WebError, match="not found"):
        web.start("nobody")
    with pytest.raises(ValueError, match="suffix"):
        web.load_simulation("x", "x.txt")
    with pytest.raises(ValueError, match="not a string"):
        web.estimate_cost(3)


def test_monitor_raises_for_a_failure(engine):
    engine.solve = failing(1e-5)
    task_id = web.upload(slab(), verbose=False)
    web.start(task_id)
    with pytest.raises(WebError, match="no unique solution"):
        web.monitor(task_id, verbose=False)


# Jobs.


def test_job(engine, tmp_path):
    job = web.Job(simulation=slab(), task_name="job", verbose=False)
    assert not engine.submissions, "made, not sent"
    assert job.run(path=tmp_path / "x.hdf5") == heat_result(slab())
    assert job.status == "success" and job.load_if_cached is False
    assert job.load(path=tmp_path / "y.hdf5") == heat_result(slab())
    assert len(engine.submissions) == 1
    assert list(job.task_ids.values())[-1] == job.task_id


def test_job_by_steps_of_its_own(engine, tmp_path):
    job = web.Job(simulation=slab(), task_name="job", verbose=False)
    job.upload()
    assert job.status == "draft"
    job.start()
    job.monitor()
    job.download(path=tmp_path / "x.hdf5")
    assert (tmp_path / "x.hdf5").exists() and job.status == "success"


def test_run_after_upload_starts_it(engine):
    job = web.Job(simulation=slab(), verbose=False)
    assert job.task_id
    assert job.run() == heat_result(slab())


@newest_only
def test_job_steps(engine):
    def solve(operation):
        if isinstance(operation, td.VolumeMesher):
            return td.VolumeMesherData(simulation=operation.simulation, monitors=(), data=(), log="")
        return heat_result(operation)

    engine.solve = solve
    job = web.Job(simulation=slab(), task_name="steps", verbose=False)
    with pytest.raises(Exception, match="part of the last"):
        job.load_step(job.steps[0].name)
    assert isinstance(job.step(), td.VolumeMesherData)
    assert job.step() == heat_result(slab())
    assert all(job.task_ids.values()) and len(set(job.task_ids.values())) == 2


@newest_only
def test_batch_steps(engine, tmp_path):
    meshed = []

    def solve(operation):
        if isinstance(operation, td.VolumeMesher):
            meshed.append(operation)
            return td.VolumeMesherData(simulation=operation.simulation, monitors=(), data=(), log="")
        return heat_result(operation)

    engine.solve = solve
    batch = web.Batch(simulations=simulations(3), verbose=False)
    assert batch.step(path_dir=tmp_path) is None and (tmp_path / "batch.hdf5").exists()
    assert len(meshed) == 3 and not list(tmp_path.glob("task-*.hdf5"))
    results = batch.step(path_dir=tmp_path)
    assert isinstance(results, original.BatchData) and list(results) == list(simulations(3))
    assert len(meshed) == 3 and all(all(job.task_ids.values()) for job in batch.jobs.values())


# Batches.


def simulations(count):
    return {f"rate {n}": slab(rate=n * 1e-5) for n in range(1, count + 1)}


@pytest.mark.parametrize("lazy", [False, True])
def test_batch(engine, tmp_path, lazy):
    batch = web.Batch(simulations=simulations(5), verbose=False, lazy=lazy)
    results = batch.run(path_dir=tmp_path)
    assert isinstance(results, original.BatchData) and isinstance(results, web.BatchData)
    assert list(results) == list(simulations(5)) and len(results) == 5
    for name, data in results.items():
        assert ("Proxy" in type(data).__name__) == lazy
        assert data.simulation == simulations(5)[name]
    assert results.load_sim_data("rate 2").simulation.sources[0].rate == 2e-5
    assert len(engine.submissions) == 1 and batch.num_jobs == 5
    assert {path.stem for path in tmp_path.glob("task-*.hdf5")} == set(results.task_ids.values())
    assert set(batch.jobs) == set(simulations(5)) and batch.jobs["rate 1"].status == "success"


def test_a_batch_file_holds_an_array_once(engine, tmp_path):
    rate = td.SpatialDataArray(np.random.default_rng(1).random((30, 30, 30)), coords=models.grid(30, 30, 30))
    batch = web.Batch(
        simulations={f"{n}": slab(rate=rate, size=(1, 0, 3 + n)) for n in range(4)}, verbose=False
    )
    batch._tasks(hold=True)
    batch.to_file(str(tmp_path / "batch.hdf5"))
    assert (tmp_path / "batch.hdf5").stat().st_size < 1.5 * rate.nbytes
    with h5py.File(tmp_path / "batch.hdf5") as file:
        assert "jobs_cached/3/simulation/sources/0/rate/x" in file
    for reader in (web.Batch, original.Batch):
        read = reader.from_file(str(tmp_path / "batch.hdf5"))
        assert read.simulations == batch.simulations
        assert read.jobs_cached["3"].simulation == batch.simulations["3"]


def test_sequences(engine, tmp_path):
    results = web.run_async([slab(1e-5), slab(2e-5)], path_dir=tmp_path, verbose=False)
    assert [data.simulation.sources[0].rate for data in results.values()] == [1e-5, 2e-5]


def test_bad_members_do_not_sink_a_batch(engine, tmp_path):
    engine.solve = failing(2e-5)
    batch = web.Batch(simulations=simulations(3), verbose=False)
    results = batch.run(path_dir=tmp_path)
    assert list(results) == ["rate 1", "rate 3"]
    with pytest.raises(Exception, match="no unique solution"):
        results["rate 2"]
    assert results["rate 3"].simulation == simulations(3)["rate 3"]
    assert batch.jobs["rate 2"].status == "error"


def test_a_member_refused_before_sending_does_not_sink_a_batch(engine, tmp_path, monkeypatch):
    """FDTD without a source: the client's own check before an upload."""
    good, bad = fdtd(), fdtd(sources=[], monitors=[])
    engine.solve = lambda simulation: models.flux_result()
    results = web.Batch(simulations={"bad": bad, "good": good}, verbose=False).run(path_dir=tmp_path)
    assert list(results) == ["good"]


def test_batch_step_by_step(engine, tmp_path):
    batch = web.Batch(simulations=simulations(2), verbose=False)
    batch.upload()
    assert not engine.solved and {job.status for job in batch.jobs.values()} == {"draft"}
    batch.start()
    batch.monitor()
    results = batch.load(path_dir=tmp_path)
    assert list(results) == list(simulations(2))
    assert len(list(tmp_path.glob("task-*.hdf5"))) == 2


def test_jobs_first_then_run(engine, tmp_path):
    batch = web.Batch(simulations=simulations(2), verbose=False)
    first = batch.jobs["rate 1"].task_id
    results = batch.run(path_dir=tmp_path)
    assert results.task_ids["rate 1"] == first and len(results) == 2


def test_results_are_found_without_files(engine, tmp_path):
    results = web.Batch(simulations=simulations(2), verbose=False).run(path_dir=tmp_path)
    for path in tmp_path.glob("task-*.hdf5"):
        path.unlink()
    assert results["rate 2"].simulation == simulations(2)["rate 2"]


# Maps.


def test_map_overlaps_runs(engine, tmp_path):
    import wavetask._map

    engine.delay = lambda key: 0.5

    def rate(value):
        data = web.run(slab(value), path=tmp_path / f"{value}.hdf5", verbose=False)
        return data.simulation.sources[0].rate

    rates = [n * 1e-5 for n in range(1, 21)]
    started = time.monotonic()
    assert list(wavetask._map.map(rate, rates)) == rates
    assert time.monotonic() - started < 8


def test_cancelling_a_map_cancels_its_runs(engine, tmp_path):
    import wavetask._map

    engine.delay = lambda key: 60
    results = wavetask._map.map(lambda value: web.run(slab(value), verbose=False), [1e-5, 2e-5])
    while len(engine.by_id) < 2:
        time.sleep(0.01)
    results.cancel()
    outcome = results.results(return_exceptions=True)
    assert all(
        isinstance(error, WebError) and isinstance(error.__cause__, errors.Cancelled) for error in outcome
    )


def test_a_member_that_is_run_again_is_no_failure_any_more(engine, tmp_path):
    engine.solve = failing(2e-5)
    batch = web.Batch(simulations={"a": slab(1e-5), "b": slab(2e-5)}, verbose=False)
    first = batch.run(path_dir=tmp_path)
    assert list(first.task_paths) == ["a"]
    engine.solve = heat_result
    wavetask.open(next(known for known, task in engine.by_id.items() if task.key == "b")).retry()
    batch.monitor()
    second = batch.load(path_dir=tmp_path, skip_download=True)
    assert list(second.task_paths) == ["a", "b"] and second["b"] == heat_result(slab(2e-5))
    with pytest.raises(Exception, match="no unique solution"):
        first.load_sim_data("b")


def test_a_member_that_never_reached_the_server_stops_no_question_about_the_others(engine, monkeypatch):
    engine.unpackable = {"b"}
    details = {"taskType": "HEAT", "estFlexUnit": 0.25, "realFlexUnit": 0.5}
    told = {"detail": details, "progress": {"perc_done": 100.0, "field_decay": None}}
    asked = []

    def many(part, ids):
        asked.append(ids)
        return dict.fromkeys(ids, told[part])

    monkeypatch.setattr(_door, "many", many)
    batch = web.Batch(simulations={"a": slab(1e-5), "b": slab(2e-5), "c": slab(3e-5)}, verbose=False)
    batch.start()
    infos = batch.get_info()
    assert {name: info.taskId for name, info in infos.items()} == asked[0] and list(infos) == ["a", "c"]
    assert batch.get_run_info() == {"a": (100.0, None), "c": (100.0, None)}
    assert batch.real_cost(verbose=False) == 1.0 and batch.estimate_cost(verbose=False) == 0.5
    batch.delete()
    assert sorted(engine.deleted) == sorted(asked[0].values())
