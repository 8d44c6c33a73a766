"""References: named and typed before there is data, as JSON for the server, and equal to what tidy3d computes."""

from __future__ import annotations

import gc
import json
import operator
import pickle
import weakref

import models
import numpy as np
import pytest
import tidy3d as td
import xarray
from test_build import Document
from tidy3d.plugins.mode import ModeSolver
from wavetask import concat, errors
from wavetask._reference import DataReference, Reference
from wavetask._reference.node import Leaf
from wavetask._reference.remote import computable
from wavetask._tidy3d import field, fields

RNG = np.random.default_rng(5)


class Plain:
    """A client of a server that computes no expressions."""

    def _in_this_process(self):
        return self

    @property
    def _native(self):
        return self

    def evaluates(self):
        return False


class Task:
    """A task whose result is there, and a note of what was fetched of it."""

    _client = Plain()

    def __init__(self, result, known=True):
        self.id = "0199"
        self.name = "one"
        self.document = Document(result)
        self.parts = []
        described = fields.of_document(self.document.json)
        if known:
            described = fields.of_simulation(fields.outline(result.simulation))
        self.data = DataReference(self, described)

    def load(self, path, ranges=None):
        array = self.document.load(path)
        if ranges is None:
            return array
        self.parts.append((path, tuple(ranges)))
        return array[tuple(slice(*each) for each in ranges)]

    def _field(self, path, selections):
        document = self.document
        return field.build_field(document.json, path, selections, self.load, document.arrays)

    def _field_labels(self, path):
        document = self.document
        shapes = {path: list(np.shape(array)) for path, array in document.arrays.items()}
        return field.labels(document.json, path, self.load, document.arrays, shapes.__getitem__)

    def _monitor_data(self, monitor):
        return self.document.monitor(monitor)


@pytest.fixture(scope="module")
def heat():
    return Task(models.heat_result())


@pytest.fixture(scope="module")
def modes():
    return Task(models.flux_result())


def cube(**changes):
    """A reference to an array of three dimensions, and the array."""
    array = td.SpatialDataArray(RNG.normal(size=(4, 3, 5)), coords=models.grid(4, 3, 5))
    return leaf(array), array


def leaf(array):
    return Reference(Leaf("task", ("monitor", "field")), tuple(array.dims))


def value(reference, *arrays):
    """What an expression is worth where its fields are these arrays, in the order of their paths."""
    from wavetask._reference.evaluate import evaluate

    return evaluate(reference._expression, lambda leaf: arrays[0])


def plain(reference):
    text = json.loads(reference.json())
    assert text["version"] == 1
    return text["expression"]


def test_fields_are_known_from_the_simulation_and_equal_those_of_the_result():
    for result in (models.heat_result(), models.flux_result()):
        before = fields.of_simulation(fields.outline(result.simulation))
        after = fields.of_document(Document(result).json)
        assert list(before.monitors) == list(after.monitors)
        for name, data in after.monitors.items():
            assert before.monitors[name].kind == data.kind
            for known, there in data.fields.items():
                expected = before.monitors[name].fields[known]
                assert (expected.dims, expected.mesh) == (there.dims, there.mesh), (name, known)
                assert expected.is_complex in (there.is_complex, None) or there.is_complex is None


def test_a_mode_solver_has_fields_without_monitors():
    plane = td.Box(size=(2, 2, 0))
    made = ModeSolver(
        simulation=models.fdtd(), plane=plane, mode_spec=td.ModeSpec(num_modes=3), freqs=[2e14, 2.1e14]
    )
    data = fields.of_simulation(fields.outline(made))
    assert data.kind == "ModeSolverData" and not data.monitors
    assert data.fields["n_eff"].dims == ("f", "mode_index")
    assert data.fields["n_eff"].labels == {"f": (2e14, 2.1e14), "mode_index": (0, 1, 2)}
    assert data.fields["n_complex"].is_complex and data.fields["n_eff"].is_complex is False
    assert data.fields["Ex"].dims == ("x", "y", "z", "f", "mode_index")
    made_of = DataReference(Task(models.heat_result()), data)
    assert plain(made_of.n_eff) == {
        "unary": {"function": "real", "of": {"field": {"source": {"task": "0199"}, "path": ["n_complex"]}}}
    }


@pytest.mark.parametrize("known", [True, False], ids=["before", "there"])
@pytest.mark.parametrize(
    ("result", "monitor", "name"),
    [(models.symmetric_result, "field", "Ey"), (models.symmetric_heat_result, "line", "temperature")],
)
def test_a_symmetric_field_is_the_whole(result, monitor, name, known):
    task = Task(result(), known)
    expected = getattr(task.document.monitor(monitor), name)
    reference = getattr(task.data[monitor], name)
    assert computable(reference._expression)
    assert expected.size > getattr(task.document.build().data[0], name).size
    task.parts.clear()
    assert reference.shape == expected.shape and reference.dtype == expected.dtype
    for dim in expected.dims:
        np.testing.assert_array_equal(reference.coords[dim].values, expected.coords[dim].values)
    assert all(high == low for _, ranges in task.parts for low, high in ranges), "no value has been fetched"
    np.testing.assert_array_equal(reference.values, expected.values)
    np.testing.assert_array_equal(reference.isel(x=[0, -1]).values, expected.isel(x=[0, -1]).values)


def test_what_a_mode_solver_has_is_what_is_stored_unless_the_whole_is_asked_for():
    made = ModeSolver(
        simulation=models.fdtd(symmetry=(1, 0, 0), sources=[]), plane=td.Box(size=(2, 2, 0)),
        mode_spec=td.ModeSpec(), freqs=[2e14],
    )  # fmt: skip
    data = DataReference(Task(models.heat_result()), fields.of_simulation(fields.outline(made)))
    assert plain(data.Ex)["field"]["path"] == ["Ex"]
    whole = data.symmetry_expanded_copy
    assert plain(whole.Ex)["field"]["path"] == ["symmetry_expanded_copy", "Ex"]
    assert whole.symmetry_expanded_copy is whole and computable(whole.Ex._expression)


def test_the_flux_of_a_field_is_a_reference():
    names = dict(x=[0.0, 0.1], y=[0.0], z=[0.0, 0.2, 0.3], f=[2e14, 2.1e14])
    values = RNG.normal(size=(2, 1, 3, 2)) + 1j * RNG.normal(size=(2, 1, 3, 2))
    field = td.ScalarFieldDataArray(values, coords=names)
    monitor = td.FieldMonitor(size=(0.1, 0, 0.3), freqs=names["f"], name="plane")
    point = td.FieldMonitor(size=(0, 0, 0), freqs=names["f"], name="point")
    simulation = models.fdtd(monitors=[monitor, point])
    grid = td.Grid(boundaries=td.Coords(x=[0, 0.1, 0.2], y=[0, 0.1], z=[0, 0.2, 0.3, 0.5]))
    components = {f"{letter}{axis}": field for letter in "EH" for axis in "xyz"}
    data = td.FieldData(monitor=monitor, grid_expanded=grid, **components)
    alone = td.FieldData(
        monitor=point, **{name: each.isel(x=[0], z=[0]) for name, each in components.items()}
    )
    result = td.SimulationData(simulation=simulation, log="", data=[data, alone])
    for known in (True, False):
        task = Task(result, known)
        flux = task.data["plane"].flux
        assert plain(flux) == {"field": {"source": {"task": "0199"}, "path": ["plane", "flux"]}}
        assert flux.dims == ("f",) and flux.shape == (2,) and flux.dtype == np.dtype("float64")
        np.testing.assert_array_equal(flux.values, data.flux.values)
        np.testing.assert_array_equal((2 * flux).sel(f=2e14).values, 2 * data.flux.sel(f=2e14).values)
        assert "flux" not in task.data["point"].fields


def test_unknown_names_are_refused_by_name(heat):
    with pytest.raises(errors.NotFound, match="nowhere") as caught:
        heat.data["nowhere"]
    assert "plane, centre" in caught.value.hint
    with pytest.raises(AttributeError, match="TemperatureData has no `temprature`; its fields: temperature"):
        heat.data["plane"].temprature  # noqa: B018
    centre = heat.data["centre"].temperature
    with pytest.raises(errors.Usage, match="no dimension `f`") as caught:
        centre.sel(f=1)
    assert caught.value.hint == "its dimensions: x, y, z"
    with pytest.raises(errors.Usage, match="unstructured mesh"):
        heat.data["plane"].temperature.sel(x=0)
    with pytest.raises(errors.Usage, match="x, y and z together"):
        heat.data["plane"].temperature.interp(x=0, z=1)
    with pytest.raises(errors.Usage, match="unstructured mesh"):
        heat.data["plane"].temperature.max()
    assert not heat.document.loaded


def test_the_json_is_that_of_the_server(heat):
    leaf = {"field": {"source": {"task": "0199"}, "path": ["plane", "temperature"]}}
    line = heat.data["plane"].temperature.interp(x=[0, 0.1], y=0, z=np.float32(0.5), fill_value=300)
    assert line.dims == ("x", "y", "z")
    interp = {
        "interp": {
            "of": leaf,
            "places": [["x", {"values": [0, 0.1]}], ["y", {"value": 0}], ["z", {"value": 0.5}]],
            "method": "linear",
            "fill": {"value": 300},
        }
    }
    assert plain(line) == interp
    number = {"number": {"value": 300}}
    rise = {"binary": {"function": "subtract", "left": interp, "right": number}}
    assert plain(line - 300) == rise
    assert plain((line - 300).max("x")) == {"reduce": {"function": "max", "of": rise, "dimensions": ["x"]}}
    assert plain(line.sel(x=slice(None, 0.1), method=None).isel(z=-1)) == {
        "isel": {
            "of": {"sel": {"of": interp, "selectors": [["x", {"slice": {"stop": 0.1}}]]}},
            "indexers": [["z", {"index": -1}]],
        }
    }
    assert plain(line.where(line > 1j * 0 + 2)) == {
        "where": {
            "of": interp,
            "condition": {
                "binary": {
                    "function": "greater",
                    "left": interp,
                    "right": {"number": {"value": 2, "imaginary": 0}},
                }
            },
        }
    }
    other = heat.data["centre"].temperature
    assert plain(line.interp(x=other.x))["interp"]["places"] == [
        ["x", {"coordinate_of": {"expression": plain(other), "dimension": "x"}}]
    ]


@pytest.mark.parametrize(
    "function",
    [
        lambda a: a + 1,
        lambda a: 2 - a,
        lambda a: np.float64(2) * a / 3 - a**2,
        lambda a: -abs(a),
        lambda a: np.abs(a) + np.conj(a) + np.square(a),
        lambda a: np.multiply(a, np.pi),
        lambda a: a.abs.real - a.imag + a.conj() + (a + 1j).angle,
        lambda a: a.sel(x=0.3, method="nearest"),
        lambda a: a.sel(x=[-1, 1], y=slice(0, None)),
        lambda a: a.isel(x=-1, y=[0, 2], z=slice(None, None, -2)),
        lambda a: a.interp(x=[0.5, -0.25], z=0.1),
        lambda a: a.interp(x=[5, 0.1], kwargs={"fill_value": 3.5}),
        lambda a: a.interp(x=[5, 0.1], kwargs={"fill_value": "extrapolate"}),
        lambda a: a.interp(z=[0.1, 0.2], method="nearest"),
        lambda a: a.sum("x") + a.mean(["y", "z"]) * a.max() - a.min("z"),
        lambda a: a.argmax("z"),
        lambda a: a.where(a > 0.1),
        lambda a: a.where(a != a.isel(x=0)),
        lambda a: a.isel(x=[1]).squeeze("x").transpose("z", "y"),
        lambda a: (a <= 0) != (a >= 0.5),
        lambda a: a.std("x") + a.var(["y", "z"]) * a.std() - a.var("z", ddof=0),
        lambda a: a.argmin("z"),
        lambda a: a.where(a > 0.1).fillna(7.5),
        lambda a: a.where(a > 0.1).std("x") + a.where(a > 0.1).var("x", skipna=True),
        lambda a: abs(a + 2j * a).std("y") + ((1 + 2j) * a).var("y"),
        lambda a: a.interp(x=a.isel(x=[0, 2]).x, z=[0.1]) + a.sel(x=a.isel(x=slice(0, 2)).x).isel(x=0),
    ],
)
def test_computed_here_it_is_what_tidy3d_computes(function):
    reference, array = cube()
    made = function(reference)
    expected = function(array)
    assert isinstance(made, Reference)
    found = value(made, array)
    assert made.dims == tuple(expected.dims)
    xarray.testing.assert_allclose(
        xarray.DataArray(found).reset_coords(drop=True), xarray.DataArray(expected).reset_coords(drop=True),
        rtol=1e-14,
    )  # fmt: skip


def test_nan_is_left_out_unless_told_otherwise():
    reference, array = cube()
    array[0, 0, 0] = np.nan
    for function in ("sum", "mean", "max", "min"):
        found = value(getattr(reference, function)("x"), array)
        np.testing.assert_array_equal(found.values, getattr(array, function)("x").values)
        found = value(getattr(reference, function)("x", skipna=False), array)
        assert np.isnan(found.values[0, 0]) and not np.isnan(found.values[1:]).any()


def test_equal_is_element_by_element():
    reference, array = cube()
    found = value(reference == reference.isel(x=0), array)
    np.testing.assert_array_equal(found.values, array.values == array.values[:1])


def test_where_otherwise_and_concat():
    reference, array = cube()
    made = reference.where(reference > 0, -1.0)
    np.testing.assert_array_equal(value(made, array).values, array.where(array > 0, -1.0).values)
    parts = [reference.sel(x=label) for label in array.x.values]
    made = concat(parts, "x")
    assert made.dims == ("x", "y", "z")
    found = value(made, array)
    np.testing.assert_array_equal(found.values, array.values)
    np.testing.assert_array_equal(found.x.values, array.x.values)
    made = concat([reference, reference * 2], "scale", [1, 2])
    np.testing.assert_array_equal(value(made, array).sel(scale=2).values, 2 * array.values)
    made = concat({"low": reference, "high": reference * 2}, "name")
    assert made.dims == ("name", "x", "y", "z")
    np.testing.assert_array_equal(value(made, array).sel(name="high").values, 2 * array.values)
    made = concat({0.001: reference.max(), 0.002: reference.min()}, "I")
    np.testing.assert_array_equal(value(made, array).sel(I=0.002).values, array.min().values)
    with pytest.raises(errors.Usage, match="`concat` takes references, not a Waiting") as caught:
        concat([Waiting(), Waiting()], "task")
    assert "for key, task in batch.items()" in caught.value.hint
    with pytest.raises(errors.Usage, match="`concat` of nothing"):
        concat({}, "name")
    with pytest.raises(errors.Usage, match="2 references with 1 labels"):
        concat([reference, reference], "scale", [1])


def test_operands_with_labels_are_matched_by_them():
    reference, array = cube()
    other = xarray.DataArray([1.0, 2.0], coords={"x": array.x.values[[3, 1]]}, dims=["x"])
    np.testing.assert_array_equal(value(reference * other, array).values, (array * other).values)
    with pytest.raises(errors.Usage, match="without labels"):
        reference + np.ones((4, 3, 5))
    with pytest.raises(errors.Usage, match="no labels along `x`"):
        reference + xarray.DataArray([1.0], dims=["x"])
    with pytest.raises(errors.Usage, match="not finite"):
        reference + xarray.DataArray([np.nan], coords={"x": [0]}, dims=["x"])
    for operation in (operator.add, operator.lt):
        with pytest.raises(TypeError):
            operation(reference, object())


def test_a_mesh_is_interpolated_as_tidy3d_does(heat):
    reference = heat.data["plane"].temperature
    mesh = heat.document.monitor("plane").temperature
    assert reference.dims == ("index",) and "mesh" in repr(reference)
    places = dict(x=np.linspace(-0.5, 0.5, 7), y=0, z=[0.1, 0.4, 9.0])
    for fill in ({}, {"fill_value": 300}, {"fill_value": "extrapolate"}):
        expected = mesh.interp(**places, **fill)
        found = reference.interp(**places, **fill)
        assert found.dims == expected.dims
        np.testing.assert_allclose(found.values, expected.values, rtol=1e-13)
    np.testing.assert_allclose(
        (2 * reference - 300).interp(**places).values, (2 * mesh - 300).interp(**places).values, rtol=1e-13
    )


def test_only_what_is_selected_is_fetched(modes):
    amps = modes.data["modes"].amps
    assert amps.dims == ("direction", "f", "mode_index")
    modes.parts.clear()
    expected = modes.document.monitor("modes").amps
    found = amps.sel(direction="-").isel(mode_index=[1])
    np.testing.assert_array_equal(found.values, expected.sel(direction="-").isel(mode_index=[1]).values)
    [(path, ranges)] = modes.parts
    assert path.endswith("/amps/__xarray_dataarray_variable__")
    assert [high - low for low, high in ranges] == [1, expected.sizes["f"], 1]


def test_coordinates_are_known_without_values(heat, modes):
    centre = heat.data["centre"].temperature
    expected = heat.document.monitor("centre").temperature
    heat.document.loaded.clear()
    heat.parts.clear()
    line = 2 * centre.interp(x=[0.25, 0.5]) - 300
    assert line.shape == (2, *expected.shape[1:]) and line.dtype == np.dtype("float64")
    assert line.nbytes == 8 * line.size and line.sizes["x"] == 2
    np.testing.assert_array_equal(line.x.values, [0.25, 0.5])
    np.testing.assert_array_equal(line.coords["z"].values, expected.z.values)
    plane = heat.data["plane"].temperature
    assert (
        plane.shape == heat.document.arrays["data/0/temperature/values/__xarray_dataarray_variable__"].shape
    )
    with pytest.raises(errors.Usage, match="`coords` of"):
        plane.coords  # noqa: B018
    on_a_grid = plane.interp(x=[0, 0.1], y=0, z=centre.z)
    assert on_a_grid.shape == (2, 1, expected.sizes["z"]) and on_a_grid.coords["y"].values == [0]
    assert all(high == low for _, ranges in heat.parts for low, high in ranges), "no value has been fetched"
    amps = modes.data["modes"].amps.sel(direction="-")
    assert amps.dtype == np.dtype("complex128") and amps.coords["direction"].item() == "-"
    with pytest.raises(errors.Usage, match="no label"):
        modes.data["modes"].amps.sel(f=1.0).shape  # noqa: B018


def test_before_the_result_it_is_said_what_is_not_known():
    simulation = models.slab()
    task = Waiting()
    data = DataReference(task, fields.of_simulation(fields.outline(simulation)))
    plane = data["plane"].temperature
    for what in ("shape", "coords", "dtype", "nbytes", "size"):
        with pytest.raises(errors.Usage, match=f"`{what}` of .* not known before there is a result"):
            getattr(plane + 1, what)
    line = (plane - 300).interp(x=[0.0, 1.0], y=0, z=[0.5])
    assert line.shape == (2, 1, 1) and line.nbytes == 16 and "16 bytes to fetch" in repr(line)
    assert "size is known from the result" in repr(plane)


class Waiting:
    """A task that has not begun."""

    id = None
    name = "later"

    def _field_labels(self, path):
        return None


def test_what_is_not_computed_there_fetches(heat):
    centre = heat.data["centre"].temperature
    expected = heat.document.monitor("centre").temperature
    assert float(centre.max()) == float(expected.max()) and complex(centre.max()) == float(expected.max())
    np.testing.assert_array_equal(np.asarray(centre), expected.values)
    assert centre.load() is centre.load() and centre.values.shape == expected.shape
    assert centre.to_numpy().shape == expected.shape and len(centre) == len(expected)
    assert "fetched" in repr(centre)
    assert heat.data["centre"] == heat.document.monitor("centre")
    assert heat.document.monitor("centre") == heat.data["centre"]
    assert heat.data["centre"].monitor.name == "centre"
    np.testing.assert_array_equal(np.sqrt(centre), np.sqrt(expected.values))
    np.testing.assert_array_equal(centre.var("x", ddof=1).values, expected.var("x", ddof=1).values)
    np.testing.assert_array_equal(centre.cumsum("x").values, expected.cumsum("x").values)


def test_what_is_drawn_is_fetched(modes):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    amps = modes.data["modes"].amps.sel(direction="+").isel(f=0).abs
    plt.close("all")
    amps.plot()
    [line] = plt.gca().get_lines()
    expected = abs(modes.document.monitor("modes").amps.sel(direction="+").isel(f=0))
    np.testing.assert_array_equal(line.get_ydata(), expected.values)
    plt.close("all")


def test_references_can_be_pickled():
    reference, array = cube()
    made = (reference.interp(x=[0.5, 0.25], fill_value=2) - 3).where(reference > 0)
    again = pickle.loads(pickle.dumps(made))
    assert again.json() == made.json() and again.dims == made.dims
    np.testing.assert_array_equal(value(again, array).values, value(made, array).values)


def test_a_simulation_is_not_kept_for_its_monitors():
    simulation = models.slab(rate=models.spatial(3, 4, 5))
    rate = weakref.ref(simulation.sources[0].rate)
    kept = fields.outline(simulation)
    del simulation
    gc.collect()
    assert rate() is None and list(fields.of_simulation(kept).monitors) == ["plane", "centre"]
