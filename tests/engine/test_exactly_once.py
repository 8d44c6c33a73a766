"""The client is killed at random instants and the same script is run again: nothing is lost, nothing is doubled."""

from __future__ import annotations

import json
import os
import pathlib
import random
import subprocess
import sys
import time

import pytest
from harness import members
from wire import Wire

CHILD = pathlib.Path(__file__).with_name("scan_child.py")
ROUNDS, KILLS = 10, 3
COUNT, MEGABYTES = 12, 1.0


class Script:
    """The user's script, against one server, over a wire."""

    def __init__(self, server, wire: Wire, folder: pathlib.Path, name: str, seed: int):
        self.arguments = [sys.executable, str(CHILD), name, str(COUNT), str(MEGABYTES), str(seed)]
        key = server.variables()["SIMCLOUD_APIKEY"]
        self.environment = {
            **os.environ,
            "WAVETASK_URL": wire.url,
            "WAVETASK_KEY": key,
            "WAVETASK_DATA": str(folder),
        }

    def start(self) -> subprocess.Popen:
        return subprocess.Popen(self.arguments, env=self.environment, stdout=subprocess.PIPE, text=True)

    def finish(self) -> dict:
        process = self.start()
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        return json.loads(output.splitlines()[-1])


def successes(server) -> dict[str, int]:
    """How often each task has succeeded, by the server's event log."""
    counts: dict[str, int] = {}
    after = 0
    while True:
        status, page = server.native("GET", f"/api/v1/events?after={after}")
        assert status == 200, page
        for event in page["events"]:
            if event["state"] == "success":
                counts[event["task"]["task"]] = counts.get(event["task"]["task"], 0) + 1
        if not page["events"]:
            return counts
        after = page["last"]


@pytest.mark.timeout(1200)
def test_killed_at_random_instants_and_run_again(own_server, tmp_path):
    server = own_server()
    wire = Wire(server.port, bytes_per_second=3e6)
    chance = random.Random(20261122)
    started = time.monotonic()
    Script(server, wire, tmp_path / "undisturbed", "undisturbed", 0).finish()
    undisturbed = time.monotonic() - started
    one_upload = wire.sent
    killed = 0
    for number in range(1, ROUNDS + 1):
        sent = wire.sent
        name = f"round {number}"
        script = Script(server, wire, tmp_path / f"client-{number}", name, number)
        for _ in range(KILLS):
            process = script.start()
            time.sleep(chance.uniform(0.1, 0.8) * undisturbed)
            killed += process.poll() is None
            process.kill()
            process.wait()
        results = script.finish()
        assert len(results) == COUNT and all(rise > 0 for rise in results.values())
        tasks = members(server, name)
        assert len({task["task"] for task in tasks}) == len(tasks) == COUNT
        assert all(task["state"] == "success" and task["attempts"] == 1 for task in tasks)
        # What had arrived was not sent again: all that was lost is what was on the wire at each kill.
        in_flight = (wire.sent - sent - one_upload) / KILLS
        assert in_flight < 4e6, f"{in_flight / 1e6:.1f} MB sent again per kill"
    assert killed >= ROUNDS * KILLS * 2 // 3, (
        f"only {killed} of the runs were still going when they were killed"
    )
    counts = successes(server)
    assert set(counts.values()) == {1} and len(counts) == (ROUNDS + 1) * COUNT
    wire.close()
