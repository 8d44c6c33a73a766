"""Files of `wavetask.web`: jobs, batches and their folders written, read and gone on from, with a stand-in for the
engine and with a server."""

from __future__ import annotations

import pathlib

import engine_double
import models
import pytest
import tidy3d as td
import tidy3d.web as original
import wavetask as wt
import wavetask.web as web
from models import slab, spatial

GRID = td.UniformUnstructuredGrid(dl=0.5, min_edges_per_circumference=15, min_edges_per_side=2)
_rates = iter(range(1, 1_000_000))


class Double:
    """The stand-in, whose results are made up."""

    def __init__(self, request):
        self.engine = engine_double.install(request.getfixturevalue("monkeypatch"))

    def count(self) -> int:
        return sum(len(keys) for keys, _ in self.engine.submissions)

    def check(self, data, simulation) -> None:
        assert data == models.heat_result(simulation)


class Real:
    """The server, whose results are solved."""

    def __init__(self, request):
        request.getfixturevalue("server")
        self.before = self._all()

    @staticmethod
    def _all() -> int:
        return len(wt.connect().tasks())

    def count(self) -> int:
        return self._all() - self.before

    def check(self, data, simulation) -> None:
        assert data.simulation == simulation
        rise = float(data["centre"].temperature.values.max()) - 300
        rate = simulation.sources[0].rate
        if not isinstance(rate, td.SpatialDataArray):
            assert rise == pytest.approx(rate * 4 / (8 * 2e-6), rel=0.05)
        assert rise > 0


@pytest.fixture(params=[Double, Real], ids=["double", "server"])
def backend(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return request.param(request)


def fresh(**changes):
    """A simulation that nobody has solved before, and whose steady rise is known."""
    return slab(**{"rate": 1e-6 + next(_rates) * 1e-9, "grid_spec": GRID, **changes})


def batch_of(count: int, **options):
    simulations = {f"rate {n}": fresh() for n in range(1, count + 1)}
    return simulations, web.Batch(simulations=simulations, verbose=False, **options)


def written(folder: pathlib.Path) -> dict[str, int]:
    """The results in a folder, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("task-*.hdf5")}


@pytest.mark.parametrize("extension", [".json", ".hdf5", ".hdf5.gz"])
def test_job_files(backend, tmp_path, extension):
    simulation = fresh() if extension == ".json" else fresh(rate=1e-6 * spatial(2, 3, 4))
    job = web.Job(simulation=simulation, task_name="job", folder_name="there", verbose=False)
    job.run()
    count = backend.count()
    path = str(tmp_path / f"job{extension}")
    job.to_file(path)
    again = web.Job.from_file(path)
    assert type(again) is web.Job and again.task_id == job.task_id and again.folder_name == "there"
    assert again.simulation == simulation and again.status == "success"
    backend.check(again.load(), simulation)
    assert backend.count() == count, "nothing is sent again"
    theirs = original.Job.from_file(path)
    assert type(theirs) is original.Job and theirs.task_id_cached == job.task_id


def test_a_job_of_the_client_is_read(backend, tmp_path):
    simulation = fresh()
    original.Job(simulation=simulation, task_name="theirs", verbose=False).to_file(str(tmp_path / "job.json"))
    backend.check(web.Job.from_file(str(tmp_path / "job.json")).run(), simulation)


@pytest.mark.parametrize("reader", ["Batch", "BatchData"])
def test_batch_files(backend, tmp_path, reader):
    simulations, batch = batch_of(3)
    results = batch.run(path_dir=tmp_path)
    assert backend.count() == 3 and len(written(tmp_path)) == 3
    again = web.Batch.from_file(str(tmp_path / "batch.hdf5"))
    assert type(again) is web.Batch
    loaded = again.load(path_dir=tmp_path) if reader == "Batch" else web.BatchData.load(path_dir=tmp_path)
    assert list(loaded) == list(simulations)
    for name, simulation in simulations.items():
        backend.check(loaded[name], simulation)
        assert loaded[name] == results[name]
        assert again.jobs[name].task_id == batch.jobs[name].task_id
    assert backend.count() == 3
    theirs = original.Batch.from_file(str(tmp_path / "batch.hdf5"))
    assert {name: job.task_id_cached for name, job in theirs.jobs_cached.items()} == results.task_ids


def test_a_batch_is_gone_on_with_from_its_file(backend, tmp_path):
    """Written when it was uploaded, read and run by somebody else: nothing is uploaded twice."""
    simulations, batch = batch_of(2)
    batch.upload()
    batch.to_file(str(tmp_path / "batch.hdf5"))
    count = backend.count()
    again = web.Batch.from_file(str(tmp_path / "batch.hdf5"))
    again.start()
    again.monitor()
    loaded = again.load(path_dir=tmp_path / "results")
    for name, simulation in simulations.items():
        backend.check(loaded[name], simulation)
    assert backend.count() == count == 2


def test_a_folder_without_its_results_is_filled_again(backend, tmp_path):
    simulations, batch = batch_of(2)
    batch.run(path_dir=tmp_path)
    kept, gone = sorted(tmp_path.glob("task-*.hdf5"))
    before = written(tmp_path)
    gone.unlink()
    loaded = web.BatchData.load(path_dir=tmp_path)
    for name, simulation in simulations.items():
        backend.check(loaded[name], simulation)
    after = written(tmp_path)
    assert set(after) == set(before) and after[kept.name] == before[kept.name]


@pytest.mark.skipif(not models.NEW_CLIENT, reason="the older client has flat batches")
def test_nested_batch(backend, tmp_path):
    if not hasattr(original.Batch, "_has_nested_simulation_container"):
        pytest.skip("this client has flat batches")
    first, second, third = fresh(), fresh(), fresh()
    batch = web.Batch(simulations={"a": [first, second], "b": third}, verbose=False)
    results = batch.run(path_dir=tmp_path)
    assert list(results) == ["a", "b"]
    again = web.Batch.from_file(str(tmp_path / "batch.hdf5")).load(path_dir=tmp_path)
    for read in (results, again):
        backend.check(read["a"][0], first)
        backend.check(read["a"][1], second)
        backend.check(read["b"], third)
    assert len(list(again.task_items())) == 3 and backend.count() == 3


def test_existing_files_are_kept_unless_told(backend, tmp_path):
    simulations, batch = batch_of(2)
    batch.run(path_dir=tmp_path)
    first = written(tmp_path)
    batch.download(path_dir=tmp_path)
    batch.load(path_dir=tmp_path)
    web.BatchData.load(path_dir=tmp_path)
    assert written(tmp_path) == first
    loaded = web.BatchData.load(path_dir=tmp_path, replace_existing=True)
    again = written(tmp_path)
    assert set(again) == set(first) and all(again[name] > first[name] for name in first)
    batch.download(path_dir=tmp_path, replace_existing=True)
    third = written(tmp_path)
    assert set(third) == set(first) and all(third[name] > again[name] for name in first)
    for name, simulation in simulations.items():
        backend.check(loaded[name], simulation)
