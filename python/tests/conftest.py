"""A server for the tests that need one, started when the first of them comes."""

from __future__ import annotations

import os
import pathlib
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests"))

os.environ.setdefault("WAVETASK_PROGRESS", "off")

# A shell that runs the tests in the background has them ignore Ctrl-C, and so would all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A server of the session's own, which the environment names."""
    import harness

    if not harness.BINARY.exists():
        pytest.exit(f"{harness.BINARY} does not exist: run `make setup` first", returncode=3)
    folder = tmp_path_factory.mktemp("wavetask")
    running = harness.Server(folder / "data").start()
    settings = {
        "TIDY3D_BASE_DIR": str(folder / "client"),
        "WAVETASK_DATA": str(folder / "client-data"),
        "WAVETASK_KEY": running.variables()["SIMCLOUD_APIKEY"],
        "WAVETASK_URL": running.url,
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    yield running
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    assert running.stop() == 0
