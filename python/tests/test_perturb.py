"""`wt.perturb` gives what tidy3d's `perturbed_mediums_copy` gives, before there is a field; `wt.replace` any array."""

from __future__ import annotations

import functools
import pickle

import models
import numpy as np
import pytest
import tidy3d as td
from tidy3d.plugins.mode import ModeSolver
from wavetask import errors
from wavetask._reference import Template, perturb, replace
from wavetask._reference.evaluate import evaluate
from wavetask._reference.node import Leaf
from wavetask._reference.reference import Reference
from wavetask._tidy3d import model
from wavetask._tidy3d.pack import arrays_of

FREQUENCY = 2e14
RNG = np.random.default_rng(7)
GRID = {"x": np.linspace(-1.2, 1.2, 9), "y": np.array([0.0]), "z": np.linspace(-1.2, 1.2, 7)}
DATA = {
    "temperature": 300 + 40 * RNG.random((9, 1, 7)),
    "electron_density": 4e15 + 1e17 * RNG.random((9, 1, 7)),
    "hole_density": 3e15 + 5e16 * RNG.random((9, 1, 7)),
}


class Task:
    """A task whose fields are these arrays, and of which nothing is known but where they lie."""

    id = "0199"
    name = "heat"

    def _field_labels(self, path):
        return GRID, False, False


def reference(name):
    return Reference(Leaf(Task(), (name,)), ("x", "y", "z"))


def array(name):
    return td.SpatialDataArray(DATA[name], coords=GRID)


def resolved(template):
    loaded = {
        path: evaluate(slot._expression, lambda leaf: array(leaf.path[0]))
        for path, slot in template.slots.items()
    }
    from wavetask._tidy3d.template import filled

    return filled(template.simulation, loaded)


def heat(coefficient=1e-3):
    return td.LinearHeatPerturbation(temperature_ref=290, coeff=coefficient)


def heat_table(method="linear", scale=1.0):
    values = td.HeatDataArray(scale * np.array([0.001, 0.02, 0.004]), coords=dict(T=[305, 320, 330]))
    return td.CustomHeatPerturbation(perturbation_values=values, interp_method=method)


def charge(scale=1.0):
    return td.LinearChargePerturbation(
        electron_ref=1e15, electron_coeff=1e-20 * scale, hole_ref=2e15, hole_coeff=3e-20 * scale
    )


def charge_table(method="linear"):
    values = td.ChargeDataArray(
        [[0.001, 0.002, 0.004], [0.003, 0.002, 0.001]], coords=dict(n=[2e16, 9e16], p=[1e16, 2e16, 4e16])
    )
    return td.CustomChargePerturbation(perturbation_values=values, interp_method=method)


def parameter(**models):
    return td.ParameterPerturbation(**models)


MEDIA = {
    "linear in temperature": td.PerturbationMedium(
        permittivity=12, permittivity_perturbation=parameter(heat=heat())
    ),
    "a table of temperature": td.PerturbationMedium(
        permittivity=12, permittivity_perturbation=parameter(heat=heat_table()), name="silicon"
    ),
    "the nearest of a table": td.PerturbationMedium(
        permittivity=12, permittivity_perturbation=parameter(heat=heat_table("nearest"))
    ),
    "linear in charge": td.PerturbationMedium(
        permittivity=12, conductivity=0.1, conductivity_perturbation=parameter(charge=charge())
    ),
    "a table of charge": td.PerturbationMedium(
        permittivity=12, permittivity_perturbation=parameter(charge=charge_table())
    ),
    "both": td.PerturbationMedium(
        permittivity=12,
        conductivity=0.2,
        permittivity_perturbation=parameter(heat=heat(), charge=charge()),
        conductivity_perturbation=parameter(heat=heat_table(), charge=charge_table("nearest")),
    ),
    "permittivity": td.PerturbationMedium(
        permittivity=12,
        conductivity=0.2,
        perturbation_spec=td.PermittivityPerturbation(
            delta_eps=parameter(heat=heat()), delta_sigma=parameter(charge=charge())
        ),
    ),
    "index": td.PerturbationMedium(
        permittivity=12,
        perturbation_spec=td.IndexPerturbation(delta_n=parameter(heat=heat()), freq=FREQUENCY),
    ),
    "index and loss": td.PerturbationMedium(
        permittivity=12,
        conductivity=0.2,
        perturbation_spec=td.IndexPerturbation(
            delta_n=parameter(heat=heat_table(), charge=charge(-1)),
            delta_k=parameter(heat=heat(1e-4), charge=charge()),
            freq=FREQUENCY,
        ),
    ),
    "loss": td.PerturbationMedium(
        permittivity=12,
        perturbation_spec=td.IndexPerturbation(delta_k=parameter(charge=charge()), freq=FREQUENCY),
    ),
    "poles": td.PerturbationPoleResidue(
        eps_inf=2,
        poles=[((-1 + 2j) * 1e14, (3 + 4j) * 1e14), ((-5 + 6j) * 1e14, (7 + 8j) * 1e14)],
        eps_inf_perturbation=parameter(heat=heat_table()),
        poles_perturbation=[(None, parameter(heat=heat(1e11 * (1 + 0.5j)))), (parameter(heat=heat(1e11)), None)],
    ),
    "poles and permittivity": td.PerturbationPoleResidue(
        eps_inf=2,
        poles=[((-1 + 2j) * 1e14, (3 + 4j) * 1e14)],
        perturbation_spec=td.PermittivityPerturbation(
            delta_eps=parameter(charge=charge()), delta_sigma=parameter(heat=heat(1e-5))
        ),
    ),
    "poles and index": td.PerturbationPoleResidue(
        eps_inf=2,
        poles=[((-1 + 2j) * 1e14, (3 + 4j) * 1e14)],
        perturbation_spec=td.IndexPerturbation(
            delta_n=parameter(heat=heat()), delta_k=parameter(charge=charge()), freq=FREQUENCY
        ),
    ),
}  # fmt: skip


def device(*media, **changes):
    structures = [
        td.Structure(geometry=td.Box(center=(0.3 * index, 0, 0), size=(0.4, 1, 0.5 + index)), medium=medium)
        for index, medium in enumerate(media)
    ]
    return models.fdtd(structures=structures, sources=[], monitors=[], **changes)


def compare(template, expected, found=None):
    found = resolved(template) if found is None else found
    assert type(found) is type(expected)
    text = model.json_text(expected)
    assert model.json_text(found) == text
    ours = dict(arrays_of(found, text))
    theirs = dict(arrays_of(expected, text))
    assert list(ours) == list(theirs)
    for path, values in theirs.items():
        assert ours[path].dtype == values.dtype, path
        np.testing.assert_allclose(ours[path], values, rtol=1e-12, atol=0, err_msg=path)


def fields(*names):
    return {name: reference(name) for name in names}, {name: array(name) for name in names}


@pytest.mark.parametrize(
    "given", [("temperature",), ("electron_density", "hole_density"), tuple(DATA), ("hole_density",)]
)
@pytest.mark.parametrize("name", MEDIA)
def test_equals_tidy3ds_own(name, given):
    references, arrays = fields(*given)
    simulation = device(MEDIA[name])
    expected = simulation.perturbed_mediums_copy(**arrays)
    if all(
        np.ptp(values) == 0
        for path, values in arrays_of(expected, model.json_text(expected))
        if path.endswith(model.VALUES) and "derived_from" not in path
    ):
        with pytest.raises(errors.Usage, match="nothing of the simulation depends"):
            perturb(simulation, **references)
        return
    compare(perturb(simulation, **references), expected)


def test_every_structure_gets_its_part():
    simulation = device(*MEDIA.values(), td.Medium(permittivity=2), medium=MEDIA["index"])
    references, arrays = fields(*DATA)
    template = perturb(simulation, **references, interp_method="nearest")
    compare(template, simulation.perturbed_mediums_copy(**arrays, interp_method="nearest"))
    assert any("isel" in slot.json() for slot in template.slots.values()), "only what covers a structure"


def test_tables_are_looked_up_on_the_server():
    simulation = device(MEDIA["a table of temperature"], MEDIA["a table of charge"])
    template = perturb(simulation, **fields(*DATA)[0])
    assert template.computable and len(template.slots) == 2
    for slot in template.slots.values():
        assert "lookup" in slot.json() and slot.dtype == np.dtype("float64") and slot.ndim == len(slot.shape)


def test_a_mode_solver_is_perturbed_in_its_simulation():
    solver = ModeSolver(
        simulation=device(MEDIA["index"], MEDIA["index and loss"]),
        plane=td.Box(size=(2, 0, 2)),
        mode_spec=td.ModeSpec(),
        freqs=[FREQUENCY],
    )
    references, arrays = fields("temperature")
    expected = solver.updated_copy(simulation=solver.simulation.perturbed_mediums_copy(**arrays))
    template = perturb(solver, **references)
    assert all(path.startswith("simulation/structures/") for path in template.slots)
    compare(template, expected)
    assert template.tasks == [references["temperature"].tasks[0]]
    compare(pickle.loads(pickle.dumps(template)), expected)


def test_what_does_not_fit_is_refused_by_name():
    simulation = device(MEDIA["index"])
    field = reference("temperature")
    mesh = Reference(Leaf(Task(), ("temperature",)), ("index",), True)
    unknown = Reference(Leaf("0199", ("temperature",)), ("x", "y", "z"))
    cases: dict[str, functools.partial] = {
        "no field to perturb with": functools.partial(perturb, simulation),
        "the dimensions": functools.partial(perturb, simulation, temperature=field.isel(y=0)),
        "unstructured mesh": functools.partial(perturb, simulation, temperature=mesh),
        "not known before": functools.partial(perturb, simulation, temperature=unknown),
        "has no media": functools.partial(perturb, models.slab(), temperature=field),
        "nothing of the simulation": functools.partial(perturb, device(td.Medium()), temperature=field),
        r"no array at `structures\[0\].medium.permittivity`": functools.partial(
            replace, simulation, "structures[0].medium.permittivity", field
        ),
    }
    for what, case in cases.items():
        with pytest.raises(errors.Usage, match=what):
            case()


def test_any_array_can_be_replaced():
    simulation = models.slab(rate=td.SpatialDataArray(np.ones((9, 1, 7)), coords=GRID))
    field = reference("temperature")
    template = replace(simulation, "sources[0].rate", 1e-6 * field.transpose("z", "y", "x"))
    assert isinstance(template, Template) and list(template.slots) == ["sources/0/rate"]
    found = resolved(template)
    np.testing.assert_allclose(found.sources[0].rate.values, 1e-6 * DATA["temperature"], rtol=1e-14)
    np.testing.assert_array_equal(found.sources[0].rate.x.values, GRID["x"])
    with pytest.raises(
        errors.Usage, match=r"has the dimensions \['x', 'y', 'z'\], the reference \['x', 'z'\]"
    ):
        replace(simulation, "sources/0/rate", field.isel(y=0))
