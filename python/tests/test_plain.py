"""The package over the plain tidy3d protocol: a server that speaks nothing else (`--no-native-api`)."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    import harness

    server = harness.Server(tmp_path_factory.mktemp("plain") / "data", "--no-native-api").start()
    assert server.native("GET", "/api/v1/status")[0] == 404, "it must have nothing else to offer"
    yield server
    assert server.stop() == 0


@pytest.fixture
def client(plain, tmp_path):
    import wavetask

    return wavetask.connect(
        plain.url, plain.variables()["SIMCLOUD_APIKEY"], data=tmp_path / "client", current=False
    )


def test_handles_do_the_same_on_a_plain_server(plain, tmp_path):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
        "WAVETASK_URL": plain.url,
        "WAVETASK_KEY": plain.variables()["SIMCLOUD_APIKEY"],
        "WAVETASK_DATA": str(tmp_path / "data"),
        "TIDY3D_BASE_DIR": str(tmp_path / "tidy3d"),
    }
    answer = subprocess.run(
        [sys.executable, str(HERE / "handles_cases.py")],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "cases passed" in answer.stdout


def test_times_are_the_servers(client):
    from handles_cases import slab

    task = client.submit(slab(21), name="timed", cache=False, progress=False)
    task.result(timeout=120)
    info = task.info
    assert info.started is not None and info.ended is not None
    took = (info.ended - info.started).total_seconds()
    assert 0 <= took < 60 and info.seconds == pytest.approx(took, abs=1e-3)


def test_what_was_held_and_cancelled_runs_when_it_is_retried(client):
    from handles_cases import slab
    from harness import wait_until

    task = client.submit(slab(22), name="held", hold=True, cache=False, progress=False)
    wait_until(lambda: task.status == "held", 60, "it is held")
    task.cancel()
    wait_until(lambda: task.status == "cancelled", 60, "it is cancelled")
    task.retry()
    assert task.result(timeout=120) is not None


def test_a_wrong_key_is_called_one(plain, tmp_path):
    import wavetask

    with pytest.raises(wavetask.errors.Unauthorized) as caught:
        wavetask.connect(plain.url, "no such key", data=tmp_path, current=False)
    assert "key" in caught.value.hint


def test_whoever_is_no_such_server_at_all_is_called_that(tmp_path):
    import http.server
    import threading

    import wavetask

    class Nothing(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nothing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(wavetask.errors.WavetaskError) as caught:
            wavetask.connect(f"http://127.0.0.1:{server.server_port}", "a key", data=tmp_path, current=False)
        assert not isinstance(caught.value, wavetask.errors.Unauthorized)
    finally:
        server.shutdown()


def test_many_tasks_are_asked_about_one_by_one(plain, monkeypatch, capsys):
    from test_web_door import created
    from wavetask.web import _door

    address = plain.url, plain.variables()["SIMCLOUD_APIKEY"]
    monkeypatch.setattr(_door, "_address", lambda: address)
    ids = {name: created(plain) for name in ("a", "b", "c")}
    details = _door.many("detail", ids)
    assert {name: detail["taskId"] for name, detail in details.items()} == ids
    assert details == {name: _door.detail(task_id) for name, task_id in ids.items()}
    progress = _door.many("progress", ids)
    assert progress == dict.fromkeys(ids, _door.one("progress", ids["a"]))
    assert "not found" not in capsys.readouterr().out, "that the server offers no more is no news to anybody"
