"""Running again what ended without a result, by `retry()`."""

from __future__ import annotations

import time

import pytest


@pytest.fixture(scope="module")
def cases(server):
    import handles_cases

    return handles_cases


def reached(task, *statuses, within=60):
    deadline = time.monotonic() + within
    while task.status not in statuses:
        assert time.monotonic() < deadline, task
        time.sleep(0.02)
    return task.status


def unsolvable():
    """Heat flows in and nothing takes it away: an error of the solver, not of the check before."""
    import scenes

    return scenes.unsolvable()


def test_a_cancelled_task_runs_again(cases):
    import wavetask as wt
    from wavetask import errors

    task = wt.submit(cases.slab(11), name=cases.named("retry one"), hold=True, cache=False, progress=False)
    reached(task, "held")
    first = task.id
    task.cancel()
    assert isinstance(task.exception(timeout=60), errors.Cancelled)
    task.retry()
    if reached(task, "held", "done") == "held":
        task.start()
    assert cases.rise(task.result(timeout=60)) > 0
    assert task.id == first, "it is the same task, not another"
    assert task.exception() is None and task.status == "done" and task.info.error is None


def test_a_batch_runs_those_again_that_have_no_result(cases):
    import wavetask as wt
    from wavetask import errors

    simulations = {"solved": cases.slab(12), "stopped": cases.slab(13), "unsolvable": unsolvable()}
    scan = wt.submit(simulations, name=cases.named("retry batch"), hold=True, cache=False, progress=False)
    for task in scan.tasks:
        reached(task, "held")
    scan["stopped"].cancel()
    scan["solved"].start()
    scan["unsolvable"].start()
    assert not scan.wait(timeout=120).not_done
    assert [task.status for task in scan.tasks] == ["done", "cancelled", "failed"]
    solved = scan["solved"].info
    failed = scan["unsolvable"].info
    assert isinstance(failed.error, errors.WavetaskError)

    scan.retry()
    if reached(scan["stopped"], "held", "done") == "held":
        scan["stopped"].start()
    assert cases.rise(scan["stopped"].result(timeout=120)) > 0
    with pytest.raises(type(failed.error)):
        scan["unsolvable"].result(timeout=120)
    assert scan["unsolvable"].info.attempts == failed.attempts + 1, "it has been tried again"
    assert scan["unsolvable"].info.error.message == failed.error.message
    again = scan["solved"].info
    assert (again.attempts, again.ended) == (solved.attempts, solved.ended), "what is done is left alone"
    with pytest.raises(errors.WavetaskError) as raised:
        scan.results(timeout=60)
    assert list(raised.value.failures) == ["unsolvable"]


def test_a_task_that_has_its_result_keeps_it(cases):
    import wavetask as wt
    from wavetask import errors

    task = wt.submit(cases.slab(14), name=cases.named("retry done"), progress=False)
    before = cases.rise(task.result(timeout=60))
    attempts = task.info.attempts
    with pytest.raises(errors.Usage, match="success"):
        task.retry()
    assert task.status == "done" and cases.rise(task.result(timeout=60)) == before
    assert task.info.attempts == attempts


def test_retry_of_a_task_that_was_opened(cases):
    import wavetask as wt

    name = cases.named("retry opened")
    wt.submit([cases.slab(15)], name=name, hold=True, cache=False, progress=False)
    opened = wt.open(name)
    reached(opened[0], "held")
    opened.cancel()
    assert not opened.wait(timeout=60).not_done and opened.status == "cancelled"
    wt.open(opened[0].id).retry()
    by_id = wt.open(opened[0].id)
    if reached(by_id, "held", "queued", "running", "done") == "held":
        by_id.start()
    assert cases.rise(by_id.result(timeout=60)) > 0
