"""A chain of three stages and hundreds of members, submitted at once, while everything that takes part is killed."""

from __future__ import annotations

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import chain_child
import numpy as np
import pytest
import scenes
from driver import Driver
from harness import members

CHILD = pathlib.Path(chain_child.__file__)
COUNT = 200
CLIENT_KILLS = 4
STAGES = ("heat", "modes", "squares", "whole", "last")


class Script:
    """The user's script, against one server."""

    def __init__(self, server, folder: pathlib.Path, name: str, count: int):
        self.arguments = [sys.executable, str(CHILD), name, str(count)]
        self.environment = {
            **os.environ,
            "WAVETASK_URL": server.url,
            "WAVETASK_KEY": server.variables()["SIMCLOUD_APIKEY"],
            "WAVETASK_DATA": str(folder),
        }

    def start(self) -> subprocess.Popen:
        return subprocess.Popen(self.arguments, env=self.environment, stdout=subprocess.PIPE, text=True)

    def finish(self) -> dict:
        process = self.start()
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
        return json.loads(output.splitlines()[-1])


class Kills(threading.Thread):
    """Kills the server, its workers and solvers at random instants, until told to stop."""

    def __init__(self, server, seed: int):
        super().__init__(daemon=True)
        self.server = server
        self.chance = random.Random(seed)
        self.enough = threading.Event()
        self.counts = {"server": 0, "worker": 0, "solver": 0}
        self.problem: Exception | None = None

    def run(self) -> None:
        while not self.enough.wait(self.chance.uniform(0.5, 3.0)):
            try:
                self.kill()
            except Exception as problem:
                self.problem = problem
                return

    def kill(self) -> None:
        # What has been killed least often is next.
        what = min(self.counts, key=lambda each: (self.counts[each], self.chance.random()))
        if what == "server":
            self.server.restart()
        else:
            victims = self._victims(self.server.workers if what == "worker" else self.server.solvers)
            if not victims:
                return
            try:
                os.kill(self.chance.choice(victims), signal.SIGKILL)
            except ProcessLookupError:
                return
        self.counts[what] += 1

    def _victims(self, find: Callable[[], list[int]]) -> list[int]:
        """Those that there are now, or soon: small tasks take milliseconds."""
        deadline = time.monotonic() + 5
        while not (found := find()) and time.monotonic() < deadline and not self.enough.is_set():
            time.sleep(0.01)
        return found

    def stop(self) -> None:
        self.enough.set()
        self.join()
        if self.problem is not None:
            raise self.problem


def directly(number: int) -> float:
    """The index of a member by the client's own objects, from the result of its heat simulation."""
    import wavetask as wt

    data = wt.submit(chain_child.heat(number), progress=False).result(timeout=120)
    temperature = chain_child.temperature(data["plane"].temperature)
    solver = chain_child.guide()
    perturbed = solver.updated_copy(
        simulation=solver.simulation.perturbed_mediums_copy(temperature=temperature)
    )
    return float(chain_child.index(wt.submit(perturbed, progress=False).result(timeout=120)))


def test_every_stage_is_run_once_whatever_is_killed(own_server, tmp_path, monkeypatch):
    server = own_server("--lease-seconds", "2")
    script = Script(server, tmp_path / "client", "chain", COUNT)
    kills = Kills(server, 20261130)
    kills.start()
    chance = random.Random(7)
    killed = 0
    for _ in range(CLIENT_KILLS):
        process = script.start()
        time.sleep(chance.uniform(3, 14))
        killed += process.poll() is None
        process.kill()
        process.wait()
    kills.stop()
    found = script.finish()
    assert killed == CLIENT_KILLS, "it was over before it was killed"
    assert all(count > 0 for count in kills.counts.values()), kills.counts

    # What came of it.
    assert len(found["modes"]) == len(found["squares"]) == COUNT
    indices = np.array([found["modes"][str(number)] for number in range(COUNT)])
    assert np.all(np.diff(indices) > 0), "more heat, a higher index"
    np.testing.assert_allclose([found["squares"][str(n)] for n in range(COUNT)], indices**2, rtol=1e-14)
    np.testing.assert_array_equal(found["whole"], indices)
    assert abs(found["last"] / scenes.expected_rise(7.7e-6) - 1) < 0.05

    # Each task once, and no task besides these.
    driver = Driver(server)
    stages = {stage: members(server, f"chain {stage}") for stage in STAGES}
    sizes = {stage: len({task["task"] for task in tasks}) for stage, tasks in stages.items()}
    assert sizes == {"heat": COUNT, "modes": COUNT, "squares": COUNT, "whole": 1, "last": 1}
    assert all(task["state"] == "success" for tasks in stages.values() for task in tasks)
    entered = driver.entered()
    assert set(entered.values()) == {1}, "no task succeeds twice"
    [gathering] = members(server, "chain last after")
    evaluations = {task["task"] for task in members(server, "chain modes references")}
    shown = {task["task"] for tasks in stages.values() for task in tasks}
    assert len(evaluations) == COUNT
    assert entered.keys() == shown | evaluations | {gathering["task"]}, "nothing was made twice"
    assert_order(driver, stages, gathering)

    # The values are those that a user gets step by step.
    import wavetask

    monkeypatch.setenv("WAVETASK_DATA", str(tmp_path / "another"))
    key = server.variables()["SIMCLOUD_APIKEY"]
    wavetask.connect(server.url, key, data=tmp_path / "another")
    for number in (0, 83, COUNT - 1):
        assert directly(number) == pytest.approx(indices[number], abs=1e-9)


def assert_order(driver: Driver, stages: dict, gathering: dict) -> None:
    """What was declared to run after all modes has run after all modes."""
    [last] = stages["last"]
    sequence: dict[tuple[str, str], int] = {}
    after = 0
    while True:
        page = driver.call("GET", f"/api/v1/events?after={after}&limit=500")
        if not page["events"]:
            break
        for event in page["events"]:
            sequence.setdefault((event["task"]["task"], event["state"]), event["sequence"])
        after = page["last"]
    modes = max(sequence[task["task"], "success"] for task in stages["modes"])
    assert modes < sequence[gathering["task"], "success"] < sequence[last["task"], "running"]
