"""Nothing is configured: the package starts a server of its own, shares it, and finds it again."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest
from harness import BINARY, stop_embedded

HERE = pathlib.Path(__file__).parent


@pytest.fixture
def unconfigured(tmp_path):
    """An environment that names no server, and a data folder of the test's own."""
    names = ("WAVETASK_", "SIMCLOUD_", "TIDY3D_", "AWS_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    environment["WAVETASK_DATA"] = str(tmp_path / "data")
    environment["WAVETASK_BINARY"] = str(BINARY)
    environment["TIDY3D_BASE_DIR"] = str(tmp_path / "tidy3d")
    yield environment
    stop_embedded(tmp_path / "data")


def test_an_embedded_server_is_shared_and_found_again(unconfigured):
    scripts = [
        subprocess.Popen(
            [sys.executable, str(HERE / "scan_child.py"), f"embedded {n}", "3", "0.1", "5"], env=unconfigured,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for n in range(3)
    ]  # fmt: skip
    for script in scripts:
        output, errors = script.communicate(timeout=300)
        assert script.returncode == 0, errors
        assert len(json.loads(output.splitlines()[-1])) == 3

    def listed(*conditions):
        command = [str(BINARY), "ls", "--json", *conditions]
        answer = subprocess.run(command, env=unconfigured, capture_output=True, text=True, check=True)
        return json.loads(answer.stdout)["tasks"]

    tasks = listed()
    assert len(tasks) == 9 and {task["state"] for task in tasks} == {"success"}
    # A fourth script, when all is known: nothing of it is computed, or sent.
    fourth = subprocess.run(
        [sys.executable, str(HERE / "scan_child.py"), "embedded 3", "3", "0.1", "5"], env=unconfigured,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert fourth.returncode == 0, fourth.stderr
    new = [task for task in listed() if task["task"] not in {task["task"] for task in tasks}]
    assert len(new) == 3 and {task["state"] for task in new} == {"success"}
    assert [task["attempts"] for task in new] == [0, 0, 0], "what is known is not computed again"


def test_the_drop_in_without_any_configuration(unconfigured, tmp_path):
    script = subprocess.Popen(
        [sys.executable, str(HERE / "drop_in_child.py"), str(tmp_path)], env=unconfigured, cwd=tmp_path,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        lines = iter(script.stdout.readline, "")
        assert any(line.startswith("task-") for line in lines), script.stderr.read()
        stop_embedded(tmp_path / "data")
        output, errors = script.communicate("\n", timeout=300)
    finally:
        script.kill()
    assert script.returncode == 0 and output.strip() == "done", errors


def test_the_embedded_server_computes_what_is_made_of_references(unconfigured):
    script = subprocess.run(
        [sys.executable, str(HERE / "embedded_reference_child.py")], env=unconfigured, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert script.returncode == 0, script.stderr
    told = json.loads(script.stdout.splitlines()[-1])
    assert told["there"] == pytest.approx(told["here"], rel=1e-9)
    assert told["evaluations"] == ["EVALUATION"]
