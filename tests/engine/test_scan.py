"""What the engine promises about a batch, against a real server and the real heat solver."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest
import tidy3d as td
from harness import answered, members, wait_until
from scenes import BASE, centre_rise, expected_rise, heated, noise, slab, with_arrays
from wire import Wire

CHILD = pathlib.Path(__file__).with_name("scan_child.py")


def tiny(count: int, start: int = 1) -> dict:
    return {f"tiny {n}": slab(rate=n * 1e-6, mesh_size=0.25) for n in range(start, start + count)}


def over(wire: Wire, server):
    """Connects to the server over the wire."""
    import wavetask

    wavetask.connect(wire.url, server.variables()["SIMCLOUD_APIKEY"])
    return wavetask


@pytest.fixture
def wire(server):
    wires = []

    def make(rate: float | None = None, port: int | None = None) -> Wire:
        wires.append(Wire(port or server.port, rate))
        return wires[-1]

    yield make
    for wire in wires:
        wire.close()


def test_results_are_right_and_in_the_shape_that_was_given(connected):
    batch = connected.submit({"a": [slab(), slab(rate=2e-5)], "b": (slab(rate=3e-5),)}, progress=False)
    assert list(batch) == ["a/0", "a/1", "b/0"]
    tree = batch.tree()
    rises = [centre_rise(task.result()) for task in (tree["a"][0], tree["a"][1], tree["b"][0])]
    assert rises == pytest.approx([expected_rise(rate) for rate in (1e-5, 2e-5, 3e-5)], rel=2e-2)


def test_a_batch_of_tiny_tasks_takes_few_requests(connected, own_server, tmp_path):
    server = own_server(environment={"WAVETASK_LOG": "wavetask_server::connection=debug"})
    connected.connect(server.url, server.variables()["SIMCLOUD_APIKEY"])
    batch = connected.submit(tiny(40), progress=False)
    assert len(batch.results()) == 40
    assert 0 < answered(server) <= 2 * 40


def test_shared_arrays_travel_once_and_known_ones_never(connected, server, wire):
    line = wire()
    wt = over(line, server)
    values = noise(8, seed=1)
    scan = {f"{n} K": heated(values, BASE + n) for n in range(6)}
    wt.submit(scan, name="shared array", progress=False).wait()
    assert line.sent < 1.05 * values.nbytes
    sent = line.sent
    scan["one more"] = heated(values, BASE + 100)
    batch = wt.submit(scan, name="shared array", progress=False)
    assert len(batch.results()) == 7
    assert line.sent - sent < 200_000


def test_what_is_solved_is_not_solved_again_unless_asked(connected):
    simulation = slab(rate=1.234e-6)
    first = connected.submit(simulation, progress=False)
    first.result()
    second = connected.submit(simulation, progress=False)
    assert centre_rise(second.result()) == centre_rise(first.result())
    forced = connected.submit(simulation, cache=False, progress=False)
    assert centre_rise(forced.result()) == pytest.approx(centre_rise(first.result()), abs=1e-9)
    assert forced.id not in (first.id, second.id)


def test_the_first_result_comes_while_the_rest_is_uploaded(connected, server, wire):
    wt = over(wire(rate=2e6), server)
    batch = wt.submit(with_arrays(40, 0.8, seed=7), progress=False)
    first = next(iter(batch.as_completed()))
    assert first.done()
    sent = sum(task.status not in ("packing", "waiting", "uploading") for task in batch.tasks)
    assert sent < 30, f"{sent} of 40 had been uploaded when the first result was there"
    assert len(batch.results()) == 40


def test_one_bad_member_never_sinks_the_rest(connected):
    wrong = td.Simulation(
        size=(1, 1, 1), run_time=1e-13, grid_spec=td.GridSpec.uniform(0.1)
    )  # no solver for it here
    scan = {"good": slab(), "not a simulation": object(), "cannot be run": wrong, "better": slab(rate=2e-5)}
    batch = connected.submit(scan, progress=False)
    results = batch.results(return_exceptions=True)
    assert centre_rise(results["good"]) > 0 and centre_rise(results["better"]) > 0
    assert isinstance(results["not a simulation"], connected.errors.InvalidSimulation)
    assert isinstance(results["cannot be run"], connected.errors.InvalidSimulation)
    assert results["cannot be run"].task and results["cannot be run"].code
    with pytest.raises(connected.errors.WavetaskError):
        batch.results()


def test_a_server_that_is_killed_and_comes_back_costs_nothing_but_time(connected, own_server):
    server = own_server()
    connected.connect(server.url, server.variables()["SIMCLOUD_APIKEY"])
    batch = connected.submit(with_arrays(12, 1, seed=3) | tiny(60), progress=False)
    under_way = 0
    for _ in range(3):
        time.sleep(0.3)
        under_way += not batch.done()
        server.restart()
    assert under_way
    results = batch.results()
    assert len(results) == 72 and all(centre_rise(data) > 0 for data in results.values())
    tasks = json.loads(server.command("ls", "--limit", "500", "--json"))["tasks"]
    assert len(tasks) == 72


def test_resets_and_an_outage_cost_no_more_than_what_was_in_flight(connected, server, wire):
    line = wire(rate=6e6)
    wt = over(line, server)
    simulations = with_arrays(10, 2, seed=4)
    size = sum(simulation.sources[0].rate.nbytes for simulation in simulations.values())
    batch = wt.submit(simulations, progress=False)
    over_now = threading.Event()

    def trouble():
        for number in range(6):
            time.sleep(0.8)
            if over_now.is_set():
                return
            line.cut(2) if number == 2 else line.reset()

    thread = threading.Thread(target=trouble)
    thread.start()
    assert len(batch.results()) == 10
    over_now.set()
    thread.join()
    assert line.sent < size + 7 * 4e6


def test_interrupting_stops_the_waiting_and_not_the_tasks(server, tmp_path):
    environment = {
        **os.environ,
        "WAVETASK_URL": server.url,
        "WAVETASK_KEY": server.variables()["SIMCLOUD_APIKEY"],
        "WAVETASK_DATA": str(tmp_path / "client"),
    }
    script = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from scenes import slow\n"
        "import wavetask as wt\n"
        "scan = wt.submit({'slow': slow(rate=7e-6)}, name='interrupted', progress=False)\n"
        "print('waiting', flush=True)\n"
        "scan.wait()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, cwd=pathlib.Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdout.readline().strip() == "waiting"
    wait_until(
        lambda: members(server, "interrupted"),
        60, "the task is at the server",
    )  # fmt: skip
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors and "open('interrupted')" in errors, errors
    wait_until(
        lambda: members(server, "interrupted")[0]["state"] == "success",
        120, "the task goes on without its script",
    )  # fmt: skip
