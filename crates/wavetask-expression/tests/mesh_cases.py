"""Random fields on triangles and tetrahedra, and what tidy3d makes of them.

Called with a folder; writes `results.json`, a list of cases with the arrays they are about, and `results.bin` with the
numbers. Every case is an expression over the field `mesh` and its value by tidy3d's own methods.
"""

import json
import pathlib
import sys
import warnings

import numpy as np
import tidy3d as td
from scipy.spatial import Delaunay

warnings.simplefilter("ignore")
td.config.logging.level = "ERROR"

FIELD = {"field": {"source": {"task": "task-1"}, "path": ["mesh"]}}


def thickness(points, cells):
    """Of each cell: its measure to the power that makes it a length, by its longest edge."""
    corners = points[cells]
    edges = corners[:, 1:] - corners[:, :1]
    longest = np.linalg.norm(corners[:, :, None] - corners[:, None], axis=-1).max(axis=(1, 2))
    return np.abs(np.linalg.det(edges)) / longest ** points.shape[1]


def mesh(random, dimensions):
    """Points and cells with holes, a cell without measure, and points that no cell has."""
    points = random.random((int(random.integers(6, 60)), dimensions))
    # Tetrahedra between points of a lattice need not meet face to face once the flattest are gone.
    if dimensions == 2 and random.random() < 0.3:
        points = np.unique(np.round(points * 4) / 4, axis=0)
    cells = Delaunay(points).simplices
    cells = cells[thickness(points, cells) > 1e-2]
    cells = cells[random.random(len(cells)) < 0.85]
    if len(cells) == 0:
        return mesh(random, dimensions)
    flat = cells[:1].copy()
    flat[0, 1] = flat[0, 0]
    return points, np.concatenate([cells, flat]).astype(np.int64)


def dataset(random, dimensions):
    points, cells = mesh(random, dimensions)
    count = len(points)
    extra = random.random() < 0.4
    values = random.standard_normal((count, 3) if extra else count)
    if random.random() < 0.3:
        values = values + 1j * random.standard_normal(values.shape)
    coords = {"index": np.arange(count)}
    values_type = td.IndexedDataArray
    if extra:
        coords["voltage"] = [-1.0, 0.5, 2.0]
        values_type = td.IndexedVoltageDataArray
    arguments = {
        "points": td.PointDataArray(
            points, coords={"index": np.arange(count), "axis": np.arange(dimensions)}
        ),
        "cells": td.CellDataArray(
            cells,
            coords={"cell_index": np.arange(len(cells)), "vertex_index": np.arange(dimensions + 1)},
        ),
        "values": values_type(values, coords=coords),
    }
    if dimensions == 3:
        return td.TetrahedralGridDataset(**arguments)
    axis = int(random.integers(3))
    return td.TriangularGridDataset(normal_axis=axis, normal_pos=0.25, **arguments)


def transformed(random, data, expression):
    """The field, or something computed of each of its values; along another dimension all or some."""
    kind = random.integers(5)
    if kind == 1:
        data, expression = data.abs, {"unary": {"function": "absolute", "of": expression}}
    elif kind == 2:
        double = {"binary": {"function": "multiply", "left": expression, "right": {"number": {"value": 2.5}}}}
        expression = {"binary": {"function": "subtract", "left": double, "right": FIELD}}
        data = data * 2.5 - data
    if "voltage" in data.values.dims:
        if kind == 3:
            data = data.sel(voltage=0.5)
            expression = {"sel": {"of": expression, "selectors": [["voltage", {"value": 0.5}]]}}
        elif kind == 4:
            data = data.isel(voltage=[2, 0])
            expression = {"isel": {"of": expression, "indexers": [["voltage", {"indices": [2, 0]}]]}}
    return data, expression


def sampled(random, data, expression):
    """The field on a grid: beside the mesh, within it, and at its own points."""
    method = str(random.choice(["linear", "linear", "nearest"]))
    fill = [None, "extrapolate", 0.0, 300.0, np.nan][random.integers(5)]
    own = data._points_3d_array
    # Along one axis of a plane across x or y, tidy3d has the tolerance of the plane's normal, which is none, and misses
    # cells whose upper end is the place to the last digit.
    without_tolerance = {0: 1, 1: 2}.get(getattr(data, "normal_axis", None))
    grid = []
    for axis in range(3):
        places = random.uniform(-0.2, 1.2, int(random.integers(1, 7)))
        # Where several points are equally near, which one is found is a matter of chance.
        exact = method == "linear" and isinstance(fill, float) and axis != without_tolerance
        if exact and random.random() < 0.6:
            places[random.random(places.size) < 0.5] = own[random.integers(len(own)), axis]
        grid.append(np.unique(places))
    keywords = dict(zip("xyz", grid, strict=False))
    places = [[name, {"values": values.tolist()}] for name, values in keywords.items()]
    if "voltage" in data.values.dims and len(data.values.voltage) > 1 and random.random() < 0.3:
        keywords["voltage"] = [0.75, -0.25]
        places.append(["voltage", {"values": [0.75, -0.25]}])
    body = {"of": expression, "places": places, "method": method}
    if fill is not None:
        body["fill"] = "nan" if fill is np.nan else fill if fill == "extrapolate" else {"value": fill}
    order = random.permutation(len(places))
    body["places"] = [places[place] for place in order]
    return data.interp(**keywords, method=method, fill_value=fill), {"interp": body}


def selected(random, data, expression):
    """The field along a line through triangles, or at places that are named one by one."""
    names, inside = "xyz", data.points.values[data.cells.values]
    if isinstance(data, td.TetrahedralGridDataset):
        # Of tetrahedra, tidy3d selects at places only: with the VTK of today its planes have polygons that it refuses.
        keywords = {name: float(random.uniform(0, 1)) for name in names}
    else:
        tangents = [axis for axis in range(3) if axis != data.normal_axis]
        place = int(random.integers(2))
        low, high = inside[:, :, place].min(), inside[:, :, place].max()
        position = float(random.uniform(low, high))
        keywords = {names[tangents[place]]: position}
        if random.random() < 0.3:
            keywords[names[tangents[1 - place]]] = float(random.uniform(0, 1))
        elif random.random() < 0.4:
            keywords[names[tangents[place]]] = float(inside[random.integers(len(inside)), 0, place])
        if random.random() < 0.5:
            keywords[names[data.normal_axis]] = data.normal_pos
    selectors = [[name, {"value": value}] for name, value in keywords.items()]
    return data.sel(**keywords), {"sel": {"of": expression, "selectors": selectors}}


class Numbers:
    def __init__(self):
        self.arrays, self.start = [], 0

    def store(self, array):
        flat = np.ascontiguousarray(array, dtype=complex).ravel()
        self.arrays.append(flat)
        self.start += flat.size
        return {"start": self.start - flat.size, "count": flat.size, "shape": list(np.shape(array))}


def main(folder):
    random = np.random.default_rng(11)
    numbers, cases = Numbers(), []
    for number in range(120):
        data = dataset(random, 2 + number % 2)
        field = {
            "points": numbers.store(data.points.values),
            "cells": numbers.store(data.cells.values),
            "values": numbers.store(data.values.values),
            "complex": bool(data.is_complex),
            "voltage": data.values.coords["voltage"].values.tolist()
            if "voltage" in data.values.dims
            else None,
        }
        if isinstance(data, td.TriangularGridDataset):
            field["normal"] = [data.normal_axis, data.normal_pos]
        for kind in [sampled] * 6 + [selected] * 3:
            result, expression = kind(random, *transformed(random, data, FIELD))
            value = numbers.store(result.values)
            dimensions = [[dim, result.coords[dim].values.tolist()] for dim in result.dims]
            cases.append({"field": field, "expression": expression, "value": value, "dimensions": dimensions})
    (folder / "results.json").write_text(json.dumps(cases))
    np.concatenate(numbers.arrays).tofile(folder / "results.bin")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
