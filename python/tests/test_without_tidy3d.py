"""The package where tidy3d is not installed: files are submitted, results are documents and NumPy arrays."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

HERE = pathlib.Path(__file__).parent

# Runs before anything else, as if nothing of that had been installed.
HIDING = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

HIDDEN = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Hidden())
"""

EVERYTHING = """
import json
import numpy as np
import wavetask as wt
from wavetask import errors

folder, name = sys.argv[2:4]
told = {}
scan = wt.submit(
    {"json": f"{folder}/slab.json", "hdf5": f"{folder}/arrays.hdf5", "gz": f"{folder}/arrays.hdf5.gz"},
    name=name, parameters={"width": 1.5}, progress=False,
)
assert not scan.wait(timeout=120).not_done
told["status"] = [task.status for task in scan.tasks]
for task in scan.tasks:
    document = task.document()
    text = json.loads(document.json)
    place = [index for index, entry in enumerate(text["data"]) if entry["monitor"]["name"] == "centre"][0]
    values = document.array(f"data/{place}/temperature/__xarray_dataarray_variable__")
    assert isinstance(values, np.ndarray) and values.shape == (1, 1, 1)
    told[task.key] = float(values.max()) - 300
scan["hdf5"].save(f"{folder}/saved.hdf5")
told["rows"] = [row["width"] for row in wt.open(name).rows()]
told["again"] = wt.submit(f"{folder}/slab.json", name=name + " one", progress=False).document().task != ""
# What does need it says so.
for label, attempt in {"result": scan["json"].result, "monitor": lambda: scan["json"]["centre"]}.items():
    try:
        attempt()
    except errors.Usage as error:
        told[label] = [error.code, error.hint]
    except ImportError as error:
        told[label] = repr(error)
bad = wt.submit([object(), f"{folder}/slab.yaml"], name=name + " bad", progress=False)
told["bad"] = [task.exception(timeout=60).code for task in bad.tasks]
assert not {module.partition(".")[0] for module in sys.modules} & HIDDEN
print(json.dumps(told))
"""

NO_HDF5 = """
import wavetask as wt
folder, name = sys.argv[2:4]
scan = wt.submit([f"{folder}/slab.json", f"{folder}/arrays.hdf5"], name=name, progress=False)
one, two = scan.tasks
assert one.exception(timeout=120) is None
error = two.exception(timeout=60)
print(type(error).__name__, error.code, error.hint)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    import models
    from handles_cases import GRID

    folder = tmp_path_factory.mktemp("files")
    plain = models.slab(rate=1e-6, grid_spec=GRID)
    for extension in ("json", "yaml"):
        plain.to_file(str(folder / f"slab.{extension}"))
    rate = models.td.SpatialDataArray(
        2e-6 * models.np.ones((3, 3, 3)), coords={name: [-5.0, 0.0, 5.0] for name in "xyz"}
    )
    heated = models.slab(rate=rate, grid_spec=GRID)
    for extension in ("hdf5", "hdf5.gz"):
        heated.to_file(str(folder / f"arrays.{extension}"))
    return folder


def without(hidden, code, *words, data):
    answer = subprocess.run(
        [sys.executable, "-c", HIDING + code, hidden, *map(str, words)],
        env={**os.environ, "WAVETASK_DATA": str(data)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def test_files_are_submitted_and_results_read(server, files, tmp_path):
    name = f"without {time.monotonic_ns()}"
    told = json.loads(without("tidy3d,xarray,pandas", EVERYTHING, files, name, data=tmp_path / "data"))
    assert told["status"] == ["done"] * 3
    assert told["hdf5"] == told["gz"] == pytest.approx(2 * told["json"], rel=1e-6)
    assert told["json"] == pytest.approx(1e-6 * 4 / (8 * 2e-6), rel=1e-3)
    assert told["rows"] == [1.5] * 3 and told["again"]
    for label in ("result", "monitor"):
        code, hint = told[label]
        assert code == "client.no_tidy3d" and "document()" in hint
    assert told["bad"] == ["client.no_tidy3d"] * 2
    # The file is what tidy3d reads, where there is one.
    import models

    data = models.td.HeatChargeSimulationData.from_file(str(files / "saved.hdf5"))
    assert float(data["centre"].temperature.values.max()) - 300 == pytest.approx(told["hdf5"])


def test_hdf5_files_need_h5py_and_others_do_not(server, files, tmp_path):
    name = f"without h5py {time.monotonic_ns()}"
    told = without("tidy3d,h5py", NO_HDF5, files, name, data=tmp_path / "data")
    assert told.startswith("Usage client.no_h5py pip install h5py")
