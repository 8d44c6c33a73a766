"""How failures reach the user: each as the class that says what to do next, and none of them beyond its own task."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request

import h5py
import pytest
from harness import BINARY, wait_until
from scenes import centre_rise, expected_rise, slab, slow, unsolvable, with_arrays
from wire import Wire


def test_what_only_the_solver_can_refuse_fails_alone(connected):
    scan = {"good": slab(rate=2.71e-6), "cold": unsolvable(), "better": slab(rate=2.72e-6)}
    batch = connected.submit(scan, cache=False, progress=False)
    results = batch.results(return_exceptions=True)
    assert centre_rise(results["good"]) == pytest.approx(expected_rise(2.71e-6), rel=2e-2)
    assert centre_rise(results["better"]) == pytest.approx(expected_rise(2.72e-6), rel=2e-2)
    error = results["cold"]
    assert isinstance(error, connected.errors.InvalidSimulation), error
    assert error.task is batch["cold"] and "steady temperature is not defined" in str(error)
    assert batch["cold"].info.attempts == 1, "it has been at the solver"


def test_what_the_solver_finds_no_solution_for_fails_alone(connected, own_server, tmp_path):
    server = own_server("--no-worker")
    connected.connect(server.url, server.variables()["SIMCLOUD_APIKEY"])
    worker = Worker(server)
    scan = {"hard": slab(rate=2.76e-6), "easy": slab(rate=2.77e-6)}
    batch = connected.submit(scan, progress=False)
    wait_until(lambda: all(task.id for task in batch.tasks), 60, "the server has named both")
    for _ in scan:
        assignment = worker.lease()
        if assignment["task"] == batch["hard"].id:
            worker.fail(assignment, "solver", "heat.not_converged", "no solution after 500 iterations")
        else:
            worker.solve(assignment, tmp_path, diverged=False)
    error = batch["hard"].exception(timeout=60)
    assert isinstance(error, connected.errors.SolverFailed), error
    assert error.task is batch["hard"] and error.code == "heat.not_converged" and "500" in str(error)
    assert centre_rise(batch["easy"].result(timeout=60)) == pytest.approx(expected_rise(2.77e-6), rel=2e-2)
    with pytest.raises(connected.errors.SolverFailed):
        batch.results()


def test_a_solver_that_dies_at_each_attempt_fails_its_task_alone(connected, own_server):
    server = own_server()
    connected.connect(server.url, server.variables()["SIMCLOUD_APIKEY"])
    doomed = connected.submit(slow(), name="doomed", cache=False, progress=False)
    killed = 0
    while not doomed.done():
        for process in server.solvers():
            line = dict(server.descendants()).get(process, "")
            if "solve-several" in line:
                continue
            try:
                os.kill(process, signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                pass
        wait_until(lambda: doomed.done() or server.solvers(), 60, "another attempt, or the end")
    assert killed >= 2, "it is tried again before it is given up"
    error = doomed.exception()
    assert isinstance(error, connected.errors.Infrastructure), error
    assert error.task is doomed and "killed" in str(error)
    # One that is dying may be killed once more.
    assert 2 <= doomed.info.attempts <= killed
    # The next one is none the worse for it.
    assert centre_rise(connected.submit(slab(rate=2.73e-6), progress=False).result()) > 0


def limited(server, tmp_path, *quota: str):
    """`wavetask`, connected with a key that may use no more than this."""
    import wavetask

    secret = json.loads(server.command("key", "add", "limited", "--json"))["secret"]
    server.command("key", "quota", "limited", *quota)
    wavetask.connect(server.url, secret, data=tmp_path / "limited")
    return wavetask


def test_what_is_more_than_the_key_may_have_is_refused_until_there_is_room(own_server, tmp_path):
    wt = limited(own_server(), tmp_path, "--tasks", "2")
    scan = {str(n): slab(rate=2.9e-6 + n * 1e-8) for n in range(3)}
    batch = wt.submit(scan, name="too many", progress=False)
    results = batch.results(return_exceptions=True, timeout=120)
    refused = [key for key, result in results.items() if isinstance(result, Exception)]
    assert len(refused) == 1
    error = results[refused[0]]
    assert isinstance(error, wt.errors.ServerBusy) and error.code == "quota.tasks", error
    assert error.task is batch[refused[0]] and "wavetask rm" in error.hint
    # Room is made, and the same script goes on.
    next(task for task in batch.tasks if task.key not in refused).delete()
    again = wt.submit({refused[0]: scan[refused[0]]}, name="fits now", progress=False)
    assert centre_rise(again.results(timeout=120)[refused[0]]) > 0


def test_bytes_beyond_the_quota_fail_alone(own_server, tmp_path):
    wt = limited(own_server(), tmp_path, "--bytes", "4MB")
    batch = wt.submit(
        {"small": slab(rate=2.94e-6), **with_arrays(1, 8.0, seed=94)}, name="large", progress=False
    )
    results = batch.results(return_exceptions=True, timeout=120)
    assert centre_rise(results.pop("small")) > 0
    [error] = results.values()
    assert isinstance(error, wt.errors.ServerBusy) and error.code == "quota.bytes", error
    assert "quota" in error.hint


class Worker:
    """A worker of the test's own: it leases tasks, and hands over what the solver made, or what it likes."""

    def __init__(self, server):
        self.server = server
        self.key = (server.data / "worker.key").read_text().strip()

    def ask(self, method: str, path: str, body: bytes | None, kind: str = "application/json") -> bytes:
        headers = {"authorization": f"Bearer {self.key}", "content-type": kind}
        url = f"{self.server.url}/api/v1/worker/{path}"
        request = urllib.request.Request(url, data=body, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def lease(self) -> dict:
        wanted = {
            "worker": "worker-of-the-test",
            "free_memory_bytes": 8 << 30,
            "idle": True,
            "total_memory_bytes": 8 << 30,
            "wait_milliseconds": 20_000,
        }
        assignment = json.loads(self.ask("POST", "lease", json.dumps(wanted).encode()))["assignment"]
        assert assignment, "there is something to do"
        return assignment

    def fail(self, assignment: dict, kind: str, code: str, message: str) -> None:
        """Reports that there is no result."""
        error = {"kind": kind, "code": code, "message": message}
        failure = {"outcome": "failed", "error": error, "log_lines": [message], "first_log_line": 0}
        self.ask("POST", f"leases/{assignment['lease']}/failure", json.dumps(failure).encode())

    def solve(self, assignment: dict, folder, diverged: bool) -> None:
        """Hands over the real solver's result, called diverged or not."""
        source, target = folder / "input.hdf5", folder / "result.hdf5"
        source.write_bytes(self.ask("GET", f"leases/{assignment['lease']}/input", None))
        words = ["--kind", assignment["kind"], "--input", source, "--output", target]
        subprocess.run(
            [BINARY, "solve", *words, "--threads", "1", "--memory", str(4 << 30)],
            check=True,
            capture_output=True,
        )
        with h5py.File(target, "r+") as file:
            text = file["JSON_STRING"][()].decode()
            assert '"diverged":false' in text
            del file["JSON_STRING"]
            word = "true" if diverged else "false"
            file["JSON_STRING"] = text.replace('"diverged":false', f'"diverged":{word}')
        self.ask("PUT", f"leases/{assignment['lease']}/result", target.read_bytes(), "application/x-hdf5")
        target.unlink()


def test_what_diverged_is_told_and_can_be_looked_at(connected, own_server, tmp_path):
    server = own_server("--no-worker")
    connected.connect(server.url, server.variables()["SIMCLOUD_APIKEY"])
    worker = Worker(server)
    task = connected.submit(slab(rate=2.74e-6), name="diverges", progress=False)
    worker.solve(worker.lease(), tmp_path, diverged=True)
    error = task.exception(timeout=30)
    assert isinstance(error, connected.errors.Diverged) and isinstance(error, ArithmeticError)
    assert error.task is task and error.code == "task.diverged" and "document" in error.hint
    with pytest.raises(connected.errors.Diverged):
        task.result()
    # What there is of it can be had, as arrays and as a file.
    document = task.document()
    assert document.diverged
    assert any("temperature" in path or "values" in path for path in document.paths()), document.paths()
    task.save(tmp_path / "diverged.hdf5")
    with h5py.File(tmp_path / "diverged.hdf5") as file:
        assert json.loads(file["JSON_STRING"][()])["data"]
    # It is no known result: the same again is solved, not answered with what diverged.
    again = connected.submit(slab(rate=2.74e-6), name="does not", progress=False)
    assert again is not task
    worker.solve(worker.lease(), tmp_path, diverged=False)
    assert centre_rise(again.result(timeout=30)) == pytest.approx(expected_rise(2.74e-6), rel=2e-2)


@pytest.mark.parametrize("times", [2, None])
def test_a_result_that_is_damaged_on_the_way_is_fetched_again_or_fails_alone(connected, server, times):
    """Bits are flipped in every answer that has this result, or in the first few of them."""
    wire = Wire(server.port)
    base = 2.75e-6 if times else 2.85e-6
    connected.connect(wire.url, server.variables()["SIMCLOUD_APIKEY"])
    scan = {str(n): slab(rate=base + n * 1e-8) for n in range(4)}
    batch = connected.submit(scan, hold=True, progress=False)
    wait_until(lambda: all(task.status == "held" for task in batch.tasks), 60, "all are there")
    head = f'"task":"{batch["2"].id}","outcome":{{"document"'.encode()
    damaged = 0

    def damage(piece: memoryview) -> None:
        nonlocal damaged
        at = bytes(piece).find(head)
        if at >= 0 and (times is None or damaged < times):
            damaged += 1
            piece[at + len(head) + 20] ^= 0x10

    wire.damage = damage
    for task in batch.tasks:
        task.start()
    results = batch.results(return_exceptions=True)
    assert damaged >= (times or 2)
    for key, data in results.items():
        if key == "2" and times is None:
            assert isinstance(data, connected.errors.DataCorrupted), data
            assert data.task is batch["2"]
        else:
            assert centre_rise(data) == pytest.approx(expected_rise(base + int(key) * 1e-8), rel=2e-2)
    # The line is good again: what was not to be had is there.
    wire.damage = None
    if times is None:
        opened = connected.open(batch["2"].id)
        assert centre_rise(opened.result()) == pytest.approx(expected_rise(base + 2e-8), rel=2e-2)
    wire.close()
