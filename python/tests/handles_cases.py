"""What handles must do, wherever they are used: the same cases run as a script, in threads, within a running event
loop, in IPython and in a Jupyter kernel (test_handles.py).

``python handles_cases.py`` runs them as a script against the server that the environment names.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import os
import pickle
import sys
import threading
import time

import models
import wavetask as wt
from wavetask import errors

STYLE = "style"
models.td.config.logging.level = "ERROR"
GRID = models.td.UniformUnstructuredGrid(dl=0.5, min_edges_per_circumference=15, min_edges_per_side=2)


def slab(number: int = 1):
    return models.slab(rate=1e-6 * number, grid_spec=GRID)


def named(case: str) -> str:
    return f"{STYLE} {case} {time.monotonic_ns()}"


def rise(data) -> float:
    return float(data["centre"].temperature.values.max()) - 300


def until_held(scan) -> None:
    deadline = time.monotonic() + 60
    while any(task.status != "held" for task in scan.tasks):
        assert time.monotonic() < deadline, scan
        time.sleep(0.02)


def check_rises(results: dict, numbers: dict) -> None:
    assert list(results) == list(numbers)
    unit = rise(results[next(iter(results))]) / next(iter(numbers.values()))
    for key, number in numbers.items():
        assert abs(rise(results[key]) / number - unit) < 1e-6 * unit


def case_one_task():
    name = named("one")
    task = wt.submit(slab(), name=name, parameters={"rate": 1e-6}, tags=["handles"], cache=False)
    data = task.result(timeout=60)
    assert rise(data) > 0
    assert task.done() and task.status == "done" and task.progress.percent == 100
    assert task.exception() is None
    assert task.name == name and task.key == "." and task.id
    assert task.result() is data, "the same object while somebody holds it"
    assert task.parameters == {"rate": 1e-6}
    assert name in repr(task) and "done" in repr(task) and "done" in task._repr_html_()
    assert task.info.seconds is not None and task.info.ended is not None
    assert isinstance(task.log(), str)
    assert abs(float(task["centre"].temperature.values.max()) - 300 - rise(data)) < 1e-9
    reference = task["centre"].temperature - 300
    assert isinstance(reference, wt.Reference) and abs(float(reference.max()) - rise(data)) < 1e-9
    again = pickle.loads(pickle.dumps(reference))
    assert again.dims == reference.dims and abs(float(again.max()) - rise(data)) < 1e-9
    try:
        task["nowhere"]
    except errors.NotFound as error:
        assert "centre" in error.hint and "nowhere" in str(error) and error.task is task
    else:
        raise AssertionError("a monitor that does not exist was found")


def case_containers_and_completion():
    given = {"I=4mA": [slab(1), slab(2)], "I=5mA": (slab(3),)}
    scan = wt.submit(given, name=named("containers"), parameters=lambda key, _: {"column": key})
    assert list(scan) == ["I=4mA/0", "I=4mA/1", "I=5mA/0"] and len(scan) == 3
    assert scan["I=4mA/0"] is scan[0] and scan[-1].key == "I=5mA/0"
    assert "I=4mA/1" in scan and "I=6mA" not in scan and scan.get("I=6mA") is None
    seen = [task.key for task in scan.as_completed(timeout=60)]
    assert sorted(seen) == sorted(scan)
    check_rises(scan.results(), {"I=4mA/0": 1, "I=4mA/1": 2, "I=5mA/0": 3})
    tree = scan.tree(lambda task: task.key)
    assert tree == {"I=4mA": ["I=4mA/0", "I=4mA/1"], "I=5mA": ("I=5mA/0",)}
    rows = scan.rows()
    assert [row["column"] for row in rows] == list(scan) and all(row["status"] == "done" for row in rows)
    assert scan.status == "done" and scan.progress.percent == 100 and scan.done()
    assert "3 of 3 done" in repr(scan) and "<table>" in scan._repr_html_()
    assert scan.table().loc["I=5mA/0", "column"] == "I=5mA/0"


def case_generator():
    given = []

    def simulations():
        for number in (1, 2, 3):
            given.append(number)
            yield f"n={number}", slab(number), {"number": number}

    scan = wt.submit(simulations(), name=named("generator"))
    check_rises(scan.results(timeout=60), {"n=1": 1, "n=2": 2, "n=3": 3})
    assert scan["n=2"].parameters == {"number": 2} and given == [1, 2, 3]

    def failing():
        yield slab(1)
        raise RuntimeError("no more")

    broken = wt.submit(failing(), name=named("broken generator"))
    try:
        for task in broken.as_completed(timeout=60):
            assert task.result() is not None
    except RuntimeError as error:
        assert str(error) == "no more"
    else:
        raise AssertionError("the generator's error was lost")


def case_cancelling_a_generator():
    drawn, closed, go_on = [], threading.Event(), threading.Event()

    def simulations():
        try:
            for number in range(1, 1000):
                drawn.append(number)
                yield slab(number)
                if number == 2:
                    go_on.wait(60)
        finally:
            closed.set()

    scan = wt.submit(simulations(), name=named("endless"), hold=True, cache=False)
    deadline = time.monotonic() + 60
    while len(scan) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # The generator is at work: nobody waits for it, and what it gives then is not taken.
    scan.cancel()
    assert scan.wait(timeout=60).not_done == set() and scan.done()
    assert [task.status for task in scan.tasks] == ["cancelled"] * 2 and scan.status == "cancelled"
    go_on.set()
    assert closed.wait(60), "the generator was not closed"
    time.sleep(0.1)
    assert len(drawn) <= 3 and len(scan) == 2, drawn


def case_one_bad_member():
    scan = wt.submit([slab(1), "there is no such file.json", slab(2)], name=named("bad member"))
    done, not_done = scan.wait(timeout=60)
    assert len(done) == 3 and not not_done
    results = scan.results(return_exceptions=True)
    assert rise(results["2"]) > rise(results["0"]) > 0
    error = results["1"]
    assert isinstance(error, errors.WavetaskError) and error.task is scan["1"] and error.code
    assert error.__cause__ is not None
    try:
        scan.results()
    except errors.WavetaskError as raised:
        assert type(raised) is type(error) and str(raised).startswith("1 of 3 tasks of"), raised
        assert list(raised.failures) == ["1"]
    else:
        raise AssertionError("the failure was lost")
    assert scan["1"].status == "failed" and scan.status == "failed"
    assert isinstance(scan["1"].exception(), errors.WavetaskError)


def case_time_and_cancelling():
    held = wt.submit(slab(4), name=named("held"), hold=True, cache=False)
    began = time.monotonic()
    try:
        held.result(timeout=0.3)
    except TimeoutError as error:
        assert isinstance(error, errors.TimedOut) and "goes on" in str(error)
    else:
        raise AssertionError("a held task ended")
    assert 0.25 < time.monotonic() - began < 5 and not held.done()
    held.cancel()
    try:
        held.result(timeout=60)
    except errors.Cancelled as error:
        assert error.task is held
    else:
        raise AssertionError("a cancelled task has a result")
    assert held.status == "cancelled"


def case_starting_what_is_held():
    held = wt.submit([slab(1)], name=named("started"), hold=True, cache=False)
    deadline = time.monotonic() + 60
    while held[0].status != "held":
        assert time.monotonic() < deadline, held[0].status
        time.sleep(0.02)
    held.start()
    assert rise(held.results(timeout=60)["0"]) > 0
    # Wherever they are on their way.
    coming = wt.submit([slab(2), slab(3)], name=named("started early"), hold=True, cache=False)
    coming[0].start()
    coming.start()
    assert len(coming.results(timeout=60)) == 2


def case_waiting_for_some():
    scan = wt.submit([slab(1), slab(2), slab(3)], name=named("some"), hold=True, cache=False)
    until_held(scan)
    began = time.monotonic()
    done, not_done = scan.wait(timeout=0.2)
    assert done == set() and not_done == set(scan.tasks) and time.monotonic() - began < 5
    scan[1].start()
    done, not_done = scan.wait(timeout=60, return_when=concurrent.futures.FIRST_COMPLETED)
    assert done == {scan[1]} and not_done == {scan[0], scan[2]}
    # What ended well is no reason to stop waiting for what fails.
    done, _ = scan.wait(timeout=0.2, return_when=concurrent.futures.FIRST_EXCEPTION)
    assert done == {scan[1]}
    scan[2].cancel()
    done, not_done = scan.wait(timeout=60, return_when=concurrent.futures.FIRST_EXCEPTION)
    assert done == {scan[1], scan[2]} and not_done == {scan[0]}
    scan[0].cancel()
    done, not_done = scan.wait(timeout=60, return_when=concurrent.futures.ALL_COMPLETED)
    assert done == set(scan.tasks) and not not_done
    try:
        scan.wait(return_when="NOW")
    except errors.Usage as error:
        assert "FIRST_COMPLETED" in str(error)
    else:
        raise AssertionError("a way to wait that does not exist was taken")


def case_futures_and_callbacks():
    scan = wt.submit([slab(1), slab(2)], name=named("futures"))
    called = threading.Event()
    scan[0].add_done_callback(lambda task: task.status == "done" and called.set())
    futures = [task.to_future() for task in scan.tasks]
    done, _ = concurrent.futures.wait(futures, timeout=60)
    assert len(done) == 2 and all(rise(future.result()) > 0 for future in futures)
    assert called.wait(10)
    failing = wt.submit(["nothing.hdf5"], name=named("failing future"))[0].to_future()
    error = failing.exception(timeout=60)
    assert isinstance(error, errors.WavetaskError)
    assert "No such file or directory: 'nothing.hdf5'" in str(error), error


def case_pickles_and_names():
    name = named("names")
    scan = wt.submit({"a": slab(1), "b": slab(2)}, name=name, parameters={"a": {"n": 1}, "b": {"n": 2}})
    scan.wait(timeout=60)
    text = pickle.dumps((scan, scan["b"]))
    assert os.environ["WAVETASK_KEY"].encode() not in text, "no key travels with a handle"
    again, task = pickle.loads(text)
    assert list(again) == ["a", "b"] and task.parameters == {"n": 2} and task.name == "b"
    check_rises(again.results(timeout=60), {"a": 1, "b": 2})
    assert rise(task.result(timeout=60)) > 0
    assert list(wt.open(name)) == ["a", "b"]
    by_id = wt.open(scan["a"].id)
    assert isinstance(by_id, wt.Task) and by_id.result(timeout=60) is not None
    single = wt.submit(slab(1), name=named("single"))
    single.wait(60)
    assert isinstance(wt.open(single.batch_name), wt.Task)
    try:
        wt.open("there is no such batch")
    except LookupError as error:
        assert isinstance(error, errors.NotFound) and error.code == "batch.not_found"
        assert str(error).startswith("there is no batch and no task `there is no such batch`"), error
        assert "HTTP" not in str(error) and "batches()" in error.hint
    else:
        raise AssertionError("a batch that does not exist was found")


def case_leaving_with_an_error():
    try:
        with wt.submit([slab(5)], name=named("left"), hold=True, cache=False, cancel_on_error=True) as scan:
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert scan.wait(timeout=60).not_done == set()
    assert scan[0].status == "cancelled"
    try:
        with wt.submit(
            slab(5), name=named("left alone"), hold=True, cache=False, cancel_on_error=True
        ) as task:
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert task.wait(timeout=60) and task.status == "cancelled"
    with wt.submit(slab(1), name=named("left well"), cancel_on_error=True) as task:
        pass
    assert task.result(timeout=60) is not None


def case_many_threads_one_handle():
    scan = wt.submit([slab(1), slab(2)], name=named("threads"))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        waits = [pool.submit(lambda: sorted(task.key for task in scan.as_completed(60))) for _ in range(4)]
        waits += [pool.submit(lambda: sorted(scan.results(timeout=60))) for _ in range(4)]
        assert all(wait.result(60) == ["0", "1"] for wait in waits)


async def case_awaiting():
    scan = wt.submit([slab(1), slab(2), slab(3)], name=named("awaiting"))
    seen = []
    async for task in scan:
        data = await task
        seen.append((task.key, rise(data) > 0))
    assert sorted(seen) == [("0", True), ("1", True), ("2", True)]
    assert list(await scan) == ["0", "1", "2"]
    first, second = await asyncio.gather(scan[0], scan[1])
    assert rise(second) > rise(first)
    assert rise(await asyncio.wrap_future(scan[2].to_future())) > 0
    single = wt.submit(slab(1), name=named("awaited"))
    assert rise(await single) > 0


async def case_await_leaves_the_task_alone():
    held = wt.submit(slab(6), name=named("await held"), hold=True, cache=False)
    try:
        await asyncio.wait_for(held.as_future(), 0.2)
    except asyncio.TimeoutError:
        pass
    else:
        raise AssertionError("a held task ended")
    assert held.status not in ("cancelled", "done")
    held.cancel()
    try:
        await held
    except errors.Cancelled:
        pass
    else:
        raise AssertionError("a cancelled task has a result")


async def case_awaiting_a_bad_member():
    scan = wt.submit([slab(1), "nothing.json"], name=named("await bad"))
    try:
        await scan
    except errors.WavetaskError as error:
        assert list(error.failures) == ["1"]
    else:
        raise AssertionError("the failure was lost")
    seen = [task.status async for task in scan.as_completed(timeout=60)]
    assert sorted(seen) == ["done", "failed"]


async def case_a_loop_stays_free():
    """Measured against a thread of the same process, which a busy machine slows as it slows the loop: a loop that
    waited for the task would not tick at all, for the task does not end before it is told to."""
    beside, over = 0, threading.Event()

    def tick_beside():
        nonlocal beside
        while not over.wait(0.01):
            beside += 1

    scan = wt.submit([slab(7), slab(8)], name=named("free"), hold=True, cache=False)
    waiting = asyncio.ensure_future(scan[0].as_future())
    ticking = threading.Thread(target=tick_beside, daemon=True)
    ticking.start()
    try:
        for _ in range(50):
            await asyncio.sleep(0.01)
    finally:
        over.set()
    assert not waiting.done() and beside <= 500, beside
    scan.cancel()
    try:
        await waiting
    except errors.Cancelled:
        pass
    else:
        raise AssertionError("a cancelled task has a result")


CASES = {name: value for name, value in sorted(globals().items()) if name.startswith("case_")}
SYNC = {name: case for name, case in CASES.items() if not inspect.iscoroutinefunction(case)}
ASYNC = {name: case for name, case in CASES.items() if inspect.iscoroutinefunction(case)}


def run_sync(style: str) -> int:
    """The blocking cases, in this thread; also within a running loop."""
    global STYLE
    STYLE = style
    for case in SYNC.values():
        case()
    return len(SYNC)


async def run_async(style: str) -> int:
    """The awaiting cases, in this loop, all at once."""
    global STYLE
    STYLE = style
    await asyncio.gather(*(case() for case in ASYNC.values()))
    return len(ASYNC)


def run_threads(style: str) -> int:
    """Every case in a thread of its own, all at once."""
    global STYLE
    STYLE = style
    with concurrent.futures.ThreadPoolExecutor(len(CASES)) as pool:
        running = [
            pool.submit(asyncio.run, case()) if name in ASYNC else pool.submit(case)
            for name, case in CASES.items()
        ]
        for future in running:
            future.result(300)
    return len(CASES)


async def run_inside_loop(style: str) -> int:
    """The blocking cases within a running loop, then the awaiting ones in it."""
    return run_sync(style) + await run_async(style)


def main() -> None:
    ran = run_sync("script") + asyncio.run(run_async("script"))
    print(f"{ran} cases passed")


if __name__ == "__main__":
    sys.exit(main())
