"""Waveguides whose effective indices are known: from their dispersion relations, or from converged calculations.

Every guide can be put on a uniform grid of any step, at any offset from its lines, with averaged cells and without.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import tidy3d as td
from scipy.linalg import eigh_tridiagonal
from scipy.optimize import brentq
from scipy.special import jn_zeros, jnp_zeros, jv, jvp, kv, kvp, yvp
from tidy3d.plugins.mode import ModeSolver

WAVELENGTH = 1.55
WAVE_NUMBER = 2 * np.pi / WAVELENGTH
OFFSETS = (0.03, 0.29, 0.55, 0.81)
"""Places of a guide on the grid, in steps."""


@dataclasses.dataclass(frozen=True)
class Guide:
    """A cross-section in x and z with its modes by descending index."""

    name: str
    largest: float
    """The largest refractive index: what counts steps per wavelength."""
    background: td.Medium | td.PECMedium
    size: tuple[float, float]
    structures: Callable[[float, float], list[td.Structure]]
    """The structures with their middle at these coordinates."""
    modes: dict[str, float]
    """Names and indices; a prime marks the second of a pair."""

    def solver(self, steps: float, offset: float, averaged: bool) -> ModeSolver:
        """The guide on a grid with this many steps per wavelength in its densest medium."""
        step = WAVELENGTH / self.largest / steps
        flat = self.size[0] == 0
        size = (self.size[0], 2 * step, self.size[1])
        scene = td.Simulation(
            size=size,
            medium=self.background,
            structures=self.structures(0 if flat else offset * step, 0.7 * offset * step),
            grid_spec=td.GridSpec.uniform(dl=step),
            boundary_spec=td.BoundarySpec.all_sides(td.Periodic()),
            run_time=1e-12,
            subpixel=averaged,
        )
        return ModeSolver(
            simulation=scene,
            plane=td.Box(size=(td.inf, 0, td.inf)),
            mode_spec=td.ModeSpec(
                num_modes=len(self.modes), target_neff=max(self.modes.values()), precision="double"
            ),
            freqs=[td.C_0 / WAVELENGTH],
        )

    def errors(self, indices) -> dict[str, float]:
        """What each mode's index is off by; of a pair the worse."""
        ordered = sorted((float(index) for index in indices), reverse=True)
        worst: dict[str, float] = {}
        for ours, (name, exact) in zip(ordered, self.modes.items(), strict=True):
            keep_worst(worst, {name.rstrip("'"): abs(ours - exact)})
        return worst


def keep_worst(worst: dict[str, float], errors: dict[str, float]) -> None:
    """Raises the errors in `worst` to those that are larger."""
    for name, error in errors.items():
        worst[name] = max(worst.get(name, 0.0), error)


def roots(function: Callable[[float], float], low: float, high: float) -> list[float]:
    """The zeros of a function without poles, descending."""
    points = np.linspace(low + 1e-9, high - 1e-9, 4001)
    values = [function(point) for point in points]
    found = [
        brentq(function, points[index], points[index + 1], xtol=1e-14)
        for index in range(len(points) - 1)
        if values[index] * values[index + 1] < 0
    ]
    return found[::-1]


def slab_index(film: float, thickness: float, outside: tuple[float, float], magnetic: bool) -> float:
    """The fundamental mode of a film between two half spaces; TM if `magnetic`."""

    def residual(index: float) -> float:
        across = WAVE_NUMBER * np.sqrt(film**2 - index**2)
        phases = 0.0
        for medium in outside:
            weight = (film / medium) ** 2 if magnetic else 1.0
            decay = WAVE_NUMBER * np.sqrt(max(index**2 - medium**2, 0.0))
            phases += np.arctan(weight * decay / across)
        return across * thickness - phases

    return brentq(residual, max(outside) + 1e-12, film - 1e-12, xtol=1e-14)


def fibre_modes(core: float, cladding: float, radius: float) -> dict[str, float]:
    """All modes of a step-index fibre of up to two nodes around (Snyder and Love, table 12-4); hybrid ones twice."""

    def characteristic(order: int, part: str) -> Callable[[float], float]:
        def residual(index: float) -> float:
            u = WAVE_NUMBER * radius * np.sqrt(core**2 - index**2)
            w = WAVE_NUMBER * radius * np.sqrt(index**2 - cladding**2)
            inside, outside = jvp(order, u) * w * kv(order, w), kvp(order, w) * u * jv(order, u)
            electric, magnetic = inside + outside, core**2 * inside + cladding**2 * outside
            if order == 0:
                return electric if part == "TE" else magnetic
            mixed = order * index * (u**2 + w**2) / (u * w) * jv(order, u) * kv(order, w)
            return electric * magnetic - mixed**2

        return residual

    found = [("TE01", index) for index in roots(characteristic(0, "TE"), cladding, core)[:1]]
    found += [("TM01", index) for index in roots(characteristic(0, "TM"), cladding, core)[:1]]
    for order in (1, 2):
        for index in roots(characteristic(order, ""), cladding, core)[:1]:
            found += [(f"HE{order}1", index), (f"HE{order}1'", index)]
    return dict(sorted(found, key=lambda mode: -mode[1]))


GRADED = (12.0, 3.0, 1.85)
"""Permittivity in the middle, how it falls with the square of the distance, and how far."""


def graded_permittivity(distance):
    middle, slope, reach = GRADED
    return middle - slope * np.minimum(np.abs(distance), reach) ** 2


def graded_modes() -> dict[str, float]:
    """TE modes of the parabolic profile are those of the harmonic oscillator; TM0 from 40,000 points."""
    middle, slope, reach = GRADED
    electric = [np.sqrt(middle - (2 * order + 1) * np.sqrt(slope) / WAVE_NUMBER) for order in (0, 1)]
    # n² H = ε H + ε d/dx (1/ε dH/dx), made symmetric by H = √ε h.
    step = 2 * reach / 40_000
    points = (np.arange(40_000) + 0.5) * step - reach
    permittivity = graded_permittivity(points)
    between = graded_permittivity(np.append(points - step / 2, points[-1] + step / 2))
    scale = 1 / (WAVE_NUMBER * step) ** 2
    diagonal = permittivity - permittivity * (1 / between[:-1] + 1 / between[1:]) * scale
    beside = np.sqrt(permittivity[:-1] * permittivity[1:]) / between[1:-1] * scale
    last = len(points) - 1
    magnetic = np.sqrt(eigh_tridiagonal(diagonal, beside, select="i", select_range=(last, last))[0][0])
    modes = {"TE0": electric[0], "TM0": magnetic, "TE1": electric[1]}
    return dict(sorted(modes.items(), key=lambda mode: -mode[1]))


def medium(index: float) -> td.Medium:
    return td.Medium(permittivity=index**2)


def slab(film: float, thickness: float, substrate: float, cover: float) -> Guide:
    def structures(_: float, z: float) -> list[td.Structure]:
        below = td.Box(center=(0, 0, z - 10), size=(td.inf, td.inf, 20))
        layer = td.Box(center=(0, 0, z), size=(td.inf, td.inf, thickness))
        return [
            td.Structure(geometry=below, medium=medium(substrate)),
            td.Structure(geometry=layer, medium=medium(film)),
        ]

    modes = {name: slab_index(film, thickness, (substrate, cover), name == "TM0") for name in ("TE0", "TM0")}
    name = f"slab {film} in {substrate}" if substrate == cover else f"slab {film} on {substrate}"
    return Guide(name, film, medium(cover), (0, 6.0), structures, modes)


def fibre(core: float, cladding: float, radius: float, size: float, modes: int = 6) -> Guide:
    def structures(x: float, z: float) -> list[td.Structure]:
        cylinder = td.Cylinder(axis=1, center=(x, 0, z), radius=radius, length=td.inf)
        return [td.Structure(geometry=cylinder, medium=medium(core))]

    known = dict(list(fibre_modes(core, cladding, radius).items())[:modes])
    return Guide(f"fibre {core} in {cladding}", core, medium(cladding), (size, size), structures, known)


def graded() -> Guide:
    def structures(_: float, z: float) -> list[td.Structure]:
        reach = GRADED[2]
        points = np.linspace(-reach, reach, 6401)
        data = td.SpatialDataArray(
            graded_permittivity(points)[None, None, :], coords={"x": [0.0], "y": [0.0], "z": points + z}
        )
        profile = td.CustomMedium(permittivity=data, interp_method="linear", subpixel=True)
        return [td.Structure(geometry=td.Box(size=(td.inf, td.inf, td.inf)), medium=profile)]

    outside = medium(float(np.sqrt(graded_permittivity(GRADED[2]))))
    return Guide("parabolic profile", GRADED[0] ** 0.5, outside, (0, 3.6), structures, graded_modes())


def strip(
    core: float,
    cladding: float,
    width: float,
    height: float,
    size: tuple[float, float],
    modes: dict[str, float],
) -> Guide:
    def structures(x: float, z: float) -> list[td.Structure]:
        box = td.Box(center=(x, 0, z), size=(width, td.inf, height))
        return [td.Structure(geometry=box, medium=medium(core))]

    return Guide(f"strip {core} in {cladding}", core, medium(cladding), size, structures, modes)


def hollow(
    name: str,
    filling: float,
    size: tuple[float, float],
    geometries: Callable[[float, float], list[tuple[td.Geometry, bool]]],
    cutoffs: dict[str, float],
) -> Guide:
    """A guide within a perfect conductor, from the cutoff wave numbers of its modes; geometries that are false conduct."""

    def structures(x: float, z: float) -> list[td.Structure]:
        return [
            td.Structure(geometry=geometry, medium=medium(filling) if is_open else td.PECMedium())
            for geometry, is_open in geometries(x, z)
        ]

    modes = {
        mode: float(np.sqrt(filling**2 - (cutoff / WAVE_NUMBER) ** 2)) for mode, cutoff in cutoffs.items()
    }
    return Guide(
        name, filling, td.PECMedium(), size, structures, dict(sorted(modes.items(), key=lambda it: -it[1]))
    )


def hollow_rectangle(width: float, height: float, filling: float) -> Guide:
    def geometries(x: float, z: float):
        return [(td.Box(center=(x, 0, z), size=(width, td.inf, height)), True)]

    orders = {"TE10": (1, 0), "TE01": (0, 1), "TE11": (1, 1), "TM11": (1, 1)}
    cutoffs = {mode: np.pi * np.hypot(m / width, n / height) for mode, (m, n) in orders.items()}
    return hollow("hollow rectangle", filling, (width + 0.5, height + 0.5), geometries, cutoffs)


def hollow_circle(radius: float, filling: float) -> Guide:
    def geometries(x: float, z: float):
        return [(td.Cylinder(axis=1, center=(x, 0, z), radius=radius, length=td.inf), True)]

    zeros = {"TE11": jnp_zeros(1, 1), "TM01": jn_zeros(0, 1), "TE21": jnp_zeros(2, 1)}
    cutoffs = {mode: zero[0] / radius for mode, zero in zeros.items()}
    cutoffs |= {f"{mode}'": cutoffs[mode] for mode in ("TE11", "TE21")}
    return hollow("hollow circle", filling, (2 * radius + 0.5,) * 2, geometries, cutoffs)


def coaxial_line(inner: float, outer: float, filling: float) -> Guide:
    """Its TEM wave has the index of the filling on every grid."""

    def geometries(x: float, z: float):
        radii = ((outer, True), (inner, False))
        return [
            (td.Cylinder(axis=1, center=(x, 0, z), radius=radius, length=td.inf), is_open)
            for radius, is_open in radii
        ]

    def residual(cutoff: float) -> float:
        a, b = cutoff * inner, cutoff * outer
        return jvp(1, a) * yvp(1, b) - jvp(1, b) * yvp(1, a)

    cutoff = brentq(residual, 1 / outer, 2.5 / (inner + outer), xtol=1e-14)
    cutoffs = {"TEM": 0.0, "TE11": cutoff, "TE11'": cutoff}
    return hollow("coaxial line", filling, (2 * outer + 0.5,) * 2, geometries, cutoffs)


def conductor_guides() -> list[Guide]:
    """Those whose walls conduct perfectly and lie off the grid."""
    return [hollow_rectangle(2.0, 1.3, 1.5), hollow_circle(1.0, 1.5), coaxial_line(0.37, 1.0, 1.5)]


SILICON_STRIP = {"TE0": 2.4472, "TM0": 1.7712}
"""Converged indices, good to 1e-4 and 2e-4: 500 x 220 nm of index 3.4777 in 1.444."""
NITRIDE_STRIP = {"TE0": 1.72737, "TM0": 1.6871}
"""Converged indices, good to 2e-5: 1000 x 600 nm of index 2 in 1.444."""


def silicon_strip(steps: float) -> ModeSolver:
    """The strip on the client's automatic grid, with everything as the client has it by default."""
    core = td.Structure(geometry=td.Box(size=(0.5, td.inf, 0.22)), medium=medium(3.4777))
    scene = td.Simulation(
        size=(3, 1, 3),
        medium=medium(1.444),
        structures=[core],
        grid_spec=td.GridSpec.auto(wavelength=WAVELENGTH, min_steps_per_wvl=steps),
        run_time=1e-12,
    )
    return ModeSolver(
        simulation=scene,
        plane=td.Box(size=(2.6, 0, 2.4)),
        mode_spec=td.ModeSpec(num_modes=2),
        freqs=[td.C_0 / WAVELENGTH],
    )


def guides() -> list[Guide]:
    """Those of dielectrics."""
    return [
        slab(2.0, 0.4, 1.444, 1.444),
        slab(2.0, 0.4, 1.444, 1.0),
        slab(3.4777, 0.22, 1.444, 1.444),
        graded(),
        fibre(2.0, 1.0, 0.54, 4.2),
        fibre(3.4777, 1.444, 0.25, 2.4, modes=2),
        strip(2.0, 1.444, 1.0, 0.6, (4.0, 3.6), NITRIDE_STRIP),
        strip(3.4777, 1.444, 0.5, 0.22, (2.4, 2.0), SILICON_STRIP),
    ]
