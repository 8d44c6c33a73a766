"""Stands in for the engine: handles whose simulations are "solved" by a function of the test, after a while."""

from __future__ import annotations

import itertools
import threading
import time

import wavetask
from models import heat_result
from wavetask import errors
from wavetask._reference import DataReference
from wavetask._tidy3d import fields, model

_numbers = itertools.count(1)


class Task:
    def __init__(self, key, simulation, hold, delay, engine):
        self.id = f"task-{next(_numbers)}"
        self.key = self.name = key
        self.simulation = simulation
        self.engine = engine
        self.delay = delay
        self.error = None
        self.solution = None
        self.cancelled = False
        self.status = "held" if hold else "queued"
        self.ended = threading.Event()
        self.callbacks = []
        self.lock = threading.Lock()
        if key in engine.unpackable:
            self.id = None
            self.error = errors.InvalidSimulation("it cannot be taken apart", code="client.not_packable")
            self._end("failed")
            return
        engine.by_id[self.id] = self
        if not hold:
            self._begin()

    def _begin(self):
        self.status = "running"
        threading.Thread(target=self._solve, daemon=True).start()

    def _solve(self):
        deadline = time.monotonic() + self.delay
        while time.monotonic() < deadline and not self.cancelled:
            time.sleep(0.005)
        with self.engine.lock:
            self.engine.solved.append(self.key)
        if self.cancelled:
            self.error = errors.Cancelled("it was cancelled", code="task.aborted")
            self._end("cancelled")
            return
        try:
            self.solution = self.engine.solve(self.simulation)
        except errors.WavetaskError as error:
            self.error = error
            self._end("failed")
        else:
            self._end("done")

    def _end(self, status):
        with self.lock:
            self.status = status
            self.ended.set()
            callbacks = self.callbacks
        for callback in callbacks:
            callback(self)

    @property
    def info(self):
        class Info:
            status = self.status
            state = None
            diverged = isinstance(self.error, errors.Diverged)

        return Info

    def done(self):
        return self.ended.is_set()

    def wait(self, timeout=None):
        return self.ended.wait(timeout)

    def exception(self, timeout=None):
        self.ended.wait(timeout)
        return self.error

    def result(self, timeout=None):
        self.ended.wait(timeout)
        if self.error is not None:
            raise self.error
        return self.solution

    @property
    def data(self):
        return DataReference(self, fields.of_document(model.json_text(self.result())))

    def _monitor_data(self, name):
        return self.result()[name]

    def save(self, path):
        self.ended.wait()
        if self.error is not None:
            raise self.error
        self.engine.saved.append(path)
        self.solution.to_file(str(path))

    def add_done_callback(self, callback):
        with self.lock:
            if not self.ended.is_set():
                self.callbacks.append(callback)
                return
        callback(self)

    def retry(self):
        assert self.ended.is_set() and self.error is not None
        self.error = None
        self.ended.clear()
        self._begin()

    def start(self):
        assert self.status == "held"
        self._begin()

    def cancel(self):
        self.cancelled = True

    def log(self):
        return "123 unknowns"


class Batch(dict):
    def as_completed(self, timeout=None):
        waiting = dict(self)
        while waiting:
            for key, task in list(waiting.items()):
                if task.done():
                    del waiting[key]
                    yield task
            time.sleep(0.001)

    def delete(self):
        for task in self.values():
            if task.id is not None:
                task.engine.deleted.append(task.id)


class Engine:
    def __init__(self):
        self.lock = threading.Lock()
        self.by_id = {}
        self.solved = []
        self.saved = []
        self.deleted = []
        self.submissions = []
        self.solve = heat_result
        self.delay = lambda key: 0.0
        self.unpackable = set()

    def submit(self, simulations, **options):
        from wavetask._tidy3d.pack import pack

        for key, simulation in simulations.items():
            if key not in self.unpackable:
                pack(simulation)
        self.submissions.append((list(simulations), options))
        return Batch(
            {
                key: Task(key, simulation, options.get("hold", False), self.delay(key), self)
                for key, simulation in simulations.items()
            }
        )

    def open(self, name):
        try:
            return self.by_id[name]
        except KeyError:
            raise errors.NotFound(f"no {name}") from None


def install(monkeypatch) -> Engine:
    engine = Engine()
    for name, value in (("submit", engine.submit), ("open", engine.open), ("Task", Task)):
        monkeypatch.setitem(wavetask.__dict__, name, value)
    return engine
