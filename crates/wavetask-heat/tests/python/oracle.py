"""Scenes without closed forms against finite volumes on a voxel grid, with the client's own geometry as the judge."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
import scipy.sparse.linalg as linalg
import tidy3d as td
from solver import solve

inf = td.inf
BASE, AMBIENT, COEFFICIENT = 300.0, 310.0, 4e-6


def solid(name, conductivity):
    return td.Medium(heat_spec=td.SolidSpec(conductivity=conductivity, capacity=1), name=name)


FLUID = td.Medium(heat_spec=td.FluidSpec(), name="fluid")


def simulation(size, structures, source, points, dl):
    """Held at 300 K below, cooled by a fluid above; temperatures at points."""
    return td.HeatChargeSimulation(
        center=(0, 0, 0),
        size=size,
        medium=solid("background", 1.4e-6),
        structures=structures,
        sources=[td.HeatSource(rate=source, structures=["heater"])],
        boundary_spec=[
            td.HeatChargeBoundarySpec(
                condition=td.TemperatureBC(temperature=BASE), placement=td.SimulationBoundary(surfaces=["z-"])
            ),
            td.HeatChargeBoundarySpec(
                condition=td.ConvectionBC(ambient_temperature=AMBIENT, transfer_coeff=COEFFICIENT),
                placement=td.SimulationBoundary(surfaces=["z+"]),
            ),
        ],
        grid_spec=td.DistanceUnstructuredGrid(
            dl_interface=dl, dl_bulk=3 * dl, distance_interface=2 * dl, distance_bulk=20 * dl
        ),
        monitors=[
            td.TemperatureMonitor(center=point, size=(0, 0, 0), name=f"p{index}", unstructured=False)
            for index, point in enumerate(points)
        ],
    )


def voxels(sim, counts, samples):
    """Conductivity and heat of voxels: the means over a few samples in each."""
    conductivity, heat, solid_share = (np.zeros(counts) for _ in range(3))
    lines = []
    for axis in range(3):
        step = sim.size[axis] / counts[axis]
        lines.append(sim.center[axis] - sim.size[axis] / 2 + step * (np.arange(counts[axis]) + 0.5))
    offsets = [
        [0.0] if sim.size[axis] == 0 else (np.arange(samples) + 0.5) / samples - 0.5 for axis in range(3)
    ]
    number = 0
    for dx in offsets[0]:
        for dy in offsets[1]:
            for dz in offsets[2]:
                shift = [d * sim.size[axis] / counts[axis] for axis, d in enumerate((dx, dy, dz))]
                grids = np.meshgrid(*[line + s for line, s in zip(lines, shift, strict=True)], indexing="ij")
                k = np.full(counts, sim.medium.heat_spec.conductivity)
                q = np.zeros(counts)
                for structure in sim.structures:
                    inside = structure.geometry.inside(*grids)
                    spec = structure.medium.heat_spec
                    k[inside] = spec.conductivity if isinstance(spec, td.SolidSpec) else 0.0
                    q[inside] = sim.sources[0].rate if structure.name == "heater" else 0.0
                conductivity += k
                heat += q
                solid_share += k > 0
                number += 1
    return conductivity / number, heat / number, solid_share / number > 0.5, lines


def finite_volumes(sim, counts, samples):
    """Temperatures of voxels (not a number in fluids) and the voxel centres."""
    k, q, is_solid, lines = voxels(sim, counts, samples)
    steps = [sim.size[axis] / counts[axis] if sim.size[axis] else 1.0 for axis in range(3)]
    index = -np.ones(counts, dtype=int)
    index[is_solid] = np.arange(is_solid.sum())
    size = int(is_solid.sum())
    rows, columns, values = [], [], []
    diagonal, right = np.zeros(size), (q[is_solid] * np.prod(steps)).copy()
    for axis in range(3):
        if counts[axis] == 1:
            continue
        lower = [slice(None)] * 3
        upper = [slice(None)] * 3
        lower[axis], upper[axis] = slice(None, -1), slice(1, None)
        a, b = index[tuple(lower)].ravel(), index[tuple(upper)].ravel()
        ka, kb = k[tuple(lower)].ravel(), k[tuple(upper)].ravel()
        both = (a >= 0) & (b >= 0)
        a, b, ka, kb = a[both], b[both], ka[both], kb[both]
        conductance = np.prod(steps) / steps[axis] ** 2 * 2 * ka * kb / (ka + kb)
        np.add.at(diagonal, a, conductance)
        np.add.at(diagonal, b, conductance)
        rows += [a, b]
        columns += [b, a]
        values += [-conductance, -conductance]
    area = steps[0] * steps[1]
    for layer, level, resistance in (
        (0, BASE, lambda k: steps[2] / 2 / k),
        (-1, AMBIENT, lambda k: steps[2] / 2 / k + 1 / COEFFICIENT),
    ):
        cells = index[:, :, layer].ravel()
        present = cells >= 0
        conductance = area / resistance(k[:, :, layer].ravel()[present])
        np.add.at(diagonal, cells[present], conductance)
        np.add.at(right, cells[present], conductance * level)
    rows.append(np.arange(size))
    columns.append(np.arange(size))
    values.append(diagonal)
    matrix = sparse.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(size, size)
    )
    inverse = sparse.diags(1 / matrix.diagonal())
    start = np.full(size, BASE)
    solution, failed = linalg.cg(matrix, right, x0=start, rtol=1e-10, M=inverse, maxiter=20000)
    assert not failed
    temperature = np.full(counts, np.nan)
    temperature[is_solid] = solution
    return temperature, lines


def compare(name, sim, points, counts, samples, tolerance):
    data, figures = solve(sim, td.HeatChargeSimulationData.from_file)
    ours = np.array([float(np.squeeze(data[f"p{i}"].temperature.values)) for i in range(len(points))])
    temperature, lines = finite_volumes(sim, counts, samples)
    theirs = []
    for point in points:
        # Linear between voxel centres.
        value = temperature
        for axis in (2, 1, 0):
            line = lines[axis]
            if len(line) == 1:
                value = value[..., 0]
                continue
            low = int(np.clip(np.searchsorted(line, point[axis]) - 1, 0, len(line) - 2))
            share = (point[axis] - line[low]) / (line[low + 1] - line[low])
            value = (1 - share) * value[..., low] + share * value[..., low + 1]
        theirs.append(float(value))
    scale = max(np.nanmax(temperature) - BASE, 1e-9)
    worst = np.max(np.abs(ours - np.array(theirs))) / scale
    print(f"{name}: {figures['unknowns']} unknowns, worst difference {worst:.4f} of the rise {scale:.3f} K")
    assert np.isfinite(worst) and worst < tolerance, (ours, theirs)
    balance = abs(figures["source_power"] - figures["boundary_power"])
    assert balance < 1e-6 * max(figures["source_power"], 1e-12), figures


def ridge():
    """A dilated slab with slanted walls, a round bore filled with fluid, and a heater that a later box covers in part."""
    rib = td.PolySlab(
        vertices=[(-0.8, -9), (0.8, -9), (0.8, 9), (-0.8, 9)],
        axis=2, slab_bounds=(-0.6, 0.5), sidewall_angle=0.35, reference_plane="bottom", dilation=0.1,
    )  # fmt: skip
    bore = td.Cylinder(axis=1, center=(1.6, 0, 0.1), radius=0.45, length=inf)
    heater = td.Box(center=(0, 0, 0.9), size=(1.4, inf, 0.3))
    cover = td.Box(center=(0.6, 0, 0.9), size=(0.4, inf, 0.6))
    structures = [
        td.Structure(geometry=rib, medium=solid("rib", 12e-6), name="rib"),
        td.Structure(geometry=heater, medium=solid("metal", 30e-6), name="heater"),
        td.Structure(geometry=bore, medium=FLUID, name="bore"),
        td.Structure(geometry=cover, medium=solid("cover", 0.4e-6), name="cover"),
    ]
    points = [
        (0, 0, 0),
        (0, 0, 0.9),
        (-1.5, 0, 0.3),
        (1.6, 0, -0.6),
        (0.6, 0, 1.0),
        (0.95, 0, -0.2),
        (2.3, 0, 0.1),
    ]
    sim = simulation((6, 0, 3), structures, 2e-5, points, 0.06)
    compare("slanted rib, bore and covered heater, 2-D", sim, points, (600, 1, 300), 3, 0.006)


def bodies():
    """Rotated, clipped, grouped and slanted bodies in three dimensions."""
    turned = td.Box(center=(0, 0, 0), size=(0.9, 0.3, 0.4)).rotated(0.6, axis=2).rotated(0.3, axis=0)
    turned = turned.translated(-0.4, 0.2, 0.1)
    hollow = td.ClipOperation(
        operation="difference",
        geometry_a=td.Sphere(center=(0.5, -0.4, -0.2), radius=0.45),
        geometry_b=td.Box(center=(0.5, -0.4, 0.2), size=(0.4, 0.4, 0.8)),
    )
    group = td.GeometryGroup(
        geometries=[
            td.Cylinder(axis=0, center=(0.3, 0.6, -0.3), radius=0.2, length=0.8),
            td.Sphere(center=(0.7, 0.6, -0.3), radius=0.3),
        ]
    )
    cone = td.Cylinder(axis=2, center=(-0.5, -0.6, -0.3), radius=0.3, length=0.7, sidewall_angle=0.3)
    structures = [
        td.Structure(geometry=hollow, medium=solid("hollow", 20e-6), name="hollow"),
        td.Structure(geometry=group, medium=FLUID, name="group"),
        td.Structure(geometry=cone, medium=solid("cone", 0.2e-6), name="cone"),
        td.Structure(geometry=turned, medium=solid("metal", 15e-6), name="heater"),
    ]
    points = [
        (-0.4, 0.2, 0.1), (-0.9, 0.8, 0.5), (0.5, -0.4, -0.5), (0.5, -0.4, 0.0), (0, 0, 0.7), (-0.5, -0.6, -0.3),
        (0.9, 0.1, 0.3),
    ]  # fmt: skip
    sim = simulation((2, 2, 1.6), structures, 5e-5, points, 0.07)
    compare("turned, clipped and grouped bodies, 3-D", sim, points, (54, 54, 44), 2, 0.012)


ridge()
bodies()
