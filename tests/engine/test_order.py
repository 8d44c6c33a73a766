"""What runs after what: declared by handles that need not have reached the server, failures that go along, retries that
resume."""

from __future__ import annotations

import json
import os
import subprocess
import threading

import numpy as np
import pytest
import scenes
from chain_child import GRID, guide, index
from driver import Driver
from harness import BINARY, wait_until
from wavetask import _client


def slabs(first: float, count: int) -> dict:
    """Small simulations, different from all others of this file."""
    return {
        f"{number}": scenes.slab(rate=first * (1 + number / 100), mesh_size=0.25) for number in range(count)
    }


@pytest.fixture
def driver(connected):
    """The same server, by plain requests."""
    client = _client.current()

    class Address:
        @staticmethod
        def request(method, path, body=None, key=None):
            import json
            import urllib.request

            headers = {"simcloud-api-key": key, "content-type": "application/json"}
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(client.url + path, data=data, headers=headers, method=method)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())

    return Driver(Address(), key=client._native.key)


def sequences(driver: Driver) -> dict[tuple[str, str], int]:
    """When each task first came into each state, by the server's log."""
    found: dict[tuple[str, str], int] = {}
    after = 0
    while True:
        page = driver.call("GET", f"/api/v1/events?after={after}&limit=500")
        if not page["events"]:
            return found
        for event in page["events"]:
            found.setdefault((event["task"]["task"], event["state"]), event["sequence"])
        after = page["last"]


def assert_after(driver: Driver, later, earlier) -> None:
    found = sequences(driver)
    assert max(found[task.id, "success"] for task in earlier) < min(
        found[task.id, "running"] for task in later
    )


def test_tasks_batches_and_ids_that_the_server_does_not_know_yet(connected, driver):
    known = connected.submit(scenes.slab(3.01e-6, 0.25), progress=False)
    known.result(timeout=60)
    first = connected.submit(slabs(3.1e-6, 5), name="first of order", progress=False)
    one = connected.submit(scenes.slab(3.02e-6, 0.25), progress=False)
    second = connected.submit(
        slabs(3.3e-6, 3), name="second of order", after=[first, one, known.id], progress=False
    )
    third = connected.submit(scenes.slab(3.04e-6, 0.25), after=second["1"], progress=False)
    assert third.result(timeout=120) is not None and len(second.results(timeout=120)) == 3
    assert_after(driver, second.tasks, [*first.tasks, one])
    assert_after(driver, [third], [second["1"]])


def test_a_batch_that_still_grows_is_waited_for_as_a_whole(connected, driver):
    more, asked = threading.Event(), threading.Event()

    def simulations():
        yield "a", scenes.slab(3.51e-6, 0.25)
        asked.set()
        assert more.wait(60)
        yield "b", scenes.slab(3.52e-6, 0.25)

    growing = connected.submit(simulations(), name="growing", progress=False)
    after = connected.submit(slabs(3.6e-6, 2), name="after growing", after=growing, progress=False)
    assert asked.wait(60)
    growing["a"].result(timeout=60)
    assert all(task.id is None for task in after.tasks), "the batch is not there as a whole"
    more.set()
    assert len(after.results(timeout=120)) == 2
    assert_after(driver, after.tasks, growing.tasks)


def test_a_batch_whose_generator_raises_fails_what_runs_after_it(connected):
    def simulations():
        yield "a", scenes.slab(3.51e-6, 0.25)
        raise KeyError("no more")

    growing = connected.submit(simulations(), name="cut short", progress=False)
    after = connected.submit(slabs(3.7e-6, 2), name="after cut short", after=growing, progress=False)
    for task in after.tasks:
        error = task.exception(timeout=60)
        assert isinstance(error, connected.errors.InputFailed) and "cut short" in str(error), error


def test_many_are_gathered_so_that_each_waits_for_one(connected, driver):
    first = connected.submit(slabs(3.8e-6, 40), name="many", progress=False)
    second = connected.submit(slabs(4.3e-6, 3), name="after many", after=first, progress=False)
    second.results(timeout=180)
    assert_after(driver, second.tasks, first.tasks)
    shown = [batch["name"] for batch in _client.current().batches()]
    assert "after many" in shown and "after many after" not in shown
    [gathered] = _client.current().batches("after many after")
    assert gathered["members"] == 1, "who asks for it is told of it"
    ours = {row["id"] for row in _client.current().tasks()}
    assert {task.id for task in (*first.tasks, *second.tasks)} <= ours
    [gathering] = _client.current()._native.open_batch("after many after").tasks()
    assert gathering.id not in ours

    def command(*words):
        environment = {**os.environ, "WAVETASK_URL": _client.current().url, "WAVETASK_KEY": driver.key}
        return subprocess.check_output([BINARY, *words], env=environment, text=True)

    listed = {row["task"] for row in json.loads(command("ls", "--all", "--json"))["tasks"]}
    assert listed >= {task.id for task in second.tasks} and gathering.id not in listed
    batches = {row["name"] for row in json.loads(command("ls", "--batches", "--all", "--json"))["batches"]}
    assert "after many" in batches and "after many after" not in batches
    found = sequences(driver)
    assert max(found[task.id, "success"] for task in first.tasks) < found[gathering.id, "success"]
    # Run again, the same are found; with others to wait for, it waits for those.
    again = connected.submit(slabs(4.3e-6, 3), name="after many", after=first, progress=False)
    again.results(timeout=60)
    assert [task.id for task in again.tasks] == [task.id for task in second.tasks]
    others = connected.submit(slabs(3.85e-6, 20), name="others", progress=False)
    new = connected.submit(scenes.slab(4.4e-6, 0.25), name="after many", after=others, progress=False)
    new.result(timeout=120)
    assert_after(driver, [new], others.tasks)


def test_what_cannot_be_waited_for_is_refused_by_name(connected, own_server, tmp_path):
    with pytest.raises(connected.errors.Usage, match="int"):
        connected.submit(scenes.slab(), after=[7], progress=False)
    task = connected.submit(scenes.slab(mesh_size=0.25), progress=False)
    strange = connected.submit(
        scenes.slab(rate=4.6e-6, mesh_size=0.25),
        after="task-00000000-0000-7000-8000-000000000000",
        progress=False,
    )
    error = strange.exception(timeout=60)
    assert error is not None and error.code == "task.input_not_found", error
    plain = own_server("--no-native-api")
    for words in (
        ("ls",),
        ("ls", "--batches"),
        ("watch",),
        ("cancel", "task-1"),
        ("rm", "task-1"),
        ("logs", "task-1"),
    ):
        with pytest.raises(Exception, match="no native API"):
            plain.command(*words)
    key = plain.variables()["SIMCLOUD_APIKEY"]
    client = connected.connect(plain.url, key, data=tmp_path / "plain")
    with pytest.raises(connected.errors.Usage, match="another server"):
        client.submit(scenes.slab(), after=[task], progress=False)
    with pytest.raises(connected.errors.Usage) as refused:
        client.submit(scenes.slab(), after=["task-00000000-0000-7000-8000-000000000000"], progress=False)
    assert refused.value.code == "submit.after_unsupported"


def test_what_never_becomes_a_task_fails_what_runs_after_it(connected):
    earlier = connected.submit(scenes.slab(), name="never", hold=True, progress=False)
    earlier.cancel()
    earlier.wait(60)
    later = connected.submit(slabs(4.7e-6, 2), name="after never", after=[earlier], progress=False)
    for task in later.tasks:
        assert isinstance(task.exception(timeout=60), connected.errors.InputFailed)


def test_a_failure_goes_through_the_chain_with_its_cause(connected):
    """Heat, modes, a reduction, and what runs after that: each names the task that failed, and what it said."""
    heat = connected.submit(scenes.unsolvable(), name="broken heat", progress=False)
    field = heat["plane"].temperature.interp(**GRID, fill_value=scenes.BASE)
    modes = connected.submit(
        connected.perturb(guide(), temperature=field), name="of broken heat", progress=False
    )
    square = connected.submit(index(modes.data) ** 2, name="square of broken heat", progress=False)
    last = connected.submit(
        scenes.slab(4.9e-6, 0.25), name="last of broken heat", after=square, progress=False
    )
    cause = heat.exception(timeout=120)
    assert "steady temperature is not defined" in str(cause)
    for task in (modes, square, last):
        error = task.exception(timeout=60)
        assert isinstance(error, connected.errors.InputFailed), error
        assert heat.id in str(error) and "steady temperature is not defined" in str(error), error
        assert str(error).count("ended without a result") == 1, "the length of the chain adds nothing"


def test_retry_of_what_failed_resumes_the_rest(connected, driver):
    """The first of a chain is stopped while it waits to be started: the rest fails, and goes on when it is run again."""
    gate = connected.submit(scenes.slab(5.01e-6, 0.25), name="gate", hold=True, progress=False)
    wait_until(lambda: gate.status == "held", 60, "it is held")
    heat = connected.submit(scenes.slab(5.02e-6, 0.25), name="gated heat", after=gate, progress=False)
    field = heat["plane"].temperature.interp(**GRID, fill_value=scenes.BASE)
    batch = connected.submit(
        {"modes": connected.perturb(guide(), temperature=field)}, name="gated modes", progress=False
    )
    square = connected.submit(index(batch["modes"].data) ** 2, name="gated square", progress=False)
    wait_until(lambda: square.id is not None, 60, "the whole chain is at the server")
    gate.cancel()
    for task in (heat, batch["modes"], square):
        error = task.exception(timeout=60)
        assert isinstance(error, connected.errors.InputFailed) and gate.id in str(error), error
    gate.retry()
    # The server has resumed the others, and their handles follow them.
    assert gate.result(timeout=60) is not None
    values = [task.result(timeout=120) for task in (heat, batch["modes"], square)]
    np.testing.assert_allclose(values[2], float(index(values[1])) ** 2, rtol=1e-12)
    assert batch.status == "done"
    opened = [connected.open(task.id) for task in (heat, batch["modes"], square)]
    assert set(driver.entered().get(task.id, 0) for task in opened) == {1}


def test_retry_of_what_was_resumed_is_no_error(connected, driver):
    """Handles that failed with their input, run again after another process has run that one again."""
    gate = connected.submit(scenes.slab(5.03e-6, 0.25), name="second gate", hold=True, progress=False)
    wait_until(lambda: gate.status == "held", 60, "it is held")
    heat = connected.submit(scenes.slab(5.04e-6, 0.25), name="second gated", after=gate, progress=False)
    later = connected.submit(scenes.slab(5.05e-6, 0.25), name="third gated", after=heat, progress=False)
    wait_until(lambda: later.id is not None, 60, "both are at the server")
    gate.cancel()
    for task in (heat, later):
        assert isinstance(task.exception(timeout=60), connected.errors.InputFailed)
    # What another process would send.
    driver.call("POST", "/api/v1/tasks/retry", {"tasks": [gate.id]})
    wait_until(lambda: driver.call("GET", f"/api/v1/tasks/{later.id}")["state"] == "success", 60, "all ran")
    assert heat.status == later.status == "failed", "nobody has told these handles"
    heat.retry()
    assert heat.result(timeout=60) is not None and later.result(timeout=60) is not None
    assert {driver.entered().get(task.id, 0) for task in (heat, later)} == {1}
    with pytest.raises(connected.errors.Usage):
        heat.retry()


def test_references_are_submitted_for_their_own_sake(connected):
    task = connected.submit(scenes.slab(5.31e-6, 0.25), progress=False)
    rise = task["plane"].temperature.interp(**GRID, fill_value=scenes.BASE) - scenes.BASE
    single = connected.submit(rise.max(), name="largest", progress=False)
    several = connected.submit({"map": rise, "mean": rise.mean()}, name="of a rise", progress=False)
    expected = (
        task.result(timeout=60)["plane"].temperature.interp(**GRID, fill_value=scenes.BASE) - scenes.BASE
    )
    assert float(single.result(timeout=60)) == pytest.approx(float(expected.max()), rel=1e-12)
    found = several.results(timeout=60)
    np.testing.assert_allclose(found["map"].values, expected.values, rtol=1e-9, atol=1e-9)
    assert float(found["mean"]) == pytest.approx(float(expected.mean()), rel=1e-12)
    again = connected.open("of a rise")
    assert float(again["mean"].result(timeout=60)) == float(found["mean"])
    assert {row["name"] for row in _client.current().tasks(batch="of a rise")} == {"map", "mean"}
    with pytest.raises(connected.errors.Usage, match="mesh"):
        connected.submit(task["plane"].temperature, progress=False).result(timeout=60)
