"""`wavetask.map`: an ordinary function, written for one value, for many values at once.

The function below finds by bisection which heating makes the centre of a slab 5 K warmer: each step needs the result
of the one before. Nothing in it is split into before and after; still the searches for all thicknesses overlap.

Run it with `python examples/overlapping_functions.py`.
"""

from __future__ import annotations

import tempfile
import time

import tidy3d as td
import wavetask as wt
import wavetask.web as web

CONDUCTIVITY = 2e-6  # W/(um K)
WANTED = 5.0  # K


def slab(thickness: float, rate: float) -> td.HeatChargeSimulation:
    """A slab that is heated throughout, its two faces at 300 K."""
    solid = td.MultiPhysicsMedium(
        optical=td.Medium(),
        heat=td.SolidSpec(conductivity=CONDUCTIVITY, capacity=1.0, density=1.0),
        name="solid",
    )
    air = td.MultiPhysicsMedium(optical=td.Medium(), heat=td.FluidSpec(), name="air")
    return td.HeatChargeSimulation(
        size=(1.0, 0.0, thickness + 1.0),
        medium=air,
        structures=[
            td.Structure(geometry=td.Box(size=(td.inf, td.inf, thickness)), medium=solid, name="slab")
        ],
        sources=[td.HeatSource(structures=["slab"], rate=rate)],
        boundary_spec=[
            td.HeatChargeBoundarySpec(
                placement=td.MediumMediumInterface(mediums=["solid", "air"]),
                condition=td.TemperatureBC(temperature=300.0),
            )
        ],
        grid_spec=td.UniformUnstructuredGrid(
            dl=thickness / 20, min_edges_per_circumference=15, min_edges_per_side=2
        ),
        monitors=[td.TemperatureMonitor(size=(0, 0, 0), name="centre", unstructured=False)],
    )


def needed_rate(thickness: float) -> float:
    """The heating, in W/um^3, that makes the centre warmer by what is wanted."""
    low, high = 0.0, 1e-4
    for step in range(8):
        middle = (low + high) / 2
        with tempfile.TemporaryDirectory() as folder:
            data = web.run(
                slab(thickness, middle),
                task_name=f"{thickness} um, step {step}",
                path=f"{folder}/x.hdf5",
                verbose=False,
            )
            rise = float(data["centre"].temperature.values.max()) - 300.0
        low, high = (middle, high) if rise < WANTED else (low, middle)
    return (low + high) / 2


thicknesses = [1.5, 2.0, 2.5, 3.0]
started = time.perf_counter()
for thickness, rate in zip(thicknesses, wt.map(needed_rate, thicknesses), strict=True):
    expected = 8 * CONDUCTIVITY * WANTED / thickness**2
    print(f"{thickness:.1f} um: {rate * 1e6:.2f} uW/um^3 (in closed form {expected * 1e6:.2f})")
    assert abs(rate - expected) < 4e-7
print(f"{len(thicknesses)} searches of 8 runs each took {time.perf_counter() - started:.1f} s together")
