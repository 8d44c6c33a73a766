"""`wavetask cancel`, `retry`, `rm` and `get` as scripts use them: JSON, several tasks and batches at once, exit codes."""

from __future__ import annotations

import json
import os
import subprocess

import h5py
import numpy as np
import pytest
import scenes
import tidy3d as td
from harness import BINARY, wait_until


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The slab at two rates as .json and .hdf5, and one that the solver fails at."""
    folder = tmp_path_factory.mktemp("files")
    scenes.slab().to_file(str(folder / "one.json"))
    scenes.slab(2 * scenes.RATE).to_file(str(folder / "two.hdf5"))
    scenes.unsolvable().to_file(str(folder / "unsolvable.json"))
    return folder


@pytest.fixture(scope="module")
def shared(files, tmp_path_factory):
    """A server with nothing but these tests' tasks."""
    from harness import Server

    server = Server(tmp_path_factory.mktemp("server") / "data").start()
    yield server
    server.stop()


def wavetask(server, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(BINARY), *map(str, words), "--data", str(server.data)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NO_COLOR": "1"},
    )


def told(answer: subprocess.CompletedProcess, code: int = 0):
    """The JSON that a command prints, and nothing else."""
    assert answer.returncode == code, answer.stdout + answer.stderr
    return json.loads(answer.stdout)


def submitted(server, name: str, *paths, options=(), code: int = 0) -> dict[str, str]:
    """Ids by key."""
    answer = told(wavetask(server, "submit", *paths, "--name", name, "--json", *options), code)
    return {task["key"]: task["task"] for task in answer["tasks"]}


def states(server, batch: str) -> dict[str, str]:
    return {
        task["name"]: task["state"]
        for task in told(wavetask(server, "ls", "--batch", batch, "--json"))["tasks"]
    }


def centre(path) -> float:
    with h5py.File(path) as file:
        return float(np.squeeze(file["data/1/temperature/__xarray_dataarray_variable__"][()])) - scenes.BASE


def test_json_files_are_simulations_too(shared, files, tmp_path):
    ids = submitted(shared, "json", files / "one.json", files / "two.hdf5", options=["--wait"])
    assert states(shared, "json") == {"one": "success", "two": "success"}
    assert wavetask(shared, "get", "json", "-o", tmp_path / "results").returncode == 0
    assert centre(tmp_path / "results/two.hdf5") == pytest.approx(2 * centre(tmp_path / "results/one.hdf5"))
    data = td.HeatChargeSimulationData.from_file(str(tmp_path / "results/one.hdf5"))
    assert data.simulation == scenes.slab()
    assert list(ids) == ["one", "two"]


def test_cancel_retry_and_rm_tell_of_each_task_in_json(shared, files):
    paths = [files / "one.json", files / "two.hdf5"]
    ids = submitted(shared, "managed", *paths, options=["--hold", "--no-cache"])
    assert set(states(shared, "managed").values()) == {"validated"}

    answers = told(wavetask(shared, "cancel", "managed", "--json"))
    assert [answer["task"] for answer in answers] and {answer["task"] for answer in answers} == set(
        ids.values()
    )
    assert states(shared, "managed") == {"one": "aborted", "two": "aborted"}

    # One by the beginning of its id, then the rest by the batch's name.
    one = ids["one"].removeprefix("task-")[:24]
    answers = told(wavetask(shared, "retry", one, "--json"))
    assert [answer["task"] for answer in answers] == [ids["one"]]
    wait_until(lambda: states(shared, "managed")["one"] == "success", 60, "the task runs again")
    assert states(shared, "managed")["two"] == "aborted"
    answers = told(wavetask(shared, "retry", "managed", "--json"))
    assert [answer["task"] for answer in answers] == [ids["two"]], "what has its result is left alone"
    wait_until(lambda: states(shared, "managed")["two"] == "success", 60, "the batch runs again")

    # What is done cannot be run again when it is asked for by name.
    refused = wavetask(shared, "retry", ids["one"])
    assert refused.returncode != 0 and "refused" in refused.stdout
    (answer,) = told(wavetask(shared, "retry", ids["one"], "--json"), refused.returncode)
    assert answer["task"] == ids["one"] and "error" in json.dumps(answer)

    answers = told(wavetask(shared, "rm", ids["one"], ids["two"], "--json"))
    assert [answer["task"] for answer in answers] == [ids["one"], ids["two"]]
    assert states(shared, "managed") == {}


def test_one_mistyped_name_stops_the_command_before_it_acts(shared, files):
    submitted(shared, "kept", files / "one.json", options=["--hold", "--no-cache"])
    for verb in ("cancel", "rm", "retry"):
        answer = wavetask(shared, verb, "kept", "there-is-no-such-task")
        assert answer.returncode == 5 and "there-is-no-such-task" in answer.stderr, answer
    assert states(shared, "kept") == {"one": "validated"}


def test_retry_runs_a_failed_task_again(shared, files):
    ids = submitted(shared, "failing", files / "unsolvable.json", options=["--wait"], code=1)
    (task,) = told(wavetask(shared, "ls", "--batch", "failing", "--json"))["tasks"]
    assert (task["state"], task["attempts"]) == ("error", 1)
    assert ids["unsolvable"] in wavetask(shared, "retry", "failing").stdout

    def again():
        (task,) = told(wavetask(shared, "ls", "--batch", "failing", "--json"))["tasks"]
        return task["attempts"] == 2 and task["state"] == "error"

    wait_until(again, 60, "the second attempt has failed as well")
    assert wavetask(shared, "watch", "failing").returncode == 1


def test_get_tells_in_json_what_it_wrote(shared, files, tmp_path):
    ids = submitted(shared, "fetched", files / "one.json", files / "two.hdf5", options=["--wait"])
    whole = wavetask(shared, "get", ids["one"], "-o", tmp_path / "whole.hdf5", "--json")
    assert str(tmp_path / "whole.hdf5") in json.dumps(told(whole))
    several = json.dumps(told(wavetask(shared, "get", "fetched", "-o", tmp_path / "several", "--json")))
    for key in ids:
        assert f"{key}.hdf5" in several and (tmp_path / "several" / f"{key}.hdf5").exists()

    # A field of a whole batch as tables: a file per task, a line per point.
    tables = wavetask(
        shared, "get", "fetched:centre:temperature", "--csv", "-o", tmp_path / "tables", "--json"
    )
    assert "one.csv" in json.dumps(told(tables))
    rises = {}
    for key in ids:
        header, line = (tmp_path / "tables" / f"{key}.csv").read_text().splitlines()
        assert header.split(",")[-1] == "value"
        rises[key] = float(line.split(",")[-1]) - scenes.BASE
        assert rises[key] == pytest.approx(centre(tmp_path / "several" / f"{key}.hdf5"), rel=1e-9)
    assert rises["two"] == pytest.approx(2 * rises["one"], rel=1e-6)
