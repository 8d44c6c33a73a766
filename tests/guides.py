"""Small waveguides, and comparisons of their modes with those of the client's local mode solver."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import tidy3d as td
from tidy3d.plugins.mode import ModeSolver

NEW_CLIENT = tuple(int(part) for part in td.__version__.split(".")[:2]) >= (2, 12)
FREQUENCY = td.C_0 / 1.55


def simulation(symmetry=(0, 0, 0), step=0.068, subpixel=False, structures=None, **changes):
    """A strip along y. No interface lies on a grid line: rounding would decide on which side of it the line is."""
    if structures is None:
        structures = [
            td.Structure(geometry=td.Box(size=(0.5, td.inf, 0.22)), medium=td.Medium(permittivity=12.1))
        ]
    settings = dict(
        size=(2.6, 1.5, 2.2),
        medium=td.Medium(permittivity=2.1),
        structures=structures,
        grid_spec=td.GridSpec.uniform(dl=step),
        run_time=1e-12,
        symmetry=symmetry,
        subpixel=subpixel,
    )
    settings.update(changes)
    return td.Simulation(**settings)


def mode_solver(modes=2, frequencies=(FREQUENCY,), spec=None, plane=None, scene=None, **changes):
    return ModeSolver(
        simulation=scene or simulation(),
        plane=plane or td.Box(size=(2.0, 0, 1.6)),
        mode_spec=spec or td.ModeSpec(num_modes=modes),
        freqs=list(frequencies),
        **changes,
    )


def mode_simulation(modes=2, frequencies=(FREQUENCY,), **changes):
    scene = simulation()
    return td.ModeSimulation(
        size=(2.0, 0, 1.6),
        medium=scene.medium,
        structures=scene.structures,
        grid_spec=scene.grid_spec,
        subpixel=False,
        mode_spec=td.ModeSpec(num_modes=modes),
        freqs=list(frequencies),
        **changes,
    )


def turned(angle=0.1) -> dict:
    """A waveguide at an angle to the plane, to be turned into it by the solver: scene and request."""
    across, along = np.array([np.cos(angle), -np.sin(angle)]), np.array([np.sin(angle), np.cos(angle)])
    corners = [(-0.25, -5), (0.25, -5), (0.25, 5), (-0.25, 5)]
    strip = td.PolySlab(vertices=[x * across + y * along for x, y in corners], slab_bounds=(-0.11, 0.11))
    core = td.Structure(geometry=strip, medium=td.Medium(permittivity=12.1))
    spec = td.ModeSpec(num_modes=2, angle_theta=angle, angle_rotation=True)
    return dict(scene=simulation(structures=[core]), spec=spec)


def of_lossy_metal():
    """A conductor whose surface impedance is asked for: not supported."""
    metal = td.LossyMetalMedium(conductivity=10, frequency_range=(0.9 * FREQUENCY, 1.1 * FREQUENCY))
    wire = td.Structure(geometry=td.Box(size=(0.5, td.inf, 0.22)), medium=metal)
    return mode_solver(scene=simulation(structures=[wire], subpixel=True))


def subpixel_choices() -> dict[tuple[str, str], td.SubpixelSpec]:
    """By interface and name of the method, everything that this client's `SubpixelSpec` can be made with."""
    from tidy3d.components.subpixel_spec import AbstractSubpixelAveragingMethod

    def below(kind):
        for each in kind.__subclasses__():
            yield each
            yield from below(each)

    interfaces = [name for name in td.SubpixelSpec().dict() if name not in ("attrs", "type")]
    choices = {}
    for interface in interfaces:
        for method in below(AbstractSubpixelAveragingMethod):
            with contextlib.suppress(ValueError):  # the client does not allow this one here
                choices[interface, method.__name__] = td.SubpixelSpec(**{interface: method()})
    return choices


def strip_of_interface(interface: str, subpixel) -> ModeSolver:
    """A slanted rod, with interfaces of this kind along it, beside a strip that guides; its faces lie off the grid."""
    media = {
        "dielectric": td.Medium(permittivity=6.0),
        "metal": td.medium_from_nk(n=0.55, k=11.5, freq=FREQUENCY),
        "pec": td.PECMedium(),
        "pmc": td.PMCMedium(),
        "lossy_metal": td.LossyMetalMedium(
            conductivity=10, frequency_range=(0.9 * FREQUENCY, 1.1 * FREQUENCY)
        ),
    }
    rod = td.Cylinder(axis=1, center=(0.02, 0, -0.41), radius=0.27, length=td.inf)
    strip = td.Box(center=(0, 0, 0.1), size=(0.5, td.inf, 0.22))
    structures = [
        td.Structure(geometry=strip, medium=td.Medium(permittivity=12.1)),
        td.Structure(geometry=rod, medium=media[interface]),
    ]
    scene = simulation(structures=structures, subpixel=subpixel)
    return mode_solver(scene=scene, spec=td.ModeSpec(num_modes=1, precision="double"))


def batch_of(count: int) -> dict:
    """Strips of different widths."""
    solvers = {}
    for number in range(count):
        width = 0.4 + 0.004 * number
        core = td.Structure(geometry=td.Box(size=(width, td.inf, 0.22)), medium=td.Medium(permittivity=12.1))
        solvers[f"strip {number}"] = mode_solver(scene=simulation(structures=[core]))
    return solvers


def assert_same_modes(ours, theirs) -> None:
    """The same modes, as the client's own functions see them: on the plane as this client cuts it."""
    index, overlap, group, derived = 1e-6, 0.99999, 1e-5, 1e-3
    np.testing.assert_allclose(ours.n_complex.values, theirs.n_complex.values, rtol=index, atol=index)
    assert ours.n_complex.f.values == pytest.approx(theirs.n_complex.f.values, rel=1e-12)
    for name, field in theirs.field_components.items():
        mine = ours.field_components[name]
        assert mine.dims == field.dims and mine.shape == field.shape
        for dim in "xyz":
            np.testing.assert_allclose(mine[dim].values, field[dim].values, atol=1e-9)
    products = np.abs(np.asarray(ours.dot(theirs)))
    assert products.min() > overlap, products
    if theirs.n_group_raw is not None:
        np.testing.assert_allclose(ours.n_group_raw.values, theirs.n_group_raw.values, rtol=group)
    mine, other = ours.to_dataframe(), theirs.to_dataframe()
    assert list(mine.columns) == list(other.columns)
    for column in mine.columns:
        np.testing.assert_allclose(
            mine[column].to_numpy(float),
            other[column].to_numpy(float),
            rtol=derived,
            atol=derived * 1e-3,
            err_msg=column,
        )
