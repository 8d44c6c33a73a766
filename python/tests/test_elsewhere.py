"""Handles and names in other processes than the one that submitted: on other machines, as far as the engine can tell,
for each process has a data folder, and so a journal, of its own."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

HERE = pathlib.Path(__file__).parent

SUBMITTING = """
import os, pickle, sys
import wavetask as wt
from handles_cases import slab

name, folder = sys.argv[1:3]
scan = wt.submit(
    {"I=4mA": [slab(1), slab(2)], "I=5mA": slab(3)},
    name=name,
    parameters=lambda key, _: {"current": float(key[2])},
    tags=["elsewhere"],
    cache=False,
    progress=False,
)
single = wt.submit(slab(4), name=name + " alone", cache=False, progress=False)
more = wt.submit((slab(number) for number in (5, 6)), name=name + " drawn", cache=False, progress=False)
handles = pickle.dumps((scan, single))
assert os.environ["WAVETASK_KEY"].encode() not in handles
with open(os.path.join(folder, "handles"), "wb") as file:
    file.write(handles)
# And that is the end of it: nobody has waited for anything.
"""

OPENING = """
import json, os, pickle, sys
import wavetask as wt
from handles_cases import rise

name, folder = sys.argv[1:3]
told = {}
scan = wt.open(name)
told["rises"] = {key: rise(data) for key, data in scan.results(timeout=120).items()}
table = scan.table()
told["table"] = {"keys": list(table.index), "current": list(table["current"]), "status": list(table["status"])}
told["tree"] = scan.tree(lambda task: task.key)
told["ids"] = [task.id for task in scan.tasks]
told["alone"] = rise(wt.open(name + " alone").result(timeout=120))
told["drawn"] = {key: rise(data) for key, data in wt.open(name + " drawn").results(timeout=120).items()}
told["by id"] = rise(wt.open(told["ids"][2]).result(timeout=120))
told["log"] = isinstance(scan[0].log(), str)
scan[1].save(os.path.join(folder, "one.hdf5"))
told["saved"] = os.path.getsize(os.path.join(folder, "one.hdf5"))
print(json.dumps(told))
"""

UNPICKLING = """
import json, os, pickle, sys
import wavetask as wt
from handles_cases import rise

with open(os.path.join(sys.argv[2], "handles"), "rb") as file:
    scan, single = pickle.load(file)
told = {"name": scan.name, "keys": list(scan), "parameters": scan["I=5mA"].parameters}
told["one"] = float(scan["I=4mA/1"]["centre"].temperature.values.max()) - 300
told["all"] = {key: rise(data) for key, data in scan.results(timeout=120).items()}
told["alone"] = [type(single).__name__, single.name, rise(single.result(timeout=120)), single.status]
print(json.dumps(told))
"""


def environment(data, **settings):
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "WAVETASK_DATA": str(data), **settings}


def child(code, *words, data, **settings):
    """Runs a program that knows the server and its key, and what it prints."""
    answer = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env=environment(data, **settings),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture(scope="module")
def gone(server, tmp_path_factory):
    """The name of what a process has submitted that ended at once, and the folder with its handles."""
    folder = tmp_path_factory.mktemp("gone")
    name = f"elsewhere {time.monotonic_ns()}"
    child(SUBMITTING, name, folder, data=folder / "submitting")
    return name, folder


def check_proportional(rises, numbers):
    assert list(rises) == list(numbers)
    unit = rises[next(iter(rises))] / next(iter(numbers.values()))
    assert unit > 0
    for key, number in numbers.items():
        assert rises[key] == pytest.approx(number * unit, rel=1e-6)
    return unit


NUMBERS = {"I=4mA/0": 1, "I=4mA/1": 2, "I=5mA": 3}


def test_names_are_found_by_a_process_that_knows_only_the_server(gone):
    name, folder = gone
    told = json.loads(child(OPENING, name, folder, data=folder / "opening"))
    unit = check_proportional(told["rises"], NUMBERS)
    assert told["table"] == {"keys": list(NUMBERS), "current": [4.0, 4.0, 5.0], "status": ["done"] * 3}
    assert told["tree"] == {"I=4mA": ["I=4mA/0", "I=4mA/1"], "I=5mA": "I=5mA"}
    assert len(set(told["ids"])) == 3
    assert told["alone"] == pytest.approx(4 * unit, rel=1e-6)
    assert check_proportional(told["drawn"], {"0": 5, "1": 6}) == pytest.approx(unit, rel=1e-6)
    assert told["by id"] == pytest.approx(3 * unit, rel=1e-6)
    assert told["log"] and told["saved"] > 1000


def test_handles_work_where_they_are_unpickled(gone):
    name, folder = gone
    told = json.loads(child(UNPICKLING, name, folder, data=folder / "unpickling"))
    assert told["name"] == name and told["keys"] == list(NUMBERS) and told["parameters"] == {"current": 5.0}
    unit = check_proportional(told["all"], NUMBERS)
    assert told["one"] == pytest.approx(2 * unit, rel=1e-6)
    assert told["alone"] == ["Task", f"{name} alone", pytest.approx(4 * unit, rel=1e-6), "done"]


def test_handles_need_the_key_of_the_process_that_unpickles_them(gone):
    _, folder = gone
    code = (
        "import os, pickle, sys\n"
        "from wavetask import errors\n"
        "try:\n"
        "    pickle.load(open(os.path.join(sys.argv[1], 'handles'), 'rb'))\n"
        "except errors.Unauthorized as error:\n"
        "    print('refused')\n"
    )
    assert child(code, folder, data=folder / "stranger", WAVETASK_KEY="a wrong key") == "refused\n"


LARGE = """
import sys
import numpy as np
import models
import wavetask as wt
from handles_cases import GRID

def simulation(number):
    values = np.random.default_rng(number).random((64, 64, 64))
    rate = models.td.SpatialDataArray(1e-6 * (1 + values), coords=models.grid(64, 64, 64))
    return models.slab(rate=rate, grid_spec=GRID)

scan = wt.submit({f"n={n}": simulation(n) for n in range(6)}, name=sys.argv[1], parameters={"n": 1}, progress=False)
print("submitted", flush=True)
print(sorted(scan.results(timeout=240)))
"""

LEFT = """
import json, sys, time
import wavetask as wt
scan = wt.open(sys.argv[1])
scan.wait(timeout=float(sys.argv[2]))
print(json.dumps({task.key: task.status for task in scan.tasks}))
"""


def test_a_batch_whose_process_was_killed_is_found_and_goes_on(server, tmp_path):
    """SIGKILL while half of it is on its way: what had left runs, what had not waits for the script, and the script
    goes on with it."""
    import harness
    from wire import Wire

    name = f"killed {time.monotonic_ns()}"
    keys = [f"n={number}" for number in range(6)]
    wire = Wire(server.port, bytes_per_second=1.5e6)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", LARGE, name],
            env=environment(tmp_path / "killed", WAVETASK_URL=wire.url),
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout.readline() == "submitted\n"
            harness.wait_until(lambda: wire.sent > 5e6, 120, "half of it has been sent")
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        # From another folder, it is what the server knows of it; whether the rest still comes nobody can tell there.
        known = json.loads(child(LEFT, name, 0, data=tmp_path / "another"))
        assert set(known) <= set(keys) and "failed" not in known.values()
        # From its own, all of it: the journal knows what has not left.
        left = json.loads(child(LEFT, name, 120, data=tmp_path / "killed", WAVETASK_URL=wire.url))
        assert sorted(left) == keys
        assert set(left.values()) == {"done", "waiting-for-data"}, left
        done = {key for key, status in left.items() if status == "done"}
        assert done <= set(known)
        again = child(LARGE, name, data=tmp_path / "killed")
        assert str(keys) in again
        tasks = harness.members(server, name)
        assert len(tasks) == 6 and all(task["state"] == "success" and task["attempts"] == 1 for task in tasks)
    finally:
        wire.close()


COMING = """
import sys
import wavetask as wt
from handles_cases import slab

def simulations():
    for number in range(1, 4):
        sys.stdin.readline()
        yield f"n={number}", slab(number)

scan = wt.submit(simulations(), name=sys.argv[1], cache=False, progress=False)
print("submitted", flush=True)
print(len(scan.results(timeout=240)))
"""


@pytest.mark.parametrize("opening", ["submitting", "another"])
def test_members_that_come_later_are_shown_where_the_batch_was_opened(server, tmp_path, opening):
    """By a process with the journal of the one that submits, and by one that only knows the server."""
    import harness
    import wavetask as wt
    from wire import Wire

    name = f"coming {time.monotonic_ns()}"
    # An address of its own, so that no other test's connection is meant.
    wire = Wire(server.port)
    try:
        with subprocess.Popen(
            [sys.executable, "-c", COMING, name],
            env=environment(tmp_path / "submitting", WAVETASK_URL=wire.url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:

            def give():
                process.stdin.write("\n")
                process.stdin.flush()

            assert process.stdout.readline() == "submitted\n"
            give()
            harness.wait_until(lambda: harness.members(server, name), 60, "the first member has come")
            client = wt.connect(
                wire.url, server.variables()["SIMCLOUD_APIKEY"], data=tmp_path / opening, current=False
            )
            scan = client.open(name)
            coming = scan.as_completed(timeout=120)
            assert list(scan) == ["n=1"] and next(coming).key == "n=1" and not scan.done()
            assert scan.status == "running" and scan.wait(timeout=0).not_done == set()
            for number in (2, 3):
                give()
                assert next(coming).key == f"n={number}"
                assert list(scan.table().index) == [f"n={n}" for n in range(1, number + 1)]
            with pytest.raises(StopIteration):
                next(coming)
            assert scan.done() and scan.status == "done" and len(scan.results(timeout=60)) == 3
            assert process.stdout.read() == "3\n" and process.wait(60) == 0
    finally:
        wire.close()
