"""What the user lets the engine take of the line and of the memory, by argument, environment and configuration file."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest
from harness import wait_until
from scenes import heated, noise, slab
from wire import Wire

CHILD = pathlib.Path(__file__).with_name("generator_child.py")
RATE = 2_500_000
MEGABYTES = 6.0


@pytest.fixture
def wire(server):
    wires = []

    def make(rate: float | None = None) -> Wire:
        wires.append(Wire(server.port, rate))
        return wires[-1]

    yield make
    for wire in wires:
        wire.close()


@pytest.fixture(params=["argument", "environment", "file"])
def limit(request, tmp_path, monkeypatch):
    """The limit, set in one of three ways: what is left to give to `connect`."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    if request.param == "argument":
        # Nearer than the environment, which would allow a hundredth.
        monkeypatch.setenv("WAVETASK_BANDWIDTH", "25 kB/s")
        return {"bandwidth": RATE}
    if request.param == "environment":
        monkeypatch.setenv("WAVETASK_BANDWIDTH", "20 Mbit/s")
        return {}
    file = tmp_path / "configuration" / "wavetask" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('bandwidth = "2.5 MB/s"\nmemory = "1 GB"\n')
    return {}


def test_bandwidth_is_kept_to_in_both_directions(connected, server, wire, limit, request, tmp_path):
    key = server.variables()["SIMCLOUD_APIKEY"]
    values = noise(MEGABYTES, seed=len(request.node.name))
    name = request.node.name

    up = wire()
    connected.connect(up.url, key, data=tmp_path / "one", **limit)
    began = time.monotonic()
    batch = connected.submit({"it": heated(values)}, name=name, progress=False)
    wait_until(lambda: up.sent >= 0.95 * values.nbytes, 60, "the array has been sent", every=0.01)
    rate = up.sent / (time.monotonic() - began)
    assert 0.4 * RATE < rate < 1.15 * RATE, f"{rate / 1e6:.2f} MB/s sent"
    batch.wait()

    # From another folder, where nothing of it is known, everything has to be fetched.
    down = wire()
    other = connected.connect(down.url, key, data=tmp_path / "two", **limit)
    task = other.open(name)["it"]
    began = time.monotonic()
    data = task.result()
    elapsed = time.monotonic() - began
    assert data.simulation.sources[0].rate.nbytes == values.nbytes
    assert down.received > 0.9 * values.nbytes
    assert 0.4 * RATE < down.received / elapsed < 1.15 * RATE, f"{down.received / elapsed / 1e6:.2f} MB/s"


def test_a_limit_that_is_none_is_refused_by_its_name(connected, server, tmp_path, monkeypatch):
    key = server.variables()["SIMCLOUD_APIKEY"]
    usage = connected.errors.Usage
    for limits, source in (
        ({"bandwidth": "fast"}, "bandwidth"),
        ({"bandwidth": float("nan")}, "bandwidth"),
        ({"memory": "12 parsecs"}, "memory"),
        ({"memory": 10}, "memory"),
        ({"memory": -1}, "memory"),
    ):
        with pytest.raises(usage, match=source):
            connected.connect(server.url, key, data=tmp_path / "limits", **limits)
    monkeypatch.setenv("WAVETASK_MEMORY", "plenty")
    with pytest.raises(usage, match="WAVETASK_MEMORY"):
        connected.connect(f"{server.url}/", key, data=tmp_path / "limits", bandwidth="1 MB/s")


def test_another_data_folder_is_another_connection(connected, server, tmp_path):
    key = server.variables()["SIMCLOUD_APIKEY"]
    one = connected.connect(server.url, key, data=tmp_path / "one")
    assert connected.connect(server.url, key, data=str(tmp_path / "one")) is one
    assert connected.connect(server.url, key) is one, "what is not given stays as it is"
    other = connected.connect(server.url, key, data=tmp_path / "other")
    assert other is not one
    assert connected.connect(server.url, key) is other
    for client, folder in ((one, "one"), (other, "other")):
        client.submit(slab(), name=f"from {folder} {time.monotonic_ns()}", progress=False).result(timeout=60)
        assert (tmp_path / folder / "client" / "journal.db").stat().st_size > 0


def test_connecting_again_keeps_the_limits_unless_others_are_given(connected, server, wire, tmp_path):
    key = server.variables()["SIMCLOUD_APIKEY"]
    line = wire()
    limited = connected.connect(line.url, key, data=tmp_path / "again", bandwidth="3 MB/s", memory="1 GB")
    assert connected.connect(line.url, key, data=tmp_path / "again") is limited
    assert connected.connect(line.url, key, data=tmp_path / "again", bandwidth="3 MB/s") is limited
    assert connected.connect(line.url, key, data=tmp_path / "again", bandwidth="4 MB/s") is not limited


def test_a_generator_is_asked_for_what_fits_and_no_more(server, wire, tmp_path):
    """40 times 5 MB over a line of 3 MB/s, with 20 MB of memory, half of which is for what waits to be sent.

    What has been sent is never less than what the engine knows to have arrived and lets go of: that the generator
    is no further ahead does not hang on how fast anything is.
    """
    count, size = 40, noise(5.0, 0).nbytes
    line = wire(rate=3e6)
    environment = {
        **os.environ,
        "WAVETASK_URL": line.url,
        "WAVETASK_KEY": server.variables()["SIMCLOUD_APIKEY"],
        "WAVETASK_DATA": str(tmp_path / "client"),
    }
    errors = tmp_path / "errors"
    with errors.open("w") as heard:
        script = subprocess.Popen(
            [sys.executable, str(CHILD), str(count), "5", "20 MB"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=heard,
            text=True,
        )
    drawn, said = [], {}
    with script:
        try:
            for text in script.stdout:
                if text.startswith("{"):
                    said = json.loads(text)
                else:
                    drawn.append((int(text), line.sent))
        finally:
            script.kill()
    assert [number for number, _ in drawn] == list(range(1, count + 1)), errors.read_text()
    assert said.get("ended") == count, errors.read_text()
    # A little less is sent than there is: noise between two bounds has bits that are the same in all numbers.
    assert 0.8 * count * size < line.sent < 1.05 * count * size
    ahead = [number - sent * count / line.sent for number, sent in drawn]
    assert max(ahead) <= 5.0, [f"{value:.1f}" for value in ahead]
    assert said["grown"] < 100e6, (
        f"{said['grown'] / 1e6:.0f} MB more in memory for {count * size / 1e6:.0f} MB"
    )
