"""Settings of the engine's tests: each test's client has a data folder of its own, so that no journal is shared."""

from __future__ import annotations

import pytest
from wire import Wire


@pytest.fixture
def connected(server, tmp_path, monkeypatch):
    """`wavetask`, connected to the session's server, with a journal of its own."""
    import wavetask

    monkeypatch.setenv("WAVETASK_DATA", str(tmp_path / "client"))
    wavetask.connect(server.url, server.variables()["SIMCLOUD_APIKEY"], data=tmp_path / "client")
    return wavetask


@pytest.fixture
def wire(server):
    """A wire to the session's server that counts what passes."""
    wire = Wire(server.port)
    yield wire
    wire.close()


@pytest.fixture
def over_the_wire(server, wire, tmp_path, monkeypatch):
    """`wavetask`, connected over the wire, with a journal of its own."""
    import wavetask

    monkeypatch.setenv("WAVETASK_DATA", str(tmp_path / "client"))
    wavetask.connect(wire.url, server.variables()["SIMCLOUD_APIKEY"], data=tmp_path / "client")
    return wavetask
