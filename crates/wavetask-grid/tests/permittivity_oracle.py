"""Random scenes with random media, as the tidy3d client serialises them, and the permittivity it gives them.

Usage: python permittivity_oracle.py OUTPUT.json SEED COUNT

Each case holds the JSON and the arrays of a simulation as they stand in the client's HDF5 file, the
boundaries of its grid, the index of refraction by which the graded mesher sizes each structure, and for some
locations and a frequency what `epsilon_on_grid` gives.
"""

from __future__ import annotations

import json
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

KEYS = ["centers", "boundaries", "Ex", "Ey", "Ez", "Exy", "Exz", "Eyx", "Eyz", "Ezx", "Ezy"]
FREQUENCY = 2e14


def number(rng, low, high, digits=None):
    value = float(rng.uniform(low, high))
    # Half of the numbers are short, so that surfaces meet grid points.
    digits = (1 if rng.random() < 0.5 else 6) if digits is None else digits
    return float(np.round(value, digits))


def center(rng):
    return tuple(number(rng, -0.8, 0.8) for _ in range(3))


# Shapes


def random_box(rng):
    size = [max(number(rng, 0.1, 1.4), 0.1) for _ in range(3)]
    if rng.random() < 0.3:
        size[rng.integers(3)] = td.inf
    return td.Box(center=center(rng), size=tuple(size))


def random_sphere(rng):
    return td.Sphere(center=center(rng), radius=number(rng, 0.1, 0.8))


def random_cylinder(rng):
    slanted = rng.random() < 0.4
    return td.Cylinder(
        center=center(rng),
        radius=number(rng, 0.2, 0.8),
        length=max(number(rng, 0.1, 1.5), 0.1),
        axis=int(rng.integers(3)),
        sidewall_angle=number(rng, -0.3, 0.3) if slanted else 0.0,
    )


def random_slab(rng):
    count = int(rng.integers(3, 7))
    angles = np.sort(rng.uniform(0, 2 * np.pi, count)) + np.linspace(0, 1e-3, count)
    vertices = np.round(np.stack([np.cos(angles), np.sin(angles)], axis=1) * rng.uniform(0.3, 1.0), 3)
    vertices += np.round(rng.uniform(-0.5, 0.5, 2), 1)
    low = number(rng, -0.8, 0.3)
    return td.PolySlab(
        vertices=vertices.tolist(), slab_bounds=(low, low + number(rng, 0.2, 1.0)), axis=int(rng.integers(3))
    )


def random_combination(rng):
    if rng.random() < 0.5:
        return td.GeometryGroup(geometries=[random_box(rng), random_sphere(rng)])
    box = td.Box(center=(0, 0, 0), size=(1.2, 1.0, 1.4))
    return td.ClipOperation(operation="difference", geometry_a=box, geometry_b=random_sphere(rng))


SHAPES = [random_box, random_box, random_sphere, random_cylinder, random_slab, random_combination]


# Homogeneous media


def medium_constant(rng):
    return td.Medium(permittivity=1 + rng.uniform(0, 11), conductivity=rng.choice([0.0, rng.uniform(0, 0.2)]))


def medium_gain(rng):
    return td.Medium(permittivity=1 + rng.uniform(0, 11), conductivity=-rng.uniform(0, 0.2), allow_gain=True)


def medium_poles(rng):
    poles = [
        (complex(-rng.uniform(0, 1e14), rng.uniform(-3e15, 3e15)), complex(*rng.uniform(-2e15, 2e15, 2)))
        for _ in range(rng.integers(0, 4))
    ]
    return td.PoleResidue(eps_inf=rng.uniform(0.5, 4), poles=poles)


def medium_sellmeier(rng):
    return td.Sellmeier(
        coeffs=[(rng.uniform(0, 2), rng.uniform(0.01, 0.5)) for _ in range(rng.integers(1, 4))]
    )


def medium_lorentz(rng):
    coeffs = [
        (rng.uniform(0, 3), rng.uniform(1e14, 6e14), rng.uniform(0, 3e14)) for _ in range(rng.integers(0, 3))
    ]
    return td.Lorentz(eps_inf=rng.uniform(1, 3), coeffs=coeffs)


def medium_drude(rng):
    return td.Drude(eps_inf=rng.uniform(1, 9), coeffs=[(rng.uniform(1e14, 2e15), rng.uniform(1e12, 1e14))])


def medium_debye(rng):
    return td.Debye(eps_inf=rng.uniform(1, 3), coeffs=[(rng.uniform(0, 5), rng.uniform(1e-16, 1e-14))])


def medium_perturbed(rng):
    perturbation = td.ParameterPerturbation(heat=td.LinearHeatPerturbation(temperature_ref=300, coeff=1e-4))
    if rng.random() < 0.5:
        return td.PerturbationMedium(
            permittivity=rng.uniform(1.5, 12), permittivity_perturbation=perturbation
        )
    return td.PerturbationPoleResidue(
        eps_inf=2.0, poles=[(-1e13 + 2e15j, 1e14 + 3e14j)], eps_inf_perturbation=perturbation
    )


def medium_perfect(rng):
    return td.PEC if rng.random() < 0.7 else td.PMC


def medium_metal(rng):
    return td.LossyMetalMedium(conductivity=rng.uniform(1, 60), frequency_range=(1e14, 4e14))


ISOTROPIC = [
    medium_constant,
    medium_gain,
    medium_poles,
    medium_sellmeier,
    medium_lorentz,
    medium_drude,
    medium_debye,
    medium_perturbed,
    medium_perfect,
]


def pick(rng, choices):
    return choices[int(rng.integers(len(choices)))](rng)


def medium_diagonal(rng):
    choices = [choice for choice in ISOTROPIC if choice is not medium_perturbed]
    return td.AnisotropicMedium(**{name: pick(rng, choices) for name in ("xx", "yy", "zz")})


def medium_tensor(rng):
    rotation = td.RotationAroundAxis(axis=tuple(rng.uniform(-1, 1, 3)), angle=rng.uniform(0, 3))
    parts = [
        td.Medium(permittivity=1 + rng.uniform(0, 5), conductivity=rng.uniform(0, 0.05)) for _ in range(3)
    ]
    return td.FullyAnisotropicMedium.from_diagonal(*parts, rotation=rotation)


# Custom media


class Lattice:
    def __init__(self, rng):
        self.rng = rng
        self.axes = []
        for _ in range(3):
            count = int(rng.integers(1, 6))
            # Mid-points between samples fall on grid points now and then.
            step = 0.1 if rng.random() < 0.3 else 1e-6
            axis = np.unique(np.round(rng.uniform(-0.8, 0.8, count) / step) * step)
            self.axes.append(rng.permutation(axis) if rng.random() < 0.1 else axis)

    def __call__(self, low, high):
        values = self.rng.uniform(low, high, [len(axis) for axis in self.axes])
        return td.SpatialDataArray(values, coords=dict(zip("xyz", self.axes, strict=False)))

    def complex(self, low, high):
        real, imag = self(low.real, high.real), self(low.imag, high.imag)
        return real + 1j * imag

    def dataset(self, low, high):
        values = self.complex(low, high).values
        coords = dict(zip("xyz", self.axes, strict=False), f=[FREQUENCY * 1.1])
        return td.ScalarFieldDataArray(values[..., None], coords=coords)


class Cells:
    def __init__(self, rng):
        from scipy.spatial import Delaunay

        self.rng = rng
        dimensions = int(rng.integers(2, 4))
        points = rng.uniform(-0.8, 0.8, (int(rng.integers(6, 20)), dimensions))
        self.points = td.PointDataArray(points, dims=("index", "axis"))
        self.cells = td.CellDataArray(Delaunay(points).simplices, dims=("cell_index", "vertex_index"))
        self.options = {}
        self.kind = td.TetrahedralGridDataset
        if dimensions == 2:
            self.kind = td.TriangularGridDataset
            self.options = {"normal_axis": int(rng.integers(3)), "normal_pos": float(rng.uniform(-1, 1))}

    def of(self, values):
        data = td.IndexedDataArray(values, dims=("index",))
        return self.kind(points=self.points, cells=self.cells, values=data, **self.options)

    def __call__(self, low, high):
        return self.of(self.rng.uniform(low, high, len(self.points)))

    def complex(self, low, high):
        count = len(self.points)
        return self.of(
            self.rng.uniform(low.real, high.real, count) + 1j * self.rng.uniform(low.imag, high.imag, count)
        )


def support(rng):
    return Lattice(rng) if rng.random() < 0.6 else Cells(rng)


def method(rng):
    return str(rng.choice(["nearest", "linear"]))


def custom_constant(rng):
    data = support(rng)
    lossy = {"conductivity": data(0, 0.1)} if rng.random() < 0.5 else {}
    return td.CustomMedium(permittivity=data(1, 12), interp_method=method(rng), **lossy)


def custom_dataset(rng):
    lattice = Lattice(rng)
    lattice.axes = [np.sort(axis) for axis in lattice.axes]
    same = rng.random() < 0.3
    parts = (
        [lattice.dataset(1 + 0j, 9 + 0.3j)] * 3
        if same
        else [lattice.dataset(1 + 0j, 9 + 0.3j) for _ in range(3)]
    )
    dataset = td.PermittivityDataset(**dict(zip(("eps_xx", "eps_yy", "eps_zz"), parts, strict=False)))
    return td.CustomMedium(eps_dataset=dataset, interp_method=method(rng))


def custom_poles(rng):
    data = support(rng)
    poles = [
        (data.complex(-1e14 - 3e15j, 0 + 3e15j), data.complex(-1e15 - 1e15j, 1e15 + 1e15j))
        for _ in range(rng.integers(0, 3))
    ]
    return td.CustomPoleResidue(eps_inf=data(1, 4), poles=poles, interp_method=method(rng))


def custom_sellmeier(rng):
    data = support(rng)
    coeffs = [(data(0, 2), data(0.01, 0.5)) for _ in range(rng.integers(1, 3))]
    return td.CustomSellmeier(coeffs=coeffs, interp_method=method(rng))


def custom_lorentz(rng):
    data = support(rng)
    coeffs = [(data(0, 2), data(2e14, 5e14), data(1e12, 1e14)) for _ in range(rng.integers(1, 3))]
    return td.CustomLorentz(eps_inf=data(1, 4), coeffs=coeffs, interp_method=method(rng))


def custom_drude(rng):
    data = support(rng)
    coeffs = [(data(1e14, 2e15), data(1e12, 1e14)) for _ in range(rng.integers(1, 3))]
    return td.CustomDrude(eps_inf=data(1, 4), coeffs=coeffs, interp_method=method(rng))


def custom_debye(rng):
    data = support(rng)
    coeffs = [(data(0, 2), data(1e-16, 1e-14)) for _ in range(rng.integers(1, 3))]
    return td.CustomDebye(eps_inf=data(1, 4), coeffs=coeffs, interp_method=method(rng))


CUSTOM_ISOTROPIC = [
    custom_constant,
    custom_poles,
    custom_sellmeier,
    custom_lorentz,
    custom_drude,
    custom_debye,
]


def custom_diagonal(rng):
    parts = {name: pick(rng, CUSTOM_ISOTROPIC) for name in ("xx", "yy", "zz")}
    override = {"interp_method": method(rng)} if rng.random() < 0.5 else {}
    return td.CustomAnisotropicMedium(**parts, **override)


MEDIA = [
    *ISOTROPIC,
    medium_metal,
    medium_diagonal,
    medium_diagonal,
    medium_tensor,
    *CUSTOM_ISOTROPIC,
    custom_constant,
    custom_dataset,
    custom_diagonal,
]


# Sheets


def random_sheet(rng):
    axis = int(rng.integers(3))
    size = [float(rng.uniform(0.4, 2.5)) for _ in range(3)]
    size[axis] = 0
    middle = list(center(rng))
    middle[axis] = float(np.clip(middle[axis], -0.6, 0.6))
    if rng.random() < 0.15:
        medium = td.Medium2D(ss=td.PEC, tt=td.PEC)
    else:
        choices = [medium_constant, medium_poles, medium_lorentz, medium_drude, medium_debye]
        medium = td.Medium2D(ss=pick(rng, choices), tt=pick(rng, choices))
    return td.Structure(geometry=td.Box(center=tuple(middle), size=tuple(size)), medium=medium)


def random_structure(rng, kinds):
    medium = pick(rng, kinds)
    priority = int(rng.integers(-1, 3)) if rng.random() < 0.3 else None
    return td.Structure(geometry=pick(rng, SHAPES), medium=medium, priority=priority)


def random_boundaries(rng):
    """Uneven cells; many boundaries are multiples of a tenth."""
    count = int(rng.integers(5, 9))
    digits = 1 if rng.random() < 0.6 else 5
    inner = np.unique(np.round(np.linspace(-1, 1, count) + rng.uniform(-0.05, 0.05, count), digits))
    return inner[np.concatenate([[True], np.diff(inner) > 0.02])]


def random_simulation(rng):
    has_sheets = rng.random() < 0.15
    kinds = [*ISOTROPIC[:-1], medium_diagonal] if has_sheets else MEDIA
    structures = [random_structure(rng, kinds) for _ in range(rng.integers(1, 6))]
    if has_sheets:
        structures.insert(int(rng.integers(len(structures) + 1)), random_sheet(rng))
    grids = [td.CustomGridBoundaries(coords=random_boundaries(rng)) for _ in range(3)]
    return td.Simulation(
        center=(0, 0, 0),
        size=(2, 2, 2),
        medium=pick(rng, ISOTROPIC[:4]) if rng.random() < 0.5 else td.Medium(),
        structures=structures,
        grid_spec=td.GridSpec(grid_x=grids[0], grid_y=grids[1], grid_z=grids[2]),
        boundary_spec=td.BoundarySpec.all_sides(td.PECBoundary()),
        structure_priority_mode=str(rng.choice(["equal", "conductor"])),
        run_time=1e-12,
    )


def arrays_of(simulation):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "simulation.hdf5"
        simulation.to_file(str(path))
        arrays = {}
        with h5py.File(path) as file:

            def visit(name, item):
                if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiuc":
                    values = item[()]
                    entry = {"shape": list(values.shape), "kind": item.dtype.kind}
                    flat = np.ravel(values)
                    entry["values"] = np.real(flat).tolist()
                    if item.dtype.kind == "c":
                        entry["imag"] = np.imag(flat).tolist()
                    arrays[name] = entry

            file.visititems(visit)
            text = b"".join(file[key][()] for key in sorted(file) if key.startswith("JSON_STRING"))
        return json.loads(text), arrays


def mesher_index(medium, frequency):
    n, k = td.Medium.eps_complex_to_nk(medium.eps_diagonal_numerical(frequency))
    return float(max(np.max(np.abs(n)), np.max(np.abs(k))))


def case_of(rng):
    simulation = random_simulation(rng)
    grid = simulation.grid
    frequency = float(rng.uniform(1e14, 4e14)) if rng.random() < 0.95 else float("inf")
    queries = []
    keys = (
        list(rng.choice(KEYS[:2], 1))
        + list(rng.choice(KEYS[2:5], 2, replace=False))
        + list(rng.choice(KEYS[5:], 1))
    )
    for key in keys:
        values = simulation.epsilon_on_grid(grid=grid, coord_key=str(key), freq=frequency)
        flat = np.ravel(values.values)
        queries.append(
            {
                "key": str(key),
                "coordinates": [values.coords[axis].values.tolist() for axis in "xyz"],
                "real": np.real(flat).tolist(),
                "imag": np.imag(flat).tolist(),
            }
        )
    document, arrays = arrays_of(simulation)
    return {
        "simulation": document,
        "arrays": arrays,
        "boundaries": [np.asarray(axis).tolist() for axis in grid.boundaries.to_list],
        "frequency": frequency if np.isfinite(frequency) else None,
        "indices": [mesher_index(structure.medium, FREQUENCY) for structure in simulation.structures],
        "queries": queries,
    }


def main():
    output, seed, count = sys.argv[1:]
    rng = np.random.default_rng(int(seed))
    cases, refused = [], []
    while len(cases) < int(count):
        try:
            cases.append(case_of(rng))
        except Exception as error:  # the client refuses some of what chance makes up
            refused.append(str(error).splitlines()[0])
            if len(refused) > 2 * int(count):
                raise
    Path(output).write_text(
        json.dumps({"version": td.__version__, "cases": cases, "refused": refused}), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
