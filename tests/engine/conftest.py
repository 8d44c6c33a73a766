"""Settings of the engine's tests: each test's client has a data folder of its own, so that no journal is shared."""

from __future__ import annotations

import pytest


@pytest.fixture
def connected(server, tmp_path, monkeypatch):
    """`wavetask`, connected to the session's server, with a journal of its own."""
    import wavetask

    monkeypatch.setenv("WAVETASK_DATA", str(tmp_path / "client"))
    wavetask.connect(server.url, server.variables()["SIMCLOUD_APIKEY"], data=tmp_path / "client")
    return wavetask
