"""A user's script: a chain of three stages under names, submitted before anything has run, its results checked by whoever
runs it. Run by the tests, killed by some of them.

    chain_child.py NAME COUNT

Prints a line when all is submitted, and at the end, as JSON, the index of each member, its square (the reduction of each
member), the same indices as one array (the reduction of all), and the rise of what runs after all modes.
"""

from __future__ import annotations

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np
import scenes
import tidy3d as td
import wavetask as wt
from guides import FREQUENCY, mode_solver, simulation

GRID = {"x": np.linspace(-0.5, 0.5, 6), "y": [0.0], "z": np.linspace(-0.6, 0.6, 9)}


def heat(number: int):
    """A slab whose temperature is different for each number."""
    plane = td.TemperatureMonitor(size=(td.inf, 0, td.inf), name="plane", unstructured=True)
    return scenes.slab(rate=1e-6 * (1 + number / 50), mesh_size=0.25, monitors=[plane])


def guide():
    """A strip whose index grows with the temperature, on few cells."""
    perturbation = td.ParameterPerturbation(
        heat=td.LinearHeatPerturbation(temperature_ref=scenes.BASE, coeff=1.8e-4)
    )
    silicon = td.PerturbationMedium(
        permittivity=12.0, perturbation_spec=td.IndexPerturbation(delta_n=perturbation, freq=FREQUENCY)
    )
    strip = td.Structure(geometry=td.Box(size=(0.5, td.inf, 0.22)), medium=silicon)
    scene = simulation(structures=[strip], step=0.1)
    return mode_solver(modes=1, scene=scene, plane=td.Box(size=(1.4, 0, 1.0)))


def temperature(field):
    """A temperature on the grid of the perturbation: a reference, or data."""
    return field.interp(**GRID, fill_value=scenes.BASE)


def index(data):
    """The effective index of the only mode: a reference, or data."""
    return data.n_eff.isel(f=0, mode_index=0)


def submit(name: str, count: int) -> dict:
    """The whole chain, in one go."""
    heats = wt.submit(
        {f"{number}": heat(number) for number in range(count)}, name=f"{name} heat", progress=False
    )
    solver = guide()
    modes = wt.submit(
        {
            key: wt.perturb(solver, temperature=temperature(task["plane"].temperature))
            for key, task in heats.items()
        },
        name=f"{name} modes",
        progress=False,
    )
    squares = wt.submit(
        {key: index(task.data) ** 2 for key, task in modes.items()}, name=f"{name} squares", progress=False
    )
    every = wt.concat([index(task.data) for task in modes.values()], "member", list(range(count)))
    whole = wt.submit({"whole": every}, name=f"{name} whole", progress=False)
    last = wt.submit(
        {"last": scenes.slab(rate=7.7e-6, mesh_size=0.25)}, name=f"{name} last", after=modes, progress=False
    )
    return {"heat": heats, "modes": modes, "squares": squares, "whole": whole, "last": last}


def main() -> None:
    name, count = sys.argv[1], int(sys.argv[2])
    chain = submit(name, count)
    print("submitted", flush=True)
    found = {
        "modes": {key: float(index(data)) for key, data in chain["modes"].results().items()},
        "squares": {key: float(value) for key, value in chain["squares"].results().items()},
        "whole": chain["whole"]["whole"].result().values.tolist(),
        "last": scenes.centre_rise(chain["last"]["last"].result()),
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
