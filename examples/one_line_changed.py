"""An ordinary tidy3d script: a parameter scan of a heated slab with `web.run`. One line is not as it was.

Run it with `python examples/one_line_changed.py`. A second time it gives the same numbers at once, for nothing has to
be computed again.
"""

from __future__ import annotations

import tidy3d as td

# import tidy3d.web as web
import wavetask.web as web

CONDUCTIVITY = 2e-6  # W/(um K)
THICKNESS = 2.0  # um


def slab(rate: float) -> td.HeatChargeSimulation:
    """A slab that is heated throughout, its two faces at 300 K."""
    solid = td.MultiPhysicsMedium(
        optical=td.Medium(),
        heat=td.SolidSpec(conductivity=CONDUCTIVITY, capacity=1.0, density=1.0),
        name="solid",
    )
    air = td.MultiPhysicsMedium(optical=td.Medium(), heat=td.FluidSpec(), name="air")
    return td.HeatChargeSimulation(
        size=(1.0, 0.0, THICKNESS + 1.0),
        medium=air,
        structures=[
            td.Structure(geometry=td.Box(size=(td.inf, td.inf, THICKNESS)), medium=solid, name="slab")
        ],
        sources=[td.HeatSource(structures=["slab"], rate=rate)],
        boundary_spec=[
            td.HeatChargeBoundarySpec(
                placement=td.MediumMediumInterface(mediums=["solid", "air"]),
                condition=td.TemperatureBC(temperature=300.0),
            )
        ],
        grid_spec=td.UniformUnstructuredGrid(dl=0.1, min_edges_per_circumference=15, min_edges_per_side=2),
        monitors=[td.TemperatureMonitor(size=(0, 0, 0), name="centre", unstructured=False)],
    )


rates = {f"{power} uW/um^3": power * 1e-6 for power in (5, 10, 15, 20)}
results = web.run({name: slab(rate) for name, rate in rates.items()}, path="one_line_changed")
for name, data in results.items():
    rise = float(data["centre"].temperature.values.max()) - 300.0
    expected = rates[name] * THICKNESS**2 / (8 * CONDUCTIVITY)
    print(f"{name:>12}: the centre is {rise:.3f} K warmer (in closed form {expected:.3f} K)")
    assert abs(rise - expected) < 5e-3 * expected
