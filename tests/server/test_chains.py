"""Results that become the input of other tasks on the server: heat, an expression, modes."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time

import h5py
import numpy as np
import pytest
import tidy3d as td
from driver import Driver, packed
from harness import wait_until
from scenes import slab
from tidy3d.plugins.mode import ModeSolver

X = np.linspace(-0.4, 0.4, 9)
Z = np.linspace(-0.9, 0.9, 13)
SLOT = "simulation/structures/0/medium/permittivity"
ENDS = {"success", "error", "diverged", "aborted"}


def heat(number: int):
    plane = td.TemperatureMonitor(size=(td.inf, 0, td.inf), name="plane", unstructured=False)
    return slab(rate=(number + 1) * 1e-6, mesh_size=0.05, monitors=[plane])


def permittivity_of(task: str) -> dict:
    """The permittivity where the temperature is that of a task's result."""
    temperature = {"field": {"source": {"task": task}, "path": ["plane", "temperature"]}}
    places = [["x", {"values": X.tolist()}], ["z", {"values": Z.tolist()}]]
    interpolated = {"interp": {"of": temperature, "places": places, "fill": {"value": 300.0}}}
    rise = binary("subtract", interpolated, number(300.0))
    return binary("add", number(4.0), binary("multiply", rise, number(2e-2)))


def number(value: float) -> dict:
    return {"number": {"value": value}}


def binary(function: str, left: dict, right: dict) -> dict:
    return {"binary": {"function": function, "left": left, "right": right}}


def modes(permittivity: np.ndarray):
    values = td.SpatialDataArray(permittivity, coords={"x": X, "y": [0.0], "z": Z})
    guide = td.Structure(
        geometry=td.Box(size=(0.6, td.inf, 0.8)), medium=td.CustomMedium(permittivity=values)
    )
    simulation = td.Simulation(
        size=(2, 1, 2),
        structures=[guide],
        grid_spec=td.GridSpec.uniform(dl=0.1),
        run_time=1e-12,
    )
    plane = td.Box(size=(2, 0, 2))
    return ModeSolver(simulation=simulation, plane=plane, mode_spec=td.ModeSpec(num_modes=1), freqs=[3e14])


def member(key: str, kind: str, document: dict, inputs=()) -> dict:
    text = json.dumps([document, inputs])
    return {
        "key": key, "position": 0, "kind": kind, "name": key, "folder": "default",
        "document": {"inline": document}, "inputs": list(inputs), "cache": True,
        "idempotency_key": f"{key[:60]} {hashlib.sha256(text.encode()).hexdigest()[:32]}",
    }  # fmt: skip


def submit(driver: Driver, batch: str, members: list[dict]) -> list[str]:
    body = {"batch": batch, "submission": "first", "members": members, "complete": True}
    answer = driver.call("POST", "/api/v1/batches", body)
    for each in answer["members"]:
        assert each["outcome"] == "accepted", each
    return [each["task"]["task"] for each in answer["members"]]


def evaluation(key: str, *outputs: dict) -> dict:
    recipe = {"type": "Evaluation", "version": 1, "outputs": outputs}
    return member(key, "EVALUATION", {"json": json.dumps(recipe), "arrays": {}})


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> dict:
    """A mode solver without the arrays of its custom medium."""
    path = tmp_path_factory.mktemp("template") / "modes.hdf5"
    modes(np.full((X.size, 1, Z.size), 4.0)).to_hdf5(str(path))
    with h5py.File(path, "r") as file:
        return {"json": file["JSON_STRING"][()].decode(), "arrays": {}}


@pytest.fixture(scope="module")
def contents(tmp_path_factory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("packed")
    return [packed(heat(number), folder) for number in range(3)]


def chain(driver: Driver, template: dict, heats: list[str], name: str) -> tuple[list[str], list[str]]:
    """The second and the third stage of each heat task."""
    planes = submit(
        driver, f"{name} planes", [evaluation(f"{name} {task}", permittivity_of(task)) for task in heats]
    )
    slots = [[{"path": SLOT, "task": task, "output": 0}] for task in planes]
    solvers = [member(f"{name} {slot[0]['task']}", "MODE_SOLVER", template, slot) for slot in slots]
    return planes, submit(driver, f"{name} modes", solvers)


def ended(driver: Driver, task: str) -> dict:
    def state():
        summary = driver.call("GET", f"/api/v1/tasks/{task}")
        return summary if summary["state"] in ENDS else None

    return wait_until(state, 240, f"{task} ends")


def succeeded(driver: Driver, *tasks: str) -> None:
    for task in tasks:
        summary = ended(driver, task)
        assert summary["state"] == "success", summary


def n_eff(driver: Driver, task: str) -> np.ndarray:
    arrays = driver.arrays(task, "/", "output/mode_solver_data.hdf5")
    return arrays["n_complex/__xarray_dataarray_variable__"]


def test_modes_of_a_heated_guide_without_a_round_trip(server, contents, template, tmp_path):
    driver = Driver(server)
    task = driver.start(driver.folder(), "heat", contents[0])
    [plane], [solver] = chain(driver, template, [task], "one")
    succeeded(driver, task, plane, solver)

    # The expression is what the client's own arrays give.
    found = driver.arrays(plane, "outputs/0")
    raw = driver.temperatures(task)
    temperature = td.SpatialDataArray(
        raw["0/temperature/__xarray_dataarray_variable__"],
        coords={axis: raw[f"0/temperature/{axis}"] for axis in "xyz"},
    )
    interpolated = temperature.interp(x=X, kwargs={"fill_value": 300.0})
    interpolated = interpolated.interp(z=Z, kwargs={"fill_value": 300.0})
    expected = 4.0 + (interpolated.values - 300.0) * 2e-2
    values = found["__xarray_dataarray_variable__"]
    assert values.shape == (X.size, 1, Z.size)
    np.testing.assert_allclose(values, expected, rtol=1e-13)
    np.testing.assert_array_equal(found["x"], X)
    np.testing.assert_array_equal(found["z"], Z)
    assert np.ptp(values) > 1e-3, "the heat is to be seen"

    # The modes are those of the simulation that has these arrays from the beginning.
    direct = driver.create(driver.folder(), "direct", "MODE_SOLVER")
    driver.upload(direct, packed(modes(values), tmp_path), "mode_solver.hdf5.gz")
    assert driver.validate(direct) == "processed"
    driver.submit(direct)
    succeeded(driver, direct)
    np.testing.assert_allclose(n_eff(driver, solver), n_eff(driver, direct), rtol=1e-12)

    # The same once more is known: nothing is evaluated or solved.
    before = driver.entered()
    planes, solvers = chain(driver, template, [task], "again")
    succeeded(driver, *planes, *solvers)
    assert driver.entered() == {**before, planes[0]: 1, solvers[0]: 1}
    assert not {*planes, *solvers} & driver.entered("running").keys(), "no worker had them"


def test_expressions_that_mean_nothing_fail_with_a_reason(server, contents):
    driver = Driver(server)
    task = driver.start(driver.folder(), "heat", contents[0])
    field = {"field": {"source": {"task": task}, "path": ["plane", "pressure"]}}
    wrong = {"reduce": {"function": "mean", "of": permittivity_of(task), "dimensions": ["f"]}}
    huge = permittivity_of(task)
    for _ in range(4):
        huge = {"concat": {"parts": [huge, huge], "dimension": f"d{_}", "coordinate": [0.0, 1.0]}}
    mean = {"reduce": {"function": "mean", "of": permittivity_of(task)}}
    members = [
        evaluation("no field", field),
        evaluation("no dimension", wrong),
        evaluation("fine", huge, mean),
    ]
    tasks = submit(driver, "wrong", members)
    for name, reason in [(tasks[0], "pressure"), (tasks[1], "no dimension f")]:
        summary = ended(driver, name)
        assert summary["state"] == "error" and reason in summary["error"]["message"], summary
        assert summary["error"]["kind"] == "validation"
    succeeded(driver, tasks[2])
    values = driver.arrays(tasks[2], "outputs/0")["__xarray_dataarray_variable__"]
    assert values.shape == (2, 2, 2, 2, X.size, 1, Z.size)
    scalar = driver.arrays(tasks[2], "outputs/1")["__xarray_dataarray_variable__"]
    assert scalar.shape == ()
    np.testing.assert_allclose(scalar, values.mean(), rtol=1e-13)


def test_kills_between_the_stages_lose_nothing_and_run_nothing_twice(own_server, contents, template):
    server = own_server("--lease-seconds", "2")
    driver = Driver(server)
    folder = driver.folder()
    heats = [driver.start(folder, f"heat {number}", content) for number, content in enumerate(contents)]
    planes, solvers = chain(driver, template, heats, "killed")
    dice = random.Random(5)
    tasks = [*heats, *planes, *solvers]
    for kill in range(12):
        time.sleep(dice.uniform(0, 0.3))
        victims = [*server.workers(), *server.solvers()]
        if kill % 2 or not victims:
            server.restart()
        else:
            os.kill(dice.choice(victims), signal.SIGKILL)
    succeeded(driver, *tasks)
    assert driver.entered() == dict.fromkeys(tasks, 1), "each stage is run once"
    indices = [float(n_eff(driver, task).real.squeeze()) for task in solvers]
    assert indices == sorted(indices) and indices[0] < indices[-1], "more heat, a higher index"
