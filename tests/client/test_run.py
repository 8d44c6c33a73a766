"""Running: web.run, Job and Batch, eager and lazy, and what the client shows of it."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tidy3d as td
import tidy3d.web as web
from scenes import BASE, centre_rise, expected_rise, slab, solve_task

NEW_CLIENT = tuple(int(part) for part in td.__version__.split(".")[:2]) >= (2, 12)
new_client_only = pytest.mark.skipif(not NEW_CLIENT, reason="the older client runs heat as one task")


def test_connection_and_account():
    web.test()
    web.account(verbose=False)


@pytest.mark.parametrize("lazy", [False, True])
def test_run_gives_the_closed_form(tmp_path, lazy):
    data = web.run(slab(), task_name="slab", path=str(tmp_path / "slab.hdf5"), verbose=False, lazy=lazy)
    assert centre_rise(data) == pytest.approx(expected_rise(), rel=5e-3)
    at_point = np.squeeze(np.asarray(data["centre"].temperature.values))
    assert float(at_point) - BASE == pytest.approx(expected_rise(), rel=5e-3)


def test_verbose_run_shows_progress(tmp_path, capsys):
    data = web.run(slab(), task_name="loud", path=str(tmp_path / "loud.hdf5"), verbose=True)
    assert centre_rise(data) == pytest.approx(expected_rise(), rel=5e-3)
    assert "status" in capsys.readouterr().out.lower()


def test_the_result_echoes_the_simulation(tmp_path):
    simulation = slab()
    data = web.run(simulation, task_name="echo", path=str(tmp_path / "echo.hdf5"), verbose=False)
    assert data.simulation == simulation


def test_deprecated_class(tmp_path):
    plain = slab()
    old = td.HeatSimulation(
        **{
            name: getattr(plain, name)
            for name in ("size", "medium", "structures", "sources", "boundary_spec", "grid_spec", "monitors")
        }
    )
    data = web.run(old, task_name="deprecated class", path=str(tmp_path / "old.hdf5"), verbose=False)
    assert centre_rise(data) == pytest.approx(expected_rise(), rel=5e-3)


def test_run_of_a_container(tmp_path):
    simulations = {"low": slab(rate=1e-5), "nested": [slab(rate=2e-5), slab(rate=3e-5)]}
    results = web.run(simulations, path=str(tmp_path), verbose=False)
    assert centre_rise(results["low"]) == pytest.approx(expected_rise(1e-5), rel=5e-3)
    assert centre_rise(results["nested"][1]) == pytest.approx(expected_rise(3e-5), rel=5e-3)


def test_run_async(tmp_path):
    results = web.run_async(
        {"a": slab(rate=1e-5), "b": slab(rate=2e-5)}, path_dir=str(tmp_path), verbose=False
    )
    assert centre_rise(results["b"]) == pytest.approx(2 * centre_rise(results["a"]), rel=1e-6)


def test_job(tmp_path):
    job = web.Job(simulation=slab(), task_name="job", verbose=False)
    data = job.run(path=str(tmp_path / "job.hdf5"))
    assert job.status == "success"
    assert centre_rise(data) == pytest.approx(expected_rise(), rel=5e-3)
    assert job.get_info().taskName
    job.to_file(str(tmp_path / "job.json"))
    again = web.Job.from_file(str(tmp_path / "job.json"))
    assert centre_rise(again.load(path=str(tmp_path / "again.hdf5"))) == centre_rise(data)


@new_client_only
def test_job_step_by_step(tmp_path):
    job = web.Job(simulation=slab(), task_name="steps", verbose=False)
    names = [step.name for step in job.steps]
    assert len(names) == 2
    job.step()
    mesh = job.load_step(names[0], path=str(tmp_path / "mesh.hdf5"))
    assert type(mesh).__name__ == "VolumeMesherData"
    job.step()
    assert centre_rise(job.load(path=str(tmp_path / "solve.hdf5"))) == pytest.approx(
        expected_rise(), rel=5e-3
    )


@new_client_only
def test_volume_mesher_directly(tmp_path):
    simulation = slab()
    mesher = td.VolumeMesher(
        simulation=simulation,
        monitors=[td.VolumeMeshMonitor(size=(td.inf, td.inf, td.inf), name="mesh")],
    )
    data = web.run(mesher, task_name="mesh only", path=str(tmp_path / "mesh.hdf5"), verbose=False)
    mesh = data["mesh"].mesh
    points = np.asarray(mesh.points.values)
    assert points.shape[0] > 200
    inside = np.abs(points[:, -1]) <= 1 + 1e-9
    assert inside.all(), "only the solid is meshed"


@new_client_only
def test_parent_task_is_reused(tmp_path, server):
    job = web.Job(simulation=slab(), task_name="parent", verbose=False)
    job.run(path=str(tmp_path / "parent.hdf5"))
    mesh_task = next(iter(job.task_ids.values()))
    data = web.run(
        slab(), task_name="child", path=str(tmp_path / "child.hdf5"), verbose=False, parent_tasks=[mesh_task]
    )
    assert centre_rise(data) == pytest.approx(expected_rise(), rel=5e-3)
    with pytest.raises(Exception, match="parent_tasks"):
        web.run(
            slab(mesh_size=0.05),
            task_name="other",
            path=str(tmp_path / "o.hdf5"),
            verbose=False,
            parent_tasks=[mesh_task],
        )


@pytest.mark.parametrize("lazy", [False, True])
def test_batch_of_twelve(tmp_path, lazy):
    simulations = {f"rate {n}": slab(rate=n * 1e-5) for n in range(1, 13)}
    batch = web.Batch(simulations=simulations, folder_name="batches", verbose=False, lazy=lazy)
    results = batch.run(path_dir=str(tmp_path))
    rises = np.array([centre_rise(results[name]) for name in simulations])
    assert rises / np.arange(1, 13) == pytest.approx(rises[0], rel=1e-6)
    again = web.Batch.from_file(str(tmp_path / "batch.hdf5")).load(path_dir=str(tmp_path))
    assert centre_rise(again["rate 3"]) == rises[2]


def test_verbose_batch(tmp_path, capsys):
    batch = web.Batch(simulations={"a": slab(), "b": slab(rate=2e-5)}, verbose=True)
    results = batch.run(path_dir=str(tmp_path))
    assert centre_rise(results["b"]) == pytest.approx(expected_rise(2e-5), rel=5e-3)


def test_cost_is_an_estimate_of_work_not_a_price(tmp_path):
    job = web.Job(simulation=slab(), task_name="cost", verbose=False)
    job.run(path=str(tmp_path / "cost.hdf5"))
    estimate, real = job.estimate_cost(verbose=False), job.real_cost(verbose=False)
    assert estimate is not None and 0 <= estimate < 10
    assert real is None or real >= 0


def test_custom_source_array_travels(tmp_path):
    """A spatially varying source: an array in the upload, checked against its closed form."""
    z = np.linspace(-1, 1, 201)
    rate = td.SpatialDataArray(
        (1e-5 * np.cos(np.pi * z / 2))[None, None, :] * np.ones((2, 2, 1)),
        coords={"x": [-5, 5], "y": [-5, 5], "z": z},
    )
    simulation = slab(sources=[td.HeatSource(structures=["slab"], rate=rate)])
    data = web.run(simulation, task_name="cosine", path=str(tmp_path / "c.hdf5"), verbose=False)
    assert centre_rise(data) == pytest.approx(1e-5 * (2 / np.pi) ** 2 / 2e-6, rel=5e-3)
    assert data.simulation == simulation


def test_download_log_and_simulation(tmp_path):
    simulation = slab()
    job = web.Job(simulation=simulation, task_name="artefacts", verbose=False)
    job.run(path=str(tmp_path / "data.hdf5"))
    log = tmp_path / "tidy3d.log"
    web.download_log(solve_task(job), path=str(log))
    assert "unknowns" in log.read_text()
    loaded = web.load_simulation(solve_task(job), path=str(tmp_path / "simulation.hdf5"), verbose=False)
    assert loaded == simulation


CACHED = """
import sys
sys.path.insert(0, {tests!r})
import tidy3d.web as web
from scenes import centre_rise, slab
for number in range(2):
    data = web.run(slab(rate=1.2345e-5), task_name="cached", folder_name="cached", path=sys.argv[1], verbose=False)
print(centre_rise(data))
"""


@pytest.mark.parametrize(("enabled", "solved"), [("true", 1), ("false", 2)])
def test_local_cache_of_the_client(tmp_path, server, enabled, solved):
    """With its cache the client asks for one solve (and, each time, for the mesh, which it does not keep)."""
    script = tmp_path / "script.py"
    script.write_text(CACHED.format(tests=str(pathlib.Path(__file__).parents[1])))
    environment = {
        **os.environ,
        "TIDY3D_BASE_DIR": str(tmp_path / "client"),
        "TIDY3D_LOCAL_CACHE__ENABLED": enabled,
    }
    before = tasks_of_kind(server, "HEAT_CHARGE")
    answer = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "data.hdf5")],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert float(answer.stdout.split()[-1]) == pytest.approx(expected_rise(1.2345e-5), rel=5e-3)
    assert tasks_of_kind(server, "HEAT_CHARGE") - before == solved


def tasks_of_kind(server, kind: str) -> int:
    listed = [
        server.request("GET", f"/tidy3d/projects/{folder['projectId']}/tasks")[1]["data"]
        for folder in server.request("GET", "/tidy3d/projects")[1]["data"]
    ]
    return sum(task["taskType"] == kind for tasks in listed for task in tasks)
