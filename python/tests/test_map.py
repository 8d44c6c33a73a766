"""`wavetask.map`: an ordinary function for many values, overlapping."""

from __future__ import annotations

import threading
import time

import pytest
from wavetask import _map, _scope, errors

wt_map = _map.map


class Task:
    """Something that runs until it is done or cancelled, as a simulation does."""

    def __init__(self, seconds: float = 0.2):
        self.event = threading.Event()
        self.cancelled = False
        self.seconds = seconds
        _scope.register(self)

    def cancel(self):
        self.cancelled = True
        self.event.set()

    def result(self):
        self.event.wait(self.seconds)
        if self.cancelled:
            raise errors.Cancelled("cancelled")
        return self.seconds


def test_results_are_in_order_whatever_ends_first():
    def function(value):
        time.sleep((5 - value) * 0.02)
        return value * value

    assert list(wt_map(function, range(5))) == [0, 1, 4, 9, 16]
    assert wt_map(function, range(5)).results() == [0, 1, 4, 9, 16]
    assert list(wt_map(function, [])) == []


def test_hundreds_overlap():
    started = time.monotonic()
    assert sum(wt_map(lambda _: Task(0.5).result(), range(200))) == 100
    assert time.monotonic() - started < 5, "one after the other would take 100 s"


def test_the_number_of_workers_is_a_bound():
    now, most, lock = [0], [0], threading.Lock()

    def function(value):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.01)
        with lock:
            now[0] -= 1

    list(wt_map(function, range(30), max_workers=3))
    assert most[0] == 3
    with pytest.raises(errors.Usage):
        wt_map(function, [1], max_workers=0)


def test_an_exception_belongs_to_its_value():
    def function(value):
        if value == 2:
            raise ValueError("two")
        return value

    results = wt_map(function, range(4))
    assert next(results) == 0 and next(results) == 1
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert next(results) == 3
    with pytest.raises(StopIteration):
        next(results)
    with pytest.raises(ValueError, match="two"):
        results.results()
    kept = results.results(return_exceptions=True)
    assert kept[:2] + kept[3:] == [0, 1, 3] and isinstance(kept[2], ValueError)


def test_values_are_taken_as_they_are_needed():
    taken = []

    def values():
        for value in range(1000):
            taken.append(value)
            yield value

    gate = threading.Event()
    results = wt_map(lambda value: gate.wait(10), values(), max_workers=4)
    time.sleep(0.2)
    assert len(taken) == 4
    gate.set()
    assert len(list(results)) == 1000


def test_a_source_that_fails_keeps_what_it_gave():
    def values():
        yield 1
        yield 2
        raise OSError("gone")

    results = wt_map(lambda value: value, values())
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(OSError, match="gone"):
        next(results)
    assert results.results(return_exceptions=True) == [1, 2]


def test_nested_maps_do_not_wait_for_each_other():
    def outer(value):
        return sum(wt_map(lambda inner: inner * value, range(10)))

    assert list(wt_map(outer, range(40), max_workers=40)) == [45 * value for value in range(40)]


def test_nested_maps_work_without_threads(monkeypatch):
    """No more threads than one: the rest is done by whoever waits."""
    monkeypatch.setattr(_map, "_THREADS", threading.Semaphore(1))

    def outer(value):
        return sum(wt_map(lambda inner: sum(wt_map(lambda x: x, range(3))), range(3)))

    assert list(wt_map(outer, range(3))) == [9, 9, 9]
    monkeypatch.setattr(_map, "_THREADS", threading.Semaphore(0))
    assert list(wt_map(outer, range(3))) == [9, 9, 9]
    assert sorted(wt_map(lambda value: value, range(3)).as_completed()) == [(0, 0), (1, 1), (2, 2)]


def test_threads_are_given_back():
    before = threading.active_count()
    for _ in range(5):
        list(wt_map(lambda value: value, range(20)))
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
    assert _map._THREADS._value == 2048


def test_cancelling_cancels_the_tasks_within():
    tasks = []

    def function(value):
        tasks.append(Task(30))
        return tasks[-1].result()

    results = wt_map(function, range(100), max_workers=5)
    while len(tasks) < 5:
        time.sleep(0.01)
    started = time.monotonic()
    results.cancel()
    outcome = results.results(return_exceptions=True)
    assert time.monotonic() - started < 5
    assert len(outcome) == 5 and all(isinstance(error, errors.Cancelled) for error in outcome)
    assert all(task.cancelled for task in tasks)


def test_cancelling_reaches_nested_maps():
    tasks = []

    def inner(value):
        tasks.append(Task(30))
        return tasks[-1].result()

    results = wt_map(lambda value: list(wt_map(inner, range(2))), range(2))
    while len(tasks) < 4:
        time.sleep(0.01)
    results.cancel()
    assert all(isinstance(error, errors.Cancelled) for error in results.results(return_exceptions=True))
    assert all(task.cancelled for task in tasks)


def test_leaving_by_an_exception_cancels():
    tasks = []

    def function(value):
        tasks.append(Task(30))
        return tasks[-1].result()

    with pytest.raises(KeyError), wt_map(function, range(3)):
        while len(tasks) < 3:
            time.sleep(0.01)
        raise KeyError("mine")
    assert all(task.cancelled for task in tasks)


def test_a_task_outside_any_map_is_nobodys():
    task = Task(0.01)
    assert task.result() == 0.01


def test_completed_first():
    def function(value):
        time.sleep(value)
        return -value

    assert [value for value, _ in wt_map(function, [0.2, 0.0, 0.1]).as_completed()] == [0.0, 0.1, 0.2]


def test_context_travels():
    import contextvars

    name = contextvars.ContextVar("name", default="nobody")
    name.set("somebody")
    assert list(wt_map(lambda value: name.get(), range(3))) == ["somebody"] * 3
