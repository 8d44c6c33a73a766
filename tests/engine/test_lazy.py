"""`lazy=True`: nothing is fetched until it is asked for, and then what is touched; by the bytes that arrive."""

from __future__ import annotations

import numpy as np
import pytest
import scenes
import tidy3d as td
from harness import wait_until
from wire import Wire

BLOCK = 1 << 20
MESH_SIZE = 0.005


class Received:
    """Bytes from the server since the last look."""

    def __init__(self, wire: Wire):
        self.wire, self.before = wire, 0

    def since(self) -> int:
        now = self.wire.received
        before, self.before = self.before, now
        return now - before


def simulation(rate: float = scenes.RATE):
    monitors = [
        td.TemperatureMonitor(size=(td.inf, 0, td.inf), name="large", unstructured=True),
        td.TemperatureMonitor(size=(td.inf, 0, 1.5), name="second", unstructured=True),
        td.TemperatureMonitor(size=(0, 0, 0), name="centre", unstructured=False),
    ]
    return scenes.slab(rate, mesh_size=MESH_SIZE, monitors=monitors)


def bytes_below(document, prefix: str) -> int:
    """How large the arrays below a path are."""
    paths = [path for path in document.paths() if path.startswith(prefix)]
    return sum(document.array(path).nbytes for path in paths)


def test_only_what_is_touched_is_fetched(over_the_wire, wire, tmp_path):
    received = Received(wire)
    task = over_the_wire.submit(simulation(), name="lazy", lazy=True, cache=False, progress=False)
    assert task.wait(timeout=120) and task.status == "done"
    assert received.since() < 40_000, "the result came though nobody has asked for it"

    # The text alone; then the arrays of a monitor of one point.
    document = task.document()
    assert received.since() < 40_000
    peak = float(task["centre"].temperature.values.max())
    assert peak == pytest.approx(scenes.BASE + scenes.expected_rise(), abs=0.05)
    assert received.since() < 10_000

    # A few values of an array that is larger than a block: that block.
    path = "data/0/temperature/points/__xarray_dataarray_variable__"
    points = document.shape(path)[0]
    assert points * 16 > 1.5 * BLOCK, "too small to tell a block from the whole"
    first = document.array(path, [(10, 20)])
    assert first.shape == (10, 2)
    assert received.since() < 1.1 * BLOCK
    # The same again is here; the last ones are in another block.
    assert np.array_equal(document.array(path, [(10, 20), (1, 2)]), first[:, 1:])
    assert received.since() < 1000
    last = document.array(path, [(points - 5, points)])
    assert 0 < received.since() < 1.1 * BLOCK
    with pytest.raises((ValueError, IndexError, over_the_wire.errors.WavetaskError)):
        document.array(path, [(0, points + 1)])

    # One monitor, whose name costs nothing, then the whole, which is what comes without `lazy`.
    named = task["second"]
    assert received.since() < 1000
    second = named.load()
    came = received.since()
    assert came > 0
    data = task.result()
    rest = received.since()
    assert rest > 0.3 * came, "the other monitors had come with the first"
    assert float(data["centre"].temperature.values.max()) == peak
    assert data["second"] == second
    mesh = np.asarray(data["large"].temperature.points.values)
    assert np.array_equal(mesh[10:20], first) and np.array_equal(mesh[-5:], last)
    size = bytes_below(document, "data/")
    assert came + rest < 1.1 * size


def test_without_it_a_result_comes_by_itself(over_the_wire, wire):
    other = simulation(2 * scenes.RATE)
    lazy = over_the_wire.submit(other, name="asked", lazy=True, cache=False, progress=False)
    assert lazy.wait(timeout=120)
    assert wire.received < 40_000
    eager = over_the_wire.submit(simulation(3 * scenes.RATE), name="by itself", cache=False, progress=False)
    wait_until(lambda: wire.received > 2e6, 120, "the result has come, and nobody has asked for it")
    assert eager.wait(timeout=60)
    rises = [float(task["centre"].temperature.values.max()) - scenes.BASE for task in (lazy, eager)]
    assert rises[1] == pytest.approx(1.5 * rises[0], rel=1e-6)


def test_a_lazy_result_can_be_saved_whole(over_the_wire, wire, tmp_path):
    task = over_the_wire.submit(simulation(), name="lazy file", lazy=True, cache=False, progress=False)
    assert task.wait(timeout=120)
    before = wire.received
    task.save(tmp_path / "one.hdf5")
    assert wire.received - before > 1e6
    data = td.HeatChargeSimulationData.from_file(str(tmp_path / "one.hdf5"))
    assert data["second"] == task["second"]
