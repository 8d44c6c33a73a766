"""References through a real server: a chain that is submitted at once, and values that are computed there."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scenes
import tidy3d as td
import xarray as xr
from guides import FREQUENCY, mode_solver, simulation
from test_planes import simulation as cube
from wavetask import _client

GRID = {"x": np.linspace(-0.5, 0.5, 6), "y": [0.0], "z": np.linspace(-0.6, 0.6, 9)}
RATES = {"low": 1e-6, "high": 3e-6}


def guide(model=None):
    """A strip whose index grows with the temperature."""
    model = model or td.LinearHeatPerturbation(temperature_ref=scenes.BASE, coeff=1.8e-4)
    silicon = td.PerturbationMedium(
        permittivity=12.0,
        perturbation_spec=td.IndexPerturbation(delta_n=td.ParameterPerturbation(heat=model), freq=FREQUENCY),
    )
    strip = td.Structure(geometry=td.Box(size=(0.5, td.inf, 0.22)), medium=silicon)
    return mode_solver(modes=1, scene=simulation(structures=[strip]))


def on_the_grid(task):
    return task["plane"].temperature.interp(**GRID, fill_value=scenes.BASE)


@pytest.fixture
def heat(connected):
    sims = {name: scenes.slab(rate, 0.25) for name, rate in RATES.items()}
    return connected.submit(sims, name="heat", progress=False)


def test_a_chain_is_submitted_before_anything_has_run(connected, heat):
    modes = connected.submit(
        {name: connected.perturb(guide(), temperature=on_the_grid(task)) for name, task in heat.items()},
        name="modes",
        progress=False,
    )
    found = {name: float(data.n_eff[0, 0]) for name, data in modes.results(timeout=300).items()}
    for name, task in heat.items():
        temperature = task.result()["plane"].temperature.interp(**GRID, fill_value=scenes.BASE)
        solver = guide()
        perturbed = solver.updated_copy(
            simulation=solver.simulation.perturbed_mediums_copy(temperature=temperature)
        )
        expected = connected.submit(perturbed, progress=False).result()
        assert found[name] == pytest.approx(float(expected.n_eff[0, 0]), abs=1e-9)
    assert found["high"] > found["low"] + 1e-5
    listed = [batch["name"] for batch in _client.current().batches()]
    assert "modes" in listed and not any("reference" in name for name in listed)


def test_a_scene_of_hundreds_of_media(connected, heat):
    """More arrays than one evaluation computes."""
    model = td.ParameterPerturbation(
        heat=td.LinearHeatPerturbation(temperature_ref=scenes.BASE, coeff=1.8e-4)
    )
    spec = td.IndexPerturbation(delta_n=model, freq=FREQUENCY)

    def strip(number):
        medium = td.PerturbationMedium(permittivity=12.0 + 1e-3 * number, perturbation_spec=spec)
        box = td.Box(center=((number - 150) * 3e-3, 0, 0), size=(3e-3, td.inf, 0.22))
        return td.Structure(geometry=box, medium=medium)

    solver = mode_solver(modes=1, scene=simulation(structures=[strip(number) for number in range(300)]))
    field = on_the_grid(heat["high"])
    perturbed = connected.perturb(solver, temperature=field)
    assert len(perturbed.slots) == 300
    whole = perturbed.resolve()
    task = connected.submit(perturbed, name="hundreds of media", progress=False)
    sent = connected.submit(whole, name="sent", progress=False)
    found, expected = (float(each.result(timeout=300).n_eff[0, 0]) for each in (task, sent))
    assert found == pytest.approx(expected, abs=1e-12)
    filled = task.simulation.load().simulation.structures
    for ours, theirs in zip(filled, whole.simulation.structures, strict=True):
        xr.testing.assert_allclose(ours.medium.permittivity, theirs.medium.permittivity, rtol=1e-12, atol=0)


FUNCTIONS = [
    lambda a: np.float64(2) * a / 3 - a**2 + 1,
    lambda a: np.abs(-a) + np.conj(a) + np.square(a) - 2 - a,
    lambda a: a.abs.real - a.imag + a.conj() + (a + 1j).angle,
    lambda a: ((1 + 2j) * a).imag + ((3 - 1j) * a).real,
    lambda a: a.sel(x=0.13, method="nearest"),
    lambda a: a.sel(y=slice(-0.1, None), z=slice(None, 0.2)),
    lambda a: a.isel(x=-1, y=[0, 2], z=slice(None, None, -2)),
    lambda a: (a + 1).sel(x=0.13, method="nearest").isel(z=[0, -1]),
    lambda a: a.interp(x=[0.05, -0.025], z=0.1),
    lambda a: a.interp(x=[5, 0.1], kwargs={"fill_value": 3.5}),
    lambda a: a.interp(x=[5, 0.1], kwargs={"fill_value": np.nan}),
    lambda a: a.interp(x=[5, 0.1], kwargs={"fill_value": "extrapolate"}),
    lambda a: a.interp(z=[0.11, 0.212], method="nearest"),
    lambda a: a.interp(x=a.isel(x=[0, 2]).x, z=[0.1]),
    lambda a: a.sum("x") + a.mean(["y", "z"]) * a.max() - a.min("z"),
    lambda a: a.std("x") + a.var(["y", "z"]) * a.std() - a.var("z", ddof=0),
    lambda a: a.argmax("z"),
    lambda a: a.argmin("x"),
    lambda a: a.where(a > 300.5),
    lambda a: a.where(a > 300.5).fillna(7.5),
    lambda a: a.where(a != a.isel(x=0)),
    lambda a: a.where(a > 300.5).std("x", skipna=True),
    lambda a: (a <= 300.2) != (a >= 300.7),
    lambda a: abs(a + 2j * a).std("y") + ((1 + 2j) * a).var("y"),
    lambda a: a.isel(x=[1]).squeeze("x").transpose("z", "y"),
]


def test_whatever_is_written_means_there_what_it_means_here(connected):
    """Every operation from Python to the server's evaluation, beside tidy3d's and xarray's on the same data."""
    coarse = td.DistanceUnstructuredGrid(
        dl_interface=0.05, dl_bulk=0.2, distance_interface=0.0, distance_bulk=0.3
    )
    task = connected.submit(cube().updated_copy(grid_spec=coarse), name="cube", progress=False)
    field = task["grid"].temperature
    references = {f"{number}": function(field) for number, function in enumerate(FUNCTIONS)}
    found = connected.submit(references, name="all operations", progress=False).results(timeout=120)
    data = task.result()["grid"].temperature
    assert min(data.shape) > 4 and float(data.max()) > 300.7, (data.shape, float(data.max()))
    for (name, value), function in zip(found.items(), FUNCTIONS, strict=True):
        expected = function(data)
        assert value.dims == expected.dims and set(value.coords) == set(expected.coords), name
        # Integers are computed as floats there.
        assert value.dtype == expected.dtype or expected.dtype.kind == "i", (
            name,
            value.dtype,
            expected.dtype,
        )
        for coordinate in expected.coords:
            np.testing.assert_array_equal(value[coordinate], expected[coordinate], err_msg=name)
        np.testing.assert_allclose(value.values, expected.values, rtol=1e-11, atol=1e-11, err_msg=name)
        assert np.isfinite(np.asarray(expected.values, complex)).any(), name


def test_a_field_in_single_precision_is_named_and_given_in_double(connected):
    solver = guide()
    solver = solver.updated_copy(mode_spec=solver.mode_spec.updated_copy(precision="single"))
    task = connected.submit(solver, name="single", progress=False)
    field = task.data.Ex
    assert task.result(timeout=120).Ex.dtype == np.complex64, "what is stored"
    for reference in (field, field.isel(f=0), field + 0):
        assert reference.dtype == reference.values.dtype == np.complex128
        assert reference.nbytes == reference.values.nbytes
    np.testing.assert_array_equal(field.values, task.result().Ex.values)


def test_values_are_computed_there(connected, heat):
    task = heat["high"]
    rise = (on_the_grid(task) - scenes.BASE) ** 2
    expected = (task.result()["plane"].temperature.interp(**GRID, fill_value=scenes.BASE) - scenes.BASE) ** 2
    np.testing.assert_allclose(rise.values, expected.values, rtol=1e-9, atol=1e-9)
    assert isinstance(rise.load(), td.SpatialDataArray)
    again = pickle.loads(pickle.dumps(rise.max("x")))
    np.testing.assert_allclose(again.values, expected.max("x").values, rtol=1e-9)
    ratio = on_the_grid(heat["high"]) / on_the_grid(heat["low"])
    assert float(ratio.max()) > 1 and ratio.sum().load().shape == ()


@pytest.mark.parametrize("unstructured", [True, False])
def test_temperatures_of_a_symmetric_simulation_are_computed_there(connected, unstructured):
    plane = td.TemperatureMonitor(size=(td.inf, 0, td.inf), name="plane", unstructured=unstructured)
    task = connected.submit(scenes.slab(symmetry=(1, 0, 0), monitors=[plane]), progress=False)
    # Along y a field on a grid has one place, beside which there is nothing to interpolate.
    places = GRID if unstructured else {"x": GRID["x"], "z": GRID["z"]}
    # Where that is, the result says.
    assert unstructured or task.wait(timeout=120)
    field = task["plane"].temperature.interp(**places, fill_value=scenes.BASE)
    modes = connected.perturb(guide(), temperature=field)
    assert modes.computable
    found = connected.submit(modes, progress=False).result(timeout=300)
    fill = {"fill_value": scenes.BASE}
    whole = task.result()["plane"].temperature
    temperature = whole.interp(**places, **fill) if unstructured else whole.interp(**places, kwargs=fill)
    np.testing.assert_allclose(field.values, temperature.values, rtol=1e-12)
    solver = guide()
    perturbed = solver.simulation.perturbed_mediums_copy(temperature=temperature)
    expected = connected.submit(solver.updated_copy(simulation=perturbed), progress=False).result()
    assert float(found.n_eff[0, 0]) == pytest.approx(float(expected.n_eff[0, 0]), abs=1e-9)


def test_a_table_of_temperatures_is_looked_up_there(connected, heat):
    values = td.HeatDataArray([0.0, 1.5e-3, 9e-3], coords={"T": [scenes.BASE, 302.0, 330.0]})
    table = td.CustomHeatPerturbation(perturbation_values=values)
    modes = connected.perturb(guide(table), temperature=on_the_grid(heat["high"]))
    assert modes.computable
    found = connected.submit(modes, progress=False).result(timeout=300)
    solver = guide(table)
    temperature = heat["high"].result()["plane"].temperature.interp(**GRID, fill_value=scenes.BASE)
    perturbed = solver.simulation.perturbed_mediums_copy(temperature=temperature)
    expected = connected.submit(solver.updated_copy(simulation=perturbed), progress=False).result()
    assert float(found.n_eff[0, 0]) == pytest.approx(float(expected.n_eff[0, 0]), abs=1e-9)


@pytest.mark.parametrize("colocate", [True, False])
def test_symmetric_modes_and_their_flux_are_computed_there(connected, colocate):
    solver = mode_solver(scene=simulation(symmetry=(-1, 0, 1)), colocate=colocate)
    task = connected.submit(solver, progress=False)
    flux = task.data.flux
    assert flux.dims == ("f", "mode_index") and flux.shape == (1, 2), "known before there is a result"
    whole = task.data.symmetry_expanded_copy
    strength = abs(whole.Ex).max(["x", "y", "z"])
    result = task.result(timeout=300)
    np.testing.assert_allclose(flux.values, result.flux.values, rtol=1e-10)
    expected = result.symmetry_expanded_copy.Ex
    np.testing.assert_allclose(strength.values, abs(expected).max(["x", "y", "z"]).values, rtol=1e-12)
    assert whole.Ex.shape == expected.shape and whole.Ex.size > result.Ex.size
    line = whole.Hz.isel(f=0, mode_index=0).interp(x=[-0.31, 0.31], z=[0.05]) * 2
    there = 2 * result.symmetry_expanded_copy.Hz.isel(f=0, mode_index=0).interp(x=[-0.31, 0.31], z=[0.05])
    np.testing.assert_allclose(line.values, there.values, rtol=1e-12, atol=1e-12)


def test_what_an_input_lacks_fails_what_is_made_of_it(connected):
    broken = connected.submit(scenes.unsolvable(), name="broken", progress=False)
    modes = connected.submit(
        connected.perturb(guide(), temperature=on_the_grid(broken)), name="waits", progress=False
    )
    with pytest.raises(connected.errors.InputFailed):
        modes.result(timeout=300)


def test_an_input_that_was_never_submitted_fails_what_is_made_of_it(connected):
    heat = connected.submit(scenes.slab(), name="not packed", hold=True, progress=False)
    heat.cancel()
    heat.wait(60)
    modes = connected.submit(
        connected.perturb(guide(), temperature=on_the_grid(heat)), name="waits in vain", progress=False
    )
    with pytest.raises(connected.errors.InputFailed):
        modes.result(timeout=60)
