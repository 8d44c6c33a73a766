"""kill -9 of the server, of workers and of solvers, at random moments: nothing lost, nothing twice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time

import numpy as np
import pytest
from driver import Driver, packed
from harness import Server, wait_until
from scenes import slab

TASKS = 30
KILLS = 20
OPTIONS = ("--lease-seconds", "2")


def scene(number: int):
    return slab(rate=(number + 1) * 1e-6, mesh_size=0.005)


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    return [packed(scene(number), folder) for number in range(TASKS)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, contents):
    server = Server(tmp_path_factory.mktemp("undisturbed") / "data").start()
    try:
        driver = Driver(server)
        started = time.monotonic()
        tasks = run_batch(driver, contents)
        wait_for_all(driver, tasks)
        seconds = time.monotonic() - started
        print(f"undisturbed: {TASKS} tasks in {seconds:.1f} s")
        return [driver.temperatures(task) for task in tasks], seconds
    finally:
        server.stop()


def run_batch(driver: Driver, contents) -> list[str]:
    folder = driver.folder()
    return [driver.start(folder, f"task {number}", content) for number, content in enumerate(contents)]


def wait_for_all(driver: Driver, tasks: list[str], within: float = 300) -> None:
    ends = {"success", "error", "errored", "run_error", "diverged", "aborted", "validate_error"}
    for task in tasks:
        wait_until(lambda task=task: driver.detail(task)["status"] in ends, within, f"{task} ends")


def check(driver: Driver, tasks: list[str], undisturbed) -> None:
    for number, task in enumerate(tasks):
        detail = driver.detail(task)
        assert detail["status"] == "success", f"task {number}: {detail}"
        arrays = driver.temperatures(task)
        assert arrays.keys() == undisturbed[number].keys()
        for path, values in arrays.items():
            if values.dtype.kind == "f":
                np.testing.assert_allclose(values, undisturbed[number][path], rtol=1e-9, err_msg=path)
            else:
                np.testing.assert_array_equal(values, undisturbed[number][path], err_msg=path)
    published = driver.entered()
    assert {task: published.get(task, 0) for task in tasks} == dict.fromkeys(tasks, 1), (
        "each result is published once"
    )


def disturbed_run(server: Server, contents, kill, seed: int, seconds: float) -> tuple[Driver, list[str]]:
    """Runs the batch, which undisturbed takes `seconds`, while `kill` strikes `KILLS` times at random moments.

    The kills come at a pace that would fit into half of the undisturbed run; every kill makes it longer.
    """
    pause = seconds / KILLS
    driver = Driver(server)
    dice = random.Random(seed)
    tasks: list[str] = []
    failure: list[BaseException] = []

    def work():
        try:
            tasks.extend(run_batch(driver, contents))
            wait_for_all(driver, tasks)
        except BaseException as error:
            failure.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    struck = 0
    while struck < KILLS and worker.is_alive():
        time.sleep(dice.uniform(0, pause))
        if not worker.is_alive():
            break
        struck += bool(kill(dice))
    worker.join(400)
    assert not failure, failure
    assert not worker.is_alive()
    assert struck == KILLS, f"the batch was over after {struck} kills: make the tasks slower"
    return driver, tasks


def test_kill_the_server(own_server, contents, undisturbed):
    server = own_server(*OPTIONS)

    def kill(dice):
        server.restart()
        return True

    results, seconds = undisturbed
    check(*disturbed_run(server, contents, kill, seed=1, seconds=seconds), results)


def kill_one_of(pick):
    def kill(dice):
        victims = pick()
        if not victims:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(dice.choice(victims), signal.SIGKILL)
        return True

    return kill


def test_kill_workers(own_server, contents, undisturbed):
    server = own_server(*OPTIONS)
    results, seconds = undisturbed
    check(*disturbed_run(server, contents, kill_one_of(server.workers), seed=2, seconds=seconds), results)


def test_kill_solvers(own_server, contents, undisturbed):
    server = own_server(*OPTIONS)
    results, seconds = undisturbed
    check(*disturbed_run(server, contents, kill_one_of(server.solvers), seed=3, seconds=seconds), results)
