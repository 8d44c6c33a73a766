"""Heat sweep of a thermo-optic phase shifter: ten heater currents as one batch.

Plain ``tidy3d``: nothing here knows wavetask. Point the client at a server first
(``eval "$(wavetask env)"``), or let ``make demo`` start one and run this.

Lengths are micrometres, temperatures kelvin, currents ampere, powers watt.
"""

from __future__ import annotations

import argparse
import pathlib
import time

import numpy as np
import tidy3d as td
import tidy3d.web as web

CORE_WIDTH, CORE_HEIGHT, CORE_CENTRE = 0.5, 0.22, 2.11
HEATER_WIDTH, HEATER_HEIGHT, HEATER_CENTRE = 2.0, 0.14, 4.29
ELECTRIC_CONDUCTIVITY = 2.3  # of the TiN heater, S/um
CONDUCTIVITY = {"si": 148e-6, "sio2": 1.38e-6, "tin": 28e-6}  # W/(um K)
DOMAIN_WIDTH, DOMAIN_HEIGHT, DOMAIN_CENTRE, DOMAIN_THICKNESS = 16.0, 7.3, 2.15, 0.1
AMBIENT = 300.0


def heat_simulation(current: float, refine: float = 1.0, thickness: float = DOMAIN_THICKNESS):
    """The cross-section of the phase shifter with this current in its heater.

    ``refine`` divides every mesh size; ``thickness`` is the extent along the waveguide, 0 for a
    two-dimensional domain.
    """

    def solid(name):
        return td.MultiPhysicsMedium(
            optical=td.Medium(),
            heat=td.SolidSpec(conductivity=CONDUCTIVITY[name], capacity=1.0),
            name=name,
        )

    def layer(name, medium, lower, upper, width=td.inf):
        return td.Structure(
            geometry=td.Box(center=(0, 0, (lower + upper) / 2), size=(width, td.inf, upper - lower)),
            medium=medium,
            name=name,
        )

    def around(name, medium, centre, width, height):
        return layer(name, medium, centre - height / 2, centre + height / 2, width)

    silicon, oxide, nitride = solid("si"), solid("sio2"), solid("tin")
    air = td.MultiPhysicsMedium(optical=td.Medium(), heat=td.FluidSpec(), name="air")
    density = (current / (HEATER_WIDTH * HEATER_HEIGHT)) ** 2 / ELECTRIC_CONDUCTIVITY  # W/um^3
    mesh_size = HEATER_HEIGHT / 3 / refine
    return td.HeatChargeSimulation(
        center=(0, 0, DOMAIN_CENTRE),
        size=(DOMAIN_WIDTH, thickness, DOMAIN_HEIGHT),
        medium=air,
        structures=[
            layer("cladding", oxide, -0.25, 4.8),
            around("core", silicon, CORE_CENTRE, CORE_WIDTH, CORE_HEIGHT),
            around("heater", nitride, HEATER_CENTRE, HEATER_WIDTH, HEATER_HEIGHT),
            layer("wafer", silicon, -0.5, 0.0),
        ],
        sources=[td.HeatSource(structures=["heater"], rate=density)],
        boundary_spec=[
            td.HeatChargeBoundarySpec(
                placement=td.MediumMediumInterface(mediums=["si", "air"]),
                condition=td.TemperatureBC(temperature=AMBIENT),
            ),
            td.HeatChargeBoundarySpec(
                placement=td.MediumMediumInterface(mediums=["sio2", "air"]),
                condition=td.HeatFluxBC(flux=0),
            ),
        ],
        grid_spec=td.DistanceUnstructuredGrid(
            dl_interface=mesh_size,
            dl_bulk=4 * mesh_size,
            distance_interface=HEATER_HEIGHT,
            distance_bulk=4,
            non_refined_structures=["wafer"],
        ),
        monitors=[
            td.TemperatureMonitor(
                center=(0, 0, DOMAIN_CENTRE), size=(td.inf, 0, td.inf), name="temperature", unstructured=True
            )
        ],
        symmetry=(1, 0, 0),
    )


def core_temperature(simulation_data) -> float:
    """Temperature at the centre of the waveguide core, in kelvin."""
    field = simulation_data["temperature"].temperature
    return float(np.squeeze(field.interp(x=0, y=0, z=CORE_CENTRE, fill_value=np.nan).values))


def power_per_length(current: float) -> float:
    """Dissipated power along the waveguide, in W/um."""
    return current**2 / (ELECTRIC_CONDUCTIVITY * HEATER_WIDTH * HEATER_HEIGHT)


def draw(simulation_data, current: float, path: pathlib.Path) -> None:
    """Writes a picture of the temperature around the waveguide."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    field = simulation_data["temperature"].temperature
    figure, axes = plt.subplots(figsize=(9, 3.6), constrained_layout=True)
    points = np.asarray(field.points.values)
    triangles = np.asarray(field.cells.values)
    values = np.asarray(field.values.values)
    filled = axes.tricontourf(points[:, 0], points[:, 1], triangles, values, levels=40, cmap="inferno")
    for centre, width, height in (
        (CORE_CENTRE, CORE_WIDTH, CORE_HEIGHT),
        (HEATER_CENTRE, HEATER_WIDTH, HEATER_HEIGHT),
    ):
        axes.add_patch(
            plt.Rectangle((-width / 2, centre - height / 2), width, height, fill=False, color="white", lw=1)
        )
    axes.axhline(0, color="white", lw=0.6)
    axes.set(xlabel="x (µm)", ylabel="z (µm)", aspect="equal", title=f"Heater current {current * 1e3:.1f} mA")
    figure.colorbar(filled, ax=axes, label="temperature (K)")
    figure.savefig(path, dpi=160)
    plt.close(figure)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--output", type=pathlib.Path, default=pathlib.Path("demo-output"))
    arguments.add_argument("--points", type=int, default=10, help="number of heater currents")
    options = arguments.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    currents = np.linspace(0, 7.4e-3, options.points)
    simulations = {f"I={current * 1e3:.2f}mA": heat_simulation(current) for current in currents}
    started = time.monotonic()
    batch = web.Batch(simulations=simulations, folder_name="thermo-optic phase shifter", verbose=True)
    results = batch.run(path_dir=str(options.output))
    print(f"\n{len(simulations)} simulations in {time.monotonic() - started:.1f} s\n")

    print("current (mA)   power (mW/mm)   core (K)   rise (K)")
    last = None
    for name, current in zip(simulations, currents, strict=True):
        last = results[name]
        temperature = core_temperature(last)
        print(
            f"{current * 1e3:12.2f} {power_per_length(current) * 1e6:15.3f} {temperature:10.3f} {temperature - AMBIENT:10.3f}"
        )
    picture = options.output / "temperature.png"
    draw(last, currents[-1], picture)
    print(f"\ntemperature map: {picture.resolve()}")


if __name__ == "__main__":
    main()
