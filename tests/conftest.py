"""One server for the session; the unmodified client is pointed at it by environment variables alone.

With ``WAVETASK_DROP_IN=1`` the same tests run with `wavetask.web` in the place of `tidy3d.web`, as scripts would after
changing one line.
"""

from __future__ import annotations

import os
import pathlib
import signal
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from harness import BINARY, Server

# A shell that runs the tests in the background has them ignore Ctrl-C, and so would all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

DROP_IN = os.environ.get("WAVETASK_DROP_IN", "") not in ("", "0")

NOT_IN_PLACE = {
    "test_parent_task_is_reused": "the mesh of a heat simulation is made with it: parent_tasks is ignored",
    "test_callback_at_the_end": "callback_url is refused by name",
    "test_local_cache_of_the_client": "a process of its own, with the client's own web module",
    "test_several_processes": "processes of their own, with the client's own web module",
    "test_configured_by_the_clients_own_command": "a process of its own, with the client's own web module",
    "test_the_clients_diagnostics_find_nothing_wrong": "the client's own function, on its own configuration",
}
"""Tests of the client's own ways, and why they say nothing about `wavetask.web`."""

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
    if DROP_IN:
        os.environ["WAVETASK_URL"] = _server.url
        os.environ["WAVETASK_KEY"] = _server.variables()["SIMCLOUD_APIKEY"]
        os.environ["WAVETASK_DATA"] = str(pathlib.Path(_folder.name) / "wavetask")
        _put_in_place()


def _put_in_place() -> None:
    """`tidy3d.web` shows the functions and classes of `wavetask.web`."""
    import tidy3d.web
    import wavetask.web

    for name in wavetask.web.__all__:
        setattr(tidy3d.web, name, getattr(wavetask.web, name))


def pytest_collection_modifyitems(items):
    for item in items if DROP_IN else ():
        reason = NOT_IN_PLACE.get(item.originalname)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


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
