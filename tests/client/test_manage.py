"""Managing: folders, listing, abort, delete, errors, callbacks, configuration."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest
import tidy3d as td
import tidy3d.web as web
from harness import wait_until
from scenes import centre_rise, expected_rise, slab, slow, solve_task, unsolvable, unsteady, unsupported

NEW_CLIENT = tuple(int(part) for part in td.__version__.split(".")[:2]) >= (2, 12)


@pytest.mark.parametrize(
    ("scene", "words"),
    [(unsteady, r"(?i)Unsteady(.|\n)*not supported"), (unsolvable, r"(?i)temperature|unique|fixes")],
    ids=["validation", "solver"],
)
def test_errors_name_what_is_wrong(tmp_path, scene, words):
    with pytest.raises(Exception, match=words):
        web.run(scene(), task_name="wrong", path=str(tmp_path / "x.hdf5"), verbose=False)


def test_unsupported_kinds_are_refused_by_name(tmp_path):
    with pytest.raises(Exception, match=r"FDTD(.|\n)*README"):
        web.run(unsupported(), task_name="fdtd", path=str(tmp_path / "x.hdf5"), verbose=False)


def test_three_bad_members_do_not_sink_a_batch(tmp_path):
    """Failures in the solver: the client warns and goes on, the others arrive."""
    good = {f"good {n}": slab(rate=n * 1e-5) for n in range(1, 5)}
    bad = {f"bad {n}": unsolvable() for n in range(3)}
    results = web.Batch(simulations={**bad, **good}, verbose=False).run(path_dir=str(tmp_path))
    for number, name in enumerate(good, start=1):
        assert centre_rise(results[name]) == pytest.approx(expected_rise(number * 1e-5), rel=5e-3)


def test_members_refused_at_validation_do_not_sink_the_others(tmp_path, server):
    """The client may stop a batch when a member is refused; what it started before is still solved."""
    good = {f"valid {n}": slab(rate=n * 1e-5) for n in range(1, 5)}
    bad = {f"refused {n}": unsteady() for n in range(3)}
    batch = web.Batch(simulations={**good, **bad}, verbose=False)
    with contextlib.suppress(Exception):
        batch.run(path_dir=str(tmp_path))
    listed = server.request("GET", "/api/v1/tasks?limit=1000")[1]["tasks"]
    of_batch = [task for task in listed if task["name"].startswith(("valid ", "refused "))]
    assert of_batch, "the batch reached the server"
    for task in of_batch:
        if task["name"].startswith("refused "):
            assert task["state"] != "success", task
        elif task["started_milliseconds"] is not None:
            wait_until(lambda task=task: state_of(server, task["task"]) == "success", 60, task["name"])
    again = web.Batch(simulations=good, verbose=False).run(path_dir=str(tmp_path / "again"))
    for number, name in enumerate(good, start=1):
        assert centre_rise(again[name]) == pytest.approx(expected_rise(number * 1e-5), rel=5e-3)


def state_of(server, task: str) -> str:
    return server.request("GET", f"/api/v1/tasks/{task}")[1]["state"]


def test_abort_within_a_second(tmp_path, server):
    solvers_before = set(server.solvers())
    job = web.Job(simulation=slow(), task_name="to be aborted", verbose=False)
    failure: list[BaseException] = []

    def run():
        try:
            job.run(path=str(tmp_path / "x.hdf5"))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    new = wait_until(lambda: set(server.solvers()) - solvers_before, 60, "a solver runs")
    time.sleep(0.3)
    task_id = running_task(server)
    started = time.monotonic()
    web.abort(task_id)
    wait_until(
        lambda: not (new & set(server.solvers())),
        1.0,
        "the solver is gone within a second of the abort",
        0.02,
    )
    wait_until(
        lambda: server.request("GET", f"/tidy3d/tasks/{task_id}/detail")[1]["data"]["status"] == "aborted",
        max(0.2, 1.5 - (time.monotonic() - started)),
        "the task shows as aborted",
        0.02,
    )
    thread.join(30)
    assert failure, "the waiting client hears of it"


def running_task(server) -> str:
    for folder in server.request("GET", "/tidy3d/projects")[1]["data"]:
        for task in server.request("GET", f"/tidy3d/projects/{folder['projectId']}/tasks")[1]["data"]:
            if task["status"] == "running":
                return task["taskId"]
    raise AssertionError("no task is running")


def test_delete(tmp_path):
    job = web.Job(simulation=slab(), task_name="to be deleted", verbose=False)
    job.run(path=str(tmp_path / "x.hdf5"))
    task_id = solve_task(job)
    web.delete(task_id)
    with pytest.raises(Exception, match=r"(?i)not found|404|unavailable"):
        web.get_info(task_id)


def test_folders_listing_and_delete_old(tmp_path):
    web.run(slab(), task_name="listed", folder_name="a folder", path=str(tmp_path / "x.hdf5"), verbose=False)
    assert web.get_tasks(folder="a folder"), "the folder lists its tasks"
    assert web.delete_old(days_old=100, folder_name="a folder") == 0


def test_callback_at_the_end(tmp_path):
    received: list[dict] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_PUT(self):
            received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    web.run(
        slab(),
        task_name="called back",
        path=str(tmp_path / "x.hdf5"),
        verbose=False,
        callback_url=f"http://127.0.0.1:{receiver.server_port}/done",
    )
    wait_until(lambda: any(body["status"] == "success" for body in received), 20, "the callback arrives")
    assert {"id", "status", "name", "workUnit", "solverVersion"} <= set(received[-1])
    receiver.shutdown()


def test_many_threads(tmp_path):
    results: dict[int, float] = {}

    def run(n: int):
        data = web.run(
            slab(rate=n * 1e-5), task_name=f"thread {n}", path=str(tmp_path / f"{n}.hdf5"), verbose=False
        )
        results[n] = centre_rise(data)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert results == {n: pytest.approx(expected_rise(n * 1e-5), rel=5e-3) for n in range(1, 9)}


SCRIPT = """
import pathlib, sys
sys.path.insert(0, {tests!r})
import tidy3d.web as web
from scenes import slab, centre_rise
data = web.run(slab(rate=float(sys.argv[1])), task_name="process", path=sys.argv[2], verbose=False)
print(centre_rise(data))
"""


def run_script(tmp_path, rate: float, environment=None) -> subprocess.Popen:
    tests = str(pathlib.Path(__file__).parents[1])
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=tests))
    return subprocess.Popen(
        [sys.executable, str(script), str(rate), str(tmp_path / f"{rate}.hdf5")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_several_processes(tmp_path):
    rates = [1e-5, 2e-5, 3e-5]
    processes = [run_script(tmp_path, rate) for rate in rates]
    for rate, process in zip(rates, processes, strict=True):
        output, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors[-2000:]
        assert float(output.split()[-1]) == pytest.approx(expected_rise(rate), rel=5e-3)


def test_configured_by_the_clients_own_command(tmp_path, server):
    """`tidy3d configure` writes a profile; afterwards no environment variable is needed."""
    variables = server.variables()
    environment = {key: value for key, value in os.environ.items() if key not in variables}
    environment |= {"TIDY3D_BASE_DIR": str(tmp_path / "configured"), "TIDY3D_LOCAL_CACHE__ENABLED": "false"}
    tidy3d = pathlib.Path(sys.executable).with_name("tidy3d")
    answer = subprocess.run(
        [
            tidy3d,
            "configure",
            "--apikey",
            variables["SIMCLOUD_APIKEY"],
            "--api-endpoint",
            server.url,
            "--website-endpoint",
            server.url,
            "--s3-endpoint",
            server.url,
            "--s3-region",
            "us-east-1",
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    process = run_script(tmp_path, 1e-5, environment)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors[-2000:]
    assert float(output.split()[-1]) == pytest.approx(expected_rise(1e-5), rel=5e-3)


@pytest.mark.skipif(not NEW_CLIENT, reason="the older client has no diagnostics")
def test_the_clients_diagnostics_find_nothing_wrong():
    report = web.diagnose_connection()
    text = str(report)
    assert report is None or "fail" not in text.lower(), text
