"""The command line and the worker around real tasks: listing, watching, logs, abort, delete, limits."""

from __future__ import annotations

import concurrent.futures
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest
import scenes
from driver import Driver, packed
from harness import BINARY, wait_until

SLOW_CELLS = 6_000_000


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return packed(scenes.slab(), tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    return packed(scenes.slow(SLOW_CELLS), tmp_path_factory.mktemp("slow"))


def running(server, task: str) -> int:
    """Waits for the task's solver, and returns its process id."""
    wait_until(lambda: server.solvers(), 30, f"{task} runs")
    return server.solvers()[0]


def gone(process: int) -> bool:
    try:
        return ") Z " in pathlib.Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return True


def listed(server, *options: str) -> dict[str, dict]:
    return {task["task"]: task for task in json.loads(server.command("ls", "--json", *options))["tasks"]}


def percent(server, task: str) -> float:
    return (listed(server)[task]["progress"] or {"percent": 0})["percent"]


def test_list_watch_logs_and_delete(own_server, small):
    server = own_server()
    driver = Driver(server)
    folder = driver.folder("first-folder")
    task = driver.start(folder, "a name", small)
    watched = server.command("watch", task)
    assert watched.splitlines()[-1] == "1 success"
    assert "a name" in server.command("ls")
    assert list(listed(server)) == [task]
    assert listed(server, "--state", "success", "--folder", "first-folder").keys() == {task}
    assert listed(server, "--state", "running") == {}
    assert listed(server, "--folder", "another") == {}
    log = server.command("logs", task.removeprefix("task-")[:20])
    assert "unknowns" in log and "done in" in log
    assert server.command("logs", "--follow", task) == log
    assert "deleted" in server.command("rm", task)
    assert listed(server) == {}
    assert server.command("logs", task, check=False) == ""


def test_more_tasks_than_an_answer_holds_are_listed(own_server):
    server = own_server()
    driver = Driver(server)
    folder = driver.folder()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        made = set(pool.map(lambda number: driver.create(folder, f"n {number}"), range(1_203)))
    assert len(made) == 1_203
    assert set(listed(server, "--all")) == made
    for limit in (1_000, 1_100, 1_203, 5_000):
        answer = json.loads(server.command("ls", "--json", "--limit", str(limit)))
        ids = [task["task"] for task in answer["tasks"]]
        assert len(set(ids)) == len(ids) == min(limit, 1_203) and set(ids) <= made
        assert answer["more"] == (limit < 1_203)
        times = [task["created_milliseconds"] for task in answer["tasks"]]
        assert times == sorted(times, reverse=True), "the newest first"
    few = server.command("ls").splitlines()
    assert len(few) == 52 and "--all" in few[-1]
    assert len(server.command("ls", "--all", "--name", "n 1").splitlines()) == 1 + 1 + 10 + 100 + 203


def test_cancel_kills_the_solver_within_a_second(own_server, small, slow):
    server = own_server()
    driver = Driver(server)
    folder = driver.folder()
    task = driver.start(folder, "slow", slow)
    process = running(server, task)
    wait_until(lambda: percent(server, task) > 0, 60, "progress is shown")
    asked = time.monotonic()
    server.command("cancel", task)
    wait_until(lambda: gone(process), 5, "the solver is gone", every=0.01)
    took = time.monotonic() - asked
    assert took < 1.5, f"{took:.2f} s"
    wait_until(lambda: listed(server)[task]["state"] == "aborted", 5, "the task is aborted")
    # The worker took no harm.
    assert server.command("watch", driver.start(folder, "next", small)).endswith("1 success\n")
    watched = subprocess.run(
        [str(BINARY), "watch", task, "--data", str(server.data)], capture_output=True, text=True
    )
    assert (watched.returncode, watched.stdout.splitlines()[-1]) == (1, "1 aborted")


def test_a_killed_solver_is_tried_again(own_server, slow):
    server = own_server()
    driver = Driver(server)
    task = driver.start(driver.folder(), "slow", slow)
    os.kill(running(server, task), signal.SIGKILL)
    wait_until(lambda: listed(server)[task]["attempts"] == 2, 20, "the second attempt")
    assert "killed from outside" in server.command("logs", task)
    server.command("cancel", task)
    wait_until(lambda: listed(server)[task]["state"] == "aborted", 5, "the task is aborted")


def test_the_solver_has_limits_and_gives_way(own_server, slow):
    server = own_server()
    driver = Driver(server)
    task = driver.start(driver.folder(), "slow", slow)
    process = pathlib.Path(f"/proc/{running(server, task)}")
    limits = (process / "limits").read_text()
    assert re.search(r"Max core file size\s+0\s", limits)
    assert not re.search(r"Max address space\s+unlimited", limits)
    assert int((process / "oom_score_adj").read_text()) == 500
    nice = int((process / "stat").read_text().rpartition(")")[2].split()[16])
    assert nice >= 5
    assert server.variables()["SIMCLOUD_APIKEY"] not in (process / "environ").read_text()
    server.command("rm", task)
    wait_until(lambda: gone(int(process.name)), 5, "a deleted task's solver is gone")


def test_a_task_too_large_for_the_worker_is_refused_with_numbers(own_server, slow):
    server = own_server("--memory", "300MiB")
    driver = Driver(server)
    folder = driver.folder()
    task = driver.create(folder, "large")
    driver.upload(task, slow)
    driver.validate(task)
    driver.submit(task)
    wait_until(lambda: listed(server)[task]["state"] == "error", 20, "the task ends")
    error = listed(server)[task]["error"]
    assert error["kind"] == "resources", error
    assert re.search(r"\d+(\.\d+)? ?[MG]i?B", error["message"]), error


def test_stopping_gives_the_task_back_and_the_next_start_runs_it(own_server, slow):
    server = own_server()
    driver = Driver(server)
    task = driver.start(driver.folder(), "slow", slow)
    process = running(server, task)
    stopping = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - stopping < 10
    assert gone(process)
    server.start()
    running(server, task)
    assert listed(server)[task]["attempts"] <= 2
    server.command("cancel", task)


def test_work_folders_are_clean_afterwards(own_server, small):
    server = own_server()
    driver = Driver(server)
    folder = driver.folder()
    for number in range(3):
        task = driver.start(folder, f"task {number}", small)
        server.command("watch", task)
    work = server.data / "work"
    wait_until(lambda: not any(path.is_dir() for path in work.iterdir()), 5, "the folders are removed")


def solve(tmp_path, simulation, kilobytes: int, memory: int = 8 << 30):
    """Runs a solver process by itself, in so much address space."""
    source, target = tmp_path / "input.hdf5", tmp_path / "result.hdf5"
    simulation.to_hdf5(str(source))
    words = f"'{BINARY}' solve --kind HEAT_CHARGE --input '{source}' --output '{target}' --threads 1"
    script = f"ulimit -c 0; ulimit -v {kilobytes}; exec {words} --memory {memory}"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True), target


def test_want_of_memory_ends_a_solver_with_the_words_that_the_worker_knows(tmp_path):
    # The worker takes an abort with these words on standard error for want of memory.
    ended, target = solve(tmp_path, scenes.slow(), kilobytes=200_000)
    assert ended.returncode == -signal.SIGABRT
    assert "memory allocation of" in ended.stderr
    assert not target.exists()


def test_a_solver_reports_what_it_cannot_do_and_leaves_no_result(tmp_path):
    ended, target = solve(tmp_path, scenes.slow(), kilobytes=8 << 20, memory=50 << 20)
    last = json.loads(ended.stdout.splitlines()[-1])
    assert (ended.returncode, last["is"], last["error"]["kind"]) == (3, "failed", "resources")
    assert not target.exists()
