"""Small heat simulations with known answers, built with the client's own classes."""

from __future__ import annotations

import numpy as np
import tidy3d as td

CONDUCTIVITY = 2e-6  # W/(um K)
RATE = 1e-5  # W/um^3
THICKNESS = 2.0  # um
BASE = 300.0  # K


def slab(rate: float = RATE, mesh_size: float = 0.1, **changes):
    """A slab heated throughout, its two faces at 300 K: the middle rises by rate * L^2 / (8 k)."""
    solid = td.MultiPhysicsMedium(
        optical=td.Medium(),
        heat=td.SolidSpec(conductivity=CONDUCTIVITY, capacity=1.0, density=1.0),
        name="solid",
    )
    air = td.MultiPhysicsMedium(optical=td.Medium(), heat=td.FluidSpec(), name="air")
    settings = dict(
        size=(1.0, 0.0, THICKNESS + 1.0),
        medium=air,
        structures=[
            td.Structure(geometry=td.Box(size=(td.inf, td.inf, THICKNESS)), medium=solid, name="slab")
        ],
        sources=[td.HeatSource(structures=["slab"], rate=rate)],
        boundary_spec=[
            td.HeatChargeBoundarySpec(
                placement=td.MediumMediumInterface(mediums=["solid", "air"]),
                condition=td.TemperatureBC(temperature=BASE),
            )
        ],
        grid_spec=td.UniformUnstructuredGrid(
            dl=mesh_size, min_edges_per_circumference=15, min_edges_per_side=2
        ),
        monitors=[
            td.TemperatureMonitor(size=(td.inf, 0, td.inf), name="plane", unstructured=True),
            td.TemperatureMonitor(size=(0, 0, 0), name="centre", unstructured=False),
        ],
    )
    settings.update(changes)
    return td.HeatChargeSimulation(**settings)


def expected_rise(rate: float = RATE) -> float:
    return rate * THICKNESS**2 / (8 * CONDUCTIVITY)


def centre_rise(data) -> float:
    """The rise at the centre, from the unstructured plane."""
    field = data["plane"].temperature
    return float(np.squeeze(field.interp(x=0, y=0, z=0, fill_value=np.nan).values)) - BASE


def solve_task(job) -> str:
    """The id of the task that solves: the newer client runs heat as two tasks, the older as one."""
    ids = list(getattr(job, "task_ids", {}).values())
    return ids[-1] if ids else job.task_id


def slow(cells: int = 2_000_000, rate: float = RATE):
    """A cube that takes many seconds to solve."""
    solid = td.MultiPhysicsMedium(
        optical=td.Medium(),
        heat=td.SolidSpec(conductivity=CONDUCTIVITY, capacity=1.0, density=1.0),
        name="solid",
    )
    mesh_size = (6.0 / cells) ** (1 / 3) * 1.7
    return td.HeatChargeSimulation(
        size=(1.0, 1.0, 1.0),
        medium=solid,
        structures=[td.Structure(geometry=td.Box(size=(0.5, 0.5, 0.5)), medium=solid, name="heater")],
        sources=[td.HeatSource(structures=["heater"], rate=rate)],
        boundary_spec=[
            td.HeatChargeBoundarySpec(
                placement=td.SimulationBoundary(), condition=td.TemperatureBC(temperature=BASE)
            )
        ],
        grid_spec=td.UniformUnstructuredGrid(
            dl=mesh_size, min_edges_per_circumference=15, min_edges_per_side=2
        ),
        monitors=[td.TemperatureMonitor(size=(0, 0, 0), name="centre", unstructured=False)],
    )


def unsolvable():
    """Heat flows in and nothing takes it away, which only the mesh can tell: the solver's error."""
    solid = td.MultiPhysicsMedium(
        optical=td.Medium(),
        heat=td.SolidSpec(conductivity=CONDUCTIVITY, capacity=1.0, density=1.0),
        name="elsewhere",
    )
    far = td.Structure(geometry=td.Box(center=(50, 0, 0), size=(1, td.inf, 1)), medium=solid, name="far")
    return slab(
        structures=[*slab().structures, far],
        boundary_spec=[
            td.HeatChargeBoundarySpec(
                placement=td.MediumMediumInterface(mediums=["elsewhere", "air"]),
                condition=td.TemperatureBC(temperature=BASE),
            )
        ],
    )


def unsteady():
    """Time-dependent heat, fully valid for the client: refused at validation."""
    return slab(
        analysis_spec=td.UnsteadyHeatAnalysis(
            initial_temperature=BASE, unsteady_spec=td.UnsteadySpec(time_step=0.1, total_time_steps=3)
        ),
        monitors=[
            td.TemperatureMonitor(size=(td.inf, 0, td.inf), name="plane", unstructured=True, interval=1)
        ],
    )


def unsupported():
    """Fully valid for the client, of a kind that the server cannot solve yet."""
    return td.Simulation(
        size=(1, 1, 1),
        grid_spec=td.GridSpec.uniform(dl=0.1),
        run_time=1e-13,
        sources=[
            td.PointDipole(
                source_time=td.GaussianPulse(freq0=2e14, fwidth=2e13), polarization="Ex", center=(0, 0, 0)
            )
        ],
        monitors=[td.FluxMonitor(size=(0.5, 0.5, 0), freqs=[2e14], name="flux")],
    )


def heated(values: np.ndarray, base: float = BASE):
    """The slab, heated by the values of an array, its faces at this temperature."""
    x, y, z = (np.linspace(-1, 1, extent) for extent in values.shape)
    simulation = slab(mesh_size=0.25)
    boundary = simulation.boundary_spec[0].updated_copy(condition=td.TemperatureBC(temperature=base))
    rate = td.SpatialDataArray(values, coords={"x": x, "y": y, "z": z})
    source = td.HeatSource(structures=["slab"], rate=rate)
    return simulation.updated_copy(sources=[source], boundary_spec=[boundary])


def noise(megabytes: float, seed: int) -> np.ndarray:
    """Float64 values between 0 and 1e-5 W/um^3 that hardly compress."""
    points = int(megabytes * 1e6 / 8)
    side = max(2, round(points ** (1 / 3)))
    shape = (side, side, max(2, points // side**2))
    return np.random.default_rng(seed).random(shape) * 1e-5


def with_arrays(count: int, megabytes: float, seed: int = 0) -> dict:
    """Simulations with an array of their own each."""
    return {f"large {n}": heated(noise(megabytes, 1000 * seed + n)) for n in range(count)}
