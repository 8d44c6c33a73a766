"""A script's loop from heat to modes on `wavetask.web`: results that stay at the server until they are touched."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import scenes
import tidy3d as td
from test_references import GRID, RATES, guide

FINE = 0.02
"""Mesh size at which a field on the mesh is large against what is interpolated of it."""


@pytest.fixture
def web(over_the_wire):
    """`wavetask.web` over the wire."""
    import wavetask.web

    return wavetask.web


def heated(**changes):
    return {name: scenes.slab(rate, FINE, **changes) for name, rate in RATES.items()}


@pytest.mark.parametrize("symmetry", [(0, 0, 0), (1, 0, 0)])
def test_the_loop_fetches_what_it_interpolates(web, wire, tmp_path, symmetry):
    simulations = heated(symmetry=symmetry)
    batch_data = web.Batch(simulations=simulations, verbose=False, lazy=True).run(path_dir=tmp_path / "lazy")
    before = wire.received
    lazy = {}
    for name, hs_data in batch_data.items():
        temperature = hs_data["plane"].temperature.interp(**GRID, fill_value=scenes.BASE)
        assert isinstance(temperature, td.SpatialDataArray)
        lazy[name] = temperature
    moved = wire.received - before
    assert not list((tmp_path / "lazy").glob("task*")), "no result was needed whole"
    eager = web.Batch(simulations=simulations, verbose=False).run(path_dir=tmp_path / "eager")
    nbytes = 0
    for name, hs_data in eager.items():
        field = hs_data["plane"].temperature
        nbytes += field.values.nbytes + field.points.nbytes + field.cells.nbytes
        expected = field.interp(**GRID, fill_value=scenes.BASE)
        np.testing.assert_allclose(lazy[name].values, expected.values, rtol=1e-12)
        for dim in "xyz":
            np.testing.assert_array_equal(lazy[name][dim], expected[dim])
    assert moved < nbytes / 4, (moved, nbytes)
    solver = guide()
    perturbed = {
        name: solver.updated_copy(
            simulation=solver.simulation.perturbed_mediums_copy(temperature=temperature)
        )
        for name, temperature in lazy.items()
    }
    modes = web.Batch(simulations=perturbed, verbose=False).run(path_dir=tmp_path / "modes")
    assert float(modes["high"].n_eff[0, 0]) > float(modes["low"].n_eff[0, 0]) + 1e-5


def test_lazy_results_are_what_they_stand_for(web, tmp_path):
    simulation = scenes.slab(1.5e-6)
    results = web.Batch(simulations={"a": simulation}, verbose=False, lazy=True).run(path_dir=tmp_path)
    eager = web.load(results.task_ids["a"], path=tmp_path / "eager.hdf5", verbose=False)

    def lazy():
        return results["a"]

    assert isinstance(lazy(), td.HeatChargeSimulationData) and "until it is touched" in repr(lazy())
    assert isinstance(lazy()["plane"], td.TemperatureData)
    field = lazy()["plane"].temperature
    assert isinstance(field, td.TriangularGridDataset) and "until it is touched" in repr(field)
    # Whatever is touched, it is the same as of the whole.
    assert scenes.centre_rise(lazy()) == pytest.approx(scenes.centre_rise(eager), rel=1e-12)
    np.testing.assert_array_equal(field.values.values, eager["plane"].temperature.values.values)
    assert type(field) is td.TriangularGridDataset and field == eager["plane"].temperature
    assert lazy()["plane"] == eager["plane"] and eager["plane"] == lazy()["plane"]
    assert (lazy()["centre"].temperature == eager["centre"].temperature) is True
    assert lazy()["plane"].temperature + 1 == eager["plane"].temperature + 1
    assert lazy()["plane"].temperature.normal_axis == 1
    assert not list(tmp_path.glob("task*"))
    untouched = lazy().copy()
    assert not list(tmp_path.glob("task*"))
    whole = [untouched, lazy(), copy.copy(lazy()), pickle.loads(pickle.dumps(lazy()))]
    for data in whole:
        assert data.simulation == simulation and type(data) is td.HeatChargeSimulationData
        assert data == eager
    [file] = tmp_path.glob("task*")
    assert td.HeatChargeSimulationData.from_file(str(file)) == eager
    assert lazy() == eager, "from its file now"
    with pytest.raises(Exception, match="nowhere"):
        lazy()["nowhere"]


def test_containers_and_downloads(web, tmp_path):
    a, b = scenes.slab(1e-6), scenes.slab(2e-6)
    results = web.run([a, {"b": b, "a": a}], path=tmp_path / "out", verbose=False, lazy=True)
    assert scenes.centre_rise(results[1]["b"]) == pytest.approx(2 * scenes.centre_rise(results[0]), rel=1e-6)
    assert results[1]["a"].simulation == a and len(list((tmp_path / "out").glob("task*"))) == 1
    batch = web.Batch(simulations={"b": b}, verbose=False, lazy=True)
    batch.run(path_dir=tmp_path / "batch")
    assert not list((tmp_path / "batch").glob("task*"))
    batch.download(path_dir=tmp_path / "batch")
    assert len(list((tmp_path / "batch").glob("task*"))) == 1
    # Without a word about it, lazy data has files as the client's has.
    web.run_async({"b": b}, path_dir=tmp_path / "async", verbose=False)
    assert len(list((tmp_path / "async").glob("task*"))) == 1


def test_modes(web, tmp_path):
    solver = guide()
    data = web.run(solver, path=tmp_path / "modes.hdf5", verbose=False, lazy=True)
    index = float(data.n_eff[0, 0])
    assert index > 1.5 and not (tmp_path / "modes.hdf5").exists()
    assert data.Ex.shape[-1] == 1 and (tmp_path / "modes.hdf5").exists() is False
    assert float(data.to_dataframe()["n eff"].iloc[0]) == index and (tmp_path / "modes.hdf5").exists()
