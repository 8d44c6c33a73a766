"""Random geometries of every class, as the tidy3d client serialises them, and what it says about them.

Usage: python geometry_oracle.py OUTPUT.json SEED COUNT

Each case holds the JSON and the arrays of a structure's geometry as they stand in the client's HDF5
file, its bounds, and points with the answer of `geometry.inside`. Triangle meshes need the package
`trimesh` in the client; without it they are written by hand in the client's layout, and the answer is
the winding number of the surface around the point.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import tidy3d as td

try:
    td.config.logging.level = "CRITICAL"  # from 2.12 on
except AttributeError:
    td.config.logging_level = "CRITICAL"

try:
    import rtree  # noqa: F401
    import trimesh  # noqa: F401

    HAS_TRIMESH = True
except ImportError:
    HAS_TRIMESH = False

POINTS = 36


def number(rng, low=-3.0, high=3.0):
    return float(np.round(rng.uniform(low, high), 6))


def center(rng):
    return tuple(number(rng) for _ in range(3))


def random_box(rng):
    size = [number(rng, 0.1, 4.0) for _ in range(3)]
    if rng.random() < 0.2:
        size[rng.integers(3)] = td.inf
    return td.Box(center=center(rng), size=tuple(size))


def random_sphere(rng):
    return td.Sphere(center=center(rng), radius=number(rng, 0.1, 2.5))


def random_cylinder(rng):
    infinite = rng.random() < 0.2
    slanted = rng.random() < 0.7
    return td.Cylinder(
        center=center(rng),
        radius=number(rng, 0.2, 2.5),
        length=td.inf if infinite else number(rng, 0.1, 4.0),
        axis=int(rng.integers(3)),
        sidewall_angle=0.0 if infinite or not slanted else number(rng, -1.2, 1.2),
        reference_plane=str(rng.choice(["bottom", "middle", "top"])),
    )


def star(rng, count):
    """A simple polygon, seldom convex, in either orientation."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, count))
    angles += np.linspace(0, 1e-3, count)
    radii = rng.uniform(0.6, 2.5, count)
    points = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1) + rng.uniform(-1, 1, 2)
    points = np.round(points, 6)
    if rng.random() < 0.3:
        points = np.insert(points, 1, points[0], axis=0)
    if rng.random() < 0.5:
        points = points[::-1]
    return [tuple(map(float, point)) for point in points]


def comb(rng):
    """A rectilinear polygon with concave corners."""
    teeth = int(rng.integers(2, 6))
    points = [(0.0, 0.0)]
    for tooth in range(teeth):
        points += [(tooth + 0.0, 1.0), (tooth + 0.0, 2.0), (tooth + 0.5, 2.0), (tooth + 0.5, 1.0)]
    points += [(teeth - 0.5, 0.0)]
    shift = rng.uniform(-2, 0, 2)
    return [(float(x + shift[0]), float(y + shift[1])) for x, y in points]


def circle(rng):
    count = int(rng.integers(16, 300))
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    radius = rng.uniform(0.5, 2.5)
    return [(float(radius * np.cos(a)), float(radius * np.sin(a))) for a in angles]


def random_polyslab(rng):
    """With sidewalls, dilation and reference planes that the client accepts."""
    arcs = "bulges" in getattr(td.PolySlab, "model_fields", {}) and rng.random() < 0.15
    while True:
        kind = rng.random()
        vertices = (
            star(rng, int(rng.integers(3, 14))) if kind < 0.6 else comb(rng) if kind < 0.8 else circle(rng)
        )
        low = number(rng)
        bounds = (low, low + number(rng, 0.1, 2.0))
        arguments = {}
        if arcs:
            arguments["bulges"] = [
                float(b) for b in rng.choice([0.0, 0.0, 0.2, -0.2, 0.5, -0.1], len(vertices))
            ]
        elif rng.random() < 0.15:
            bounds = ((-td.inf, bounds[1]), (bounds[0], td.inf), (-td.inf, td.inf))[rng.integers(3)]
        else:
            if rng.random() < 0.6:
                arguments["sidewall_angle"] = number(rng, -0.6, 0.6)
            if rng.random() < 0.4:
                arguments["dilation"] = number(rng, -0.2, 0.4)
        try:
            return td.PolySlab(
                vertices=vertices,
                slab_bounds=bounds,
                axis=int(rng.integers(3)),
                reference_plane=str(rng.choice(["bottom", "middle", "top"])),
                **arguments,
            )
        except Exception:
            continue


def lathe(rng):
    """The triangles of a closed surface of revolution with a random, possibly hollowed profile."""
    around, along = int(rng.integers(3, 14)), int(rng.integers(1, 8))
    heights = np.sort(rng.uniform(-2, 2, along + 2))
    radii = np.concatenate([[0.0], rng.uniform(0.4, 2.0, along), [0.0]])
    angles = np.linspace(0, 2 * np.pi, around, endpoint=False)
    ring = lambda i: np.stack(  # noqa: E731
        [radii[i] * np.cos(angles), radii[i] * np.sin(angles), np.full(around, heights[i])], axis=1
    )
    shift = rng.uniform(-1, 1, 3)
    faces = []
    for i in range(along + 1):
        one, other = ring(i), ring(i + 1)
        for j in range(around):
            k = (j + 1) % around
            if i > 0:
                faces.append([one[j], one[k], other[j]])
            if i < along:
                faces.append([one[k], other[k], other[j]])
    triangles = np.round(np.array(faces) + shift, 6)
    return triangles


def blocks(rng):
    """An L-shaped solid with axis-aligned faces, each rectangle cut into two triangles."""
    w, h, d = (number(rng, 1.0, 2.0) for _ in range(3))
    a, b = (number(rng, 0.3, 0.9) for _ in range(2))
    profile = [(0, 0), (w, 0), (w, b), (a, b), (a, h), (0, h)]
    caps = [(0, 1, 3), (1, 2, 3), (0, 3, 5), (3, 4, 5)]
    faces = []
    for i, j, k in caps:
        (p, q, r) = (profile[n] for n in (i, j, k))
        faces.append([(*p, 0), (*r, 0), (*q, 0)])
        faces.append([(*p, d), (*q, d), (*r, d)])
    for n in range(6):
        p, q = profile[n], profile[(n + 1) % 6]
        faces.append([(*p, 0), (*q, 0), (*q, d)])
        faces.append([(*p, 0), (*q, d), (*p, d)])
    return np.round(np.array(faces, dtype=float) + rng.uniform(-1, 1, 3), 6)


def random_triangles(rng):
    return lathe(rng) if rng.random() < 0.7 else blocks(rng)


def random_mesh(rng):
    return td.TriangleMesh.from_triangles(random_triangles(rng))


def random_matrix(rng, with_offset=True):
    matrix = np.eye(4)
    for _ in range(int(rng.integers(1, 4))):
        kind = rng.random()
        if kind < 0.4:
            axis = rng.normal(size=3)
            step = td.Transformed.rotation(number(rng), tuple(axis / np.linalg.norm(axis)))
        elif kind < 0.6:
            step = td.Transformed.rotation(math.pi / 2 * int(rng.integers(4)), int(rng.integers(3)))
        elif kind < 0.8:
            step = td.Transformed.scaling(*(number(rng, 0.5, 2.0) for _ in range(3)))
        else:
            normal = rng.normal(size=3)
            step = td.Transformed.reflection(tuple(normal / np.linalg.norm(normal)))
        matrix = np.dot(step, matrix)
    if with_offset:
        matrix = np.dot(td.Transformed.translation(number(rng), number(rng), number(rng)), matrix)
    return matrix


def is_finite(geometry):
    return bool(np.all(np.isfinite(np.array(geometry.bounds))))


def finite(rng, depth):
    while True:
        geometry = random_geometry(rng, depth)
        if is_finite(geometry):
            return geometry


def random_transformed(rng, depth):
    return td.Transformed(geometry=finite(rng, depth + 1), transform=random_matrix(rng))


def random_group(rng, depth):
    count = int(rng.integers(1, 12))
    return td.GeometryGroup(geometries=[random_geometry(rng, depth + 1) for _ in range(count)])


def random_clip(rng, depth):
    return td.ClipOperation(
        operation=str(rng.choice(["union", "intersection", "difference", "symmetric_difference"])),
        geometry_a=random_geometry(rng, depth + 1),
        geometry_b=random_geometry(rng, depth + 1),
    )


def random_array(rng, depth):
    count = int(rng.integers(1, 6))
    arguments = {}
    if rng.random() < 0.7:
        arguments["offsets"] = [center(rng) for _ in range(count)]
    if rng.random() < 0.6:
        arguments["transforms"] = [random_matrix(rng, with_offset=False) for _ in range(count)]
    return td.GeometryArray(geometry=finite(rng, depth + 1), **arguments)


SIMPLE = [random_box, random_sphere, random_cylinder, random_polyslab, random_polyslab]
if HAS_TRIMESH:
    SIMPLE.append(random_mesh)
NESTED = [random_transformed, random_group, random_clip]
if hasattr(td, "GeometryArray"):
    NESTED.append(random_array)


def random_geometry(rng, depth=0):
    if depth < 3 and rng.random() < 0.5:
        return NESTED[rng.integers(len(NESTED))](rng, depth)
    return SIMPLE[rng.integers(len(SIMPLE))](rng)


def points_around(rng, bounds):
    """Points in and around a box, kept near where it is infinite."""
    (low, high) = (np.array(side, dtype=float) for side in bounds)
    low = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high - 5, -5.0))
    high = np.where(np.isfinite(high), high, low + 10)
    margin = 0.05 + 0.15 * (high - low)
    return rng.uniform(low - margin, high + margin, (POINTS, 3))


def inside(geometry, point):
    """One point at a time: slanted slabs answer wrongly for lists of points."""
    return bool(np.all(inside_of(geometry, np.asarray(point, dtype=float))))


def inside_of(geometry, point):
    kind = geometry.type
    if kind == "PolySlab":
        # Scalars take the path that is exact for slanted walls.
        return geometry.inside(float(point[0]), float(point[1]), float(point[2]))
    if kind == "GeometryGroup":
        return any(inside(member, point) for member in geometry.geometries)
    if kind == "GeometryArray":
        return inside(geometry._geometry_group, point)
    if kind == "ClipOperation":
        return geometry._bit_operation(inside(geometry.geometry_a, point), inside(geometry.geometry_b, point))
    if kind == "Transformed":
        return inside(geometry.geometry, np.dot(geometry.inverse, (*point, 1.0))[:3])
    return geometry.inside(*(np.array([coordinate]) for coordinate in point))


def serialised(geometry):
    """The JSON and the arrays of a geometry in the client's own file of a structure in a scene."""
    try:
        structure = td.Structure(geometry=geometry, medium=td.Medium(), name="case")
        scene = td.Scene(structures=[structure])
    except Exception:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.hdf5"
        scene.to_hdf5(str(path))
        arrays = {}

        def visit(name, item):
            if isinstance(item, h5py.Dataset) and name.startswith("structures/0/geometry/"):
                arrays[name] = {
                    "shape": list(item.shape),
                    "values": np.asarray(item[()], dtype=float).ravel().tolist(),
                }

        with h5py.File(path) as file:
            file.visititems(visit)
            text = "".join(file[key][()].decode() for key in sorted(file) if key.startswith("JSON_STRING"))
    return json.loads(text)["structures"][0]["geometry"], arrays


def winding_number(triangles, point):
    """How often the surface winds around the point: the sum of solid angles (Van Oosterom, Strackee 1983)."""
    a, b, c = (triangles[:, corner] - point for corner in range(3))
    la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
    numerator = np.einsum("ij,ij->i", a, np.cross(b, c))
    denominator = la * lb * lc + np.sum(a * b, 1) * lc + np.sum(b * c, 1) * la + np.sum(c * a, 1) * lb
    return float(np.sum(2 * np.arctan2(numerator, denominator)) / (4 * np.pi))


def mesh_by_hand(rng):
    triangles = random_triangles(rng)
    root = "structures/0/geometry/mesh_dataset/surface_mesh/"
    value = {
        "type": "TriangleMesh",
        "mesh_dataset": {"type": "TriangleMeshDataset", "surface_mesh": "TriangleMeshDataArray"},
    }
    arrays = {
        root + "__xarray_dataarray_variable__": {
            "shape": list(triangles.shape),
            "values": triangles.ravel().tolist(),
        },
        root + "axis": {"shape": [3], "values": [0, 1, 2]},
    }
    bounds = [triangles.min(axis=(0, 1)).tolist(), triangles.max(axis=(0, 1)).tolist()]
    points = points_around(rng, bounds)
    answers = [abs(winding_number(triangles, point)) > 0.5 for point in points]
    return {
        "kind": "TriangleMesh by hand",
        "geometry": value,
        "arrays": arrays,
        "bounds": bounds,
        "points": points.tolist(),
        "inside": answers,
    }


def case(rng, geometry):
    written = serialised(geometry)
    if written is None:
        return None
    value, arrays = written
    # JSON has no infinity: a large number stands for it.
    bounds = np.nan_to_num(np.array(geometry.bounds, dtype=float), posinf=1e300, neginf=-1e300).tolist()
    points = points_around(rng, geometry.bounds)
    return {
        "kind": geometry.type,
        "geometry": value,
        "arrays": arrays,
        "bounds": bounds,
        "points": points.tolist(),
        "inside": [inside(geometry, point) for point in points],
    }


def main():
    output, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rng = np.random.default_rng(seed)
    cases = []
    # Every class on its own first, then nested ones.
    makers = [lambda r, m=maker: m(r) for maker in SIMPLE] + [lambda r, m=maker: m(r, 0) for maker in NESTED]
    while len(cases) < count:
        index = len(cases)
        if index % 12 == 11:
            cases.append(mesh_by_hand(rng))
            continue
        maker = makers[index % len(makers)] if index < count // 2 else random_geometry
        made = case(rng, maker(rng))
        if made is not None:
            cases.append(made)
    with Path(output).open("w") as file:
        json.dump({"version": td.__version__, "trimesh": HAS_TRIMESH, "cases": cases}, file)


if __name__ == "__main__":
    main()
