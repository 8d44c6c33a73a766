"""Real heat by the engine over the plain tidy3d protocol, beside the unmodified client on the same server.

The server speaks nothing else (`--no-native-api`), so whatever works here works by that protocol alone.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pathlib
import subprocess
import time

import h5py
import numpy as np
import pytest
import scenes
import tidy3d as td
import tidy3d.web as web
from harness import needed

PROGRAM = pathlib.Path(
    os.environ.get(
        "WAVETASK_TEST_PLAIN_RUN", pathlib.Path(__file__).parents[2] / "target/release/examples/plain_run"
    )
)
MEMBERS = 6
TOLERANCE = 1e-6


@pytest.fixture(autouse=True)
def program():
    needed(
        PROGRAM.exists(),
        f"{PROGRAM} is not there: cargo build --release -p wavetask-client --example plain_run",
    )


def run(server, folder, files, heat="auto"):
    """Runs files by the engine; what it prints."""
    variables = server.variables()
    output = folder / f"results-{heat}"
    output.mkdir(exist_ok=True)
    environment = {**os.environ, "AWS_ENDPOINT_URL_S3": variables["AWS_ENDPOINT_URL_S3"], "PLAIN_HEAT": heat}
    answer = subprocess.run(
        [PROGRAM, server.url, variables["SIMCLOUD_APIKEY"], folder / f"data-{heat}", output, *files],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def rise(path) -> float:
    """The rise at the centre, from the regular monitor of a result file."""
    with h5py.File(path) as file:
        values = file["data/1/temperature/__xarray_dataarray_variable__"][()]
    return float(np.squeeze(values)) - scenes.BASE


@contextlib.contextmanager
def pointed_at(server, monkeypatch):
    """The unmodified client, which has read the session's server from the environment, at another one."""
    with monkeypatch.context() as changes:
        for name, value in server.variables().items():
            changes.setenv(name, value)
        before = td.config.web.api_endpoint
        td.config.web.api_endpoint = server.url
        td.config.web.apikey = server.variables()["SIMCLOUD_APIKEY"]
        try:
            yield
        finally:
            td.config.web.api_endpoint = before
    td.config.web.apikey = os.environ["SIMCLOUD_APIKEY"]


@pytest.mark.parametrize("heat", ["one", "two"])
def test_real_heat_over_the_plain_protocol(own_server, tmp_path, heat):
    server = own_server("--no-native-api")
    status, _ = server.request("GET", "/api/v1/status")
    assert status == 404, "the server must have nothing else to offer"
    rates = [scenes.RATE * (1 + at / 10) for at in range(MEMBERS)]
    simulations = [scenes.slab(rate=rate) for rate in rates]
    files = []
    for at, simulation in enumerate(simulations):
        files.append(tmp_path / f"{at}.hdf5.gz")
        simulation.to_file(str(files[-1]))
    found = run(server, tmp_path, files, heat)
    assert len(found["members"]) == MEMBERS
    for member in found["members"]:
        expected = scenes.expected_rise(rates[int(member["key"])])
        assert rise(member["result"]["file"]) == pytest.approx(expected, rel=2e-2), member
    again = run(server, tmp_path, files, heat)
    assert [member["id"] for member in sorted(again["members"], key=lambda member: member["key"])] == [
        member["id"] for member in sorted(found["members"], key=lambda member: member["key"])
    ]
    assert again["requests"] < MEMBERS * 5, "nothing is created, sent or solved again"
    print(
        f"\n{heat}: {found['requests'] / MEMBERS:.1f} requests a task, {found['seconds']:.2f} s for {MEMBERS}"
    )


def test_beside_the_unmodified_client(own_server, tmp_path, monkeypatch):
    server = own_server("--no-native-api")
    simulations = {str(at): scenes.slab(rate=scenes.RATE * (2 + at / 10)) for at in range(MEMBERS)}
    files = []
    for key, simulation in simulations.items():
        files.append(tmp_path / f"{key}.hdf5.gz")
        simulation.to_file(str(files[-1]))
    ours = run(server, tmp_path, files)

    requests = 0
    put = http.client.HTTPConnection.putrequest

    def counted(self, *arguments, **options):
        nonlocal requests
        requests += 1
        return put(self, *arguments, **options)

    monkeypatch.setattr(http.client.HTTPConnection, "putrequest", counted)
    with pointed_at(server, monkeypatch):
        begun = time.monotonic()
        data = web.Batch(simulations=simulations, verbose=False, folder_name="beside").run(
            path_dir=str(tmp_path / "theirs")
        )
        results = {key: data[key] for key in simulations}
        theirs = time.monotonic() - begun
    for member in ours["members"]:
        path = member["result"]["file"]
        loaded = td.HeatChargeSimulationData.from_file(path)
        assert loaded.simulation == simulations[member["key"]]
        reference = results[member["key"]]
        difference = np.abs(
            np.asarray(loaded["plane"].temperature.values) - np.asarray(reference["plane"].temperature.values)
        )
        assert difference.max() < TOLERANCE
    print(
        f"\n{MEMBERS} heat tasks: ours {ours['requests'] / MEMBERS:.1f} requests a task, {ours['seconds']:.2f} s;"
        f" unmodified client {requests / MEMBERS:.1f}, {theirs:.2f} s"
    )
    assert ours["requests"] < requests / 2
    assert ours["seconds"] < theirs
