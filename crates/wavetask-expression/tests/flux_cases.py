"""Fields in planes, and the power that tidy3d says they carry.

Called with a folder; writes the data into HDF5 files there, `results.json`, a list of cases about them, and `results.bin`
with the numbers: random fields on random grids, and the modes of a strip that tidy3d's own solver finds.
"""

import json
import pathlib
import sys
import warnings

import numpy as np
import tidy3d as td
from mesh_cases import Numbers
from symmetry_cases import AXES, boundaries, planes
from tidy3d.plugins.mode import ModeSolver

warnings.simplefilter("ignore")
td.config.logging.level = "ERROR"


def fields(random):
    """Random fields in a plane, of which a symmetric part may be stored."""
    symmetry, center = planes(random, [-1, 0, 1])
    if random.random() < 0.4:
        symmetry = (0, 0, 0)
    normal = int(random.integers(3))
    symmetry = tuple(0 if axis == normal else each for axis, each in enumerate(symmetry))
    lines = {}
    for axis, name in enumerate(AXES):
        lines[name] = boundaries(random, center[axis], symmetry[axis] != 0)
        if axis == normal:
            lines[name] = center[axis] + np.array([-0.02, 0.03])
        elif random.random() < 0.1 and symmetry[axis] == 0:
            lines[name] = center[axis] + np.array([-0.5, 0.5])
    grid = td.Grid(boundaries=td.Coords(**lines))
    colocate, integrated = bool(random.random() < 0.5), bool(random.random() < 0.6)
    kind = str(random.choice(["FieldData", "FieldTimeData", "ModeSolverData"]))
    if kind == "ModeSolverData":
        colocate = bool(random.random() < 0.5)
    # The plane may end within cells, or go beyond all of them.
    share = float(random.choice([0.55, 0.8, 1.0, 1.3]))
    size = [
        0.0 if axis == normal else share * float(np.ptp(each)) for axis, each in enumerate(lines.values())
    ]
    if random.random() < 0.2:
        size = [0.0 if axis == normal else td.inf for axis in range(3)]
    place = dict(center=center, size=size, name="m", colocate=colocate, use_colocated_integration=integrated)
    if colocate:
        place["use_colocated_integration"] = True
    freqs = [2e14, 2.1e14]
    labels, array = {"f": freqs}, td.ScalarFieldDataArray
    if kind == "FieldData":
        place = td.FieldMonitor(freqs=freqs, **place)
    elif kind == "FieldTimeData":
        place = td.FieldTimeMonitor(**place)
        labels, array = {"t": [0.0, 1e-15, 2e-15]}, td.ScalarFieldTimeDataArray
    else:
        place = td.ModeSolverMonitor(freqs=freqs, mode_spec=td.ModeSpec(num_modes=2), **place)
        labels, array = {"f": freqs, "mode_index": [0, 1]}, td.ScalarModeFieldDataArray
    made = {}
    for name in (letter + axis for letter in "EH" for axis in AXES):
        where = [each[:-1] for each in grid.boundaries.to_list] if colocate else grid[name].to_list
        coords = {}
        for axis, places in enumerate(where):
            places = np.asarray(places)
            coords[AXES[axis]] = places[places >= center[axis] - 1e-12] if symmetry[axis] else places
        coords[AXES[normal]] = np.array([center[normal]])
        coords |= labels
        shape = [len(each) for each in coords.values()]
        values = random.standard_normal(shape)
        if kind != "FieldTimeData":
            values = values + 1j * random.standard_normal(shape)
        made[name] = array(values, coords=coords)
    if kind == "ModeSolverData":
        made["n_complex"] = td.ModeIndexDataArray(np.ones((2, 2)) + 0j, coords=labels)
        for name in ("grid_primal_correction", "grid_dual_correction"):
            made[name] = td.FreqModeDataArray(random.standard_normal((2, 2)) + 1j, coords=labels)
    elif random.random() < 0.5:
        made["grid_primal_correction"] = 1.25
    return getattr(td, kind)(
        monitor=place, symmetry=symmetry, symmetry_center=center, grid_expanded=grid, **made
    )


def strip(**changes):
    """Modes of a strip, by tidy3d's own solver."""
    normal = changes.pop("normal", 1)
    silicon, glass = td.Medium(permittivity=12.1), td.Medium(permittivity=2.1)
    size = [2.0, 2.0, 1.6]
    size[normal] = 0.4
    extents = [0.5, 0.5, 0.22]
    extents[normal] = td.inf
    simulation = td.Simulation(
        size=size,
        grid_spec=td.GridSpec.uniform(dl=0.07),
        medium=glass,
        structures=[td.Structure(geometry=td.Box(size=extents), medium=silicon)],
        run_time=1e-12,
        symmetry=changes.pop("symmetry", (0, 0, 0)),
    )
    plane = [td.inf if axis != normal else 0.0 for axis in range(3)]
    plane = changes.pop("plane", plane)
    settings = dict(mode_spec=td.ModeSpec(num_modes=2), freqs=[1.9e14, 2e14])
    return ModeSolver(simulation=simulation, plane=td.Box(size=plane), **(settings | changes)).data_raw


def modes():
    for normal in range(3):
        yield strip(normal=normal)
        yield strip(normal=normal, colocate=False)
    yield strip(symmetry=(-1, 0, 1))
    yield strip(symmetry=(-1, 0, 0), colocate=False)
    yield strip(plane=(1.23, 0, 0.91))
    yield strip(plane=(1.23, 0, 0.91), colocate=False)
    yield strip(mode_spec=td.ModeSpec(num_modes=1, num_pml=(4, 3)))
    yield strip(direction="-")


def main(folder):
    random = np.random.default_rng(47)
    numbers, cases = Numbers(), []
    for number, data in enumerate([*modes(), *(fields(random) for _ in range(240))]):
        file = f"{number}.hdf5"
        data.to_hdf5(str(folder / file))
        case = {"file": file, "class": type(data).__name__, "solved": number < 12}
        case |= {
            "colocate": data.monitor.colocate,
            "integrated": data.monitor.use_colocated_integration,
            "symmetric": any(data.symmetry),
        }
        for path in (["flux"], ["symmetry_expanded_copy", "flux"]):
            expression = {"field": {"source": {"result": "DIGEST"}, "path": path}}
            try:
                value = data.flux
            except Exception as error:
                cases.append({**case, "expression": expression, "error": f"{type(error).__name__}: {error}"})
                continue
            dimensions = [[dim, value.coords[dim].values.tolist()] for dim in value.dims]
            value = numbers.store(value.values)
            cases.append({**case, "expression": expression, "value": value, "dimensions": dimensions})
    (folder / "results.json").write_text(json.dumps(cases))
    np.concatenate(numbers.arrays).tofile(folder / "results.bin")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
