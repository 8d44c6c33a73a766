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


@pytest.fixture
def web(client, monkeypatch):
    """`wavetask.web` on that server."""
    import wavetask.web
    from wavetask import _client

    monkeypatch.setattr(_client, "_current", client)
    monkeypatch.setattr(_client, "_where", client._where)
    return wavetask.web


def test_many_tasks_are_asked_about_one_by_one(plain, web, capsys):
    from test_web_door import created
    from wavetask.web import _door

    ids = {name: created(plain) for name in ("a", "b", "c")}
    details = _door.many("detail", ids)
    assert {name: detail["taskId"] for name, detail in details.items()} == ids
    assert details == {name: _door.detail(task_id) for name, task_id in ids.items()}
    progress = _door.many("progress", ids)
    assert progress == dict.fromkeys(ids, _door.one("progress", ids["a"]))
    assert "not found" not in capsys.readouterr().out, "that the server offers no more is no news to anybody"


def test_questions_by_id_are_answered(web, tmp_path):
    import tidy3d as td
    import wavetask as wt
    from handles_cases import rise, slab
    from tidy3d.exceptions import WebError

    known = web.upload(slab(31), "asked", verbose=False)
    info = web.get_info(known)
    assert (info.taskId, info.taskName, info.status, info.taskType) == (
        known,
        "asked",
        "draft",
        "HEAT_CHARGE",
    )
    assert web.get_run_info(known) == (None, None)
    assert web.estimate_cost(known, verbose=False) > 0 and web.real_cost(known, verbose=False) is None
    web.start(known)
    assert rise(wt.open(known).result(timeout=120)) > 0
    assert web.get_info(known).status == "success"
    assert web.get_run_info(known)[0] == 100
    assert web.real_cost(known, verbose=False) > 0
    web.download_log(known, tmp_path / "log.txt", verbose=False)
    assert "unknowns" in (tmp_path / "log.txt").read_text()
    assert web.load_simulation(known, tmp_path / "simulation.hdf5", verbose=False) == slab(31)
    web.download_json(known, tmp_path / "simulation.json", verbose=False)
    assert td.HeatChargeSimulation.from_file(str(tmp_path / "simulation.json")) == slab(31)
    web.download(known, tmp_path / "result.hdf5", verbose=False)
    data = web.load(known, tmp_path / "loaded.hdf5", verbose=False)
    assert rise(data) == rise(td.HeatChargeSimulationData.from_file(str(tmp_path / "result.hdf5"))) > 0

    stopped = web.upload(slab(32), "stopped", verbose=False)
    assert web.abort(stopped).status == "aborted"

    assert web.delete(known).taskName == "asked"
    for ask in (web.get_info, web.get_run_info, web.estimate_cost, web.load_simulation, web.delete):
        with pytest.raises((WebError, ValueError)):
            ask(known)
    left = str(web.get_tasks(num_tasks=100))
    assert "stopped" in left and "asked" not in left


def test_what_was_uploaded_is_started_and_waited_for(web, tmp_path):
    from handles_cases import rise, slab

    known = web.upload(slab(36), "uploaded", verbose=False)
    web.start(known)
    web.monitor(known, verbose=False)
    job = web.Job(simulation=slab(37), task_name="a job in steps", verbose=False)
    job.upload()
    assert rise(job.run(str(tmp_path / "job.hdf5"))) > 0


def test_jobs_and_batches_ask_by_id(web, tmp_path, monkeypatch):
    from handles_cases import slab

    monkeypatch.chdir(tmp_path)
    job = web.Job(simulation=slab(33), task_name="a job", verbose=False)
    job.run("job.hdf5")
    assert job.estimate_cost(verbose=False) > 0
    assert job.get_info().taskId == job.task_id and job.status == "success"
    assert job.get_run_info()[0] == 100 and job.real_cost(verbose=False) > 0
    batch = web.Batch(simulations={"n=34": slab(34), "n=35": slab(35)}, verbose=False)
    batch.run(path_dir="batch")
    assert {name: info.taskName for name, info in batch.get_info().items()} == {
        "n=34": "n=34",
        "n=35": "n=35",
    }
    assert {run[0] for run in batch.get_run_info().values()} == {100}
    assert batch.real_cost(verbose=False) > 0 and batch.estimate_cost(verbose=False) > 0
    ids = [job.task_id for job in batch.jobs.values()]
    batch.delete()
    job.delete()
    for each in (*ids, job.task_id):
        with pytest.raises(Exception, match="not found"):
            web.get_info(each)


def test_all_tasks_are_listed(plain, client):
    from test_queries import drafts

    ids = drafts(plain, "a thousand and more", 1_005)
    assert {row["id"] for row in client.tasks(folder="a thousand and more")} == set(ids)
