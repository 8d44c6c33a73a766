"""`task.simulation` where the object is not here: tidy3d's own attributes, and references in the place of arrays."""

from __future__ import annotations

import contextlib
import json
import pickle

import models
import numpy as np
import pytest
import tidy3d as td
from test_reference import Plain
from wavetask import errors
from wavetask._reference import Reference, SimulationReference, Template, perturb, replace
from wavetask._reference.node import Leaf
from wavetask._simulated import Simulated
from wavetask._tidy3d import field, model, simulation, template
from wavetask._tidy3d.pack import arrays_of

MAKERS = {name: make for name, make in models.MAKERS.items() if name != "triangle_mesh"}


class Document:
    """The document of a simulation, and a note of what was fetched of it."""

    def __init__(self, made):
        self.json = model.json_text(made)
        self.held = dict(arrays_of(made, self.json))
        self.fetched = 0

    def paths(self):
        return list(self.held)

    def shape(self, path):
        return list(np.shape(self.held[path]))

    def array(self, path, ranges=None):
        found = self.held[path]
        if ranges is not None:
            found = found[tuple(slice(*each) for each in ranges)]
        self.fetched += getattr(found, "nbytes", 0)
        return found


class Task(Simulated):
    """A task of another process, whose simulation is at the server."""

    id = "0199"
    name = "elsewhere"
    status = "running"
    _client = Plain()

    def __init__(self, made, here=None, reason=None, result=None):
        Simulated.__init__(self, here)
        self.there = Document(made) if made is not None else None
        self.reason = reason
        self.result_document = result
        self.waited = 0

    def _tidy3d(self, name):
        return {"simulation": simulation, "field": field}[name]

    def _errors_here(self):
        return contextlib.nullcontext()

    def _handle(self):
        return Handle(self)

    def wait(self):
        self.waited += 1
        return True

    def document(self):
        return self.result_document

    def __reduce__(self):
        return Task, (None,)


class Handle:
    def __init__(self, task):
        self.task = task

    def simulation(self):
        if self.task.reason is not None:
            raise errors.NotFound("there is none", code=self.task.reason)
        return self.task.there


def large(count=60):
    """A simulation whose custom medium has nearly all of its bytes."""
    medium = td.CustomMedium(permittivity=2 + models.spatial(count, count, count) / 1e6, name="graded")
    structures = [models.box(td.Medium(permittivity=3)), models.box(medium)]
    return models.fdtd(structures=structures)


@pytest.mark.parametrize("name", MAKERS)
def test_it_is_the_simulation_but_for_its_arrays(name):
    made = MAKERS[name]()
    task = Task(made)
    found = task.simulation
    arrays = template.arrays(made)
    if not arrays:
        assert type(found) is type(made) and found == made
        return
    assert isinstance(found, SimulationReference)
    assert list(found.arrays) == list(arrays)
    for path, array in arrays.items():
        made_of = found.arrays[path]
        assert isinstance(made_of, Reference) and made_of.dims == array.dims
        leaf = json.loads(made_of.json())["expression"]["field"]
        assert leaf == {"source": {"task": "0199"}, "part": "simulation", "path": path.split("/")}
        assert made_of.shape == array.shape and (made_of.dtype.kind == "c") == (array.dtype.kind == "c")
        np.testing.assert_array_equal(made_of.values, array.values)
        for dim in set(array.dims) & set(array.coords):
            np.testing.assert_array_equal(made_of.coords[dim].values, array.coords[dim].values)
    same(found, made)
    loaded = found.load()
    assert type(loaded) is type(made) and model.json_text(loaded) == model.json_text(made)
    for path, array in template.arrays(loaded).items():
        np.testing.assert_array_equal(array.values, arrays[path].values)


def same(found, made):
    """Every field is tidy3d's own, or a reference where there is an array, or is made of such."""
    if isinstance(found, Reference):
        assert hasattr(made, "dims") or hasattr(made, "cells")
    elif isinstance(found, SimulationReference):
        names = getattr(type(made), "model_fields", None) or type(made).__fields__
        for name in names:
            same(getattr(found, name), getattr(made, name))
    elif isinstance(found, (tuple, list)):
        assert len(found) == len(made)
        for one, other in zip(found, made, strict=True):
            same(one, other)
    elif not isinstance(found, dict):
        assert type(found) is type(made)


def test_values_stay_where_they_are():
    made = large()
    task = Task(made)
    total = sum(getattr(array, "nbytes", 0) for array in task.there.held.values())
    found = task.simulation
    assert found.run_time == made.run_time and found.structures[0] == made.structures[0]
    medium = found.structures[1].medium
    assert medium.name == "graded" and medium.interp_method == made.structures[1].medium.interp_method
    permittivity = medium.permittivity
    assert isinstance(permittivity, Reference) and permittivity.shape == (60, 60, 60)
    assert permittivity._expression.simulation and permittivity.nbytes == 8 * 60**3
    assert "simulation/structures/1/medium/permittivity" in repr(permittivity)
    assert f"{8 * 60**3} bytes to fetch" in repr(permittivity)
    np.testing.assert_array_equal(permittivity.x.values, made.structures[1].medium.permittivity.x.values)
    assert task.there.fetched < total / 500, "labels, and one value"
    before = task.there.fetched
    plane = permittivity.isel(z=3)
    np.testing.assert_array_equal(plane.values, made.structures[1].medium.permittivity.isel(z=3).values)
    assert task.there.fetched - before == 8 * 60**2 + 3 * 8 * 60, "the plane and the labels"
    assert "structures/1/medium/permittivity" in repr(found) and "elsewhere" in repr(medium)
    with pytest.raises(AttributeError, match="`Simulation` has no `strctures`"):
        found.strctures  # noqa: B018
    assert "structures" in dir(found) and "epsilon" in dir(found)


def test_what_is_computed_fetches():
    made = large(8)
    found = Task(made).simulation
    box = td.Box(size=(1, 1, 1))
    np.testing.assert_array_equal(found.epsilon(box).values, made.epsilon(box).values)
    assert found == made and found.structures[1].medium == made.structures[1].medium
    assert found.structures[1].medium.load() == made.structures[1].medium


def test_arrays_of_one_simulation_are_put_into_another():
    one, other = Task(large(30)), large(5)
    path = "structures[1].medium.permittivity"
    made = replace(other, path, one.simulation.structures[1].medium.permittivity * 2)
    assert isinstance(made, Template) and made.tasks == [one]
    expected = 2 * large(30).structures[1].medium.permittivity.values
    np.testing.assert_array_equal(made.load().structures[1].medium.permittivity.values, expected)


def test_what_is_not_replaced_stays_at_the_server():
    made = large(30)
    rate = td.CustomMedium(permittivity=2 + models.spatial(2, 3, 4))
    made = made.updated_copy(structures=[*made.structures, models.box(rate)])
    task = Task(made)
    new = Reference(Leaf("0200", ("new",)), ("x", "y", "z"))
    changed = replace(task.simulation, "structures[2].medium.permittivity", new)
    assert set(changed.slots) == {"structures/1/medium/permittivity", "structures/2/medium/permittivity"}
    assert changed.slots["structures/2/medium/permittivity"] is new
    whole = Template(*task.simulation._absent())
    assert list(whole.slots) == ["structures/1/medium/permittivity"], "small arrays are here"
    resolved = whole.resolve()
    assert model.json_text(resolved) == model.json_text(made)
    for path, array in template.arrays(made).items():
        np.testing.assert_array_equal(template.arrays(resolved)[path].values, array.values)
    part = Template(*task.simulation.structures[1].medium._absent())
    assert list(part.slots) == ["permittivity"] and part.resolve() == made.structures[1].medium


def test_the_tables_of_perturbations_are_fetched_to_be_used():
    values = td.ChargeDataArray(
        np.linspace(0, 0.2, 90 * 91).reshape(90, 91),
        coords={"n": np.linspace(0, 1e17, 90), "p": np.linspace(0, 1e17, 91)},
    )
    medium = td.PerturbationMedium(
        permittivity=4,
        permittivity_perturbation=td.ParameterPerturbation(
            charge=td.CustomChargePerturbation(perturbation_values=values)
        ),
    )
    made = models.fdtd(structures=[models.box(medium)])
    task = Task(made)
    grid = {"x": np.linspace(-1, 1, 4), "y": np.linspace(-1, 1, 3), "z": np.linspace(-1, 1, 2)}
    density = td.SpatialDataArray(1e17 * np.random.default_rng(3).random((4, 3, 2)), coords=grid)
    assert simulation.SMALL < 16 * 90 * 91, "a table that is not fetched with the simulation"
    found = perturb(task.simulation, electron_density=density).resolve()
    expected = made.perturbed_mediums_copy(electron_density=density)
    np.testing.assert_allclose(
        found.structures[0].medium.permittivity.values,
        expected.structures[0].medium.permittivity.values,
        rtol=1e-12,
    )
    assert found.structures[0].medium.derived_from == expected.structures[0].medium.derived_from


def test_the_object_itself_where_it_is_here():
    made = large(4)
    task = Task(made, here=made)
    if not models.NEW_CLIENT:
        # Objects of the older client cannot be held as long as somebody else does: they are asked for.
        assert isinstance(task.simulation, SimulationReference) and task.simulation == made
        return
    assert task.simulation is made and task.there.fetched == 0
    again = SimulationReference(task)
    np.testing.assert_array_equal(
        again.structures[1].medium.permittivity.values, made.structures[1].medium.permittivity.values
    )
    assert task.there.fetched == 0


def test_of_a_template_arrays_are_references_to_the_simulation_that_is_made_of_it():
    made, other = large(4), Task(large(7))
    path = "structures/1/medium/permittivity"
    standing = replace(
        large(3), path, other.simulation.structures[1].medium.permittivity.isel(x=slice(2)) + 1
    )
    task = Task(made, here=standing)
    found = task.simulation
    assert isinstance(found, SimulationReference) and task.there.fetched == 0
    there = found.structures[1].medium.permittivity
    assert there._expression.simulation and there._expression.task is task
    assert there.shape == (2, 7, 7) and task.there.fetched == 0, "known from what it is made of"
    assert found.structures[0] == made.structures[0]
    np.testing.assert_array_equal(there.values, made.structures[1].medium.permittivity.values)
    assert task.there.fetched > 0, "its values are those that the server has"


def test_they_can_be_pickled():
    task = Task(large(10))
    medium = task.simulation.structures[1].medium
    sent = pickle.dumps((medium, medium.permittivity))
    assert len(sent) < 3000, "no array goes along"
    again, array = pickle.loads(sent)
    assert isinstance(again, SimulationReference) and array.dims == ("x", "y", "z")
    assert array.shape == (10, 10, 10) and array._expression.simulation


def test_what_the_server_does_not_have_yet_is_waited_for_and_else_is_in_the_result():
    made = large(4)
    result = Document(models.heat_result(models.slab(rate=models.spatial(3, 4, 5))))
    task = Task(made, reason="task.no_simulation", result=result)
    found = task.simulation
    assert task.waited == 1 and found.sources[0].rate.shape == (3, 4, 5)
    np.testing.assert_array_equal(found.sources[0].rate.values, models.spatial(3, 4, 5).values)
    assert found.load() == models.slab(rate=models.spatial(3, 4, 5))
    nothing = Task(made, reason="task.no_simulation", result=Document(models.fdtd()))
    with pytest.raises(errors.NotFound, match="neither the server nor the result"):
        nothing.simulation  # noqa: B018
    with pytest.raises(errors.NotFound, match="there is none"):
        Task(made, reason="task.not_found").simulation  # noqa: B018


def test_arrays_that_are_not_there_are_refused_by_name():
    task = Task(large(4))
    for path in (("structures", "7", "medium"), ("nothing",), ("structures", "x")):
        with pytest.raises(errors.NotFound, match="the simulation has no"):
            Reference(Leaf(task, path, simulation=True), ("x",)).load()
