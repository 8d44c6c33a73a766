"""The results load in the client that runs this script, whatever its version, and hold what was computed."""

from __future__ import annotations

import pathlib
import tempfile

import numpy as np
import tidy3d as td
from solver import at, solve, solve_to

NEW = hasattr(td, "ThermalContactResistance")
inf = td.inf


def solid(name, conductivity):
    return td.Medium(heat_spec=td.SolidSpec(conductivity=conductivity, capacity=1), name=name)


def fluid(name):
    return td.MultiPhysicsMedium(optical=td.Medium(), heat=td.FluidSpec(), name=name)


def monitors(size_y):
    def monitor(name, center, size, unstructured):
        return td.TemperatureMonitor(center=center, size=size, name=name, unstructured=unstructured)

    return [
        monitor("volume", (0, 0, 0), (inf, inf, inf), True),
        monitor("plane", (0, 0, 0), (inf, 0, inf), True),
        monitor("regular", (0.5, 0, 0.5), (1, size_y, 1), False),
        monitor("line", (0.5, 0, 0.4), (1, 0, 0), True),
        monitor("point", (0.25, 0, 0.4), (0, 0, 0), False),
        monitor("part", (0.4, 0, 0.4), (0.3, 2, 0.3), True),
        monitor("partly outside", (0, 0, 0), (0.6, 0, 0.6), True),
    ]


def scene(size_y, symmetry=(0, 0, 0), cls=td.HeatChargeSimulation):
    """Temperature 300 + 10 x between x = 0 and 1, fluid above z = 0.8; symmetric about z = 0.5 without the fluid."""
    body = td.Structure(geometry=td.Box(size=(inf, inf, inf)), medium=solid("body", 1e-5), name="body")
    gap = td.Structure(geometry=td.Box.from_bounds((-1, -9, 0.8), (2, 9, 2)), medium=fluid("air"), name="gap")
    faces = td.SimulationBoundary

    def boundary(surface, temperature):
        return td.HeatChargeBoundarySpec(
            condition=td.TemperatureBC(temperature=temperature), placement=faces(surfaces=[surface])
        )

    return cls(
        center=(0.5, 0, 0.5),
        size=(1, size_y, 1),
        medium=fluid("background"),
        structures=[body] if any(symmetry) else [body, gap],
        boundary_spec=[boundary("x-", 300), boundary("x+", 310)],
        grid_spec=td.UniformUnstructuredGrid(dl=0.13, min_edges_per_circumference=15, min_edges_per_side=2),
        monitors=monitors(size_y),
        symmetry=symmetry,
    )


def check_exact(temperature):
    """Nodal values are those of the linear field, in either form."""
    if isinstance(temperature, td.SpatialDataArray):
        difference = temperature - (300 + 10 * temperature.x)
        assert float(abs(difference).max()) < 1e-6
        return
    points = temperature._points_3d_array if hasattr(temperature, "_points_3d_array") else temperature.points
    x = np.asarray(points)[:, 0]
    assert np.allclose(np.asarray(temperature.values), 300 + 10 * x, atol=1e-6)


def check_scene(simulation, load):
    data, figures = solve(simulation, load)
    flat = simulation.size[1] == 0
    for monitor in simulation.monitors:
        check_exact(data[monitor.name].temperature)
    volume = data["volume"].temperature
    assert type(volume).__name__ == ("TriangularGridDataset" if flat else "TetrahedralGridDataset")
    assert isinstance(data["plane"].temperature, td.TriangularGridDataset)
    assert isinstance(data["regular"].temperature, td.SpatialDataArray)
    assert isinstance(data["line"].temperature, td.SpatialDataArray)
    assert figures["unknowns"] > 20
    # What users do with results: interpolate, slice, clip.
    plane = data["plane"].temperature
    assert abs(float(np.squeeze(np.asarray(plane.interp(x=0.3, y=0, z=0.3)))) - 303) < 1e-5
    assert np.allclose(at(data["regular"].temperature, [(0.3, 0, 0.3)]), 303, atol=1e-5)
    assert len(np.asarray(plane.sel(x=0.31).values).ravel()) > 3
    clipped = plane.box_clip(bounds=((0.2, -1, 0.2), (0.4, 1, 0.4)))
    assert abs(float(np.asarray(clipped.points)[:, 0].max()) - 0.4) < 1e-6
    bounds = data["part"].temperature.bounds
    assert np.allclose([bounds[0][0], bounds[1][0], bounds[0][2], bounds[1][2]], [0.25, 0.55, 0.25, 0.55])
    if not flat:
        # Slicing tetrahedra is left out: the client cannot do it with VTK 9.7, whatever the data.
        value = np.asarray(volume.interp(x=0.3, y=0.01, z=0.3))
        assert np.allclose(np.squeeze(value), 303, atol=1e-5)
    upper = 1.0 if any(simulation.symmetry) else 0.8
    assert abs(volume.bounds[1][2] - upper) < 1e-9 and abs(volume.bounds[0][2]) < 1e-9
    assert type(data.simulation).__name__ == type(simulation).__name__


def check_lazy(simulation, load):
    """Monitors load one by one from their own groups."""
    with tempfile.TemporaryDirectory() as folder:
        result, figures = solve_to(simulation, pathlib.Path(folder))
        assert "error" not in figures, figures
        for index, monitor in enumerate(simulation.monitors):
            loaded = td.TemperatureData.from_hdf5(str(result), group_path=f"data/{index}")
            assert loaded.monitor.name == monitor.name
            check_exact(loaded.temperature)


def check_mesher():
    """A mesher's result, when run for itself."""
    size = (inf, 0, inf)
    plane = td.VolumeMeshMonitor(center=(0, 0, 0), size=size, name="plane")
    volume = td.VolumeMeshMonitor(size=(inf, inf, inf), name="volume")
    mesher = td.VolumeMesher(simulation=scene(0.4), monitors=[plane, volume])
    data, figures = solve(mesher, td.VolumeMesherData.from_file)
    assert isinstance(data["plane"].mesh, td.TriangularGridDataset)
    assert len(data["volume"].mesh.cells) == figures["cells"]


def check_refused():
    """What the server will tell the client about an unsupported feature."""
    simulation = (
        scene(0).updated_copy(
            analysis_spec=td.UnsteadyHeatAnalysis(
                initial_temperature=300, unsteady_spec=td.UnsteadySpec(time_step=0.1, total_time_steps=2)
            ),
            validate=False,
        )
        if NEW
        else None
    )
    if simulation is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        _, figures = solve_to(simulation, pathlib.Path(folder))
    assert figures["refusals"][0]["feature"] == "UnsteadyHeatAnalysis", figures


load = td.HeatChargeSimulationData.from_file
for size_y in (0, 0.4):
    check_scene(scene(size_y), load)
    check_scene(scene(size_y, symmetry=(0, 0, 1)), load)
check_scene(scene(0, cls=td.HeatSimulation), td.HeatSimulationData.from_file)
check_lazy(scene(0.4), load)
check_mesher()
check_refused()
print(f"tidy3d {td.__version__}: all results load")
