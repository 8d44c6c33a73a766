"""Random simulations whose grid is refined in layers of metal."""

from __future__ import annotations

import numpy as np
import tidy3d as td


def number(rng, low, high):
    return float(np.round(rng.uniform(low, high), 4))


def chance(rng, share):
    return bool(rng.random() < share)


def across(axis, along, plane):
    values = list(plane)
    values.insert(axis, along)
    return tuple(values)


def random_metal(rng):
    if chance(rng, 0.7):
        return td.PECMedium()
    return td.LossyMetalMedium(conductivity=58, frequency_range=(1e9, 1e10))


def random_trace(rng, axis, height, thickness):
    """A box of metal in the layer, seldom a slab with slanted edges or a cylinder."""
    kind = rng.random()
    place = (number(rng, -4, 4), number(rng, -4, 4))
    if kind < 0.8:
        size = [number(rng, 0.05, 3.0), number(rng, 0.05, 3.0)]
        if chance(rng, 0.3):
            size[int(rng.integers(2))] = td.inf
        return td.Box(center=across(axis, height, place), size=across(axis, thickness, size))
    bounds = (height - thickness / 2, height + thickness / 2)
    if kind < 0.93:
        count = int(rng.integers(3, 9))
        angles = np.sort(rng.uniform(0, 2 * np.pi, count)) + np.linspace(0, 0.01, count)
        radii = rng.uniform(0.3, 0.6, count)
        points = np.round(np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1) + place, 4)
        vertices = [tuple(map(float, point)) for point in points]
        return td.PolySlab(vertices=vertices, slab_bounds=bounds, axis=axis)
    return td.Cylinder(
        center=across(axis, height, place), radius=number(rng, 0.05, 0.5), length=thickness, axis=axis
    )


def random_refinement(rng):
    arguments = {}
    if chance(rng, 0.5):
        arguments["refinement_factor"] = number(rng, 1, 5)
    if chance(rng, 0.4):
        arguments["dl"] = number(rng, 0.02, 0.3)
    if chance(rng, 0.5):
        arguments["num_cells"] = int(rng.integers(1, 6))
    return td.GridRefinement(**arguments)


def random_layer(rng, axis, height, thickness):
    arguments = {}
    if chance(rng, 0.3):
        arguments["min_steps_along_axis"] = number(rng, 1, 5)
    if chance(rng, 0.3):
        arguments["bounds_refinement"] = random_refinement(rng)
    if chance(rng, 0.6):
        arguments["bounds_snapping"] = [None, "lower", "upper", "center", "bounds"][int(rng.integers(5))]
    if chance(rng, 0.1):
        arguments["corner_finder"] = None
    elif chance(rng, 0.2):
        arguments["corner_finder"] = td.CornerFinderSpec(angle_threshold=number(rng, 0.1, 1.0))
    if chance(rng, 0.2):
        arguments["corner_snapping"] = False
    if chance(rng, 0.4):
        arguments["corner_refinement"] = None if chance(rng, 0.3) else random_refinement(rng)
    if chance(rng, 0.3):
        arguments["in_plane_edge_refinement"] = None if chance(rng, 0.5) else random_refinement(rng)
    if chance(rng, 0.3):
        arguments["min_steps_per_geometry"] = None if chance(rng, 0.5) else number(rng, 1, 6)
    if chance(rng, 0.3):
        arguments["refinement_inside_sim_only"] = False
    if chance(rng, 0.5):
        arguments["gap_meshing_iters"] = int(rng.integers(0, 5))
    if chance(rng, 0.3):
        arguments["dl_min_from_gap_width"] = False
    plane = (td.inf, td.inf)
    center = (0.0, 0.0)
    if chance(rng, 0.25):
        plane = (number(rng, 2, 9), number(rng, 2, 9))
        center = (number(rng, -2, 2), number(rng, -2, 2))
    return td.LayerRefinementSpec(
        axis=axis,
        center=across(axis, height, center),
        size=across(axis, thickness, plane),
        **arguments,
    )


def random_edges(rng):
    kind = rng.random()
    if kind < 0.25:
        return td.Boundary.periodic()
    if kind < 0.5:
        return td.Boundary.pec()
    if kind < 0.6:
        return td.Boundary(minus=td.PECBoundary(), plus=td.PML(num_layers=5))
    return td.Boundary.pml(num_layers=6)


def random_layered(rng):
    axis = int(rng.integers(3))
    wavelength = number(rng, 10, 40)
    structures, layers = [], []
    substrate = across(axis, -1.0, (0, 0)), across(axis, 2.0, (td.inf, td.inf))
    structures.append(
        td.Structure(
            geometry=td.Box(center=substrate[0], size=substrate[1]), medium=td.Medium(permittivity=4.4)
        )
    )
    for level in range(int(rng.integers(1, 3))):
        thickness = number(rng, 0.05, 0.3) if chance(rng, 0.8) else 0.0
        height = (thickness / 2, -2.0 - thickness / 2)[level]
        for _ in range(int(rng.integers(0, 6))):
            structures.append(
                td.Structure(
                    geometry=random_trace(rng, axis, height, max(thickness, 0.1)), medium=random_metal(rng)
                )
            )
        if chance(rng, 0.3):
            members = [random_trace(rng, axis, height, max(thickness, 0.1)) for _ in range(3)]
            structures.append(
                td.Structure(geometry=td.GeometryGroup(geometries=members), medium=random_metal(rng))
            )
        layers.append(random_layer(rng, axis, height, thickness))
    grids = [
        td.AutoGrid(min_steps_per_wvl=number(rng, 10, 40), min_steps_per_sim_size=number(rng, 10, 30))
        for _ in range(3)
    ]
    if chance(rng, 0.2):
        grids[int(rng.integers(3))] = td.AutoGrid(dl_min=number(rng, 0.01, 0.1))
    if chance(rng, 0.15):
        grids[int(rng.integers(3))] = td.UniformGrid(dl=0.4)
    if chance(rng, 0.1):
        grids[int(rng.integers(3))] = td.QuasiUniformGrid(dl=0.3)
    return td.Simulation(
        size=across(axis, 8.0, (number(rng, 4, 11), number(rng, 4, 11))),
        structures=structures,
        symmetry=tuple(0 if chance(rng, 0.85) else 1 for _ in range(3)),
        run_time=1e-10,
        boundary_spec=td.BoundarySpec(x=random_edges(rng), y=random_edges(rng), z=random_edges(rng)),
        grid_spec=td.GridSpec(
            grid_x=grids[0],
            grid_y=grids[1],
            grid_z=grids[2],
            wavelength=wavelength,
            layer_refinement_specs=layers,
            snapping_points=[(0.1, None, 0.3)] if chance(rng, 0.3) else [],
        ),
    )
