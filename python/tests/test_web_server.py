"""`wavetask.web` and `wavetask.map` against a real server."""

from __future__ import annotations

import threading
import time

import models
import pytest
import tidy3d as td
import tidy3d.web as original
import wavetask as wt
import wavetask.web as web
from tidy3d.exceptions import WebError
from wavetask import errors

pytestmark = pytest.mark.usefixtures("server")

_fresh = iter(range(1, 1_000_000))


def slab(kind=models.slab, **changes):
    """A simulation that was never solved before, in other files of tests neither: quick, and of a known rise per rate."""
    rate = 2.3e-6 + next(_fresh) * 1e-9
    return kind(rate=rate, grid_spec=td.UniformUnstructuredGrid(dl=0.5), **changes)


def rise_per_rate(data) -> float:
    return (float(data["centre"].temperature.values.max()) - 300) / data.simulation.sources[0].rate


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_run_gives_the_same_as_the_file(tmp_path):
    simulation = slab()
    data = web.run(simulation, "one", path=tmp_path / "one.hdf5", verbose=False)
    assert data == td.HeatChargeSimulationData.from_file(str(tmp_path / "one.hdf5"))
    assert data.simulation == simulation
    if models.NEW_CLIENT:  # the older models cannot be referred to weakly
        assert data.simulation is simulation


def test_an_array_travels_there_and_back(tmp_path):
    simulation = models.slab(
        rate=1e-6 * models.spatial(3, 3, 9), grid_spec=td.UniformUnstructuredGrid(dl=0.5)
    )
    data = web.run(simulation, path=tmp_path / "array.hdf5", verbose=False)
    read = td.HeatChargeSimulationData.from_file(str(tmp_path / "array.hdf5"))
    assert read.simulation == simulation and read == data


def test_known_results_come_without_a_run():
    simulation = slab()
    first = web.run(simulation, verbose=False, cache=True)
    again = web.run(
        models.slab(rate=simulation.sources[0].rate, grid_spec=simulation.grid_spec),
        verbose=False,
        cache=True,
    )
    assert again == first
    held = wt.submit(simulation, hold=True, cache=True, progress=False)
    assert held.wait(30) and held.status == "done", "nobody had to start it"


def test_task_ids_are_the_servers(server):
    job = web.Job(simulation=slab(), task_name="a job", folder_name="a folder", verbose=False)
    job.run()
    info = job.get_info()
    assert info.taskId == job.task_id and info.taskName == "a job" and info.status == "success"
    assert [task["task_id"] for task in web.get_tasks(folder="a folder")] == [job.task_id]
    assert job.real_cost(verbose=False) is not None
    job.delete()
    with pytest.raises(WebError, match=r"(?i)not found"):
        web.get_info(job.task_id)


def test_a_batch_is_asked_about_in_one_request(server, tmp_path):
    from wavetask import _client
    from wire import Wire

    wire = Wire(server.port, count_requests=True)
    before = _client.current()
    try:
        # Of its own, so that nothing else passes the wire meanwhile.
        wt.connect(wire.url, server.variables()["SIMCLOUD_APIKEY"], data=tmp_path / "client")
        batch = web.Batch(simulations={f"n={n}": slab() for n in range(40)}, verbose=False)
        batch.run(path_dir=tmp_path)
        for ask, one in (
            (batch.get_info, web.get_info),
            (batch.get_run_info, web.get_run_info),
            (lambda: batch.real_cost(verbose=False), None),
            (lambda: batch.estimate_cost(verbose=False), None),
        ):
            count = wire.requests
            answer = ask()
            # One, and what the engine may happen to say at that moment.
            assert 1 <= wire.requests - count <= 4, f"{wire.requests - count} requests"
            if one is None:
                assert answer > 0
                continue
            assert list(answer) == [f"n={n}" for n in range(40)]
            assert answer["n=3"] == one(batch.jobs["n=3"].task_id)
        assert batch.real_cost(verbose=False) == pytest.approx(
            sum(job.real_cost(verbose=False) for job in batch.jobs.values())
        )
        assert batch.estimate_cost(verbose=False) == pytest.approx(
            sum(web.estimate_cost(job.task_id, verbose=False) for job in batch.jobs.values())
        )
    finally:
        _client._make_current(before)
        wire.close()


def test_upload_waits_for_start(server):
    task_id = web.upload(slab(), "held", verbose=False)
    time.sleep(0.3)
    assert wt.open(task_id).status == "held"
    web.start(task_id)
    web.monitor(task_id, verbose=False)
    assert web.get_info(task_id).status == "success"


def test_batch_in_another_process_of_the_client(tmp_path):
    simulations = {f"n={n}": slab() for n in range(4)}
    results = web.Batch(simulations=simulations, verbose=False).run(path_dir=tmp_path)
    rises = [rise_per_rate(data) for data in results.values()]
    assert rises == [pytest.approx(rises[0], rel=1e-6)] * 4
    read = original.BatchData(
        task_paths=results.task_paths, task_ids=results.task_ids, cached_tasks=dict.fromkeys(results, True)
    )
    assert read["n=2"] == results["n=2"]


def test_a_bad_member_is_named_by_the_server(tmp_path):
    from scenes import unsteady  # of the tests beside, which the server's fixture puts in reach

    results = web.Batch(simulations={"good": slab(), "bad": unsteady()}, verbose=False).run(path_dir=tmp_path)
    assert list(results) == ["good"]
    with pytest.raises(Exception, match=r"(?i)'bad'(.|\n)*unsteady"):
        results.load_sim_data("bad")


def test_map_overlaps(tmp_path):
    simulations = [slab() for _ in range(30)]

    def rise(index):
        return rise_per_rate(
            web.run(
                simulations[index], path=tmp_path / f"{index}.hdf5", task_name="the same name", verbose=False
            )
        )

    rises = list(wt.map(rise, range(30)))
    assert rises == [pytest.approx(rises[0], rel=1e-6)] * 30


def test_cancelling_a_map_cancels_at_the_server(server):
    def heavy(rate):
        return web.run(
            models.slab(
                rate=rate,
                size=(3, 3, 3),
                grid_spec=td.UniformUnstructuredGrid(dl=0.03),
                monitors=[td.TemperatureMonitor(size=(0, 0, 0), name="centre", unstructured=False)],
            ),
            verbose=False,
            task_name="heavy",
            folder_name="heavy",
        )

    running = wt.map(heavy, [1.1e-5, 1.2e-5])
    deadline = time.monotonic() + 30
    while len(web.get_tasks(folder="heavy")) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    running.cancel()
    outcome = running.results(return_exceptions=True)
    assert all(isinstance(error.__cause__, errors.Cancelled) for error in outcome), outcome
    assert {web.get_info(task["task_id"]).status for task in web.get_tasks(folder="heavy")} == {"aborted"}


def test_submit_within_a_map_is_cancelled_too():
    entered = threading.Event()

    def function(_):
        task = wt.submit(slab(), hold=True, progress=False)
        entered.set()
        return task.result(timeout=60)

    running = wt.map(function, [0])
    assert entered.wait(30)
    running.cancel()
    (error,) = running.results(return_exceptions=True)
    assert isinstance(error, errors.Cancelled)
