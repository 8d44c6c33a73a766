"""`wt.perturb` for every class of perturbations that tidy3d has, wherever structures lie and fields come from."""

from __future__ import annotations

import itertools

import models
import numpy as np
import pytest
import tidy3d as td
from test_perturb import DATA, FREQUENCY, GRID, MEDIA, charge, compare, heat, parameter, resolved
from test_perturb import Task as PlaneTask
from tidy3d.components.medium import AbstractPerturbationMedium
from tidy3d.components.parameter_perturbation import AbstractDeltaModel, AbstractPerturbation
from tidy3d.plugins.mode import ModeSolver
from wavetask import errors
from wavetask._reference import Template, perturb, replace
from wavetask._reference.evaluate import evaluate
from wavetask._reference.node import Leaf
from wavetask._reference.reference import Reference
from wavetask._tidy3d import template as templates

RNG = np.random.default_rng(11)
BOX = {"x": np.linspace(-1.1, 1.1, 7), "y": np.linspace(-0.8, 0.9, 5), "z": np.linspace(-1.2, 1.0, 6)}
SOLID = {
    "temperature": 300 + 40 * RNG.random((7, 5, 6)),
    "electron_density": 4e15 + 1e17 * RNG.random((7, 5, 6)),
    "hole_density": 3e15 + 5e16 * RNG.random((7, 5, 6)),
}


class Task(PlaneTask):
    """A task whose fields lie in a box."""

    def _field_labels(self, path):
        return BOX, False, False


def free_carriers():
    model = td.NedeljkovicSorefMashanovich(
        ref_freq=td.C_0 / 1.6, electrons_grid=np.logspace(14, 19, 6), holes_grid=np.logspace(14, 18, 5)
    )
    perturbation = td.IndexPerturbation(delta_n=model.delta_n(), delta_k=model.delta_k(), freq=td.C_0 / 1.6)
    return model, td.PerturbationMedium(permittivity=12, perturbation_spec=perturbation)


MODEL, CARRIERS = free_carriers()
EVERY = {
    **MEDIA,
    "free carriers": CARRIERS,
    "complex poles": td.PerturbationPoleResidue(
        eps_inf=2,
        poles=[((-1 + 2j) * 1e14, (3 + 4j) * 1e14)],
        poles_perturbation=[
            (parameter(heat=heat(1e11 * (1 - 2j))), parameter(heat=heat(1e10j), charge=charge(1e12)))
        ],
    ),
}


def classes(parent):
    """The classes below one that can be instantiated."""
    for child in parent.__subclasses__():
        if not getattr(child, "__abstractmethods__", None):
            yield child
        yield from classes(child)


def within(value):
    """All objects of tidy3d's within a value."""
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from within(each)
    elif hasattr(value, "__dict__") and type(value).__module__.startswith("tidy3d"):
        yield value
        for each in value.__dict__.values():
            yield from within(each)


def test_every_class_of_perturbations_is_among_the_media():
    used = {type(each) for medium in EVERY.values() for each in within(medium)} | {type(MODEL)}
    for parent in (AbstractPerturbationMedium, AbstractPerturbation, AbstractDeltaModel):
        found = set(classes(parent))
        assert found, parent
        assert found <= used, f"not covered: {found - used}"
    fields = AbstractPerturbationMedium.__annotations__
    assert {"PermittivityPerturbation", "IndexPerturbation"} <= {each.__name__ for each in used}
    assert str(fields["perturbation_spec"]).count("Perturbation") == 2, (
        "another specification of perturbations"
    )
    for kind in classes(AbstractPerturbationMedium):
        names = [
            name for name in fields_of(kind) if name.endswith("_perturbation") or name == "perturbation_spec"
        ]
        for name in names:
            assert any(
                isinstance(medium, kind) and getattr(medium, name) is not None for medium in EVERY.values()
            ), (kind, name)


def fields_of(kind):
    return getattr(kind, "model_fields", None) or kind.__fields__


def reference(name):
    return Reference(Leaf(Task(), (name,)), ("x", "y", "z"))


def array(name):
    return td.SpatialDataArray(SOLID[name], coords=BOX)


def filled(template):
    loaded = {
        path: evaluate(slot._expression, lambda leaf: array(leaf.path[0]))
        for path, slot in template.slots.items()
    }
    return templates.filled(template.simulation, loaded)


def equal(template, expected):
    """Class for class, array for array, and as permittivity on the grid: in a part of it and on all of it."""
    found = filled(template)
    compare(template, expected, found)
    box = td.Box(size=(1.6, 1.2, 1.6))
    ours, theirs = (
        each.epsilon(box, coord_key="centers", freq=FREQUENCY).values for each in (found, expected)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=0)
    assert np.ptp(theirs.real) > 0
    ours, theirs = (
        each.epsilon_on_grid(expected.grid, "Ex", 0.9 * FREQUENCY).values for each in (found, expected)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=0)


def device(*media, **changes):
    """Structures one above the other: within the simulation, partly outside of the data, and across the boundary."""
    boxes = itertools.cycle(
        [
            td.Box(center=(-0.5, 0, 0), size=(0.5, 0.7, 0.9)),
            td.Box(center=(0.6, 0.1, 0.9), size=(0.9, 2.5, 0.6)),
            td.Box(center=(0.4, 0, -0.5), size=(0.5, td.inf, 5)),
        ]
    )
    structures = [td.Structure(geometry=next(boxes), medium=medium) for medium in media]
    settings = dict(
        structures=structures, sources=[], monitors=[], grid_spec=td.GridSpec.uniform(dl=0.2), size=(2, 2, 2)
    )
    settings.update(changes)
    return models.fdtd(**settings)


GIVEN = [names for count in (1, 2, 3) for names in itertools.combinations(SOLID, count)]


@pytest.mark.parametrize("method", ["linear", "nearest"])
@pytest.mark.parametrize("name", EVERY)
def test_permittivity_on_the_grid_is_that_of_tidy3d(name, method):
    given = tuple(SOLID)
    simulation = device(EVERY[name], EVERY[name], EVERY[name])
    expected = simulation.perturbed_mediums_copy(
        **{each: array(each) for each in given}, interp_method=method
    )
    template = perturb(simulation, **{each: reference(each) for each in given}, interp_method=method)
    equal(template, expected)
    assert {path.split("/")[1] for path in template.slots} == {"0", "1", "2"}


@pytest.mark.parametrize("given", GIVEN)
def test_any_of_the_fields_may_be_missing(given):
    # Without one of the densities conductivities fall below zero.
    names = ("both", "index and loss", "poles and index", "complex poles")
    media = [EVERY[name].updated_copy(allow_gain=True) for name in names]
    simulation = device(*media, medium=media[0])
    expected = simulation.perturbed_mediums_copy(**{each: array(each) for each in given})
    equal(perturb(simulation, **{each: reference(each) for each in given}), expected)


def test_structures_outside_are_left_and_the_background_is_not():
    simulation = device(EVERY["both"], EVERY["index"], medium=EVERY["poles and index"])
    away = td.Structure(geometry=td.Box(center=(7, 0, 0), size=(1, 1, 1)), medium=EVERY["permittivity"])
    physics = td.Structure(
        geometry=td.Box(center=(0, 0, 0.8), size=(0.3, 0.3, 0.3)),
        medium=td.MultiPhysicsMedium(optical=EVERY["index"], name="of several kinds"),
    )
    simulation = simulation.updated_copy(structures=[away, *simulation.structures, physics])
    expected = simulation.perturbed_mediums_copy(temperature=array("temperature"))
    template = perturb(simulation, temperature=reference("temperature"))
    compare(template, expected, filled(template))
    touched = {path.rpartition("/medium/")[0] for path in template.slots if path.startswith("structures/")}
    assert touched == {"structures/1", "structures/2"}
    assert any(path.startswith("medium/") for path in template.slots)
    with pytest.raises(errors.Usage, match="nothing of the simulation depends") as caught:
        perturb(simulation.updated_copy(structures=[away, physics], medium=td.Medium()),
                temperature=reference("temperature"))  # fmt: skip
    assert "MultiPhysicsMedium" in caught.value.hint


def test_priorities_names_and_parts_of_simulations():
    first = td.Structure(
        geometry=td.Box(size=(1, 1, 1)), medium=EVERY["a table of temperature"], priority=5, name="core"
    )
    second = td.Structure(geometry=td.Box(size=(2, 0.5, 2)), medium=EVERY["both"], priority=-5)
    simulation = device(medium=EVERY["poles"], structures=[first, second])
    given = {each: reference(each) for each in SOLID}
    arrays = {each: array(each) for each in SOLID}
    equal(perturb(simulation, **given), simulation.perturbed_mediums_copy(**arrays))
    part = simulation.subsection(td.Box(size=(1.2, 1.2, 1.2)), remove_outside_structures=False)
    equal(perturb(part, **given), part.perturbed_mediums_copy(**arrays))
    scene = simulation.scene
    expected = scene.perturbed_mediums_copy(**arrays)
    template = perturb(scene, **given)
    compare(template, expected, filled(template))
    solver = ModeSolver(
        simulation=simulation, plane=td.Box(size=(1, 0, 1)), mode_spec=td.ModeSpec(), freqs=[FREQUENCY]
    )
    template = perturb(solver, **given)
    compare(
        template,
        solver.updated_copy(simulation=simulation.perturbed_mediums_copy(**arrays)),
        filled(template),
    )


def test_references_and_arrays_mixed_in_any_order_of_coordinates():
    simulation = device(EVERY["both"], EVERY["index and loss"], medium=EVERY["both"])
    arrays = {each: array(each) for each in SOLID}
    expected = simulation.perturbed_mediums_copy(**arrays)
    equal(
        perturb(
            simulation,
            temperature=arrays["temperature"],
            electron_density=reference("electron_density"),
            hole_density=arrays["hole_density"],
        ),
        expected,
    )
    plain = perturb(simulation, **arrays)
    assert plain.tasks == []
    equal(plain, expected)
    backwards = {
        each: field.isel(x=slice(None, None, -1), z=slice(None, None, -1)) for each, field in arrays.items()
    }
    equal(
        perturb(simulation, **{each: reference(each).isel(x=slice(None, None, -1), z=slice(None, None, -1)) for each in SOLID}),
        simulation.perturbed_mediums_copy(**backwards),
    )  # fmt: skip


def test_fields_that_do_not_go_together_are_refused():
    simulation = device(EVERY["both"])
    other = Reference(Leaf(PlaneTask(), ("hole_density",)), ("x", "y", "z"))
    with pytest.raises((errors.Usage, ValueError, td.exceptions.Tidy3dError)):
        simulation.perturbed_mediums_copy(
            temperature=array("temperature"),
            hole_density=td.SpatialDataArray(DATA["hole_density"], coords=GRID),
        )
    with pytest.raises((errors.Usage, ValueError, td.exceptions.Tidy3dError)):
        perturb(simulation, temperature=reference("temperature"), hole_density=other)
    for dataset in (models.triangles(), models.tetrahedra()):
        with pytest.raises(errors.Usage, match=f"`temperature` is a {type(dataset).__name__}"):
            perturb(simulation, temperature=dataset)
    with pytest.raises(errors.Usage, match="has no media that can be perturbed"):
        perturb(models.mode_simulation(), temperature=reference("temperature"))


def test_other_references_stay_where_they_are():
    simulation = device(EVERY["both"], td.CustomMedium(permittivity=models.spatial(2, 3, 4)))
    held = Reference(Leaf(Task(), ("temperature",)), ("x", "y", "z")) * 1e-3
    template = replace(simulation, "structures[1].medium.permittivity", held)
    template = perturb(template, temperature=reference("temperature"))
    assert isinstance(template, Template)
    assert template.slots["structures/1/medium/permittivity"] is held
    assert {path.split("/")[1] for path in template.slots} == {"0", "1"}


def test_a_model_that_is_computed_of_results_is_refused():
    simulation = device(EVERY["a table of temperature"])
    path = "structures[0].medium.permittivity_perturbation.heat.perturbation_values"
    template = replace(simulation, path, Reference(Leaf(Task(), ("table",)), ("T",)))
    with pytest.raises(errors.Usage, match=r"the perturbation model at .* is computed of results"):
        perturb(template, temperature=reference("temperature"))


def test_planes_are_as_good_as_boxes():
    fields = {each: Reference(Leaf(PlaneTask(), (each,)), ("x", "y", "z")) for each in DATA}
    arrays = {each: td.SpatialDataArray(DATA[each], coords=GRID) for each in DATA}
    simulation = device(*EVERY.values())
    template = perturb(simulation, **fields)
    compare(template, simulation.perturbed_mediums_copy(**arrays), resolved(template))


def heated_cube():
    """Warm in its middle; what is around it has one temperature."""
    solid = td.MultiPhysicsMedium(
        optical=td.Medium(),
        heat=td.SolidSpec(conductivity=1e-3, capacity=1.0, density=1.0),
        name="solid",
    )
    grain = td.Structure(geometry=td.Box(size=(0.5, 0.5, 0.5)), medium=solid, name="grain")
    cold = td.HeatChargeBoundarySpec(
        placement=td.SimulationBoundary(), condition=td.TemperatureBC(temperature=300)
    )
    return td.HeatChargeSimulation(
        size=(2.0, 1.6, 2.0),
        medium=solid,
        structures=[grain],
        sources=[td.HeatSource(structures=["grain"], rate=1e-2)],
        boundary_spec=[cold],
        grid_spec=td.UniformUnstructuredGrid(dl=0.25),
        monitors=[td.TemperatureMonitor(size=(2.0, 1.6, 2.0), name="cube", unstructured=False)],
    )


def test_the_server_computes_what_tidy3d_computes(server):
    """Every class of perturbations, of fields in a box that come from a task, evaluated at the server."""
    import wavetask as wt

    task = wt.submit(heated_cube(), name="heated cube", progress=False)
    rise = task["cube"].temperature.interp(**BOX, kwargs={"fill_value": 300}) - 300
    rise = rise / rise.max() * 50
    references = {
        "temperature": rise + 300,
        "electron_density": 4e15 + 3e15 * rise,
        "hole_density": 3e15 + 1e15 * abs(rise - 10),
    }
    there = {name: td.SpatialDataArray(each.load()) for name, each in references.items()}
    assert (
        float(there["temperature"].max()) == pytest.approx(350)
        and np.ptp(there["hole_density"].values) > 1e15
    )
    cases = {}
    for (name, medium), method in itertools.product(EVERY.items(), ("linear", "nearest")):
        simulation = device(*[medium.updated_copy(allow_gain=True)] * 3)
        template = perturb(simulation, **references, interp_method=method)
        cases[name, method] = template, simulation.perturbed_mediums_copy(**there, interp_method=method)
    slots = [(case, path) for case, (template, _) in cases.items() for path in template.slots]
    computed = wt.submit(
        {f"{number}": cases[case][0].slots[path] for number, (case, path) in enumerate(slots)},
        name="all perturbations",
        progress=False,
    ).results(timeout=300)
    assert len(computed) > 100
    loaded = {case: {} for case in cases}
    for number, (case, path) in enumerate(slots):
        loaded[case][path] = computed[f"{number}"]
    for case, (template, expected) in cases.items():
        compare(template, expected, templates.filled(template.simulation, loaded[case]))
