"""Submitting files and fetching results from the command line, with results that tidy3d reads."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
import scenes
import tidy3d as td
from harness import BINARY


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    slab = scenes.slab()
    slab.to_file(str(folder / "one.hdf5"))
    slab.updated_copy(size=[1.1 * extent for extent in slab.size]).to_file(str(folder / "two.hdf5.gz"))
    (folder / "bad.hdf5").write_text("not a simulation")
    return folder


def wavetask(server, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(BINARY), *words, "--data", str(server.data)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NO_COLOR": "1"},
    )


def test_files_become_a_batch_and_results_what_tidy3d_reads(own_server, files, tmp_path):
    server = own_server()
    paths = [str(files / name) for name in ("one.hdf5", "two.hdf5.gz")]
    options = ("--name", "my scan", "--tag", "paper", "--param", "I=0.004")
    done = wavetask(server, "submit", *paths, *options, "--wait", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["batch"] == "my scan"
    assert [(task["key"], task["phase"]) for task in told["tasks"]] == [("one", "done"), ("two", "done")]
    # The same again makes no new tasks.
    again = json.loads(wavetask(server, "submit", *paths, *options, "--wait", "--json").stdout)
    assert [task["task"] for task in again["tasks"]] == [task["task"] for task in told["tasks"]]

    def listed(*options: str) -> list[str]:
        return [task["name"] for task in json.loads(server.command("ls", "--json", *options))["tasks"]]

    assert sorted(listed("--where", "I>=0.004")) == ["one", "two"]
    assert listed("--where", "I>0.004") == []
    assert listed("--tag", "paper", "--name", "tw") == ["two"]
    assert sorted(listed("--batch", "my scan")) == ["one", "two"]
    assert "my scan" in server.command("ls", "--batches", "--tag", "paper")
    assert "my scan" in server.command("ls", "--batches", "--all")
    listing = json.loads(server.command("ls", "--batches", "--limit", "1", "--json"))
    assert len(listing["batches"]) == 1
    assert server.command("watch", "my scan").endswith("2 success\n")

    task = told["tasks"][0]["task"]
    server.command("get", task, "-o", "whole.hdf5")
    whole = td.HeatChargeSimulationData.from_file("whole.hdf5")
    for monitor in whole.data:
        name = monitor.monitor.name
        server.command("get", f"{task}:{name}", "-o", f"{name}.hdf5")
        assert td.TemperatureData.from_file(f"{name}.hdf5") == monitor
        text = server.command("get", f"{task}:{name}:temperature", "-o", "-")
        rows = [line.split(",") for line in text.splitlines()]
        assert rows[0][-1] == "value"
        values = getattr(monitor.temperature, "values", None)
        values = getattr(values, "values", values)
        assert [float(row[-1]) for row in rows[1:]] == [float(value) for value in values.ravel()]
    server.command("get", "my scan", "-o", "results")
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["one.hdf5", "two.hdf5"]
    assert td.HeatChargeSimulationData.from_file("results/one.hdf5") == whole
    missing = wavetask(server, "get", f"{task}:nowhere")
    assert (missing.returncode, "it has: " in missing.stderr) == (5, True)
    assert server.command("rm", "my scan").count("deleted") == 2
    assert listed() == []


def test_a_bad_file_stops_no_other(own_server, files):
    server = own_server()
    done = wavetask(server, "submit", str(files / "bad.hdf5"), str(files / "one.hdf5"), "--wait", "--json")
    assert done.returncode == 1
    bad, good = json.loads(done.stdout)["tasks"]
    assert (bad["phase"], bad["task"], bad["error"]["group"]) == ("failed", None, "InvalidSimulation")
    assert good["phase"] == "done"
