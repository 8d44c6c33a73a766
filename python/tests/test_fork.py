"""Handles in forked children: they reconnect by themselves, with the key of their parent, or say what to do."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

BEGINNING = """
import multiprocessing, os, sys, threading, time, warnings
warnings.simplefilter("ignore")
import wavetask as wt
from handles_cases import rise, slab
from wavetask import errors

URL, KEY, NAME = sys.argv[1:4]

def child(body):
    pid = os.fork()
    if pid == 0:
        import faulthandler
        faulthandler.dump_traceback_later(30, exit=True)
        try:
            body()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(9)
        sys.stdout.flush()
        os._exit(0)
    return pid

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

# The key is given in the program: the child finds it neither in the environment nor in a file.
wt.connect(URL, KEY)
"""


def run(server, tmp_path, code, name):
    settings = {
        key: value for key, value in os.environ.items() if key not in ("WAVETASK_URL", "WAVETASK_KEY")
    }
    settings.update(
        WAVETASK_DATA=str(tmp_path / "data"),
        PYTHONPATH=os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
    )
    key = server.variables()["SIMCLOUD_APIKEY"]
    answer = subprocess.run(
        [sys.executable, "-c", BEGINNING + code, server.url, key, name],
        env=settings,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def test_handles_of_the_parent_work_in_its_child(server, tmp_path):
    code = """
scan = wt.submit({"a": slab(1), "b": slab(2)}, name=NAME, progress=False)
single = wt.submit(slab(3), name=NAME + " single", progress=False)
held = wt.submit([slab(4)], name=NAME + " held", hold=True, cache=False, progress=False)
scan.wait(60), single.wait(60)
while held[0].status != "held": time.sleep(0.02)
kept = scan["a"].result()

def body():
    assert scan.done() and scan.status == "done" and "2 of 2 done" in repr(scan)
    assert [task.key for task in scan.as_completed(60)] and len(scan.rows()) == 2
    assert set(scan.results(timeout=60)) == {"a", "b"}
    assert rise(single.result(timeout=60)) > 0 and scan["a"].result() is kept
    assert list(wt.open(NAME)) == ["a", "b"], "the same server is the current one"
    assert [task.status for task in wt.open(NAME + " held").tasks] == ["held"], "as it is, not as it was"
    held.start()
    assert rise(held.results(timeout=60)["0"]) > 0
    assert rise(wt.submit(slab(5), progress=False).result(timeout=60)) > 0
    assert rise(scan._client.submit([slab(5)], progress=False).results(timeout=60)["0"]) > 0

assert ended(child(body)) == 0
assert rise(held.results(timeout=60)["0"]) > 0
assert rise(wt.submit(slab(6), progress=False).result(timeout=60)) > 0, "the parent's engine is as it was"
"""
    run(server, tmp_path, code, "forked handles")


def test_a_lock_that_was_held_at_the_fork_stops_nobody(server, tmp_path):
    code = """
scan = wt.submit([slab(1)], name=NAME, progress=False)
scan.wait(60)
taken, done = threading.Event(), threading.Event()
def hold():
    with scan._lock:
        taken.set()
        done.wait(60)
threading.Thread(target=hold, daemon=True).start()
taken.wait()
pid = child(lambda: scan.results(timeout=60)["0"].simulation)
assert ended(pid) == 0
done.set()
"""
    run(server, tmp_path, code, "forked lock")


def test_what_had_not_left_the_parent_is_said_and_found_later(server, tmp_path):
    code = """
go_on, told = multiprocessing.Event(), multiprocessing.Event()
def simulations():
    yield slab(1)
    go_on.wait(60)
    yield slab(2)
scan = wt.submit(simulations(), name=NAME, progress=False)
while len(scan) < 1: time.sleep(0.01)

def body():
    for touch in (scan.done, lambda: scan.results(timeout=5), scan.wait, lambda: list(scan.as_completed(5))):
        try:
            touch()
        except errors.NotFound as error:
            assert error.code == "client.forked" and "queued" in error.hint, error
        else:
            raise AssertionError("half a batch was taken for the whole")
    told.set()
    while True:
        try:
            assert list(scan.results(timeout=60)) == ["0", "1"]
            break
        except errors.NotFound:
            time.sleep(0.05)

pid = child(body)
assert told.wait(60)
go_on.set()
assert len(scan.results(timeout=60)) == 2
assert ended(pid) == 0
"""
    run(server, tmp_path, code, "forked too early")


def test_handles_in_the_pools_of_multiprocessing(server, tmp_path):
    code = """
def heat(task):
    return rise(task.result(timeout=60))

def submitted(number):
    # Nobody waits for it: it leaves the worker before the worker ends.
    return wt.submit(slab(number), name=f"{NAME} {number}", progress=False).batch_name

scan = wt.submit([slab(1), slab(2)], name=NAME, progress=False)
scan.wait(60)
context = multiprocessing.get_context("fork")
with context.Pool(2) as pool:
    rises = pool.map(heat, scan.tasks)
    assert 0 < rises[0] < rises[1]
workers = [context.Process(target=submitted, args=(number,)) for number in (31, 32)]
for worker in workers: worker.start()
for worker in workers: worker.join(60)
assert [worker.exitcode for worker in workers] == [0, 0]
for number in (31, 32):
    assert rise(wt.open(f"{NAME} {number}").result(timeout=60)) > 0
"""
    run(server, tmp_path, code, "forked pool")


def test_a_map_of_the_parent_is_refused_in_its_child(server, tmp_path):
    code = """
values = wt.map(lambda value: time.sleep(0.5) or value, range(3))
def body():
    for touch in (lambda: list(values), values.results, values.done, values.cancel,
                  lambda: list(values.as_completed())):
        try:
            touch()
        except errors.Usage as error:
            assert error.code == "map.forked"
        else:
            raise AssertionError("a map was waited for that nobody works on")
assert ended(child(body)) == 0
assert list(values) == [0, 1, 2]
"""
    run(server, tmp_path, code, "forked map")
