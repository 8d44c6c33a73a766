"""A batch that is opened by another process is the batch that was submitted, with what went wrong in it."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

TESTS = pathlib.Path(__file__).parents[1]

HEAD = f"""
import json, sys
sys.path.insert(0, {str(TESTS)!r})
import wavetask as wt
from scenes import slab
"""

SUBMIT = """
scan = {"good": slab(rate=3.1e-6), "bad": object(), "better": slab(rate=3.2e-6)}
parameters = lambda key, _: {"column": key.upper()}
batch = wt.submit(scan, name=sys.argv[1], parameters=parameters, progress=False)
batch.wait()
print(json.dumps({"bad": str(batch["bad"].exception()), "keys": list(batch)}))
"""

ALL_BAD = """
batch = wt.submit([object(), object()], name=sys.argv[1], progress=False)
batch.wait()
print(json.dumps(batch.status))
"""


@pytest.fixture
def elsewhere(server, tmp_path):
    """Runs a script in a process of its own, with the data folder of this test's client."""
    environment = {
        **os.environ,
        "WAVETASK_URL": server.url,
        "WAVETASK_KEY": server.variables()["SIMCLOUD_APIKEY"],
        "WAVETASK_DATA": str(tmp_path / "client"),
    }

    def run(script: str, name: str):
        answer = subprocess.run(
            [sys.executable, "-c", HEAD + script, name],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout.splitlines()[-1])

    return run


def test_a_member_that_could_not_be_packed_is_there_when_the_batch_is_opened(connected, elsewhere):
    said = elsewhere(SUBMIT, "one is bad")
    assert said["keys"] == ["good", "bad", "better"]
    batch = connected.open("one is bad")
    assert set(batch) == {"good", "bad", "better"}
    rows = {row["key"]: row for row in batch.rows()}
    assert {key: row["status"] for key, row in rows.items()} == {
        "good": "done",
        "bad": "failed",
        "better": "done",
    }
    assert rows["bad"]["column"] == "BAD"
    error = batch["bad"].exception()
    assert isinstance(error, connected.errors.InvalidSimulation) and str(error) == said["bad"]
    assert batch["bad"].name == "bad" and batch["bad"].id is None
    assert batch.status == "failed" and batch.done()
    with pytest.raises(connected.errors.InvalidSimulation):
        batch.results()
    assert set(batch.results(return_exceptions=True)) == set(batch)


def test_a_batch_of_which_nothing_could_be_packed_can_be_opened(connected, elsewhere):
    assert elsewhere(ALL_BAD, "all are bad") == "failed"
    batch = connected.open("all are bad")
    assert [task.status for task in batch.tasks] == ["failed", "failed"]


def test_what_was_mended_is_not_shown_as_it_failed(connected, elsewhere):
    elsewhere(SUBMIT, "mended")
    mended = SUBMIT.replace("object()", "slab(rate=3.3e-6)")
    assert elsewhere(mended, "mended")["bad"] == "None"
    assert {task.key: task.status for task in connected.open("mended").tasks} == {
        "good": "done",
        "bad": "done",
        "better": "done",
    }
