"""`wt.replace` puts references in the place of any array of any simulation: the result is tidy3d's own object."""

from __future__ import annotations

import inspect

import models
import numpy as np
import pytest
import tidy3d as td
from tidy3d.components.data.data_array import TimeDataArray
from tidy3d.components.data.dataset import TimeDataset
from tidy3d.components.medium import AbstractCustomMedium
from tidy3d.plugins.mode import ModeSolver
from wavetask import errors
from wavetask._reference import DataReference, Reference, replace
from wavetask._reference.evaluate import evaluate
from wavetask._reference.kinds import Data, Field
from wavetask._reference.node import Leaf
from wavetask._tidy3d import model, template


def spatial(count, scale=1.0, dtype=float):
    """Numbers from ``scale`` to twice that."""
    shape = (count, 2, count + 1)
    grid = dict(zip("xyz", (np.linspace(-1, 1, extent) for extent in shape), strict=True))
    values = scale * (1 + np.arange(np.prod(shape)).reshape(shape) / np.prod(shape))
    return td.SpatialDataArray(values.astype(dtype), coords=grid)


def scalar(count, scale=1.0):
    shape = (count + 1, 3, 1, 1)
    grid = {"x": np.linspace(-1, 1, shape[0]), "y": [-1.0, 0, 1], "z": [0.0], "f": [2e14]}
    return td.ScalarFieldDataArray(scale * (1 + 1j * np.arange(np.prod(shape)).reshape(shape)), coords=grid)


def source(kind, count):
    dataset = td.FieldDataset(
        Ex=scalar(count), Ey=scalar(count, 2.0), Hx=scalar(count, 3j), Hz=scalar(count, 4)
    )
    name = "field_dataset" if kind is td.CustomFieldSource else "current_dataset"
    return kind(size=(1, 1, 0), source_time=models.PULSE, **{name: dataset})


def pulse(count):
    times = np.linspace(0, 1e-13, count + 4)
    data = TimeDataset(values=TimeDataArray(np.exp(1j * 1e13 * times), coords={"t": times}))
    return td.CustomSourceTime(freq0=2e14, fwidth=2e13, source_time_dataset=data)


def old_dataset(count):
    arrays = {name: scalar(count, 2.0).real + 5 for name in ("eps_xx", "eps_yy", "eps_zz")}
    arrays = {name: td.ScalarFieldDataArray(array) for name, array in arrays.items()}
    return td.PermittivityDataset(**arrays)


MEDIA = {
    "CustomMedium": lambda n: td.CustomMedium(permittivity=spatial(n, 2), conductivity=spatial(n, 1e-3)),
    "CustomMedium of a dataset": lambda n: td.CustomMedium(eps_dataset=old_dataset(n)),
    "CustomPoleResidue": lambda n: td.CustomPoleResidue(
        eps_inf=spatial(n, 2),
        poles=[(spatial(n, -1e14), spatial(n, 1e14 + 1e13j, complex)) for _ in range(2)],
    ),
    "CustomSellmeier": lambda n: td.CustomSellmeier(coeffs=[(spatial(n, 1.1), spatial(n, 0.01))]),
    "CustomLorentz": lambda n: td.CustomLorentz(
        eps_inf=spatial(n, 2), coeffs=[(spatial(n, 1.5), spatial(n, 3e14), spatial(n, 1e13))]
    ),
    "CustomDrude": lambda n: td.CustomDrude(eps_inf=spatial(n, 2), coeffs=[(spatial(n, 1e14), spatial(n, 1e12))]),
    "CustomDebye": lambda n: td.CustomDebye(eps_inf=spatial(n, 2), coeffs=[(spatial(n, 1.2), spatial(n, 1e-14))]),
    "CustomAnisotropicMedium": lambda n: td.CustomAnisotropicMedium(
        xx=td.CustomMedium(permittivity=spatial(n, 2)),
        yy=td.CustomSellmeier(coeffs=[(spatial(n, 1.1), spatial(n, 0.01))]),
        zz=td.CustomMedium(permittivity=spatial(n, 3), conductivity=spatial(n, 1e-3)),
    ),
}  # fmt: skip
INTERNAL = {"CustomIsotropicMedium", "CustomAnisotropicMediumInternal"}
"""Classes that tidy3d makes of others and that are not its users'."""

SIMULATIONS = {
    **{
        name: lambda n, make=make: models.fdtd(structures=[models.box(td.Medium()), models.box(make(n))])
        for name, make in MEDIA.items()
    },
    "CustomFieldSource": lambda n: models.fdtd(sources=[source(td.CustomFieldSource, n)]),
    "CustomCurrentSource": lambda n: models.fdtd(sources=[source(td.CustomCurrentSource, n)]),
    "CustomSourceTime": lambda n: models.fdtd(
        sources=[td.PointDipole(source_time=pulse(n), polarization="Ez")]
    ),
    "HeatSource": lambda n: models.slab(rate=spatial(n, 1e-5)),
    "background": lambda n: models.fdtd(medium=td.CustomMedium(permittivity=spatial(n, 2))),
    "ModeSolver": lambda n: ModeSolver(
        simulation=models.fdtd(
            structures=[models.box(MEDIA["CustomLorentz"](n))], sources=[source(td.CustomFieldSource, n)]
        ),
        plane=td.Box(size=(1, 1, 0)),
        mode_spec=td.ModeSpec(),
        freqs=[2e14],
    ),
    "VolumeMesher": lambda n: td.VolumeMesher(
        simulation=models.slab(rate=spatial(n, 1e-5)),
        monitors=[td.VolumeMeshMonitor(size=(td.inf, td.inf, td.inf), name="mesh")],
    ),
}


def reference(path, dims):
    return Reference(Leaf("0199", (path,)), tuple(dims))


def resolved(made, expected):
    """The template with what another simulation has at the places that its references name."""
    values = {
        path: evaluate(slot._expression, lambda leaf: expected[leaf.path[0]])
        for path, slot in made.slots.items()
    }
    return template.filled(made.simulation, values)


def equal(found, expected):
    assert type(found) is type(expected)
    assert model.json_text(found) == model.json_text(expected)
    ours, theirs = template.arrays(found), template.arrays(expected)
    assert list(ours) == list(theirs)
    for path, array in theirs.items():
        assert type(ours[path]) is type(array) and ours[path].dims == array.dims
        assert ours[path].dtype == array.dtype, path
        np.testing.assert_array_equal(ours[path].values, array.values)
        for dim in array.dims:
            np.testing.assert_array_equal(ours[path].coords[dim].values, array.coords[dim].values)


def test_every_custom_medium_of_tidy3d_is_among_them():
    def below(parent):
        for child in parent.__subclasses__():
            yield child
            yield from below(child)

    found = {each.__name__ for each in below(AbstractCustomMedium) if not inspect.isabstract(each)}
    found = {name for name in found if name.startswith("Custom") and hasattr(td, name)} - INTERNAL
    assert found and found <= set(MEDIA), found - set(MEDIA)


@pytest.mark.parametrize("name", SIMULATIONS)
def test_every_array_can_be_a_reference(name):
    """One at a time and all at once, of other extents than those that stand there, in whatever order of dimensions."""
    standing, expected = SIMULATIONS[name](2), SIMULATIONS[name](4)
    arrays = template.arrays(expected)
    assert arrays and list(template.arrays(standing)) == list(arrays)
    slots = {path: reference(path, array.dims[::-1]) for path, array in arrays.items()}
    turned = {path: array.transpose(*array.dims[::-1]) for path, array in arrays.items()}
    made = replace(standing, slots)
    assert list(made.slots) == list(arrays)
    equal(resolved(made, turned), expected)
    one_by_one = standing
    for path, slot in slots.items():
        one_by_one = replace(one_by_one, path.replace("/", "."), slot)
    equal(resolved(one_by_one, turned), expected)


def test_a_whole_dataset_is_replaced_by_names():
    standing = SIMULATIONS["CustomFieldSource"](2)
    expected = SIMULATIONS["CustomFieldSource"](5)
    arrays = template.arrays(expected)
    dataset = expected.sources[0].field_dataset
    fields = {
        name: reference(f"sources/0/field_dataset/{name}", array.dims)
        for name, array in dataset.field_components.items()
    }
    made = replace(standing, "sources[0].field_dataset", fields)
    equal(resolved(made, arrays), expected)
    with pytest.raises(errors.Usage, match=r"no array at `sources\[0\].field_dataset/Ez`") as caught:
        replace(standing, "sources[0].field_dataset", {**fields, "Ez": fields["Ex"]})
    assert "sources/0/field_dataset/Ex, sources/0/field_dataset/Ey" in caught.value.hint


def test_the_data_of_a_monitor_is_put_there_as_a_whole():
    dims = ("x", "y", "z", "f")
    described = Data(
        "FieldData", {name: Field((name,), dims) for name in ("Ex", "Ey", "Ez", "Hx", "Hy", "Hz")},
        frozenset(), {}, ("field",),
    )  # fmt: skip
    standing = SIMULATIONS["CustomCurrentSource"](2)
    made = replace(standing, "sources/0/current_dataset", DataReference("0199", described))
    assert list(made.slots) == [f"sources/0/current_dataset/{name}" for name in ("Ex", "Ey", "Hx", "Hz")]
    assert next(leaf.json() for leaf in made.slots.values()).count('"Ex"') == 1
    with pytest.raises(errors.Usage, match="no array below `structures` has the name of a field"):
        replace(standing, "structures", DataReference("0199", described))


def test_paths_that_lead_nowhere_are_refused_with_those_that_do():
    simulation = models.fdtd(
        structures=[models.box(td.Medium()), models.box(MEDIA["CustomLorentz"](2))],
        sources=[source(td.CustomFieldSource, 2)],
    )
    field = reference("any", "xyz")
    for path, what, hint in [
        ("structures[-1].medium.eps_inf", "counts from the end", "counted from 0"),
        ("structures/1/medium/-1", "counts from the end", "counted from 0"),
        ("structures[i].medium", r"no array at `structures\[i\].medium`", "structures/1/medium/eps_inf"),
        ("structures[1].medium", "is no array but has arrays below it", "structures/1/medium/coeffs/0/0"),
        ("structures[0].medium.permittivity", "no array at", "structures/1/medium/eps_inf"),
        ("sources[0].field_dataset.Ez", "no array at", "sources/0/field_dataset/Ex"),
        ("", "no array at", "structures/1/medium/eps_inf"),
        ("structures[1].me dium", "neither a name nor a place", None),
        ("sources[3].field_dataset.Ex", "no array at", "sources/0/field_dataset/Ex"),
    ]:
        with pytest.raises(errors.Usage, match=what) as caught:
            replace(simulation, path, field)
        assert hint is None or hint in caught.value.hint, (path, caught.value.hint)
    path = "structures[1].medium.eps_inf"
    for reference_, what in [
        (spatial(2), "SpatialDataArray is no reference"),
        (None, "NoneType is no reference"),
        (reference("any", "xy"), r"the dimensions \['x', 'y', 'z'\], the reference \['x', 'y'\]"),
        (Reference(Leaf("0199", ("mesh",)), ("index",), True), "unstructured mesh"),
    ]:
        with pytest.raises(errors.Usage, match=what):
            replace(simulation, path, reference_)
    with pytest.raises(errors.Usage, match="a mapping of paths, or a path"):
        replace(simulation, {path: field}, field)
    with pytest.raises(errors.Usage, match="no array at"):
        replace(models.fdtd(), path, field)
