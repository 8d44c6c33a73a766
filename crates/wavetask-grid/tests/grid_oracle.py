"""Simulations with every kind of grid, as the tidy3d client writes them, and the grids that it makes of them.

Usage: python grid_oracle.py OUTPUT.json SEED COUNT

The first cases are scenes drawn by hand in the manner of the client's public examples (grid_scenes.py), the
others are random. Each case holds the JSON and the arrays of a simulation, the boundaries of its
grid or the fact that the client makes none, the coordinates and steps derived from it, and the
parts of the grid around boxes, monitors and mode planes.
"""

# Functions made in loops are called at once.
# ruff: noqa: B023
from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import tidy3d as td
from geometry_oracle import random_geometry
from grid_layers import random_layered
from grid_scenes import SCENES

try:
    from tidy3d.plugins.mode import ModeSolver
except ImportError:
    from tidy3d import ModeSolver

C = td.C_0
NEW = hasattr(td, "GeometryArray")

# Shapes other than boxes: making one takes far longer than using it again.
SHAPES = []


def number(rng, low, high):
    return float(np.round(rng.uniform(low, high), 4))


def chance(rng, share):
    return bool(rng.random() < share)


def random_medium(rng):
    kind = rng.random()
    if kind < 0.7:
        return td.Medium(permittivity=number(rng, 1, 13))
    if kind < 0.85:
        return td.Medium(permittivity=number(rng, 1, 13), conductivity=number(rng, 0, 0.5))
    if kind < 0.92:
        return td.PECMedium()
    if kind < 0.96:
        return td.Lorentz(eps_inf=2.0, coeffs=[(1.5, 4e14, 1e13)])
    return td.AnisotropicMedium(
        xx=td.Medium(permittivity=number(rng, 1, 9)),
        yy=td.Medium(permittivity=number(rng, 1, 9)),
        zz=td.PoleResidue(eps_inf=2, poles=[(-1e14 + 2e14j, 3e14 + 1e14j)]),
    )


def placed_box(rng, center, size):
    """A box near the domain, seldom through it, now and then flat, infinite or flush with the domain."""
    extent = [number(rng, 0.02, 1.0) * max(s, 0.5) for s in size]
    position = [c + number(rng, -0.6, 0.6) * s for c, s in zip(center, size, strict=False)]
    for axis in range(3):
        kind = rng.random()
        if kind < 0.15:
            extent[axis] = td.inf
        elif kind < 0.25:
            position[axis] = center[axis]
            extent[axis] = size[axis]
        elif kind < 0.3:
            extent[axis] = 0.0
        elif kind < 0.4:
            extent[axis] = number(rng, 0.001, 0.05)
        elif kind < 0.5:
            position[axis] = center[axis]
    return td.Box(center=tuple(position), size=tuple(extent))


def random_structure(rng, center, size):
    medium = random_medium(rng)
    geometry = placed_box(rng, center, size) if chance(rng, 0.55) else SHAPES[int(rng.integers(len(SHAPES)))]
    priority = int(rng.integers(-2, 3)) if NEW and chance(rng, 0.2) else None
    arguments = {} if priority is None else {"priority": priority}
    return td.Structure(geometry=geometry, medium=medium, **arguments)


def random_axis(rng, center, size, wavelength):
    kind = rng.random()
    if kind < 0.6:
        arguments = {}
        if chance(rng, 0.5):
            arguments["min_steps_per_wvl"] = number(rng, 6, 22)
        if chance(rng, 0.3):
            arguments["min_steps_per_sim_size"] = number(rng, 1, 40)
        if chance(rng, 0.3):
            arguments["max_scale"] = number(rng, 1.2, 1.95)
        if chance(rng, 0.3):
            arguments["dl_min"] = number(rng, 0, wavelength / 30)
        return td.AutoGrid(**arguments)
    if kind < 0.72:
        return td.QuasiUniformGrid(
            dl=number(rng, wavelength / 60, wavelength / 8),
            max_scale=number(rng, 1.2, 1.9),
            dl_min=None if chance(rng, 0.7) else number(rng, 0, wavelength / 50),
        )
    if kind < 0.82:
        return td.UniformGrid(dl=number(rng, wavelength / 60, wavelength / 8))
    if kind < 0.91:
        inner = np.sort(center + (rng.random(int(rng.integers(3, 30))) - 0.5) * (size + 0.5))
        ends = [center - 0.6 * size - 0.1, center + 0.6 * size + 0.1] if chance(rng, 0.5) else []
        coords = np.unique(np.round(np.concatenate([inner, ends]), 5))
        return td.CustomGridBoundaries(coords=coords)
    count = int(rng.integers(2, 30))
    steps = tuple(map(float, np.round(rng.uniform(0.02, 0.3, count), 4)))
    offset = float(center - sum(steps) / 2 + rng.uniform(-0.1, 0.1)) if chance(rng, 0.4) else None
    return td.CustomGrid(dl=steps, custom_offset=offset)


def random_override(rng, center, size, wavelength):
    if chance(rng, 0.12):
        return random_structure(rng, center, size)
    arguments = {}
    kind = rng.random()
    if kind < 0.25:
        arguments["enforce"] = True
    elif kind < 0.6:
        arguments["shadow"] = False
    if chance(rng, 0.3):
        arguments["priority"] = int(rng.integers(-3, 4))
    if chance(rng, 0.3):
        arguments["drop_outside_sim"] = False
    if NEW and "min_steps_per_size" in td.MeshOverrideStructure.model_fields and chance(rng, 0.2):
        arguments["min_steps_per_size"] = tuple(
            None if chance(rng, 0.4) else number(rng, 2, 12) for _ in range(3)
        )
    steps = tuple(
        None if chance(rng, 0.3) else number(rng, wavelength / 80, wavelength / 5) for _ in range(3)
    )
    return td.MeshOverrideStructure(geometry=placed_box(rng, center, size), dl=steps, **arguments)


def random_edge(rng):
    kind = rng.random()
    if kind < 0.4:
        return td.PML(num_layers=int(rng.integers(1, 16)))
    if kind < 0.5:
        return td.StablePML()
    if kind < 0.65:
        return td.Absorber(num_layers=int(rng.integers(1, 50)))
    return td.PECBoundary() if kind < 0.85 else td.PMCBoundary()


def random_boundary(rng, flat):
    if flat or chance(rng, 0.35):
        return td.Boundary.periodic()
    if chance(rng, 0.1):
        return td.Boundary.bloch(0.2)
    return td.Boundary(minus=random_edge(rng), plus=random_edge(rng))


def random_lumped(rng, center, size, index):
    if chance(rng, 0.3):
        return td.CoaxialLumpedResistor(
            center=center,
            outer_diameter=0.6,
            inner_diameter=0.2,
            normal_axis=int(rng.integers(3)),
            resistance=50,
            num_grid_cells=int(rng.integers(1, 4)) if chance(rng, 0.8) else None,
            name=f"coax{index}",
        )
    axes = rng.permutation(3)
    extent = [0.0, 0.0, 0.0]
    extent[axes[0]], extent[axes[1]] = number(rng, 0.1, 0.6), number(rng, 0.1, 0.6)
    return td.LumpedResistor(
        center=tuple(c + number(rng, -0.2, 0.2) * s for c, s in zip(center, size, strict=False)),
        size=tuple(extent),
        voltage_axis=int(axes[0]),
        resistance=50,
        num_grid_cells=int(rng.integers(1, 4)) if chance(rng, 0.8) else None,
        enable_snapping_points=chance(rng, 0.8),
        name=f"resistor{index}",
    )


def random_simulation(rng):
    wavelength = number(rng, 0.8, 4.0)
    center = tuple(number(rng, -1, 1) if chance(rng, 0.5) else 0.0 for _ in range(3))
    size = [number(rng, 0.6, 6.0) for _ in range(3)]
    for axis in range(3):
        if chance(rng, 0.12):
            size[axis] = 0.0
    if size.count(0.0) == 3:
        size[0] = 2.0
    structures = [random_structure(rng, center, size) for _ in range(int(rng.integers(0, 10)))]
    overrides, points = [], []
    if chance(rng, 0.5):
        count = int(rng.integers(1, 6))
        overrides = [random_override(rng, center, size, wavelength) for _ in range(count)]
    if chance(rng, 0.4):
        for _ in range(int(rng.integers(1, 8))):
            points.append(
                tuple(
                    None if chance(rng, 0.3) else c + number(rng, -0.6, 0.6) * s
                    for c, s in zip(center, size, strict=False)
                )
            )
    uniform_kind = chance(rng, 0.4)
    axes = [
        td.AutoGrid() if uniform_kind else random_axis(rng, c, s, wavelength)
        for c, s in zip(center, size, strict=False)
    ]
    frequency = C / wavelength
    by_source = chance(rng, 0.5)
    sources = []
    if by_source:
        sources = [
            td.PointDipole(
                center=center,
                source_time=td.GaussianPulse(freq0=frequency * f, fwidth=frequency / 10),
                polarization="Ex",
            )
            for f in (1.0, 1 + 3e-6)
        ]
    symmetry = tuple(0 if s == 0 or chance(rng, 0.7) else int(rng.choice([-1, 1])) for s in size)
    boundaries = {axis: random_boundary(rng, s == 0) for axis, s in zip("xyz", size, strict=False)}
    lumped = []
    if 0.0 not in size and chance(rng, 0.12):
        lumped = [random_lumped(rng, center, size, index) for index in range(int(rng.integers(1, 3)))]
    arguments = {}
    if "structure_priority_mode" in getattr(td.Simulation, "model_fields", {}) and chance(rng, 0.3):
        arguments["structure_priority_mode"] = "conductor"
    return td.Simulation(
        center=center,
        size=tuple(size),
        medium=td.Medium(permittivity=number(rng, 1, 3) if chance(rng, 0.5) else 1.0),
        structures=structures,
        sources=sources,
        lumped_elements=lumped,
        symmetry=symmetry,
        boundary_spec=td.BoundarySpec(**boundaries),
        run_time=1e-13,
        grid_spec=td.GridSpec(
            grid_x=axes[0],
            grid_y=axes[1],
            grid_z=axes[2],
            wavelength=None if by_source else wavelength,
            override_structures=overrides,
            snapping_points=points,
        ),
        **arguments,
    )


def serialised(simulation):
    """The JSON and the arrays of a simulation in the client's own file of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "simulation.hdf5"
        simulation.to_hdf5(str(path))
        arrays = {}

        def visit(name, item):
            if isinstance(item, h5py.Dataset) and not name.startswith("JSON_STRING"):
                arrays[name] = {
                    "shape": list(item.shape),
                    "values": np.asarray(item[()], dtype=float).ravel().tolist(),
                }

        with h5py.File(path) as file:
            file.visititems(visit)
            text = "".join(file[key][()].decode() for key in sorted(file) if key.startswith("JSON_STRING"))
    return json.loads(text), arrays


def plain(boundaries):
    return [np.asarray(lines, dtype=float).tolist() for lines in boundaries.to_list]


def attempt(function):
    """What the function returns, or nothing if the client raises."""
    try:
        return function()
    except Exception:
        return None


def described(box):
    return {
        "center": list(map(float, box.center)),
        "size": [1e300 if np.isinf(s) else float(s) for s in box.size],
    }


def parts(rng, simulation):
    """Boxes, monitors and mode planes in a simulation, and the parts of the grid around them."""
    result = {"boxes": [], "monitors": [], "planes": []}
    for _ in range(3):
        box = placed_box(rng, simulation.center, simulation.size)
        if not simulation.intersects(box):
            continue
        for extend in (False, True):
            part = attempt(lambda: plain(simulation.discretize(box, extend=extend).boundaries))
            span = [[int(a), int(b)] for a, b in simulation.grid.discretize_inds(box, extend=extend)]
            if part is not None:
                result["boxes"].append({**described(box), "extend": extend, "span": span, "part": part})
        for colocate in (False, True):
            monitor = td.FieldMonitor(
                center=box.center, size=box.size, freqs=[1e14], name="m", colocate=colocate
            )
            span = simulation._discretize_inds_monitor(monitor)
            part = attempt(lambda: plain(simulation.discretize_monitor(monitor).boundaries))
            result["monitors"].append(
                {
                    **described(box),
                    "colocate": colocate,
                    "span": np.asarray(span).tolist(),
                    "part": part,
                }
            )
    return result


def mode_planes(rng, simulation):
    """Mode planes and the grids that the mode solver derives of them."""
    result = []
    flat = [axis for axis in range(3) if simulation.size[axis] == 0]
    for _ in range(2):
        if len(flat) > 1:
            break
        normal = flat[0] if flat else int(rng.integers(3))
        center, size = list(simulation.center), list(simulation.size)
        for axis in range(3):
            if axis == normal:
                size[axis] = 0.0
                if not flat:
                    center[axis] += number(rng, -0.45, 0.45) * simulation.size[axis]
            elif chance(rng, 0.4):
                size[axis] *= number(rng, 0.2, 0.8)
                if chance(rng, 0.5):
                    center[axis] += number(rng, -0.2, 0.2) * simulation.size[axis]
            elif chance(rng, 0.3):
                size[axis] = td.inf
        plane = td.Box(center=tuple(center), size=tuple(size))
        solver = attempt(
            lambda: ModeSolver(
                simulation=simulation, plane=plane, mode_spec=td.ModeSpec(num_modes=1), freqs=[2e14]
            )
        )
        if solver is None or not hasattr(solver, "_solver_grid"):
            continue
        entry = attempt(
            lambda: {
                **described(plane),
                "symmetry": list(map(int, solver.solver_symmetry)),
                "output": plain(solver._output_grid.boundaries),
                "snapped": plain(solver.grid_snapped.boundaries),
                "solver_span": [list(map(int, span)) for span in solver._solver_grid_span_inds],
                "solver": plain(solver._solver_grid.boundaries),
            }
        )
        if entry is None:
            continue
        reduced = attempt(lambda: solver.reduced_simulation_copy)
        if reduced is not None:
            entry["reduced"] = plain(reduced.simulation.grid.boundaries)
            entry["reduced_symmetry"] = list(map(int, reduced.simulation.symmetry))
            entry["reduced_snapped"] = plain(reduced.grid_snapped.boundaries)
            entry["reduced_solver"] = plain(reduced._solver_grid.boundaries)
        result.append(entry)
    return result


def case(rng, name, simulation, with_parts):
    value, arrays = serialised(simulation)
    # The grid may have been made while the simulation was checked: make it anew, to know what it takes.
    getattr(simulation, "_cached_properties", {}).clear()
    started = time.perf_counter()
    grid = attempt(lambda: simulation.grid)
    seconds = time.perf_counter() - started
    if grid is None:
        return {"name": name, "simulation": value, "arrays": arrays, "boundaries": None, "seconds": seconds}
    result = {
        "name": name,
        "simulation": value,
        "arrays": arrays,
        "seconds": seconds,
        "boundaries": plain(grid.boundaries),
    }
    if with_parts:
        keys = ("Ex", "Ey", "Ez", "Hx", "Hy", "Hz", "centers")
        result["coordinates"] = {key: plain(grid[key]) for key in keys}
        result["primal"] = plain(grid._primal_steps)
        result["dual"] = plain(grid._dual_steps)
    if isinstance(simulation, td.Simulation) and with_parts:
        result |= parts(rng, simulation)
        result["planes"] = mode_planes(rng, simulation)
    return result


def main():
    output, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rng = np.random.default_rng(seed)
    SHAPES.extend(random_geometry(rng) for _ in range(60))
    cases = []
    for name, make in SCENES.items():
        simulation = attempt(make)
        if simulation is not None:
            cases.append(case(rng, name, simulation, True))
    drawn = len(cases)
    rejected = 0
    while len(cases) < drawn + count:
        try:
            layered = NEW and len(cases) % 4 == 0
            simulation = random_layered(rng) if layered else random_simulation(rng)
        except Exception as error:
            rejected += 1
            if rejected > 20 * count:
                raise RuntimeError("hardly any simulation is valid") from error
            continue
        kind = "layered" if layered else "random"
        cases.append(case(rng, f"{kind} {len(cases)}", simulation, len(cases) % 5 == 0))
    with Path(output).open("w") as file:
        json.dump({"version": td.__version__, "rejected": rejected, "drawn": drawn, "cases": cases}, file)


if __name__ == "__main__":
    main()
