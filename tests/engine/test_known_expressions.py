"""An expression is computed once: whoever asks, in whichever words, as long as it is the same account."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import scenes
from chain_child import GRID
from driver import Driver

SCRIPT = """
import pickle, sys
import wavetask as wt
reference = pickle.load(open(sys.argv[1], "rb"))
print(float(reference.max()))
print(float(wt.submit(reference.max(), name="elsewhere", progress=False).result()))
"""


@pytest.fixture
def here(connected, own_server, tmp_path):
    """A server of the test's own, so that all that is evaluated there is the test's."""
    server = own_server()
    connected.connect(server.url, server.variables()["SIMCLOUD_APIKEY"], data=tmp_path / "client")
    return server


def evaluated(driver: Driver) -> int:
    """How many evaluations a worker has had."""
    kinds = {}
    after = 0
    while True:
        page = driver.call("GET", f"/api/v1/events?after={after}&limit=500")
        if not page["events"]:
            break
        for event in page["events"]:
            kinds[event["task"]["task"]] = event["task"]["kind"]
        after = page["last"]
    return sum(count for task, count in driver.entered("running").items() if kinds[task] == "EVALUATION")


def test_the_same_is_computed_once(connected, here, tmp_path):
    driver = Driver(here)
    heat = connected.submit(scenes.slab(mesh_size=0.25), name="heat", progress=False)
    rise = heat["plane"].temperature.interp(**GRID, fill_value=300.0) - 300.0
    value = float(rise.max())
    assert evaluated(driver) == 1

    # Another handle of the same expression, another handle of the task, the task by its id.
    again = heat["plane"].temperature.interp(**GRID, fill_value=300.0) - 300.0
    opened = connected.open(heat.id)["plane"].temperature.interp(**GRID, fill_value=300.0) - 300.0
    assert float(again.max()) == float(opened.max()) == value
    # Another spelling: integers for floats, lists for arrays, another order of the keywords.
    places = {axis: list(values) for axis, values in GRID.items()}
    spelled = heat["plane"].temperature.interp(places, fill_value=300) - 300
    assert float(spelled.max()) == value
    # As a task of a batch of its own, and without the memory of this process or its journal.
    assert float(connected.submit(rise.max(), name="a batch", progress=False).result()) == value
    file = tmp_path / "reference.pickle"
    file.write_bytes(pickle.dumps(rise))
    environment = {
        **os.environ,
        "WAVETASK_URL": here.url,
        "WAVETASK_KEY": here.variables()["SIMCLOUD_APIKEY"],
        "WAVETASK_DATA": str(tmp_path / "another"),
    }
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(file)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    assert [float(line) for line in answer.stdout.split()[-2:]] == [value, value]
    # Another task with the same result: what counts is what the expression is of.
    copy = connected.submit(scenes.slab(mesh_size=0.25), name="the same heat", progress=False)
    of_copy = copy["plane"].temperature.interp(**GRID, fill_value=300.0) - 300.0
    assert float(of_copy.max()) == value
    assert copy.id != heat.id and evaluated(driver) == 1

    # What is different is computed.
    assert float(rise.min()) < value and evaluated(driver) == 2
    warmer = heat["plane"].temperature.interp(**GRID, fill_value=301.0) - 300.0
    warmer.mean().load()
    assert evaluated(driver) == 3


def test_many_who_ask_at_once_have_it_computed_once(connected, here):
    """All are submitted before the task has run: when its result is there, one of them is computed, for all."""
    driver = Driver(here)
    heat = connected.submit(scenes.slab(mesh_size=0.1), name="heat", progress=False)
    rise = heat["plane"].temperature.interp(**GRID, fill_value=300.0) - 300.0
    batches = [
        connected.submit({f"{n}": rise for n in range(5)}, name=f"asks {number}", progress=False)
        for number in range(4)
    ]
    values = [value.values for batch in batches for value in batch.results(timeout=120).values()]
    assert len(values) == 20 and all(np.array_equal(value, values[0]) for value in values)
    assert evaluated(driver) == 1


def test_other_accounts_cannot_find_out(connected, here, tmp_path):
    """The same simulation and the same expression under another key: computed again, nothing of it is shared."""
    driver = Driver(here)
    heat = connected.submit(scenes.slab(mesh_size=0.25), name="heat", progress=False)
    rise = heat["plane"].temperature.interp(**GRID, fill_value=300.0) - 300.0
    value = float(rise.max())
    created = json.loads(here.command("key", "add", "a colleague", "--json"))
    theirs = Driver(here, key=created["secret"])
    connected.connect(here.url, created["secret"], data=tmp_path / "colleague")
    own = connected.submit(scenes.slab(mesh_size=0.25), name="heat", progress=False)
    of_own = own["plane"].temperature.interp(**GRID, fill_value=300.0) - 300.0
    assert float(of_own.max()) == value
    assert (evaluated(driver), evaluated(theirs)) == (1, 1), "each account has its own"
    text = json.dumps(
        {"type": "Evaluation", "version": 1, "outputs": [json.loads(rise.json())["expression"]]}
    )
    member = {
        "key": "x", "position": 0, "kind": "EVALUATION", "name": "x", "folder": "default",
        "document": {"inline": {"json": text, "arrays": {}}}, "cache": True, "idempotency_key": "x",
    }  # fmt: skip
    body = {"batch": "x", "submission": "s", "members": [member], "complete": True}
    [answer] = theirs.call("POST", "/api/v1/batches", body)["members"]
    assert answer["outcome"] == "refused" and answer["error"]["code"] == "task.input_not_found"
