"""Phase of a thermo-optic phase shifter against heater current: heat feeds the index of its waveguide.

    python examples/thermo_optic_phase_shifter.py [--way server] [--output FOLDER]

The temperature of each heat simulation perturbs the media of an optical one, whose mode tells the phase. Three ways:

``server``
    Both stages are submitted at once, before anything has run. What a mode needs of its temperature is a reference:
    computed by the server when the heat is there, so that no field passes through this process.
``loop``
    A script for tidy3d with one import changed: results are references, of which the server interpolates the few
    values that are asked for.
``client``
    The same loop with the unmodified client, for comparison. It needs a server that it is pointed at
    (``eval "$(wavetask env)"``).

Lengths are micrometres, temperatures kelvin, currents ampere, frequencies hertz.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pathlib
import time
from typing import NamedTuple

import numpy as np
import tidy3d as td
from thermo_optic_heat_sweep import (
    AMBIENT,
    CORE_CENTRE,
    CORE_HEIGHT,
    CORE_WIDTH,
    HEATER_CENTRE,
    HEATER_HEIGHT,
    HEATER_WIDTH,
    heat_simulation,
)
from tidy3d.plugins.mode import ModeSolver

WAVELENGTH = 1.55
LENGTH = 320.0  # of the heated waveguide
INDEX = {"si": 3.4777, "sio2": 1.444}
THERMO_OPTIC = {"si": 1.86e-4, "sio2": 1e-5}  # dn/dT, 1/K
CURRENTS = np.linspace(0.0, 7.4e-3, 10)
WIDTH, HEIGHT = 4.0, 3.0  # of the plane of the mode


class Grid(NamedTuple):
    """Where the temperature is taken for the optical simulation. It changes over micrometres, so that what lies between
    is as good as linear."""

    x: np.ndarray
    z: np.ndarray


GRID = Grid(x=np.linspace(-2.2, 2.2, 45), z=CORE_CENTRE + np.linspace(-1.7, 1.7, 35))


def optical_simulation() -> td.Simulation:
    """The cross-section around the waveguide, of media whose permittivity grows with the temperature."""

    def medium(name: str) -> td.PerturbationMedium:
        slope = 2 * INDEX[name] * THERMO_OPTIC[name]
        heat = td.LinearHeatPerturbation(coeff=slope, temperature_ref=AMBIENT)
        return td.PerturbationMedium(
            permittivity=INDEX[name] ** 2, permittivity_perturbation=td.ParameterPerturbation(heat=heat)
        )

    core = td.Box(center=(0, 0, CORE_CENTRE), size=(CORE_WIDTH, td.inf, CORE_HEIGHT))
    simulation = td.Simulation(
        center=(0, 0, CORE_CENTRE),
        size=(WIDTH, 1.0, HEIGHT),
        medium=medium("sio2"),
        structures=[td.Structure(geometry=core, medium=medium("si"))],
        grid_spec=td.GridSpec.auto(wavelength=WAVELENGTH, min_steps_per_wvl=30),
        run_time=1e-12,
    )
    # The automatic grid follows the index, which the heater changes: the same cells for all currents, so that what
    # differs is the temperature alone.
    return simulation.updated_copy(grid_spec=td.GridSpec.from_grid(simulation.grid))


def mode_solver(simulation: td.Simulation) -> ModeSolver:
    """The fundamental mode of the waveguide. Its index is all that is asked for."""
    return ModeSolver(
        simulation=simulation,
        plane=td.Box(center=(0, 0, CORE_CENTRE), size=(WIDTH, 0, HEIGHT)),
        mode_spec=td.ModeSpec(num_modes=1),
        freqs=[td.C_0 / WAVELENGTH],
        fields=[],
    )


def heat_simulations() -> dict[str, td.HeatChargeSimulation]:
    """A simulation of the temperature for each current."""
    return {f"I={1e3 * current:.2f}mA": heat_simulation(current) for current in CURRENTS}


def with_references() -> dict[str, float]:
    """The effective index by current: heat and modes are submitted at once, and the server hands on what lies between."""
    import wavetask as wt

    solver = mode_solver(optical_simulation())
    heat = wt.submit(heat_simulations(), name="heat")
    modes = wt.submit(
        {
            name: wt.perturb(
                solver,
                temperature=task["temperature"].temperature.interp(
                    x=GRID.x, y=0, z=GRID.z, fill_value=AMBIENT
                ),
            )
            for name, task in heat.items()
        },
        name="modes",
    )
    return {name: index_of(task.result()) for name, task in modes.items()}


def with_a_loop(module: str, folder: pathlib.Path) -> dict[str, float]:
    """The effective index by current, as a script for tidy3d has it: ``module`` is ``tidy3d.web`` or ``wavetask.web``."""
    web = importlib.import_module(module)
    optic_sim = optical_simulation()
    batch_data = web.Batch(simulations=heat_simulations(), verbose=False, lazy=True).run(
        path_dir=str(folder / "heat")
    )
    solvers = {}
    for name, hs_data in batch_data.items():
        temp_interpolated = hs_data["temperature"].temperature.interp(
            x=GRID.x, y=0, z=GRID.z, fill_value=AMBIENT
        )
        psim = optic_sim.perturbed_mediums_copy(temperature=temp_interpolated)
        solvers[name] = mode_solver(psim)
    modes = web.Batch(simulations=solvers, verbose=False, reduce_simulation=False)
    results = modes.run(path_dir=str(folder / "modes"))
    return {name: index_of(data) for name, data in results.items()}


def index_of(data) -> float:
    """The effective index of the fundamental mode."""
    return float(data.n_eff.values[0, 0])


def phases(indices: dict[str, float]) -> np.ndarray:
    """The phase in radians that the heater adds at each current."""
    values = np.array(list(indices.values()))
    return 2 * np.pi / WAVELENGTH * LENGTH * (values - values[0])


def draw(indices: dict[str, float], path: pathlib.Path) -> None:
    """Writes a picture: the index against the current, and the temperature at the last one, of which the server
    interpolates what the picture shows."""
    import matplotlib
    import wavetask as wt

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    x, z = np.linspace(-8, 8, 161), np.linspace(-0.5, 4.8, 107)
    hottest = wt.open("heat")[list(indices)[-1]]
    temperature = hottest["temperature"].temperature.interp(x=x, y=0, z=z, fill_value=AMBIENT)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(12, 3.8), width_ratios=(1, 2), constrained_layout=True
    )
    left.plot(1e3 * CURRENTS, list(indices.values()), "o-")
    left.set(xlabel="heater current (mA)", ylabel="effective index", title="Fundamental mode")
    filled = right.contourf(x, z, np.squeeze(temperature.values).T, levels=40, cmap="inferno")
    for centre, width, height in (
        (CORE_CENTRE, CORE_WIDTH, CORE_HEIGHT),
        (HEATER_CENTRE, HEATER_WIDTH, HEATER_HEIGHT),
    ):
        corner = (-width / 2, centre - height / 2)
        right.add_patch(plt.Rectangle(corner, width, height, fill=False, color="white", lw=1))
    title = f"Temperature at {1e3 * CURRENTS[-1]:.1f} mA"
    right.set(xlabel="x (µm)", ylabel="z (µm)", aspect="equal", title=title)
    figure.colorbar(filled, ax=right, label="temperature (K)")
    figure.savefig(path, dpi=160)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--way", choices=("server", "loop", "client"), default="server")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("demo-output"))
    parser.add_argument("--draw", action="store_true", help="also draw index and temperature (way `server`)")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    if options.way == "server":
        indices = with_references()
    else:
        module = "wavetask.web" if options.way == "loop" else "tidy3d.web"
        indices = with_a_loop(module, options.output / options.way)
    seconds = time.monotonic() - started
    found = phases(indices)
    print("current (mA)   effective index   phase over 320 µm (rad)")
    for current, index, phase in zip(CURRENTS, indices.values(), found, strict=True):
        print(f"{1e3 * current:12.2f} {index:17.9f} {phase:25.4f}")
    print(f"{len(indices)} currents in {seconds:.1f} s")
    told = {"seconds": seconds, "indices": indices}
    (options.output / f"{options.way}.json").write_text(json.dumps(told))
    if options.draw:
        picture = options.output / "phase-shifter.png"
        draw(indices, picture)
        print(f"index and temperature: {picture.resolve()}")


if __name__ == "__main__":
    main()
