"""Data of symmetric simulations, and what tidy3d makes of it.

Called with a folder; writes the data into HDF5 files there, `results.json`, a list of cases about them, and `results.bin`
with the numbers. Every case is an expression over a field of the data and its value by tidy3d's own methods on
`symmetry_expanded_copy`.
"""

import json
import pathlib
import sys
import warnings

import numpy as np
import tidy3d as td
from mesh_cases import Numbers, thickness
from scipy.spatial import Delaunay

warnings.simplefilter("ignore")
td.config.logging.level = "ERROR"

AXES = "xyz"


def planes(random, signs):
    """Symmetries along the axes, one at least, and their centres."""
    while True:
        symmetry = tuple(int(random.choice(signs)) for _ in AXES)
        if any(symmetry):
            return symmetry, tuple(np.round(random.uniform(-0.5, 0.5, 3), 3).tolist())


def extent(random, center, mirrored):
    """From where to where a monitor goes: on both sides of a plane, on one, or far beyond everything."""
    low, high = {
        0: (-0.9, 0.9),
        1: (-0.3, 0.8),
        2: (-0.8, 0.3),
        3: (-0.8, -0.2),
        4: (0.0, 0.7),
        5: (-np.inf, np.inf),
    }[int(random.integers(6)) if mirrored else 0]
    if np.isinf(low):
        return 0.0, np.inf
    return center + (low + high) / 2, high - low


def monitor(random, symmetry, center, **more):
    each = [extent(random, c, s != 0) for c, s in zip(center, symmetry, strict=True)]
    kinds = dict(center=tuple(e[0] for e in each), size=tuple(e[1] for e in each), name="m", **more)
    return td.TemperatureMonitor(**kinds)


def along(random, low, high, count, on_low):
    places = np.sort(random.uniform(low, high, count))
    if on_low:
        places[0] = low
    return places


def on_a_grid(random):
    """Temperatures at sampled places."""
    symmetry, center = planes(random, [0, 1])
    coords = {}
    for axis, name in enumerate(AXES):
        low = center[axis] if symmetry[axis] else center[axis] - 0.9
        places = along(random, low, center[axis] + 0.9, int(random.integers(1, 7)), random.random() < 0.7)
        coords[name] = places[::-1].copy() if random.random() < 0.2 else places
    values = td.SpatialDataArray(random.standard_normal([len(c) for c in coords.values()]), coords=coords)
    return td.TemperatureData(
        monitor=monitor(random, symmetry, center, unstructured=False),
        temperature=values, symmetry=symmetry, symmetry_center=center,
    )  # fmt: skip


def on_a_mesh(random):
    """Temperatures on triangles or tetrahedra, which touch the planes of symmetry."""
    dimensions = int(random.integers(2, 4))
    symmetry, center = planes(random, [0, 1])
    normal = int(random.integers(3))
    tangents = [axis for axis in range(3) if dimensions == 3 or axis != normal]
    points = random.random((int(random.integers(12, 50)), dimensions))
    for place in range(dimensions):
        points[random.random(len(points)) < 0.3, place] = 0.0
    corners = np.array(np.meshgrid(*[[0.0, 1.0]] * dimensions)).reshape(dimensions, -1).T
    points = np.unique(np.concatenate([points, corners]), axis=0)
    for place, axis in enumerate(tangents):
        low = center[axis] if symmetry[axis] else center[axis] - 0.9
        points[:, place] = low + points[:, place] * (center[axis] + 0.9 - low)
    cells = Delaunay(points).simplices
    cells = cells[thickness(points, cells) > 1e-2]
    if random.random() < 0.3:
        cells = cells[random.random(len(cells)) < 0.9]
    arguments = {
        "points": td.PointDataArray(
            points, coords={"index": np.arange(len(points)), "axis": np.arange(dimensions)}
        ),
        "cells": td.CellDataArray(
            cells.astype(np.int64),
            coords={"cell_index": np.arange(len(cells)), "vertex_index": np.arange(dimensions + 1)},
        ),
        "values": td.IndexedDataArray(
            random.standard_normal(len(points)), coords={"index": np.arange(len(points))}
        ),
    }
    place = monitor(random, symmetry, center, unstructured=True)
    if dimensions == 3:
        data = td.TetrahedralGridDataset(**arguments)
    else:
        at = list(place.center)
        if np.isinf(place.size[normal]):
            at[normal] = center[normal]
        size = tuple(0.0 if axis == normal else each for axis, each in enumerate(place.size))
        place = place.updated_copy(center=tuple(at), size=size)
        stored = at[normal]
        if symmetry[normal] and stored < center[normal]:
            stored = 2 * center[normal] - stored
        data = td.TriangularGridDataset(normal_axis=normal, normal_pos=stored, **arguments)
    return td.TemperatureData(monitor=place, temperature=data, symmetry=symmetry, symmetry_center=center)


def boundaries(random, center, symmetric):
    """Boundaries of cells, in pairs about the centre."""
    half = np.cumsum(random.uniform(0.05, 0.2, int(random.integers(3, 7))))
    if symmetric:
        return center + np.concatenate([-half[::-1], [0.0], half])
    return center - 0.4 + np.concatenate([[0.0], half])


def gridded(random):
    """Fields at places of a grid."""
    symmetry, center = planes(random, [-1, 0, 1])
    grid = td.Grid(
        boundaries=td.Coords(
            **{name: boundaries(random, center[axis], symmetry[axis] != 0) for axis, name in enumerate(AXES)}
        )
    )
    kind = random.choice(["FieldData", "FieldTimeData", "PermittivityData", "ModeSolverData"])
    colocate = bool(random.random() < 0.5)
    size = tuple(float(np.ptp(grid.boundaries.to_list[axis])) for axis in range(3))
    place = dict(center=center, size=size, name="m")
    freqs = [2e14, 2.1e14]
    interval = (1, 1, 1)
    if kind == "FieldData" and random.random() < 0.4:
        interval = tuple(int(each) for each in random.integers(1, 4, 3))
    more = {"FieldTimeData": dict(coords={"t": [0.0, 1e-15]}, array=td.ScalarFieldTimeDataArray)}.get(
        kind, dict(coords={"f": freqs}, array=td.ScalarFieldDataArray)
    )
    if kind == "FieldData":
        place = td.FieldMonitor(freqs=freqs, colocate=colocate, interval_space=interval, **place)
    elif kind == "FieldTimeData":
        place = td.FieldTimeMonitor(colocate=colocate, **place)
    elif kind == "PermittivityData":
        place, colocate = td.PermittivityMonitor(freqs=freqs, **place), False
    else:
        normal = int(random.integers(3))
        size = tuple(0.0 if axis == normal else each for axis, each in enumerate(size))
        place = td.ModeSolverMonitor(
            freqs=freqs, mode_spec=td.ModeSpec(num_modes=2), colocate=colocate, center=center, size=size,
            name="m",
        )  # fmt: skip
        more = dict(coords={"f": freqs, "mode_index": [0, 1]}, array=td.ScalarModeFieldDataArray)
    names = {"PermittivityData": ["eps_xx", "eps_yy", "eps_zz"]}.get(
        kind, [f + axis for f in "EH" for axis in AXES]
    )
    located = {"eps_xx": "Ex", "eps_yy": "Ey", "eps_zz": "Ez"}
    # What is stored may lie at other places than those that the monitor has: then it is interpolated.
    moved = kind != "PermittivityData" and random.random() < 0.25
    fields = {}
    for name in names:
        if colocate:
            where = [each[:-1] for each in grid.boundaries.to_list]
        else:
            where = grid[located.get(name, name)].to_list
        coords = {}
        for axis, places in enumerate(where):
            places = place.downsample(np.asarray(places), axis=axis)
            if symmetry[axis]:
                places = places[places >= center[axis] - 1e-12]
                if moved and len(places) > 1:
                    places = places + 0.013
            coords[AXES[axis]] = places
        if kind == "ModeSolverData" and random.random() < 0.5:
            coords[AXES[normal]] = np.array([center[normal]])
        coords |= more["coords"]
        shape = [len(each) for each in coords.values()]
        values = random.standard_normal(shape)
        if kind != "FieldTimeData":
            values = values + 1j * random.standard_normal(shape)
        fields[name] = more["array"](values, coords=coords)
    if kind == "ModeSolverData":
        fields["n_complex"] = td.ModeIndexDataArray(np.ones((2, 2)) + 0j, coords=more["coords"])
    return getattr(td, kind)(
        monitor=place, symmetry=symmetry, symmetry_center=center, grid_expanded=grid, **fields
    )


def cut_by_vtk(data):
    """Whether it is on a mesh that VTK has cut, which is in single precision then."""
    if not hasattr(data, "points"):
        return False
    points = data.points.values
    return bool(np.array_equal(points, points.astype(np.float32)))


def interpolated(random, data, expression):
    """Values between places of the whole, and beside it."""
    method = str(random.choice(["linear", "linear", "nearest"]))
    fill = [None, "extrapolate", 0.0, 300.0, np.nan][random.integers(5)]
    if cut_by_vtk(data):
        # Where two planes cut, which points there are depends on how VTK has divided what the first has left.
        method, fill = "linear", 300.0
    keywords = {}
    for axis, name in enumerate(AXES):
        if hasattr(data, "points"):
            low, high = (each[axis] for each in data.bounds)
        else:
            labels = data.coords[name].values
            low, high = labels.min(), labels.max()
            if labels.size < 2:
                continue
        keywords[name] = np.sort(random.uniform(low - 0.1, high + 0.1, int(random.integers(1, 7))))
    if not keywords:
        return data, expression
    body = {
        "of": expression,
        "places": [[name, {"values": values.tolist()}] for name, values in keywords.items()],
        "method": method,
    }
    if fill is not None:
        body["fill"] = "nan" if fill is np.nan else fill if fill == "extrapolate" else {"value": fill}
    if hasattr(data, "points"):
        return data.interp(**keywords, method=method, fill_value=fill), {"interp": body}
    for name, places in keywords.items():
        more = {} if fill is None else {"kwargs": {"fill_value": fill}}
        data = data.interp({name: places}, method=method, **more)
    return data, {"interp": body}


def selected(random, data, expression):
    """A part of the whole by its places."""
    name = AXES[int(random.integers(3))]
    count = data.sizes[name]
    if random.random() < 0.5:
        place = int(random.integers(count))
        return data.isel({name: place}), {"isel": {"of": expression, "indexers": [[name, {"index": place}]]}}
    places = random.integers(0, count, 4).tolist()
    return data.isel({name: places}), {"isel": {"of": expression, "indexers": [[name, {"indices": places}]]}}


def main(folder):
    random = np.random.default_rng(23)
    numbers, cases = Numbers(), []
    for number in range(420):
        kind = [on_a_grid, on_a_mesh, gridded][number % 3]
        data = kind(random)
        try:
            whole = data.symmetry_expanded_copy
        except Exception as error:
            # What tidy3d cannot make whole is refused here, too.
            whole = error
        file = f"{number}.hdf5"
        data.to_hdf5(str(folder / file))
        names = ["temperature"] if kind is not gridded else sorted(data.field_components)
        for name in names if kind is gridded else names * 3:
            expression = {"field": {"source": {"result": "DIGEST"}, "path": ["symmetry_expanded_copy", name]}}
            case = {"file": file, "kind": kind.__name__, "class": type(getattr(data, name)).__name__}
            if isinstance(whole, Exception):
                cases.append({**case, "error": f"{type(whole).__name__}: {whole}", "expression": expression})
                continue
            field = getattr(whole, name)
            change = interpolated
            if kind is not on_a_mesh:
                change = [interpolated, selected, lambda _, *same: same][int(random.integers(3))]
            value, expression = change(random, field, expression)
            case |= {
                "expression": expression,
                "value": numbers.store(value.values),
                "dimensions": [[dim, value.coords[dim].values.tolist()] for dim in value.dims],
                "single": cut_by_vtk(field),
            }
            cases.append(case)
    (folder / "results.json").write_text(json.dumps(cases))
    np.concatenate(numbers.arrays).tofile(folder / "results.bin")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
