"""A process that makes a large three-dimensional result, or looks at one of which it knows only the name.

    python bench/planes_child.py {make|plane|whole|save} SETTINGS-AS-JSON

Where the server is comes from the environment (`WAVETASK_URL`, `WAVETASK_KEY`). The result is an evaluation: three lines
of numbers, broadcast to x + y z on a cube, computed by a real worker. Prints one JSON object.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time

import numpy as np
import wavetask
from wavetask._reference import arguments, remote
from wavetask._reference.node import Node
from wavetask._task import Task

NAME = "bench planes"
VALUES = "outputs/0/__xarray_dataarray_variable__"


def line(extent: int, axis: int) -> np.ndarray:
    """The numbers along an axis, which no two places of the cube have alike in all digits."""
    return np.sqrt(np.arange(extent) + 2.0 + axis)


def make(extent: int) -> dict:
    """Has the cube computed; waits until the result is there, and fetches nothing of it."""
    import xarray

    lines = [
        xarray.DataArray(line(extent, axis), {dim: np.arange(extent)}, (dim,))
        for axis, dim in enumerate("xyz")
    ]
    x, y, z = (arguments.array(values)[0] for values in lines)
    product = Node("binary", function="multiply", left=y, right=z)
    text, _ = remote.recipe([Node("binary", function="add", left=x, right=product)])
    client = wavetask.connect()
    submission = remote.begin(client, NAME, lazy=True)
    native, pending = submission.add("cube", None, {})
    pending.evaluate(text, [])
    submission.finish()
    task = Task(native, client, progress=False)
    started = time.perf_counter()
    assert task.wait(timeout=1800) and task.status == "done", task.error
    return {"wall": time.perf_counter() - started, "task": task.id}


def opened(task: str):
    """The result's document: its text, and what is needed to read its arrays."""
    return wavetask.open(task).document()


def plane(task: str, axis: int, place: int) -> dict:
    """One plane across an axis, and whether it is what it should be."""
    started = time.perf_counter()
    document = opened(task)
    there = time.perf_counter()
    shape = document.shape(VALUES)
    ranges = [(0, extent) for extent in shape]
    ranges[axis] = (place, place + 1)
    values = document.array(VALUES, ranges)
    done = time.perf_counter()
    grids = [line(shape[axis], axis)[low:high] for axis, (low, high) in enumerate(ranges)]
    x, y, z = np.meshgrid(*grids, indexing="ij", sparse=True)
    assert np.array_equal(values, x + y * z), "the plane is not what was computed"
    return {"open": there - started, "plane": done - there, "bytes": values.nbytes}


def whole(task: str) -> dict:
    """All of it."""
    document = opened(task)
    started = time.perf_counter()
    values = document.array(VALUES)
    return {"wall": time.perf_counter() - started, "bytes": values.nbytes}


def save(task: str, path: str) -> dict:
    """All of it as a file."""
    opened(task)
    started = time.perf_counter()
    wavetask.open(task).save(path)
    return {"wall": time.perf_counter() - started, "bytes": pathlib.Path(path).stat().st_size}


if __name__ == "__main__":
    print(
        json.dumps(
            {"make": make, "plane": plane, "whole": whole, "save": save}[sys.argv[1]](
                **json.loads(sys.argv[2])
            )
        )
    )
