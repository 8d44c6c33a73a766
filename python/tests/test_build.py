"""Results are tidy3d's own data objects, equal to what the client loads from the file."""

from __future__ import annotations

import json
import time

import models
import numpy as np
import pytest
import tidy3d as td
from models import fdtd, flux_result, heat_result, slab, spatial
from wavetask._tidy3d import model
from wavetask._tidy3d.build import build, build_monitor, monitor_names
from wavetask._tidy3d.pack import arrays_of


class Document:
    """A result as the server keeps it, and a note of what was loaded."""

    def __init__(self, result):
        self.json = model.json_text(result)
        self.arrays = dict(arrays_of(result, self.json))
        self.loaded: list[str] = []

    def load(self, path):
        self.loaded.append(path)
        return self.arrays[path]

    def build(self, *submitted):
        return build(self.json, self.load, self.arrays, *submitted)

    def monitor(self, name):
        return build_monitor(self.json, name, self.load, self.arrays)


def from_file(result, tmp_path):
    path = str(tmp_path / "result.hdf5")
    result.to_file(path)
    return type(result).from_file(path)


RESULTS = {"flux": flux_result, "heat": heat_result, "heat without arrays": lambda: heat_result(slab())}


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("reuse", [False, True])
def test_equals_the_clients_loader(tmp_path, name, reuse):
    result = RESULTS[name]()
    expected = from_file(result, tmp_path)
    document = Document(result)
    submitted = (result.simulation, model.json_text(result.simulation)) if reuse else ()
    built = document.build(*submitted)
    assert type(built) is type(expected)
    assert built == expected
    assert model.json_text(built) == model.json_text(expected)
    for monitor in result.simulation.monitors:
        assert built[monitor.name] == expected[monitor.name]
    for one, other in zip(arrays_of(built, document.json), arrays_of(expected, document.json), strict=True):
        assert one[0] == other[0]
        np.testing.assert_array_equal(one[1], other[1])
    assert (built.simulation is result.simulation) == reuse


def test_strings_and_complex_numbers_select():
    built = Document(flux_result()).build()
    assert complex(built["modes"].amps.sel(direction="-", f=2e14, mode_index=1)) == pytest.approx(
        complex(flux_result()["modes"].amps[1, 0, 1])
    )


def test_the_simulations_arrays_are_not_fetched_again():
    result = heat_result()
    document = Document(result)
    document.build(result.simulation, model.json_text(result.simulation))
    assert document.loaded and all(path.startswith("data/") for path in document.loaded)
    document.loaded.clear()
    document.build()
    assert any(path.startswith("simulation/sources/0/rate") for path in document.loaded)


def test_another_simulation_is_not_reused():
    result, other = heat_result(), slab(rate=2e-5)
    built = Document(result).build(other, model.json_text(other))
    assert built.simulation == result.simulation


def test_one_monitor_loads_only_its_arrays():
    result = flux_result()
    document = Document(result)
    assert document.monitor("modes") == document.build()["modes"]
    document.loaded.clear()
    document.monitor("modes")
    assert document.loaded and all(path.startswith("data/1/") for path in document.loaded)
    assert monitor_names(document.json) == ["flux", "modes"]
    with pytest.raises(KeyError, match="`flux`, `modes`"):
        document.monitor("fluxes")


def test_one_monitor_of_symmetric_data_is_expanded():
    result = models.symmetric_result()
    document = Document(result)
    expanded = document.monitor("field")
    assert expanded.Ey.shape == result["field"].Ey.shape
    assert expanded.Ey.size > result.data[0].Ey.size
    assert expanded.Ey.equals(result["field"].Ey)


def test_mode_solver_data(tmp_path):
    """A result that is one monitor's data by itself."""
    solver = models.mode_solver()
    names = {"x": [-0.1, 0.1], "y": [-0.1, 0.1], "z": [0.0], "f": [2e14], "mode_index": [0, 1]}
    field = td.ScalarModeFieldDataArray(models.numbers(2, 2, 1, 1, 2) + 1j, coords=names)
    index = td.ModeIndexDataArray([[1.5 + 0j, 1.4]], coords={"f": [2e14], "mode_index": [0, 1]})
    result = td.ModeSolverData(
        monitor=solver.to_mode_solver_monitor(name="modes", colocate=False),
        n_complex=index,
        **dict.fromkeys(("Ex", "Ey", "Ez", "Hx", "Hy", "Hz"), field),
    )
    built = Document(result).build(solver, model.json_text(solver))
    assert built == from_file(result, tmp_path)


def test_a_missing_array_is_an_error():
    document = Document(flux_result())
    for path in [path for path in document.arrays if path.startswith("data/0/flux")]:
        del document.arrays[path]
    with pytest.raises(Exception, match="FluxDataArray"):
        document.build()


def test_names_that_look_like_classes_are_names(tmp_path):
    simulation = fdtd(attrs={"of": "FluxDataArray", "list": ["SpatialDataArray"]})
    result = td.SimulationData(
        simulation=simulation,
        log="FluxDataArray",
        data=[
            td.FluxData(monitor=simulation.monitors[0], flux=td.FluxDataArray([1.0], coords={"f": [2e14]}))
        ],
    )
    built = Document(result).build()
    assert built.log == "FluxDataArray"
    assert built.simulation.attrs == simulation.attrs


def test_tiny_results_are_quick():
    result = heat_result(slab())
    document = Document(result)
    text = model.json_text(result.simulation)
    document.build(result.simulation, text)
    started = time.process_time()
    for _ in range(20):
        document.build(result.simulation, text)
    assert (time.process_time() - started) / 20 < 0.01


def test_the_document_is_left_alone():
    document = Document(flux_result())
    before = json.loads(document.json)
    document.build()
    assert json.loads(document.json) == before


def test_big_arrays_are_not_copied():
    result = heat_result(slab(rate=spatial(30, 30, 30)))
    document = Document(result)
    built = document.build()
    rate = built.simulation.sources[0].rate
    assert np.shares_memory(rate.data, document.arrays[f"simulation/sources/0/rate/{model.VALUES}"])
