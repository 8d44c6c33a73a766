"""One server for the session; the unmodified client is pointed at it by environment variables alone."""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from harness import BINARY, Server

_server: Server | None = None
_folder: tempfile.TemporaryDirectory | None = None


def pytest_configure(config):
    # Before any test module imports tidy3d: the client reads its configuration when it is imported.
    global _server, _folder
    if config.option.collectonly or config.option.help:
        return
    if not BINARY.exists():
        pytest.exit(f"{BINARY} does not exist: run `make setup` first", returncode=3)
    _folder = tempfile.TemporaryDirectory(prefix="wavetask-test-")
    os.environ["TIDY3D_BASE_DIR"] = str(pathlib.Path(_folder.name) / "client")
    os.environ["TIDY3D_LOCAL_CACHE__ENABLED"] = "false"
    _server = Server(pathlib.Path(_folder.name) / "data", "--allow-private-callbacks").start()
    os.environ.update(_server.variables())


def pytest_unconfigure(config):
    if _server is not None:
        _server.stop()
        _folder.cleanup()


@pytest.fixture(scope="session")
def server() -> Server:
    return _server


@pytest.fixture
def own_server(tmp_path):
    """Makes servers with data folders of their own; all are stopped at the end."""
    made: list[Server] = []

    def make(*options: str, **settings) -> Server:
        made.append(Server(tmp_path / f"data-{len(made)}", *options, **settings).start())
        return made[-1]

    yield make
    for server in made:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    """The client writes some files into the current folder."""
    monkeypatch.chdir(tmp_path)
